"""Schedules that are advanced once an epoch, every so many steps, or by a metric: against loops by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from minimaxopt import Batches, Checkpoint, Evaluate, Game, Schedule, Solution, Status, solve
from minimaxopt.errors import ArgumentError, ResumeError
from minimaxopt.loop import loop as _loop

STEPS = 40
SGD = partial(torch.optim.SGD, lr=0.2)
HALVED = partial(StepLR, step_size=1, gamma=0.5)
PLATEAU = partial(ReduceLROnPlateau, patience=1, factor=0.5, threshold=0.02)


@pytest.fixture(params=[1, 3, 1000])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let blocks grow to a number of steps, whatever the machine's speed."""
    monkeypatch.setattr(_loop, "_BLOCK_SECONDS", 1e9)
    monkeypatch.setattr(_loop, "_BLOCK_STEPS", request.param)
    return request.param


def rows(n: int = 14) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def data() -> Batches:
    return Batches(rows(), batch_size=3, seed=1)  # five batches


def risk(u: Tensor, v: Tensor, x: Tensor) -> Any:
    value = ((x @ u).square() + x @ u - (x @ v).square() + (x @ u) * (x @ v)).mean()
    return value, {"size": u.abs().sum()}


def play(schedule: Any = None, f: Callable[..., Any] = risk, **settings: Any) -> Solution:
    game = Game(f, torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64))
    usual = {"steps": STEPS, "data": data(), "u_optimizer": SGD, "v_optimizer": SGD, "u_scheduler": schedule}
    return solve(game, "simultaneous-gda", **usual | settings)


def by_hand(
    make: Callable[[torch.optim.Optimizer], Any], every: int, metric: Callable[[list[Any]], float] | None
) -> tuple[Tensor, list[float]]:
    """Both players after ``STEPS`` steps, and the leader's rate at each; ``metric`` of the records of a period."""
    u, v = torch.ones(2, dtype=torch.float64).requires_grad_(), torch.ones(2, dtype=torch.float64).requires_grad_()
    optimizers, batches, rates = (SGD([u]), SGD([v])), data(), []
    scheduler, records = make(optimizers[0]), []
    for step in range(STEPS):
        rates.append(optimizers[0].param_groups[0]["lr"])
        value, logs = risk(u, v, batches.at(step))
        size = logs["size"].item()
        u.grad, v.grad = torch.autograd.grad(value, [u, v])
        v.grad = -v.grad
        for optimizer in optimizers:
            optimizer.step()
        records.append((value.item(), size, u.norm().item()))
        if (step + 1) % every == 0:
            scheduler.step(*([] if metric is None else [metric(records)]))
            records = []
    return torch.stack([u, v]).detach(), rates


class Rates:
    """Notes the leader's rate after every step, which the callbacks of the next ones see."""

    every = 1

    def __init__(self) -> None:
        self.rates: list[float] = []

    def __call__(self, run: Any) -> None:
        self.rates.append(run.rates()["u"])


def same(a: Solution, b: Solution) -> bool:
    return torch.equal(a.u, b.u) and torch.equal(a.v, b.v) and a.history.to_dict() == b.history.to_dict()


# -- steps and epochs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 4, "epoch"])
def test_counting_schedules(every: Any, blocks: int) -> None:
    solution = play(Schedule(HALVED, every=every))
    expected, _ = by_hand(HALVED, 5 if every == "epoch" else every, None)
    torch.testing.assert_close(torch.stack([solution.u, solution.v]), expected, rtol=1e-12, atol=1e-12)


def test_once_a_step_is_what_a_bare_factory_does() -> None:
    assert same(play(Schedule(HALVED)), play(HALVED))


EPOCHS: dict[str, Any] = {
    "list": list,
    "loader": lambda batches: DataLoader(TensorDataset(rows()), batch_size=3, collate_fn=lambda s: s[0][0][None]),
    "equal sources": lambda batches: {"x": batches, "y": DataLoader(TensorDataset(rows(5)))},
}


