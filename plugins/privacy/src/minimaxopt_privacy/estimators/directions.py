"""Directions of the classical linear filters, by linear algebra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minimaxopt_privacy.checks import check_number


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


def between_scatter(X: NDArray[Any], labels: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return the scatter that labels explain: ``X^T Y (Y^T Y)^+ Y^T X / N``, summed over the labels.

    For classes this is the between-class scatter, ``sum_c (n_c / N) (m_c - m)(m_c - m)^T``; for numbers it is that of
    the regression on them.

    Args:
        X: ``(N, features)``, with mean zero.
        labels: columns ``(N,)``.

    >>> between_scatter(np.array([[-1.0], [-1.0], [1.0], [1.0]]), [np.array([0, 0, 1, 1])])
    array([[1.]])
    """
    total = np.zeros((X.shape[1], X.shape[1]))
    for column in labels:
        targets = indicator(column)
        cross = X.T @ targets
        total += cross @ np.linalg.pinv(targets.T @ targets) @ cross.T / len(X)
    return total


def principal_directions(X: NDArray[Any], dimension: int) -> NDArray[Any]:
    """Return the directions of greatest variance, ``(features, dimension)``, orthonormal.

    Args:
        X: ``(N, features)``, with mean zero.
        dimension: number of directions.

    >>> principal_directions(np.diag([3.0, -1.0]), 1).round(6).tolist()
    [[1.0], [0.0]]
    """
    covariance = X.T @ X
    return _orient(np.linalg.eigh(covariance)[1][:, ::-1][:, :dimension])


def private_lda_directions(
    X: NDArray[Any],
    useful: Sequence[NDArray[Any]],
    private: Sequence[NDArray[Any]],
    dimension: int,
    *,
    strength: float = 10.0,
    shrinkage: float = 0.1,
) -> NDArray[Any]:
    """Return the directions that separate the useful classes and not the private ones.

    ``max_w  w^T S_y w / w^T (strength S_s + S_t + shrinkage tr(S_t) / p I) w``

    with ``S_y`` and ``S_s`` the between-class scatters and ``S_t`` the total scatter, solved as a generalised
    eigenproblem. With ``strength = 0`` it is linear discriminant analysis. Once the useful scatter is exhausted the
    quotient is zero, and the directions of least private scatter follow.

    Args:
        X: ``(N, features)``, with mean zero.
        useful: columns of useful labels ``(N,)``.
        private: columns of private labels ``(N,)``.
        dimension: number of directions.
        strength: price of private scatter, >= 0.
        shrinkage: weight of the isotropic scatter added to the total scatter, >= 0.

    Raises:
        ArgumentError: ``strength`` or ``shrinkage`` is negative.

    >>> X = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> private_lda_directions(X, [np.array([0, 0, 1, 1])], [np.array([0, 1, 0, 1])], 1).round(6).T.tolist()
    [[1.0, 0.0]]

    Source: the private LDA of Hamm 2017, "Minimax filter"; the eigenproblem is solved by SciPy.
    """
    import scipy.linalg

    check_number("strength", strength)
    check_number("shrinkage", shrinkage)
    total = X.T @ X / len(X)
    total += max(shrinkage, 1e-12) * np.trace(total) / len(total) * np.eye(len(total))
    useful_scatter, private_scatter = between_scatter(X, useful), between_scatter(X, private)
    # A millionth of the total scatter orders the directions without useful scatter: least private scatter first.
    values, vectors = scipy.linalg.eigh(useful_scatter + 1e-6 * total, strength * private_scatter + total)
    chosen = vectors[:, np.argsort(-values)[:dimension]]
    return _orient(chosen / np.linalg.norm(chosen, axis=0))


