"""Newton steps of the follower, and of the leader on the risk that remains after the follower's answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from minimaxopt._types import Player, Record, Tensors
from minimaxopt.calculus.conjugate_gradient import conjugate_gradient
from minimaxopt.calculus.hessian import Blocks
from minimaxopt.calculus.newton_systems import check_system, follower_system, solve_record
from minimaxopt.calculus.vectors import add, negated
from minimaxopt.solvers.context import Context, require_parametric, sensitivity_of


@final
@dataclass(frozen=True)
class NewtonFollower:
    """Move the leader along its gradient, then the follower by a Newton step from there (GDN).

    ``u <- u - lambda grad_u f(u, v)``, then ``v <- v - sigma (d2f/dv2 - damping I)^-1 grad_v f`` at the new ``u``

    The published step is ``torch.optim.SGD(lr=1)`` for the follower. Any optimizer takes the Newton direction in the
    place of the gradient, but one that rescales it, such as Adam, gives away what the curvature tells. After a full
    step on a strictly concave quadratic the follower's answer is exact, so that the leader descends ``max_v f`` itself.

    The direction comes from conjugate gradients begun at zero, whose every iterate climbs as long as the curvature they
    meet is negative. Where it is not, a Newton step would seek a minimum or a saddle point; the step is then along the
    gradient, and ``not_concave`` is 1.

    Both moves are projected where the game says so; a Newton step projected is not the best allowed one where
    constraints couple values, and may then fail to climb.

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
        >>> from minimaxopt import Game, NewtonFollower, solve
        >>> game = Game(lambda u, v: -3 * u**2 - v**2 + 4 * u * v, torch.tensor(1.0), torch.tensor(2.0))
        >>> slow, full = partial(torch.optim.SGD, lr=0.25), partial(torch.optim.SGD, lr=1.0)
        >>> solution = solve(game, NewtonFollower(), steps=1, u_optimizer=slow, v_optimizer=full)
        >>> solution.u.item(), solution.v.item()  # the best answer is v = 2 u
        (0.5, 1.0)

    Source: Zhang, Wu, Poupart and Yu 2020, GDN; Nocedal and Wright 2006, Sec. 7.1, for indefinite Hessians.
    """

    damping: float = 0.0
    cg_steps: int = 20
    cg_tolerance: float = 1e-6

    name: ClassVar[str] = "newton-follower"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")
    second_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_system(self.cg_steps, self.cg_tolerance, self.damping)

    def init(self, ctx: Context) -> None:
        """Check that the follower can move."""
        require_parametric(ctx, self.name)

    def step(self, ctx: Context, state: None) -> tuple[None, Record]:
        """Make one step of both players."""
        leader = ctx.gradients(players=("u",))
        ctx.apply("u", leader.u)
        return None, {**_climb(ctx, self), "risk": leader.risk}


@final
@dataclass(frozen=True)
class CompleteNewton:
    """Move the leader by a Newton step on ``max_v f``, then the follower by one from there (CN).

    ``u <- u - lambda (S + damping I)^-1 grad_u f`` with ``S = d2f/du2 - (d2f/du dv) (d2f/dv2 - damping I)^-1 (d2f/dv
    du)``, then ``v <- v - sigma (d2f/dv2 - damping I)^-1 grad_v f`` at the new ``u``

    ``S`` is the Hessian of ``max_v f`` on the ridge. With ``torch.optim.SGD(lr=1)`` for both players, the published
    step, and without damping it converges quadratically to a strict local minimax point from near by. Damping shrinks
    what the follower adds to ``S``, and too much makes it indefinite at a minimax point that is no Nash point. Each
    product with ``S`` solves a system of the follower's, so that a step may cost ``cg_steps`` squared products: for
    games of few dimensions, or bad conditioning.

    Where ``S`` turns out not to be positive the leader's step is along its gradient, and ``not_convex`` is 1; for the
    follower's see ``NewtonFollower``. Both moves are projected where the game says so; ``S`` knows nothing of
    constraints.

    Args:
        damping: what is added to ``S`` and to the follower's negative Hessian, in their unit, not negative.
        cg_steps: the most steps of conjugate gradients, outside and inside.
        cg_tolerance: the relative residual at which they stop.

    Raises:
        ArgumentError: for settings out of range, or if the follower responds.
        DoubleBackwardError: if an operation of ``f`` has no second derivative in torch.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import CompleteNewton, Game, solve
        >>> game = Game(lambda u, v: -3 * u**2 - v**2 + 4 * u * v, torch.tensor(1.0), torch.tensor(2.0))
        >>> full = partial(torch.optim.SGD, lr=1.0)
        >>> solution = solve(game, CompleteNewton(), steps=1, u_optimizer=full, v_optimizer=full)
        >>> solution.u.item(), solution.v.item()
        (0.0, 0.0)

    Source: Zhang, Wu, Poupart and Yu 2020, CN.
    """

    damping: float = 0.0
    cg_steps: int = 20
    cg_tolerance: float = 1e-6

    name: ClassVar[str] = "complete-newton"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")
    second_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_system(self.cg_steps, self.cg_tolerance, self.damping)

    def init(self, ctx: Context) -> None:
        """Check that the follower can move."""
        require_parametric(ctx, self.name)

    def step(self, ctx: Context, state: None) -> tuple[None, Record]:
        """Make one step of both players."""
        blocks = ctx.blocks(products=self.cg_steps**2)
        leader = blocks.gradients
        solved = conjugate_gradient(
            lambda p: self._curvature(blocks, p), leader.u, tolerance=self.cg_tolerance, max_steps=self.cg_steps
        )
        ctx.apply("u", leader.u if solved.negative is not None else solved.x)
        convex = solve_record(solved.residual, solved.negative is not None)
        return None, {**_climb(ctx, self), "risk": leader.risk, "not_convex": convex["not_concave"]}

    def _curvature(self, blocks: Blocks, p: Tensors) -> Tensors:
        """Return ``(S + damping I) p``."""
        answer = follower_system(
            blocks,
            blocks.product(p, row="v", column="u"),
            damping=self.damping,
            steps=self.cg_steps,
            tolerance=self.cg_tolerance,
            start=None,
        )
        bent = add(blocks.product(p, row="u", column="u"), blocks.product(answer.x, row="u", column="v"))
        return add(bent, p, self.damping)


def _climb(ctx: Context, solver: NewtonFollower | CompleteNewton) -> Record:
    """Move the follower by a damped Newton step from where the players are."""
    blocks = ctx.blocks(players=("v",), products=solver.cg_steps)
    gradients = blocks.gradients

    def curvature(w: Tensors) -> Tensors:
        return add(negated(blocks.product(w, row="v", column="v")), w, solver.damping)

    solved = conjugate_gradient(curvature, gradients.v, tolerance=solver.cg_tolerance, max_steps=solver.cg_steps)
    broke = solved.negative is not None
    ctx.apply("v", gradients.v if broke else solved.x)
    return {**sensitivity_of(gradients), **solve_record(solved.residual, broke)}
