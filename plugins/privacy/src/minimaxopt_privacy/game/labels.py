"""Labels as they are given and as the games read them: columns of classes or numbers, checked."""

from __future__ import annotations

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
"""How a label is read: ``"auto"`` takes numbers with fractions as numbers, all else as classes."""


@final
@dataclass(frozen=True, eq=False)
class Column:
    """One label of the training data: what it is called, and how its values are encoded.

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
        """Learn a column from training values ``(N,)``.

        Raises:
            ArgumentError: the label is constant, numbers are wanted of what is none, or each sample has a class of its own.
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
            return cls(name, kind, classes)
        try:
            numbers = values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise refuse(name, f"numbers are to be inferred, and {error}", "read it as classification") from error
        return cls(name, kind, np.empty(0), float(numbers.mean()), float(numbers.std()))

    @property
    def task(self) -> Task:
        """The task of reading it."""
        return Task(len(self.classes) if self.kind == "classification" else 1, self.kind, name=self.name)

    @property
    def chance(self) -> float:
        """What whoever sees nothing reaches: one in as many as there are classes; 0 for numbers."""
        return 1 / len(self.classes) if self.kind == "classification" else 0.0

    def encode(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return class numbers, or standardised numbers.

        Raises:
            ArgumentError: there is a class that the training data do not have.
        """
        if self.kind == "regression":
            return (values.astype(np.float64) - self.mean) / self.scale
        if strange := sorted(set(np.unique(values).tolist()) - set(self.classes.tolist()), key=str):
            raise refuse(self.name, f"has the unseen label {strange[0]!r}", "give labels that the filter was fitted on")
        return np.searchsorted(self.classes, values)

    def tensor(self, values: NDArray[Any], dtype: torch.dtype) -> Tensor:
        """Return the encoded values as a tensor: integers of classes, ``dtype`` of numbers."""
        return torch.tensor(self.encode(values), dtype=torch.long if self.kind == "classification" else dtype)


def columns_of(name: str, labels: Any, samples: int) -> list[NDArray[Any]]:
    """Return labels ``(N,)`` or ``(N, k)``, an array or a table, as ``k`` arrays ``(N,)``, checked.

    Args:
        name: of the argument, for errors.
        labels: as given; strings may stand beside numbers in a table.
        samples: how many there have to be.

    Raises:
        ArgumentError: there are not as many labels as samples, a label is missing, or there are more dimensions.

    Examples:
        >>> [column.tolist() for column in columns_of("private", [["a", 0.5], ["b", 1.5]], 2)]
        [['a', 'b'], [0.5, 1.5]]
    """
    if hasattr(labels, "iloc") and getattr(labels, "ndim", 1) == 2:
        given = [np.asarray(labels.iloc[:, k]) for k in range(labels.shape[1])]
    else:
        array = np.asarray(labels)
        if array.dtype.kind in "OUS" and not isinstance(labels, np.ndarray):
            array = np.asarray(labels, dtype=object)  # numpy would make texts of numbers that stand beside texts
        if array.ndim not in (1, 2):
            raise refuse(name, f"has shape {array.shape}", "give labels (N,), or (N, k) for several attributes")
        given = [array] if array.ndim == 1 else list(array.T)
    if not given:
        raise refuse(name, "has no column", "give at least one label a sample")
    return [_checked(name, column, samples) for column in given]


def _checked(name: str, column: NDArray[Any], samples: int) -> NDArray[Any]:
    if len(column) != samples:
        raise refuse(name, f"has {len(column)} labels for {samples} samples", "give one label a sample")
    values = column.tolist()
    if any(value is None or value != value for value in values):
        raise refuse(name, "has missing labels (NaN or None)", "leave these samples out")
    if column.dtype == object:
        if len({isinstance(value, str) for value in values}) > 1:
            raise refuse(name, "has texts and numbers in one label", "give texts only, or numbers only")
        column = np.asarray(values)  # of numbers an array of numbers, so that fractions are seen
    if column.dtype.kind == "f" and np.isinf(column).any():
        raise refuse(name, "has infinite labels", "leave these samples out")
    return column


def learn(name: str, labels: Sequence[NDArray[Any]], target: Target) -> list[Column]:
    """Learn every column; the names are ``name``, or ``name[k]`` where there are several.

    Examples:
        >>> [column.name for column in learn("private", [np.array([0, 1]), np.array([1, 0])], "auto")]
        ['private[0]', 'private[1]']
    """
    names = [name] if len(labels) == 1 else [f"{name}[{k}]" for k in range(len(labels))]
    return [Column.of(label, values, target) for label, values in zip(names, labels, strict=True)]


def encoded(columns: Sequence[Column], labels: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return labels as linear algebra reads them: class numbers, or standardised numbers, whatever their unit was."""
    return [column.encode(values) for column, values in zip(columns, labels, strict=True)]


def refuse_same(useful: Sequence[NDArray[Any]], private: Sequence[NDArray[Any]]) -> None:
    """Refuse a private label that is a useful one under other names: keeping one is then telling the other.

    Raises:
        ArgumentError: two labels determine each other, value for value.

    Examples:
        >>> refuse_same([np.array([0, 1, 0])], [np.array(["a", "b", "a"])])
        Traceback (most recent call last):
        minimaxopt.errors.ArgumentError: private: is the same label as y; hide another label than the one to be kept
    """
    for kept in useful:
        for hidden in private:
            kept_as, hidden_as = (np.unique(column, return_inverse=True)[1] for column in (kept, hidden))
            pairs = len(set(zip(kept_as.tolist(), hidden_as.tolist(), strict=True)))
            # A column with a value of its own for each sample, such as numbers, determines anything: only equality tells.
            if pairs == kept_as.max() + 1 == hidden_as.max() + 1 and (
                pairs < len(kept) or np.array_equal(kept, hidden)
            ):
                raise refuse("private", "is the same label as y", "hide another label than the one to be kept")
