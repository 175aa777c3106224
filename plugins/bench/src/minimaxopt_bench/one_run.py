"""One run: a solver on a known game, from one start until the ending is clear."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, final

import numpy as np
import optree
import torch
from torch import Tensor

from minimaxopt import Context, certify
from minimaxopt.solvers import SOLVERS
from minimaxopt.testing import KnownGame, KnownPoint
from minimaxopt_bench.outcomes import Array, Ending, Observations, ending, has_escaped
from minimaxopt_bench.settings import Rate, Settings, optimizers

CHECK_INTERVAL = 10
"""Steps between checks of where a run is; every second check measures the gradients too."""
_STANDSTILL = 1e-12
"""Largest change of a halted run's values in ``2 CHECK_INTERVAL`` steps, relative to them."""


class Run(NamedTuple):
    """Outcome of a run.

    Attributes:
        ending: how it ended.
        steps: number of steps made; a run stops as soon as its ending is clear.
        evaluations: number of gradient evaluations made.
        to_steps: number of steps until the minimax point at which it stayed; ``None`` if it stayed at none.
        to_evaluations: number of gradient evaluations until then, likewise.
        distance: distance of the leader from the nearest minimax leader at the end.
        residual: length of the projected gradients at the end.
        kind: local type of the point at which it came to rest, if that is no minimax point.
    """

    ending: Ending
    steps: int
    evaluations: int
    to_steps: int | None
    to_evaluations: int | None
    distance: float
    residual: float
    kind: str = ""


def play(known: KnownGame, solver: str, variant: Mapping[str, Any], rate: Rate, seed: int, settings: Settings) -> Run:
    """Run a solver on a known game from a random start, and return the outcome.

    Args:
        known: the game.
        solver: name of a solver.
        variant: settings of the solver that differ from its defaults.
        rate: learning rate.
        seed: seed of the start and of the solver's own draws.
        settings: budget, tolerance and rules.

    Raises:
        ArgumentError: the solver cannot solve the game.

    Examples:
        >>> from minimaxopt.testing import known_game
        >>> runs = [
        ...     play(known_game("bilinear"), solver, {}, Rate(0.5), 0, Settings())
        ...     for solver in ("simultaneous-gda", "alternating-gda", "extragradient")
        ... ]
        >>> [run.ending for run in runs]
        ['divergence', 'cycle', 'minimax']
    """
    player = SOLVERS[solver](**variant)
    ctx = Context(known.start(seed), players=player.players, seed=seed, **optimizers(solver, rate))
    with torch.random.fork_rng(devices=()):
        return _Observer(known, ctx, settings).follow(player)


