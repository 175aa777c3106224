"""Linear algebra without matrices, on players' flat tensors: conjugate gradients, and the end of a spectrum.

Solvers and certificates know a block of the Hessian only by its products with vectors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from minimaxopt._types import Tensors
from minimaxopt.calculus.conjugate_gradient import Operator
from minimaxopt.calculus.vectors import add, dot, squared_norm

DENSE = 64  # up to this size the matrix is formed, column by column, and its spectrum is exact to rounding
_TOGETHER = 16  # columns of a matrix that are formed in one pass; the memory grows with them
_LOOK_EVERY = 10  # Lanczos steps between looks at the small matrix


class Eigenpair(NamedTuple):
    """An end of a spectrum."""

    value: float
    vector: Tensors
    """Of unit norm, with ``value`` as its Rayleigh quotient."""
    accuracy: Literal["exact", "estimate"]
    error: float
    """The norm of ``A x - value x``: an eigenvalue lies this near, the smallest one perhaps below."""
    scale: float
    """The largest magnitude of the spectrum, or what is known of it."""
    products: int
    below: float = 0.0
    """Distance below ``value`` at which the smallest eigenvalue may still lie, but for one first vector in a million."""


def smallest_eigenvalue(
    apply: Operator,
    like: Tensors,
    *,
    precision: float = 1e-4,
    max_steps: int = 300,
    seed: int = 0,
    sure: bool = False,
) -> Eigenpair:
    """Return the smallest eigenvalue of a symmetric map, with its eigenvector.

    ``min <x, A x> / <x, x>``

    Up to 64 values the matrix is formed and the answer is exact to rounding. Beyond, Lanczos' three-term recursion runs
    without re-orthogonalisation, which repeats eigenvalues but does not move the ends of the spectrum, and needs four
    vectors whatever the number of steps; a second pass of the recursion adds the eigenvector up. A Rayleigh quotient is
    never below the smallest eigenvalue: a negative value is a fact with its vector as witness, a positive one an
    estimate.

    Args:
        apply: the product with ``A``.
        like: tensors of the form of a vector; their values are not used.
        precision: the residual at which to stop, relative to the largest magnitude of the spectrum.
        max_steps: the most steps, each of one product in either pass.
        seed: of the first vector.
        sure: whether to go on until ``below`` leaves no doubt of a positive value. A residual alone does: a small
            eigenvalue whose vector the first one hardly holds shows late, and until then the next one looks converged.

    Examples:
        >>> import torch
        >>> pair = smallest_eigenvalue(lambda x: {"a": x["a"] * torch.tensor([3.0, -1.0])}, {"a": torch.zeros(2)})
        >>> pair.value, pair.accuracy
        (-1.0, 'exact')

    Source: Lanczos 1950; Paige 1980 for the recursion in finite precision; Kuczynski and Wozniakowski 1992 for
    ``below``.
    """
    size = sum(t.numel() for t in like.values())
    if size <= DENSE:
        return spectrum_end(matrix_of(apply, like), like)
    start = random_like(like, seed)
    diagonal: list[float] = []
    beside: list[float] = []
    values, weights = np.zeros(1), np.ones((1, 1))
    for alpha, beta, _ in _recursion(apply, start):
        diagonal.append(alpha)
        if not np.isfinite(alpha + beta):
            return Eigenpair(float("nan"), start, "estimate", float("inf"), float("nan"), len(diagonal))
        # Rounding lets it need more steps than there are dimensions, and twice as many have always been enough.
        steps, ended = len(diagonal), beta == 0 or len(diagonal) in (max_steps, 2 * size)
        if ended or steps % _LOOK_EVERY == 0:
            values, weights = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
            settled = beta * abs(weights[-1, 0]) <= precision * np.abs(values).max()
            if ended or (settled and not (sure and 0 < values[0] < 2 * _below(values, size, steps))):
                break
        beside.append(beta)
    vector = {n: torch.zeros_like(t) for n, t in start.items()}
    for weight, (_, _, basis) in zip(weights[:, 0], _recursion(apply, start), strict=False):
        vector = add(vector, basis, float(weight))
    vector = _scaled(vector, squared_norm(vector.values()).rsqrt())
    image = apply(vector)
    value = dot(vector.values(), image.values())
    error = squared_norm(add(image, vector, -value).values()).sqrt()
    scale, below = float(np.abs(values).max()), _below(values, size, len(diagonal))
    return Eigenpair(float(value), vector, "estimate", float(error), scale, 2 * len(diagonal) + 1, below)


def random_like(like: Tensors, seed: int) -> Tensors:
    """Return a vector of unit norm in a random direction, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {n: torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t) for n, t in like.items()}
    return _scaled(drawn, squared_norm(drawn.values()).rsqrt())


