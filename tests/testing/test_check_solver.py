"""The suite for solvers: it passes those that keep the contract, and names what each other breaks."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import pytest
import torch

from minimaxopt import Sensitivity
from minimaxopt.calculus.gradients import operator, penalized_gradient
from minimaxopt.errors import ArgumentError
from minimaxopt.solvers import SOLVERS
from minimaxopt.testing import check_solver


@dataclass(frozen=True)
class Theirs:
    """A solver from outside that keeps the contract: optimistic steps, with a counter in its state."""

    name: ClassVar[str] = "their-solver"
    players: ClassVar[tuple[str, ...]] = ("u", "v")

    def init(self, ctx: Any) -> Any:
        if ctx.responding:
            raise ArgumentError("solver: moves the follower, and this one responds; give one with tensors")
        return {"count": 0, "before": None}

    def step(self, ctx: Any, state: Any) -> Any:
        here = ctx.gradients()
        now = {"u": here.u, "v": here.v}
        before = now if state["before"] is None else state["before"]
        for player in self.players:
            ctx.apply(player, {n: 2 * g - before[player][n] for n, g in now[player].items()})
        return {"count": state["count"] + 1, "before": now}, {"risk": here.risk}


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_the_librarys_own_solvers_pass(name: str) -> None:
    check_solver(SOLVERS[name])


def test_a_strangers_solver_passes_as_instance_class_and_function() -> None:
    for solver in (Theirs(), Theirs, lambda: Theirs()):
        check_solver(solver)
    check_solver(Sensitivity(gamma="sigma"), optimizer=partial(torch.optim.Adam, lr=0.01))


def refused(solver: Any, sentence: str, **options: Any) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_solver(solver, **options)


# -- form --------------------------------------------------------------------------------------------------------------


def test_what_is_no_solver_is_refused() -> None:
    refused(3, "^int: is not a solver; give an instance, its class, or a function")
    refused(lambda gamma: Sensitivity(gamma), "cannot be made without arguments")

    @dataclass(frozen=True)
    class Loud(Theirs):
        name: ClassVar[str] = "Their Solver"

    refused(Loud, "its name is 'Their Solver'; give .* kebab-case")

    @dataclass(frozen=True)
    class Third(Theirs):
        players: ClassVar[tuple[str, ...]] = ("u", "w")

    refused(Third, r"its players are \('u', 'w'\)")

    @dataclass(frozen=True)
    class Unready(Theirs):
        init: ClassVar[Any] = None

    refused(Unready, "has no method 'init'")

    class Soft:
        name, players = "soft", ("u", "v")
        init, step = Theirs.init, Theirs.step

    refused(Soft(), "is not a frozen dataclass")

    @dataclass
    class Thawed:
        name: ClassVar[str] = "thawed"
        players: ClassVar[tuple[str, ...]] = ("u", "v")
        init: ClassVar[Any] = Theirs.init
        step: ClassVar[Any] = Theirs.step

    refused(Thawed, "is not a frozen dataclass")


# -- conduct -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Nameless(Theirs):
    def step(self, ctx: Any, state: Any) -> Any:
        state, record = Theirs.step(self, ctx, state)
        return state, {"loss": record["risk"]}


@dataclass(frozen=True)
class Wide(Theirs):
    def step(self, ctx: Any, state: Any) -> Any:
        state, record = Theirs.step(self, ctx, state)
        return state, {**record, "speed": record["risk"].reshape(1)}


@dataclass(frozen=True)
class Plain(Theirs):
    def step(self, ctx: Any, state: Any) -> Any:
        state, record = Theirs.step(self, ctx, state)
        return state, {"risk": float(record["risk"])}


@dataclass(frozen=True)
class Stateless(Theirs):
    def step(self, ctx: Any, state: Any) -> Any:
        return Theirs.step(self, ctx, state)[1]


@dataclass(frozen=True)
class Listed(Theirs):
    def step(self, ctx: Any, state: Any) -> Any:
        state, record = Theirs.step(self, ctx, state)
        return state, [record["risk"]]


@dataclass(frozen=True)
class Raising(Theirs):
    def step(self, ctx: Any, state: Any) -> Any:
        raise KeyError("gamma")


@dataclass(frozen=True)
class Uncounted(Theirs):
    def step(self, ctx: Any, state: Any) -> Any:
        before = ctx.gradient_evaluations
        made = Theirs.step(self, ctx, state)
        ctx.gradient_evaluations = before
        return made


@dataclass(frozen=True)
class Meddling(Theirs):
    def step(self, ctx: Any, state: Any) -> Any:
        made = Theirs.step(self, ctx, state)
        ctx.game.u["x"].add_(1.0) if isinstance(ctx.game.u, dict) else None
        return made


@dataclass(frozen=True)
class Idle(Theirs):
    def step(self, ctx: Any, state: Any) -> Any:
        here = ctx.gradients()
        ctx.apply("u", here.u)
        return state, {"risk": here.risk}


@dataclass(frozen=True)
class Trespassing(Theirs):
    players: ClassVar[tuple[str, ...]] = ("u",)

    def step(self, ctx: Any, state: Any) -> Any:
        here = ctx.gradients()
        ctx.apply("u", here.u)
        with torch.no_grad():
            for name, tensor in ctx.point.v.items():
                tensor.sub_(0.01 * here.v[name])
        return state, {"risk": here.risk}


@dataclass(frozen=True)
class Exploding(Theirs):
    def step(self, ctx: Any, state: Any) -> Any:
        here = ctx.gradients()
        for player, direction in (("u", here.u), ("v", here.v)):
            ctx.apply(player, {n: -1e200 * g for n, g in direction.items()})
        return state, {"risk": here.risk}


@dataclass(frozen=True)
class Dicing(Theirs):
    draw: ClassVar[Any] = staticmethod(random.SystemRandom().random)

    def step(self, ctx: Any, state: Any) -> Any:
        luck, here = self.draw(), ctx.gradients()
        for player, direction in (("u", here.u), ("v", here.v)):
            ctx.apply(player, {n: luck * g for n, g in direction.items()})
        return state, {"risk": here.risk}


@dataclass(frozen=True)
class Shuffling(Dicing):
    """Draws from torch's own stream, which the risk's replays reset, but not in the step after a checkpoint."""

    draw: ClassVar[Any] = staticmethod(lambda: torch.rand(()))


@dataclass(frozen=True)
class Rolling(Dicing):
    """The same with Python's own stream."""

    draw: ClassVar[Any] = staticmethod(random.random)


