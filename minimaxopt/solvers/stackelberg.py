"""The total gradient: descend the risk that remains when the follower's best answer moves along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from minimaxopt._types import Player, Record, Tensors
from minimaxopt.calculus.gradients import negated
from minimaxopt.game.trees import add
from minimaxopt.solvers.context import Context, require_parametric, sensitivity_of
from minimaxopt.solvers.implicit import check_system, follower_system


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

    Source: Fiez, Chasnov and Ratliff 2020.
    """

    damping: float = 0.0
    cg_steps: int = 20
    cg_tolerance: float = 1e-6

    name: ClassVar[str] = "stackelberg"
    movers: ClassVar[tuple[Player, ...]] = ("u", "v")
    twice: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_system(self.cg_steps, self.cg_tolerance, self.damping)

    def init(self, ctx: Context) -> Tensors | None:
        """Check that the follower can move; there is no solution yet to begin from."""
        require_parametric(ctx, self.name)

    def step(self, ctx: Context, state: Tensors | None) -> tuple[Tensors, Record]:
        """Make one step of both players."""
        blocks = ctx.blocks()
        found = blocks.gradients
        answer = follower_system(
            blocks,
            negated(found.v),
            damping=self.damping,
            steps=self.cg_steps,
            tolerance=self.cg_tolerance,
            start=state,
        )
        ctx.apply("u", add(found.u, blocks.product(answer.x, row="u", column="v")))
        ctx.apply("v", found.v)
        return answer.x, {**sensitivity_of(found), **answer.record}
