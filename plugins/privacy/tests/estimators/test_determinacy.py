"""What a filter publishes is determined by its data: neither the order of the rows nor the processor chooses."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from minimaxopt_privacy import DiscriminativeDirection, MinimaxFilter, PCAFilter, PrivateLDA, PrivatePLS
from minimaxopt_privacy.datasets import load_sklearn_digits
from minimaxopt_privacy.estimators.directions import (
    discriminative_direction,
    principal_directions,
    private_lda_directions,
    private_pls_directions,
)
from minimaxopt_privacy.estimators.eigenvectors import leading_eigenvectors
from minimaxopt_privacy.estimators.scaling import scaling_map
from minimaxopt_privacy.estimators.scatter import between_scatter

ORDER = 1e-8
"""What another order of the rows, or other rounding, may change in a filter of features of size 1."""

# More outputs than the two classes of the parity determine; at this strength no direction covaries more with the parity
# than with the digit, for which the parity is a sum of.
FILTERS = {
    "pca": PCAFilter(12),
    "pls": PrivatePLS(12),
    "pls, strong": PrivatePLS(12, strength=100.0),
    "lda": PrivateLDA(12),
    "lda, unregularised": PrivateLDA(12, shrinkage=0.0),
    "ddd": DiscriminativeDirection(),
    "ddd, unregularised": DiscriminativeDirection(shrinkage=0.0),
    **{
        f"minimax, {init} of {scaling}": MinimaxFilter(
            3, init=init, scaling=scaling, jitter=0.0, normalize=False, max_iter=5, random_state=0
        )
        for init in ("lda", "pca")
        for scaling in ("standard", "shrunk", "whiten")
    },
}


@pytest.fixture(scope="module")
def digits():
    X, parity, digit = load_sklearn_digits("parity").train
    return X[:500], parity[:500], digit[:500]


@pytest.mark.parametrize("name", FILTERS)
def test_the_order_of_the_rows_does_not_matter(digits, name):
    X, y, s = digits
    rows = np.random.default_rng(0).permutation(len(X))
    ours, other = (FILTERS[name].fit(X[r], y[r], private=s[r]).transform(X) for r in (np.arange(len(X)), rows))
    assert np.abs(ours - other).max() < ORDER * np.abs(ours).max()
    assert np.ptp(ours, axis=0).min() > 1e-3  # every output varies


def test_two_classes_need_not_be_told_apart_by_more_than_one_direction():
    """The directions beyond the first are the principal components of X without the class means."""
    random = np.random.default_rng(0)
    X = random.normal(size=(200, 6)) * np.arange(1.0, 7)
    y, s = (X[:, 0] > 0).astype(int), (X[:, 1] > 0).astype(int)
    filter_ = PrivateLDA(6).fit(X, y, private=s)
    Z = X - X.mean(0)
    means = np.array([Z[labels == 1].mean(0) for labels in (y, s)])
    outside = np.eye(6) - np.linalg.pinv(means) @ means
    values, vectors = np.linalg.eigh(outside @ (Z.T @ Z) @ outside)
    expected = vectors[:, np.argsort(-values)[:4]]
    assert np.allclose(np.abs((filter_.projection_[:, 1:5] * expected).sum(0)), 1.0, atol=1e-9)
    assert np.allclose(filter_.projection_[:, 1:5].T @ means.T, 0.0, atol=1e-9)
    leaked = filter_.projection_.T @ between_scatter(Z, [s]) @ filter_.projection_
    assert np.diag(leaked).argmax() == 5  # the private direction comes last


def test_equal_variances_are_ordered_as_the_features_are():
    X = np.array([[a, b, c] for a in (-1.0, 1) for b in (-1.0, 1) for c in (-1.0, 1)])
    assert principal_directions(X, 3).tolist() == np.eye(3).tolist()
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    matrix = turned @ np.diag([5.0, 2.0, 2.0, 1.0]) @ turned.T
    first, second = (leading_eigenvectors(m, 3)[1] for m in (matrix, matrix + 1e-14 * np.ones((4, 4))))
    assert np.abs(first - second).max() < ORDER
    assert np.allclose(first.T @ matrix @ first, np.diag([5.0, 2.0, 2.0]))


def test_the_sign_of_equal_entries_is_that_of_the_first():
    """Two standardised features have the components (1, 1) and (1, -1), of either sign as far as rounding goes."""
    X = np.random.default_rng(0).normal(size=(50, 2))
    X[:, 1] += 0.5 * X[:, 0]
    X = (X - X.mean(0)) / X.std(0)
    for factor in (1.0, 1 + 1e-15, 1 - 1e-15):
        assert np.sign(principal_directions(X * [1.0, factor], 2)).tolist() == [[1, 1], [1, -1]]


@pytest.mark.parametrize("build", [PCAFilter, PrivateLDA, PrivatePLS])
def test_directions_in_which_no_sample_varies_publish_nothing(build):
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 2)) @ random.normal(size=(2, 4))
    y, s = (X[:, 0] > 0).astype(int), (X[:, 1] > 0).astype(int)
    filter_ = build(4).fit(X, y, private=s)
    others = random.normal(size=(10, 4))
    assert (filter_.transform(others)[:, 2:] == 0).all()
    # Of the one direction that PLS has left, more of the private label is to be read than of the useful one.
    assert np.ptp(filter_.transform(others)[:, : 1 if build is PrivatePLS else 2], axis=0).min() > 0.1


def test_more_features_than_samples():
    random = np.random.default_rng(0)
    X = random.normal(size=(20, 50))
    y, s = np.arange(20) % 2, np.arange(20) // 10
    rows = random.permutation(20)
    for build in (PCAFilter, PrivateLDA, PrivatePLS):
        first, second = (build(5).fit(X[r], y[r], private=s[r]).transform(X) for r in (np.arange(20), rows))
        assert np.abs(first - second).max() < ORDER


COMPUTE = """
import sys, numpy as np
from threadpoolctl import threadpool_info
from tests_determinacy import linear_algebra
np.savez(sys.argv[1], **linear_algebra())
print(*sorted({str(i.get("architecture")) for i in threadpool_info() if i["internal_api"] == "openblas"}))
"""


def linear_algebra():
    """Return all the directions and scalings of the digits."""
    X, y, s = load_sklearn_digits("parity").train
    Z, labels = X - X.mean(0), ([y], [s])
    return {
        "scatter": between_scatter(Z, [s]),
        "pca": principal_directions(Z, 20),
        "lda": private_lda_directions(Z, *labels, 20),
        "pls": private_pls_directions(Z, *labels, 20),
        "pls, strong": private_pls_directions(Z, *labels, 20, strength=100.0),
        "ddd": discriminative_direction(Z, *labels),
        **{kind: scaling_map(kind, X)[1] for kind in ("standard", "shrunk", "shrunk-covariance", "whiten")},
    }


def computed(path, kernel):
    """Return the architecture of OpenBLAS's kernel in a process that is asked for one, and what it computed."""
    environment = {**os.environ, **({} if kernel is None else {"OPENBLAS_CORETYPE": kernel})}
    code = COMPUTE.replace("tests_determinacy", __name__)
    done = subprocess.run(
        [sys.executable, "-c", code, path], env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode < 0:
        return None, {}  # the processor does not know the kernel's instructions
    assert not done.returncode, done.stderr
    with np.load(path) as arrays:
        return done.stdout.strip(), dict(arrays)


@pytest.mark.parametrize("kernel", ["Haswell", "Nehalem"])
def test_the_processor_does_not_matter(tmp_path, kernel):
    own, ours = computed(tmp_path / "own.npz", None)
    other, theirs = computed(tmp_path / "other.npz", kernel)
    if other in (own, None):
        pytest.skip(f"no second kernel of OpenBLAS beside {own}")
    for name, array in ours.items():
        assert np.abs(array - theirs[name]).max() < ORDER * np.abs(array).max(), name
