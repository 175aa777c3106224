"""How a solve ends: not finite, broken off, out of data; always at a step that was whole, whatever the blocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from minimaxopt import (
    AlternatingGDA,
    Descent,
    Evaluate,
    Game,
    History,
    JSONLLog,
    SimultaneousGDA,
    Solution,
    Status,
    solve,
)
from minimaxopt.errors import DataError, DivergenceWarning, RiskError
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


def saddle() -> Game:
    return Game(lambda u, v: u**2 / 2 + u * v - v**2 / 2, torch.tensor(1.0), torch.tensor(1.0))


def same(a: Solution, b: Solution) -> bool:
    return (
        torch.equal(a.u, b.u)
        and torch.equal(a.v, b.v)
        and a.history.to_dict() == b.history.to_dict()
        and (a.status, a.message, a.steps, a.gradient_evaluations)
        == (b.status, b.message, b.steps, b.gradient_evaluations)
    )


# -- not finite --------------------------------------------------------------------------------------------------------


def linear(x: torch.Tensor, slope: float | torch.Tensor) -> torch.Tensor:
    """Zero at every finite ``x``, and of the given slope: a risk that stays finite while ``x`` grows."""
    return (x - x.detach()) * slope


def nan_risk(where: int) -> tuple[Game, list[Any]]:
    """The batch of one step is NaN, so that the risk is."""
    scales = [torch.tensor(1.0 + i) for i in range(40)]
    scales[where] = torch.tensor(math.nan)
    return Game(lambda u, v, c: c * (u**2 / 2 + u * v - v**2 / 2), torch.tensor(1.0), torch.tensor(1.0)), scales


def overflow(where: int) -> tuple[Game, list[Any]]:
    """The risk stays finite, ``u`` leaves the numbers after ``where + 1`` steps."""
    game = Game(lambda u, v, c: linear(u, c).sum() - v**2, torch.zeros(1), torch.tensor(1.0))
    return game, [torch.tensor(3.4e38 / (where + 0.5) / FAST)] * 40


def nan_gradient(where: int) -> tuple[Game, list[Any]]:
    """The risk is finite everywhere, its gradient is not: the root's slope at negative ``u``, which ``where`` hides."""

    def f(u: torch.Tensor, v: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return torch.where(u > 0, u.sqrt() * 0, -u).sum() + u - v**2 + 0 * c

    return Game(f, torch.tensor(0.05 * where - 0.01), torch.tensor(1.0)), [torch.tensor(1.0)] * 40


DIVERGING = {
    "risk": (nan_risk, "'risk'", 1),
    "parameter": (overflow, "'u.value'", 0),
    "gradient": (nan_gradient, "'u", 0),
}


@pytest.mark.parametrize("kind", DIVERGING)
@pytest.mark.parametrize("where", [0, 1, 2, 5, 19])
@pytest.mark.parametrize("one_shot", [False, True])
def test_a_value_that_is_not_finite_ends_at_the_last_finite_point(
    kind: str, where: int, one_shot: bool, blocks: Callable[[int], None]
) -> None:
    make, named, back = DIVERGING[kind]
    if kind == "gradient" and where == 0:
        where = 1  # at 0 the start is bad already; the case is that of the risk
    found: list[Solution] = []
    for size in BLOCKS:
        blocks(size)
        game, data = make(where)
        look = Evaluate({"half": lambda u, v: float(u / 2)}, every=4)
        with pytest.warns(DivergenceWarning, match=rf"solve: {named}.* at step {where};.*Lower the learning") as caught:
            found.append(
                solve(
                    game,
                    SimultaneousGDA(),
                    steps=40,
                    data=(x for x in data) if one_shot else data,
                    u_optimizer=fast if kind == "parameter" else sgd,
                    v_optimizer=sgd,
                    callbacks=[look],
                )
            )
        assert caught[0].filename == __file__
        solution = found[-1]
        assert solution.status is Status.DIVERGED
        assert not solution.ok
        assert solution.steps == max(where - back, 0)
        assert named in solution.message
        assert f"at step {where}; the result is the point after step {solution.steps}" in solution.message
        assert all(bool(torch.isfinite(t).all()) for t in (solution.u, solution.v))
        for name in solution.history.names:
            assert all(map(math.isfinite, solution.history[name]))
        # The point is that of a run which stops there of itself.
        mover = fast if kind == "parameter" else sgd
        plain = solve(game, SimultaneousGDA(), steps=solution.steps, data=data, u_optimizer=mover, v_optimizer=sgd)
        assert torch.equal(plain.u, solution.u)
        assert torch.equal(plain.v, solution.v)
        assert str(solution).startswith("Solution(diverged: ")
        if solution.steps:
            assert solution.history.steps("risk").tolist() == list(range(solution.steps))
            assert plain.history["risk"].tolist() == solution.history["risk"].tolist()
        else:
            assert solution.history.names == []
        if solution.steps >= 4:
            assert solution.history.steps("half").tolist() == list(range(3, solution.steps, 4))
    assert all(same(found[0], other) for other in found[1:])


def test_a_finite_run_does_not_warn() -> None:
    game, data = nan_risk(30)
    solution = solve(game, SimultaneousGDA(), steps=30, data=data, u_optimizer=sgd, v_optimizer=sgd)
    assert solution.status is Status.STEPS_USED
    assert solution.ok


@pytest.mark.parametrize("size", BLOCKS)
def test_an_exception_that_nan_led_to_is_divergence(size: int, blocks: Callable[[int], None]) -> None:
    blocks(size)

    def f(u: torch.Tensor, v: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        if not math.isfinite(float(u.detach())):
            raise ValueError("u must be a number")
        return linear(u, c) - v**2

    data = [torch.tensor(1e30)] * 9 + [torch.tensor(3e38)] * 40
    with pytest.warns(DivergenceWarning, match=r"'u.value' ceased to be finite at step 9"):
        solution = solve(
            Game(f, torch.tensor(0.0), torch.tensor(0.1)),
            SimultaneousGDA(),
            steps=40,
            data=data,
            u_optimizer=fast,
            v_optimizer=sgd,
        )
    assert (solution.steps, solution.status) == (9, Status.DIVERGED)


def test_players_keep_their_names_in_the_maximin_order() -> None:
    game = Game(lambda u, v: linear(v, 5e37) - u**2, torch.tensor(0.0), torch.tensor(0.0))
    with pytest.warns(DivergenceWarning, match=r"'v.value' ceased to be finite at step 1"):
        solve(game, SimultaneousGDA(), steps=9, u_optimizer=sgd, v_optimizer=fast, order="maximin")


def test_running_statistics_count_too() -> None:
    net = nn.BatchNorm1d(2)
    data = [torch.randn(4, 2), 1e30 * torch.tensor([[1.0, -1], [-1, 1], [1, -1], [-1, 1]]), torch.randn(4, 2)]
    game = Game(lambda u, v, x: (u(x).clamp(-1, 1) * v).sum() * 0 + u.weight.sum() - v**2, net, torch.tensor(0.0))
    with pytest.warns(DivergenceWarning, match=r"'u\.running_var' ceased to be finite at step 1"):
        solution = solve(game, Descent(), steps=3, data=data, u_optimizer=sgd)
    assert bool(torch.isfinite(solution.u.running_var).all())


def test_a_risk_that_is_not_finite_by_chance(blocks: Callable[[int], None]) -> None:
    """It cannot be found again, and the message says so."""
    blocks(8)
    calls = {"n": 0}

    def f(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        calls["n"] += 1
        return u**2 * (math.nan if calls["n"] == 6 else 1.0) - v**2

    game = Game(f, torch.tensor(1.0), torch.tensor(1.0))
    with pytest.warns(DivergenceWarning, match="not when the steps were repeated: f or the device is not determ"):
        solution = solve(game, SimultaneousGDA(), steps=30, u_optimizer=sgd, v_optimizer=sgd)
    assert solution.status is Status.DIVERGED
    assert math.isfinite(solution.u.item())


# -- broken off --------------------------------------------------------------------------------------------------------


def failing(at: int, error: BaseException, evaluations: int = 1) -> Game:
    """A game whose risk raises in the middle of step ``at`` (one trial evaluation comes first)."""
    state = {"left": 1 + at * evaluations + evaluations}

    def f(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        state["left"] -= 1
        if state["left"] == 0:
            raise error
        return u**2 / 2 + u * v - v**2 / 2

    return Game(f, torch.tensor(1.0), torch.tensor(1.0))


@pytest.mark.parametrize("size", BLOCKS)
@pytest.mark.parametrize("at", [1, 2, 3, 10])
def test_an_exception_carries_the_solution(at: int, size: int, blocks: Callable[[int], None]) -> None:
    """The follower had moved already in the step that failed."""
    blocks(size)
    go = partial(solve, solver=AlternatingGDA(first="v"), u_optimizer=sgd, v_optimizer=sgd)
    with pytest.raises(ZeroDivisionError, match="by zero") as caught:
        go(failing(at, ZeroDivisionError("by zero"), 2), steps=20)
    assert f"The solve got to step {at}" in caught.value.__notes__[0]
    solution = caught.value.solution  # type: ignore[attr-defined]
    plain = go(saddle(), steps=at)
    assert (solution.status, solution.ok, solution.steps) == (Status.FAILED, False, at)
    assert "ZeroDivisionError: by zero" in solution.message
    assert (solution.u, solution.v) == (plain.u, plain.v)
    assert solution.history.to_dict() == plain.history.to_dict()
    assert solution.gradient_evaluations == plain.gradient_evaluations


def test_an_exception_at_the_first_step_has_nothing_to_carry() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        solve(failing(0, ZeroDivisionError("by zero")), SimultaneousGDA(), steps=20, u_optimizer=sgd, v_optimizer=sgd)
    assert not hasattr(caught.value, "solution")
    assert not getattr(caught.value, "__notes__", [])
    with pytest.raises(RiskError, match="failed on the first batch.*by zero"):
        solve(failing(-1, ZeroDivisionError("by zero")), SimultaneousGDA(), steps=20)


def test_an_exception_in_a_callback_carries_the_solution() -> None:
    def broken(u: torch.Tensor, v: torch.Tensor) -> float:
        raise LookupError("no such file")

    with pytest.raises(LookupError, match="no such file") as caught:
        solve(saddle(), SimultaneousGDA(), steps=20, callbacks=[Evaluate({"m": broken}, every=6)])
    assert caught.value.solution.steps == 6  # type: ignore[attr-defined]
    assert caught.value.solution.history.steps("risk").tolist() == list(range(6))  # type: ignore[attr-defined]


def test_a_risk_that_fails_again_while_the_block_is_repeated(blocks: Callable[[int], None]) -> None:
    """The error that is told is the first, and the point is one that was reached."""
    blocks(16)
    calls = {"n": 0}

    def f(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        calls["n"] += 1
        if calls["n"] == 12 or calls["n"] == 15:
            raise OSError(f"call {calls['n']}")
        return u**2 / 2 - v**2 / 2

    game = Game(f, torch.tensor(1.0), torch.tensor(1.0))
    with pytest.raises(OSError, match="call 12") as caught:
        solve(game, SimultaneousGDA(), steps=40, u_optimizer=sgd, v_optimizer=sgd)
    solution = caught.value.solution  # type: ignore[attr-defined]
    plain = solve(game, SimultaneousGDA(), steps=solution.steps, u_optimizer=sgd, v_optimizer=sgd)
    assert 0 < solution.steps < 11
    assert (solution.u, solution.history.to_dict()) == (plain.u, plain.history.to_dict())


@pytest.mark.parametrize("size", BLOCKS)
@pytest.mark.parametrize("at", [0, 1, 2, 9])
def test_an_interrupt_in_the_risk_leaves_both_players_at_one_step(
    at: int, size: int, blocks: Callable[[int], None], tmp_path: Any
) -> None:
    blocks(size)
    go = partial(solve, solver=AlternatingGDA(first="v"), u_optimizer=sgd, v_optimizer=sgd)
    log = tmp_path / "log.jsonl"
    stopped = go(failing(at, KeyboardInterrupt(), 2), steps=20, callbacks=[JSONLLog(log, every=3)])
    plain = go(saddle(), steps=at)
    assert (stopped.status, stopped.ok, stopped.steps) == (Status.INTERRUPTED, False, at)
    assert stopped.message == f"interrupted after step {at}."
    assert (stopped.u, stopped.v) == (plain.u, plain.v)
    assert stopped.history.to_dict() == plain.history.to_dict()
    assert len(log.read_text().splitlines()) == at


def test_an_interrupt_in_a_callback_loses_no_step() -> None:
    def tired(u: torch.Tensor, v: torch.Tensor) -> float:
        raise KeyboardInterrupt

    first = Evaluate({"u": lambda u, v: float(u)}, every=5)
    stopped = solve(saddle(), SimultaneousGDA(), steps=20, callbacks=[first, Evaluate({"m": tired}, every=10)])
    assert (stopped.status, stopped.steps) == (Status.INTERRUPTED, 10)
    assert stopped.history.steps("u").tolist() == [4, 9]


def test_an_interrupt_in_the_middle_of_a_move_leaves_no_direction_behind() -> None:
    class Interrupted(torch.optim.SGD):
        made = 0

        def step(self, closure: None = None) -> None:  # type: ignore[override]
            self.made += 1
            if self.made == 4:
                raise KeyboardInterrupt
            super().step()

    net = nn.Linear(2, 1)
    game = Game(lambda u, v: u(torch.ones(2)).sum() ** 2, net, None)
    stopped = solve(game, Descent(), steps=9, u_optimizer=partial(Interrupted, lr=0.1))
    assert stopped.steps == 3
    assert all(p.grad is None for p in stopped.u.parameters())


@pytest.mark.parametrize("size", BLOCKS)
def test_an_interrupt_while_a_block_is_reported_leaves_whole_columns(
    size: int, blocks: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One column had the block's values already."""
    blocks(size)
    extend, calls = History.extend, {"n": 0}

    def tired(self: History, name: str, *values: Any) -> None:
        calls["n"] += 1
        if calls["n"] == 6:
            raise KeyboardInterrupt
        extend(self, name, *values)

    monkeypatch.setattr(History, "extend", tired)
    go = partial(solve, saddle(), SimultaneousGDA(), u_optimizer=sgd, v_optimizer=sgd)
    stopped = go(steps=30)
    assert stopped.status is Status.INTERRUPTED
    assert 3 <= stopped.steps < 30
    assert stopped.history.to_dict() == go(steps=stopped.steps).history.to_dict()


# -- data that end -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", BLOCKS)
@pytest.mark.parametrize("length", [1, 2, 9])
def test_data_that_end_lose_nothing(length: int, size: int, blocks: Callable[[int], None]) -> None:
    blocks(size)
    game = Game(lambda u, v, x: (u - x) ** 2 - v**2, torch.tensor(0.0), torch.tensor(1.0))
    data = [torch.tensor(float(i)) for i in range(length)]
    look = Evaluate({"u": lambda u, v: float(u)}, every=100)
    go = partial(solve, game, SimultaneousGDA(), u_optimizer=sgd, v_optimizer=sgd)
    ended = go(data=iter(data), steps=20, callbacks=[look])
    plain = go(data=data, steps=length)
    assert (ended.status, ended.steps, ended.ok) == (Status.DATA_ENDED, length, False)
    assert ended.message == f"the data ended after step {length} and cannot be read again; give Batches or a list."
    assert torch.equal(ended.u, plain.u)
    assert ended.history["risk"].tolist() == plain.history["risk"].tolist()
    assert ended.history.steps("u").tolist() == [length - 1]  # the end is evaluated
    assert go(data=iter(data), steps=length).status is Status.STEPS_USED


def test_no_data_at_all_is_an_error() -> None:
    game = Game(lambda u, v, x: u * x, torch.tensor(0.0), None)
    with pytest.raises(DataError, match="data: has no batches"):
        solve(game, Descent(), data=iter(()), steps=2)
    with pytest.raises(DataError, match="data: is empty"):
        solve(game, Descent(), data=[], steps=2)
