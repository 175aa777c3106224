"""What looks on: when it is called, what it sees, and what it leaves behind."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from minimaxopt import Checkpoint, Descent, EarlyStop, Evaluate, Game, JSONLLog, SimultaneousGDA, Status, solve
from minimaxopt.errors import ArgumentError
from minimaxopt.loop.callbacks import SupportsBegin, SupportsState
from minimaxopt.results import storage

if TYPE_CHECKING:
    from pathlib import Path

sgd = partial(torch.optim.SGD, lr=0.1)


def bowl(start: float = 1.0) -> Game:
    return Game(lambda u, v: u.square().sum() / 2, torch.full((1,), start), None)


class Note:
    """Notes its calls in a list that several share."""

    def __init__(self, name: str, calls: list[tuple[str, int]], every: int = 1) -> None:
        self.name, self.calls, self.every = name, calls, every

    def __call__(self, run: Any) -> None:
        self.calls.append((self.name, run.step))


def descend(steps: int, *callbacks: Any, game: Game | None = None, **more: Any) -> Any:
    return solve(game or bowl(), Descent(), steps=steps, u_optimizer=sgd, callbacks=callbacks, **more)


# -- when --------------------------------------------------------------------------------------------------------------


def test_callbacks_are_called_in_order_when_due_and_at_the_end() -> None:
    calls: list[tuple[str, int]] = []
    descend(7, Note("a", calls, 3), Note("b", calls, 2), Note("c", calls, 100))
    assert calls == [("b", 2), ("a", 3), ("b", 4), ("a", 6), ("b", 6), ("a", 7), ("b", 7), ("c", 7)]


def test_what_writes_comes_last(tmp_path: Path) -> None:
    """A log before an Evaluate, and a checkpoint before both, hold the values of their step all the same."""
    look = Evaluate({"half": lambda u, v: float(u / 2)}, every=4)
    descend(8, Checkpoint(tmp_path, every=4), JSONLLog(tmp_path / "log", every=4), look)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["step"] for line in lines if "half" in line] == [3, 7]
    assert storage.read(tmp_path / "checkpoint.json")["history"]["half"][0].tolist() == [3, 7]


def test_a_stop_ends_after_the_round_and_everyone_sees_the_end(tmp_path: Path) -> None:
    class Stop:
        every = 5

        def __call__(self, run: Any) -> None:
            run.stop("seen enough.")

    calls: list[tuple[str, int]] = []
    look = Evaluate({"u": lambda u, v: float(u)}, every=1000)
    solution = descend(50, Stop(), Note("after", calls, 5), look, Checkpoint(tmp_path))
    assert (solution.status, solution.message, solution.steps) == (Status.STOPPED, "seen enough.", 5)
    assert solution.ok
    assert calls == [("after", 5)]
    assert solution.history.steps("u").tolist() == [4]
    assert storage.read(tmp_path / "checkpoint.json")["run"]["step"] == 5


def test_what_a_callback_sees() -> None:
    seen: list[Any] = []

    class See:
        every = 3

        def __call__(self, run: Any) -> None:
            u, v = run.players()
            run.log("mine", 2.0 * run.step)
            seen.append((run.step, run.steps, u.item(), v, run.rates(), run.history.last_step("risk")))
            u.zero_()  # a copy

    solution = descend(6, See())
    assert [row[0] for row in seen] == [3, 6]
    assert seen[0] == (3, 6, pytest.approx(0.9**3), None, {"u": 0.1}, 2)
    assert solution.history["mine"].tolist() == [6.0, 12.0]
    assert solution.history.steps("mine").tolist() == [2, 5]
    assert solution.u.item() == pytest.approx(0.9**6)


def test_the_players_and_rates_keep_their_names_in_the_maximin_order() -> None:
    seen: list[Any] = []

    class See:
        every = 1

        def __call__(self, run: Any) -> None:
            seen.append((*run.players(), run.rates()))

    game = Game(lambda u, v: u.sum() * 2 - v, torch.zeros(2), torch.tensor(5.0))
    solve(
        game,
        SimultaneousGDA(),
        steps=1,
        order="maximin",
        callbacks=[See()],
        u_optimizer=sgd,
        v_optimizer=partial(torch.optim.SGD, lr=0.5),
    )
    u, v, rates = seen[0]
    assert u.tolist() == pytest.approx([-0.2, -0.2])
    assert v.item() == 4.5
    assert rates == {"u": 0.1, "v": 0.5}


# -- Evaluate ----------------------------------------------------------------------------------------------------------


def test_evaluate_looks_at_exact_steps_and_at_the_end() -> None:
    seen: list[float] = []

    def metric(u: torch.Tensor, v: None) -> torch.Tensor:
        seen.append(u.item())
        return u.sum()

    solution = descend(10, Evaluate({"u": metric}, every=4))
    assert solution.history.steps("u").tolist() == [3, 7, 9]
    assert solution.history["u"] == pytest.approx([0.9**4, 0.9**8, 0.9**10])
    assert seen == solution.history["u"].tolist()


def test_evaluate_gives_copies_in_evaluation_mode_without_gradients() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.ModuleList([nn.Linear(2, 2), nn.Dropout(0.5)])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner[1](self.inner[0](x))

    modes: list[tuple[bool, ...]] = []

    def metric(u: dict[str, Any], v: Any) -> float:
        modes.append((u["net"].training, u["net"].inner[1].training, torch.is_grad_enabled()))
        with torch.enable_grad():
            slope = torch.autograd.grad(u["net"](torch.ones(2)).sum(), list(u["net"].parameters()))
        with torch.no_grad():
            u["net"].inner[0].weight.zero_()
        return float(slope[0].sum())

    def f(u: dict[str, Any], v: None) -> torch.Tensor:
        modes.append((u["net"].training,))
        return u["net"](torch.ones(2)).square().sum() + u["shift"] ** 2

    game = Game(f, {"net": Net(), "shift": torch.tensor(1.0)}, None)
    solution = solve(game, Descent(), steps=4, u_optimizer=sgd, callbacks=[Evaluate({"slope": metric}, every=2)])
    assert [mode for mode in modes if len(mode) == 3] == [(False, False, False)] * 2
    assert all(mode[0] for mode in modes if len(mode) == 1)
    assert solution.history["slope"].tolist() == [4.0, 4.0]
    assert solution.u["net"].training
    assert solution.u["net"].inner[0].weight.abs().sum() > 0


def test_evaluate_passes_a_responding_follower_as_it_is() -> None:
    def respond(risk: Any, u: torch.Tensor) -> torch.Tensor:
        return u

    seen: list[Any] = []
    game = Game(lambda u, z: u * z, torch.tensor(1.0), respond)
    metric = {"m": lambda u, v: float(seen.append(v) is None)}
    solve(game, Descent(), steps=1, callbacks=[Evaluate(metric)])
    assert seen == [respond]


@pytest.mark.parametrize("name", ["sensitivity", "risk"])
def test_a_metric_does_not_mix_with_a_column_of_the_solver(name: str) -> None:
    game = Game(lambda u, v: u**2 - v**2, torch.tensor(1.0), torch.tensor(1.0))

    def go(metric: str) -> Any:
        return solve(game, SimultaneousGDA(), steps=4, callbacks=[Evaluate({metric: lambda u, v: 0.0}, every=2)])

    with pytest.raises(ArgumentError, match=rf"{name}.*(is a column that the solver|is the column).*another name"):
        go(name)
    assert go("metric").history["metric"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "2"])
@pytest.mark.parametrize("build", [partial(Evaluate, {}), partial(EarlyStop, "risk"), JSONLLog, Checkpoint])
def test_periods_are_checked(build: Any, every: Any, tmp_path: Path) -> None:
    arguments = (tmp_path / "x",) if build in (JSONLLog, Checkpoint) else ()
    with pytest.raises(ArgumentError, match=r"every: .* is not a positive number of steps"):
        build(*arguments, every=every)
    assert build(*arguments, every=3).every == 3


def test_metrics_are_checked() -> None:
    with pytest.raises(ArgumentError, match="metrics: 'a' is float, not a function"):
        Evaluate({"a": 1.0})  # type: ignore[dict-item]
    with pytest.raises(ArgumentError, match="metrics: function has no names; give a dictionary"):
        Evaluate(lambda u, v: 1.0)  # type: ignore[arg-type]


# -- EarlyStop ---------------------------------------------------------------------------------------------------------


class Play:
    """Records given values, one a step, as the column ``score``."""

    every = 1

    def __init__(self, values: list[float]) -> None:
        self.values = values

    def __call__(self, run: Any) -> None:
        run.log("score", self.values[run.step - 1])


@pytest.mark.parametrize(
    ("values", "options", "stops"),
    [
        ([5, 4, 3, 3, 3, 0], {"patience": 2}, 5),
        ([5, 4, 3, 3, 2, 2, 2, 0], {"patience": 2}, 7),  # an improvement begins the wait anew
        ([5, 4, 3, 2, 1], {"patience": 2}, None),
        ([1, 2, 3, 3, 1, 9], {"patience": 2, "mode": "max"}, 5),
        ([1, 2, 3, 4, 5], {"patience": 2, "mode": "max"}, None),
        ([5, 4.5, 4.1, 3.9, 3.8], {"patience": 2, "min_delta": 1.0}, 3),
        ([5, 4.5, 3.9, 3.5, 2.0], {"patience": 2, "min_delta": 1.0}, None),
        ([math.nan, math.nan, 1], {"patience": 2}, 2),
        ([5, 9, 5, 9, 6, 1], {"patience": 2, "every": 2}, 6 - 2 + 2),  # looks at 9, 9, 1
    ],
)
def test_early_stopping(values: list[float], options: dict[str, Any], stops: int | None) -> None:
    if options.get("every") == 2:
        values = [5, 9, 5, 9, 6, 9, 0]
    stop = EarlyStop("score", **{"every": 1, **options})
    solution = descend(len(values), Play(values), stop)
    assert solution.steps == (stops or len(values))
    assert solution.status is (Status.STOPPED if stops else Status.STEPS_USED)
    if stops:
        assert "EarlyStop: 'score' has not improved on " in solution.message
        assert solution.message.endswith(f"for {options['patience']} looks.")


def test_early_stopping_names_the_best_value_with_its_sign() -> None:
    stop = EarlyStop("score", patience=1, mode="max", every=1)
    assert "improved on 7 for 1 looks" in descend(3, Play([7, 6, 8]), stop).message


def test_a_value_is_looked_at_once() -> None:
    """Looks between two evaluations are no signs of standing still."""

    class Seldom:
        every = 5

        def __call__(self, run: Any) -> None:
            if run.step in (5, 30, 55):
                run.log("score", 1.0)

    stop = EarlyStop("score", patience=2, every=5)
    assert descend(100, Seldom(), stop).steps == 55  # at 5 it is the best so far, at 30 and 55 it is not better
    with pytest.raises(ArgumentError, match="column: at step 5 the history has no 'u' but risk; put the Evaluate") as e:
        descend(60, Evaluate({"u": lambda u, v: 0.0}, every=10), EarlyStop("u", patience=2, every=5))
    assert "at least as often" in str(e.value)


def test_a_stop_serves_several_solves() -> None:
    stop = EarlyStop("risk", patience=3, every=1)
    game = bowl(0.0)
    assert [descend(50, stop, game=game).steps for _ in range(3)] == [4, 4, 4]


def test_the_end_is_no_look_of_its_own() -> None:
    stop = EarlyStop("risk", patience=1, every=10)
    assert descend(19, stop, game=bowl(0.0)).status is Status.STEPS_USED
    assert descend(20, stop, game=bowl(0.0)).status is Status.STOPPED


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "less"}, "mode: 'less' is neither 'min' nor 'max'"),
        ({"patience": 0}, "patience: 0 is not a positive number"),
        ({"patience": 1.5}, r"patience: 1\.5 is not"),
        ({"patience": True}, "patience: True is not"),
        ({"min_delta": -1.0}, r"min_delta: -1\.0 is no improvement"),
        ({"min_delta": math.nan}, "min_delta: nan is no improvement"),
    ],
)
def test_settings_of_early_stopping_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        EarlyStop("risk", **options)
    assert EarlyStop("risk", mode="max", patience=1, min_delta=0.5).every == 100


def test_who_remembers_says_so(tmp_path: Path) -> None:
    stop, log, look = EarlyStop("risk"), JSONLLog(tmp_path / "x"), Evaluate({})
    assert [isinstance(c, SupportsState) for c in (stop, log, look)] == [True, False, False]
    assert [isinstance(c, SupportsBegin) for c in (stop, log, look)] == [True, True, False]


# -- JSONLLog ----------------------------------------------------------------------------------------------------------


def test_the_end_is_written_down_whole(tmp_path: Path) -> None:
    """The last evaluation, which is not due, is in a log and a checkpoint that are."""
    stop = EarlyStop("risk", patience=1, every=4)
    look = Evaluate({"half": lambda u, v: float(u / 2)}, every=1000)
    writers = [JSONLLog(tmp_path / "log", every=4), Checkpoint(tmp_path, every=4)]
    assert descend(99, stop, look, *writers, game=bowl(0.0)).steps == 8
    assert "half" in json.loads((tmp_path / "log").read_text().splitlines()[-1])
    assert "half" in storage.read(tmp_path / "checkpoint.json")["history"]


@pytest.mark.parametrize("every", [1, 3, 50])
def test_each_step_has_one_line(every: int, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "log.jsonl"
    log = JSONLLog(path, every=every)
    for _ in range(2):  # a second solve begins the file anew
        solution = descend(10, Evaluate({"u": lambda u, v: float(u)}, every=4), log)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [line["step"] for line in lines] == list(range(10))
        assert [line["risk"] for line in lines] == solution.history["risk"].tolist()
        assert [line["u"] for line in lines if "u" in line] == solution.history["u"].tolist()


def test_the_log_is_json_even_where_a_metric_is_not_a_number(tmp_path: Path) -> None:
    descend(2, Evaluate({"m": lambda u, v: math.nan}, every=1), JSONLLog(tmp_path / "log"))
    text = (tmp_path / "log").read_text()
    assert "NaN" not in text
    assert [json.loads(line)["m"] for line in text.splitlines()] == [None, None]


def test_a_diverging_run_is_logged_to_its_end(tmp_path: Path) -> None:
    game = Game(lambda u, v: -(u**4), torch.tensor(1.0), None)
    with pytest.warns(RuntimeWarning, match="ceased to be finite"):
        solution = solve(game, Descent(), steps=99, u_optimizer=sgd, callbacks=[JSONLLog(tmp_path / "log")])
    lines = (tmp_path / "log").read_text().splitlines()
    assert 0 < len(lines) == solution.steps


# -- Checkpoint --------------------------------------------------------------------------------------------------------


def test_places_that_cannot_be_written_are_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentError, match="path: .*file is a file; give the folder"):
        Checkpoint(tmp_path / "file")
    with pytest.raises(ArgumentError, match="path: .* is a folder; give the file"):
        JSONLLog(tmp_path)
    assert Checkpoint(tmp_path).path == tmp_path


def test_checkpoints_are_made_when_due_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    write = storage.write

    def noted(folder: Path, name: str, content: Any, **options: Any) -> Path:
        made.append(content["run"]["step"])
        return write(folder, name, content, **options)

    monkeypatch.setattr(storage, "write", noted)
    descend(11, Checkpoint(tmp_path, every=4))
    assert made == [4, 8, 11]
    assert Checkpoint.latest(tmp_path) == tmp_path
