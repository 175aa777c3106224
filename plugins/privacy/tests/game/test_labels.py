"""Labels: those that are missing are named as such, and numbers that look like classes are warned of."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from minimaxopt.errors import ArgumentError
from minimaxopt_privacy import PrivateLDA, evaluate_filter
from minimaxopt_privacy.game.labels import MANY_CLASSES, Column, label_columns

VALUES = {
    "string": ["a", "b"], "object": ["a", "b"], "category": ["a", "b"], "boolean": [True, False], "Int64": [0, 1],
    "Float64": [0.5, 1.5],
}  # fmt: skip


def series(dtype, *, missing=False):
    values = pd.Series(VALUES[dtype] * 200, dtype=dtype)
    if missing:
        values[7] = pd.NA
    return values


@pytest.mark.parametrize("dtype", VALUES)
def test_a_missing_label_is_named_as_such(train, test, dtype):
    labels, some = series(dtype), series(dtype, missing=True)
    filter_ = PrivateLDA(1).fit(train.X, train.y, private=labels)
    for fit in (
        lambda: PrivateLDA(1).fit(train.X, train.y, private=some),
        lambda: filter_.score(train.X, train.y, private=some),
        lambda: evaluate_filter(None, train.X, train.y, some, *test, families=["logistic"]),
        lambda: evaluate_filter(None, *train, test.X, test.y, some, families=["logistic"]),
        lambda: PrivateLDA(1).fit(train.X, pd.DataFrame({"a": labels, "b": some}), private=train.private),
    ):
        with pytest.raises(ArgumentError, match=r"has missing labels \(NaN, None or NA\)"):
            fit()
    with pytest.raises(ValueError, match="missing labels|contains NaN"):  # scikit-learn's words for a column of numbers
        PrivateLDA(1).fit(train.X, some, private=train.private)


@pytest.mark.parametrize("value", [None, np.nan, pd.NA, pd.NaT, np.float64("nan"), np.datetime64("NaT")])
def test_whatever_is_missing_is_refused(value):
    with pytest.raises(ArgumentError, match="private: has missing labels"):
        label_columns("private", np.array(["a", value, "b"], dtype=object), 3)
    assert len(label_columns("private", np.array(["a", "", "b"], dtype=object), 3)) == 1


@pytest.mark.parametrize("count", [MANY_CLASSES, MANY_CLASSES + 1])
@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.uint8])
def test_many_whole_numbers_are_warned_of(recwarn, count, dtype):
    ages = np.arange(200).astype(dtype) % count
    assert Column.of("private", ages).kind == "classification"
    warned = [str(warning.message) for warning in recwarn]
    assert len(warned) == (count > MANY_CLASSES)
    assert all("21 different whole numbers are read as classes; give private_target='regression'" in w for w in warned)


def test_nobody_is_warned_who_says_what_the_numbers_are(recwarn):
    ages = np.arange(200) % 50
    assert Column.of("y", ages, "classification").kind == "classification"
    assert Column.of("y", ages, "regression").kind == "regression"
    assert Column.of("y", ages.astype(str)).kind == "classification"  # names, however many
    assert not list(recwarn)
