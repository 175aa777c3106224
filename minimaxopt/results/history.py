"""The numbers that a solve records, step by step."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd


SKIPPED = "skipped"
"""The column that has a 1 at each step that was left out, since a value ceased to be finite."""


@final
class History:
    """Columns of numbers over the steps. A column may have a value at each step, or at some.

    Examples:
        >>> history = History()
        >>> history.extend("risk", [0, 1, 2], [3.0, 2.0, 1.5])
        >>> history["risk"], history.steps("risk")
        (array([3. , 2. , 1.5]), array([0, 1, 2]))
    """

    def __init__(self, columns: Mapping[str, tuple[Any, Any]] | None = None) -> None:
        self._columns: dict[str, tuple[list[int], list[float]]] = {
            name: (_listed(steps), _listed(values)) for name, (steps, values) in (columns or {}).items()
        }

    @property
    def names(self) -> list[str]:
        """The columns."""
        return list(self._columns)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        return np.asarray(self._column(name)[1], dtype=np.float64)

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def steps(self, name: str) -> NDArray[np.int64]:
        """Return the steps at which the column has values."""
        return np.asarray(self._column(name)[0], dtype=np.int64)

    def last(self, name: str) -> float:
        """Return the column's latest value."""
        return self._column(name)[1][-1]

    def last_step(self, name: str) -> int:
        """Return the step of the column's latest value."""
        return self._column(name)[0][-1]

    def between(self, name: str, first: int, end: int) -> list[float]:
        """Return the column's values at the steps from ``first`` to before ``end``; none if there is no such column."""
        steps, values = self._columns.get(name, ([], []))
        return values[bisect.bisect_left(steps, first) : bisect.bisect_left(steps, end)]

    def record(self, name: str, step: int, value: float) -> None:
        """Append a value to a column, or replace the one that the step has there already."""
        steps, values = self._columns.setdefault(name, ([], []))
        step, value = int(step), float(value)  # NumPy's numbers and 0-d tensors would be saved as what they are
        if steps and steps[-1] == step:
            values[-1] = value
        else:
            steps.append(step)
            values.append(value)

    def extend(self, name: str, steps: list[int], values: list[float]) -> None:
        """Append values to a column."""
        column = self._columns.setdefault(name, ([], []))
        column[0].extend(steps)
        column[1].extend(values)

    def rows(self, since: int = 0) -> list[tuple[int, dict[str, float]]]:
        """Return ``(step, values by column)`` for the steps from ``since`` on."""
        found: dict[int, dict[str, float]] = {}
        for name, (steps, values) in self._columns.items():
            first = bisect.bisect_left(steps, since)
            for step, value in zip(steps[first:], values[first:], strict=True):
                found.setdefault(step, {})[name] = value
        return sorted(found.items())

    def until(self, step: int) -> History:
        """Return the history of the first ``step`` steps.

        Values that callbacks record after step ``k`` carry the number ``k``.
        """
        kept: dict[str, tuple[list[int], list[float]]] = {}
        for name, (steps, values) in self._columns.items():
            end = bisect.bisect_left(steps, step)
            if end:
                kept[name] = (steps[:end], values[:end])
        return History(kept)

    def to_dict(self) -> dict[str, tuple[list[int], list[float]]]:
        """Return the columns as plain lists."""
        return {name: (list(steps), list(values)) for name, (steps, values) in self._columns.items()}

    def to_tensors(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Return the columns as tensors, the form that is quick to store."""
        return {
            name: (torch.tensor(steps, dtype=torch.int64), torch.tensor(values, dtype=torch.float64))
            for name, (steps, values) in self._columns.items()
        }

    def to_pandas(self) -> pd.DataFrame:
        """Return a data frame with one row a step and NaN where a column has no value.

        Raises:
            ImportError: if pandas is not installed.
        """
        import pandas as pd

        series = {
            name: pd.Series(values, index=steps, dtype="float64") for name, (steps, values) in self._columns.items()
        }
        return pd.DataFrame(series).rename_axis("step")

    def _column(self, name: str) -> tuple[list[int], list[float]]:
        try:
            return self._columns[name]
        except KeyError:
            raise KeyError(
                f"history: there is no column {name!r}; it has {', '.join(self._columns) or 'none'}"
            ) from None


def _listed(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, torch.Tensor) else list(values)