@pytest.mark.parametrize("kind", EPOCHS)
def test_an_epoch_of_other_data(kind: str) -> None:
    def f(u: Tensor, v: Tensor, batch: Any) -> Any:
        return risk(u, v, batch["x"] if isinstance(batch, dict) else batch)

    epochs, counted = (play(Schedule(HALVED, every=e), f, data=EPOCHS[kind](data())) for e in ("epoch", 5))
    assert same(epochs, counted)


class Stream(IterableDataset[Any]):
    def __iter__(self):
        return iter(rows())


@pytest.mark.parametrize(
    "settings",
    [
        {"data": DataLoader(Stream(), batch_size=3)},
        {"data": (x for x in rows()[:, None])},
        {"data": {"a": [rows()], "b": data()}},
        {"ascent_batches": "fresh"},
        {"data": None},
    ],
    ids=["stream", "generator", "lengths", "fresh", "none"],
)
def test_an_epoch_of_unknown_length_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="u_scheduler: every='epoch', but a pass over the data has no known number"):
        play(Schedule(HALVED, every="epoch"), **settings)


# -- metrics -----------------------------------------------------------------------------------------------------------

METRICS: dict[str, tuple[Schedule, Callable[[list[Any]], float]]] = {
    "risk of an epoch": (Schedule(PLATEAU, "epoch", "risk"), lambda records: sum(r[0] for r in records) / len(records)),
    "logged": (Schedule(PLATEAU, 4, "size"), lambda records: sum(r[1] for r in records) / len(records)),
    "evaluated": (Schedule(PLATEAU, 4, "norm"), lambda records: records[-1][2]),
    "evaluated twice": (Schedule(PLATEAU, 8, "norm"), lambda records: (records[3][2] + records[7][2]) / 2),
}


def look() -> Evaluate:
    return Evaluate({"norm": lambda u, v: u.norm()}, every=4)


