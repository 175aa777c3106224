"""``solve``: what it refuses, what it reports, and that nothing beside the arguments has a say in the values."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau

from minimaxopt import (
    AlternatingGDA,
    Ascent,
    Batches,
    Context,
    Descent,
    EarlyStop,
    Evaluate,
    Game,
    JSONLLog,
    Sensitivity,
    SimultaneousGDA,
    Solution,
    Status,
    Unrolled,
    solve,
)
from minimaxopt.errors import ArgumentError, UnknownNameError
from minimaxopt.loop import loop as _loop

FAST = 4.0
sgd = partial(torch.optim.SGD, lr=0.05)
fast = partial(torch.optim.SGD, lr=FAST)
BLOCKS = [1, 2, 7, 1000]


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let blocks grow to a number of steps, whatever the machine's speed."""

    def choose(steps: int) -> None:
        monkeypatch.setattr(_loop, "_BLOCK_SECONDS", 1e9)
        monkeypatch.setattr(_loop, "_BLOCK_STEPS", steps)

    return choose


def saddle(u: float = 1.0, v: float = 1.0) -> Game:
    return Game(lambda u, v: u**2 / 2 + u * v - v**2 / 2, torch.tensor(u), torch.tensor(v))


# -- determinism -------------------------------------------------------------------------------------------------------


