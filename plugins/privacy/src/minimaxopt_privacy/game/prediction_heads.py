"""Prediction tasks on a published vector: classes or numbers, their losses, and the networks that predict them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimaxopt_privacy.checks import check_choice, check_count, check_number, refuse

Kind: TypeAlias = Literal["classification", "regression"]
KINDS: tuple[Kind, ...] = ("classification", "regression")

HIDDEN_WIDTHS: dict[str, tuple[int, ...]] = {"softmax": (), "mlp": (64,)}
"""Prediction heads by name: widths of their hidden layers."""


@final
@dataclass(frozen=True)
class Task:
    """One label to be predicted from ``z``, with its loss.

    ``l(s, y) = -log softmax(s)_y`` for a class, ``l(s, y) = |s - y|^2 / 2`` for numbers

    Args:
        outputs: number of classes, or length of a vector of numbers.
        kind: ``"classification"`` or ``"regression"``.
        weight: weight of its loss among several tasks, > 0.
        name: name of the label, for tables.

    Raises:
        ArgumentError: an argument is out of range; a class label has fewer than two classes.

    Examples:
        >>> import torch
        >>> Task(2).loss(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
        tensor(0.6931)
        >>> Task(1, "regression").loss(torch.ones(3, 1), torch.zeros(3))
        tensor(0.5000)

    Source: Hamm 2017, "Minimax filter", Sec. 3 (classes and numbers alike).
    """

    outputs: int
    kind: Kind = "classification"
    weight: float = 1.0
    name: str = "label"

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, KINDS)
        check_count("outputs", self.outputs, least=2 if self.kind == "classification" else 1)
        check_number("weight", self.weight, positive=True)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of scores ``(N, outputs)`` on labels ``(N,)`` (or ``(N, outputs)`` numbers)."""
        if self.kind == "classification":
            return F.cross_entropy(scores, labels)
        return 0.5 * (scores - labels.reshape(scores.shape).to(scores)).square().sum(1).mean()


def task_loss(tasks: Sequence[Task], scores: Any, labels: Any) -> Tensor:
    """Return the weighted mean of the tasks' losses; being a mean, it leaves the meaning of ``rho`` unchanged.

    ``sum_k weight_k l_k(scores_k, labels_k) / sum_k weight_k``

    Args:
        tasks: the tasks, in the order of scores and labels.
        scores: ``(N, outputs)``, or a sequence of such, one for each task.
        labels: ``(N,)``, or a sequence of such.

    Raises:
        ArgumentError: there are not as many scores or labels as tasks.

    Examples:
        >>> task_loss([Task(2), Task(2)], [torch.zeros(3, 2)] * 2, [torch.zeros(3, dtype=torch.long)] * 2)
        tensor(0.6931)

    Source: this library.
    """
    all_scores = [scores] if isinstance(scores, Tensor) else list(scores)
    all_labels = [labels] if isinstance(labels, Tensor) else list(labels)
    if not len(all_scores) == len(all_labels) == len(tasks):
        raise refuse(
            "tasks",
            f"{len(tasks)} tasks stand beside {len(all_scores)} scores and {len(all_labels)} labels",
            "give one of each",
        )
    total = sum(task.weight for task in tasks)
    losses = [task.weight * task.loss(s, y) for task, s, y in zip(tasks, all_scores, all_labels, strict=True)]
    return torch.stack(losses).sum() / total


@final
class PredictionHead(nn.Module):
    """Network that predicts several labels: a shared trunk, and a linear layer for each label.

    ``s_k(z) = W_k h(z) + b_k`` with ``h`` the identity (softmax regression) or a multilayer perceptron with ReLUs

    Args:
        dimension: number of features of ``z``, ``(N, dimension)``.
        tasks: the labels to predict, one linear layer each.
        hidden: widths of the trunk's layers; none for a linear head.

    Raises:
        ArgumentError: there is no task, or a width is not positive.

    Examples:
        >>> head = PredictionHead(4, [Task(2), Task(3)], hidden=(8,))
        >>> [tuple(scores.shape) for scores in head(torch.zeros(5, 4))]
        [(5, 2), (5, 3)]
        >>> tuple(PredictionHead(4, [Task(2)])(torch.zeros(5, 4)).shape)
        (5, 2)

    Source: this library; the linear head is the softmax regression of Hamm 2017, "Minimax filter".
    """

    def __init__(self, dimension: int, tasks: Sequence[Task], hidden: Sequence[int] = ()) -> None:
        super().__init__()
        if not tasks:
            raise refuse("tasks", "there is none", "give at least one Task")
        widths = [check_count("dimension", dimension), *(check_count("hidden", width) for width in hidden)]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleList([nn.Linear(widths[-1], task.outputs) for task in tasks])

    def forward(self, z: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return scores ``(N, outputs)``, for several tasks a tuple of them."""
        h = self.trunk(z)
        scores = [head(h) for head in self.heads]
        return tuple(scores) if len(scores) > 1 else scores[0]
