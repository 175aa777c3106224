"""Gradient descent-ascent: each player follows its own gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from minimaxopt._types import Player, Record
from minimaxopt.calculus.gradients import Gradients
from minimaxopt.errors import ArgumentError
from minimaxopt.solvers.context import Context, require_parametric, sensitivity_of
from minimaxopt.solvers.step_derivatives import StepDerivatives
from minimaxopt.solvers.two_losses import TwoLosses


@final
@dataclass(frozen=True)
class SimultaneousGDA:
    """Move both players at once, each along its own gradient at the present point (GDA).

    ``u <- u - lambda grad_u f(u, v)``, ``v <- v + sigma grad_v f(u, v)``

    On ``f = u v`` with rates ``eta`` each step multiplies the distance from the solution by ``sqrt(1 + eta^2)``: it
    diverges.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Game, SimultaneousGDA, solve
        >>> sgd = partial(torch.optim.SGD, lr=0.5)
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> solution = solve(game, SimultaneousGDA(), steps=1, u_optimizer=sgd, v_optimizer=sgd)
        >>> solution.u.item(), solution.v.item()
        (0.5, 1.5)

    Source: Arrow, Hurwicz and Uzawa 1958.
    """

    name: ClassVar[str] = "simultaneous-gda"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")
    two_losses: ClassVar[TwoLosses] = "own"

    def init(self, ctx: Context) -> None:
        """Check that the follower can move."""
        require_parametric(ctx, self.name)

    def derivatives(self, *, responding: bool, constrained: bool = False) -> StepDerivatives:
        """Return the derivatives that a step evaluates, for its compilation."""
        del responding, constrained
        return StepDerivatives((self.players,))

    def step(self, ctx: Context, state: None) -> tuple[None, Record]:
        """Make one step of both players."""
        gradients = ctx.gradients()
        ctx.apply("u", gradients.u)
        ctx.apply("v", gradients.v)
        return None, sensitivity_of(gradients)


@final
@dataclass(frozen=True)
class AlternatingGDA:
    """Move one player, then the other at the point that the first has reached (alternating GDA).

    ``u <- u - lambda grad_u f(u, v)``, then ``v <- v + sigma grad_v f(u, v)`` at the new ``u``

    On ``f = u v`` with rates ``eta`` each step is an area-preserving map: it cycles for ``eta < 2``.

    Args:
        first: who moves first, ``"u"`` as the equation is printed, or ``"v"``.
        ascent_steps: the follower's steps for each step of the leader.

    Raises:
        ArgumentError: if ``first`` is neither player, ``ascent_steps`` is not positive, or the follower responds.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import AlternatingGDA, Game, solve
        >>> sgd = partial(torch.optim.SGD, lr=0.5)
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> solution = solve(game, AlternatingGDA(), steps=1, u_optimizer=sgd, v_optimizer=sgd)
        >>> solution.u.item(), solution.v.item()
        (0.5, 1.25)

    Source: Hamm and Mehra 2018, Eq. 19.
    """

    first: Literal["u", "v"] = "u"
    ascent_steps: int = 1

    name: ClassVar[str] = "alternating-gda"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")
    two_losses: ClassVar[TwoLosses] = "own"

    def __post_init__(self) -> None:
        if self.first not in ("u", "v"):
            raise ArgumentError(f"first: {self.first!r} is no player; give 'u' or 'v'")
        if self.ascent_steps < 1:
            raise ArgumentError(
                f"ascent_steps: {self.ascent_steps} leaves the follower without a move; give at least 1"
            )

    def init(self, ctx: Context) -> None:
        """Check that the follower can move."""
        require_parametric(ctx, self.name)

    def derivatives(self, *, responding: bool, constrained: bool = False) -> StepDerivatives:
        """Return the derivatives that a step evaluates, for its compilation."""
        del responding, constrained
        return StepDerivatives((("u",), ("v",)), batches=self.ascent_steps)

    def step(self, ctx: Context, state: None) -> tuple[None, Record]:
        """Make one step of the leader and ``ascent_steps`` of the follower."""
        if self.first == "u":
            risk = self._descend(ctx)
            follower = self._ascend(ctx)
        else:
            follower = self._ascend(ctx)
            risk = self._descend(ctx)
        return None, {**sensitivity_of(follower), "risk": risk}

    def _descend(self, ctx: Context) -> Tensor:
        gradients = ctx.gradients(players=("u",))
        ctx.apply("u", gradients.u)
        return gradients.risk

    def _ascend(self, ctx: Context) -> Gradients:
        gradients = self._climb(ctx, 0)
        for substep in range(1, self.ascent_steps):
            gradients = self._climb(ctx, substep)
        return gradients

    def _climb(self, ctx: Context, substep: int) -> Gradients:
        fresh = ctx.fresh_ascent and substep > 0
        batch = ctx.fresh_batch() if fresh else None
        gradients = ctx.gradients(players=("v",), substep=substep if fresh else 0, batch=batch)
        ctx.apply("v", gradients.v)
        return gradients


@final
@dataclass(frozen=True)
class TwoTimescale:
    """Move both players at once, the leader more slowly by a factor that may grow (TTUR).

    ``v <- P(v + d_v)``, ``u <- P(u + d_u / (ratio (1 + i)^power))`` at step ``i = 0, 1, ...``; with SGD ``d_u = -lambda
    grad_u f(u, v)`` and ``d_v = sigma grad_v f(u, v)``

    The optimizers propose the displacements, so that with equal optimizers ``ratio`` is sigma / lambda whatever they
    are. A follower that is fast enough makes the limits of gradient descent-ascent the local minimax points; with
    ``power > 0`` and schedules of Robbins and Monro's kind the leader sees an equilibrated follower in the limit.

    Args:
        ratio: how much slower the leader is at the first step, positive.
        power: how fast the ratio grows with the step, not negative.

    Raises:
        ArgumentError: if ``ratio`` is not positive or ``power`` is negative, or if the follower responds.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Game, TwoTimescale, solve
        >>> sgd = partial(torch.optim.SGD, lr=0.5)
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> solution = solve(game, TwoTimescale(ratio=4.0), steps=1, u_optimizer=sgd, v_optimizer=sgd)
        >>> solution.u.item(), solution.v.item()
        (0.875, 1.5)

    Source: Borkar 1997; Heusel et al. 2017; Lin, Jin and Jordan 2020; Jin, Netrapalli and Jordan 2020 (limits).
    """

    ratio: float = 10.0
    power: float = 0.0

    name: ClassVar[str] = "two-timescale"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")
    two_losses: ClassVar[TwoLosses] = "own"

    def __post_init__(self) -> None:
        if not 0 < self.ratio < float("inf"):
            raise ArgumentError(f"ratio: {self.ratio} is no ratio of rates; give a positive number")
        if not 0 <= self.power < float("inf"):
            raise ArgumentError(f"power: {self.power} would let the leader outrun the follower; give 0 or more")

    def init(self, ctx: Context) -> None:
        """Check that the follower can move."""
        require_parametric(ctx, self.name)

    def step(self, ctx: Context, state: None) -> tuple[None, Record]:
        """Make one step of both players."""
        gradients = ctx.gradients()
        slowness = self.ratio * (1 + ctx.step) ** self.power
        ctx.move("u", {name: d / slowness for name, d in ctx.propose("u", gradients.u).items()})
        ctx.apply("v", gradients.v)
        return None, sensitivity_of(gradients)
