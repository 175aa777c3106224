"""Projections on sets: the nearest allowed point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import optree
import torch
from torch import Tensor

from minimaxopt.errors import ArgumentError

if TYPE_CHECKING:
    from minimaxopt._types import Tree


@final
@dataclass(frozen=True)
class Box:
    """Clip every value to an interval.

    ``P(x) = min(max(x, low), high)``

    Args:
        low: the lower bound, in the unit of the values.
        high: the upper bound.

    Raises:
        ArgumentError: if ``low > high``.

    Examples:
        >>> Box(-1, 1)(torch.tensor([-3.0, 0.5]))
        tensor([-1.0000,  0.5000])

    Source: the Euclidean projection on a box.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ArgumentError(f"low: {self.low} is above high {self.high}; the interval must not be empty")

    def __call__(self, tree: Tree) -> Tree:
        """Return the nearest point of the box."""
        return optree.tree_map(self._one, tree)

    def _one(self, x: Tensor) -> Tensor:
        return x.clamp(self.low, self.high)


@final
@dataclass(frozen=True)
class Simplex:
    """Project the last dimension of every tensor on the simplex of non-negative numbers with a given sum.

    ``P(x) = max(x - tau, 0)`` with the ``tau`` for which the sum is right

    Args:
        total: the sum, positive.

    Raises:
        ArgumentError: if ``total`` is not positive.

    Examples:
        >>> Simplex()(torch.tensor([0.5, 1.0, -2.0]))
        tensor([0.2500, 0.7500, 0.0000])

    Source: Held, Wolfe and Crowder 1974; Duchi et al. 2008, Fig. 1.
    """

    total: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.total < float("inf"):
            raise ArgumentError(f"total: {self.total} is not a positive number; give the sum of the weights")

    def __call__(self, tree: Tree) -> Tree:
        """Return the nearest point of the simplex.

        Raises:
            ArgumentError: for a tensor without a dimension to project, or whose last dimension is empty.
        """
        return optree.tree_map(self._one, tree)

    def _one(self, x: Tensor) -> Tensor:
        if x.dim() == 0 or x.shape[-1] == 0:
            raise ArgumentError(
                f"tree: a tensor of shape {tuple(x.shape)} holds no weights in its last dimension; give at least one"
            )
        # A common shift does not change the projection, and the sums below lose fewer digits near zero.
        x = x - x.amax(-1, keepdim=True)
        ordered = x.sort(dim=-1, descending=True).values
        excess = ordered.cumsum(-1) - self.total
        count = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)
        # At least one weight is positive; with a value that is not a number the comparison finds none.
        support = (ordered * count > excess).sum(-1, keepdim=True).clamp_min(1)
        tau = excess.gather(-1, support - 1) / support
        return (x - tau).clamp_min(0)
