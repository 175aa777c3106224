"""The simplex of weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from minimaxopt.constraints.trees import noise_for, rebuilt, tensors_in
from minimaxopt.errors import ArgumentError

if TYPE_CHECKING:
    from minimaxopt._types import Tree


_ROUNDINGS = 8
"""Roundings by which the sum of weights on the simplex may be off."""


@final
@dataclass(frozen=True)
class Simplex:
    """Project the last dimension of every tensor on the simplex of non-negative numbers with a given sum.

    ``P(x) = max(x - tau, 0)`` with the ``tau`` for which the sum is right

    Weights that are on the simplex up to rounding come back as they are, to the last digit. ``ExponentiatedGradient`` is
    the other way to stay on a simplex: a multiplicative step in place of this projection.

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
        return rebuilt(tree, [_kept(_weights(x), nearest_weights(x, self.total), self.total) for x in tensors_in(tree)])

    def draw(self, like: Tree, generator: torch.Generator | None = None) -> Tree:
        """Return a random point, uniform on the simplex: Dirichlet(1, ..., 1) times the total.

        Args:
            like: template of the point: its structure, shapes, dtypes and devices.
            generator: the random stream; ``None`` for torch's own.
        """
        drawn: list[Tensor] = []
        for x in tensors_in(like):
            spacings = noise_for(_weights(x), generator).exponential_(generator=generator).to(x.device)
            # A single spacing of zero would be divided by itself.
            spacings.clamp_min_(torch.finfo(x.dtype).tiny)
            drawn.append(self.total * spacings / spacings.sum(-1, keepdim=True))
        return rebuilt(like, drawn)


def _weights(x: Tensor) -> Tensor:
    if x.dim() == 0 or x.shape[-1] == 0:
        raise ArgumentError(
            f"tree: a tensor of shape {tuple(x.shape)} holds no weights in its last dimension; give at least one"
        )
    return x


def _kept(x: Tensor, nearest: Tensor, total: float) -> Tensor:
    """Return ``x`` itself, with the derivative of ``nearest``, where it is on the simplex up to rounding.

    To move it by the rounding of a sum would set weights below that to zero, from which no factor brings them back.
    """
    at = x.detach()
    near = (at.sum(-1, keepdim=True) - total).abs() <= _ROUNDINGS * torch.finfo(x.dtype).eps * total
    on_simplex = near & (at >= 0).all(-1, keepdim=True)
    return torch.where(on_simplex, at + (nearest - nearest.detach()), nearest)


def nearest_weights(x: Tensor, total: float | Tensor) -> Tensor:
    """Return the nearest non-negative weights of the given sum, along the last dimension."""
    # A common shift does not change the projection, and the sums below lose fewer digits near zero.
    x = x - x.detach().amax(-1, keepdim=True)
    tau = _threshold(x.detach(), total)
    # One Newton step on sum(max(x - tau, 0)) = total: it gives tau its derivative, the mean over the support, without
    # a graph through the sort, and takes the rounding of a long running sum away.
    # What is not a number counts in, and is passed on: the run reports it by name.
    support = ~(x.detach() <= tau)
    excess = torch.where(support, x - tau, 0).sum(-1, keepdim=True) - total
    tau = tau + excess / support.sum(-1, keepdim=True).clamp_min(1)
    # The support once more, so that on its edge, too, the derivative is that of a projection, which is symmetric.
    return torch.where(support, x - tau, 0).clamp_min(0)


def _threshold(x: Tensor, total: float | Tensor) -> Tensor:
    ordered = x.sort(dim=-1, descending=True).values
    excess = ordered.cumsum(-1) - total
    count = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)
    # At least one weight is positive; with a value that is not a number the comparison finds none.
    support = (ordered * count > excess).sum(-1, keepdim=True).clamp_min(1)
    return excess.gather(-1, support - 1) / support
