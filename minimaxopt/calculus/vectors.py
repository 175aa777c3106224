"""Arithmetic on players' flat dictionaries of tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from minimaxopt._types import Player, Point, Tensors


def dense(tensor: Tensor) -> Tensor:
    """Return a tensor in the strided layout; the gradient of a sparse embedding has another."""
    return tensor.to_dense() if tensor.is_sparse else tensor


def dot(a: Iterable[Tensor], b: Iterable[Tensor]) -> Tensor:
    """Return the inner product of two lists of tensors, as a 0-d tensor."""
    products = [torch.dot(x.reshape(-1), y.reshape(-1)) for x, y in zip(a, b, strict=True)]
    return products[0] if len(products) == 1 else torch.stack(products).sum()


def squared_norm(tensors: Iterable[Tensor]) -> Tensor:
    """Return the squared Euclidean norm of a list of tensors, as a 0-d tensor."""
    flat = [x.reshape(-1) for x in tensors]
    products = [torch.dot(x, x) for x in flat]
    return products[0] if len(products) == 1 else torch.stack(products).sum()


def add(a: Tensors, b: Tensors, scale: float | Tensor = 1.0) -> Tensors:
    """Return ``a + scale * b`` by name."""
    return {name: tensor + scale * b[name] for name, tensor in a.items()}


def finite(tensors: Iterable[Tensor]) -> Tensor:
    """Return a 0-d boolean: whether every value is finite, without waiting for the device."""
    flags = [torch.isfinite(t).all() for t in tensors if t.is_floating_point() or t.is_complex()]
    return torch.stack(flags).all() if flags else torch.tensor(True)


def negated(tensors: Tensors) -> Tensors:
    """Return ``-tensors`` by name."""
    return {name: -tensor for name, tensor in tensors.items()}


def agree(a: Tensor, b: Tensor) -> bool:
    """Return whether two computations of one tensor agree to rounding, relative to its norm."""
    a, b = dense(a.detach()), dense(b.detach())
    allowed = 1e3 * torch.finfo(a.dtype).eps
    return bool(torch.linalg.vector_norm(a - b) <= allowed * torch.linalg.vector_norm(b))


def of(point: Point, player: Player) -> Tensors:
    """Return the tensors of one player of a point."""
    return point.u if player == "u" else point.v


def projected_residual(x: Tensors, gradient: Tensors, project: Callable[[Tensors], Tensors]) -> Tensor:
    """Return ``||x - P(x - F)||^2``, which is zero where no step along ``-F`` leads anywhere allowed.

    Args:
        x: a player's tensors, without a graph.
        gradient: the gradient ``F`` of the player's own loss, by the same names.
        project: maps tensors to the nearest allowed ones.

    Returns:
        A 0-d tensor; without constraints the squared norm of the gradient.

    Examples:
        >>> x, gradient = {"a": torch.tensor([0.5, 1.0])}, {"a": torch.tensor([0.25, -3.0])}
        >>> projected_residual(x, gradient, lambda z: {n: t.clamp(0, 1) for n, t in z.items()})  # the bound stops one
        tensor(0.0625)

    Source: the natural map of a variational inequality, Facchinei and Pang 2003, Sec. 1.5.
    """
    return squared_norm(add(x, project(add(x, gradient, -1.0)), -1.0).values())
