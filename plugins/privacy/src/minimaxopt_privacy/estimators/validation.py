"""Validation of features and labels, by scikit-learn's own means where it has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import validate_data

from minimaxopt_privacy.checks import refuse
from minimaxopt_privacy.game.labels import check_present, label_columns


def validate_features(estimator: Any, X: Any) -> NDArray[Any]:
    """Return X as floats, checked against the features that ``estimator`` was fitted on.

    Raises:
        ValueError: X cannot be used.
    """
    x: Any = validate_data(estimator, X, dtype=[np.float64, np.float32], reset=False)
    return x


def validate_inputs(estimator: Any, X: Any, y: Any, private: Any) -> tuple[NDArray[Any], Any, Any]:
    """Return X as float64 and the columns of both labels, checked for fitting ``estimator``.

    Raises:
        ValueError: X or labels cannot be used.
        TypeError: ``private`` is missing.
    """
    useful = np.asarray(y)
    if y is not None and useful.dtype == object:  # of which scikit-learn's checks compare the values
        check_present("y", useful.ravel().tolist())
    labels: Any = y
    validated: Any = validate_data(
        estimator, X, labels, dtype=np.float64, multi_output=useful.ndim == 2, ensure_min_samples=2
    )
    x: NDArray[Any] = validated[0]
    require_private(private, "fit")
    if not np.ptp(x, axis=0).any():
        raise refuse("X", "every feature is constant", "give features that tell the samples apart")
    return x, label_columns("y", y, len(x)), label_columns("private", private, len(x))


def require_private(private: Any, caller: str) -> None:
    """Refuse a missing private label, with the ways to pass it.

    Args:
        private: the labels.
        caller: name of the method, for the error.

    Raises:
        TypeError: ``private`` is ``None``.

    Examples:
        >>> require_private([0, 1], "fit")
    """
    if private is None:
        raise TypeError(
            f"{caller}() needs private, the labels to hide: give {caller}(X, y, private=labels), in a Pipeline "
            "STEP__private=labels, or private=labels after sklearn.set_config(enable_metadata_routing=True)"
        )
