"""Competitive gradient descent: both players solve a local game that both can see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from minimaxopt._types import Player, Record, Tensors
from minimaxopt.calculus.conjugate_gradient import conjugate_gradient
from minimaxopt.calculus.newton_systems import check_system
from minimaxopt.calculus.vectors import add, negated
from minimaxopt.errors import ArgumentError
from minimaxopt.solvers.context import Context, require_parametric, sensitivity_of


@final
@dataclass(frozen=True)
class CompetitiveGradient:
    """Move both players to the Nash point of the game's bilinear model with a quadratic price on each one's step (CGD).

    ``(I + lambda sigma (d2f/du dv) (d2f/dv du)) p = grad_u f + sigma (d2f/du dv) grad_v f``, ``u <- u - lambda p``,
    ``v <- v + sigma [grad_v f - lambda (d2f/dv du) p]``, all at ``(u, v)``

    The steps are those of ``min_du max_dv <grad_u f, du> + <du, (d2f/du dv) dv> + <grad_v f, dv> + ||du||^2 / (2 lambda)
    - ||dv||^2 / (2 sigma)``, so that each player answers the other's step. With ``lambda = sigma`` it is the method as
    printed. The system is positive definite for every ``f``; conjugate gradients solve it for the leader, and one product
    more gives the follower's step exactly. They begin at zero: the system lies near the identity, and the two products
    that a start from the last step costs are not won back.

    On ``f = u v`` with rates ``eta`` each step divides the distance from the solution by ``sqrt(1 + eta^2)``: it
    converges for every ``eta``. The local game has no leader: a stationary point that is not minimax, such as 0 of
    ``3 x^2 + y^2 + 4 x y``, may attract.

    The step sizes are part of the system, so that both optimizers have to be plain ``torch.optim.SGD``, whose rates are
    read afresh at each step; schedules are welcome. Both moves are projected where the game says so, but the local game
    is played without constraints.

    Args:
        cg_steps: the most steps of conjugate gradients, each of two products.
        cg_tolerance: the relative residual at which they stop.

    Raises:
        ArgumentError: for settings out of range, if the follower responds, or for an optimizer that does not make the
            step it is given: any but SGD, and SGD with momentum, weight decay, or groups of different rates.
        DoubleBackwardError: if an operation of ``f`` has no second derivative in torch.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import CompetitiveGradient, Game, solve
        >>> sgd = partial(torch.optim.SGD, lr=1.0)
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> solution = solve(game, CompetitiveGradient(), steps=1, u_optimizer=sgd, v_optimizer=sgd)
        >>> solution.u.item(), solution.v.item()
        (0.0, 1.0)

    Source: Schaefer and Anandkumar 2019, Alg. 1; Schaefer, Zheng and Anandkumar 2020 for a rate of each player's own.
    """

    cg_steps: int = 20
    cg_tolerance: float = 1e-6

    name: ClassVar[str] = "competitive-gradient"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")
    second_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_system(self.cg_steps, self.cg_tolerance)

    def init(self, ctx: Context) -> None:
        """Check that the follower can move and that both optimizers are plain."""
        require_parametric(ctx, self.name)
        for player in self.players:
            _require_plain(ctx, player)

    def step(self, ctx: Context, state: None) -> tuple[None, Record]:
        """Make one step of both players."""
        blocks, rates = ctx.blocks(products=2 * self.cg_steps), ctx.rates()
        gradients = blocks.gradients

        def against(du: Tensors) -> Tensors:
            return blocks.product(du, row="v", column="u")

        def coupled(p: Tensors) -> Tensors:
            return add(p, blocks.product(against(p), row="u", column="v"), rates["u"] * rates["v"])

        right = add(gradients.u, blocks.product(negated(gradients.v), row="u", column="v"), rates["v"])
        solved = conjugate_gradient(coupled, right, tolerance=self.cg_tolerance, max_steps=self.cg_steps)
        ctx.apply("u", solved.x)
        ctx.apply("v", add(gradients.v, against(solved.x), rates["u"]))
        return None, {**sensitivity_of(gradients), "linear_residual": solved.residual}


def _require_plain(ctx: Context, player: Player) -> None:
    """Refuse an optimizer whose step is not its rate times the direction."""
    optimizer = ctx.optimizers[player].optimizer
    remedy = "give plain SGD, such as partial(torch.optim.SGD, lr=0.1), or use 'symplectic-adjustment', which takes any"
    if type(optimizer) is not torch.optim.SGD:
        raise ArgumentError(
            f"{player}_optimizer: competitive gradient solves for the step itself, which {type(optimizer).__name__} "
            f"would make into another; {remedy}"
        )
    used = sorted(
        {name for group in optimizer.param_groups for name in ("momentum", "weight_decay", "nesterov") if group[name]}
    )
    if used:
        raise ArgumentError(
            f"{player}_optimizer: competitive gradient solves for the step itself, which {' and '.join(used)} would "
            f"change; {remedy}"
        )
    rates = {float(group["lr"]) for group in optimizer.param_groups}
    if len(rates) != 1:
        raise ArgumentError(
            f"{player}_optimizer: has groups of different rates {sorted(rates)}, and the system has one for each player; "
            "give one rate"
        )
