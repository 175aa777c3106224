"""Scaling of the features before a filter, and initial weights of linear filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from minimaxopt_privacy.estimators.directions import principal_directions, private_lda_directions
from minimaxopt_privacy.estimators.eigenvectors import signs
from minimaxopt_privacy.game.filters import NoisyFilter

SCALINGS = ("standard", "whiten", "shrunk", "shrunk-covariance", "none")

SHRINKAGE = 0.1
"""Variance that ``"shrunk"`` adds to that of each direction, in units of the mean variance."""

_NEGLIGIBLE = 1e-6  # relative to the greatest singular value: below it a direction has no variance
_ROUNDING = 1e-12  # relative to a feature's magnitude: below it a standard deviation is that of a constant


def scaling_map(kind: str, X: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return ``mean`` and ``A`` of the map ``(x - mean) A`` that precedes a filter.

    ``A = D = diag(1 / std)``, or ``A = D V diag(s_i^2 / N + c)^(-1/2)`` from the singular values of the standardised
    features, ``(X - mean) D = U diag(s) V^T``. Constant features become zero; directions without variance are left out.

    Args:
        kind: ``"standard"``; ``"whiten"`` (``c = 0``); ``"shrunk"`` (``c`` a tenth of the mean variance);
            ``"shrunk-covariance"`` (the same with ``D = I``, for features that have one unit); or ``"none"``.
        X: training features ``(N, features)``.

    Returns:
        The mean ``(features,)``, and ``A``: ``(features,)`` if it is diagonal, else ``(features, directions)``.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(50, 3)) @ np.diag([1.0, 10.0, 0.1])
        >>> mean, matrix = scaling_map("whiten", X)
        >>> np.allclose(np.cov(((X - mean) @ matrix).T, bias=True), np.eye(3))
        True
    """
    mean = X.mean(0)
    if kind == "none":
        return np.zeros_like(mean), np.ones_like(mean)
    # Relative to each feature's own magnitude: next to incomes a rate varies little, yet is no constant.
    deviation = X.std(0)
    varies = deviation > _ROUNDING * np.abs(X).max(0)
    units = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    if kind == "standard":
        return mean, units
    if kind == "shrunk-covariance":
        units = np.ones_like(units)
    _, singular, directions = np.linalg.svd((X - mean) * units, full_matrices=False)
    kept = singular > _NEGLIGIBLE * singular[0]
    variances = singular**2 / len(X)
    # Directions of little variance stay small: their correlation with the labels is mostly accidental.
    floor = 0.0 if kind == "whiten" else SHRINKAGE * variances.sum() / X.shape[1]
    gains = 1.0 / np.sqrt(variances[kept] + floor)
    return mean, np.ascontiguousarray(units[:, None] * (directions[kept].T * gains))


def initialize_linear(
    filter_: nn.Module,
    init: str,
    X: NDArray[Any],
    useful: Sequence[Any],
    private: Sequence[Any],
    matrix: NDArray[Any],
) -> None:
    """Set a linear filter's weights to principal or private discriminant directions, each scaled to unit variance.

    Args:
        filter_: an ``nn.Linear``, or a ``NoisyFilter`` around one.
        init: ``"pca"`` or ``"lda"``.
        X: scaled training features ``(N, features)``, with mean zero.
        useful: columns of useful labels.
        private: columns of private labels.
        matrix: ``A`` of the scaling. Its columns have arbitrary signs, so each direction gets its sign from the features.
    """
    layer = filter_.inner if isinstance(filter_, NoisyFilter) else filter_
    assert isinstance(layer, nn.Linear)
    k = layer.out_features
    directions = principal_directions(X, k) if init == "pca" else private_lda_directions(X, useful, private, k)
    features = matrix[:, None] * directions if matrix.ndim == 1 else matrix @ directions
    directions = directions * signs(features)
    deviation = (X @ directions).std(0)
    weight = directions / np.where(deviation > 0, deviation, 1.0)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.T))
        layer.bias.zero_()
