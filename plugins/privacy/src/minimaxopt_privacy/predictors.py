"""Fresh predictors of several families from scikit-learn, tuned by cross-validation on their training data."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from minimaxopt_privacy.checks import check_choice, check_count, refuse
from minimaxopt_privacy.game.labels import Column
from minimaxopt_privacy.game.prediction_heads import Kind

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

FAMILIES = ("logistic", "rbf-svm", "random-forest", "mlp")
"""Families of predictors; for regression they are ridge regression, RBF-SVR, random forest and MLP."""

# Prefix of the estimator's settings within a tuned predictor.
_PREFIXES: dict[Kind, str] = {"classification": "predictor__", "regression": "predictor__regressor__"}


def balanced_accuracy_scorer(predictor: Any, Z: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return the balanced accuracy of a fitted predictor, as scikit-learn calls a scorer.

    For classes of equal size this is the accuracy, to the last bit.

    Examples:
        >>> class Always:
        ...     def predict(self, Z):
        ...         return np.zeros(len(Z))
        >>> balanced_accuracy_scorer(Always(), np.zeros((4, 1)), np.array([0, 0, 0, 1]))
        0.5
    """
    return balanced_accuracy(labels, predictor.predict(Z))


def balanced_accuracy(labels: NDArray[Any], predictions: NDArray[Any]) -> float:
    """Return the mean recall over the classes of ``labels``.

    >>> balanced_accuracy(np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 1, 1]))
    0.875
    """
    return float(np.average(np.asarray(predictions) == labels, weights=_weights(labels)))


def _weights(labels: NDArray[Any]) -> NDArray[Any]:
    """Return sample weights under which every class counts alike: exactly 1 where classes have equal size."""
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return (counts.min() / counts)[classes]


def build_predictor(
    family: str | BaseEstimator,
    kind: Kind = "classification",
    *,
    balance: bool = False,
    random_state: int = 0,
    folds: int = 3,
) -> Any:
    """Return an unfitted predictor that standardises its features and chooses its settings by cross-validation.

    The criterion is balanced accuracy, for regression the coefficient of determination of standardised targets.

    Args:
        family: one of ``FAMILIES``, or a scikit-learn estimator, which is used as it is.
        kind: ``"classification"`` or ``"regression"``.
        balance: whether classes of unequal size are weighted equally.
        random_state: seed of the folds, forests and networks.
        folds: number of folds, >= 2.

    Raises:
        ArgumentError: there is no such family, or there are fewer than two folds.

    Examples:
        >>> X = np.array([[0.0], [0.1], [0.9], [1.0]] * 5)
        >>> build_predictor("logistic").fit(X, [0, 0, 1, 1] * 5).score(X, [0, 0, 1, 1] * 5)
        1.0
    """
    # scikit-learn takes seconds to import.
    from sklearn.base import clone
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC, SVR

    classes = kind == "classification"
    splits = (StratifiedKFold if classes else KFold)(
        check_count("folds", folds, least=2), shuffle=True, random_state=random_state
    )
    search: dict[str, Any] = {"cv": splits, "scoring": balanced_accuracy_scorer if classes else None}
    if not isinstance(family, str):
        return GridSearchCV(clone(family), {}, **search)
    network = MLPClassifier if classes else MLPRegressor
    # Not for classes of equal size, though all weights are 1: with weights a forest draws other samples.
    weight = "balanced" if balance else None
    builds: dict[str, tuple[Callable[[], Any], dict[str, Sequence[Any]]]] = {
        "logistic": (
            lambda: LogisticRegression(max_iter=2000, class_weight=weight),
            {"C": [0.01, 0.1, 1.0, 10.0, 100.0]},
        )
        if classes
        else (lambda: Ridge(), {"alpha": [0.01, 1.0, 100.0]}),
        "rbf-svm": (
            lambda: SVC(class_weight=weight) if classes else SVR(),
            {"C": [0.1, 1.0, 10.0, 100.0], "gamma": ["scale", 0.01, 1.0]},
        ),
        "random-forest": (
            lambda: (
                RandomForestClassifier(n_estimators=100, random_state=random_state, class_weight=weight)
                if classes
                else RandomForestRegressor(n_estimators=100, random_state=random_state)
            ),
            {"min_samples_leaf": [1, 5, 20]},
        ),
        "mlp": (
            lambda: network(hidden_layer_sizes=(64,), max_iter=200, random_state=random_state),
            {"alpha": [1e-3, 1.0]},
        ),
    }
    build, grid = builds[check_choice("family", family, FAMILIES)]
    estimator = build() if classes else TransformedTargetRegressor(build(), transformer=StandardScaler())
    prefix = _PREFIXES[kind]
    return GridSearchCV(
        Pipeline([("scale", StandardScaler()), ("predictor", estimator)]),
        {f"{prefix}{name}": values for name, values in grid.items()},
        **search,
    )


