"""Smoothed gradient descent-ascent: the leader is held near a slowly moving centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from minimaxopt._types import Player, Record, Tensors
from minimaxopt.errors import ArgumentError
from minimaxopt.solvers.context import Context, require_parametric, sensitivity_of
from minimaxopt.solvers.two_losses import TwoLosses


@final
@dataclass(frozen=True)
class SmoothedGDA:
    """Alternate on the risk plus a proximal term that holds the leader near a centre, which follows slowly.

    ``u <- P(u - lambda (grad_u f(u, v) + p (u - z)))``, ``v <- P(v + sigma grad_v f(u, v))`` at the new ``u``, ``z <- z
    + beta (u - z)``, from ``z = u``

    The optimizer sees the gradient of ``f + (p / 2) ||u - z||^2``. Its fixed points are those of gradient
    descent-ascent, yet it converges on bilinear games, and on nonconvex-concave ones it needs fewer steps than two time
    scales do. In theory ``p`` exceeds the leader's Lipschitz constant, and ``beta`` is small.

    Args:
        p: the strength of the proximal term, not negative; 0 is alternating gradient descent-ascent.
        beta: the part of the way to ``u`` that the centre goes in a step, in ``(0, 1]``.

    Raises:
        ArgumentError: if ``p`` or ``beta`` is outside its range, or the follower responds.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Game, SmoothedGDA, solve
        >>> sgd = partial(torch.optim.SGD, lr=0.2)
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> solution = solve(game, SmoothedGDA(), steps=300, u_optimizer=sgd, v_optimizer=sgd)
        >>> bool(solution.u.abs() + solution.v.abs() < 1e-3)
        True

    Source: Zhang et al. 2020 (A Single-Loop Smoothed Gradient Descent-Ascent Algorithm); Yang et al. 2022.
    """

    p: float = 1.0
    beta: float = 0.1

    name: ClassVar[str] = "smoothed-gda"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")
    two_losses: ClassVar[TwoLosses] = "own"

    def __post_init__(self) -> None:
        if not 0 <= self.p < float("inf"):
            raise ArgumentError(f"p: {self.p} does not hold the leader; give a finite number that is not negative")
        if not 0 < self.beta <= 1:
            raise ArgumentError(f"beta: {self.beta} is not in (0, 1]; give the part of the way that the centre goes")

    def init(self, ctx: Context) -> Tensors:
        """Put the centre where the leader is."""
        require_parametric(ctx, self.name)
        return {name: t.detach().clone() for name, t in ctx.point.u.items()}

    def step(self, ctx: Context, state: Tensors) -> tuple[Tensors, Record]:
        """Make one step of the leader, the follower and the centre; the state is the centre."""
        leader = ctx.gradients(players=("u",))
        with torch.no_grad():
            ctx.apply("u", {name: g + self.p * (ctx.point.u[name] - state[name]) for name, g in leader.u.items()})
        follower = ctx.gradients(players=("v",))
        ctx.apply("v", follower.v)
        with torch.no_grad():
            centre = {name: z + self.beta * (ctx.point.u[name] - z) for name, z in state.items()}
        return centre, {**sensitivity_of(follower), "risk": leader.risk}