@final
class _Observer:
    """Makes the steps of one run and records what determines its ending."""

    def __init__(self, known: KnownGame, ctx: Context, settings: Settings) -> None:
        self.known, self.ctx, self.settings = known, ctx, settings
        self.points: list[Array] = []
        self.evaluations: list[int] = []
        self.residuals: list[float] = []
        low, high = (np.repeat(ends, known.dimensions) for ends in zip(*known.box, strict=True))
        self.middle, self.width = (low + high) / 2, high - low
        self.near_since: int | None = None

    def follow(self, solver: Any) -> Run:
        state = solver.init(self.ctx)
        self._record()
        escaped = at_rest = False
        for step in range(1, self.settings.steps + 1):
            state, _ = self.ctx.advance(solver, state)
            self._record()
            over = step == self.settings.steps or self.ctx.gradient_evaluations >= self.settings.evaluations
            if step % CHECK_INTERVAL and not over:
                continue
            if escaped := has_escaped(self.points[-1], self.middle, self.width, self.settings.radius):
                break
            near = self._is_near(self.points[-1])
            self.near_since = (step if self.near_since is None else self.near_since) if near else None
            if over or step % (2 * CHECK_INTERVAL) == 0:
                self.residuals.append(self._residual())
                at_rest = self.residuals[-1] <= self.settings.stationary or self._has_halted()
            if over or at_rest or (self.near_since is not None and step - self.near_since >= self.settings.stay):
                break
        return self._outcome(escaped, at_rest)

    def _record(self) -> None:
        point = self.ctx.point
        self.points.append(np.concatenate([flattened(point.u.values()), flattened(point.v.values())]))
        self.evaluations.append(self.ctx.gradient_evaluations)

    # -- during the run ------------------------------------------------------------------------------------------------

    def _has_halted(self) -> bool:
        """Return whether the solver no longer moves, which may happen where gradients do not vanish."""
        recent = np.stack(self.points[-2 * CHECK_INTERVAL :])
        return bool(np.ptp(recent, axis=0).max() <= _STANDSTILL * (1 + np.abs(recent[-1]).max()))

    def _is_near(self, point: Array) -> bool:
        """Return whether the leader is close to a minimax leader and the follower's loss is small."""
        u, v = self._players(point)
        return self.known.distance(u) <= self.settings.tolerance and self._loss(u, v) <= self.settings.tolerance

    def _loss(self, u: Any, v: Any) -> float:
        """Return what the follower loses against its best answer."""
        risk = self.known.f(u, v)
        if self.known.answer is not None:
            return float(self.known.f(u, self.known.answer(u)) - risk)
        # Where other leaders leave the risk unbounded, only its value tells how good an answer is.
        return abs(float(risk) - self.known.minimax_value)

    def _players(self, point: Array) -> tuple[Any, Any]:
        u, v = np.split(point, [self.known.dimensions[0]])
        return unflattened(self.known.u, u), unflattened(self.known.v, v)

    def _residual(self) -> float:
        """Return ``||x - P(x - F(x))||``, the length of the projected gradients; it costs the run no evaluation."""
        evaluations = self.ctx.gradient_evaluations
        gradients = self.ctx.gradients()
        self.ctx.gradient_evaluations = evaluations
        return self.ctx.residual(gradients, ("u", "v"))

    # -- at the end ----------------------------------------------------------------------------------------------------

    def _outcome(self, escaped: bool, at_rest: bool) -> Run:
        arrival, last = self._arrival(), self.points[-1]
        impostor = None if escaped or arrival is not None else self._impostor(last)
        observations = Observations(
            points=np.stack(self.points),
            residuals=np.array(self.residuals),
            arrival=arrival,
            at_rest=at_rest,
            at_impostor=impostor is not None,
            escaped=escaped,
            stay=self.settings.stay,
        )
        reached = ending(observations)
        to_steps = arrival if reached == "minimax" else None
        return Run(
            ending=reached,
            steps=len(self.points) - 1,
            evaluations=self.evaluations[-1],
            to_steps=to_steps,
            to_evaluations=None if to_steps is None else self.evaluations[to_steps],
            distance=math.inf if escaped else self.known.distance(self._players(last)[0]),
            residual=self.residuals[-1] if self.residuals and not escaped else math.inf,
            kind=self._kind(last, impostor) if reached == "stationary" else "",
        )

    def _arrival(self) -> int | None:
        """Return the first step of the unbroken stay in which the run ended, exact between two checks."""
        if self.near_since is None:
            return None
        step = self.near_since
        while step > 0 and step > self.near_since - CHECK_INTERVAL and self._is_near(self.points[step - 1]):
            step -= 1
        return step

    def _impostor(self, point: Array) -> KnownPoint | None:
        for impostor in self.known.impostors:
            values = np.concatenate([flattened(optree.tree_leaves(player)) for player in (impostor.u, impostor.v)])
            if float(np.linalg.norm(point - values)) <= self.settings.tolerance:
                return impostor
        return None

    def _kind(self, point: Array, impostor: KnownPoint | None) -> str:
        if impostor is not None:
            return impostor.kind
        return certify(self.known.game(), self._players(point), restarts=0, steps=0).kind


def flattened(tensors: Iterable[Tensor]) -> Array:
    """Return the values of a player's tensors as one vector."""
    return np.concatenate([tensor.detach().double().numpy().ravel() for tensor in tensors])


def unflattened(like: Any, vector: Array) -> Any:
    """Return a player of the structure of ``like`` with the values of a flat vector.

    Args:
        like: a tensor, or a nesting of tensors.
        vector: the values in the order of the tensors, ``(values,)``.

    Examples:
        >>> import torch
        >>> unflattened({"a": torch.zeros(2), "b": torch.zeros(())}, np.array([1.0, 2.0, 3.0]))["b"].item()
        3.0
    """
    leaves: list[Tensor] = optree.tree_leaves(like)
    parts = np.split(vector, np.cumsum([leaf.numel() for leaf in leaves])[:-1])
    tensors = [torch.from_numpy(part.copy()).reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
    return optree.tree_unflatten(optree.tree_structure(like), tensors)
