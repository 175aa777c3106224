"""Labels as columns of classes or numbers: checked, and encoded for the game."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minimaxopt_privacy.checks import check_choice, refuse
from minimaxopt_privacy.game.prediction_heads import Kind, Task

Target: TypeAlias = Literal["auto", "classification", "regression"]
"""Kind of prediction of a label; ``"auto"`` is regression for numbers with fractions, else classification.

Of more than ``MANY_CLASSES`` whole numbers ``"auto"`` warns.
"""

MANY_CLASSES = 20
"""Number of different whole numbers above which they are more likely numbers than classes."""


@final
@dataclass(frozen=True, eq=False)
class Column:
    """Name and encoding of one label, learned from training values.

    Attributes:
        name: of the label, for errors and tables.
        kind: ``"classification"`` or ``"regression"``.
        classes: sorted values of a class label ``(K,)``; empty for regression.
        mean: of a numeric label.
        scale: standard deviation of a numeric label.

    Examples:
        >>> column = Column.of("y", np.array(["b", "a", "b"]))
        >>> column.encode(np.array(["a", "b"])).tolist(), column.classes.tolist()
        ([0, 1], ['a', 'b'])
    """

    name: str
    kind: Kind
    classes: NDArray[Any]
    mean: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(cls, name: str, values: NDArray[Any], target: Target = "auto") -> Column:
        """Return the encoding of training values ``(N,)``.

        Raises:
            ArgumentError: the label is constant, is not numeric in a regression, or has a class for each sample.
        """
        from sklearn.utils.multiclass import type_of_target

        argument = "utility_target" if name.startswith("y") else "private_target"
        check_choice(argument, target, ["auto", "classification", "regression"])
        kind: Kind = "classification"
        if target == "regression" or (target == "auto" and type_of_target(values).startswith("continuous")):
            kind = "regression"
        classes = np.unique(values)
        if len(classes) < 2:
            raise refuse(name, f"every label is {classes.tolist()[0]!r}", "give labels of at least two values")
        if kind == "classification":
            if 2 < len(classes) == len(values):
                raise refuse(
                    name,
                    "each sample has a class of its own",
                    "give classes that samples share, or read it as regression",
                )
            if target == "auto" and len(classes) > MANY_CLASSES and classes.dtype.kind in "iuf":
                warnings.warn(
                    f"{name}: {len(classes)} different whole numbers are read as classes; give {argument}='regression' "
                    "for numbers such as ages, or 'classification' for classes",
                    UserWarning,
                    stacklevel=3,
                )
            return cls(name, kind, classes)
        try:
            numbers = values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise refuse(name, f"numbers are to be inferred, and {error}", "read it as classification") from error
        return cls(name, kind, np.empty(0), float(numbers.mean()), float(numbers.std()))

    @property
    def task(self) -> Task:
        """The prediction task of the label."""
        return Task(len(self.classes) if self.kind == "classification" else 1, self.kind, name=self.name)

    @property
    def chance(self) -> float:
        """Score of a predictor that sees nothing: one over the number of classes; 0 for regression."""
        return 1 / len(self.classes) if self.kind == "classification" else 0.0

    def encode(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return class numbers, or standardised numbers.

        Raises:
            ArgumentError: a class does not occur in the training data.
        """
        if self.kind == "regression":
            return (values.astype(np.float64) - self.mean) / self.scale
        if unknown := sorted(set(np.unique(values).tolist()) - set(self.classes.tolist()), key=str):
            raise refuse(self.name, f"has the unseen label {unknown[0]!r}", "give labels that the filter was fitted on")
        return np.searchsorted(self.classes, values)

    def tensor(self, values: NDArray[Any], dtype: torch.dtype) -> Tensor:
        """Return the encoded values as a tensor: integers for classes, ``dtype`` for numbers."""
        return torch.tensor(self.encode(values), dtype=torch.long if self.kind == "classification" else dtype)


