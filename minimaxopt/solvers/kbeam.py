"""K-beam minimax: several followers are kept, and the leader answers the strongest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from minimaxopt._types import Buffers, Player, Point, Record, Tensors, Tree
from minimaxopt.calculus.gradients import Gradients, gradients, placed, scalar, track
from minimaxopt.calculus.vectors import negated, squared_norm
from minimaxopt.constraints.mirror import ExponentiatedGradient
from minimaxopt.errors import ArgumentError, RiskError
from minimaxopt.game.random_streams import replay, stream
from minimaxopt.game.trees import with_own_containers
from minimaxopt.solvers.context import Context, Snapshot, require_parametric
from minimaxopt.solvers.evaluation import close

Draw = Callable[[Tree, torch.Generator], Tree]
"""Returns a random follower of the structure, shapes and types of the given one."""


@final
@dataclass(frozen=True)
class KBeam:
    """Keep ``followers`` many followers; the leader descends against the strongest, then every follower ascends.

    ``k* = argmax_k f(u, v_k)``, ``u <- P(u - lambda grad_u f(u, v_k*))``, ``v_k <- P(v_k + sigma grad_v f(u, v_k))`` at
    the new ``u`` for ``k = 1, ..., K``

    One follower is caught on its local maximum, and jumps of the best answer go past it; of several, one is near the new
    best answer when the old one ceases to be. ``grad_u f(u, v_k*)`` is then nearly a subgradient of ``max_v f(u, v)``.
    The followers share the step sizes and each has moments of its own. ``v`` is left at the follower that is strongest on
    the step's batch after its ascent, and if something else moves ``v``, that follower is taken to have moved. With one
    follower it is ``AlternatingGDA()``. The record has ``strongest``, the number of the follower that the leader
    answered. A step counts ``1 + followers ascent_steps`` gradient evaluations, with an ``epsilon`` ``followers (1 +
    ascent_steps)``; to find the strongest it evaluates the risk twice more for each follower.

    The followers begin at ``draw``; without it at random points of the set of ``project_v``, if that can draw; else at
    the given ``v`` plus Gaussian noise.

    Args:
        followers: K, how many are kept.
        epsilon: the leader descends the mean over the followers whose risk is within ``epsilon`` of the strongest's, in
            the unit of the risk: an epsilon-subgradient. 0 means the strongest alone, the first of equals.
        ascent_steps: each follower's steps for each step of the leader; with ``solve(ascent_batches="fresh")`` those
            after the first have a batch and random draw of their own.
        keep_given: whether the first follower begins at the given ``v`` instead of a random point.
        draw: a function of the given ``v`` (a module stands as the dictionary of its parameters) and a
            ``torch.Generator``, both on the CPU, that returns a random follower of the same structure.
        spread: the standard deviation of the Gaussian noise, in the unit of ``v``.
        vectorise: evaluate all followers in one pass by ``torch.vmap``. ``None``, the default, does so where the first
            step finds that it gives what one evaluation after the other gives; ``True`` refuses a risk that cannot be
            vectorised, such as one with data-dependent control flow; ``False`` evaluates one after the other.

    Raises:
        ArgumentError: if a setting is outside its range, if ``draw`` returns another structure, or if the follower
            responds.
        RiskError: if ``f`` cannot be vectorised, with ``vectorise=True``.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Box, Game, KBeam, solve
        >>> box, sgd = Box(-0.5, 0.5), partial(torch.optim.SGD, lr=0.05)
        >>> game = Game(  # max_v f is least at u = 0, where both ends of the interval are best answers
        ...     lambda u, v: 2 * v**2 - (u - v) ** 2, torch.tensor(0.3), torch.tensor(0.1), project_u=box, project_v=box
        ... )
        >>> for solver in (KBeam(followers=1), KBeam(followers=10)):
        ...     solution = solve(game, solver, steps=200, u_optimizer=sgd, v_optimizer=sgd)
        ...     print(f"{solution.u.abs().item():.1f}")
        0.5
        0.0

    Source: Hamm and Noh 2018 (K-Beam Minimax), Alg. 1.
    """

    followers: int = 5
    epsilon: float = 0.0
    ascent_steps: int = 1
    keep_given: bool = True
    draw: Draw | None = None
    spread: float = 0.1
    vectorise: bool | None = None

    name: ClassVar[str] = "k-beam"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")

    def __post_init__(self) -> None:
        if self.followers < 1:
            raise ArgumentError(f"followers: {self.followers} leaves the leader alone; keep at least 1")
        if not 0 <= self.epsilon < float("inf"):
            raise ArgumentError(f"epsilon: {self.epsilon} is no distance from the strongest; give 0 or more")
        if self.ascent_steps < 1:
            raise ArgumentError(
                f"ascent_steps: {self.ascent_steps} leaves the followers without a move; give 1 or more"
            )
        if not 0 < self.spread < float("inf"):
            raise ArgumentError(f"spread: {self.spread} does not tell the followers apart; give a positive number")

    # -- the beginning -------------------------------------------------------------------------------------------------

    def init(self, ctx: Context) -> dict[str, Any]:
        """Spread the followers."""
        require_parametric(ctx, self.name)
        if self.followers > 1:
            ctx.evaluation.require_whole_batches()
        initial = {name: t.detach().clone() for name, t in ctx.point.v.items()}
        # Drawn on the CPU, so that a run on another device has the same followers.
        generator = torch.Generator().manual_seed(stream(ctx.seed, 0, "start"))
        drawn = self.followers - self.keep_given
        rows = [initial] * self.keep_given + [self._drawn(ctx, initial, generator) for _ in range(drawn)]
        nothing: list[dict[str, Any]] = [{} for _ in initial]
        _put(ctx, rows[0], nothing)
        device = next(iter(initial.values())).device
        return {
            "followers": _stacked(rows),
            "moments": [nothing for _ in rows],
            "strongest": torch.zeros((), dtype=torch.int64, device=device),
            "vectorised": None if self.followers > 1 and self.vectorise is not False else False,
        }

    def _drawn(self, ctx: Context, initial: Tensors, generator: torch.Generator) -> Tensors:
        draw = self.draw or getattr(ctx.game.project_v, "draw", None)
        if draw is None:
            if ctx.game.project_v is None and isinstance(ctx.optimizers["v"].optimizer, ExponentiatedGradient):
                raise ArgumentError(
                    "draw: without one the followers begin with Gaussian noise, which leaves the simplex on which "
                    "ExponentiatedGradient moves; give the game project_v=Simplex(), or give draw=Simplex().draw"
                )
            drawn = {
                name: t + self.spread * torch.randn(t.shape, generator=generator, dtype=t.dtype).to(t.device)
                for name, t in initial.items()
            }
        else:
            place = ctx.played.tree("v", {n: t.cpu() for n, t in initial.items()}, modules_as_dicts=True)
            drawn = self._read(ctx, initial, draw(place, generator))
        with torch.no_grad():
            return ctx.project("v", drawn)

    def _read(self, ctx: Context, initial: Tensors, drawn: Tree) -> Tensors:
        remedy = "return one random tensor for each that it was given"
        try:
            flat = ctx.played.flat("v", drawn)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise ArgumentError(f"draw: did not return the structure that it was given ({error}); {remedy}") from error
        for name, tensor in initial.items():
            if flat[name].shape != tensor.shape:
                raise ArgumentError(
                    f"draw: returned shape {tuple(flat[name].shape)} for {name!r} of shape {tuple(tensor.shape)}; {remedy}"
                )
        return {name: flat[name].detach().to(tensor) for name, tensor in initial.items()}

    # -- a step --------------------------------------------------------------------------------------------------------

    def step(self, ctx: Context, state: dict[str, Any]) -> tuple[dict[str, Any], Record]:
        """Make one step of the leader and of every follower.

        The state is the followers, stacked, the moments of each, and the number of the one at which ``v`` was left.
        """
        followers = _with_row(state["followers"], state["strongest"], ctx.point.v)
        together = self._can_be_vectorised(ctx, followers) if state["vectorised"] is None else state["vectorised"]
        moments: list[list[dict[str, Any]]] = state["moments"]
        answered = self._strongest(ctx, followers, together)
        leader = self._leader(ctx, followers, answered, together)
        ctx.apply("u", leader.u)
        slopes: Tensors = {}
        for substep in range(self.ascent_steps):
            fresh = ctx.fresh_ascent and substep > 0
            batch = ctx.fresh_batch() if fresh else ctx.batch
            slopes = self._gradients(ctx, followers, substep if fresh else 0, batch, together)
            followers, moments = _ascended(ctx, followers, moments, slopes)
        strongest = self._strongest(ctx, followers, together)
        _put(ctx, _row(followers, strongest))
        sensitivity = squared_norm(_row(slopes, strongest).values())
        record = {"risk": leader.risk, "sensitivity": sensitivity, "strongest": answered.to(leader.risk.dtype)}
        after = {"followers": followers, "moments": moments, "strongest": strongest, "vectorised": together}
        return after, record

    def _strongest(self, ctx: Context, followers: Tensors, together: bool) -> Tensor:
        if self.followers == 1:
            return torch.zeros((), dtype=torch.int64, device=next(iter(followers.values())).device)
        # Not under no_grad: f may take gradients of its own, as a penalty on a critic's slope does.
        if together:
            return self._risks(ctx, track(Point(ctx.point.u, followers), ()), 0, ctx.batch).detach().argmax()
        risk, values = ctx.risk(), []
        for row in self._rows(followers):
            with placed(risk, Point(ctx.point.u, row), ()) as at:
                values.append(scalar(risk(at.u, at.v)).detach())
        return torch.stack(values).argmax()

    def _leader(self, ctx: Context, followers: Tensors, strongest: Tensor, together: bool) -> Gradients:
        best = Point(ctx.point.u, _row(followers, strongest))
        if self.epsilon == 0 or self.followers == 1:
            return ctx.gradients(best, players=("u",))
        if together:
            ctx.gradient_evaluations += self.followers
            at = track(Point(ctx.point.u, followers), ("u",))
            risks = self._risks(ctx, at, 0, ctx.batch)
            near = self._near(risks.detach())
            g_u = gradients((near * risks).sum() / near.sum(), {"u": at.u})["u"]
        else:
            each = [ctx.gradients(Point(ctx.point.u, row), players=("u",)) for row in self._rows(followers)]
            risks = torch.stack([gradient.risk for gradient in each])
            near = self._near(risks)
            stacked = _stacked([gradient.u for gradient in each])
            g_u = {n: torch.tensordot(near / near.sum(), g, dims=1) for n, g in stacked.items()}
        # The strongest is evaluated once more for the state that it leaves.
        risk = ctx.risk()
        with placed(risk, best, ()) as still:
            risk(still.u, still.v)
        ctx.note_buffers(("u",))
        return Gradients(risks.detach().max(), g_u, {})

    def _can_be_vectorised(self, ctx: Context, followers: Tensors) -> bool:
        """Return whether the followers evaluated together give what they give one after the other."""
        spent = ctx.gradient_evaluations
        try:
            at = track(Point(ctx.point.u, followers), ("u", "v"))
            risks = self._risks(ctx, at, 0, ctx.batch)
            jointly = gradients(risks.sum(), {"u": at.u, "v": at.v})
            each = [ctx.gradients(Point(ctx.point.u, row)) for row in self._rows(followers)]
            apart_v = _stacked([negated(gradient.v) for gradient in each])
            apart_u = {n: t.sum(0) for n, t in _stacked([gradient.u for gradient in each]).items()}
            same = close(risks, torch.stack([gradient.risk for gradient in each]))
            same = same and all(close(jointly["v"][n], g) for n, g in apart_v.items())
            same = same and all(close(jointly["u"][n], g) for n, g in apart_u.items())
            reason = "" if same else "its values or gradients are then others"
        except (RiskError, RuntimeError) as error:
            reason = str(error).splitlines()[0].removeprefix("f: ")
        ctx.gradient_evaluations = spent
        if reason and self.vectorise:
            raise RiskError(f"f: cannot be vectorised over followers ({reason}); give KBeam(vectorise=False)")
        return not reason

    def _near(self, risks: Tensor) -> Tensor:
        return (risks >= risks.max() - self.epsilon).to(risks.dtype)

    def _rows(self, followers: Tensors) -> list[Tensors]:
        return [{n: t[k] for n, t in followers.items()} for k in range(self.followers)]

    def _gradients(
        self, ctx: Context, followers: Tensors, substep: int, batch: tuple[Any, ...], together: bool
    ) -> Tensors:
        """Return ``grad_v f`` of every follower: no follower's risk depends on another, so one sum serves all."""
        if not together:
            points = [Point(ctx.point.u, row) for row in self._rows(followers)]
            each = [ctx.gradients(point, players=("v",), substep=substep, batch=batch) for point in points]
            return _stacked([negated(gradient.v) for gradient in each])
        at = track(Point(ctx.point.u, followers), ("v",))
        ctx.gradient_evaluations += self.followers
        return gradients(self._risks(ctx, at, substep, batch).sum(), {"v": at.v})["v"]

    def _risks(self, ctx: Context, at: Point, substep: int, batch: tuple[Any, ...]) -> Tensor:
        """Return the risk of every follower, all on one random draw."""
        evaluation = ctx.evaluation
        ctx.played.write_state(ctx.module_state)

        def one(v: Tensors, buffers: Buffers) -> Tensor:
            return scalar(evaluation.functional.evaluate(at.u, v, with_own_containers(batch), buffers)[0])

        # Batch normalisation writes each follower's statistics, for which one set of buffers has no room.
        buffers: Buffers = {
            player: {name: t.expand(self.followers, *t.shape) for name, t in tensors.items()}
            for player, tensors in evaluation.buffers.items()
        }
        replay(stream(ctx.seed, ctx.step, "risk", substep), ctx.devices, host=ctx.host.seeded)
        return torch.vmap(one, randomness="same")(at.v, buffers)


