"""Eigenvectors whose sign, and whose choice among equal eigenvalues, rounding does not decide."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-13
"""Relative to the greatest eigenvalue of a covariance: a smaller variance is rounding."""

_EQUAL = 1e-8  # relative difference of eigenvalues below which their eigenvectors would not be known to as many digits
_SAME_SIZE = 1e-6  # relative difference of entries, or of lengths, between which rounding must not choose


def leading_eigenvectors(
    matrix: NDArray[Any], count: int, basis: NDArray[Any] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the greatest eigenvalues of a symmetric matrix, descending, and their orthonormal eigenvectors.

    The eigenvectors of equal eigenvalues are the feature axes, projected on their space and orthonormalised, the
    longest first. Each eigenvector has a positive sign at the first of its greatest entries.

    Args:
        matrix: ``(k, k)``, positive semidefinite.
        count: number of eigenvectors, at most ``k``.
        basis: orthonormal columns ``(features, k)`` in which the matrix is expressed; by default the feature axes.

    Returns:
        The eigenvalues ``(count,)`` and the eigenvectors as columns, ``(features, count)``.

    >>> values, vectors = leading_eigenvectors(np.diag([1.0, 3.0, 1.0]), 2)
    >>> values.tolist(), vectors.T.tolist()
    ([3.0, 1.0], [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    """
    values, vectors = np.linalg.eigh(matrix)
    values, vectors = values[::-1], vectors[:, ::-1].copy()
    if basis is not None:
        vectors = basis @ vectors
    gaps = np.maximum(_EQUAL * np.abs(values[:-1]), ROUNDING * np.abs(values).max(initial=0.0))
    for tied in np.split(np.arange(len(values)), np.flatnonzero(-np.diff(values) > gaps) + 1):
        if len(tied) > 1 and tied[0] < count:
            vectors[:, tied] = _axis_basis(vectors[:, tied])
    return values[:count], orient(vectors[:, :count])


def orient(vectors: NDArray[Any]) -> NDArray[Any]:
    """Return the columns with a positive sign at the first of their greatest entries.

    >>> orient(np.array([[-0.5, -1.0], [0.5, -2.0]])).tolist()
    [[0.5, 1.0], [-0.5, 2.0]]
    """
    return vectors * signs(vectors)


def signs(vectors: NDArray[Any]) -> NDArray[Any]:
    """Return the sign of each column, 1 or -1: that of the first of its greatest entries.

    >>> signs(np.array([[-0.5, -1.0], [0.5, -2.0]])).tolist()
    [-1.0, -1.0]
    """
    sizes = np.abs(vectors)
    top = (sizes >= (1 - _SAME_SIZE) * sizes.max(0)).argmax(0)
    return np.where(vectors[top, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)


def _axis_basis(vectors: NDArray[Any]) -> NDArray[Any]:
    """Return the basis of the columns' span that follows from the axes: their projections, the longest first.

    >>> turned = np.array([[0.6, 0.8], [-0.8, 0.6], [0.0, 0.0]])
    >>> np.abs(_axis_basis(turned)).round(12).tolist()
    [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    """
    remaining = vectors @ vectors.T
    basis = np.empty_like(vectors)
    for column in range(vectors.shape[1]):
        lengths = np.linalg.norm(remaining, axis=0)
        axis = remaining[:, (lengths >= (1 - _SAME_SIZE) * lengths.max()).argmax()]
        basis[:, column] = axis / np.linalg.norm(axis)
        remaining = remaining - np.outer(basis[:, column], basis[:, column] @ remaining)
    return basis
