"""Every filter beside scikit-learn: pairs of arrays that must be equal."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.covariance import ShrunkCovariance
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler, normalize
from sklearn.random_projection import GaussianRandomProjection

from minimaxopt_privacy import (
    DiscriminativeDirection,
    GaussianMechanism,
    LaplaceMechanism,
    MinimaxFilter,
    PCAFilter,
    PrivateLDA,
    PrivatePLS,
    RandomFilter,
)

from .samples import Sample, drawn, targets

Pair = tuple[Any, Any]


def unit(vectors: Any) -> Any:
    """Return the columns with length one and the greatest entry positive: an eigenvector has neither."""
    vectors = np.asarray(vectors) / np.linalg.norm(vectors, axis=0)
    return vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(vectors.shape[1])])


def pca(kind: str, dtype: Any = np.float64) -> Pair:
    s = drawn(kind, dtype=dtype)
    ours = PCAFilter(3).fit(s.X, s.y, private=s.private)
    theirs = PCA(3, svd_solver="full").fit(s.X)
    other = drawn(kind, 1, dtype).X
    return np.abs(ours.transform(other)), np.abs(theirs.transform(other))


def random_projection(kind: str) -> Pair:
    s = drawn(kind)
    ours = RandomFilter(3, random_state=5).fit(s.X, s.y, private=s.private)
    theirs = GaussianRandomProjection(3, random_state=5).fit(s.X)  # the same draws, laid out by component
    return ours.projection_.ravel(), theirs.components_.ravel()


def pls(kind: str) -> Pair:
    s = drawn(kind)
    ours = PrivatePLS(4, strength=0.0).fit(s.X, s.y, private=s.private)
    theirs = PLSRegression(4, scale=False, max_iter=100_000, tol=1e-24).fit(s.X, targets(s.y))
    return unit(ours.projection_), unit(theirs.x_rotations_)


class _PrivateCovariance:
    """Covariance estimator of a discriminant analysis that adds private scatter and an isotropic one."""

    def __init__(self, added: Any) -> None:
        self.added = added

    def fit(self, X: Any) -> Any:
        self.covariance_ = np.cov(X.T, bias=True) + self.added
        return self


def lda(kind: str, strength: float, shrinkage: float) -> Pair:
    """The private term is a covariance that the discriminant analysis takes for one within classes."""
    s = drawn(kind)
    count = len(np.unique(s.y)) - 1
    ours = PrivateLDA(count, strength=strength, shrinkage=shrinkage).fit(s.X, s.y, private=s.private)
    means = [s.X[s.private == c].mean(0) - s.X.mean(0) for c in (0, 1)]
    scatter = sum(np.mean(s.private == c) * np.outer(means[c], means[c]) for c in (0, 1))
    added = strength * scatter + shrinkage * np.trace(np.cov(s.X.T, bias=True)) / 6 * np.eye(6)
    theirs: Any = LinearDiscriminantAnalysis(solver="eigen", covariance_estimator=_PrivateCovariance(added))
    return unit(ours.projection_), unit(theirs.fit(s.X, s.y).scalings_[:, :count])


def lda_of_numbers(shrinkage: float) -> Pair:
    s = drawn("numbers")
    ours = PrivateLDA(1, strength=0.0, shrinkage=shrinkage).fit(s.X, s.y, private=s.private)
    alpha = shrinkage * np.trace(np.cov(s.X.T, bias=True)) / 6 * len(s.X)
    theirs = Ridge(alpha) if shrinkage else LinearRegression()
    return unit(ours.projection_), unit(theirs.fit(s.X, s.y).coef_[:, None])


def _indifferent(kind: str) -> Sample:
    """Every sample twice, once of each private class: nothing private is to be seen."""
    s = drawn(kind)
    return Sample(np.vstack([s.X, s.X]), np.concatenate([s.y, s.y]), np.repeat([0, 1], len(s.X)))


def ddd(kind: str, shrinkage: float) -> Pair:
    s = _indifferent(kind)
    ours = DiscriminativeDirection(shrinkage=shrinkage).fit(s.X, s.y, private=s.private)
    added = shrinkage * np.trace(np.cov(s.X.T, bias=True)) / 6 * np.eye(6)
    theirs: Any = LinearDiscriminantAnalysis(solver="eigen", covariance_estimator=_PrivateCovariance(added))
    return unit(ours.projection_), unit(theirs.fit(s.X, s.y).scalings_[:, :1])


def _untrained(s: Sample, **settings: Any) -> Any:
    settings = {"jitter": 0.0, "normalize": False, "max_iter": 0, "random_state": 0, **settings}
    return MinimaxFilter(3, **settings).fit(s.X, s.y, private=s.private)


def scaling(name: str) -> Pair:
    """What precedes the filter, on other samples; of the shrunk ones the metric ``A A^T``, as signs are arbitrary."""
    s, other = drawn("two classes"), drawn("two classes", 1)
    scaled = _untrained(s, scaling=name).filter_
    mean, matrix = scaled.mean.numpy(), scaled.matrix.numpy()
    if name == "standard":
        return (other.X - mean) * matrix, StandardScaler().fit(s.X).transform(other.X)
    if name == "whiten":
        standard = StandardScaler().fit(s.X)
        components = PCA(whiten=True).fit(standard.transform(s.X)).transform(standard.transform(other.X))
        return np.abs((other.X - mean) @ matrix), np.abs(components) * np.sqrt(len(s.X) / (len(s.X) - 1))
    units = 1 / s.X.std(0) if name == "shrunk" else np.ones(6)
    precision = ShrunkCovariance(shrinkage=0.1 / 1.1).fit(s.X * units).precision_ / 1.1
    return matrix @ matrix.T, units[:, None] * precision * units


def initial(kind: str) -> Pair:
    s = drawn(kind)
    standard = StandardScaler().fit_transform(s.X)
    scores = PCA(3, svd_solver="full").fit_transform(standard)
    ours = _untrained(s, scaling="standard", init="pca").transform(s.X)
    return np.abs(ours), np.abs(scores / scores.std(0))


def trained(kind: str) -> Pair:
    """Where utility is all that counts, filter and head are the regression of the useful label."""
    s = drawn(kind)
    ours = MinimaxFilter(
        3, rho=1e8, penalty=0.0, jitter=0.0, normalize=False, scaling="whiten", adversary="softmax", random_state=0,
        solver="alternating-gda", learning_rate=0.05, max_iter=3000,
    ).fit(s.X, s.y, private=s.private)  # fmt: skip
    import torch

    with torch.no_grad():
        scores = ours.head_(torch.from_numpy(ours.transform(s.X)))
    if kind == "numbers":
        return scores[:, 0].numpy(), (LinearRegression().fit(s.X, s.y).predict(s.X) - s.y.mean()) / s.y.std()
    standard = StandardScaler().fit_transform(s.X)
    reader = LogisticRegression(C=1e9, max_iter=10_000, tol=1e-10).fit(standard, s.y)
    return torch.softmax(scores, 1).numpy(), reader.predict_proba(standard)


def clipping(norm: str) -> Pair:
    build, s = {"l1": LaplaceMechanism, "l2": GaussianMechanism}[norm], drawn("two classes")
    offsets = s.X - s.X.mean(0)
    lengths = np.linalg.norm(offsets, ord=int(norm[1]), axis=1)
    radius = float(np.median(lengths))
    ours = build(radius=radius).fit(s.X)
    nearest = np.where(lengths[:, None] > radius, radius * normalize(offsets, norm=norm), offsets)
    return ours.clip(s.X), s.X.mean(0) + nearest
