"""Every solver under what optimizers may do: change their rates, and write into the gradients that they are given."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from minimaxopt import (
    Context,
    ExponentiatedGradient,
    Game,
    PastExtragradient,
    Sensitivity,
    Unrolled,
    clip_gradients,
    solve,
)
from minimaxopt.errors import ArgumentError
from minimaxopt.solvers import SOLVERS, player_optimizer
from tests.solvers import hand, second_order
from tests.solvers.test_table import EXACT, LAMBDA, OPTIMIZERS, SIGMA, STEPS, TABLE, play

# -- rates ---------------------------------------------------------------------------------------------------------------


class Clock:
    """The number of the step, which copies of an optimizer read, too."""

    step = 0

    def __deepcopy__(self, memo: Any) -> Clock:
        return self


class Scheduled:
    """An optimizer by hand whose rate follows a schedule."""

    def __init__(self, optimizer: hand.Optimizer, rate: Callable[[int], float], clock: Clock) -> None:
        self.optimizer, self.rate, self.clock = optimizer, rate, clock

    def __call__(self, x: hand.Array, g: hand.Array) -> hand.Array:
        self.optimizer.lr = self.rate(self.clock.step)  # type: ignore[attr-defined] - both kinds have it
        return self.optimizer(x, g)


def fading(i: int) -> float:
    """A plateau, a sudden fall to less than the half, and a slow one."""
    return 1.0 if i < 5 else 0.2 + 1 / (1 + i)


def falling(i: int) -> float:
    return fading(i) ** 2


def at_each_step(row: Callable[[float, float], hand.Step]) -> hand.Step:
    """The step of a row that is made from the present rates, lambda and sigma."""
    return lambda game, u, v, down, up, i: row(LAMBDA * fading(i), SIGMA * falling(i))(game, u, v, down, up, i)


OF_RATES: list[tuple[str, Any, hand.Step]] = [
    (
        "sensitivity, sigma",
        Sensitivity(gamma="sigma"),
        hand.sensitivity(lambda i: SIGMA * falling(i), alternate=False),
    ),
    ("unrolled, sigma", Unrolled(steps=3), at_each_step(lambda _, sigma: hand.unrolled(3, sigma))),
]
ROWS = [(*row, *o[1:]) for o in OPTIMIZERS[1:3] for row in [*(r for r in TABLE if "sigma" not in r[0]), *OF_RATES]]
ROWS += [
    (name, solver, at_each_step(second_order.competitive), torch.optim.SGD, hand.HandSGD)
    for name, solver, _ in second_order.SGD_ROWS
]


@pytest.mark.parametrize(("row", "solver", "step", "optimizer", "by_hand"), ROWS, ids=[row[0] for row in ROWS])
def test_steps_follow_the_schedules(row: str, solver: Any, step: hand.Step, optimizer: Any, by_hand: Any) -> None:
    game, clock = hand.games()[2], Clock()
    schedules = {
        "u_scheduler": partial(LambdaLR, lr_lambda=fading),
        "v_scheduler": partial(LambdaLR, lr_lambda=falling),
    }
    found = play(game, solver, optimizer, **schedules)
    u, v = game.u0, game.v0
    down = Scheduled(by_hand(LAMBDA), lambda i: LAMBDA * fading(i), clock)
    up = Scheduled(by_hand(SIGMA), lambda i: SIGMA * falling(i), clock)
    for clock.step in range(STEPS):
        u, v = step(game, u, v, down, up, clock.step)
    for got, expected, constant in zip(found, (u, v), play(game, solver, optimizer), strict=True):
        np.testing.assert_allclose(got, expected, rtol=EXACT, atol=EXACT)
        still = np.array_equal(expected, game.u0) or np.array_equal(expected, game.v0)
        assert still or np.abs(got - constant).max() > 1e-4


# -- gradients that are written into ---------------------------------------------------------------------------------------


class Scribbler(torch.optim.SGD):
    """Leaves its gradients unusable, as an optimizer may."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override] - torch declares two overloads
        super().step(closure)
        for group in self.param_groups:
            for tensor in group["params"]:
                tensor.grad.fill_(float("nan"))