def _recursion(apply: Operator, start: Tensors) -> Iterator[tuple[float, float, Tensors]]:
    """Yield the diagonal, the element beside it and the basis vector, step after step."""
    before, basis, beta = start, start, 0.0
    while True:
        image = apply(basis)
        alpha = dot(basis.values(), image.values())
        rest = add(image, basis, -alpha)
        rest = add(rest, before, -beta) if beta else rest
        length = squared_norm(rest.values()).sqrt()
        # What is rounding of the image is no new direction.
        noise = torch.finfo(length.dtype).eps * squared_norm(image.values()).sqrt()
        beta = 0.0 if bool(length <= noise) else float(length)
        yield float(alpha), beta, basis
        if not beta:
            return
        before, basis = basis, _scaled(rest, 1 / length)


def matrix_of(apply: Operator, like: Tensors, together: Operator | None = None) -> Tensor:
    """Form the matrix of a map, in double precision, from its products with the unit vectors.

    Args:
        apply: the product with one vector.
        like: tensors of the form of a vector; their values are not used.
        together: the products with vectors stacked along a first dimension, in place of ``apply``.
    """
    if together is not None:
        first = next(iter(like.values()))
        units = torch.eye(sum(t.numel() for t in like.values()), dtype=first.dtype, device=first.device)
        rows: list[Tensor] = []
        for some in units.split(_TOGETHER):
            pieces = some.split([t.numel() for t in like.values()], dim=1)
            stacked = {n: p.reshape(-1, *t.shape).to(t) for (n, t), p in zip(like.items(), pieces, strict=True)}
            images = together(stacked)
            rows.append(torch.cat([images[n].reshape(len(some), -1).double() for n in like], 1))
        return torch.cat(rows).T
    columns: list[Tensor] = []
    for name, tensor in like.items():
        for i in range(tensor.numel()):
            unit = {n: torch.zeros_like(t, memory_format=torch.contiguous_format) for n, t in like.items()}
            unit[name].view(-1)[i] = 1
            columns.append(torch.cat([t.reshape(-1).double() for t in apply(unit).values()]))
    return torch.stack(columns, 1)


def spectrum_end(matrix: Tensor, like: Tensors) -> Eigenpair:
    """Return the smallest eigenvalue of a symmetric matrix that was formed, its vector in the form of ``like``."""
    size = len(matrix)
    if not bool(torch.isfinite(matrix).all()):
        zero = {n: torch.zeros_like(t) for n, t in like.items()}
        return Eigenpair(float("nan"), zero, "exact", float("inf"), float("nan"), size)
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    # A Hessian's asymmetry is rounding, and as large as the error of its products.
    error = float((matrix - matrix.T).abs().max())
    return Eigenpair(float(values[0]), shaped(vectors[:, 0], like), "exact", error, float(values.abs().max()), size)


def shaped(vector: Tensor, like: Tensors) -> Tensors:
    """Return a flat vector in the form of ``like``."""
    pieces = vector.split([t.numel() for t in like.values()])
    return {n: piece.reshape(t.shape).to(t) for (n, t), piece in zip(like.items(), pieces, strict=True)}


def _below(values: np.ndarray, size: int, steps: int) -> float:
    """Return how far below the smallest Ritz value the smallest eigenvalue may lie, with a failure rate of 1e-6.

    After ``k`` steps from a random vector ``(smallest Ritz value - smallest) / spread <= e`` but for a share of
    ``1.648 sqrt(n) exp(-sqrt(e) (2 k - 1))`` of the first vectors.
    """
    share = (math.log(1.648 * math.sqrt(size) * 1e6) / (2 * steps - 1)) ** 2
    return share * float(values[-1] - values[0])


def _scaled(x: Tensors, by: Tensor) -> Tensors:
    return {name: tensor * by.to(tensor.dtype) for name, tensor in x.items()}
