"""Trainings that one worker is handed together: each has the end that it would have had alone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch

from minimaxopt import Game, Run
from minimaxopt_study import _worker
from minimaxopt_study._desk import Desk, Outcome, Training
from minimaxopt_study.store import Store
from minimaxopt_study.tasks import Task, canonical

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 5
played: list[str] = []  # one entry for each evaluation of a risk, by the title of its task


def risk(title: str, fault: float, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    played.append(title)
    if fault == 1.0:
        raise ZeroDivisionError("this risk is broken")
    return (u**2 / 2 + 2 * u * v - v**2 / 2) * (torch.nan if fault == 2.0 else 1.0)


def train(task: Task, desk: Desk) -> Outcome | Training:
    fault = task.setting("fault")
    if fault == 3.0:
        raise ValueError("eta: is cursed; choose another")
    game = Game(partial(risk, task.title, fault), torch.tensor(task.setting("start")), torch.tensor(1.0))
    return Training(Run(game, "sensitivity", steps=STEPS), lambda solution: Outcome({"u": solution.u.item()}))


def computed(folder: Path, faults: dict[str, float]) -> tuple[list[tuple[str, Any]], dict[str, float]]:
    tasks = [
        Task("train", title, canonical({"fault": fault, "start": float(place + 1)}), steps=STEPS)
        for place, (title, fault) in enumerate(faults.items())
    ]
    store = Store(folder)
    desks = [Desk(store, dict, folder / "unfinished" / task.key) for task in tasks]
    played.clear()
    answers = _worker.compute(tasks, {"train": f"{__name__}:train"}, desks)
    kept = {task.title: store.result(task.key)["values"]["u"] for task in tasks if task.key in store}
    return answers, kept


def test_a_training_that_fails_costs_the_others_nothing(tmp_path: Path) -> None:
    faults = {"sound": 0.0, "broken": 1.0, "not finite": 2.0, "refused": 3.0, "sound too": 0.0}
    answers, kept = computed(tmp_path / "beside", faults)
    assert [outcome for outcome, _ in answers] == ["done", "failed", "failed", "failed", "done"]
    reasons = [str(reason) for outcome, reason in answers if outcome == "failed"]
    assert "this risk is broken" in reasons[0]
    assert "'risk' ceased to be finite" in reasons[1]
    assert "eta: is cursed" in reasons[2]
    assert kept.keys() == {"sound", "sound too"}
    counts = {title: played.count(title) for title in kept}
    alone, single = computed(tmp_path / "alone", {"sound": 0.0})
    assert alone[0][0] == "done"
    assert single["sound"] == kept["sound"]
    assert counts == dict.fromkeys(kept, played.count("sound"))  # neither was played again


@pytest.mark.parametrize("fault", [1.0, 2.0])
def test_a_group_whose_members_all_fail_tells_each_reason(tmp_path: Path, fault: float) -> None:
    answers, kept = computed(tmp_path, {"first": fault, "second": fault})
    assert [outcome for outcome, _ in answers] == ["failed", "failed"]
    told = {1.0: "this risk is broken", 2.0: "'risk' ceased to be finite"}
    assert all(told[fault] in str(reason) for _, reason in answers)
    assert not kept
