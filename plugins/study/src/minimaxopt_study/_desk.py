"""What a task is given and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

    from minimaxopt_study.store import Store


@dataclass(frozen=True)
class Outcome:
    """What a task found: numbers for tables and figures, and tensors for other tasks."""

    values: Mapping[str, Any]
    tensors: Mapping[str, Tensor] | None = None


@dataclass
class Desk:
    """What a task may use: earlier results, the digits, and a folder for checkpoints of its own."""

    store: Store
    open_digits: Callable[[], Any]
    scratch: Path
    checkpoint_every: int = 0
    _digits: Any = field(default=None, repr=False)

    @property
    def digits(self) -> Any:
        """The digits, read once a process and only when asked for."""
        if self._digits is None:
            self._digits = self.open_digits()
        return self._digits