def noisy(*, raising: BaseException | None = None) -> Game:
    """Dropout in the leader, noise drawn by the risk."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    calls = {"n": 0}

    def f(u: nn.Module, v: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        calls["n"] += 1
        if raising is not None and calls["n"] == 6:
            raise raising
        return u(x + v + 0.1 * torch.randn_like(x)).square().mean() - v.square().sum()

    return Game(f, net, torch.zeros(3))


def outcome(solution: Solution) -> list[Any]:
    return [*(p.tolist() for p in solution.u.parameters()), solution.v.tolist(), solution.history["risk"].tolist()]


def rows() -> torch.Tensor:
    return torch.arange(36.0).view(12, 3) / 36


def test_two_solves_are_equal_and_another_seed_is_not() -> None:
    game = noisy()
    before = [p.clone() for p in game.u.parameters()]
    first, second, other = (solve(game, "sensitivity", data=Batches(rows(), 5), steps=15, seed=s) for s in (0, 0, 1))
    assert outcome(first) == outcome(second) != outcome(other)
    assert all(torch.equal(a, b) for a, b in zip(before, game.u.parameters(), strict=True))
    assert torch.equal(game.v, torch.zeros(3))


def test_what_looks_on_and_where_blocks_end_have_no_influence(blocks: Callable[[int], None], tmp_path: Any) -> None:
    def drawing(u: nn.Module, v: torch.Tensor) -> float:
        return float(torch.rand(()))

    plain = solve(noisy(), "sensitivity", data=Batches(rows(), 5), steps=15)
    for size in BLOCKS:
        blocks(size)
        looked = solve(
            noisy(),
            "sensitivity",
            data=Batches(rows(), 5),
            steps=15,
            callbacks=[Evaluate({"random": drawing}, every=4), JSONLLog(tmp_path / "log", every=2)],
            progress=True,
        )
        assert outcome(looked) == outcome(plain)


@pytest.mark.parametrize("raising", [None, ValueError("no"), KeyboardInterrupt()])
def test_the_global_random_state_is_left_as_it_was(raising: BaseException | None) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    try:
        loader = torch.utils.data.DataLoader(list(rows()), batch_size=4, shuffle=True)
        solve(noisy(raising=raising), "sensitivity", data=loader, steps=9, callbacks=[Evaluate({}, every=2)])
    except ValueError:
        pass
    assert torch.equal(torch.get_rng_state(), before)


# -- arguments ---------------------------------------------------------------------------------------------------------


class _NoOptimizer:
    def __init__(self, tensors: Any) -> None:
        pass


ONE = torch.nn.Parameter(torch.ones(1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"solver": "sensitivty"}, "solver: there is no 'sensitivty'; did you mean 'sensitivity'"),
        ({"solver": Sensitivity}, r"solver: Sensitivity is a class; give an instance, Sensitivity\(\)"),
        ({"solver": 3}, "solver: int is no solver; give one such as"),
        ({"steps": -1}, "steps: -1 is not a number of steps"),
        ({"steps": True}, "steps: True is not a number"),
        ({"steps": 2.0}, r"steps: 2\.0 is not a number"),
        ({"seed": 1.5}, r"seed: 1\.5 is not an integer"),
        ({"seed": True}, "seed: True is not an integer"),
        ({"order": "max"}, "order: 'max' is neither 'minimax' nor 'maximin'"),
        ({"ascent_batches": "new"}, "ascent_batches: 'new' is neither"),
        ({"tolerance": -1e-3}, r"tolerance: -0\.001 can never be met"),
        ({"tolerance": math.nan}, "tolerance: nan can never"),
        ({"tolerance": "small"}, "tolerance: 'small' can never"),
        ({"callbacks": Evaluate({})}, r"callbacks: Evaluate is no list of callbacks; give \[...\] around it"),
        ({"callbacks": [Evaluate]}, r"callbacks: Evaluate is a class; give an instance, Evaluate\(...\)"),
        ({"callbacks": [print]}, "callbacks: builtin_function_or_method is no callback; give objects with 'every'"),
        ({"device": "gpu"}, "device: 'gpu' cannot be used .*; give one of this machine's"),
        ({"device": "meta"}, "device: 'meta' holds shapes without values"),
        ({"device": 1.5}, r"device: 1\.5 cannot be used"),
        ({"u_optimizer": torch.optim.SGD([ONE])}, "u_optimizer: is an optimizer of other tensors .*; give a factory"),
        ({"v_optimizer": 0.1}, r"v_optimizer: 0\.1 is not callable; give a factory"),
        ({"u_optimizer": _NoOptimizer}, "u_optimizer: the factory returned _NoOptimizer; return a torch.optim.Opt"),
        ({"v_optimizer": partial(torch.optim.SGD, lr=1.0, maximize=True)}, "v_optimizer: was built with maximize=True"),
        (
            {"u_optimizer": lambda tensors: torch.optim.SGD([ONE])},
            "u_optimizer: the factory built an optimizer of other",
        ),
        ({"v_scheduler": 0.1}, "v_scheduler: float is not callable; give a factory"),
        ({"u_scheduler": lambda optimizer: optimizer}, "u_scheduler: the factory returned Adam, not a scheduler"),
        ({"u_scheduler": ReduceLROnPlateau}, "u_scheduler: ReduceLROnPlateau waits for a metric"),
        ({"u_optimizer": torch.optim.LBFGS}, "u_optimizer: LBFGS re-evaluates the risk through a closure"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_before_any_work(arguments: dict[str, Any], message: str) -> None:
    calls: list[int] = []

    def f(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return u**2 - v**2

    usual: dict[str, Any] = {"solver": "simultaneous-gda", "steps": 2}
    with pytest.raises(ArgumentError, match=message):
        solve(Game(f, torch.tensor(1.0), torch.tensor(1.0)), **{**usual, **arguments})
    assert not calls
    assert solve(Game(f, torch.tensor(1.0), torch.tensor(1.0)), **usual).steps == 2


def test_a_period_of_a_callback_of_ones_own_is_checked() -> None:
    class Own:
        def __init__(self, every: Any) -> None:
            self.every, self.seen = every, []

        def __call__(self, run: Any) -> None:
            self.seen.append(run.step)

    for wrong in (0, -1, 2.5, True):
        with pytest.raises(ArgumentError, match=f"callbacks: Own has every={wrong!r}; give it a positive number"):
            solve(saddle(), steps=4, callbacks=[Own(wrong)])
    own = Own(2)
    solve(saddle(), steps=5, callbacks=(c for c in [own]))  # type: ignore[arg-type]
    assert own.seen == [2, 4, 5]


def test_the_game_must_be_one() -> None:
    with pytest.raises(ArgumentError, match=r"game: function is not a Game; give Game\(f, u, v\)"):
        solve(lambda u, v: u * v, steps=3)  # type: ignore[arg-type]


def test_an_unknown_name_is_a_lookup_error_too() -> None:
    with pytest.raises(UnknownNameError, match="Known: .*alternating-gda"):
        solve(saddle(), "gda", steps=1)


def test_a_player_without_gradients_cannot_move() -> None:
    net = nn.Linear(2, 1).requires_grad_(False)
    game = Game(lambda u, v: (u(v) ** 2).sum(), net, torch.ones(2))
    with pytest.raises(ArgumentError, match="u: has no tensor that requires gradients"):
        solve(game, SimultaneousGDA(), steps=1)
    assert solve(game, Ascent(), steps=1).steps == 1


def test_errors_of_the_maximin_order_say_who_is_who() -> None:
    with pytest.raises(ArgumentError, match="u_optimizer: 3 is not callable") as caught:
        solve(saddle(), steps=2, v_optimizer=3, order="maximin")  # type: ignore[arg-type]
    assert caught.value.__notes__ == ["order='maximin' plays the flipped game: here u is the game's v, and v its u."]
    with pytest.raises(ArgumentError, match="v_optimizer: 3 is not callable") as caught:
        solve(saddle(), steps=2, v_optimizer=3)  # type: ignore[arg-type]
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("steps", [0, 1])
def test_few_steps(steps: int) -> None:
    game = Game(lambda u, v, x: (u * x).sum() - v**2, torch.ones(2), torch.tensor(1.0))
    look = Evaluate({"u": lambda u, v: float(u.sum())})
    solution = solve(
        game, data=Batches(torch.ones(4, 2), 2), steps=steps, callbacks=[look, EarlyStop("none")], tolerance=1e9
    )
    assert (solution.status, solution.steps) == (Status.STEPS_USED, steps)
    assert solution.message == f"made all {steps} steps."
    assert solution.history.steps("u").tolist() == [0]
    assert ("risk" in solution.history) == bool(steps)
    assert ", risk" in str(solution) or not steps


def test_the_device_is_where_players_and_batches_go() -> None:
    seen: list[str] = []

    def f(u: torch.Tensor, v: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        seen.extend(t.device.type for t in (u, v, x))
        return (u * x).sum() - v**2

    solution = solve(
        Game(f, torch.ones(2), torch.tensor(1.0)), data=[torch.ones(2)], steps=2, device=torch.device("cpu")
    )
    assert set(seen) == {"cpu"}
    assert solution.manifest["devices"] == ["cpu"]


# -- what is reported --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", [SimultaneousGDA(), Unrolled(steps=2, inner_lr=0.1)])
def test_the_history_has_the_sign_of_f_in_both_orders(solver: Any) -> None:
    game = Game(lambda u, v: u * v + 7, torch.tensor(1.0), torch.tensor(1.0))
    for order in ("minimax", "maximin"):
        solution = solve(game, solver, steps=3, order=order, u_optimizer=sgd, v_optimizer=sgd)
        assert solution.history["risk"][0] == 8.0
        assert solution.manifest["order"] == order
        for name in solution.history.names:
            assert (solution.history[name] > 0).all()


def test_the_maximin_order_is_the_flipped_game() -> None:
    game = Game(lambda u, v: u**2 + 3 * u * v - 2 * v**2, torch.tensor(1.0), torch.tensor(-0.5))
    quicker = partial(torch.optim.SGD, lr=0.1)
    solution = solve(game, Sensitivity(0.3), steps=7, order="maximin", u_optimizer=sgd, v_optimizer=quicker)
    flipped = solve(game.flip(), Sensitivity(0.3), steps=7, u_optimizer=quicker, v_optimizer=sgd)
    assert (solution.u, solution.v) == (flipped.v, flipped.u)
    assert solution.history["risk"].tolist() == (-flipped.history["risk"]).tolist()
    assert solution.history["sensitivity"].tolist() == flipped.history["sensitivity"].tolist()


def test_responding_followers_are_played_by_the_loop() -> None:
    """LWA and its anticipating form, against their steps on paper: f = u z, z = 2 u (a constant when differentiated)."""
    game = Game(lambda u, z: u * z, torch.tensor(1.0).double(), lambda risk, u: 2 * u)
    for solver, factor in [(Descent(), 1 - 0.05 * 2), (Sensitivity(gamma=3.0), 1 - 0.05 * (2 + 3))]:
        solution = solve(game, solver, steps=4, u_optimizer=sgd)
        assert solution.u.item() == pytest.approx(factor**4, rel=1e-12)
        assert solution.v is game.v
        assert solution.history["risk"] == pytest.approx([2 * factor ** (2 * k) for k in range(4)])
    with pytest.raises(ArgumentError, match="flip: the follower is a function"):
        solve(game, Descent(), steps=1, order="maximin")


@pytest.mark.parametrize(
    ("solver", "each"),
    [
        (SimultaneousGDA(), 1),
        (AlternatingGDA(), 2),
        (AlternatingGDA(ascent_steps=3), 4),
        (Sensitivity(), 2),
        (Sensitivity(gamma=0), 1),
        (Sensitivity(alternate=True), 3),
        (Unrolled(steps=3, inner_lr=0.1), 7),
        (Descent(), 1),
    ],
)
def test_gradient_evaluations_are_counted(solver: Any, each: int, blocks: Callable[[int], None]) -> None:
    blocks(4)
    assert solve(saddle(), solver, steps=9).gradient_evaluations == 9 * each


def test_the_trial_evaluation_is_not_counted_for_a_responding_follower() -> None:
    game = Game(lambda u, z: u * z, torch.tensor(1.0), lambda risk, u: 2 * u)
    assert solve(game, Descent(), steps=9).gradient_evaluations == 9 * 2


def test_the_manifest_says_what_was_played() -> None:
    solution = solve(
        Game(lambda u, v, x: (u * x).sum() - v**2, torch.ones(2), torch.tensor(1.0)),
        Sensitivity(gamma=0.5),
        steps=2,
        seed=3,
        data=Batches(torch.ones(4, 2), 2),
        u_optimizer=partial(torch.optim.SGD, lr=0.25),
        v_scheduler=partial(ExponentialLR, gamma=0.5),
    )
    manifest = solution.manifest
    assert manifest["solver"] == repr(Sensitivity(gamma=0.5))
    assert (manifest["seed"], manifest["order"], manifest["ascent_batches"]) == (3, "minimax", "same")
    assert manifest["data"] == "Batches of 4 samples (batch_size=2, seed=0, shuffle=True)"
    assert manifest["u_optimizer"].startswith("SGD(lr=0.25")
    assert manifest["v_optimizer"].startswith("Adam(lr=0.001")
    assert (manifest["u_scheduler"], manifest["v_scheduler"]) == ("none", "ExponentialLR")
    assert manifest["torch"] == torch.__version__
    assert manifest["threads"] == torch.get_num_threads()


def test_a_solver_may_report_now_and_then() -> None:
    """A column then has values at some steps; the solver is driven by its own contract."""

    class Sparse:
        name = "sparse"
        players = ("u",)

        def init(self, ctx: Context) -> dict[str, Any]:
            return {"made": 0, "sum": torch.zeros(())}

        def step(self, ctx: Context, state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
            found = ctx.gradients(players=("u",))
            ctx.apply("u", found.u)
            total = state["sum"] + found.risk
            record = {"risk": found.risk}
            if state["made"] % 3 == 0:
                record["total"] = total
            return {"made": state["made"] + 1, "sum": total}, record

    solution = solve(saddle(), Sparse(), steps=8, u_optimizer=sgd)
    assert solution.history.steps("total").tolist() == [0, 3, 6]
    assert solution.history["total"][-1] == pytest.approx(solution.history["risk"][:7].sum())


def test_a_frozen_player_comes_back_as_it_was() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    game = Game(lambda u, v, x: F.mse_loss(u(x + v), x), net, torch.zeros(2))
    solution = solve(game, Ascent(), data=[torch.randn(6, 2)], steps=4)
    for name, tensor in net.state_dict().items():
        assert torch.equal(solution.u.state_dict()[name], tensor)
    assert not torch.equal(solution.v, game.v)
