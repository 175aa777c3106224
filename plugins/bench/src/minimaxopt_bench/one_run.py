"""One run: a solver plays a known game from one start, watched until it is clear where it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, final

import numpy as np
import optree
import torch

from minimaxopt._types import Player, Tree
from minimaxopt.calculus.gradients import operator
from minimaxopt.calculus.vectors import of, squared_norm
from minimaxopt.certificates.certify import certify
from minimaxopt.game.random_streams import preserve_rng_state
from minimaxopt.game.trees import tensors_of
from minimaxopt.plot.plane import flattened
from minimaxopt.solvers import SOLVERS, Context
from minimaxopt.testing import KnownGame, KnownPoint
from minimaxopt_bench.outcomes import Array, Ending, Seen, ending, escaped
from minimaxopt_bench.settings import Rate, Settings, optimizers

LOOK = 10
"""Steps between looks at where a run is; every second one also measures the gradients."""
_STILL = 1e-12
"""How little the values of a run that has halted change in ``2 LOOK`` steps, relative to them."""
_PLAYERS: tuple[Player, Player] = ("u", "v")


class Run(NamedTuple):
    """How a run went.

    Attributes:
        ending: where it ended.
        steps: the steps that it made, with what follows ended as soon as the ending is clear.
        evaluations: the gradient evaluations that it made.
        to_steps: the steps after which it was at a minimax point and stayed, where it was.
        to_evaluations: the gradient evaluations likewise.
        distance: the leader's distance from the nearest minimax leader at the end.
        residual: the length of the projected gradients at the end.
        kind: the local type of the point at which it came to rest.
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
    """Let a solver play a known game from a random start, and return where it ended.

    Args:
        known: the game.
        solver: a solver's name.
        variant: its settings beside the defaults.
        rate: the learning rate.
        seed: of the start, and of the solver's own draws.
        settings: budget, tolerance and rules.

    Raises:
        ArgumentError: if the solver refuses the game.

    Examples:
        >>> from minimaxopt.testing import known_game
        >>> ways = [
        ...     play(known_game("bilinear"), solver, {}, Rate(0.5), 0, Settings())
        ...     for solver in ("simultaneous-gda", "alternating-gda", "extragradient")
        ... ]
        >>> [way.ending for way in ways]
        ['divergence', 'cycle', 'minimax']
    """
    chosen = SOLVERS[solver](**variant)
    ctx = Context(known.start(seed), players=chosen.players, seed=seed, **optimizers(solver, rate))
    with preserve_rng_state(ctx.devices):
        return _Watch(known, ctx, settings).follow(chosen)


