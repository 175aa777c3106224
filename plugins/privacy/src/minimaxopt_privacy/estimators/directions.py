"""Directions that linear algebra alone finds: the classical filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minimaxopt_privacy.checks import check_size


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


def between_scatter(X: NDArray[Any], labels: Sequence[NDArray[Any]]) -> NDArray[Any]:  # noqa: N803
    """Return the share of the scatter that labels explain: ``X^T Y (Y^T Y)^+ Y^T X / N``, summed over the labels.

    Of classes this is the scatter between them, ``sum_c (n_c / N) (m_c - m)(m_c - m)^T``; of numbers it is that of
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


def principal_directions(X: NDArray[Any], dimension: int) -> NDArray[Any]:  # noqa: N803
    """Return the directions of greatest variance, ``(features, dimension)``, orthonormal.

    Args:
        X: ``(N, features)``, with mean zero.
        dimension: how many.

    >>> principal_directions(np.diag([3.0, -1.0]), 1).round(6).tolist()
    [[1.0], [0.0]]
    """
    covariance = X.T @ X
    return _upright(np.linalg.eigh(covariance)[1][:, ::-1][:, :dimension])


def private_lda_directions(
    X: NDArray[Any],  # noqa: N803
    useful: Sequence[NDArray[Any]],
    private: Sequence[NDArray[Any]],
    dimension: int,
    *,
    strength: float = 10.0,
    shrinkage: float = 0.1,
) -> NDArray[Any]:
    """Return the directions in which the useful classes stand apart and the private ones do not.

    ``max_w  w^T S_y w / w^T (strength S_s + S_t + shrinkage tr(S_t) / p I) w``

    with ``S_y`` and ``S_s`` the scatters between the classes and ``S_t`` the total one, by the generalised eigenvectors
    of the two. Without the first term below the line it is linear discriminant analysis. Beyond as many directions as
    the classes need, the quotient is zero, and the directions of smallest private share follow.

    Args:
        X: ``(N, features)``, with mean zero.
        useful: columns of useful labels ``(N,)``.
        private: the same of private ones.
        dimension: how many directions.
        strength: the price of private scatter, >= 0.
        shrinkage: how much of an isotropic scatter is added to the total one, >= 0.

    Raises:
        ArgumentError: ``strength`` or ``shrinkage`` is negative.

    >>> X = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> private_lda_directions(X, [np.array([0, 0, 1, 1])], [np.array([0, 1, 0, 1])], 1).round(6).T.tolist()
    [[1.0, 0.0]]

    Source: the private LDA of Hamm 2017, "Minimax filter"; the eigenproblem is scipy's.
    """
    import scipy.linalg

    check_size("strength", strength)
    check_size("shrinkage", shrinkage)
    total = X.T @ X / len(X)
    total += max(shrinkage, 1e-12) * np.trace(total) / len(total) * np.eye(len(total))
    kept, hidden = between_scatter(X, useful), between_scatter(X, private)
    # A millionth of the total scatter decides among directions that keep nothing: those that tell least come first.
    values, vectors = scipy.linalg.eigh(kept + 1e-6 * total, strength * hidden + total)
    chosen = vectors[:, np.argsort(-values)[:dimension]]
    return _upright(chosen / np.linalg.norm(chosen, axis=0))


