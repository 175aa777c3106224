"""The attacks of today on the paper's classifiers: what its tables would say if they were made now.

The paper's columns are one gradient step (FGSM) and a small attack network. Here each classifier of its tables meets
iterated gradient attacks with restarts, images made against another classifier, and AutoAttack; and signs that a column
overstates robustness are looked for. Nothing of this enters the paper's own columns or the claims.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minimaxopt_adversarial import eta_sweep, evaluate_robustness, strong_attacks
from minimaxopt_study.tasks.images import BOUNDS
from minimaxopt_study.tasks.networks import CLASSIFIER, load
from minimaxopt_study.tasks.workspace import Outcome, Workspace

if TYPE_CHECKING:
    from torch import Tensor

    from minimaxopt_study.plan.task import Task

TRANSFER = "transfer"  # the role of the classifier against which transferred images are made
ANOTHER = "another classifier"  # what its column calls it, since it is not the same one on every row


def strong(task: Task, workspace: Workspace) -> Outcome:
    """Iterated attacks with restarts on the first test images, transferred images, and a sweep of eta."""
    classifier, (x, y) = (
        load(workspace, task.parent("classifier"), CLASSIFIER),
        _first(workspace, task.setting("images")),
    )
    found = evaluate_robustness(
        classifier, x, y, eta=task.setting("eta"), bounds=BOUNDS,
        attacks=strong_attacks(steps=task.setting("steps"), restarts=task.setting("restarts")),
        transfer={ANOTHER: load(workspace, task.parent(TRANSFER), CLASSIFIER)}, autoattack_images=0, seed=task.seed,
    )  # fmt: skip
    sweep = eta_sweep(classifier, x, y, bounds=BOUNDS, steps=task.setting("sweep_steps"),
                      images=min(task.setting("sweep_images"), len(y)), seed=task.seed)  # fmt: skip
    return Outcome({"evaluation": found.to_dict(), "sweep": sweep.to_dict()})


def auto(task: Task, workspace: Workspace) -> Outcome:
    """AutoAttack on the first test images."""
    classifier, (x, y) = (
        load(workspace, task.parent("classifier"), CLASSIFIER),
        _first(workspace, task.setting("images")),
    )
    found = evaluate_robustness(classifier, x, y, eta=task.setting("eta"), bounds=BOUNDS, attacks=(),
                                autoattack_images=len(y), seed=task.seed)  # fmt: skip
    return Outcome({"evaluation": found.to_dict()})


def _first(workspace: Workspace, count: int) -> tuple[Tensor, Tensor]:
    return workspace.images.x_test[:count], workspace.images.y_test[:count]
