"""Unrolled optimisation: differentiate through the follower's next steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch

from minimaxopt._types import Player, Point, Record, Tensors
from minimaxopt.calculus.gradients import gradients, placed, scalar
from minimaxopt.calculus.hessian import Blocks
from minimaxopt.calculus.vectors import add, dot, negated
from minimaxopt.errors import ArgumentError
from minimaxopt.solvers.context import Context, require_parametric, sensitivity_of
from minimaxopt.solvers.two_losses import TwoLosses


@final
@dataclass(frozen=True)
class Unrolled:
    """Descend the risk that remains after ``steps`` plain ascent steps of the follower, differentiating through them.

    ``v_0 = v``, ``v_{k+1} = v_k + inner_lr grad_v f(u, v_k)``, ``u <- u - lambda d/du f(u, v_K(u))``, and ``v <- v +
    sigma grad_v f(u, v)`` from the same point, by the follower's own optimizer

    Memory grows with ``steps``. Where the game projects the follower, every inner step is projected too. Where the
    follower has a loss ``g`` of its own, it descends ``g`` instead, in the inner steps and in its move: the leader then
    descends the total derivative of ``f(u, v_K(u))``, the bilevel problem's as ``K`` grows.

    Args:
        steps: K, the inner ascent steps, at least 1.
        inner_lr: their size, a positive number or ``"sigma"``, the follower's learning rate.

    Raises:
        ArgumentError: for ``steps < 1`` or ``inner_lr <= 0``, or if the follower responds.
        DoubleBackwardError: if an operation of ``f`` has no second derivative in torch.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Game, Unrolled, solve
        >>> game = Game(lambda u, v: u * v - v**2 / 2, torch.tensor(1.0), torch.tensor(0.0))
        >>> sgd = partial(torch.optim.SGD, lr=0.5)
        >>> solution = solve(game, Unrolled(steps=1, inner_lr=0.5), steps=1, u_optimizer=sgd, v_optimizer=sgd)
        >>> solution.u.item(), solution.v.item()  # v_1 = u / 2, so that f(u, v_1(u)) = 3 u^2 / 8
        (0.625, 0.5)

    Source: Metz, Poole, Pfau and Sohl-Dickstein 2017, the surrogate loss; Franceschi et al. 2017 for two losses.
    """

    steps: int = 5
    inner_lr: float | Literal["sigma"] = "sigma"

    name: ClassVar[str] = "unrolled"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")
    two_losses: ClassVar[TwoLosses] = "total"
    second_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ArgumentError(f"steps: {self.steps} unrolls nothing; give at least 1")
        if isinstance(self.inner_lr, str):
            if self.inner_lr != "sigma":
                raise ArgumentError(f"inner_lr: {self.inner_lr!r} is no step size; give a positive number or 'sigma'")
        elif not 0 < self.inner_lr < float("inf"):
            raise ArgumentError(f"inner_lr: {self.inner_lr} is no step size; give a positive number or 'sigma'")

    def init(self, ctx: Context) -> None:
        """Check that the follower can move."""
        require_parametric(ctx, self.name)

    def step(self, ctx: Context, state: None) -> tuple[None, Record]:
        """Make one step of both players."""
        size = ctx.rates()["v"] if self.inner_lr == "sigma" else float(self.inner_lr)
        point = ctx.point
        unrolled: list[tuple[Blocks, Tensors]] = []
        for k in range(self.steps):
            fresh = ctx.fresh_ascent and k > 0
            blocks = ctx.blocks(
                point, substep=k if fresh else 0, batch=ctx.fresh_batch() if fresh else None, players=("v",)
            )
            ahead = {name: t.detach() - size * blocks.gradients.v[name] for name, t in point.v.items()}
            unrolled.append((blocks, ahead))
            with torch.no_grad():
                point = Point(ctx.point.u, ctx.project("v", ahead))
        last = ctx.risk_gradients(point)
        # The adjoint of the inner steps, from the last to the first.
        g_u, adjoint = last.u, negated(last.v)
        for blocks, ahead in reversed(unrolled):
            adjoint = self._through_projection(ctx, ahead, adjoint)
            product = blocks.column(adjoint, column="v")
            g_u, adjoint = add(g_u, product.u, size), add(adjoint, product.v, size)
        first = unrolled[0][0].gradients
        record = {**sensitivity_of(first), "unrolled_risk": last.risk}
        if not ctx.game.zero_sum:
            risk = ctx.risk()
            with placed(risk, ctx.point, ()) as at:
                record["risk"] = scalar(risk(at.u, at.v)).detach()
        ctx.apply("v", first.v)
        ctx.apply("u", g_u)
        return None, record

    @staticmethod
    def _through_projection(ctx: Context, ahead: Tensors, adjoint: Tensors) -> Tensors:
        """Return the transposed derivative of the projection at ``ahead`` times ``adjoint``."""
        tracked = {name: t.detach().requires_grad_() for name, t in ahead.items()}
        landed = ctx.project("v", tracked)
        if landed is tracked:
            return adjoint
        return gradients(dot([landed[name] for name in adjoint], adjoint.values()), {"v": tracked})["v"]
