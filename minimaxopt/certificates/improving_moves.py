"""Actual moves that improve, each a proof that a point is not minimax."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import final

import torch

from minimaxopt._types import Player, Point, Tensors
from minimaxopt.calculus.spectrum import random_like
from minimaxopt.calculus.vectors import add, of, squared_norm
from minimaxopt.certificates.dataset_risk import DatasetRisk
from minimaxopt.results.certificate import Move

_SHORTEST = 1e-8  # of the trial moves; the longest is as long as the point
_RUNGS = 2  # trial moves in a decade of lengths
_UNITS = 64  # of the last digit, by which two values of the risk may differ at the same point
_SHAKEN = 6  # evaluations that show by how much they do

Answer = Callable[[Tensors], Tensors]
"""From the follower's own gradient to its Newton step, on the directions left free."""


@final
class ImprovingMoves:
    """Trial moves from a point of a game.

    Args:
        measured: the game on its data.
        point: where the moves begin, an allowed point.
        tolerance: largest gradient norm that counts as zero.

    Attributes:
        risk: the risk at the point.
        noise: the difference of two values of the risk that may be rounding.
    """

    def __init__(self, measured: DatasetRisk, point: Point, tolerance: float) -> None:
        self._measured, self._point, self._tolerance = measured, point, tolerance
        self.risk = measured.value(point)
        self.eps = max(torch.finfo(t.dtype).eps for tensors in point for t in tensors.values())
        self.noise = self._noise()

    def size(self, player: Player) -> float:
        """Return the length of the player's values, at least 1."""
        return max(1.0, float(squared_norm(of(self._point, player).values()).sqrt()))

    def shaken(self, seed: int) -> Point:
        """Return the point with the last digits of its values changed."""
        return Point(*(_shaken(tensors, self.eps, seed + i) for i, tensors in enumerate(self._point)))

    def of_follower(self, direction: Tensors, along: str, signs: tuple[float, ...] = (1.0, -1.0)) -> Move | None:
        """Return the follower's best move along a direction; none where no move improves."""

        def gain(moved: Tensors, _: float) -> tuple[float, float]:
            after = self._measured.value(Point(self._point.u, moved))
            return after - self.risk, after

        return self._best("v", direction, along, signs, gain, 0.0)

    def of_leader(
        self, direction: Tensors, along: str, newton: Answer | None, signs: tuple[float, ...] = (1.0, -1.0)
    ) -> Move | None:
        """Return the leader's best move against the best answer found for the follower nearby."""

        def gain(moved: Tensors, length: float) -> tuple[float, float]:
            answers = self._answers(moved, length, newton)
            after = max(self._measured.value(Point(moved, v)) for v in answers)
            return self.risk - after, after

        return self._best("u", direction, along, signs, gain, self._unanswered(newton))

    def _unanswered(self, newton: Answer | None) -> float:
        """Return the follower's gain from its own answer to a leader that does not move; small near its maximum."""
        if newton is None:
            return 0.0
        step = newton(self._measured.own_gradients(self._point, ("v",)).v)
        answer = self._measured.project("v", add(self._point.v, step))
        gained = self._measured.value(Point(self._point.u, answer)) - self.risk
        return max(0.0, gained) if math.isfinite(gained) else 0.0

    def _noise(self) -> float:
        # A risk that is a small difference of large terms has the rounding of these, which its size does not show.
        values = [self._measured.value(self.shaken(seed)) for seed in range(0, 2 * _SHAKEN, 2)]
        changes = [abs(value - self.risk) for value in values if math.isfinite(value)]
        return max(_UNITS * self.eps * max(1.0, abs(self.risk)), 8 * max(changes, default=0.0))

    def _best(
        self,
        player: Player,
        direction: Tensors,
        along: str,
        signs: tuple[float, ...],
        gain: Callable[[Tensors, float], tuple[float, float]],
        unanswered: float,
    ) -> Move | None:
        """Return the best of moves of growing length, from the first gain above the noise until the gain shrinks."""
        x = of(self._point, player)
        norm = float(squared_norm(direction.values()).sqrt())
        size = self.size(player)
        longest = size if player == "v" else size / 10  # the leader's answer is sought nearby
        steps = int(_RUNGS * math.log10(longest / _SHORTEST) + 1e-9)
        best: tuple[float, Move, Tensors] | None = None
        for sign in signs if norm > 0 else ():
            last = 0.0
            for k in range(steps + 1):
                moved = self._measured.project(player, add(x, direction, sign * _SHORTEST * 10 ** (k / _RUNGS) / norm))
                length = float(squared_norm(add(moved, x, -1.0).values()).sqrt())
                if length == 0:
                    continue
                gained, after = gain(moved, length)
                if gained > max(self.noise, last):
                    last = gained
                    if best is None or gained > best[0]:
                        best = gained, Move(player, along, length, self.risk, after), moved
                elif last or gained < -(self.noise + unanswered + 10 * self._tolerance * length):
                    break  # a gain beyond a loss is another hill's, and says nothing of this point
        if best is None:
            return None
        # The best of many values is the likeliest to owe its rank to rounding; other roundings of it bear it out.
        _, move, improved = best
        again = (self._measured.project(player, _shaken(improved, self.eps, seed)) for seed in range(1, 2 * _SHAKEN, 4))
        return move if all(gain(moved, move.length)[0] > self.noise for moved in again) else None

    def _answers(self, u: Tensors, length: float, newton: Answer | None) -> Iterator[Tensors]:
        """Yield answers of the follower nearby when the leader has moved by ``length``."""
        v = self._point.v
        yield v
        at = v
        for _ in range(2):
            gradient = self._measured.own_gradients(Point(u, at), ("v",)).v
            gradient_norm = float(squared_norm(gradient.values()).sqrt())
            if gradient_norm == 0:
                return
            # Where f is flat in v the follower gains less than the leader by moving by the root of the leader's length.
            for share in (1.0, 0.1):
                yield self._measured.project("v", add(v, gradient, -share * math.sqrt(length) / gradient_norm))
            if newton is not None:
                step = newton(gradient)
                reach = float(squared_norm(step.values()).sqrt())
                limit = 10 * math.sqrt(length)  # it stays local: the bound vanishes with the leader's move
                at = self._measured.project("v", add(at, step, min(1.0, limit / reach) if reach else 1.0))
                yield at


def _shaken(tensors: Tensors, eps: float, seed: int) -> Tensors:
    signs = {n: t.sign() for n, t in random_like(tensors, seed).items()}
    return {n: t * (1 + (2 + seed) * eps * signs[n]) for n, t in tensors.items()}
