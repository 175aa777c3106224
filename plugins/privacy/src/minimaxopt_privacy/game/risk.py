"""The game of a privacy filter: the risk that trades utility against leakage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimaxopt import Game
from minimaxopt.errors import ArgumentError
from minimaxopt_privacy.checks import check_number
from minimaxopt_privacy.game.prediction_heads import Task, task_loss

Leader: TypeAlias = dict[str, nn.Module]
"""The filter (``"filter"``) and the utility head that cooperates with it (``"head"``)."""

Adversary: TypeAlias = nn.Module | Mapping[str, nn.Module]
"""A head that infers the private label, or a committee of several by name."""

Batch: TypeAlias = tuple[Tensor, Any, Any]
"""Features ``(N, d)``, useful labels ``(N,)`` and private labels ``(N,)`` (each a sequence of such for several)."""


@final
@dataclass(frozen=True)
class PrivacyRisk:
    """The risk of a filter ``z(x; u)`` with a utility head ``w``, against an adversary ``v``.

    ``f((u, w), v) = rho E[l(w(z(x; u)), y)] - E[l(v(z(x; u)), s)] + (penalty / 2) |u|^2 + (head_penalty / 2) |w|^2``

    with ``y`` the useful label and ``s`` the private one. The leader ``(u, w)`` minimises: its head predicts ``y`` as
    well as it can, its filter helps the head and hinders the adversary. The follower maximises, that is, predicts ``s``
    as well as it can. The members of a committee predict separately and the mean of their losses counts, so that each
    member has its own maximum.

    Args:
        rho: price of a nat of utility loss, in nats of private loss, >= 0.
        utility: the useful labels; by default one class label, of any number of classes.
        private: the private labels, the same.
        penalty: weight of the squared norm of the filter's parameters, which fixes a free scale, >= 0.
        head_penalty: weight of the squared norm of the head's parameters, >= 0. With both, the product of head and
            filter stays small, which guards the utility against overfitting.

    Raises:
        ArgumentError: ``rho`` or a penalty is negative or not finite.

    Examples:
        >>> leader = {"filter": nn.Identity(), "head": nn.Linear(2, 3)}
        >>> batch = (torch.zeros(4, 2), torch.tensor([0, 1, 2, 0]), torch.tensor([0, 1, 0, 1]))
        >>> PrivacyRisk(rho=1.0)(leader, nn.Linear(2, 2), batch).shape
        torch.Size([])

    Source: Hamm and Mehra 2018, Sec. 5.2; with a utility term and a penalty as in Hamm 2017, "Minimax filter".
    """

    rho: float
    utility: Sequence[Task] | None = None
    private: Sequence[Task] | None = None
    penalty: float = 0.0
    head_penalty: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.rho < float("inf"):
            raise ArgumentError(f"rho: is {self.rho}; the price of utility must be finite and not negative")
        check_number("penalty", self.penalty)
        check_number("head_penalty", self.head_penalty)

    def __call__(self, leader: Leader, adversary: Adversary, batch: Batch) -> Tensor:
        """Return the risk on a batch."""
        x, useful, private = batch
        z = leader["filter"](x)
        members = list(adversary.values()) if isinstance(adversary, Mapping) else [adversary]
        hidden = torch.stack([_loss(self.private, member(z), private) for member in members]).mean()
        risk = self.rho * _loss(self.utility, leader["head"](z), useful) - hidden
        for weight, part in ((self.penalty, "filter"), (self.head_penalty, "head")):
            if weight:
                risk = risk + 0.5 * weight * sum(p.square().sum() for p in leader[part].parameters())
        return risk


def privacy_risk(rho: float) -> PrivacyRisk:
    """Return the risk for one useful and one private class label, as ``PrivacyRisk``.

    Args:
        rho: price of a nat of utility loss, in nats of private loss, >= 0.

    Raises:
        ArgumentError: ``rho`` is negative or not finite.

    Examples:
        >>> privacy_risk(rho=1.0).penalty
        0.0

    Source: Hamm and Mehra 2018, Sec. 5.2.
    """
    return PrivacyRisk(rho)


def privacy_game(
    filter_: nn.Module,
    head: nn.Module,
    adversary: Adversary,
    *,
    rho: float = 1.0,
    utility: Sequence[Task] | None = None,
    private: Sequence[Task] | None = None,
    penalty: float = 0.0,
    head_penalty: float = 0.0,
) -> Game:
    """Return the game in which a filter and its utility head lead, and an adversary follows.

    ``min_{u,w} max_v f((u, w), v)`` with the risk of ``PrivacyRisk``; ``solve(game, order="maximin")`` solves it
    with the adversary as the leader, and returns the adversary with the best worst case.

    Args:
        filter_: maps features ``(N, d)`` to the published vector ``(N, k)``.
        head: maps ``(N, k)`` to scores of the useful classes; to a sequence of scores for several tasks.
        adversary: maps ``(N, k)`` to scores of the private classes; or several by name.
        rho: price of a nat of utility loss, in nats of private loss, >= 0.
        utility: the useful labels; by default one class label, of any number of classes.
        private: the private labels, the same.
        penalty: weight of the squared norm of the filter's parameters, >= 0.
        head_penalty: weight of the squared norm of the head's parameters, >= 0.

    Raises:
        ArgumentError: an argument cannot be used.

    Examples:
        >>> privacy_game(nn.Linear(8, 2), nn.Linear(2, 3), nn.Linear(2, 2), rho=4.0).responding
        False

    Source: Hamm and Mehra 2018, Sec. 5.2.
    """
    follower = dict(adversary) if isinstance(adversary, Mapping) else adversary
    return Game(PrivacyRisk(rho, utility, private, penalty, head_penalty), {"filter": filter_, "head": head}, follower)


def _loss(tasks: Sequence[Task] | None, scores: Any, labels: Any) -> Tensor:
    return F.cross_entropy(scores, labels) if tasks is None else task_loss(tasks, scores, labels)
