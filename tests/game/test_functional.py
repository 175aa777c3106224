"""Inside f modules behave like modules, and what comes back is a copy that has moved."""

from __future__ import annotations

import copy
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from minimaxopt import (
    Ascent,
    Descent,
    Game,
    Sensitivity,
    SimultaneousGDA,
    Unrolled,
    solve,
)
from minimaxopt.errors import ArgumentError, DoubleBackwardError
from minimaxopt.game.functional import Functional
from minimaxopt.game.played_game import PlayedGame
from tests.derivatives import in_double

if TYPE_CHECKING:
    from collections.abc import Callable

_double = pytest.fixture(in_double, autouse=True)
SGD = partial(torch.optim.SGD, lr=0.1)
ROUNDING = 1e-12  # float64; a step made in another order of operations


def value_and_gradient(game: Game) -> tuple[Tensor, dict[str, Tensor]]:
    """Evaluate through the functional form."""
    played = PlayedGame(game)
    functional, u = Functional(played), played.parameters["u"]
    value, _ = functional.evaluate(u, played.parameters["v"], (), functional.buffers_of(played.start))
    found = torch.autograd.grad(value, list(u.values()), allow_unused=True)
    return value, {n: torch.zeros_like(t) if g is None else g for (n, t), g in zip(u.items(), found, strict=True)}


# -- modules behave like modules --------------------------------------------------------------------------------------

X = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Rich(nn.Module):
    """A module that is used in every way but the usual one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 1)
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("offset", torch.full((3,), 0.25))
        self.rate = 0.5

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.encode(x))

    def encode(self, x: Tensor) -> Tensor:
        return torch.tanh(self.first(x)) * self.scale + self.offset

    @property
    def size(self) -> Tensor:
        return sum(p.square().sum() for p in self.parameters())


USES: dict[str, Callable[[Rich], Tensor]] = {
    "call": lambda net: net(X).sum(),
    "method": lambda net: net.encode(X).sum(),
    "property": lambda net: net.size,
    "submodule": lambda net: net.first(X).square().sum(),
    "attribute": lambda net: (net.scale * net.offset * net.rate).sum(),
    "deep attribute": lambda net: net.first.weight.square().sum() + net.second.bias.sum(),
    "parameters": lambda net: sum(p.abs().sum() for p in net.parameters()),
    "named parameters": lambda net: sum(p.sum() * len(name) for name, p in net.named_parameters()),
    "state_dict": lambda net: (net.state_dict(keep_vars=True)["first.weight"] ** 3).sum(),
    "get_parameter": lambda net: net.get_parameter("first.weight").sum(),
    "children": lambda net: sum(m(X).sum() for m in net.children()),
    "modules": lambda net: sum(m.weight.sum() for m in net.modules() if isinstance(m, nn.Linear)),
    "a hook": lambda net: hooked(net),
}


def hooked(net: Rich) -> Tensor:
    seen: list[Tensor] = []
    handle = net.first.register_forward_hook(lambda module, inputs, output: seen.append(output))
    net(X)
    handle.remove()
    return seen[0].square().sum()


@pytest.mark.parametrize("use", USES)
def test_a_module_inside_f_is_used_like_any_module(use: str) -> None:
    net = Rich()
    value, gradient = value_and_gradient(Game(lambda u, v: USES[use](u), net, None))
    expected = USES[use](net)
    expected.backward()
    assert torch.equal(value, expected)
    for name, p in net.named_parameters():
        assert torch.equal(gradient[name], torch.zeros_like(p) if p.grad is None else p.grad)
    assert any(bool(g.any()) for g in gradient.values())


@pytest.mark.parametrize(
    ("build", "read"),
    [
        (lambda net, w: {"net": net, "w": w}, lambda u: (u["net"], u["w"])),
        (lambda net, w: [w, net], lambda u: (u[1], u[0])),
        (lambda net, w: ({"deep": [net]}, w), lambda u: (u[0]["deep"][0], u[1])),
        (lambda net, w: {"z": w, "a": (net,)}, lambda u: (u["a"][0], u["z"])),
    ],
    ids=["dict", "list", "tuple", "keys out of order"],
)
def test_nestings_reach_f_in_their_own_form(build: Any, read: Any) -> None:
    net, w = nn.Linear(3, 1), torch.arange(1.0, 4.0)

    def risk(u: Any, v: Any) -> Tensor:
        inner, weights = read(u)
        return inner(X * weights).square().sum()

    tree = build(net, w)
    value, gradient = value_and_gradient(Game(risk, tree, None))
    w.requires_grad_()
    expected = risk(tree, None)
    expected.backward()
    assert torch.equal(value, expected)
    found = sorted(gradient.values(), key=lambda g: g.numel())
    for got, want in zip(found, sorted([net.bias.grad, w.grad, net.weight.grad], key=lambda g: g.numel()), strict=True):
        assert got.numel() == want.numel()
    assert any(torch.equal(g, w.grad) for g in found)
    assert any(torch.equal(g, net.weight.grad) for g in found)


def test_the_structure_is_kept_to_the_type() -> None:
    def risk(u: Any, v: Any) -> Tensor:
        assert list(u) == ["z", "a"]
        assert isinstance(u["a"], tuple)
        assert isinstance(v, list)
        return u["z"] * v[0] + u["a"][0]

    game = Game(risk, {"z": torch.ones(()), "a": (torch.ones(()),)}, [torch.ones(())])
    solution = solve(game, "simultaneous-gda", steps=1, u_optimizer=SGD, v_optimizer=SGD)
    assert list(solution.u) == ["z", "a"]
    assert isinstance(solution.u["a"], tuple)
    assert isinstance(solution.v, list)


def test_a_missing_player_reaches_f_as_none() -> None:
    seen: list[Any] = []

    def risk(u: Any, v: Any) -> Tensor:
        seen.append(v)
        return u.square().sum()

    assert solve(Game(risk, torch.ones(2), None), Descent(), steps=1, u_optimizer=SGD).v is None
    assert seen == [None] * len(seen)
    with pytest.raises(ArgumentError, match="v: has no tensor"):
        solve(Game(risk, torch.ones(2), None), Ascent(), steps=1)


def test_a_risk_with_a_batch_gets_it() -> None:
    game = Game(lambda u, v, batch: (u * batch[0] + v * batch[1]).sum(), torch.ones(2), torch.ones(2))
    data = [(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))]
    solution = solve(game, SimultaneousGDA(), data=data, steps=1, u_optimizer=SGD, v_optimizer=SGD)
    assert torch.allclose(solution.u, torch.tensor([0.9, 0.8]))
    assert torch.allclose(solution.v, torch.tensor([1.3, 1.4]))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.a(x)))


def two_tied() -> list[nn.Module]:
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)
    b.weight = a.weight
    return [a, b]


@pytest.mark.parametrize(
    ("build", "forward"),
    [
        (Tied, lambda u: u(X)),
        (two_tied, lambda u: u[1](torch.tanh(u[0](X)))),
        (lambda: [nn.Linear(3, 3)] * 2, lambda u: u[1](torch.tanh(u[0](X)))),
    ],
    ids=["in one module", "in two modules", "one module twice"],
)
@pytest.mark.parametrize("solver", [Descent(), Sensitivity(0.5), Unrolled(2, 0.1)], ids=lambda s: s.name)
def test_tied_weights_move_as_one(build: Any, forward: Any, solver: Any) -> None:
    tree = build()
    game = Game(lambda u, v: (forward(u) * v).square().mean(), tree, torch.ones(3))
    solution = solve(game, solver, steps=2, u_optimizer=SGD, v_optimizer=SGD)
    a, b = (solution.u.a, solution.u.b) if isinstance(solution.u, Tied) else solution.u
    assert a.weight is b.weight
    before = tree.a if isinstance(tree, Tied) else tree[0]
    assert not torch.equal(a.weight, before.weight)
    if isinstance(solver, Descent):  # by hand, on the original
        held = tree if isinstance(tree, nn.Module) else nn.ModuleList(tree)
        by_hand = torch.optim.SGD(held.parameters(), lr=0.1)
        for _ in range(2):
            by_hand.zero_grad()
            forward(tree).square().mean().backward()
            by_hand.step()
        assert torch.allclose(a.weight, before.weight, rtol=0, atol=ROUNDING)


def test_tied_buffers_are_one_value() -> None:
    a, b = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    b.running_mean = a.running_mean
    game = Game(lambda u, v: u[1](u[0](X) + 1).square().sum() + u[1].running_mean.sum(), [a, b], None)
    played = PlayedGame(game)
    functional = Functional(played)
    _, after = functional.evaluate(played.parameters["u"], {}, (), functional.buffers_of(played.start))
    plain = copy.deepcopy(nn.ModuleList([a, b]))
    plain[1](plain[0](X) + 1)
    assert torch.equal(after["u"]["0.running_mean"], plain[1].running_mean)


NORMED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "old spectral_norm": nn.utils.spectral_norm,
    "old weight_norm": nn.utils.weight_norm,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize("norm", NORMED)
def test_reparametrised_modules_train_as_they_do_by_hand(norm: str) -> None:
    net = NORMED[norm](nn.Linear(3, 3))
    solution = solve(Game(lambda u, v: u(X).square().mean(), net, None), Descent(), steps=3, u_optimizer=SGD)
    by_hand = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        by_hand.zero_grad()
        net(X).square().mean().backward()
        by_hand.step()
    for name, value in net.state_dict().items():
        assert torch.allclose(solution.u.state_dict()[name], value, rtol=0, atol=ROUNDING), name
    assert parametrize.is_parametrized(solution.u) == parametrize.is_parametrized(net)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize("norm", NORMED)
def test_reparametrised_modules_can_be_differentiated_twice(norm: str) -> None:
    net = NORMED[norm](nn.Linear(3, 3))
    game = Game(lambda u, v: (u(X) * v).square().mean(), net, torch.ones(3))
    if "weight_norm" in norm:  # torch's own second derivative of it is wrong
        with pytest.raises(DoubleBackwardError, match="weight_norm"):
            solve(game, Sensitivity(0.5), steps=2)
        return
    solution = solve(game, Sensitivity(0.5), steps=2, u_optimizer=SGD, v_optimizer=SGD)
    again = solve(Game(game.f, solution.u, solution.v), Sensitivity(0.5), steps=1, u_optimizer=SGD, v_optimizer=SGD)
    assert all(bool(torch.isfinite(t).all()) for t in again.u.state_dict().values())
    assert not torch.equal(again.u(X), net(X))


class Remembers(nn.Module):
    """Keeps a part of its last graph, as attention maps and features are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 3)
        self.last: Any = None

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x)
        self.last = {"features": [out]}
        return out


