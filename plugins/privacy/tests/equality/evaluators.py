"""Every evaluator beside scikit-learn: pairs of arrays that must be equal."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, balanced_accuracy_score, make_scorer, r2_score
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.utils.class_weight import compute_sample_weight

from minimaxopt_privacy import PCAFilter, evaluate_filter

from .samples import Sample, drawn

Pair = tuple[Any, Any]

CLASSIFIERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "logistic": (LogisticRegression(max_iter=2000), {"C": [0.01, 0.1, 1.0, 10.0, 100.0]}),
    "rbf-svm": (SVC(), {"C": [0.1, 1.0, 10.0, 100.0], "gamma": ["scale", 0.01, 1.0]}),
    "random-forest": (RandomForestClassifier(random_state=0), {"min_samples_leaf": [1, 5, 20]}),
    "mlp": (MLPClassifier(hidden_layer_sizes=(64,), max_iter=200, random_state=0), {"alpha": [1e-3, 1.0]}),
}
REGRESSORS: dict[str, tuple[Any, dict[str, Any]]] = {
    "logistic": (Ridge(), {"alpha": [0.01, 1.0, 100.0]}),
    "rbf-svm": (SVR(), {"C": [0.1, 1.0, 10.0, 100.0], "gamma": ["scale", 0.01, 1.0]}),
    "random-forest": (RandomForestRegressor(random_state=0), {"min_samples_leaf": [1, 5, 20]}),
    "mlp": (MLPRegressor(hidden_layer_sizes=(64,), max_iter=200, random_state=0), {"alpha": [1e-3, 1.0]}),
}


def reading(family: str, kind: str, *, weighted: bool = False) -> Pair:
    """Held-out score, cross-validation score and accuracy on the useful label, of two principal components."""
    train, test = drawn(kind), drawn(kind, 1)
    filter_ = PCAFilter(4).fit(train.X, train.y, private=train.private)
    random = np.random.default_rng(7)
    weights = [random.uniform(0.2, 3.0, len(part.X)) if weighted else None for part in (train, test)]
    evaluation = evaluate_filter(
        filter_, *train, *test, families=["logistic"], utility_families=[family],
        sample_weight=weights[0], sample_weight_test=weights[1],
    )  # fmt: skip
    (score,) = evaluation.utility[0].scores
    ours = [score.value, score.validated, np.nan if score.accuracy is None else score.accuracy]
    parts = [Sample(filter_.transform(part.X), part.y, part.private) for part in (train, test)]
    return np.array(ours), np.array(_by_hand(family, *parts, *weights))


def _by_hand(family: str, train: Sample, test: Sample, weights: Any, weights_test: Any) -> list[float]:
    """Return the three scores by scikit-learn's own search and metrics."""
    with warnings.catch_warnings(), config_context(enable_metadata_routing=weights is not None):
        warnings.simplefilter("ignore", ConvergenceWarning)
        return _searched(family, train, test, weights, weights_test)


def _searched(family: str, train: Sample, test: Sample, weights: Any, weights_test: Any) -> list[float]:
    classes = train.y.dtype.kind != "f"
    estimator, grid = (CLASSIFIERS if classes else REGRESSORS)[family]
    estimator = clone(estimator)
    balanced = _balanced(train.y, weights) if classes else weights
    fit: dict[str, Any] = {}
    scoring: Any = "balanced_accuracy" if classes else "r2"
    scale = StandardScaler()
    if weights is not None:
        metric = balanced_accuracy_score if classes else r2_score
        scoring = make_scorer(metric).set_score_request(sample_weight=True)
        estimator, scale = (step.set_fit_request(sample_weight=True) for step in (estimator, scale))
        fit = {"sample_weight": balanced / balanced.mean()}
    elif classes and len(set(np.unique(train.y, return_counts=True)[1])) > 1:
        if "class_weight" in estimator.get_params():
            estimator.set_params(class_weight="balanced")
        else:
            fit = {"predictor__sample_weight": balanced}
    prefix = "predictor__" if classes else "predictor__regressor__"
    reader = estimator if classes else TransformedTargetRegressor(estimator, transformer=StandardScaler())
    search = GridSearchCV(
        Pipeline([("scale", scale), ("predictor", reader)]),
        {f"{prefix}{name}": values for name, values in grid.items()},
        cv=(StratifiedKFold if classes else KFold)(3, shuffle=True, random_state=0),
        scoring=scoring,
    )
    search.fit(train.X, train.y, **fit)
    predictions = search.predict(test.X)
    if not classes:
        return [r2_score(test.y, predictions, sample_weight=weights_test), search.best_score_, np.nan]
    return [
        balanced_accuracy_score(test.y, predictions, sample_weight=weights_test),
        search.best_score_,
        accuracy_score(test.y, predictions, sample_weight=weights_test),
    ]


def _balanced(labels: Any, weights: Any) -> Any:
    """Return weights under which all classes have one sum, by scikit-learn where they are equal within a class."""
    if weights is None:
        return compute_sample_weight("balanced", labels)
    values, codes = np.unique(labels, return_inverse=True)
    return weights / np.array([weights[labels == value].sum() for value in values])[codes]


def own_estimator(kind: str) -> Pair:
    """An estimator of one's own is fitted as it is, without scaling, and without weights for the classes."""
    train, test = drawn(kind), drawn(kind, 1)
    reader = LogisticRegression(C=0.3, max_iter=2000) if kind != "numbers" else Ridge(3.0)
    (score,) = evaluate_filter(None, *train, *test, families=["logistic"], utility_families=[reader]).utility[0].scores
    predictions = clone(reader).fit(train.X, train.y).predict(test.X)
    metric = balanced_accuracy_score if kind != "numbers" else r2_score
    return score.value, metric(test.y, predictions)


def score(kind: str) -> Pair:
    train, test = drawn(kind), drawn(kind, 1)
    filter_ = PCAFilter(2).fit(train.X, train.y, private=train.private)
    z = filter_.transform(test.X)
    gains = []
    for labels in (test.y, test.private):
        classes = labels.dtype.kind != "f"
        reader = LogisticRegression(max_iter=2000, class_weight="balanced") if classes else Ridge()
        scores = cross_val_score(
            make_pipeline(StandardScaler(), reader), z, labels,
            cv=(StratifiedKFold if classes else KFold)(3, shuffle=True, random_state=0),
            scoring="balanced_accuracy" if classes else "r2",
        )  # fmt: skip
        chance = 1 / len(np.unique(labels)) if classes else 0.0
        gains.append((scores.mean() - chance) / (1 - chance))
    return filter_.score(test.X, test.y, private=test.private), gains[0] - gains[1]


def interval() -> Pair:
    train, test = drawn("two classes"), drawn("two classes", 1)
    balanced = np.concatenate([np.flatnonzero(test.y == value)[:100] for value in (0, 1)])
    held_out = [part[balanced] for part in test]
    (score_,) = evaluate_filter(None, *train, *held_out, families=["logistic"]).utility[0].scores
    right = round(score_.value * 200)
    return score_.interval, tuple(binomtest(right, 200).proportion_ci(method="wilson"))