def quadratic() -> Game:
    game = copy.deepcopy(hand.games()[0])
    return Game(game.f, torch.from_numpy(game.u0), torch.from_numpy(game.v0))


PLAIN = partial(torch.optim.SGD, lr=0.05, momentum=0.5, nesterov=True)
# In its foreach form, the default on a GPU, torch's SGD adds Nesterov's momentum to the gradients themselves.
WRITING = {
    "nesterov": partial(PLAIN, foreach=True),
    "scribbler": partial(Scribbler, lr=0.05, momentum=0.5, nesterov=True),
}


@pytest.mark.parametrize("writing", WRITING)
@pytest.mark.parametrize("name", sorted(SOLVERS.keys() - {"competitive-gradient"}))  # takes plain SGD alone
def test_an_optimizer_may_write_into_its_gradients(name: str, writing: str) -> None:
    one, other = (solve(quadratic(), name, steps=12, u_optimizer=o, v_optimizer=o) for o in (PLAIN, WRITING[writing]))
    torch.testing.assert_close(other.u, one.u, rtol=EXACT, atol=EXACT)
    torch.testing.assert_close(other.v, one.v, rtol=EXACT, atol=EXACT)
    assert other.history.names == one.history.names
    for column in one.history.names:
        np.testing.assert_allclose(other.history[column], one.history[column], rtol=1e-9, atol=EXACT)


