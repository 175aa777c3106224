"""Argument checks shared by the filters; every error names the argument, the reason and the remedy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minimaxopt.errors import ArgumentError


def refuse(argument: str, reason: str, remedy: str) -> ArgumentError:
    """Return the error for an argument that cannot be used, a ``ValueError`` as in scikit-learn.

    >>> print(refuse("rho", "it is -1", "give a number >= 0"))
    rho: it is -1; give a number >= 0
    """
    return ArgumentError(f"{argument}: {reason}; {remedy}")


def check_count(name: str, value: Any, *, least: int = 1) -> int:
    """Return ``value``, which must be an integer of at least ``least``.

    >>> check_count("n_components", 0)
    Traceback (most recent call last):
    minimaxopt.errors.ArgumentError: n_components: it is 0; give an integer >= 1
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < least:
        raise refuse(name, f"it is {value!r}", f"give an integer >= {least}")
    return int(value)


def check_number(name: str, value: Any, *, positive: bool = False) -> float:
    """Return ``value``, which must be a finite number >= 0 (> 0 if ``positive``).

    >>> check_number("rho", 2)
    2.0
    """
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    valid = number and math.isfinite(float(value)) and float(value) >= 0
    if not valid or (positive and not float(value)):
        raise refuse(name, f"it is {value!r}", f"give a finite number {'> 0' if positive else '>= 0'}")
    return float(value)


def check_choice(name: str, value: Any, known: Any) -> Any:
    """Return ``value``, which must be among the names in ``known``.

    >>> check_choice("order", "maxmin", ["minimax", "maximin"])
    Traceback (most recent call last):
    minimaxopt.errors.ArgumentError: order: it is 'maxmin'; give one of minimax, maximin
    """
    if not isinstance(value, str) or value not in known:
        raise refuse(name, f"it is {value!r}", f"give one of {', '.join(known)}")
    return value


def check_weights(name: str, weights: Any, samples: int) -> NDArray[Any] | None:
    """Return sample weights as floats ``(N,)``, or ``None`` where they are missing or all equal.

    >>> check_weights("sample_weight", [1, 1], 2) is None
    True
    >>> check_weights("sample_weight", [1, -1], 2)
    Traceback (most recent call last):
    minimaxopt.errors.ArgumentError: sample_weight: -1.0 is among the weights; give finite numbers >= 0
    """
    if weights is None:
        return None
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (samples,):
        raise refuse(name, f"has shape {values.shape} for {samples} samples", "give one number a sample")
    if (wrong := values[~(np.isfinite(values) & (values >= 0))]).size:
        raise refuse(name, f"{wrong[0]} is among the weights", "give finite numbers >= 0")
    if not values.any():
        raise refuse(name, "every weight is 0", "give some samples a weight")
    return None if np.ptp(values) == 0 else values


def check_directions(components: int, directions: int) -> None:
    """Refuse an output dimension above the number of directions in which the training samples vary.

    >>> check_directions(3, 2)
    Traceback (most recent call last):
    minimaxopt.errors.ArgumentError: n_components: it is 3, and the samples vary in 2 directions; publish at most 2
    """
    if components > directions:
        raise refuse(
            "n_components", f"it is {components}, and the samples vary in {directions} directions",
            f"publish at most {directions}",
        )  # fmt: skip


def check_components(components: Any, features: int) -> int:
    """Return the output dimension, which must be between 1 and ``features``.

    >>> check_components(5, 3)
    Traceback (most recent call last):
    minimaxopt.errors.ArgumentError: n_components: it is 5, of n_features=3; publish between 1 and 3 features
    """
    if check_count("n_components", components) > features:
        raise refuse(
            "n_components",
            f"it is {components}, of n_features={features}",
            f"publish between 1 and {features} features",
        )
    return int(components)