@pytest.mark.parametrize("solver", [Descent(), Sensitivity(0.5), Unrolled(2, 0.1)], ids=lambda s: s.name)
@pytest.mark.parametrize(
    ("build", "forward"),
    [
        (Remembers, lambda net: net(X)),
        (lambda: nn.LSTM(3, 3), lambda net: net(X[:, None])[0][:, 0]),
        (lambda: nn.GRU(3, 3), lambda net: net(X[:, None])[0][:, 0]),
    ],
    ids=["activations", "lstm", "gru"],
)
@pytest.mark.parametrize("role", ["u", "v"])
def test_modules_that_hold_a_graph_are_copied_as_values(solver: Any, build: Any, forward: Any, role: str) -> None:
    net, other = build(), torch.ones(3)
    forward(net)  # so that the given module holds one, too
    players = {"u": net, "v": other} if role == "u" else {"u": other, "v": net}

    def risk(u: Any, v: Any) -> Tensor:
        module, factor = (u, v) if role == "u" else (v, u)
        return (forward(module) * factor).square().mean()

    solution = solve(Game(risk, **players), solver, steps=2, u_optimizer=SGD, v_optimizer=SGD)
    copied = solution.u if role == "u" else solution.v
    moved = not torch.equal(forward(copied), forward(net))
    assert moved == (role == "u" or not isinstance(solver, Descent))
    # The copy computes with its own parameters, and they alone are what a checkpoint holds.
    fresh = build()
    fresh.load_state_dict(copied.state_dict())
    assert torch.equal(forward(fresh), forward(copied))


def test_what_cannot_be_copied_is_refused_with_the_reason() -> None:
    net = nn.Linear(3, 1)
    net.lock = threading.Lock()
    with pytest.raises(
        ArgumentError, match=r"^u: Linear cannot be copied \(.*lock.*\), and a solve works on copies; remove"
    ):
        solve(Game(lambda u, v: u(X).sum(), net, None), Descent(), steps=1)
    del net.lock
    assert solve(Game(lambda u, v: u(X).sum(), net, None), Descent(), steps=1).steps == 1


def test_tensors_that_are_not_leaves_or_not_dense_in_memory_may_play() -> None:
    root = torch.ones(3, requires_grad=True)
    game = Game(lambda u, v: (u * v).sum(), root * 2, torch.ones(1).expand(3))
    solution = solve(game, SimultaneousGDA(), steps=1, u_optimizer=SGD, v_optimizer=SGD)
    assert torch.allclose(solution.u, torch.full((3,), 1.9))
    assert torch.allclose(solution.v, torch.full((3,), 1.2))
    assert root.grad is None