def label_columns(name: str, labels: Any, samples: int) -> list[NDArray[Any]]:
    """Return the columns ``(N,)`` of labels ``(N,)`` or ``(N, k)``, checked.

    Args:
        name: of the argument, for errors.
        labels: an array or a table, in which columns of strings and numbers may stand side by side.
        samples: the expected ``N``.

    Raises:
        ArgumentError: there are not as many labels as samples, a label is missing, or there are more dimensions.

    Examples:
        >>> [column.tolist() for column in label_columns("private", [["a", 0.5], ["b", 1.5]], 2)]
        [['a', 'b'], [0.5, 1.5]]
    """
    if hasattr(labels, "iloc") and getattr(labels, "ndim", 1) == 2:
        columns = [np.asarray(labels.iloc[:, k]) for k in range(labels.shape[1])]
    else:
        array = np.asarray(labels)
        if array.dtype.kind in "OUS" and not isinstance(labels, np.ndarray):
            array = np.asarray(labels, dtype=object)  # NumPy would turn numbers beside strings into strings
        if array.ndim not in (1, 2):
            raise refuse(name, f"has shape {array.shape}", "give labels (N,), or (N, k) for several attributes")
        columns = [array] if array.ndim == 1 else list(array.T)
    if not columns:
        raise refuse(name, "has no column", "give at least one label a sample")
    return [_checked(name, column, samples) for column in columns]


def _checked(name: str, column: NDArray[Any], samples: int) -> NDArray[Any]:
    if len(column) != samples:
        raise refuse(name, f"has {len(column)} labels for {samples} samples", "give one label a sample")
    values = column.tolist()
    check_present(name, values)
    if column.dtype == object:
        if len({isinstance(value, str) for value in values}) > 1:
            raise refuse(name, "has texts and numbers in one label", "give texts only, or numbers only")
        column = np.asarray(values)  # numbers get a numeric type, by which fractions are recognised
    if column.dtype.kind == "f" and np.isinf(column).any():
        raise refuse(name, "has infinite labels", "leave these samples out")
    return column


def check_present(name: str, values: Sequence[Any]) -> None:
    """Refuse missing labels.

    Raises:
        ArgumentError: one is ``None``, NaN or pandas' NA.

    >>> check_present("y", ["a", None])
    Traceback (most recent call last):
    minimaxopt.errors.ArgumentError: y: has missing labels (NaN, None or NA); leave these samples out
    """
    if any(map(_is_missing, values)):
        raise refuse(name, "has missing labels (NaN, None or NA)", "leave these samples out")


def _is_missing(value: Any) -> bool:
    """Return whether a label is none: ``None``, or not equal to itself, as NaN; pandas' NA answers neither yes nor no.

    >>> [_is_missing(value) for value in (None, float("nan"), 0, "")]
    [True, True, False, False]
    """
    equal = value == value
    return value is None or not (isinstance(equal, bool | np.bool_) and equal)


def fit_columns(name: str, labels: Sequence[NDArray[Any]], target: Target) -> list[Column]:
    """Return the encoding of every column of training labels.

    Examples:
        >>> [column.name for column in fit_columns("private", [np.array([0, 1]), np.array([1, 0])], "auto")]
        ['private[0]', 'private[1]']
    """
    names = column_names(name, len(labels))
    return [Column.of(label, values, target) for label, values in zip(names, labels, strict=True)]


def column_names(name: str, count: int) -> list[str]:
    """Return ``[name]``, or ``name[0]``, ``name[1]``, ... where there are several columns."""
    return [name] if count == 1 else [f"{name}[{k}]" for k in range(count)]


def encode_columns(columns: Sequence[Column], labels: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return the columns as class numbers or standardised numbers."""
    return [column.encode(values) for column, values in zip(columns, labels, strict=True)]


def check_distinct(useful: Sequence[NDArray[Any]], private: Sequence[NDArray[Any]]) -> None:
    """Refuse a private label that equals a useful one up to the names of its values.

    Raises:
        ArgumentError: a useful and a private label determine each other, value for value.

    Examples:
        >>> check_distinct([np.array([0, 1, 0])], [np.array(["a", "b", "a"])])
        Traceback (most recent call last):
        minimaxopt.errors.ArgumentError: private: is the same label as y; hide another label than the one to be kept
    """
    for kept in useful:
        for hidden in private:
            useful_codes, private_codes = (np.unique(column, return_inverse=True)[1] for column in (kept, hidden))
            pairs = len(set(zip(useful_codes.tolist(), private_codes.tolist(), strict=True)))
            # A column of distinct values, such as numbers, determines every other: there only equality counts.
            if pairs == useful_codes.max() + 1 == private_codes.max() + 1 and (
                pairs < len(kept) or np.array_equal(kept, hidden)
            ):
                raise refuse("private", "is the same label as y", "hide another label than the one to be kept")
