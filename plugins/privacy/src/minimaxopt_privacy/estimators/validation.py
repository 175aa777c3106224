"""Features and labels as scikit-learn's estimators are given them, checked by its own means."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import validate_data

from minimaxopt_privacy.checks import refuse
from minimaxopt_privacy.game.labels import columns_of


def features_of(estimator: Any, X: Any) -> NDArray[Any]:  # noqa: N803 - as scikit-learn calls it
    """Return X as floats, after scikit-learn's checks against what ``estimator`` was fitted on.

    Raises:
        ValueError: X cannot be used.
    """
    found: Any = validate_data(estimator, X, dtype=[np.float64, np.float32], reset=False)
    return found


def checked(estimator: Any, X: Any, y: Any, private: Any) -> tuple[NDArray[Any], Any, Any]:  # noqa: N803
    """Return X as float64 and the columns of both labels, after scikit-learn's checks of X and y for ``estimator``.

    Raises:
        ValueError: X or labels cannot be used.
        TypeError: ``private`` is missing.
    """
    several = np.asarray(y).ndim == 2
    found: Any = validate_data(estimator, X, y, dtype=np.float64, multi_output=several, ensure_min_samples=2)
    x: NDArray[Any] = found[0]
    require_private(private, "fit")
    if not np.ptp(x, axis=0).any():
        raise refuse("X", "every feature is constant", "give features that tell the samples apart")
    return x, columns_of("y", y, len(x)), columns_of("private", private, len(x))


def require_private(private: Any, caller: str) -> None:
    """Refuse a missing private label, in words that say how to pass it on.

    Raises:
        TypeError: it is missing.

    Examples:
        >>> require_private([0, 1], "fit")
    """
    if private is None:
        raise TypeError(
            f"{caller}() needs private, the labels to hide: give {caller}(X, y, private=labels), in a Pipeline "
            "STEP__private=labels, or private=labels after sklearn.set_config(enable_metadata_routing=True)"
        )
