"""The game of a privacy filter: keep what is useful, hide what is private."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

from minimaxopt import Game
from minimaxopt.errors import ArgumentError

Leader: TypeAlias = dict[str, nn.Module]
"""The filter and the utility head that co-operates with it."""

Batch: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""Features ``(N, d)``, useful labels ``(N,)`` and private labels ``(N,)``."""


def privacy_risk(rho: float) -> Callable[[Leader, nn.Module, Batch], Tensor]:
    """Return the risk of a filter ``z(x; u)`` with a utility head ``w``, against an adversary ``v``.

    ``f((u, w), v) = rho E[l(w(z(x; u)), y)] - E[l(v(z(x; u)), s)]``, with ``l`` the cross-entropy, ``y`` the useful
    label and ``s`` the private one

    Args:
        rho: the price of a nat of utility loss, in nats of private loss; not negative.

    Raises:
        ArgumentError: if ``rho`` is negative or not finite.

    Examples:
        >>> import torch
        >>> leader = {"filter": nn.Identity(), "head": nn.Linear(2, 3)}
        >>> batch = (torch.zeros(4, 2), torch.tensor([0, 1, 2, 0]), torch.tensor([0, 1, 0, 1]))
        >>> privacy_risk(rho=1.0)(leader, nn.Linear(2, 2), batch).shape
        torch.Size([])

    Source: Hamm and Mehra 2018, Sec. 5.2; with a utility term as in Hamm 2017, "Minimax filter", Eq. 5.
    """
    if not 0 <= rho < float("inf"):
        raise ArgumentError(f"rho: is {rho}; the price of utility must be finite and not negative")

    def risk(leader: Leader, adversary: nn.Module, batch: Batch) -> Tensor:
        x, useful, private = batch
        z = leader["filter"](x)
        return rho * F.cross_entropy(leader["head"](z), useful) - F.cross_entropy(adversary(z), private)

    return risk


def privacy_game(filter_: nn.Module, head: nn.Module, adversary: nn.Module, *, rho: float = 1.0) -> Game:
    """Return the game in which a filter and its utility head lead, and an adversary follows.

    Args:
        filter_: maps features ``(N, d)`` to what may be published, ``(N, k)``.
        head: maps ``(N, k)`` to scores of the useful classes.
        adversary: maps ``(N, k)`` to scores of the private classes.
        rho: as in :func:`privacy_risk`.

    Raises:
        ArgumentError: if ``rho`` cannot be used.

    Examples:
        >>> privacy_game(nn.Linear(8, 2), nn.Linear(2, 3), nn.Linear(2, 2), rho=4.0).responding
        False

    Source: as :func:`privacy_risk`.
    """
    return Game(privacy_risk(rho), {"filter": filter_, "head": head}, adversary)
