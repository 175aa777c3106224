"""Single trainings, of a few steps each."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from minimaxopt import Batches
from minimaxopt.plugins import ResultStore
from minimaxopt_adversarial import attack_in_batches, error_rate, fgsm
from minimaxopt_study.plan.plan import derive
from minimaxopt_study.plan.task import canonical
from minimaxopt_study.profiles.profile import load_profile
from minimaxopt_study.tasks import training as work
from minimaxopt_study.tasks.images import BOUNDS, open_images
from minimaxopt_study.tasks.networks import new_classifier, pack
from minimaxopt_study.tasks.workspace import Workspace

if TYPE_CHECKING:
    from minimaxopt_study.plan.plan import Plan
    from minimaxopt_study.plan.task import Task

CLASSIFIER = {"width": 2, "stride": 2, "hidden": 8, "dropout": 0.0}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(ResultStore(tmp_path), lambda: open_images(held_out=100), tmp_path / "scratch")


def plan(**sections: Any) -> Plan:
    return derive(load_profile("quick", classifier=CLASSIFIER, **sections), "images")


def with_parent(workspace: Workspace, task: Task, role: str) -> torch.nn.Module:
    """Store an untrained classifier as the task's parent."""
    settings = task.setting("classifier")
    network = new_classifier(settings, 1)
    workspace.store.put(task.parent(role), {"settings": {"classifier": settings}}, pack("classifier", network))
    return network.eval()


@pytest.mark.parametrize("steps", [2, 200])
def test_a_round_attacks_every_digit_that_it_sees(workspace: Workspace, steps: int) -> None:
    made = plan(adversarial_round={"steps": steps, "rate": 1e-3, "batch": 50})
    task = made.graph[made.classifiers["Adv FGSM1", 0.2, 0]]
    network = with_parent(workspace, task, "attacked")
    x, y = workspace.images.x_train, workspace.images.y_train
    attack = partial(fgsm, eta=0.2, bounds=BOUNDS)
    every = attack_in_batches(attack, network, x, y)
    examples = work._examples(task, workspace, network)
    batches = Batches(torch.arange(2 * len(x)), 50, work._stream(task, "batches"))
    indices = torch.cat([batches.at(step) for step in range(steps)])
    attacked = indices[indices >= len(x)].unique() - len(x)
    # Batches of other sizes round differently, which can turn the sign of a vanishing slope.
    assert ((examples[attacked] - every[attacked]).abs() > 1e-6).float().mean() < 1e-3
    changed = (examples != x).flatten(1).any(1).nonzero().flatten()
    assert set(changed.tolist()) == set(attacked.tolist())
    assert (len(changed) == len(x)) == (steps == 200)


def test_curves_can_be_measured_on_some_of_the_images(workspace: Workspace) -> None:
    training = {"steps": 4, "rate": 1e-3, "attacker_rate": 1e-3, "batch": 20}
    grad = {"steps": 4, "rate": 1e-3, "batch": 20, "warm_start": False}
    made = plan(
        minimax_attnet=training, minimax_grad=grad, attacker={"hidden": [5]}, figures={"points": 2, "curve_digits": 30}
    )
    game = made.graph[made.classifiers["Minimax-AttNet", 0.2, 0]]
    outcome = work.attnet_game(game, workspace)
    assert outcome.values["curve digits"] == 30
    alone = made.graph[made.grad_runs[0.2, 0]]
    curve = work.minimax_grad(alone, workspace).values["curve"]
    start = new_classifier(alone.setting("classifier"), work._stream(alone, "classifier")).eval()
    assert curve["clean"][0] == error_rate(start, workspace.images.x_test[:30], workspace.images.y_test[:30])
    every = replace(alone, settings=canonical(json.loads(alone.settings) | {"curve_digits": None}))
    whole = work.minimax_grad(every, workspace)
    assert whole.values["curve digits"] == len(workspace.images.y_test) == 100
    assert whole.values["curve"]["clean"][0] == error_rate(start, workspace.images.x_test, workspace.images.y_test)
