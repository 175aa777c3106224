"""The classical filters against scikit-learn's, scipy's and brute force."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import scipy.linalg
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from minimaxopt.errors import ArgumentError
from minimaxopt_privacy import DiscriminativeDirection, PCAFilter, PrivateLDA, PrivatePLS, RandomFilter
from minimaxopt_privacy.estimators.directions import (
    discriminative_direction,
    principal_directions,
    private_lda_directions,
    private_pls_directions,
)
from minimaxopt_privacy.estimators.scatter import between_scatter, indicator

SAME_SPAN = 1e-6


def cosines(first, second):
    """The cosines of the angles between two spans: all 1 where they are the same."""
    return np.cos(scipy.linalg.subspace_angles(np.atleast_2d(first), np.atleast_2d(second)))


@pytest.fixture(scope="module")
def blobs():
    """Three useful classes and two private ones in five correlated features, with mean zero."""
    random = np.random.default_rng(3)
    y, s = random.integers(3, size=600), random.integers(2, size=600)
    X = random.normal(size=(600, 5)) @ random.normal(size=(5, 5))
    X += random.normal(size=(3, 5))[y] * 2 + random.normal(size=(2, 5))[s] * 2
    return X - X.mean(0), y, s


def test_pca_is_scikit_learns(blobs):
    X, y, s = blobs
    ours = PCAFilter(2).fit_transform(X, y, private=s)
    theirs = PCA(2, svd_solver="full").fit_transform(X)
    assert np.allclose(np.abs(ours), np.abs(theirs), atol=1e-8)
    assert cosines(principal_directions(X, 2), PCA(2).fit(X).components_.T).min() > 1 - SAME_SPAN


def test_scatter_between_classes_is_the_textbooks(blobs):
    X, y, s = blobs
    expected = sum(np.mean(y == c) * np.outer(X[y == c].mean(0), X[y == c].mean(0)) for c in range(3))
    assert np.allclose(between_scatter(X, [y]), expected)
    assert np.allclose(between_scatter(X, [y, s]), expected + between_scatter(X, [s]))
    number = X @ np.arange(5.0)
    regression = np.linalg.lstsq(number[:, None], X, rcond=None)[0]  # X on the number
    assert np.allclose(between_scatter(X, [number]), regression.T @ regression * number.var())


@pytest.mark.parametrize("classes", [2, 3, 10, 40])
def test_scatter_between_many_classes_is_exact(classes):
    """The centred indicators of all classes sum to zero: their covariance has no inverse."""
    angles = np.arange(240.0)
    labels = np.arange(240) % classes
    X = (labels[:, None] == 0) * np.array([[3.0, 0.0]]) + np.c_[np.cos(angles), np.sin(angles)]
    X -= X.mean(0)
    means = [X[labels == c].mean(0) for c in range(classes)]
    expected = sum(np.mean(labels == c) * np.outer(m, m) for c, m in enumerate(means))
    assert np.abs(between_scatter(X, [labels]) - expected).max() < 1e-12
    random = np.random.default_rng(classes)
    for _ in range(20):  # in a share of the label vectors a pseudo-inverse takes the null value for a small one
        labels = random.integers(classes, size=1000)
        X = random.normal(size=(1000, 3))
        X -= X.mean(0)
        means = {c: X[labels == c].mean(0) for c in np.unique(labels)}
        expected = sum(np.mean(labels == c) * np.outer(m, m) for c, m in means.items())
        assert np.abs(between_scatter(X, [labels]) - expected).max() < 1e-12
        assert np.linalg.eigvalsh(between_scatter(X, [labels])).min() > -1e-15


def test_lda_without_private_term_is_scikit_learns(blobs):
    X, y, s = blobs
    ours = private_lda_directions(X, [y], [s], 2, strength=0.0, shrinkage=0.0)
    theirs = LinearDiscriminantAnalysis(solver="eigen").fit(X, y).scalings_[:, :2]
    assert cosines(ours, theirs).min() > 1 - SAME_SPAN
    private = private_lda_directions(X, [y], [s], 2, strength=10.0, shrinkage=0.0)
    assert cosines(private, theirs).min() < 0.99


def test_private_lda_is_the_maximum_of_its_quotient(blobs):
    X, y, s = blobs
    kept, hidden, total = between_scatter(X, [y]), between_scatter(X, [s]), X.T @ X / len(X)
    below = 10.0 * hidden + total

    def quotient(w):
        return np.einsum("ki,ij,kj->k", w, kept, w) / np.einsum("ki,ij,kj->k", w, below, w)

    direction = private_lda_directions(X, [y], [s], 1, strength=10.0, shrinkage=0.0).T
    others = np.random.default_rng(0).normal(size=(20_000, 5))
    assert quotient(direction)[0] >= quotient(others).max()
    assert quotient(direction)[0] == pytest.approx(scipy.linalg.eigvals(kept, below).real.max(), rel=1e-4)


def test_private_lda_hides_more_the_stronger(blobs):
    X, y, s = blobs

    def leaked_share(strength):
        w = private_lda_directions(X, [y], [s], 1, strength=strength)
        return float((w.T @ between_scatter(X, [s]) @ w / (w.T @ X.T @ X @ w / len(X))).item())

    assert leaked_share(1e4) < 1e-4 < leaked_share(0.0)


def test_pls_without_private_term_is_scikit_learns(blobs):
    X, y, _ = blobs
    useful = (y > 0).astype(float) * 2 - 1
    ours = private_pls_directions(X, [(y > 0).astype(int)], [y], 3, strength=0.0)
    theirs = PLSRegression(3, scale=False).fit(X, useful).x_rotations_
    assert np.allclose(np.abs(ours), np.abs(theirs), atol=1e-8)


@pytest.mark.parametrize("count", [2, 40])
def test_whole_numbers_are_numbers_where_it_is_said(blobs, count):
    X, _, s = blobs
    age = np.digitize(X @ np.arange(5.0), np.quantile(X @ np.arange(5.0), np.arange(1, count) / count))
    ours = PrivatePLS(1, strength=0.0, utility_target="regression").fit(X, age, private=s)
    theirs = PLSRegression(1, scale=False).fit(X, age.astype(float)).x_rotations_
    assert np.allclose(np.abs(ours.projection_), np.abs(theirs), atol=1e-8)
    assert ours.utility_columns_[0].kind == "regression"
    with nullcontext() if count == 2 else pytest.warns(UserWarning, match="y: 40 different whole numbers are read as"):
        as_classes = PrivatePLS(1, strength=0.0).fit(X, age, private=s)
    assert as_classes.utility_columns_[0].kind == "classification"
    # Two classes lie on a line, as two numbers do; forty do not.
    assert np.allclose(np.abs(as_classes.projection_), np.abs(theirs), atol=1e-6) == (count == 2)


def test_a_price_is_the_same_of_two_numbers_whether_whole_or_not(blobs):
    X, y, s = blobs
    first, second = (
        PrivatePLS(1, strength=0.5, private_target="regression").fit(X, y, private=s * unit + 3).projection_
        for unit in (1, 0.25)
    )
    assert np.allclose(first, second, atol=1e-8)
    assert not np.allclose(first, PrivatePLS(1, strength=0.5).fit(X, y, private=s).projection_, atol=1e-3)


@pytest.mark.parametrize("build", [RandomFilter, PCAFilter, PrivatePLS, PrivateLDA, DiscriminativeDirection])
@pytest.mark.parametrize("name", ["utility_target", "private_target"])
def test_a_reading_that_there_is_not_is_refused(blobs, build, name):
    X, y, s = blobs
    with pytest.raises(ArgumentError, match=f"^{name}: "):
        build(**{name: "numbers"}).fit(X, y, private=s)


def test_private_pls_is_the_maximum_of_its_difference(blobs):
    X, y, s = blobs
    kept, hidden = (X.T @ indicator(labels) for labels in (y, s))

    def difference(w):
        w = w / np.linalg.norm(w, axis=1, keepdims=True)
        return ((w @ kept) ** 2).sum(1) - 2.0 * ((w @ hidden) ** 2).sum(1)

    direction = private_pls_directions(X, [y], [s], 1, strength=2.0).T
    assert difference(direction)[0] >= difference(np.random.default_rng(0).normal(size=(20_000, 5))).max()


def test_private_pls_publishes_no_more_than_x_has():
    X = np.outer(np.arange(-3.0, 4), [1.0, 2.0, 0.0])
    labels = [np.array([0, 0, 0, 0, 1, 1, 1])]
    directions = private_pls_directions(X, labels, [np.array([0, 1, 0, 1, 0, 1, 0])], 2)
    assert np.isfinite(directions).all()
    assert np.linalg.matrix_rank(X @ directions, tol=1e-6) == 1


@pytest.mark.parametrize("seed", range(4))
def test_the_discriminative_direction_is_the_best_of_all_angles(seed):
    random = np.random.default_rng(seed)
    y, s = random.integers(2, size=400), random.integers(2, size=400)
    X = random.normal(size=(400, 2)) @ random.normal(size=(2, 2)) + np.outer(y, [1.5, 0.5]) + np.outer(s, [0.5, 1.5])
    X -= X.mean(0)
    total = X.T @ X / len(X)

    def gain(w):
        j = []
        for labels in (y, s):
            between = between_scatter(X, [labels])
            top, whole = (np.einsum("ki,ij,kj->k", w, m, w) for m in (between, total))
            j.append(top / (whole - top))
        return np.log(j[0]) - np.log(j[1] + 1 / len(X))

    angles = np.linspace(0, np.pi, 20_001)
    everywhere = gain(np.c_[np.cos(angles), np.sin(angles)])
    best = gain(discriminative_direction(X, [y], [s], shrinkage=0.0).T)[0]
    assert best == pytest.approx(everywhere.max(), abs=1e-3)
    assert np.median(everywhere) < best - 0.5


@pytest.mark.parametrize("shrinkage", [0.0, 0.1])
def test_the_discriminative_direction_is_a_maximum_to_rounding(blobs, shrinkage):
    """Neither a stop of L-BFGS nor its start is to be seen: no gradient is left."""
    X, y, s = blobs
    direction = discriminative_direction(X, [y], [s], shrinkage=shrinkage)[:, 0]
    total = X.T @ X / len(X) + shrinkage * (X**2).mean() * np.eye(5)

    def gain(w):
        kept, hidden = (w @ between_scatter(X, [labels]) @ w for labels in (y, s))
        whole = w @ total @ w
        return np.log(kept / (whole - kept)) - np.log(hidden / (whole - hidden) + 1 / len(X))

    for axis in np.eye(5):
        slope = (gain(direction + 1e-6 * axis) - gain(direction - 1e-6 * axis)) / 2e-6
        assert abs(slope) < 1e-6
    others = direction + 0.01 * np.random.default_rng(0).normal(size=(200, 5))
    assert max(map(gain, others)) < gain(direction)


def test_random_filters_keep_lengths_on_average(blobs):
    X, y, s = blobs
    squares = [
        (RandomFilter(3, random_state=seed).fit_transform(X, y, private=s) ** 2).sum() / (X**2).sum()
        for seed in range(200)
    ]
    assert np.mean(squares) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("build", [PrivateLDA, PrivatePLS, DiscriminativeDirection], ids=lambda b: b.__name__)
def test_negative_strengths_are_refused(blobs, build):
    X, y, s = blobs
    name = "shrinkage" if build is DiscriminativeDirection else "strength"
    with pytest.raises(ValueError, match=f"{name}: it is -1.0"):
        build(**{name: -1.0}).fit(X, y, private=s)
