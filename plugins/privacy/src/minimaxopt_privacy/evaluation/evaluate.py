"""Utility and leakage of a filter: fresh predictors, trained on filtered data and scored on held-out filtered data."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minimaxopt_privacy.checks import check_choice, check_weights, refuse
from minimaxopt_privacy.evaluation.scores import Evaluation, Reading, Score, balanced_interval
from minimaxopt_privacy.game.labels import Column, Target, column_names, label_columns
from minimaxopt_privacy.predictors import FAMILIES, balanced_accuracy, chosen_settings, fit_predictor

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator


def evaluate_filter(
    filter_: Any,
    X: ArrayLike,
    y: ArrayLike,
    private: Any,
    X_test: ArrayLike,
    y_test: ArrayLike,
    private_test: Any,
    *,
    families: Sequence[str | BaseEstimator] = FAMILIES,
    utility_families: Sequence[str | BaseEstimator] | None = None,
    utility_target: Target = "auto",
    private_target: Target = "auto",
    sample_weight: ArrayLike | None = None,
    sample_weight_test: ArrayLike | None = None,
    folds: int = 3,
    random_state: int = 0,
) -> Evaluation:
    """Evaluate a fitted filter by fresh predictors of several families, for the useful and the private labels alike.

    Every predictor is trained, and its settings chosen by cross-validation, on the filtered training data alone. It is
    scored once, on held-out filtered data. Every class counts equally, however rare.

    Args:
        filter_: anything whose ``transform`` returns numbers ``(N, k)``, dense or sparse; ``None`` publishes X itself.
        X: features ``(N, n_features)`` on which the predictors are trained. They should not be those that the filter
            was fitted on, on which it hides more than on others.
        y: useful labels of X, ``(N,)`` or ``(N, k)``.
        private: private labels of X, of the same form.
        X_test: held-out features, ``(M, n_features)``.
        y_test: useful labels of X_test; a class without training samples counts as wrongly predicted.
        private_test: private labels of X_test, written as in ``private``: samples whose class has no training samples
            count as hidden, of which a warning is given.
        families: ``"logistic"``, ``"rbf-svm"``, ``"random-forest"``, ``"mlp"``, or scikit-learn estimators; the worst
            of them is the leakage.
        utility_families: families for the useful labels; by default the same.
        utility_target: ``"classification"``, ``"regression"``, or ``"auto"`` by the values of ``y``.
        private_target: the same for ``private``.
        sample_weight: weights of the training samples ``(N,)``, >= 0, within each class, in the fits and in the
            cross-validation; by default equal ones. A network needs scikit-learn 1.7 for it.
        sample_weight_test: weights of the test samples ``(M,)``, in the scores.
        folds: number of folds of the cross-validation.
        random_state: seed of predictors and folds.

    Raises:
        ArgumentError: labels or weights do not match the samples, labels are constant, no class of ``private_test``
            occurs in ``private``, the filter publishes no finite numbers ``(N, k)``, or there is no such family.

    Returns:
        Utility and leakage, with the scores that they come from.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(300, 2))
        >>> y, private = X[:, 0] > 0, X[:, 1] > 0
        >>> split = (slice(0, 200), slice(200, 300))
        >>> (train, test) = (tuple(part[rows] for part in (X, y, private)) for rows in split)
        >>> evaluate_filter(None, *train, *test, families=["logistic"]).leakage > 0.95
        True

    Source: this library.
    """
    chosen = {"private": families, "y": families if utility_families is None else utility_families}
    for argument, names in (("families", families), ("utility_families", chosen["y"])):
        if not names or isinstance(names, str):
            raise refuse(argument, f"it is {names!r}", f"list some of {', '.join(FAMILIES)}")
        for family in names:
            if not hasattr(family, "fit"):
                check_choice(argument, family, FAMILIES)
    targets: dict[str, Target] = {"y": utility_target, "private": private_target}
    z, z_test = _published(filter_, X, "X"), _published(filter_, X_test, "X_test")
    weights = check_weights("sample_weight", sample_weight, len(z))
    weights_test = check_weights("sample_weight_test", sample_weight_test, len(z_test))

    def readings(name: str, labels: Any, test: Any) -> tuple[Reading, ...]:
        train_columns = label_columns(name, labels, len(z))
        test_columns = label_columns(f"{name}_test", test, len(z_test))
        if (count := len(train_columns)) != len(test_columns):
            raise refuse(
                f"{name}_test", f"has {len(test_columns)} labels a sample, {name} has {count}", "give the same ones"
            )
        columns: list[Reading] = []
        for label, a, b in zip(column_names(name, count), train_columns, test_columns, strict=True):
            train, held_out = _weighted(z, a, weights), _weighted(z_test, b, weights_test)
            column = Column.of(label, train.labels, targets[name])
            if name == "private":
                _check_known(column, held_out.labels)
            columns.append(_reading(train, held_out, column, chosen[name], folds, random_state))
        return tuple(columns)

    return Evaluation(readings("y", y, y_test), readings("private", private, private_test))


@dataclass(frozen=True)
class _Sample:
    """Filtered features ``(N, k)``, labels ``(N,)`` and weights ``(N,)``."""

    z: NDArray[Any]
    labels: NDArray[Any]
    weights: NDArray[Any] | None


def _weighted(z: NDArray[Any], labels: NDArray[Any], weights: NDArray[Any] | None) -> _Sample:
    """Return the samples that have a weight."""
    if weights is None:
        return _Sample(z, labels, None)
    rows = weights > 0
    return _Sample(z[rows], labels[rows], weights[rows])


def _published(filter_: Any, X: Any, name: str) -> NDArray[Any]:
    """Return what a filter publishes of X, ``(N, k)``, checked.

    Raises:
        ArgumentError: it is not of this shape, or no finite numbers.
    """
    from scipy.sparse import issparse

    argument = name if filter_ is None else "filter_"
    published: Any = X if filter_ is None else filter_.transform(X)
    z = np.asarray(published.toarray() if issparse(published) else published)
    if z.ndim != 2:
        raise refuse(argument, f"it gives shape {z.shape} for {name}", "give (N, k), a row for each sample")
    samples = X.shape[0] if hasattr(X, "shape") else len(X)
    if len(z) != samples:
        raise refuse(argument, f"it gives {len(z)} rows for the {samples} samples of {name}", "give one a sample")
    try:
        finite = np.isfinite(z.astype(np.float64)).all()
    except (TypeError, ValueError) as error:
        raise refuse(argument, f"it gives no numbers for {name} ({error})", "encode them as numbers") from error
    if not finite:
        raise refuse(argument, f"it gives NaN or infinite values for {name}", "give finite numbers")
    return z


def _check_known(column: Column, labels: NDArray[Any]) -> None:
    """Refuse private labels none of which a predictor can name, and warn of single ones.

    Raises:
        ArgumentError: no test label is among the training classes.
    """
    if column.kind == "regression":
        return
    unseen = [label not in set(column.classes.tolist()) for label in labels.tolist()]
    if not any(unseen):
        return
    name, _, index = column.name.partition("[")
    argument = f"{name}_test" + (f"[{index}" if index else "")
    example = labels.tolist()[unseen.index(True)]
    reason = f"{sum(unseen)} of {len(labels)} labels, such as {example!r}, are no class of {column.name}"
    if all(unseen):
        raise refuse(argument, reason, f"write them as there: {column.classes.tolist()[:3]}")
    warnings.warn(
        f"{argument}: {reason}, so that no predictor can name them and the leakage comes out too low; write them as in "
        f"{column.name}, or leave these samples out",
        UserWarning,
        stacklevel=4,
    )


def _reading(
    train: _Sample,
    test: _Sample,
    column: Column,
    families: Sequence[str | BaseEstimator],
    folds: int,
    random_state: int,
) -> Reading:
    from sklearn.metrics import r2_score

    scores: list[Score] = []
    for family in families:
        predictor = fit_predictor(
            family, train.z, train.labels, column.kind,
            sample_weight=train.weights, folds=folds, random_state=random_state,
        )  # fmt: skip
        interval, accuracy = None, None
        if column.kind == "classification":
            predictions = predictor.predict(test.z)
            value = balanced_accuracy(test.labels, predictions, sample_weight=test.weights)
            accuracy = float(np.average(predictions == test.labels, weights=test.weights))
            interval = balanced_interval(value, test.labels, test.weights)
        elif test.weights is None:
            value = float(predictor.score(test.z, test.labels))
        else:
            value = float(r2_score(test.labels, predictor.predict(test.z), sample_weight=test.weights))
        validated = float(predictor.best_score_)
        validated = validated if math.isfinite(validated) else 0.0
        name = family if isinstance(family, str) else type(family).__name__
        scores.append(Score(name, value, validated, chosen_settings(predictor, column.kind), interval, accuracy))
    return Reading(column.name, column.kind, column.chance, tuple(scores))
