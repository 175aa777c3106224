"""Scatter of features: what labels explain of it, and the spaces in which there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minimaxopt_privacy.estimators.eigenvectors import ROUNDING

DEPENDENT = 1e-10
"""Relative length below which a class mean, or a covariance, is a combination of the others."""


def indicator(labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels ``(N,)`` as centred columns: one for each class of integers, or floats as they are.

    >>> indicator(np.array([0.0, 0.5, 2.5])).tolist()
    [[-1.0], [-0.5], [1.5]]
    >>> indicator(np.array([0, 1])).tolist()
    [[0.5, -0.5], [-0.5, 0.5]]
    """
    if labels.dtype.kind == "f":
        return (labels - labels.mean()).reshape(-1, 1)
    columns = (labels[:, None] == np.unique(labels)).astype(np.float64)
    return columns - columns.mean(0)


def label_components(X: NDArray[Any], labels: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return the rows ``M`` of which ``M^T M`` is the scatter between classes, ``(rows, features)``.

    ``sqrt(n_c / N) (m_c - m)`` for each class ``c`` of ``n_c`` samples with mean ``m_c``; for a number ``t`` the one row
    ``cov(X, t) / std(t)``

    Args:
        X: ``(N, features)``.
        labels: columns ``(N,)``.

    >>> label_components(np.array([[-1.0], [-1.0], [1.0], [1.0]]), [np.array([0, 0, 1, 1])]).round(3).tolist()
    [[-0.707], [0.707]]
    """
    mean = X.mean(0)
    rows: list[NDArray[Any]] = []
    for column in labels:
        if column.dtype.kind == "f":
            targets = indicator(column)[:, 0]
            deviation = float(np.sqrt(targets @ targets / len(X)))
            rows.append((X - mean).T @ targets / (len(X) * deviation) if deviation else np.zeros_like(mean))
        else:
            members = [column == value for value in np.unique(column)]
            rows += [np.sqrt(np.mean(own)) * (X[own].mean(0) - mean) for own in members]
    return np.array(rows)


def between_scatter(X: NDArray[Any], labels: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return the scatter that labels explain, summed over the labels.

    For classes this is the between-class scatter, ``sum_c (n_c / N) (m_c - m)(m_c - m)^T``; for numbers ``t`` it is that
    of the regression on them, ``cov(X, t) cov(X, t)^T / var(t)``.

    Args:
        X: ``(N, features)``.
        labels: columns ``(N,)``.

    >>> between_scatter(np.array([[-1.0], [-1.0], [1.0], [1.0]]), [np.array([0, 0, 1, 1])]).round(6)
    array([[1.]])
    """
    components = label_components(X, labels)
    return components.T @ components


def null_space(rows: NDArray[Any]) -> NDArray[Any]:
    """Return an orthonormal basis of the vectors orthogonal to all rows, ``(features, dimension of the null space)``.

    Class means depend on each other (weighted, they sum to zero), so that the rank is read from the singular values.

    >>> null_space(np.array([[1.0, 1.0], [2.0, 2.0]])).round(3).shape
    (2, 1)
    """
    _, singular, directions = np.linalg.svd(rows, full_matrices=True)
    rank = int(np.sum(singular > DEPENDENT * singular[0]))
    return directions[rank:].T


def varying_axes(X: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the variances and orthonormal principal axes of X, ``(features, k)``, without those of no variance.

    >>> varying_axes(np.array([[1.0, 0.0], [-1.0, 0.0]]))[0].tolist()
    [1.0]
    """
    variances, axes = np.linalg.eigh(X.T @ X / len(X))
    varying = variances > ROUNDING * variances[-1]
    return variances[varying], axes[:, varying]