@pytest.mark.parametrize("kind", METRICS)
def test_a_metric_advances_the_schedule(kind: str, blocks: int) -> None:
    schedule, metric = METRICS[kind]
    notes = Rates()
    solution = play(schedule, callbacks=[look(), notes])
    expected, rates = by_hand(PLATEAU, 5 if schedule.every == "epoch" else int(schedule.every), metric)
    torch.testing.assert_close(torch.stack([solution.u, solution.v]), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(notes.rates, rates)
    assert rates[-1] < rates[0]


def test_the_maximin_game_reads_the_users_risk() -> None:
    schedule = Schedule(partial(PLATEAU, mode="max"), 5, "risk")
    solutions = [play(None, v_scheduler=schedule, order=order) for order in ("minimax", "maximin")]
    assert torch.equal(solutions[0].u, solutions[1].u)
    assert torch.equal(solutions[0].v, solutions[1].v)
    assert not torch.equal(solutions[0].v, play(None).v)


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize("stop", [7, 8, 10, 25])
def test_a_resumed_run_goes_on_with_its_schedule(kind: str, stop: int, tmp_path: Path) -> None:
    schedule, _ = METRICS[kind]
    whole = play(schedule, callbacks=[look()])
    play(schedule, steps=stop, callbacks=[Evaluate({"norm": lambda u, v: u.norm()}, every=4), Checkpoint(tmp_path)])
    rest = play(schedule, callbacks=[look()], resume=tmp_path)
    assert torch.equal(rest.u, whole.u)
    assert torch.equal(rest.v, whole.v)


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize("at", [4, 5, 8, 9, 20, 21])
def test_going_back_goes_back_to_the_rate_of_then(kind: str, at: int, tmp_path: Path, blocks: int) -> None:
    schedule, _ = METRICS[kind]
    whole, interrupts, batch = play(schedule, callbacks=[look()]), [0], data().at(at)

    def interrupting(u: Tensor, v: Tensor, x: Tensor) -> Any:
        if torch.equal(x, batch) and not interrupts[0]:
            interrupts[0] = 1
            raise KeyboardInterrupt
        return risk(u, v, x)

    broken = play(schedule, interrupting, callbacks=[look(), Checkpoint(tmp_path)])
    assert (broken.status, broken.steps) == (Status.INTERRUPTED, at)
    assert same(play(schedule, callbacks=[look()], resume=tmp_path), whole)


@pytest.mark.parametrize("kind", METRICS)
def test_a_block_that_is_made_again(kind: str, blocks: int) -> None:
    """A first draw from ``random``, just after the schedule was advanced, makes the loop go back over it."""
    schedule, _ = METRICS[kind]
    period = 5 if schedule.every == "epoch" else int(schedule.every)

    def drawing(late: bool) -> Callable[..., Any]:
        calls = [0]

        def f(u: Tensor, v: Tensor, x: Tensor) -> Any:
            calls[0] += 1
            if not late or calls[0] > 2 * period + 1:
                random.random()
            return risk(u, v, x)

        return f

    assert same(play(schedule, drawing(True), callbacks=[look()]), play(schedule, drawing(False), callbacks=[look()]))


@pytest.mark.parametrize("kind", METRICS)
def test_skipped_steps_are_counted(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule, _ = METRICS[kind]
    batches = [x.clone() for x in (data().at(i) for i in range(STEPS))]
    for i in (0, 4, 8, 9, 10, 11, 12, 30):
        batches[i][0] = math.nan
    solutions: list[Solution] = []
    for size in (1, 3, 1000):
        monkeypatch.setattr(_loop, "_BLOCK_SECONDS", 1e9)
        monkeypatch.setattr(_loop, "_BLOCK_STEPS", size)
        every = 5 if schedule.every == "epoch" else schedule.every
        solutions.append(
            play(Schedule(PLATEAU, every, schedule.metric), data=batches, callbacks=[look()], skip_nonfinite=8)
        )
    assert solutions[0].skipped == 8
    assert same(solutions[0], solutions[1])
    assert same(solutions[0], solutions[2])


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factory": 0.1}, "factory: float is not callable"),
        ({"every": 0}, "every: 0 is neither a positive"),
        ({"every": True}, "every: True is neither"),
        ({"every": "step"}, "every: 'step' is neither"),
        ({"metric": ""}, "metric: '' is no name"),
        ({"metric": 3}, "metric: 3 is no name"),
    ],
)
def test_arguments_that_cannot_be_used(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Schedule(**{"factory": HALVED, **arguments})


def test_metrics_and_schedulers_must_fit() -> None:
    with pytest.raises(ArgumentError, match="u_scheduler: StepLR takes no metric"):
        play(Schedule(HALVED, metric="risk"))
    with pytest.raises(ArgumentError, match="u_scheduler: ReduceLROnPlateau waits for a metric.*name a column"):
        play(Schedule(PLATEAU, every=3))
    with pytest.raises(ArgumentError, match="u_scheduler: the factory returned SGD"):
        play(Schedule(lambda optimizer: optimizer, every=3))


def test_a_column_that_nobody_records_is_named() -> None:
    with pytest.raises(ArgumentError, match="u_scheduler: at step 3 the history has no 'norm' but risk"):
        play(Schedule(PLATEAU, 3, "norm"), callbacks=[look()])


def test_another_period_is_refused_when_resumed(tmp_path: Path) -> None:
    play(Schedule(HALVED, every=3), steps=5, callbacks=[Checkpoint(tmp_path)])
    play(Schedule(HALVED, every=3), steps=6, resume=tmp_path)
    with pytest.raises(ResumeError, match="u_scheduler StepLR.*every 3 steps.*not StepLR.*every 4 steps"):
        play(Schedule(HALVED, every=4), resume=tmp_path)


def test_another_schedule_of_a_metric_is_refused_when_resumed(tmp_path: Path) -> None:
    play(Schedule(PLATEAU, 3, "risk"), steps=5, callbacks=[Checkpoint(tmp_path)])
    with pytest.raises(ResumeError, match="metric risk"):
        play(Schedule(PLATEAU, 3, "size"), resume=tmp_path)
    with pytest.raises(ResumeError, match="u_scheduler was built with"):
        play(Schedule(partial(PLATEAU, patience=9), 3, "risk"), resume=tmp_path)


def test_counting_and_metric_schedules_together() -> None:
    solution = play(
        Schedule(PLATEAU, 5, "risk"), v_scheduler=Schedule(partial(ExponentialLR, gamma=0.9), every="epoch")
    )
    assert solution.manifest["v_scheduler"] == "ExponentialLR (every 5 steps, metric None)"
