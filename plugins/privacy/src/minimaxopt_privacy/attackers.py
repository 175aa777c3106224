"""Fresh readers of several families, scikit-learn's, tuned by cross-validation on the data that they are trained on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minimaxopt_privacy._check import check_choice, check_count, refuse
from minimaxopt_privacy.tasks import Kind

FAMILIES = ("logistic", "rbf-svm", "random-forest", "mlp")
"""The families of readers, those of numbers being ridge regression, RBF-SVR, random forest and MLP."""


def reader(family: str, kind: Kind = "classification", *, random_state: int = 0, folds: int = 3) -> Any:
    """Return an unfitted reader of a family: features are standardised, its settings chosen by cross-validation.

    Args:
        family: one of ``FAMILIES``.
        kind: ``"classification"`` or ``"regression"``.
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
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC, SVR

    classes = kind == "classification"
    forest = RandomForestClassifier if classes else RandomForestRegressor
    network = MLPClassifier if classes else MLPRegressor
    builds: dict[str, tuple[Callable[[], Any], dict[str, Sequence[Any]]]] = {
        "logistic": (lambda: LogisticRegression(max_iter=2000), {"C": [0.01, 0.1, 1.0, 10.0, 100.0]})
        if classes
        else (lambda: Ridge(), {"alpha": [0.01, 1.0, 100.0]}),
        "rbf-svm": (lambda: SVC() if classes else SVR(), {"C": [0.1, 1.0, 10.0, 100.0], "gamma": ["scale", 0.01, 1.0]}),
        "random-forest": (
            lambda: forest(n_estimators=100, random_state=random_state),
            {"min_samples_leaf": [1, 5, 20]},
        ),
        "mlp": (
            lambda: network(hidden_layer_sizes=(64,), max_iter=200, random_state=random_state),
            {"alpha": [1e-3, 1.0]},
        ),
    }
    build, grid = builds[check_choice("family", family, FAMILIES)]
    splits = (StratifiedKFold if classes else KFold)(
        check_count("folds", folds, least=2), shuffle=True, random_state=random_state
    )
    pipeline = Pipeline([("scale", StandardScaler()), ("read", build())])
    return GridSearchCV(pipeline, {f"read__{name}": values for name, values in grid.items()}, cv=splits)


def fit_reader(family: str, Z: NDArray[Any], labels: NDArray[Any], kind: Kind, **options: Any) -> Any:  # noqa: N803
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
    from sklearn.exceptions import ConvergenceWarning

    values, counts = np.unique(labels, return_counts=True)
    if len(values) < 2:
        raise refuse("labels", f"every label is {values.tolist()[0]!r}", "give labels of at least two values")
    found = reader(family, kind, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a network that has not converged is judged as it is
        if kind == "classification" and counts.min() < found.cv.n_splits:
            warnings.filterwarnings("ignore", message="The least populated class")
        return found.fit(Z, labels)


def quick_reading(Z: NDArray[Any], labels: NDArray[Any], kind: Kind) -> float:  # noqa: N803
    """Return the cross-validated score of a linear reader, trained on two thirds of ``Z`` and tested on the third.

    Examples:
        >>> quick_reading(np.array([[0.0], [1.0]] * 9), np.array([0, 1] * 9), "classification")
        1.0
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = kind == "classification"
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000) if classes else Ridge())
    splits = (StratifiedKFold if classes else KFold)(3, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        return float(cross_val_score(linear, Z, labels, cv=splits).mean())