@final
class _Watch:
    """Follows one run, and judges it."""

    def __init__(self, known: KnownGame, ctx: Context, settings: Settings) -> None:
        self.known, self.ctx, self.settings = known, ctx, settings
        self.points: list[Array] = []
        self.spent: list[int] = []
        self.residuals: list[float] = []
        self.sizes = [sum(t.numel() for t in of(ctx.point, p).values()) for p in _PLAYERS]
        low, high = (np.repeat([known.box[i][end] for i in (0, 1)], self.sizes) for end in (0, 1))
        self.middle, self.width = (low + high) / 2, high - low
        self.near_since: int | None = None

    def follow(self, solver: Any) -> Run:
        state = solver.init(self.ctx)
        self._note()
        out = rests = False
        for step in range(1, self.settings.steps + 1):
            state, _ = self.ctx.advance(solver, state)
            self._note()
            over = step == self.settings.steps or self.ctx.gradient_evaluations >= self.settings.evaluations
            if step % LOOK and not over:
                continue
            if out := escaped(self.points[-1], self.middle, self.width, self.settings.radius):
                break
            near = self._near(self.points[-1])
            self.near_since = (step if self.near_since is None else self.near_since) if near else None
            if over or step % (2 * LOOK) == 0:
                self.residuals.append(self._residual())
                rests = self.residuals[-1] <= self.settings.stationary or self._halted()
            if over or rests or (self.near_since is not None and step - self.near_since >= self.settings.stay):
                break
        return self._judged(out, rests)

    def _note(self) -> None:
        self.points.append(np.concatenate([flattened(self.ctx.point.u), flattened(self.ctx.point.v)]))
        self.spent.append(self.ctx.gradient_evaluations)

    # -- where it is ---------------------------------------------------------------------------------------------------

    def _halted(self) -> bool:
        """Whether the solver no longer moves, which it may do where gradients do not vanish."""
        recent = np.stack(self.points[-2 * LOOK :])
        return bool(np.ptp(recent, axis=0).max() <= _STILL * (1 + np.abs(recent[-1]).max()))

    def _near(self, point: Array) -> bool:
        """Whether the leader is close to a minimax leader, and the follower loses little against its best answer."""
        u, v = self._trees(point)
        return self.known.distance(u) <= self.settings.tolerance and self._loss(u, v) <= self.settings.tolerance

    def _loss(self, u: Tree, v: Tree) -> float:
        risk = self.known.f(u, v)
        if self.known.answer is not None:
            return float(self.known.f(u, self.known.answer(u)) - risk)
        # Where other leaders leave the risk without a bound, only its value tells how good an answer is.
        return abs(float(risk) - self.known.minimax_value)

    def _trees(self, point: Array) -> tuple[Tree, Tree]:
        u, v = np.split(point, [self.sizes[0]])
        return shaped(self.known.u, u), shaped(self.known.v, v)

    def _residual(self) -> float:
        """Return the length of the projected gradients, which costs the run nothing."""
        found = operator(self.ctx.risk(), self.ctx.point)
        total = 0.0
        for player in _PLAYERS:
            slope = found.u if player == "u" else found.v
            here = {n: t.detach() for n, t in of(self.ctx.point, player).items()}
            there = self.ctx.project(player, {n: t - slope[n] for n, t in here.items()})
            total += float(squared_norm(t - there[n] for n, t in here.items()))
        return math.sqrt(total)

    # -- where it ended ------------------------------------------------------------------------------------------------

    def _judged(self, out: bool, rests: bool) -> Run:
        arrived = self._arrived()
        last = self.points[-1]
        wrong = None if out or arrived is not None else self._impostor(last)
        seen = Seen(
            points=np.stack(self.points),
            residuals=np.array(self.residuals),
            there=arrived,
            rests=rests,
            misled=wrong is not None,
            escaped=out,
            stay=self.settings.stay,
        )
        found = ending(seen)
        there = arrived if found == "minimax" else None
        return Run(
            ending=found,
            steps=len(self.points) - 1,
            evaluations=self.spent[-1],
            to_steps=there,
            to_evaluations=None if there is None else self.spent[there],
            distance=math.inf if out else self.known.distance(self._trees(last)[0]),
            residual=self.residuals[-1] if self.residuals and not out else math.inf,
            kind=self._kind(last, wrong) if found == "stationary" else "",
        )

    def _arrived(self) -> int | None:
        """Return the first step of the unbroken stay in which the run ended, found between two looks."""
        if self.near_since is None:
            return None
        step = self.near_since
        while step > 0 and step > self.near_since - LOOK and self._near(self.points[step - 1]):
            step -= 1
        return step

    def _impostor(self, point: Array) -> KnownPoint | None:
        for listed in self.known.impostors:
            at = np.concatenate([values(listed.u), values(listed.v)])
            if float(np.linalg.norm(point - at)) <= self.settings.tolerance:
                return listed
        return None

    def _kind(self, point: Array, wrong: KnownPoint | None) -> str:
        if wrong is not None:
            return wrong.kind
        return certify(self.known.game(), self._trees(point), restarts=0, steps=0).kind


def values(tree: Tree) -> Array:
    """Return the values of a player as one vector, in the order of ``shaped``."""
    return np.concatenate([t.detach().double().numpy().ravel() for t in tensors_of(tree)])


def shaped(like: Tree, vector: Array) -> Tree:
    """Return a player of the structure of ``like`` with the values of a flat vector.

    Examples:
        >>> import torch
        >>> shaped({"a": torch.zeros(2), "b": torch.zeros(())}, np.array([1.0, 2.0, 3.0]))["b"].item()
        3.0
    """
    leaves = tensors_of(like)
    parts = np.split(vector, np.cumsum([t.numel() for t in leaves])[:-1])
    made = [torch.from_numpy(p.copy()).reshape(t.shape) for p, t in zip(parts, leaves, strict=True)]
    return optree.tree_unflatten(optree.tree_structure(like), made)