@dataclass(frozen=True)
class Remembering(Theirs):
    """Keeps its counter in itself: a second run begins with the first one's."""

    steps: list[int] = field(default_factory=list)

    def step(self, ctx: Any, state: Any) -> Any:
        self.steps.append(1)
        here = ctx.gradients()
        for player, direction in (("u", here.u), ("v", here.v)):
            ctx.apply(player, {n: g / len(self.steps) for n, g in direction.items()})
        return state, {"risk": here.risk}


@dataclass(frozen=True)
class Forgetting(Theirs):
    """Keeps the gradients before on the context, where no checkpoint finds them."""

    def step(self, ctx: Any, state: Any) -> Any:
        made, record = Theirs.step(self, ctx, {"count": 0, "before": getattr(ctx, "kept", None)})
        ctx.kept = made["before"]
        return None, record


@dataclass(frozen=True)
class Odd:
    value: int = 3


@dataclass(frozen=True)
class Unsaved(Theirs):
    def init(self, ctx: Any) -> Any:
        return Odd()

    def step(self, ctx: Any, state: Any) -> Any:
        return state, Theirs.step(self, ctx, {"count": 0, "before": None})[1]


@dataclass(frozen=True)
class Escaping(Theirs):
    """Moves the tensors itself, past the projection."""

    def step(self, ctx: Any, state: Any) -> Any:
        here = ctx.gradients()
        with torch.no_grad():
            for tensors, direction in ((ctx.point.u, here.u), (ctx.point.v, here.v)):
                for name, tensor in tensors.items():
                    tensor.sub_(0.05 * direction[name])
        return state, {"risk": here.risk}


@dataclass(frozen=True)
class Peeking(Theirs):
    """Looks at a point ahead that it does not project."""

    def step(self, ctx: Any, state: Any) -> Any:
        here = ctx.gradients()
        u, v = ({n: t - 0.1 * g[n] for n, t in p.items()} for p, g in zip(ctx.point, (here.u, here.v), strict=True))
        ahead = ctx.gradients(ctx.point._replace(u=u, v=v))
        ctx.apply("u", ahead.u)
        ctx.apply("v", ahead.v)
        return state, {"risk": here.risk}


