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


def balanced_accuracy(
    labels: NDArray[Any], predictions: NDArray[Any], *, sample_weight: NDArray[Any] | None = None
) -> float:
    """Return the mean recall over the classes of ``labels``.

    Args:
        labels: ``(N,)``.
        predictions: ``(N,)``.
        sample_weight: weights of the samples within each class ``(N,)``, > 0; by default equal ones.

    >>> balanced_accuracy(np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 1, 1]))
    0.875
    """
    return float(np.average(np.asarray(predictions) == labels, weights=_balanced(labels, sample_weight)))


def _balanced(labels: NDArray[Any], sample_weight: NDArray[Any] | None = None) -> NDArray[Any]:
    """Return sample weights under which every class counts alike: exactly 1 where classes have equal weight.

    >>> _balanced(np.array([0, 0, 1])).tolist(), _balanced(np.array([0, 0, 1]), np.array([1.0, 3.0, 2.0])).tolist()
    ([0.5, 0.5, 1.0], [0.5, 1.5, 2.0])
    """
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if sample_weight is None:
        return (counts.min() / counts)[classes]
    sums = np.bincount(classes, sample_weight)
    return sample_weight * (sums.min() / sums)[classes]


def _scorer(kind: Kind, weighted: bool) -> Any:
    """Return a scorer: balanced accuracy, or ``None`` for the estimator's own; with weights one that requests them."""
    from sklearn.metrics import make_scorer, r2_score

    if not weighted:
        return balanced_accuracy_scorer if kind == "classification" else None
    metric = balanced_accuracy if kind == "classification" else r2_score
    return make_scorer(metric).set_score_request(sample_weight=True)


def _requesting(estimator: Any) -> Any:
    """Return the estimator with sample weights requested, under metadata routing.

    Raises:
        ArgumentError: its ``fit`` takes none.
    """
    from sklearn.utils.validation import has_fit_parameter

    if not has_fit_parameter(estimator, "sample_weight"):
        name = type(estimator).__name__
        raise refuse("families", f"{name} takes no sample_weight", "leave it out, or evaluate without weights")
    return estimator.set_fit_request(sample_weight=True)


def build_predictor(
    family: str | BaseEstimator,
    kind: Kind = "classification",
    *,
    balance: bool = False,
    random_state: int = 0,
    folds: int = 3,
    weighted: bool = False,
) -> Any:
    """Return an unfitted predictor that standardises its features and chooses its settings by cross-validation.

    The criterion is balanced accuracy, for regression the coefficient of determination of standardised targets.

    Args:
        family: one of ``FAMILIES``, or a scikit-learn estimator, which is used as it is.
        kind: ``"classification"`` or ``"regression"``.
        balance: whether classes of unequal size are weighted equally.
        random_state: seed of the folds, forests and networks.
        folds: number of folds, >= 2.
        weighted: whether ``fit`` is given ``sample_weight``, under metadata routing, for fits and scores alike.

    Raises:
        ArgumentError: there is no such family, it takes no weights, or there are fewer than two folds.

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
    search: dict[str, Any] = {"cv": splits, "scoring": _scorer(kind, weighted)}
    request: Callable[[Any], Any] = _requesting if weighted else lambda estimator: estimator
    if not isinstance(family, str):
        return GridSearchCV(request(clone(family)), {}, **search)
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
    estimator = request(build())
    if not classes:
        estimator = TransformedTargetRegressor(estimator, transformer=StandardScaler())
    prefix = _PREFIXES[kind]
    return GridSearchCV(
        Pipeline([("scale", request(StandardScaler())), ("predictor", estimator)]),
        {f"{prefix}{name}": values for name, values in grid.items()},
        **search,
    )


def chosen_settings(predictor: Any, kind: Kind) -> dict[str, Any]:
    """Return the settings that cross-validation chose for a fitted predictor."""
    return {name.removeprefix(_PREFIXES[kind]): setting for name, setting in predictor.best_params_.items()}


def fit_predictor(
    family: str | BaseEstimator,
    Z: NDArray[Any],
    labels: NDArray[Any],
    kind: Kind,
    *,
    sample_weight: NDArray[Any] | None = None,
    **options: Any,
) -> Any:
    """Return a fitted predictor, its classes weighted equally; a class may have fewer samples than there are folds.

    Args:
        family: as in ``build_predictor``.
        Z: filtered training features ``(N, k)``.
        labels: ``(N,)``.
        kind: as in ``build_predictor``.
        sample_weight: weights of the samples ``(N,)``, > 0, within each class; by default equal ones.
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
    if sample_weight is not None:
        return _fit_weighted(family, Z, labels, kind, sample_weight, **options)
    weights = _balanced(labels) if kind == "classification" else np.ones(len(labels))
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


def _fit_weighted(
    family: str | BaseEstimator,
    Z: NDArray[Any],
    labels: NDArray[Any],
    kind: Kind,
    weights: NDArray[Any],
    **options: Any,
) -> Any:
    """Return a predictor fitted and tuned with sample weights."""
    from sklearn import config_context
    from sklearn.exceptions import ConvergenceWarning

    if kind == "classification":
        weights = _balanced(labels, weights)
    with warnings.catch_warnings(), config_context(enable_metadata_routing=True):
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="The least populated class")
        predictor = build_predictor(family, kind, weighted=True, **options)
        return predictor.fit(Z, labels, sample_weight=weights / weights.mean())


def linear_advantage(
    Z: NDArray[Any], labels: NDArray[Any], column: Column, *, sample_weight: NDArray[Any] | None = None
) -> float:
    """Return the advantage of a linear predictor over a guess, by three-fold cross-validation.

    Args:
        Z: filtered features ``(N, k)``.
        labels: ``(N,)``.
        column: the label's encoding, from the fit of the filter.
        sample_weight: weights of the samples ``(N,)``, > 0, within each class; by default equal ones.

    Raises:
        ArgumentError: every label is the same.

    Examples:
        >>> labels = np.array([0, 1] * 9)
        >>> linear_advantage(np.array([[0.0], [1.0]] * 9), labels, Column.of("y", labels))
        1.0
    """
    from sklearn import config_context
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = column.kind == "classification"
    values = np.unique(labels)
    if len(values) < 2:
        raise refuse(column.name, f"every label is {values.tolist()[0]!r}", "score on samples of at least two values")
    splits = (StratifiedKFold if classes else KFold)(3, shuffle=True, random_state=0)
    weighted = sample_weight is not None
    balance = None if weighted else "balanced"  # weights balance the classes themselves
    steps = [StandardScaler(), LogisticRegression(max_iter=2000, class_weight=balance) if classes else Ridge()]
    params: dict[str, Any] = {}
    with warnings.catch_warnings(), config_context(enable_metadata_routing=weighted):
        warnings.filterwarnings("ignore", message="The least populated class")
        if sample_weight is not None:
            weights = _balanced(labels, sample_weight) if classes else sample_weight
            steps, params = [_requesting(step) for step in steps], {"sample_weight": weights / weights.mean()}
        scoring = _scorer(column.kind, weighted)
        scores = cross_val_score(make_pipeline(*steps), Z, labels, cv=splits, scoring=scoring, params=params)
    return advantage(float(scores.mean()), 1 / len(values) if classes else 0.0)


def advantage(value: float, chance: float) -> float:
    """Return ``(value - chance) / (1 - chance)``, which makes scores on different labels comparable.

    >>> advantage(0.75, 0.5)
    0.5
    """
    return (value - chance) / (1 - chance)