def private_pls_directions(
    X: NDArray[Any],
    useful: Sequence[NDArray[Any]],
    private: Sequence[NDArray[Any]],
    dimension: int,
    *,
    strength: float = 1.0,
) -> NDArray[Any]:
    """Return the directions that covary with the useful labels and not with the private ones, by deflation.

    ``w_k = argmax_{|w| = 1}  |cov(X_k w, Y)|^2 - strength |cov(X_k w, S)|^2``, ``X_{k+1} = X_k - t t^T X_k / t^T t``
    with ``t = X_k w_k``

    Each is expressed in the features of X, not of the deflated ones. Without the private term it is partial least
    squares.

    Args:
        X: ``(N, features)``, with mean zero.
        useful: columns of useful labels ``(N,)``.
        private: columns of private labels ``(N,)``.
        dimension: number of directions.
        strength: price of private covariance, >= 0.

    Raises:
        ArgumentError: ``strength`` is negative.

    >>> X = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> private_pls_directions(X, [np.array([0, 0, 1, 1])], [np.array([0, 1, 0, 1])], 1).round(6).T.tolist()
    [[1.0, 0.0]]

    Source: Enev et al. 2012, "SensorSift" (private partial least squares).
    """
    check_number("strength", strength)
    useful_targets, private_targets = (np.hstack([indicator(c) for c in columns]) for columns in (useful, private))
    residual = X.copy()
    weights, loadings = [], []
    for _ in range(dimension):
        useful_cross, private_cross = residual.T @ useful_targets, residual.T @ private_targets
        vector = np.linalg.eigh(useful_cross @ useful_cross.T - strength * private_cross @ private_cross.T)[1][:, -1]
        scores = residual @ vector
        square = float(scores @ scores)
        if square <= 1e-12 * float((X * X).sum()):  # X is exhausted: any further direction publishes nothing
            loading = vector
        else:
            loading = residual.T @ scores / square
            residual = residual - np.outer(scores, loading)
        weights.append(vector)
        loadings.append(loading)
    w, p = np.array(weights).T, np.array(loadings).T
    return _orient(w @ np.linalg.pinv(p.T @ w))


def discriminative_direction(
    X: NDArray[Any],
    useful: Sequence[NDArray[Any]],
    private: Sequence[NDArray[Any]],
    *,
    shrinkage: float = 0.1,
) -> NDArray[Any]:
    """Return the direction with the greatest ratio of useful to private discriminability.

    ``max_w  log J_y(w) - log (J_s(w) + 1 / N)``, ``J_l(w) = w^T S_l w / w^T (S_t - S_l + shrinkage tr(S_t) / p I) w``

    with ``S_l`` the between-class scatter of a label and ``S_t`` the total scatter. ``1 / N`` is the discriminability
    that ``N`` samples show of an independent label. L-BFGS maximises from the private discriminant direction.

    Args:
        X: ``(N, features)``, with mean zero.
        useful: columns of useful labels ``(N,)``.
        private: columns of private labels ``(N,)``.
        shrinkage: weight of the isotropic scatter added to the within-class scatter, >= 0.

    Raises:
        ArgumentError: ``shrinkage`` is negative.

    >>> X = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> discriminative_direction(X, [np.array([0, 0, 1, 1])], [np.array([0, 1, 0, 1])]).round(3).T.tolist()
    [[1.0, 0.0]]

    Source: Whitehill and Movellan 2012, "Discriminately decreasing discriminability with learned image filters", here
    for a direction.
    """
    import scipy.optimize

    check_number("shrinkage", shrinkage)
    total = X.T @ X / len(X)
    isotropic = max(shrinkage, 1e-12) * np.trace(total) / len(total) * np.eye(len(total))
    useful_scatter, private_scatter = between_scatter(X, useful), between_scatter(X, private)
    useful_within, private_within = total - useful_scatter + isotropic, total - private_scatter + isotropic

    def quotient(between: NDArray[Any], within: NDArray[Any], w: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        top, bottom = float(w @ between @ w), float(w @ within @ w)
        return top / bottom, 2 * (between @ w - top / bottom * (within @ w)) / bottom

    def loss(w: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        y, y_gradient = quotient(useful_scatter, useful_within, w)
        s, s_gradient = quotient(private_scatter, private_within, w)
        y = max(y, 1e-300)
        return float(np.log(s + 1 / len(X)) - np.log(y)), s_gradient / (s + 1 / len(X)) - y_gradient / y

    start = private_lda_directions(X, useful, private, 1, shrinkage=shrinkage)[:, 0]
    direction = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    return _orient((direction / np.linalg.norm(direction))[:, None])


def _orient(vectors: NDArray[Any]) -> NDArray[Any]:
    """Return the vectors with their greatest entry positive: the sign of an eigenvector is arbitrary."""
    top = np.abs(vectors).argmax(0)
    return vectors * np.where(vectors[top, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)