def _ascended(
    ctx: Context, followers: Tensors, moments: list[list[dict[str, Any]]], slopes: Tensors
) -> tuple[Tensors, list[list[dict[str, Any]]]]:
    """Return the followers and their moments after one ascent step of each, made one after the other."""
    rows: list[Tensors] = []
    after: list[list[dict[str, Any]]] = []
    for k, moment in enumerate(moments):
        _put(ctx, {name: t[k] for name, t in followers.items()}, moment)
        ctx.apply("v", {name: -slope[k] for name, slope in slopes.items()})
        made = ctx.snapshot(("v",))
        rows.append(made.parameters["v"])
        after.append(made.moments["v"])
    return _stacked(rows), after


def _put(ctx: Context, v: Tensors, moments: list[dict[str, Any]] | None = None) -> None:
    """Let ``v`` be the follower, to the bit."""
    ctx.restore(Snapshot({"v": v}, {"v": moments or []}), moments=moments is not None)


def _stacked(rows: list[Tensors]) -> Tensors:
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def _row(stacked: Tensors, index: Tensor) -> Tensors:
    """Return one row without waiting to learn which it is."""
    return {name: t.index_select(0, index.to(t.device).view(1)).squeeze(0) for name, t in stacked.items()}


def _with_row(stacked: Tensors, index: Tensor, row: Tensors) -> Tensors:
    return {
        name: t.index_copy(0, index.to(t.device).view(1), row[name].detach().unsqueeze(0))
        for name, t in stacked.items()
    }