def private_pls_directions(
    X: NDArray[Any],  # noqa: N803
    useful: Sequence[NDArray[Any]],
    private: Sequence[NDArray[Any]],
    dimension: int,
    *,
    strength: float = 1.0,
) -> NDArray[Any]:
    """Return the directions that covary with the useful labels and not with the private ones, one after the other.

    ``w_k = argmax_{|w| = 1}  |cov(X_k w, Y)|^2 - strength |cov(X_k w, S)|^2``, ``X_{k+1} = X_k - t t^T X_k / t^T t``
    with ``t = X_k w_k``

    Each is expressed in the features of X, not of the deflated ones. Without the private term it is partial least
    squares.

    Args:
        X: ``(N, features)``, with mean zero.
        useful: columns of useful labels ``(N,)``.
        private: the same of private ones.
        dimension: how many directions.
        strength: the price of private covariance, >= 0.

    Raises:
        ArgumentError: ``strength`` is negative.

    >>> X = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> private_pls_directions(X, [np.array([0, 0, 1, 1])], [np.array([0, 1, 0, 1])], 1).round(6).T.tolist()
    [[1.0, 0.0]]

    Source: Enev et al. 2012, "SensorSift" (private partial least squares).
    """
    check_size("strength", strength)
    kept, hidden = (np.hstack([indicator(c) for c in columns]) for columns in (useful, private))
    left = X.copy()
    weights, loadings = [], []
    for _ in range(dimension):
        with_kept, with_hidden = left.T @ kept, left.T @ hidden
        vector = np.linalg.eigh(with_kept @ with_kept.T - strength * with_hidden @ with_hidden.T)[1][:, -1]
        scores = left @ vector
        square = float(scores @ scores)
        if square <= 1e-12 * float((X * X).sum()):  # X has no more directions; any that is left publishes nothing
            loading = vector
        else:
            loading = left.T @ scores / square
            left = left - np.outer(scores, loading)
        weights.append(vector)
        loadings.append(loading)
    w, p = np.array(weights).T, np.array(loadings).T
    return _upright(w @ np.linalg.pinv(p.T @ w))


def discriminative_direction(
    X: NDArray[Any],  # noqa: N803
    useful: Sequence[NDArray[Any]],
    private: Sequence[NDArray[Any]],
    *,
    shrinkage: float = 0.1,
) -> NDArray[Any]:
    """Return the one direction in which discriminability of the useful label most exceeds that of the private one.

    ``max_w  log J_y(w) - log (J_s(w) + 1 / N)``, ``J_l(w) = w^T S_l w / w^T (S_t - S_l + shrinkage tr(S_t) / p I) w``

    with ``S_l`` the scatter between the classes of a label and ``S_t`` the total one. ``1 / N`` is what ``N`` samples
    show of a label that tells nothing. The maximum is climbed by L-BFGS from the private discriminant direction.

    Args:
        X: ``(N, features)``, with mean zero.
        useful: columns of useful labels ``(N,)``.
        private: the same of private ones.
        shrinkage: how much of an isotropic scatter is added to that within the classes, >= 0.

    Raises:
        ArgumentError: ``shrinkage`` is negative.

    >>> X = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> discriminative_direction(X, [np.array([0, 0, 1, 1])], [np.array([0, 1, 0, 1])]).round(3).T.tolist()
    [[1.0, 0.0]]

    Source: Whitehill and Movellan 2012, "Discriminately decreasing discriminability with learned image filters", here
    for a direction.
    """
    import scipy.optimize

    check_size("shrinkage", shrinkage)
    total = X.T @ X / len(X)
    isotropic = max(shrinkage, 1e-12) * np.trace(total) / len(total) * np.eye(len(total))
    kept, hidden = between_scatter(X, useful), between_scatter(X, private)
    within = {"kept": total - kept + isotropic, "hidden": total - hidden + isotropic}

    def quotient(between: NDArray[Any], rest: NDArray[Any], w: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        top, bottom = float(w @ between @ w), float(w @ rest @ w)
        return top / bottom, 2 * (between @ w - top / bottom * (rest @ w)) / bottom

    def loss(w: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        (y, y_slope), (s, s_slope) = quotient(kept, within["kept"], w), quotient(hidden, within["hidden"], w)
        y = max(y, 1e-300)
        return float(np.log(s + 1 / len(X)) - np.log(y)), s_slope / (s + 1 / len(X)) - y_slope / y

    start = private_lda_directions(X, useful, private, 1, shrinkage=shrinkage)[:, 0]
    found = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    return _upright((found / np.linalg.norm(found))[:, None])


def _upright(vectors: NDArray[Any]) -> NDArray[Any]:
    """Return the vectors with the sign that makes their greatest entry positive: eigenvectors have none of their own."""
    top = np.abs(vectors).argmax(0)
    return vectors * np.where(vectors[top, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)
