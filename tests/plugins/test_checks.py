"""Checks of scalar arguments: what is accepted, and the sentence where a value is not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minimaxopt.errors import ArgumentError
from minimaxopt.plugins import check_choice, check_count, check_number


@pytest.mark.parametrize(("value", "least"), [(1, 1), (0, 0), (np.int64(3), 1), (10**9, 2)])
def test_counts_are_integers(value: object, least: int) -> None:
    count = check_count("steps", value, least=least)
    assert type(count) is int
    assert count == value


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "2", None, np.float64(2)])
def test_other_counts_are_refused(value: object) -> None:
    with pytest.raises(ArgumentError, match=r"^steps: it is .*; give an integer >= 1$"):
        check_count("steps", value)


@pytest.mark.parametrize("value", [0, 0.5, 3, np.float32(0.25), np.int64(2)])
def test_numbers_are_finite_and_not_negative(value: object) -> None:
    number = check_number("eta", value)
    assert type(number) is float
    assert number == value


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, True, "0.1", None, 1j])
def test_other_numbers_are_refused(value: object) -> None:
    with pytest.raises(ArgumentError, match=r"^eta: it is .*; give a finite number >= 0$"):
        check_number("eta", value)


def test_a_positive_number_is_not_zero() -> None:
    assert check_number("scale", 0.1, positive=True) == 0.1
    with pytest.raises(ArgumentError, match=r"^scale: it is 0; give a finite number > 0$"):
        check_number("scale", 0, positive=True)


def test_a_choice_is_one_of_the_known_values() -> None:
    assert check_choice("stride", 2, (1, 2)) == 2
    with pytest.raises(ArgumentError, match=r"^init: there is no 'xavier'; Known: torch, tutorial$"):
        check_choice("init", "xavier", ("tutorial", "torch"))
