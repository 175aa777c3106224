"""Scaling of the features before a filter, against the singular values and under other units."""

from __future__ import annotations

import numpy as np
import pytest

from minimaxopt.errors import ArgumentError
from minimaxopt_privacy import MinimaxFilter
from minimaxopt_privacy.estimators.scaling import SHRINKAGE, scaling_map


def test_shrunk_scaling_keeps_directions_of_little_variance_small():
    X = np.random.default_rng(0).normal(size=(500, 3)) * [10.0, 1.0, 0.01]
    spreads = {
        kind: ((X - mean) @ matrix).std(0)
        for kind in ("whiten", "shrunk-covariance")
        for mean, matrix in [scaling_map(kind, X)]
    }
    assert spreads["whiten"] == pytest.approx([1.0, 1.0, 1.0])
    assert spreads["shrunk-covariance"][0] > 0.95
    assert spreads["shrunk-covariance"][2] < 0.01
    floor = SHRINKAGE * (X - X.mean(0)).var(0).sum() / 3
    singular = np.linalg.svd(X - X.mean(0), compute_uv=False) ** 2 / 500
    assert spreads["shrunk-covariance"] == pytest.approx(np.sqrt(singular / (singular + floor)))


@pytest.mark.parametrize("kind", ["standard", "whiten", "shrunk"])
def test_units_do_not_matter(kind):
    X = np.random.default_rng(0).normal(size=(200, 3)) @ [[1.0, 0.5, 0.0], [0.0, 1.0, 0.2], [0.0, 0.0, 1.0]]
    units = np.array([1e7, 1.0, 1e-3])

    def scaled(samples):
        mean, matrix = scaling_map(kind, samples)
        return (samples - mean) * matrix if matrix.ndim == 1 else (samples - mean) @ matrix

    assert np.abs(scaled(X * units)) == pytest.approx(np.abs(scaled(X)), abs=1e-8)  # directions have no sign
    covariance = [np.abs((X * u - (X * u).mean(0)) @ scaling_map("shrunk-covariance", X * u)[1]) for u in (1.0, units)]
    assert np.abs(covariance[0] - covariance[1]).max() > 0.1


def test_a_constant_feature_is_dropped_and_a_small_one_is_not():
    X = np.random.default_rng(0).normal(size=(50, 3)) * [1e7, 1.0, 0.0] + [0.0, 0.0, 0.1]
    assert (scaling_map("standard", X)[1] > 0).tolist() == [True, True, False]


def test_only_directions_in_which_samples_vary_are_kept(train):
    wide = np.random.default_rng(0).normal(size=(20, 300))
    assert scaling_map("shrunk", wide)[1].shape == (300, 19)
    labels = {"y": train.y[:20], "private": train.private[:20]}
    assert MinimaxFilter(3, max_iter=2, random_state=0).fit(wide, **labels).transform(wide).shape == (20, 3)
    with pytest.raises(ArgumentError, match="n_components: it is 20, and the samples vary in 19 directions"):
        MinimaxFilter(20).fit(wide, **labels)
