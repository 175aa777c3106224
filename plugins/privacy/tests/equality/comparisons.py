"""The table of comparisons with scikit-learn: what is compared, on which labels, and how closely it must agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from . import evaluators, filters
from .samples import KINDS

CLASSES = ("two classes", "three classes", "unequal classes")
FAMILIES = ("logistic", "rbf-svm", "random-forest", "mlp")


@dataclass(frozen=True)
class Comparison:
    """One row of the table.

    Attributes:
        ours: name of the filter or evaluator.
        referee: name in scikit-learn.
        quantity: what is compared.
        tolerance: greatest difference, relative to the greatest entry.
        cases: by data or settings, functions that return the two arrays.
    """

    ours: str
    referee: str
    quantity: str
    tolerance: float
    cases: dict[str, Callable[[], tuple[Any, Any]]]

    def difference(self, case: str) -> float:
        """Return the greatest difference of a case, relative to the greatest entry."""
        ours, theirs = map(np.asarray, self.cases[case]())
        assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
        assert np.array_equal(np.isnan(ours), np.isnan(theirs))
        return float(np.nanmax(np.abs(ours - theirs)) / np.nanmax(np.abs(theirs)))


def _of(function: Callable[..., Any], kinds: tuple[str, ...], **settings: Any) -> dict[str, Callable[[], Any]]:
    return {kind: partial(function, kind, **settings) for kind in kinds}


_LDA = "discriminant_analysis.LinearDiscriminantAnalysis"

COMPARISONS = [
    Comparison("PCAFilter", "decomposition.PCA", "outputs for other samples, up to sign", 1e-9, _of(filters.pca, KINDS)),
    Comparison(
        "PCAFilter", "decomposition.PCA", "the same in single precision", 1e-4,
        {"two classes": partial(filters.pca, "two classes", np.float32)},
    ),
    Comparison(
        "RandomFilter", "random_projection.GaussianRandomProjection", "matrix, from one seed", 1e-12,
        _of(filters.random_projection, KINDS),
    ),
    Comparison(
        "PrivatePLS(strength=0)", "cross_decomposition.PLSRegression", "four directions", 1e-7, _of(filters.pls, KINDS)
    ),
    Comparison(
        "PrivateLDA(strength=0, shrinkage=0)", _LDA, "the directions between the classes", 1e-8,
        _of(filters.lda, CLASSES, strength=0.0, shrinkage=0.0),
    ),
    Comparison(
        "PrivateLDA", f"{_LDA}, the private and the isotropic scatter as covariance", "the same", 1e-8,
        _of(filters.lda, CLASSES, strength=10.0, shrinkage=0.1),
    ),
    Comparison(
        "PrivateLDA(strength=0)", "linear_model.Ridge, LinearRegression", "direction of the coefficients", 1e-8,
        {"numbers": partial(filters.lda_of_numbers, 0.1), "numbers, shrinkage=0": partial(filters.lda_of_numbers, 0.0)},
    ),
    Comparison(
        "DiscriminativeDirection, nothing private to be seen", f"{_LDA}, the isotropic scatter as covariance",
        "direction", 1e-4, _of(filters.ddd, ("two classes", "three classes", "unequal classes"), shrinkage=0.1),
    ),
    *(
        Comparison(f"MinimaxFilter(scaling={name!r})", referee, quantity, 1e-9, {"two classes": partial(filters.scaling, name)})
        for name, referee, quantity in (
            ("standard", "preprocessing.StandardScaler", "scaled features of other samples"),
            ("whiten", "decomposition.PCA(whiten=True) of standardised features", "the same, up to sign"),
            ("shrunk", "covariance.ShrunkCovariance of standardised features", "metric of the scaled features"),
            ("shrunk-covariance", "covariance.ShrunkCovariance", "metric of the scaled features"),
        )
    ),
    Comparison(
        "MinimaxFilter(init='pca', max_iter=0)", "decomposition.PCA", "outputs, up to sign", 1e-9,
        _of(filters.initial, ("two classes", "numbers")),
    ),
    Comparison(
        "MinimaxFilter(rho=1e8)", "linear_model.LogisticRegression, LinearRegression", "predictions of the head", 1e-3,
        _of(filters.trained, ("two classes", "three classes", "numbers")),
    ),
    Comparison(
        "LaplaceMechanism, GaussianMechanism", "preprocessing.normalize", "clipped samples", 1e-12,
        {norm: partial(filters.clipping, norm) for norm in ("l1", "l2")},
    ),
    *(
        Comparison(
            f"evaluate_filter(families=[{family!r}])", "model_selection.GridSearchCV and metrics",
            "held-out score, validated score, accuracy", 1e-9,
            {
                **_of(partial(evaluators.reading, family), (*CLASSES, "numbers")),
                "weights": partial(evaluators.reading, family, "unequal classes", weighted=True),
                "numbers, weights": partial(evaluators.reading, family, "numbers", weighted=True),
            },
        )
        for family in FAMILIES
    ),
    Comparison(
        "evaluate_filter(families=[estimator])", "the estimator and metrics", "held-out score", 1e-12,
        _of(evaluators.own_estimator, ("two classes", "three classes", "numbers")),
    ),
    Comparison(
        "evaluate_filter", "scipy.stats.binomtest", "Wilson interval", 1e-12, {"two classes": evaluators.interval}
    ),
    Comparison(
        "PCAFilter.score", "model_selection.cross_val_score", "utility minus leakage", 1e-9,
        _of(evaluators.score, (*CLASSES, "numbers")),
    ),
]  # fmt: skip
"""Every filter and every evaluator."""