def chosen_settings(predictor: Any, kind: Kind) -> dict[str, Any]:
    """Return the settings that cross-validation chose for a fitted predictor."""
    return {name.removeprefix(_PREFIXES[kind]): setting for name, setting in predictor.best_params_.items()}


def fit_predictor(
    family: str | BaseEstimator, Z: NDArray[Any], labels: NDArray[Any], kind: Kind, **options: Any
) -> Any:
    """Return a fitted predictor, its classes weighted equally; a class may have fewer samples than there are folds.

    Args:
        family: as in ``build_predictor``.
        Z: filtered training features ``(N, k)``.
        labels: ``(N,)``.
        kind: as in ``build_predictor``.
        options: ``random_state`` and ``folds``, as in ``build_predictor``.

    Raises:
        ArgumentError: as in ``build_predictor``, or every label is the same.
    """
    from sklearn import config_context
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils.validation import has_fit_parameter

    values, counts = np.unique(labels, return_counts=True)
    if len(values) < 2:
        raise refuse("labels", f"every label is {values.tolist()[0]!r}", "give labels of at least two values")
    weights = _weights(labels) if kind == "classification" else np.ones(len(labels))
    predictor = build_predictor(family, kind, balance=bool(weights.min() < 1), **options)
    fit_options: dict[str, Any] = {}
    # A network has no class weights, and has sample weights since scikit-learn 1.7.
    if (
        family == "mlp"
        and weights.min() < 1
        and has_fit_parameter(predictor.estimator.named_steps["predictor"], "sample_weight")
    ):
        fit_options["predictor__sample_weight"] = weights / weights.mean()
    with warnings.catch_warnings(), config_context(enable_metadata_routing=False):
        warnings.simplefilter("ignore", ConvergenceWarning)  # a network that has not converged is scored as it is
        if kind == "classification" and counts.min() < predictor.cv.n_splits:
            warnings.filterwarnings("ignore", message="The least populated class")
        return predictor.fit(Z, labels, **fit_options)


def linear_advantage(Z: NDArray[Any], labels: NDArray[Any], column: Column) -> float:
    """Return the advantage of a linear predictor over a guess, by three-fold cross-validation.

    Args:
        Z: filtered features ``(N, k)``.
        labels: ``(N,)``.
        column: the label's encoding, from the fit of the filter.

    Raises:
        ArgumentError: every label is the same.

    Examples:
        >>> labels = np.array([0, 1] * 9)
        >>> linear_advantage(np.array([[0.0], [1.0]] * 9), labels, Column.of("y", labels))
        1.0
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = column.kind == "classification"
    values = np.unique(labels)
    if len(values) < 2:
        raise refuse(column.name, f"every label is {values.tolist()[0]!r}", "score on samples of at least two values")
    estimator = LogisticRegression(max_iter=2000, class_weight="balanced") if classes else Ridge()
    linear = make_pipeline(StandardScaler(), estimator)
    splits = (StratifiedKFold if classes else KFold)(3, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        scores = cross_val_score(linear, Z, labels, cv=splits, scoring=balanced_accuracy_scorer if classes else None)
    return advantage(float(scores.mean()), 1 / len(values) if classes else 0.0)


def advantage(value: float, chance: float) -> float:
    """Return ``(value - chance) / (1 - chance)``, which makes scores on different labels comparable.

    >>> advantage(0.75, 0.5)
    0.5
    """
    return (value - chance) / (1 - chance)