@dataclass(frozen=True)
class Bufferless(Theirs):
    """Evaluates by itself and does not note what that left in the buffers."""

    def step(self, ctx: Any, state: Any) -> Any:
        here = operator(ctx.risk(), ctx.point)
        ctx.gradient_evaluations += 1
        ctx.apply("u", here.u)
        ctx.apply("v", here.v)
        return state, {"risk": here.risk}


@dataclass(frozen=True)
class Secretive(Theirs):
    """Differentiates twice without a word."""

    def step(self, ctx: Any, state: Any) -> Any:
        gradients = penalized_gradient(ctx.risk(), ctx.point, 0.5)
        ctx.note_buffers(("u",))
        ctx.gradient_evaluations += 2
        ctx.apply("v", gradients.v)
        ctx.apply("u", gradients.u)
        return state, {"risk": gradients.risk}


@dataclass(frozen=True)
class Overt(Secretive):
    second_order: ClassVar[bool] = True


@dataclass(frozen=True)
class Deaf(Theirs):
    """Does not look whether the follower responds, and differentiates the risk by itself."""

    def init(self, ctx: Any) -> Any:
        return {"count": 0, "before": None}

    def step(self, ctx: Any, state: Any) -> Any:
        gradients = operator(ctx.risk(), ctx.point)
        ctx.gradient_evaluations += 1
        ctx.note_buffers(("u", "v"))
        ctx.apply("u", gradients.u)
        ctx.apply("v", gradients.v)
        return state, {"risk": gradients.risk}


BREACHES = [
    (Nameless, r"does not record 'risk' but \['loss'\]"),
    (Wide, r"records 'speed' as a tensor of shape \(1,\)"),
    (Plain, "records 'risk' as float"),
    (Stateless, r"its step returns dict; return \(state, record\)"),
    (Listed, "its record is list"),
    (Raising, "failed on its first step: KeyError: 'gamma'"),
    (Uncounted, "counts no gradient evaluation"),
    (Meddling, "changed the players that it was given"),
    (Idle, "did not move v, though it is among its players"),
    (Trespassing, r"moved v, which is not among its players \('u',\)"),
    (Exploding, "did not complete 20 steps of a well-behaved quadratic"),
    (Dicing, "does not repeat itself under one seed"),
    (Shuffling, "differs in u, v, risk when continued from a checkpoint; .*seeded by ctx.seed"),
    (Rolling, "differs in u, v, risk when continued from a checkpoint; .*seeded by ctx.seed"),
    (Remembering, "does not repeat itself under one seed.*keep nothing in the solver"),
    (Forgetting, "differs in u, v, risk when continued from a checkpoint"),
    (Unsaved, "failed on a checkpoint: ResumeError: .*Odd cannot be saved"),
    (Escaping, "left the players' domain in step 0"),
    (Peeking, "evaluates the risk outside the players' domain"),
    (Bufferless, "left u's batch statistics counting 0 batches in 20 steps"),
    (Secretive, "differentiates the risk twice and does not say so"),
    (Deaf, "neither plays with a follower that responds nor refuses it .*raise an ArgumentError"),
]


@pytest.mark.parametrize(("solver", "sentence"), BREACHES, ids=[solver.__name__ for solver, _ in BREACHES])
def test_a_breach_is_named(solver: Any, sentence: str) -> None:
    refused(solver, f"^their-solver: {sentence}")


@dataclass(frozen=True)
class OfOneRisk(Theirs):
    """Declares two losses, and ascends the risk all the same."""

    two_losses: ClassVar[str] = "own"

    def step(self, ctx: Any, state: Any) -> Any:
        here = ctx.risk_gradients()
        ctx.apply("u", here.u)
        ctx.apply("v", {n: 2 * g for n, g in here.v.items()} if ctx.game.zero_sum else here.v)
        return state, {"risk": here.risk}


@dataclass(frozen=True)
class OfTwoLosses(Theirs):
    two_losses: ClassVar[str] = "own"


@dataclass(frozen=True)
class OfAnyKind(Theirs):
    two_losses: ClassVar[Any] = True


def test_two_losses_are_played_as_declared() -> None:
    check_solver(OfTwoLosses)
    refused(OfOneRisk, "plays another game where the follower's own loss is -f")
    refused(OfAnyKind, "its two_losses is True; give 'own' or 'total'")


def test_saying_that_it_differentiates_twice_is_enough() -> None:
    check_solver(Overt)
