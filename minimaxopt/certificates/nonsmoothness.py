"""Nonsmoothness: jumps of the gradient, as of ``relu`` at zero, across which derivatives predict nothing."""

from __future__ import annotations

from typing import NamedTuple

from minimaxopt._types import PLAYERS, Player, Point, Tensors
from minimaxopt.calculus.spectrum import random_like
from minimaxopt.calculus.vectors import add, negated, of, squared_norm
from minimaxopt.certificates.dataset_risk import DatasetRisk

_DIRECTIONS = 2
_SHORTER = 8.0
_ALIKE = 0.3


class GradientJump(NamedTuple):
    """A jump of the gradient at a point."""

    length: float
    """The norm of the jump."""
    ascents: tuple[Tensors, Tensors]
    """The follower's gradient of ``f`` on either side."""


def gradient_jump(measured: DatasetRisk, point: Point, reach: float, tolerance: float) -> GradientJump | None:
    """Return the jump of the gradient across a point, where there is one longer than the tolerance.

    Of a smooth risk the gradients at two opposite points near by differ by as much less as the points are nearer. What
    remains at three distances alike is a jump; what remains and varies is rounding.

    Args:
        measured: the game on its data.
        point: where.
        reach: the largest of the distances, in units of the point's size.
        tolerance: largest gradient jump treated as zero.
    """
    for seed in range(_DIRECTIONS):
        gaps: list[Tensors] = []
        ascents: tuple[Tensors, Tensors] = ({}, {})
        for k in range(3):
            above, below = (_side(measured, point, sign * reach / _SHORTER**k, seed) for sign in (1.0, -1.0))
            gaps.append(_gap(above, below))
            ascents = negated(above.v), negated(below.v)
        first, second = (_extrapolated(gaps[k], gaps[k + 1]) for k in range(2))
        length = _norm(second)
        if length > tolerance and _norm(add(first, second, -1.0)) <= _ALIKE * length:
            return GradientJump(length, ascents)
    return None


def _side(measured: DatasetRisk, point: Point, reach: float, seed: int) -> Point:
    """Return both players' gradients on one side of the point, at the nearest allowed point."""

    def moved(player: Player) -> Tensors:
        x = of(point, player)
        direction = random_like(x, 1000 * (seed + 1) + (player == "v"))
        return measured.project(player, add(x, direction, reach * max(1.0, _norm(x))))

    return measured.own_gradients(Point(moved("u"), moved("v")))


def _gap(above: Point, below: Point) -> Tensors:
    return {f"{p}.{n}": t - of(below, p)[n] for p in PLAYERS for n, t in of(above, p).items()}


def _extrapolated(far: Tensors, near: Tensors) -> Tensors:
    """Extrapolate a difference to distance zero, where the part proportional to the distance cancels."""
    return {n: (_SHORTER * near[n] - far[n]) / (_SHORTER - 1) for n in far}


def _norm(x: Tensors) -> float:
    return float(squared_norm(x.values()).sqrt())
