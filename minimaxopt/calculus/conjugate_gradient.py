"""Conjugate gradients on flat tensors: linear systems whose matrix is known by its products alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from minimaxopt._types import Tensors
from minimaxopt.calculus.vectors import add, dot, squared_norm

Operator: TypeAlias = Callable[[Tensors], Tensors]
"""A symmetric linear map of flat tensors."""


class CGResult(NamedTuple):
    """Result of conjugate gradients."""

    x: Tensors
    residual: Tensor
    """``||b - A x|| / ||b||``, by the recursion."""
    steps: int
    negative: Tensors | None
    """A direction of curvature that is not positive, where the iteration met one and stopped."""


def conjugate_gradient(
    apply: Operator,
    b: Tensors,
    *,
    start: Tensors | None = None,
    tolerance: float = 1e-10,
    max_steps: int = 100,
) -> CGResult:
    """Solve ``A x = b`` for a symmetric positive definite ``A`` by conjugate gradients.

    ``alpha = ||r||^2 / <p, A p>``, ``x <- x + alpha p``, ``r <- r - alpha A p``, ``p <- r + (||r||^2 new / old) p``

    On an accelerator the residual is looked at every fifth step only, so that the host waits less.

    Args:
        apply: the product with ``A``.
        b: the right side.
        start: where to begin, zero by default; a warm start costs one more product.
        tolerance: the relative residual ``||b - A x|| / ||b||`` at which to stop.
        max_steps: the most steps, each of one product.

    Examples:
        >>> import torch
        >>> solution = conjugate_gradient(lambda x: {"a": 2 * x["a"]}, {"a": torch.tensor([4.0, 6.0])})
        >>> solution.x["a"], solution.steps
        (tensor([2., 3.]), 1)

    Source: Hestenes and Stiefel 1952.
    """
    whole = squared_norm(b.values())
    x, r, old = {n: torch.zeros_like(t) for n, t in b.items()}, b, whole
    if start is not None:
        rest = add(b, apply(start), -1.0)
        left = squared_norm(rest.values())
        if bool(left < whole):  # a start worse than none, as when b has vanished, is no help
            x, r, old = start, rest, left
    p = r
    goal = tolerance**2 * whole
    size = whole.clamp_min(torch.finfo(old.dtype).tiny)
    every = 1 if old.device.type == "cpu" else 5
    steps = 0
    while steps < max_steps:
        if steps % every == 0 and bool(old <= goal):
            break
        step = apply(p)
        curvature = dot(p.values(), step.values())
        if steps % every == 0 and bool(curvature <= 0):
            return CGResult(x, (old / size).sqrt(), steps, p)
        alpha = torch.where(curvature > 0, old / curvature, torch.zeros_like(old))
        x, r = add(x, p, alpha), add(r, step, -alpha)
        new = squared_norm(r.values())
        p = add(r, p, torch.where(old > 0, new / old, torch.zeros_like(old)))
        old = new
        steps += 1
    return CGResult(x, (old / size).sqrt(), steps, None)
