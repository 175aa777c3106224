"""Labels as they are given and as the games read them: columns of classes or numbers, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minimaxopt_privacy._check import check_choice, refuse
from minimaxopt_privacy.tasks import Kind, Task

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
            ArgumentError: the label is constant, or numbers are wanted of what is none.
        """
        from sklearn.utils.multiclass import type_of_target

        check_choice("target", target, ["auto", "classification", "regression"])
        kind: Kind = "classification"
        if target == "regression" or (target == "auto" and type_of_target(values).startswith("continuous")):
            kind = "regression"
        classes = np.unique(values)
        if len(classes) < 2:
            raise refuse(name, f"every label is {classes.tolist()[0]!r}", "give labels of at least two values")
        if kind == "classification":
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
        >>> [column.tolist() for column in columns_of("private", [[1, 0], [0, 1]], 2)]
        [[1, 0], [0, 1]]
    """
    if hasattr(labels, "iloc") and getattr(labels, "ndim", 1) == 2:
        given = [np.asarray(labels.iloc[:, k]) for k in range(labels.shape[1])]
    else:
        array = np.asarray(labels)
        if array.ndim not in (1, 2):
            raise refuse(name, f"has shape {array.shape}", "give labels (N,), or (N, k) for several attributes")
        given = [array] if array.ndim == 1 else list(array.T)
    if not given:
        raise refuse(name, "has no column", "give at least one label a sample")
    for column in given:
        if len(column) != samples:
            raise refuse(name, f"has {len(column)} labels for {samples} samples", "give one label a sample")
        if any(value is None or value != value for value in column.tolist()):
            raise refuse(name, "has missing labels (NaN or None)", "leave these samples out")
    return given


def learn(name: str, labels: Sequence[NDArray[Any]], target: Target) -> list[Column]:
    """Learn every column; the names are ``name``, or ``name[k]`` where there are several.

    Examples:
        >>> [column.name for column in learn("private", [np.array([0, 1]), np.array([1, 0])], "auto")]
        ['private[0]', 'private[1]']
    """
    names = [name] if len(labels) == 1 else [f"{name}[{k}]" for k in range(len(labels))]
    return [Column.of(label, values, target) for label, values in zip(names, labels, strict=True)]


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
