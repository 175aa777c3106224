"""Both engines of Hessian-vector products give the same steps and certificates, and the manifest names the one in use."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from minimaxopt import (
    Certificate,
    CompetitiveGradient,
    CompleteNewton,
    Consensus,
    Context,
    FollowTheRidge,
    Game,
    Hamiltonian,
    NewtonFollower,
    Solution,
    Stackelberg,
    SymplecticAdjustment,
    Unrolled,
    certify,
    solve,
)
from minimaxopt.solvers import hessian_engine
from tests.derivatives import ENGINES, close, in_double

_double = pytest.fixture(in_double, autouse=True)
SGD = partial(torch.optim.SGD, lr=0.05)
SOLVERS: dict[str, Any] = {
    "stackelberg": Stackelberg(damping=2.0),
    "follow-the-ridge": FollowTheRidge(damping=2.0),
    "newton-follower": NewtonFollower(damping=2.0),
    "complete-newton": CompleteNewton(damping=2.0, cg_steps=5),
    "competitive-gradient": CompetitiveGradient(),
    "symplectic-adjustment": SymplecticAdjustment(weight=0.5),
    "consensus": Consensus(gamma=0.5),
    "hamiltonian": Hamiltonian(),
    "unrolled": Unrolled(steps=2, inner_lr=0.1),
}


class Steep(nn.Module):
    """A network whose second derivatives do not vanish."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def game(make: Any = Steep, risk: Any = None) -> Game:
    torch.manual_seed(0)
    leader, follower = make(), Steep()
    x = torch.randn(6, 3)

    def f(u: nn.Module, v: nn.Module) -> Tensor:
        v_length = sum(p.square().sum() for p in v.parameters())
        return u(x + v(x)).sin().sum() + u(x).square().sum() - 0.5 * v_length

    return Game(risk or f, leader, follower)


def choose(monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    """Let one engine form all products, however many are wanted."""
    monkeypatch.setattr(hessian_engine, "MANY", 1 if engine == "torch.func" else 10**9)


def played(solver: Any, game: Game, steps: int = 3) -> Solution:
    return solve(game, solver, steps=steps, u_optimizer=SGD, v_optimizer=SGD)


def engine_of(result: Solution | Certificate) -> dict[str, str]:
    record = result.manifest if isinstance(result, Solution) else result.settings
    return record["hessian_products"]


# -- the engines agree -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOLVERS)
def test_steps_are_the_same_by_both_engines(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    solutions: list[Solution] = []
    for engine in ("torch.func", "autograd"):
        choose(monkeypatch, engine)
        solutions.append(played(SOLVERS[name], game()))
        assert engine_of(solutions[-1])["engine"] == engine
    for ours, theirs in zip(*([s.u, s.v] for s in solutions), strict=True):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert close(a, b, ENGINES)
    assert solutions[0].gradient_evaluations == solutions[1].gradient_evaluations


def test_certificates_are_the_same_by_both_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    certificates: list[Certificate] = []
    for engine in ("torch.func", "autograd"):
        choose(monkeypatch, engine)
        at = game()
        certificates.append(certify(at, (at.u, at.v), restarts=0, steps=1))
        assert engine_of(certificates[-1])["engine"] == engine
    ours, theirs = certificates
    assert ours.kind == theirs.kind
    assert ours.eigenvalues.keys() == theirs.eigenvalues.keys() != set()
    for name, quantity in ours.eigenvalues.items():
        assert quantity.value == pytest.approx(theirs.eigenvalues[name].value, rel=1e-10)
    assert ours.cost["gradient_evaluations"] == theirs.cost["gradient_evaluations"]


def test_batch_statistics_are_committed_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    def normalised() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 3))

    means: list[Tensor] = []
    for engine in ("torch.func", "autograd"):
        choose(monkeypatch, engine)
        solution = played(SOLVERS["stackelberg"], game(normalised))
        assert engine_of(solution)["engine"] == engine
        means.append(solution.u[1].running_mean)
    assert means[0].abs().max() > 1e-3
    assert close(*means, ENGINES)


# -- the choice --------------------------------------------------------------------------------------------------------


def test_many_products_on_modules_are_those_of_torch_func() -> None:
    assert engine_of(played(SOLVERS["stackelberg"], game())) == {"engine": "torch.func", "reason": ""}


def test_few_products_are_autograds() -> None:
    record = engine_of(played(SOLVERS["consensus"], game()))
    assert record["engine"] == "autograd"
    assert "few products" in record["reason"]


def test_tensors_are_played_by_autograd() -> None:
    tensors = Game(lambda u, v: (u * v).sum() + u.square().sum() - v.square().sum(), torch.ones(30), torch.ones(30))
    record = engine_of(played(SOLVERS["stackelberg"], tensors))
    assert record["engine"] == "autograd"
    assert "without modules" in record["reason"]