def test_what_the_optimizer_writes_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with the gradients themselves given away."""
    ctx, solver = Context(quadratic(), u_optimizer=WRITING["nesterov"], v_optimizer=PLAIN), PastExtragradient()
    with monkeypatch.context() as patch:
        patch.setattr(player_optimizer, "_writes", lambda optimizer: False)
        state, _ = ctx.advance(solver, solver.init(ctx))
    kept = Context(quadratic(), u_optimizer=WRITING["nesterov"], v_optimizer=PLAIN)
    held, _ = kept.advance(solver, solver.init(kept))
    assert state is not None
    assert held is not None
    assert torch.equal(held["v"]["value"], state["v"]["value"])
    assert not torch.allclose(held["u"]["value"], state["u"]["value"])


@pytest.mark.parametrize(
    ("factory", "writes"),
    [
        (partial(torch.optim.SGD, lr=0.1, momentum=0.9), False),
        (torch.optim.Adam, False),
        (torch.optim.AdamW, False),
        (PLAIN, True),
        (partial(Scribbler, lr=0.1), True),
        (ExponentiatedGradient, True),
    ],
    ids=["momentum", "adam", "adamw", "nesterov", "scribbler", "exponentiated"],
)
def test_only_who_may_write_gets_copies(factory: Any, writes: bool) -> None:
    weights = torch.tensor([0.25, 0.75])
    ctx = Context(Game(lambda u, v: u @ v, weights, weights.clone()), u_optimizer=factory, v_optimizer=factory)
    given = {"value": torch.ones(2)}
    ctx.optimizers["u"].set_gradients(given)
    assert (ctx.point.u["value"].grad is given["value"]) is not writes
    assert torch.equal(ctx.point.u["value"].grad, given["value"])  # type: ignore[arg-type] - just given


# -- clipping, and names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{"norm": 0.3}, {"value": 0.2}, {"norm": 1e6}])
@pytest.mark.parametrize("solver", ["simultaneous-gda", "past-extragradient", "optimistic"])
def test_clipped_gradients_are_those_of_torch(solver: str, limits: dict[str, float]) -> None:
    """Against an optimizer that clips by hand inside its own step."""

    class Clipping(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            tensors = [t for group in self.param_groups for t in group["params"]]
            if "norm" in limits:
                torch.nn.utils.clip_grad_norm_(tensors, limits["norm"])
            else:
                torch.nn.utils.clip_grad_value_(tensors, limits["value"])
            return super().step(closure)

    net = torch.nn.Linear(2, 1).double()
    game = Game(lambda u, v: (u(v) ** 2).sum() - (v**2).sum(), net, torch.ones(2, dtype=torch.float64))
    hooked = clip_gradients(partial(torch.optim.SGD, lr=0.1), **limits)
    by_hook = solve(game, solver, steps=4, u_optimizer=hooked, v_optimizer=hooked)
    by_hand = solve(game, solver, steps=4, u_optimizer=partial(Clipping, lr=0.1), v_optimizer=partial(Clipping, lr=0.1))
    assert torch.equal(by_hook.u.weight, by_hand.u.weight)
    assert torch.equal(by_hook.v, by_hand.v)
    sgd = partial(torch.optim.SGD, lr=0.1)
    plain = solve(game, solver, steps=4, u_optimizer=sgd, v_optimizer=sgd)
    assert torch.equal(by_hook.v, plain.v) == (limits == {"norm": 1e6})
    assert by_hook.history["sensitivity"][0] == plain.history["sensitivity"][0]


@pytest.mark.parametrize("limits", [{}, {"norm": 1.0, "value": 1.0}, {"norm": 0.0}, {"value": float("inf")}])
def test_limits_that_clip_nothing_sensible_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ArgumentError, match=r"^norm, value: are .*; give one of them, a positive number"):
        clip_gradients(torch.optim.Adam, **limits)


def test_factories_find_the_names_of_their_tensors() -> None:
    names: dict[str, list[str]] = {}

    def factory(player: str, tensors: Any) -> torch.optim.Optimizer:
        names[player] = [name for name, tensor in tensors.named() if tensor.shape]
        return torch.optim.SGD(tensors, lr=0.1)

    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    game = Game(lambda u, v: (u(v["shift"]) * v["scale"]).sum(), net, {"shift": torch.ones(2), "scale": torch.ones(1)})
    solve(game, "alternating-gda", steps=1, u_optimizer=partial(factory, "u"), v_optimizer=partial(factory, "v"))
    assert names == {"u": ["0.weight", "0.bias", "1.weight", "1.bias"], "v": ["scale", "shift"]}


# -- memory ------------------------------------------------------------------------------------------------------------

COEFFICIENTS = torch.arange(12.0, dtype=torch.float64).reshape(3, 4).sin()
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "expanded": lambda u: u.sum() * 0.3,
    "rows expanded": lambda u: (u.sum(0) * COEFFICIENTS[0]).sum(),
    "transposed": lambda u: torch.einsum("ij,ji->", u, COEFFICIENTS.T.contiguous()),
    "strided": lambda u: (torch.stack([u, u * u], -1).flatten(1) * torch.linspace(0, 1, 8, dtype=u.dtype)).sum(),
}


@pytest.mark.parametrize("optimizer", ["default", "Adam", "AdamW", "SGD", "Adagrad"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_of_any_layout(layout: str, optimizer: str) -> None:
    """torch's fused optimizers take the memory of a gradient for its values, in order."""
    start, f = torch.ones(3, 4, dtype=torch.float64), LAYOUTS[layout]
    kind = getattr(torch.optim, "Adam" if optimizer == "default" else optimizer)
    fused = None if optimizer == "default" else partial(kind, lr=1e-3, fused=True)
    solution = solve(Game(lambda u, v: f(u), start, None), "descent", steps=9, u_optimizer=fused)
    by_hand = start.clone().requires_grad_()
    plain = kind([by_hand], lr=1e-3, fused=False, foreach=False)
    for _ in range(9):
        plain.zero_grad()
        f(by_hand).backward()
        plain.step()
    torch.testing.assert_close(solution.u, by_hand.detach(), rtol=1e-12, atol=1e-12)


def test_a_tensor_that_does_not_fill_its_memory() -> None:
    memory = torch.linspace(-1, 1, 12, dtype=torch.float64)
    by_hand = memory[::2].clone().requires_grad_()
    neighbours = memory[1::2].clone()
    solve(Game(lambda u, v: u.cos().sum(), memory[::2], None), "descent", steps=9, inplace=True)
    plain = torch.optim.Adam([by_hand], lr=1e-3, fused=False, foreach=False)
    for _ in range(9):
        plain.zero_grad()
        by_hand.cos().sum().backward()
        plain.step()
    torch.testing.assert_close(memory[::2], by_hand.detach(), rtol=1e-12, atol=1e-12)
    assert torch.equal(memory[1::2], neighbours)
