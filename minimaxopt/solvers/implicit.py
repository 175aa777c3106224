"""Solvers that account for the move of the follower's best response, by the implicit function theorem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from minimaxopt._types import Player, Record, Tensors
from minimaxopt.calculus.newton_systems import check_system, follower_system
from minimaxopt.calculus.vectors import add, negated
from minimaxopt.solvers.context import Context, require_parametric, sensitivity_of
from minimaxopt.solvers.two_losses import TwoLosses


@final
@dataclass(frozen=True)
class Stackelberg:
    """Descend the total gradient, by the implicit function theorem; the follower ascends its own.

    ``u <- u - lambda [grad_u f - (d2f/du dv) (d2f/dv2)^-1 grad_v f]``, ``v <- v + sigma grad_v f``, both from ``(u, v)``

    The system ``(-d2f/dv2 + damping I) w = grad_v f`` is solved by conjugate gradients, begun at the last step's ``w``,
    and the leader's gradient is ``grad_u f + (d2f/du dv) w``. Where the iteration meets a direction in which ``f`` is
    not concave enough in ``v``, the system is solved in the least squares instead, at two products a step, and the
    step's ``not_concave`` is 1: on a non-singular Hessian without damping that is the equation above again, by which
    the points that attract are strict local minimax points alone.

    A large ``damping`` is ``Sensitivity(gamma=1/damping)``. It moves no stationary point, for ``w`` is zero where
    ``grad_v f`` is; with networks, whose Hessians are nearly singular, it should be positive.

    Where the follower has a loss ``g`` of its own, ``u <- u - lambda [grad_u f - (d2g/du dv) (d2g/dv2)^-1 grad_v f]`` and
    ``v <- v - sigma grad_v g``: the leader descends ``f(u, v(u))`` along the follower's best answers, a bilevel problem.
    The system is then ``(d2g/dv2 + damping I) w = grad_v f``, and damping shortens what the leader anticipates, which
    moves the point that it reaches.

    Both moves are projected where the game says so, but the system knows nothing of constraints: where the follower is
    pressed against one, ``w`` also holds what it may not do, and the leader ends beside the minimax point.

    Args:
        damping: what is added to the follower's negative Hessian, in its unit, not negative.
        cg_steps: the most steps of conjugate gradients.
        cg_tolerance: the relative residual at which they stop.

    Raises:
        ArgumentError: for settings out of range, or if the follower responds.
        DoubleBackwardError: if an operation of ``f`` has no second derivative in torch.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Game, Stackelberg, solve
        >>> game = Game(lambda u, v: -3 * u**2 - v**2 + 4 * u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> sgd = partial(torch.optim.SGD, lr=0.25)
        >>> solution = solve(game, Stackelberg(), steps=1, u_optimizer=sgd, v_optimizer=sgd)
        >>> solution.u.item(), solution.v.item()  # the total gradient is 2 u, whatever v
        (0.5, 1.5)

    Source: Fiez, Chasnov and Ratliff 2020, which is for two losses; Pedregosa 2016 for bilevel problems.
    """

    damping: float = 0.0
    cg_steps: int = 20
    cg_tolerance: float = 1e-6

    name: ClassVar[str] = "stackelberg"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")
    two_losses: ClassVar[TwoLosses] = "total"
    second_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_system(self.cg_steps, self.cg_tolerance, self.damping)

    def init(self, ctx: Context) -> Tensors | None:
        """Check that the follower can move; there is no solution yet to begin from."""
        require_parametric(ctx, self.name)

    def step(self, ctx: Context, state: Tensors | None) -> tuple[Tensors, Record]:
        """Make one step of both players."""
        blocks = ctx.blocks(players=("u", "v") if ctx.game.zero_sum else ("v",), products=self.cg_steps)
        leader = blocks.gradients if ctx.game.zero_sum else ctx.risk_gradients()
        answer = follower_system(
            blocks,
            negated(leader.v),
            damping=self.damping,
            steps=self.cg_steps,
            tolerance=self.cg_tolerance,
            start=state,
        )
        ctx.apply("u", add(leader.u, blocks.product(answer.x, row="u", column="v")))
        ctx.apply("v", blocks.gradients.v)
        return answer.x, {**sensitivity_of(blocks.gradients), "risk": leader.risk, **answer.record}


@final
@dataclass(frozen=True)
class FollowTheRidge:
    """Let the follower ascend, and besides make up for what the leader's move does to its gradient (FTR).

    ``du = -lambda grad_u f``, ``u <- u + du``, ``v <- v + sigma grad_v f - (d2f/dv2)^-1 (d2f/dv du) du``

    ``du`` is what the leader really does, by any optimizer and after its projection; with Adam, a correction formed from
    the gradient instead has nothing to do with that move and leads away. The correction itself goes through no
    optimizer: it is the shift for which ``grad_v f`` stays, to first order, what it was.

    The system ``(-d2f/dv2 + damping I) w = (d2f/dv du) du`` is solved by conjugate gradients, begun at the last step's
    ``w``. Away from the ridge the follower's Hessian need not be negative; where the iteration finds that it is not,
    ``w`` comes from the least squares ``min_w ||(d2f/dv du) du + (d2f/dv2) w||^2 + damping^2 ||w||^2``, at two products
    a step, and the step's ``not_concave`` is 1. Without damping that is the equation above for any non-singular Hessian,
    by which the points that attract are strict local minimax points alone; on a singular one, such as that of ``u v``,
    no correction is made where none helps.

    Damping moves no stationary point, for ``du`` is zero there. Both moves are projected where the game says so, but the
    correction knows nothing of the follower's constraint: it may be projected away, and is not formed anew within it.

    Args:
        damping: what is added to the follower's negative Hessian, in its unit, not negative; with networks, whose
            Hessians are nearly singular, it should be positive.
        cg_steps: the most steps of conjugate gradients.
        cg_tolerance: the relative residual at which they stop.

    Raises:
        ArgumentError: for settings out of range, or if the follower responds.
        DoubleBackwardError: if an operation of ``f`` has no second derivative in torch.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import FollowTheRidge, Game, solve
        >>> game = Game(lambda u, v: -3 * u**2 - v**2 + 4 * u * v, torch.tensor(1.0), torch.tensor(2.0))
        >>> sgd = partial(torch.optim.SGD, lr=0.25)
        >>> solution = solve(game, FollowTheRidge(), steps=1, u_optimizer=sgd, v_optimizer=sgd)
        >>> solution.u.item(), solution.v.item()  # the ridge is v = 2 u, and it was on it
        (0.5, 1.0)

    Source: Wang, Zhang and Ba 2020, Alg. 1; the normal equations as in their code.
    """

    damping: float = 0.0
    cg_steps: int = 20
    cg_tolerance: float = 1e-6

    name: ClassVar[str] = "follow-the-ridge"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")
    second_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_system(self.cg_steps, self.cg_tolerance, self.damping)

    def init(self, ctx: Context) -> Tensors | None:
        """Check that the follower can move; there is no solution yet to begin from."""
        require_parametric(ctx, self.name)

    def step(self, ctx: Context, state: Tensors | None) -> tuple[Tensors, Record]:
        """Make one step of both players."""
        blocks = ctx.blocks(products=self.cg_steps)
        gradients = blocks.gradients
        before = {name: t.detach().clone() for name, t in ctx.point.u.items()}
        ctx.apply("u", gradients.u)
        moved = {name: t.detach() - before[name] for name, t in ctx.point.u.items()}
        answer = follower_system(
            blocks,
            blocks.product(moved, row="v", column="u"),
            damping=self.damping,
            steps=self.cg_steps,
            tolerance=self.cg_tolerance,
            start=state,
        )
        ctx.move("v", add(ctx.propose("v", gradients.v), answer.x))
        return answer.x, {**sensitivity_of(gradients), **answer.record}
