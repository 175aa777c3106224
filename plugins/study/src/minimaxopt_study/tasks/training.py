"""The trainings of the study, each by ``minimaxopt.solve``.

Each function computes one kind of task: it builds a game from the task's settings and its parents' networks, solves it,
and returns the trained players.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from minimaxopt import (
    AlternatingGDA,
    Ascent,
    Batches,
    Checkpoint,
    Descent,
    Evaluate,
    Game,
    Sensitivity,
    Solution,
    Status,
    solve,
)
from minimaxopt.errors import MinimaxoptError
from minimaxopt_adversarial import (
    attack_in_batches,
    classifier_game,
    error_rate,
    fgsm,
    gradient_game,
    loss_by_name,
    mixture,
)
from minimaxopt_adversarial import attnet_game as play_attnet
from minimaxopt_study.paper.names import ALTERNATING, MAXIMIN
from minimaxopt_study.tasks.images import BOUNDS
from minimaxopt_study.tasks.networks import ATTACKER, CLASSIFIER, load, new_attacker, new_classifier, pack
from minimaxopt_study.tasks.workspace import Outcome, Workspace

if TYPE_CHECKING:
    from minimaxopt_study.plan.task import Task

Metrics = Mapping[str, Callable[[Any, Any], float]]


def undefended(task: Task, workspace: Workspace) -> Outcome:
    """Train a classifier on clean images."""
    return _classifier(task, workspace, classifier_game(_new_classifier(task, workspace)), Descent())


def adversarial_round(task: Task, workspace: Workspace) -> Outcome:
    """Retrain on clean images and those that FGSM makes against the previous classifier, one to one (Sec. 3.1)."""
    attacked = load(workspace, task.parent("attacked"), CLASSIFIER)
    images = workspace.images
    start = attacked if task.setting("warm_start") else _new_classifier(task, workspace)
    data = mixture(images.x_train, _examples(task, workspace, attacked), images.y_train)
    return _classifier(task, workspace, classifier_game(start.train()), Descent(), data=data)


def _examples(task: Task, workspace: Workspace, classifier: nn.Module) -> Tensor:
    """Attack those training images by FGSM whose attacked version a batch of the mixture draws; others stay clean.

    A round that is shorter than an epoch sees few of them, and attacking all would take longer than the round.
    """
    x, y = workspace.images.x_train, workspace.images.y_train
    batches = Batches(torch.arange(2 * len(x)), task.setting("batch"), _stream(task, "batches"))
    drawn = torch.cat([batches.at(step) for step in range(min(task.steps, len(batches)))])
    indices = (drawn[drawn >= len(x)].sort().values - len(x)).to(x.device)
    attack = partial(fgsm, eta=task.setting("eta"), bounds=BOUNDS)
    examples = x.clone()
    if len(indices):
        examples[indices] = attack_in_batches(attack, classifier, x[indices], y[indices])
    return examples


def lwa(task: Task, workspace: Workspace) -> Outcome:
    """Descend the risk on FGSM examples recomputed at each step, without anticipating them (LWA)."""
    game = gradient_game(_start(task, workspace), eta=task.setting("eta"), bounds=BOUNDS)
    return _classifier(task, workspace, game, Descent())


def minimax_grad(task: Task, workspace: Workspace) -> Outcome:
    """Descend Eq. 8: the same risk and the penalty on its slope, with ``gamma = eta N`` (Minimax-Grad)."""
    eta = task.setting("eta")
    x, y = _curve_images(task, workspace)
    start = _start(task, workspace)

    def clean(u: nn.Module, _: object) -> float:
        return error_rate(u, x, y)

    def current(u: nn.Module, _: object) -> float:
        attack = partial(fgsm, eta=eta, bounds=BOUNDS)
        return error_rate(u, attack_in_batches(attack, u, x, y), y)

    metrics: Metrics = {"clean": clean, "FGSM-curr": current}
    game = gradient_game(start, eta=eta, bounds=BOUNDS)
    solver = Sensitivity(gamma=eta * task.setting("gamma_scale"), per_sample=True)
    solution = _train(task, workspace, game, solver, metrics=metrics)
    opening = {name: metric(start.eval(), None) for name, metric in metrics.items()}
    values = _summary(solution) | {"curve": _curve(solution, opening), "curve digits": len(y)}
    return Outcome(values, pack(CLASSIFIER, solution.u))


def attnet_game(task: Task, workspace: Workspace) -> Outcome:
    """Train a classifier against an attack network: Alg. 1, Eq. 19, or Alg. 1 with the attacker leading (Sec. 4)."""
    (x, y), method = _curve_images(task, workspace), task.setting("method")
    classifier, attacker = _start(task, workspace), _new_attacker(task, workspace)
    metrics: Metrics = {"pair": lambda u, v: error_rate(u, v(x, y), y)}

    solution = _train(
        task, workspace, play_attnet(classifier, attacker),
        AlternatingGDA() if method == ALTERNATING else Sensitivity(gamma=task.setting("gamma")),
        metrics=metrics, rate=task.setting("attacker_rate"), order="maximin" if method == MAXIMIN else "minimax",
    )  # fmt: skip
    with torch.no_grad():
        opening = {name: metric(classifier.eval(), attacker.eval()) for name, metric in metrics.items()}
    values = _summary(solution) | {
        "saturated": _saturation(solution.v, workspace),
        "misled": _misled(solution.u, solution.v, workspace),
        "curve": _curve(solution, opening),
        "curve digits": len(y),
    }
    return Outcome(values, pack(CLASSIFIER, solution.u) | pack(ATTACKER, solution.v))


def attack_network(task: Task, workspace: Workspace) -> Outcome:
    """Train a new attack network against a frozen classifier (Eq. 9)."""
    classifier = load(workspace, task.parent("classifier"), CLASSIFIER)
    game = play_attnet(classifier, _new_attacker(task, workspace), loss=loss_by_name(task.setting("loss")))

    solution = _train(task, workspace, game, Ascent(), rate=task.setting("rate"))
    return Outcome(_summary(solution) | {"saturated": _saturation(solution.v, workspace)}, pack(ATTACKER, solution.v))


def _classifier(task: Task, workspace: Workspace, game: Game, solver: Any, *,
                data: tuple[Tensor, Tensor] | None = None) -> Outcome:  # fmt: skip
    """Train a classifier without evaluations on the way."""
    solution = _train(task, workspace, game, solver, data=data)
    return Outcome(_summary(solution), pack(CLASSIFIER, solution.u))


def _train(task: Task, workspace: Workspace, game: Game, solver: Any, *, data: tuple[Tensor, Tensor] | None = None,
           metrics: Metrics | None = None, rate: float | None = None, order: Literal["minimax", "maximin"] = "minimax",
           ) -> Solution:  # fmt: skip
    """Solve a task's game with what every training has in common; ``rate`` is the attack network's, where it moves.

    Raises:
        MinimaxoptError: it did not come to its last step, since its risk was not finite.
    """
    images = workspace.images
    callbacks: list[Any] = []
    if metrics:
        callbacks.append(Evaluate(metrics, every=max(1, task.steps // task.setting("points"))))
    if workspace.checkpoint_every:
        callbacks.append(Checkpoint(workspace.scratch, every=workspace.checkpoint_every))
    leads = None
    if not isinstance(solver, Ascent):
        decay = task.setting("classifier")["weight_decay"]
        leads = partial(_adam(workspace), lr=task.setting("rate"), weight_decay=decay)
    solution = solve(
        game, solver, steps=task.steps, seed=_stream(task, "risk"), order=order, callbacks=callbacks,
        data=Batches(data or (images.x_train, images.y_train), task.setting("batch"), _stream(task, "batches")),
        u_optimizer=leads, v_optimizer=None if rate is None else partial(_adam(workspace), lr=rate),
        resume=Checkpoint.latest(workspace.scratch) if workspace.checkpoint_every else None, progress=False,
    )  # fmt: skip
    if solution.status is not Status.STEPS_USED:
        raise MinimaxoptError(f"{task.title}: {solution.message}; lower the learning rates or gamma in the profile")
    return solution


def _adam(workspace: Workspace) -> Callable[..., torch.optim.Optimizer]:
    # A graph of kernels can be captured only if the optimizer keeps its count of steps on the device.
    return partial(torch.optim.Adam, capturable=True) if workspace.device.type == "cuda" else torch.optim.Adam


def _start(task: Task, workspace: Workspace) -> nn.Module:
    if task.setting("warm_start"):
        return load(workspace, task.parent("start"), CLASSIFIER).train()
    return _new_classifier(task, workspace)


def _new_classifier(task: Task, workspace: Workspace) -> nn.Module:
    return new_classifier(task.setting("classifier"), _stream(task, "classifier")).to(workspace.device)


def _new_attacker(task: Task, workspace: Workspace) -> nn.Module:
    network = new_attacker(
        task.setting("attacker"), task.setting("eta"), workspace.images.shape, _stream(task, "attacker")
    )
    return network.to(workspace.device)


def _stream(task: Task, purpose: str) -> int:
    """Return the seed of one random stream; the same for each eta and method, so that these alone differ."""
    start = task.setting("start") if task.kind == "attnet game" else 0
    name = f"{task.seed}/{task.kind}/{start}/{purpose}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1


def _curve_images(task: Task, workspace: Workspace) -> tuple[Tensor, Tensor]:
    """Return the evaluated images on which a curve is measured."""
    count = task.setting("curve_digits")
    return workspace.images.x_test[:count], workspace.images.y_test[:count]


def _summary(solution: Solution) -> dict[str, Any]:
    """Return a training's risk and sensitivity at its start, middle and end."""
    summary: dict[str, Any] = {"steps": solution.steps}
    for name in ("risk", "sensitivity"):
        if name in solution.history:
            column = solution.history[name]
            summary[name] = [float(column[index]) for index in (0, len(column) // 2, -1)]
    return summary


def _curve(solution: Solution, opening: Mapping[str, float]) -> dict[str, list[float]]:
    """Return the evaluated columns from the opening point on, counted in steps made."""
    steps = [0, *(int(step) + 1 for step in solution.history.steps(next(iter(opening))))]
    return {"step": [float(step) for step in steps]} | {
        name: [first, *(float(value) for value in solution.history[name])] for name, first in opening.items()
    }


def _saturation(attacker: Any, workspace: Workspace) -> float:
    images = workspace.images
    return float(attacker.eval().saturation(images.x_train[:500], images.y_train[:500]))


def _misled(classifier: Any, attacker: Any, workspace: Workspace) -> float:
    """Return the share of images classified as the wrong class that the attack network was given.

    The attack network sees the label. If this share is large, it writes the label into the image, and the classifier
    has learned to read it there: the pair's error is then low for a reason that has nothing to do with the image.
    """
    wrong = (workspace.images.y_test + 1) % 10
    return 1 - error_rate(classifier.eval(), attacker.eval()(workspace.images.x_test, wrong), wrong)
