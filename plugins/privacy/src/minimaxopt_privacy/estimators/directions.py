"""Directions of the classical linear filters, by linear algebra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minimaxopt_privacy.checks import check_number
from minimaxopt_privacy.estimators.eigenvectors import ROUNDING, leading_eigenvectors, orient
from minimaxopt_privacy.estimators.scatter import (
    DEPENDENT,
    between_scatter,
    indicator,
    label_components,
    null_space,
    varying_axes,
)

_NEWTON_STEPS = 20  # of which a few suffice from where L-BFGS stops


def principal_directions(X: NDArray[Any], dimension: int) -> NDArray[Any]:
    """Return the directions of greatest variance, ``(features, dimension)``, orthonormal.

    Directions in which X does not vary are zero. For equal variances see ``leading_eigenvectors``.

    Args:
        X: ``(N, features)``, with mean zero.
        dimension: number of directions.

    >>> principal_directions(np.diag([3.0, -1.0]), 1).round(6).tolist()
    [[1.0], [0.0]]
    """
    variances, directions = leading_eigenvectors(X.T @ X, dimension)
    return directions * (variances > ROUNDING * variances[0])


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
    eigenproblem. With ``strength = 0`` it is linear discriminant analysis. ``S_y`` determines at most one direction less
    than there are useful classes. Then follow the directions that no label sees, those of greatest variance first
    (principal components of X within the null space of both scatters), and after them those of least private scatter.
    Directions in which X does not vary are zero.

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
    variances, axes = varying_axes(X)
    total = np.diag(variances + max(shrinkage, 1e-12) * variances.sum() / X.shape[1])
    useful_rows = label_components(X, useful) @ axes
    private_rows = np.sqrt(strength) * (label_components(X, private) @ axes)
    below = private_rows.T @ private_rows + total
    # Every direction without scatter of any label has the quotient zero, so they are set apart: the other eigenvectors
    # are orthogonal to them in the metric of the denominator.
    unlabelled = null_space(np.vstack([useful_rows, private_rows]))
    labelled = np.linalg.qr(below @ unlabelled, mode="complete")[0][:, unlabelled.shape[1] :]
    above = labelled.T @ useful_rows.T @ useful_rows @ labelled
    vectors = labelled @ scipy.linalg.eigh(above, labelled.T @ below @ labelled)[1][:, ::-1]
    rank = len(axes.T) - null_space(useful_rows).shape[1]
    separating, hiding = vectors[:, :rank], vectors[:, rank:]
    hiding = (
        hiding @ np.linalg.eigh(hiding.T @ total @ hiding)[1][:, ::-1]
    )  # quotient zero: least private scatter first
    covariance = (unlabelled.T * variances) @ unlabelled
    _, components = leading_eigenvectors(covariance, len(covariance), axes @ unlabelled)
    ordered = np.hstack([axes @ separating, components, axes @ hiding])
    return _padded(orient(ordered / np.linalg.norm(ordered, axis=0)), dimension)


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
    squares. Where no direction has a positive difference, the one of greatest variance follows among those that covary
    with no label. Where X does not vary in these either, the directions are zero.

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
    private_targets = np.sqrt(strength) * private_targets
    exhausted = 1e-12 * float((X * X).sum())
    floor = DEPENDENT * float(np.linalg.norm(X.T @ useful_targets))
    residual = X.copy()
    rotations: list[NDArray[Any]] = []
    loadings: list[NDArray[Any]] = []
    for _ in range(dimension):
        vector = _covariance_direction(residual, residual.T @ useful_targets, residual.T @ private_targets, floor)
        scores = residual @ vector
        square = float(scores @ scores)
        if square <= exhausted:
            break
        loading = residual.T @ scores / square
        residual = residual - np.outer(scores, loading)
        rotation = vector.copy()  # X_k w_k = X r_k
        for earlier, earlier_loading in zip(rotations, loadings, strict=True):
            rotation -= (earlier_loading @ vector) * earlier
        rotations.append(rotation)
        loadings.append(loading)
    return _padded(orient(np.array(rotations).T), dimension)


def _covariance_direction(
    X: NDArray[Any], useful_cross: NDArray[Any], private_cross: NDArray[Any], floor: float
) -> NDArray[Any]:
    """Return ``argmax_{|w| = 1} |w^T Y|^2 - |w^T S|^2`` of ``Y`` and ``S``, ``(features, columns)``.

    The problem is solved in the span of ``S`` and what ``Y`` has outside it, since the difference may be smaller than the
    rounding of ``S S^T``.

    Args:
        X: ``(N, features)``, whose variance decides where no difference is positive.
        useful_cross: ``Y``.
        private_cross: ``S``.
        floor: length at which a column of ``Y`` is rounding.
    """
    hidden, singular, _ = np.linalg.svd(private_cross, full_matrices=False)
    hidden = hidden[:, singular > DEPENDENT * singular[0]] if singular[0] else hidden[:, :0]
    outside = useful_cross
    for _ in range(2):  # once more removes the rounding of the first projection
        outside = outside - hidden @ (hidden.T @ outside)
    free, lengths, _ = np.linalg.svd(outside, full_matrices=False)
    basis = np.hstack([hidden, free[:, lengths > floor]])
    y, s = basis.T @ useful_cross, basis.T @ private_cross
    differences, vectors = np.linalg.eigh(y @ y.T - s @ s.T)
    if basis.shape[1] > hidden.shape[1] or (basis.shape[1] and differences[-1] > ROUNDING * (s * s).sum()):
        return basis @ vectors[:, -1]
    unlabelled = null_space(basis.T) if basis.shape[1] else np.eye(X.shape[1])
    within = X @ unlabelled
    return leading_eigenvectors(within.T @ within, 1, unlabelled)[1][:, 0]


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
    that ``N`` samples show of an independent label. L-BFGS maximises from the private discriminant direction, and
    Newton's method from there to rounding.

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
    variances, axes = varying_axes(X)
    deviations = np.sqrt(variances + max(shrinkage, 1e-12) * variances.sum() / X.shape[1])
    whitening = axes / deviations  # coordinates in which the total scatter, with the isotropic one, is the identity
    useful_scatter, private_scatter = (
        whitening.T @ between_scatter(X, labels) @ whitening for labels in (useful, private)
    )
    useful_within, private_within = np.eye(len(deviations)) - useful_scatter, np.eye(len(deviations)) - private_scatter

    # The loss is a signed sum of logarithms of quadratic forms.
    signs = np.array([-1.0, 1.0, 1.0, -1.0])
    forms = np.array([useful_scatter, useful_within, private_scatter + private_within / len(X), private_within])

    def values(w: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        images = forms @ w
        return np.maximum(images @ w, 1e-300), images

    def loss(w: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        squares, images = values(w)
        return float(signs @ np.log(squares)), 2 * (signs / squares) @ images

    start = deviations * (axes.T @ private_lda_directions(X, useful, private, 1, shrinkage=shrinkage)[:, 0])
    w = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    w = w / np.linalg.norm(w)
    for _ in range(_NEWTON_STEPS):
        squares, images = values(w)
        scaled = images / squares[:, None]
        hessian = 2 * np.tensordot(signs / squares, forms, 1) - 4 * (scaled.T * signs) @ scaled
        # Along w the loss is constant, for which w w^T stands in.
        step = np.linalg.lstsq(hessian + np.outer(w, w), -2 * signs @ scaled, rcond=None)[0]
        moved = (w + step) / np.linalg.norm(w + step)
        if not np.abs(loss(moved)[1]).max() < np.abs(loss(w)[1]).max():
            break
        w = moved
    direction = whitening @ w[:, None]
    return orient(direction / np.linalg.norm(direction))


def _padded(directions: NDArray[Any], dimension: int) -> NDArray[Any]:
    """Return ``dimension`` columns: the first ones, and zeros where there are fewer.

    >>> _padded(np.ones((2, 1)), 2).tolist()
    [[1.0, 0.0], [1.0, 0.0]]
    """
    missing = max(dimension - directions.shape[1], 0)
    return np.pad(directions[:, :dimension], ((0, 0), (0, missing)))
