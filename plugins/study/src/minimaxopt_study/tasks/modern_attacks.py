"""Modern attacks on the paper's classifiers.

The paper's columns are one gradient step (FGSM) and a small attack network. Here each classifier of its tables meets
iterated gradient attacks with restarts, images made against another classifier, and AutoAttack; and signs that a column
overstates robustness are looked for. Nothing of this enters the paper's own columns or the claims.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minimaxopt_adversarial import eta_sweep, evaluate_robustness, strong_attacks
from minimaxopt_study.paper.names import ANOTHER, TRANSFER
from minimaxopt_study.tasks.images import BOUNDS
from minimaxopt_study.tasks.networks import CLASSIFIER, load
from minimaxopt_study.tasks.workspace import Outcome, Workspace

if TYPE_CHECKING:
    from torch import Tensor

    from minimaxopt_study.plan.task import Task


def strong(task: Task, workspace: Workspace) -> Outcome:
    """Attack the first test images by iterated attacks with restarts and by transfer, and sweep eta."""
    classifier, (x, y) = (
        load(workspace, task.parent("classifier"), CLASSIFIER),
        _first(workspace, task.setting("images")),
    )
    attacked = evaluate_robustness(
        classifier, x, y, eta=task.setting("eta"), bounds=BOUNDS,
        attacks=strong_attacks(steps=task.setting("steps"), restarts=task.setting("restarts")),
        transfer={ANOTHER: load(workspace, task.parent(TRANSFER), CLASSIFIER)}, autoattack_images=0, seed=task.seed,
    )  # fmt: skip
    sweep = eta_sweep(classifier, x, y, bounds=BOUNDS, steps=task.setting("sweep_steps"),
                      images=min(task.setting("sweep_images"), len(y)), seed=task.seed)  # fmt: skip
    return Outcome({"evaluation": attacked.to_dict(), "sweep": sweep.to_dict()})


def auto(task: Task, workspace: Workspace) -> Outcome:
    """Attack the first test images by AutoAttack."""
    classifier, (x, y) = (
        load(workspace, task.parent("classifier"), CLASSIFIER),
        _first(workspace, task.setting("images")),
    )
    attacked = evaluate_robustness(classifier, x, y, eta=task.setting("eta"), bounds=BOUNDS, attacks=(),
                                autoattack_images=len(y), seed=task.seed)  # fmt: skip
    return Outcome({"evaluation": attacked.to_dict()})


def _first(workspace: Workspace, count: int) -> tuple[Tensor, Tensor]:
    return workspace.images.x_test[:count], workspace.images.y_test[:count]
