"""Algorithm 1: minimax optimisation by sensitivity penalisation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor

from minimaxopt._types import Player, Point, Record, Tensors
from minimaxopt.calculus.gradients import PenalizedGradient, gradients, operator, penalized_gradient, placed, scalar
from minimaxopt.calculus.vectors import add, dot, negated
from minimaxopt.errors import ArgumentError, DataError
from minimaxopt.game.trees import tensors_of
from minimaxopt.solvers.context import Context, sensitivity_of
from minimaxopt.solvers.micro_batches import accumulate, accumulated
from minimaxopt.solvers.step_derivatives import StepDerivatives
from minimaxopt.solvers.two_losses import TwoLosses


@final
@dataclass(frozen=True)
class Sensitivity:
    """Descend the risk plus a penalty on how steeply the follower could raise it.

    ``v_i = v_{i-1} + sigma grad_v f(u_{i-1}, v_{i-1})``,
    ``u_i = u_{i-1} - lambda grad_u [f(u_{i-1}, v_{i-1}) + (gamma / 2) ||grad_v f(u_{i-1}, v_{i-1})||^2]``

    The leader's gradient is ``grad_u f + gamma (d2f / du dv) grad_v f``, the total derivative of
    ``f(u, v + gamma grad_v f)`` to first order: the leader anticipates the follower's answer. With a responding follower
    the same is done on its answer ``Z``, held constant: ``grad_u [f(u, Z) + (gamma / 2) ||grad_Z f||^2]``, Eq. 8 with
    ``gamma = eta N``.

    Where the follower has a loss ``g`` of its own, ``v <- v - sigma grad_v g`` and ``u <- u - lambda grad_u [f + (gamma /
    2) ||grad_v g||^2]``, which is the above at ``g = -f``. Its fixed points are those of descent, ``grad_u f = 0`` and
    ``grad_v g = 0``, and not the solutions of a bilevel problem; the penalty method for those descends the same sum with
    the follower too, and lets ``gamma`` grow. ``Unrolled`` and ``Stackelberg`` anticipate the answer to ``g``.

    Args:
        gamma: the weight of the penalty: a number, a function of the 0-based step, or ``"sigma"``, the follower's
            learning rate (Eq. 16). A weight that suits a quadratic ``a u^2/2 + b u v - c v^2/2`` is ``1/c``, which
            makes it the exact Stackelberg gradient.
        per_sample: multiply ``gamma`` by the number of samples in the batch: with ``gamma=eta`` this is Eq. 8 for a
            risk that is the mean over the batch.
        alternate: move the follower first, and form everything anew at the point it has reached. Costs another
            evaluation.
        projected: count only what the follower's constraint leaves free of its gradient: with ``P`` the game's
            ``project_v``, the leader's gradient is ``grad_u f + gamma (d2f / du dv) P'(v + sigma grad_v f) grad_v f``.
            Where the follower can gain nothing by a move within its constraint, ``P(v + t grad_v f) = v`` for every
            ``t > 0``, so that this term vanishes: Alg. 1 ends at stationary points of the constrained game. ``None``,
            the default, does so where the game has a ``project_v``. ``False`` is the algorithm as printed, with the
            whole gradient, which ends beside those points wherever the follower is pressed against its constraint.
        split: estimate ``||grad_v f||^2`` as the inner product of two half-batches' gradients, which is unbiased; the
            square of one batch's gradient is larger by ``trace(Cov) / B`` on average.

    Raises:
        ArgumentError: for a negative or non-finite ``gamma``, ``"sigma"`` where the follower has no learning rate, or
            ``projected`` with a follower that responds or a projection that cannot be differentiated.
        DoubleBackwardError: if an operation of ``f`` has no second derivative in torch.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Game, Sensitivity, solve
        >>> game = Game(lambda u, v: -3 * u**2 - v**2 + 4 * u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> sgd = partial(torch.optim.SGD, lr=0.05)
        >>> solution = solve(game, Sensitivity(gamma=0.5), steps=400, u_optimizer=sgd, v_optimizer=sgd)
        >>> abs(solution.u.item()) < 1e-6 and abs(solution.v.item()) < 1e-6
        True

    Source: Hamm and Mehra 2018, Alg. 1 and Eqs. 8 and 16; Mehra and Hamm 2021 for the penalty method.
    """

    gamma: float | Callable[[int], float] | Literal["sigma"] = 1.0
    per_sample: bool = False
    alternate: bool = False
    split: bool = False
    projected: bool | None = None

    name: ClassVar[str] = "sensitivity"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")
    two_losses: ClassVar[TwoLosses] = "own"

    def __post_init__(self) -> None:
        if isinstance(self.gamma, str) and self.gamma != "sigma":
            raise ArgumentError(
                f"gamma: {self.gamma!r} is no weight; give a number, a function of the step, or 'sigma'"
            )
        if isinstance(self.gamma, (int, float)):
            _check_weight(self.gamma)

    @property
    def second_order(self) -> bool:
        """``True`` unless ``gamma`` is 0: the penalty differentiates the risk twice."""
        return self.gamma != 0

    def init(self, ctx: Context) -> None:
        """Check that the settings suit the game."""
        if self.gamma == "sigma" and ctx.responding:
            raise ArgumentError(
                "gamma: 'sigma' is the follower's learning rate, and a responding follower has none; give a number"
            )
        if self.split and ctx.responding:
            raise ArgumentError(
                "split: a responding follower answers each sample by itself, so that its penalty has no bias; "
                "leave split out"
            )
        if self.split and not ctx.game.zero_sum:
            raise ArgumentError("split: has no form for a follower with a loss of its own; leave split out")
        if self.split and ctx.micro_batches > 1:
            raise ArgumentError("split: halves each batch, which micro_batches divides already; leave one of them out")
        if self.projected and ctx.responding:
            raise ArgumentError(
                "projected: a responding follower has no projection; keep to the constraint inside respond, and leave "
                "projected out"
            )
        if self._projects(ctx):
            moved = {name: t.detach().clone().requires_grad_() for name, t in ctx.point.v.items()}
            if not any(t.requires_grad for t in ctx.project("v", moved).values()):
                raise ArgumentError(
                    "projected: project_v returns values that carry no gradient; write it with torch operations, or "
                    "give Sensitivity(projected=False), which leaves the constraint out of the leader's gradient"
                )

    def _projects(self, ctx: Context) -> bool:
        """Return whether the follower's constraint is part of the leader's gradient."""
        constrained = ctx.game.project_v is not None and not ctx.responding and self.gamma != 0
        return constrained if self.projected is None else self.projected

    def derivatives(self, *, responding: bool, constrained: bool = False) -> StepDerivatives:
        """Return the derivatives that a step evaluates, for its compilation."""
        if self.split:
            raise ArgumentError("compile: there is no compiled form with split; leave split out, or compile")
        if self.projected or (self.projected is None and constrained and self.gamma != 0):
            raise ArgumentError(
                "compile: there is no compiled form with projected; give Sensitivity(projected=False), or leave compile out"
            )
        first: tuple[tuple[Player, ...], ...] = (("v",),) if self.alternate and not responding else ()
        scheduled = "gamma" if callable(self.gamma) else ""
        return StepDerivatives((*first, ("u", "v") if self.gamma == 0 else None), scheduled)

    def step(self, ctx: Context, state: None) -> tuple[None, Record]:
        """Make one step of Alg. 1."""
        gamma = self._weight(ctx)
        if not ctx.game.zero_sum:
            return None, self._step_of_two_losses(ctx, gamma)
        if ctx.responding:
            penalized = self._at_the_answer(ctx, gamma)
        elif self.alternate:
            ctx.apply("v", ctx.gradients(players=("v",)).v)
            penalized = self._penalized_gradient(ctx, gamma)
        else:
            penalized = self._penalized_gradient(ctx, gamma)
            ctx.apply("v", penalized.v)
        ctx.gradient_evaluations += 1 if gamma == 0 else 2
        ctx.note_buffers(("u",))
        ctx.apply("u", penalized.u)
        return None, {"risk": penalized.risk, "sensitivity": penalized.sensitivity}

    def _step_of_two_losses(self, ctx: Context, gamma: float) -> Record:
        if self.alternate:
            ctx.apply("v", ctx.gradients(players=("v",)).v)
        if gamma == 0:
            own = ctx.gradients()
            leader, g_u = own, own.u
        else:
            blocks = ctx.blocks(players=("v",))
            own, leader = blocks.gradients, ctx.gradients(players=("u",))
            ascent = negated(own.v)
            free = self._unconstrained(ctx, ascent, ascent) if self._projects(ctx) else ascent
            # The derivative of the squared norm's half is the mixed product with the gradient.
            g_u = add(leader.u, blocks.product(free, row="u", column="v"), gamma)
        if not self.alternate:
            ctx.apply("v", own.v)
        ctx.apply("u", g_u)
        return {**sensitivity_of(own), "risk": leader.risk}

    def _weight(self, ctx: Context) -> float:
        if self.gamma == "sigma":
            gamma = ctx.rates()["v"]
        elif callable(self.gamma):
            gamma = _check_weight(float(self.gamma(ctx.step)), f" at step {ctx.step}")
        else:
            gamma = float(self.gamma)
        return gamma * ctx.samples() if self.per_sample else gamma

    def _at_the_answer(self, ctx: Context, gamma: float) -> PenalizedGradient:
        if ctx.micro_batches == 1:
            z, risk = ctx.respond()
            return penalized_gradient(risk, Point(ctx.point.u, z), gamma)
        g_u: Tensors = {}
        values: list[Tensor] = []
        ctx.gradient_evaluations += 1  # the answers
        for share, at, risk in ctx.evaluation.parts():
            # The slope of the batch's risk in these answers is the share of the micro-batch's own.
            part = penalized_gradient(risk, at, share * gamma)
            accumulate(g_u, share, part.u)
            values.append(torch.stack([share * part.risk, share**2 * part.sensitivity]))
        value, sensitivity = torch.stack(values).sum(0)
        return PenalizedGradient(value, g_u, {}, sensitivity)

    def _accumulated(self, ctx: Context, gamma: float) -> PenalizedGradient:
        """Return the penalized gradient of the mean over micro-batches: first ``grad_v f`` of all, then ``u`` of each."""
        players: tuple[Player, ...] = self.players if gamma == 0 else ("v",)
        both = accumulated((share, operator(risk, at, players)) for share, at, risk in ctx.evaluation.parts())
        g_v = negated(both.v)
        free = self._unconstrained(ctx, g_v, g_v) if self._projects(ctx) else g_v
        sensitivity = dot(g_v.values(), free.values())
        if gamma == 0:
            return PenalizedGradient(both.risk, both.u, both.v, sensitivity)
        ctx.gradient_evaluations += 1  # once more than for a whole batch
        g_u: Tensors = {}
        for share, point, risk in ctx.evaluation.parts():
            with placed(risk, point, self.players) as at:
                value = scalar(risk(at.u, at.v))
                slope = gradients(value, {"v": at.v}, create_graph=True)["v"]
                along = dot(slope.values(), [free[name] for name in slope])
                accumulate(g_u, share, gradients(value + gamma * along, {"u": at.u}, second=True)["u"])
        return PenalizedGradient(both.risk, g_u, both.v, sensitivity)

    def _penalized_gradient(self, ctx: Context, gamma: float) -> PenalizedGradient:
        if ctx.micro_batches > 1:
            return self._accumulated(ctx, gamma)
        projects = self._projects(ctx)
        if not self.split and not projects:
            return penalized_gradient(ctx.risk(), ctx.point, gamma)
        parts = _halves(ctx.batch) if self.split else (ctx.batch,)
        # Each part's graph is kept apart: what one evaluation does to the modules' state, the other would undo.
        evaluated: list[tuple[AbstractContextManager[Point], Tensor, Tensors]] = []
        for part in parts:
            risk = ctx.risk(batch=part)
            place = placed(risk, ctx.point, self.players, again=True)
            with place as at:
                value = scalar(risk(at.u, at.v))
                evaluated.append((place, value, gradients(value, {"v": at.v}, create_graph=True)["v"]))
        halves: list[Tensors] = [{n: g.detach() for n, g in half.items()} for *_, half in evaluated]
        g_v = {name: torch.stack([half[name] for half in halves]).mean(0) for name in halves[0]}
        free = [self._unconstrained(ctx, half, g_v) for half in halves] if projects else halves
        g_u: Tensors = {}
        # Each half's gradient against the other's; a constant factor leaves the derivative of the square's half.
        for (place, value, half), other in zip(evaluated, reversed(free), strict=True):
            with place as at:
                part = gradients(value + gamma * dot(half.values(), other.values()), {"u": at.u}, second=True)["u"]
            g_u = add(part, g_u) if g_u else part
        g_u = {name: g / len(parts) for name, g in g_u.items()}
        products = [dot(half.values(), other.values()) for half, other in zip(halves, reversed(free), strict=True)]
        risk = torch.stack([value.detach() for _, value, _ in evaluated]).mean()
        return PenalizedGradient(risk, g_u, negated(g_v), torch.stack(products).mean())

    def _unconstrained(self, ctx: Context, half: Tensors, g_v: Tensors) -> Tensors:
        """Return the part of a half's gradient that the constraint leaves free, at the point that the follower moves to."""
        # Adam's rate is no step along the gradient, but any positive one tells the blocked directions.
        rate = max(float(group["lr"]) for group in ctx.optimizers["v"].optimizer.param_groups)
        ahead = {n: (t + rate * g_v[n]).detach().requires_grad_() for n, t in ctx.point.v.items()}
        landed = ctx.project("v", ahead)
        along = dot([landed[name] for name in half], half.values())
        # The derivative of a projection on a convex set is symmetric, so that one backward pass is its product.
        return gradients(along, {"v": ahead})["v"]


def _check_weight(gamma: float, when: str = "") -> float:
    if not 0 <= gamma < float("inf"):
        raise ArgumentError(f"gamma: is {gamma}{when}; the penalty's weight must be finite and not negative")
    return gamma


def _halves(batch: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    import optree

    sizes = {t.shape[0] if t.dim() else 0 for t in tensors_of(batch)}
    if len(sizes) != 1 or (size := sizes.pop()) < 2 or size % 2:
        raise DataError(
            "split: needs batches of an even number of samples, one row each; choose an even batch_size that divides "
            "the data"
        )

    def half(rows: slice) -> tuple[Any, ...]:
        return optree.tree_map(lambda leaf: leaf[rows] if isinstance(leaf, Tensor) else leaf, batch)  # type: ignore[return-value] - of the same structure

    return half(slice(0, size // 2)), half(slice(size // 2, None))