def test_a_first_order_solver_says_nothing() -> None:
    assert "hessian_products" not in played("alternating-gda", game()).manifest


# -- games that torch.func cannot transform, or evaluates otherwise ----------------------------------------------------


class Checkpointed(Steep):
    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.inner, x, use_reentrant=False)


class Counting(Steep):
    """Scales by how often it was called."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.inner(x) / (1 + 0.1 * self.calls)


class WithGradientInside(Steep):
    def forward(self, x: Tensor) -> Tensor:
        tracked = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.inner(tracked).sum(), tracked, create_graph=True)
        return self.inner(x) + slope


def hooked() -> nn.Module:
    module = Steep()
    module.inner[0].weight.register_hook(lambda gradient: 0.5 * gradient)
    return module


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Checkpointed, "saved tensor hooks"),
        (Counting, r"its code changes u\.calls"),
        (WithGradientInside, "cannot be transformed by torch.func"),
        (hooked, r"u\.inner\.0\.weight has a hook"),
    ],
)
def test_what_torch_func_cannot_do_autograd_plays_exactly(
    make: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    solution = played(SOLVERS["stackelberg"], game(make))
    record = engine_of(solution)
    assert record["engine"] == "autograd"
    assert re.search(reason, record["reason"])
    choose(monkeypatch, "autograd")
    alone = played(SOLVERS["stackelberg"], game(make))
    for a, b in zip(solution.u.parameters(), alone.u.parameters(), strict=True):
        assert torch.equal(a, b)


def under_a_transform() -> bool:
    return torch._C._functorch.peek_interpreter_stack() is not None


def test_another_value_under_the_transform_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    at = game()

    def risk(u: nn.Module, v: nn.Module) -> Tensor:
        further = 0.0 if under_a_transform() else 1e-6 * u.inner[0].bias.square().sum()
        return at.f(u, v) + further

    solution = played(SOLVERS["stackelberg"], game(risk=risk))
    record = engine_of(solution)
    assert record["engine"] == "autograd"
    assert "differs" in record["reason"]
    choose(monkeypatch, "autograd")
    alone = played(SOLVERS["stackelberg"], game(risk=risk))
    for a, b in zip(solution.u.parameters(), alone.u.parameters(), strict=True):
        assert torch.equal(a, b)


def test_what_stops_being_transformable_goes_on_by_autograd() -> None:
    at = game()
    limit = float(at.u.inner[0].bias.detach().sum()) - 0.2

    def risk(u: nn.Module, v: nn.Module) -> Tensor:
        bias = u.inner[0].bias.sum()
        if under_a_transform() and float(torch.func.debug_unwrap(bias).detach()) < limit:
            raise RuntimeError("no transform here")
        return at.f(u, v) + 10 * bias

    solution = played(SOLVERS["stackelberg"], game(risk=risk), steps=4)
    assert solution.ok
    assert engine_of(solution) == {"engine": "autograd", "reason": "at a later point RuntimeError: no transform here"}


def test_what_comes_to_differ_is_noticed_with_a_warning() -> None:
    at, evaluations = game(), [0]

    def risk(u: nn.Module, v: nn.Module) -> Tensor:
        evaluations[0] += 1
        late = evaluations[0] > 15 and under_a_transform()
        return at.f(u, v) + (1e-3 * u.inner[0].bias.square().sum() if late else 0.0)

    with pytest.warns(match="agree no longer"):
        solution = played(SOLVERS["stackelberg"], game(risk=risk), steps=30)
    record = engine_of(solution)
    assert record["engine"] == "autograd"
    assert record["reason"].startswith("at a later point")


class Late(Steep):
    """A network that counts its evaluations, from the 12th on."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = 0

    def forward(self, x: Tensor) -> Tensor:
        EVALUATED[0] += 1
        if EVALUATED[0] >= 12:
            self.counted += 1
        return super().forward(x) * (1 + 0.01 * self.counted)


EVALUATED = [0]


def test_a_counter_that_begins_later_is_played_by_autograd() -> None:
    EVALUATED[0] = 0
    solution = played(SOLVERS["stackelberg"], game(make=Late), steps=12)
    record = engine_of(solution)
    assert record["engine"] == "autograd"
    assert "counted, which is no buffer" in record["reason"]
    assert solution.u.counted > 0


def test_the_choice_is_part_of_a_checkpoint() -> None:
    ctx = Context(game(), u_optimizer=SGD, v_optimizer=SGD)
    ctx.advance(SOLVERS["stackelberg"], None)
    assert ctx.hessian_engine.name == "torch.func"
    other = Context(game(), u_optimizer=SGD, v_optimizer=SGD)
    other.load_state_dict(ctx.state_dict())
    assert other.hessian_engine.record() == ctx.hessian_engine.record()
