"""Checks of scalar arguments that plugins share; a failure names the argument, the reason and the remedy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeVar

import numpy as np

from minimaxopt.errors import ArgumentError, unknown_name

T = TypeVar("T")


def argument_error(argument: str, reason: str, remedy: str) -> ArgumentError:
    """Build the error for an argument that cannot be used.

    Args:
        argument: name of the argument.
        reason: why its value cannot be used.
        remedy: what to pass instead.

    Examples:
        >>> print(argument_error("eta", "it is -1", "give a number >= 0"))
        eta: it is -1; give a number >= 0
    """
    return ArgumentError(f"{argument}: {reason}; {remedy}")


def check_count(argument: str, value: object, *, least: int = 1) -> int:
    """Return ``value`` as an ``int`` if it is an integer, Python's or NumPy's, of at least ``least``.

    Raises:
        ArgumentError: it is smaller or not an integer (a bool is none).

    Examples:
        >>> check_count("steps", 0)
        Traceback (most recent call last):
        minimaxopt.errors.ArgumentError: steps: it is 0; give an integer >= 1
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise argument_error(argument, f"it is {value!r}", f"give an integer >= {least}")
    return int(value)


def check_number(argument: str, value: object, *, positive: bool = False) -> float:
    """Return ``value`` as a ``float`` if it is a finite number >= 0, or > 0 where it must be positive.

    Raises:
        ArgumentError: it is negative, not finite or not a number (a bool is none), or zero where it must be positive.

    Examples:
        >>> check_number("eta", 0.2)
        0.2
        >>> check_number("eta", -0.2)
        Traceback (most recent call last):
        minimaxopt.errors.ArgumentError: eta: it is -0.2; give a finite number >= 0
    """
    number = finite_number(value)
    if number is None or number < 0 or (positive and number == 0):
        raise argument_error(argument, f"it is {value!r}", f"give a finite number {'> 0' if positive else '>= 0'}")
    return number


def check_choice(argument: str, value: T, choices: Iterable[T]) -> T:
    """Return ``value`` if it is one of ``choices``.

    Raises:
        UnknownNameError: it is not.

    Examples:
        >>> check_choice("norm", "l1", ["linf", "l2"])
        Traceback (most recent call last):
        minimaxopt.errors.UnknownNameError: norm: there is no 'l1'; Known: l2, linf
    """
    known = list(choices)
    if value not in known:
        raise unknown_name(argument, value, map(str, known))
    return value


def finite_number(value: object) -> float | None:
    """Return ``value`` as a ``float`` if it is a finite real number (a bool is none), and None otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    number = float(value)
    return number if math.isfinite(number) else None
