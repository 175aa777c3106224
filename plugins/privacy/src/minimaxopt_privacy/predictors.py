"""Fresh readers of several families, scikit-learn's, tuned by cross-validation on the data that they are trained on."""

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
"""The families of readers, those of numbers being ridge regression, RBF-SVR, random forest and MLP."""

# Where the settings of a family's estimator lie within its reader.
_PREFIXES: dict[Kind, str] = {"classification": "read__", "regression": "read__regressor__"}


def share_right(reader: Any, Z: NDArray[Any], labels: NDArray[Any]) -> float:  # noqa: N803
    """Return the balanced accuracy of a fitted reader: the share that it reads right, every class counting alike.

    Of classes of one size this is the share of right answers, to the last digit.

    Examples:
        >>> class Always:
        ...     def predict(self, Z):
        ...         return np.zeros(len(Z))
        >>> share_right(Always(), np.zeros((4, 1)), np.array([0, 0, 0, 1]))
        0.5
    """
    return balanced_accuracy(labels, reader.predict(Z))


def balanced_accuracy(labels: NDArray[Any], told: NDArray[Any]) -> float:
    """Return the mean over the classes of ``labels`` of the share that ``told`` has right.

    >>> balanced_accuracy(np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 1, 1]))
    0.875
    """
    return float(np.average(np.asarray(told) == labels, weights=_weights(labels)))


def _weights(labels: NDArray[Any]) -> NDArray[Any]:
    """Return for each sample a weight that makes classes equal: exactly 1 where they are."""
    _, which, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return (counts.min() / counts)[which]


def reader(
    family: str | BaseEstimator,
    kind: Kind = "classification",
    *,
    balance: bool = False,
    random_state: int = 0,
    folds: int = 3,
) -> Any:
    """Return an unfitted reader of a family: features are standardised, its settings chosen by cross-validation.

    Settings are chosen by balanced accuracy; numbers are standardised, whatever their unit.

    Args:
        family: one of ``FAMILIES``; or an estimator of scikit-learn's kind, which is taken as it is.
        kind: ``"classification"`` or ``"regression"``.
        balance: whether classes of unequal size are to weigh alike.
        random_state: of forests and networks.
        folds: of the cross-validation, >= 2.

    Raises:
        ArgumentError: there is no such family, or there are fewer than two folds.

    Examples:
        >>> X = np.array([[0.0], [0.1], [0.9], [1.0]] * 5)
        >>> reader("logistic").fit(X, [0, 0, 1, 1] * 5).score(X, [0, 0, 1, 1] * 5)
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
    judged: dict[str, Any] = {"cv": splits, "scoring": share_right if classes else None}
    if not isinstance(family, str):
        return GridSearchCV(clone(family), {}, **judged)
    network = MLPClassifier if classes else MLPRegressor
    # Not for equal classes, though all weights are 1: a forest draws its samples otherwise as soon as there are any.
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
    read = build() if classes else TransformedTargetRegressor(build(), transformer=StandardScaler())
    prefix = _PREFIXES[kind]
    return GridSearchCV(
        Pipeline([("scale", StandardScaler()), ("read", read)]),
        {f"{prefix}{name}": values for name, values in grid.items()},
        **judged,
    )


def settings_of(reader: Any, kind: Kind) -> dict[str, Any]:
    """Return the settings that cross-validation chose."""
    return {name.removeprefix(_PREFIXES[kind]): setting for name, setting in reader.best_params_.items()}


def fit_reader(family: str | BaseEstimator, Z: NDArray[Any], labels: NDArray[Any], kind: Kind, **options: Any) -> Any:  # noqa: N803
    """Return a fitted reader; where a class has fewer samples than there are folds, it does without those of the folds.

    Args:
        family: as :func:`reader`.
        Z: filtered training features ``(N, k)``.
        labels: ``(N,)``.
        kind: as :func:`reader`.
        options: as :func:`reader`.

    Raises:
        ArgumentError: as :func:`reader`; or every label is the same.
    """
    from sklearn import config_context
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils.validation import has_fit_parameter

    values, counts = np.unique(labels, return_counts=True)
    if len(values) < 2:
        raise refuse("labels", f"every label is {values.tolist()[0]!r}", "give labels of at least two values")
    weights = _weights(labels) if kind == "classification" else np.ones(len(labels))
    found = reader(family, kind, balance=bool(weights.min() < 1), **options)
    given: dict[str, Any] = {}
    # A network has no class weights, and weights of samples since scikit-learn 1.7.
    if (
        family == "mlp"
        and weights.min() < 1
        and has_fit_parameter(found.estimator.named_steps["read"], "sample_weight")
    ):
        given["read__sample_weight"] = weights / weights.mean()
    with warnings.catch_warnings(), config_context(enable_metadata_routing=False):
        warnings.simplefilter("ignore", ConvergenceWarning)  # a network that has not converged is judged as it is
        if kind == "classification" and counts.min() < found.cv.n_splits:
            warnings.filterwarnings("ignore", message="The least populated class")
        return found.fit(Z, labels, **given)


def quick_reading(Z: NDArray[Any], labels: NDArray[Any], column: Column) -> float:  # noqa: N803
    """Return what a linear reader gains over a guess, trained on two thirds of ``Z`` and tested on the third.

    Args:
        Z: filtered features ``(N, k)``.
        labels: ``(N,)``.
        column: what was learnt of them when the filter was fitted.

    Raises:
        ArgumentError: every label is the same.

    Examples:
        >>> labels = np.array([0, 1] * 9)
        >>> quick_reading(np.array([[0.0], [1.0]] * 9), labels, Column.of("y", labels))
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
    read = LogisticRegression(max_iter=2000, class_weight="balanced") if classes else Ridge()
    linear = make_pipeline(StandardScaler(), read)
    splits = (StratifiedKFold if classes else KFold)(3, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        scores = cross_val_score(linear, Z, labels, cv=splits, scoring=share_right if classes else None)
    return advantage(float(scores.mean()), 1 / len(values) if classes else 0.0)


def advantage(value: float, chance: float) -> float:
    """Return a score as the share that is gained over a guess of what can be gained, by which labels are compared.

    >>> advantage(0.75, 0.5)
    0.5
    """
    return (value - chance) / (1 - chance)
