"""What is done to the features before a filter, and where a linear filter begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from minimaxopt_privacy.estimators.directions import principal_directions, private_lda_directions
from minimaxopt_privacy.game.filters import NoisyFilter

SCALINGS = ("standard", "whiten", "shrunk", "shrunk-covariance", "none")

SHRINKAGE = 0.1
"""Of ``"shrunk"``: the variance that is added to each direction's, in mean variances."""

_NEGLIGIBLE = 1e-6  # of the greatest singular value: directions in which the data do not vary
_ROUNDING = 1e-12  # of a feature's own magnitude: a spread below it is that of a constant


def scaling_of(kind: str, X: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:  # noqa: N803
    """Return ``mean`` and ``A`` of the map ``(x - mean) A`` that a filter sees.

    ``A = D = diag(1 / std)``, or ``A = D V diag(s_i^2 / N + c)^(-1/2)`` from the singular values of the standardised
    features, ``(X - mean) D = U diag(s) V^T``. Constant features become zero; directions without variance are left out.

    Args:
        kind: ``"standard"``; ``"whiten"`` (``c = 0``); ``"shrunk"`` (``c`` a tenth of the mean variance);
            ``"shrunk-covariance"`` (the same with ``D = I``, for features that have one unit); or ``"none"``.
        X: training features ``(N, features)``.

    Returns:
        the mean ``(features,)``, and ``A``: ``(features,)`` where it is diagonal, else ``(features, directions)``.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(50, 3)) @ np.diag([1.0, 10.0, 0.1])
        >>> mean, matrix = scaling_of("whiten", X)
        >>> np.allclose(np.cov(((X - mean) @ matrix).T, bias=True), np.eye(3))
        True
    """
    mean = X.mean(0)
    if kind == "none":
        return np.zeros_like(mean), np.ones_like(mean)
    # Each feature against its own magnitude: beside incomes a rate varies little, and is no constant.
    spread = X.std(0)
    varies = spread > _ROUNDING * np.abs(X).max(0)
    units = np.divide(1.0, spread, out=np.zeros_like(spread), where=varies)
    if kind == "standard":
        return mean, units
    if kind == "shrunk-covariance":
        units = np.ones_like(units)
    _, singular, directions = np.linalg.svd((X - mean) * units, full_matrices=False)
    kept = singular > _NEGLIGIBLE * singular[0]
    variances = singular**2 / len(X)
    # Directions of less than average variance stay small: what they tell of the labels is mostly accident.
    floor = 0.0 if kind == "whiten" else SHRINKAGE * variances.sum() / X.shape[1]
    gains = 1.0 / np.sqrt(variances[kept] + floor)
    return mean, np.ascontiguousarray(units[:, None] * (directions[kept].T * gains))


def initialise(filter_: nn.Module, init: str, X: NDArray[Any], useful: Sequence[Any], private: Sequence[Any]) -> None:  # noqa: N803
    """Set a linear filter's weights to principal or private discriminant directions, each scaled to unit variance.

    Args:
        filter_: an ``nn.Linear``, or a ``NoisyFilter`` around one.
        init: ``"pca"`` or ``"lda"``.
        X: scaled training features ``(N, features)``, with mean zero.
        useful: columns of useful labels.
        private: the same of private ones.
    """
    layer = filter_.inner if isinstance(filter_, NoisyFilter) else filter_
    assert isinstance(layer, nn.Linear)
    k = layer.out_features
    chosen = principal_directions(X, k) if init == "pca" else private_lda_directions(X, useful, private, k)
    spread = (X @ chosen).std(0)
    weight = chosen / np.where(spread > 0, spread, 1.0)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.T))
        layer.bias.zero_()
