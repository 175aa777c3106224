"""Negative momentum: each move takes back a part of the one before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from minimaxopt._types import Player, Record, Tensors
from minimaxopt.calculus.vectors import of
from minimaxopt.errors import ArgumentError
from minimaxopt.solvers.context import Context, require_parametric, sensitivity_of
from minimaxopt.solvers.two_losses import TwoLosses


@final
@dataclass(frozen=True)
class NegativeMomentum:
    """Alternate, and let each player take back a part of its last move.

    ``u_{i+1} = P(u_i + d_u + beta (u_i - u_{i-1}))`` with ``d_u = -lambda grad_u f(u_i, v_i)``, then ``v_{i+1} =
    P(v_i + d_v + beta (v_i - v_{i-1}))`` with ``d_v = sigma grad_v f(u_{i+1}, v_i)``

    ``d_u`` and ``d_v`` are what the players' optimizers propose; momentum of their own comes on top, so that SGD
    without momentum is the published method. The last move is the one really made, projections included. On bilinear
    games alternation with ``beta = -1/2`` converges linearly for rates below ``1 / s``, ``s`` the largest singular value,
    while without momentum it cycles, and simultaneous moves diverge for every ``beta``.

    Args:
        beta: the part of the last move that is added, above -1 and at most 0, where it is alternating gradient
            descent-ascent.
        alternate: whether the follower sees the leader's move. ``False`` moves both from the same point.

    Raises:
        ArgumentError: if ``beta`` is not in ``(-1, 0]``, or the follower responds.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Game, NegativeMomentum, solve
        >>> sgd = partial(torch.optim.SGD, lr=0.5)
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> for steps in (1, 2):
        ...     solution = solve(game, NegativeMomentum(), steps=steps, u_optimizer=sgd, v_optimizer=sgd)
        ...     print(solution.u.item(), solution.v.item())
        0.5 1.25
        0.125 1.1875

    Source: Gidel et al. 2019b (Negative Momentum for Improved Game Dynamics).
    """

    beta: float = -0.5
    alternate: bool = True

    name: ClassVar[str] = "negative-momentum"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")
    two_losses: ClassVar[TwoLosses] = "own"

    def __post_init__(self) -> None:
        if not -1 < self.beta <= 0:
            raise ArgumentError(
                f"beta: {self.beta} is not in (-1, 0]; for positive momentum use an optimizer that has it, such as "
                "partial(torch.optim.SGD, momentum=0.9)"
            )

    def init(self, ctx: Context) -> dict[Player, Tensors] | None:
        """Begin at rest."""
        require_parametric(ctx, self.name)
        return None

    def step(self, ctx: Context, state: dict[Player, Tensors] | None) -> tuple[dict[Player, Tensors], Record]:
        """Make one step of both players; the state is the moves made last."""
        if self.alternate:
            leader = ctx.gradients(players=("u",))
            made_u = self._move(ctx, "u", leader.u, state)
            follower = ctx.gradients(players=("v",))
        else:
            leader = follower = ctx.gradients()
            made_u = self._move(ctx, "u", leader.u, state)
        made_v = self._move(ctx, "v", follower.v, state)
        return {"u": made_u, "v": made_v}, {**sensitivity_of(follower), "risk": leader.risk}

    def _move(self, ctx: Context, player: Player, direction: Tensors, last: dict[Player, Tensors] | None) -> Tensors:
        before = {name: t.detach().clone() for name, t in of(ctx.point, player).items()}
        displacement = ctx.propose(player, direction)
        with torch.no_grad():
            if last is not None:
                displacement = {name: d + self.beta * last[player][name] for name, d in displacement.items()}
            ctx.move(player, displacement)
            return {name: t - before[name] for name, t in of(ctx.point, player).items()}
