"""Evaluations of trained networks: attacked images, error rates, samples for the eye."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from minimaxopt_adversarial import attack_in_batches, error_rate, feasible_box, fgsm, ifgsm
from minimaxopt_study.paper.names import ALTERNATING, CO_TRAINED, FRESH, MAXIMIN, MINIMAX, TUNED
from minimaxopt_study.tasks.images import BOUNDS
from minimaxopt_study.tasks.networks import ATTACKER, CLASSIFIER, load
from minimaxopt_study.tasks.workspace import Outcome, Workspace

if TYPE_CHECKING:
    from minimaxopt_study.plan.task import Task

AT_ONCE = 1000


def examples(task: Task, workspace: Workspace) -> Outcome:
    """Attack the evaluated images by FGSM against one classifier; store the sign of each pixel's change."""
    classifier = load(workspace, task.parent("classifier"), CLASSIFIER)
    data = workspace.images
    attacked = _fgsm(classifier, data, task.setting("eta"))
    return Outcome({}, {"sign": (attacked - data.x_test).sign().to(torch.int8).cpu()})


def evaluation(task: Task, workspace: Workspace) -> Outcome:
    """Count a classifier's errors under no attack, each round's FGSM, FGSM against itself, and attack networks."""
    classifier = load(workspace, task.parent("classifier"), CLASSIFIER)
    data, eta = workspace.images, task.setting("eta")
    errors: dict[str, float] = {}
    seconds: dict[str, float] = {}
    networks: dict[str, Any] = {}
    parents = dict(task.parents)
    columns = ["No attack", *(role for role in parents if role.startswith("FGSM")), "FGSM-curr"]
    for column in columns:
        start = time.perf_counter()
        if column == "No attack":
            images = data.x_test
        elif column == "FGSM-curr":
            images = _fgsm(classifier, data, eta)
        else:
            images = _restored(workspace, parents[column], eta)
        errors[column] = error_rate(classifier, images, data.y_test)
        seconds[column] = time.perf_counter() - start
    start = time.perf_counter()
    for name in (FRESH, CO_TRAINED, TUNED):
        if name in parents:
            networks[name] = load(workspace, parents[name], ATTACKER)
    chosen_on = slice(0, task.setting("choose_on"))
    train = {n: _network_error(classifier, v, data.x_train[chosen_on], data.y_train[chosen_on])
             for n, v in networks.items()}  # fmt: skip
    test = {n: _network_error(classifier, v, data.x_test, data.y_test) for n, v in networks.items()}
    if networks:
        seconds["AttNet-curr"] = time.perf_counter() - start
    return Outcome(
        {"images": len(data.y_test), "errors": errors, "seconds": seconds, "attnet": test, "attnet_train": train}
    )


def panel(task: Task, workspace: Workspace) -> Outcome:
    """Attack the same images by each attack (Figure 3): of each class the first that is classified correctly."""
    data, eta = workspace.images, task.setting("eta")
    undefended = load(workspace, task.parent("classifier"), CLASSIFIER)
    chosen = _first_known(undefended, data, task.setting("samples"))
    x, y = data.x_test[chosen], data.y_test[chosen]
    last = workspace.store.result(task.parent("FGSM-last"))["title"].split()[0]
    images: dict[str, Tensor] = {
        "original": x,
        "FGSM1": _restored(workspace, task.parent("FGSM1"), eta)[chosen],
        last: _restored(workspace, task.parent("FGSM-last"), eta)[chosen],
        "IFGSM1": ifgsm(undefended, x, y, eta=eta, steps=task.setting("iterations"), bounds=BOUNDS),
    }
    for method in (MINIMAX, ALTERNATING, MAXIMIN):
        with torch.no_grad():
            images[method] = load(workspace, task.parent(method), ATTACKER)(x, y)
    rounded = {name: [_pixels(image) for image in batch] for name, batch in images.items()}
    return Outcome({"labels": y.tolist(), "images": rounded})


def _pixels(image: Tensor) -> list[Any]:
    """Return rows of pixels, rounded: grey values, or red, green and blue."""
    rows = image[0] if len(image) == 1 else image.permute(1, 2, 0)
    return torch.round(rows.double(), decimals=3).tolist()


def _first_known(classifier: Any, data: Any, count: int) -> list[int]:
    with torch.no_grad():
        right = classifier(data.x_test[:AT_ONCE]).argmax(1) == data.y_test[:AT_ONCE]
    chosen: dict[int, int] = {}
    for index in torch.nonzero(right).flatten().tolist():
        chosen.setdefault(int(data.y_test[index]), index)
    return [chosen[label] for label in sorted(chosen)][:: max(1, len(chosen) // count)][:count]


def _fgsm(classifier: Any, data: Any, eta: float) -> Tensor:
    attack = partial(fgsm, eta=eta, bounds=BOUNDS)
    return attack_in_batches(attack, classifier, data.x_test, data.y_test)


def _restored(workspace: Workspace, key: str, eta: float) -> Tensor:
    """Return the attacked images that ``examples`` stored: the same bits, at a quarter of the space."""
    x = workspace.images.x_test
    lower, upper = feasible_box(x, eta, BOUNDS)
    return torch.clamp(x + eta * workspace.store.tensors(key)["sign"].to(x), lower, upper)


def _network_error(classifier: Any, attacker: Any, x: Tensor, y: Tensor) -> float:
    wrong = 0.0
    for images, labels in zip(x.split(AT_ONCE), y.split(AT_ONCE), strict=True):
        with torch.no_grad():
            wrong += error_rate(classifier, attacker(images, labels), labels) * len(labels)
    return wrong / len(y)
