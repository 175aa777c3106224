"""The input and output of a task's function."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

    from minimaxopt.plugins import ResultStore


@dataclass(frozen=True)
class Outcome:
    """The result of a task: numbers for tables and figures, and tensors for other tasks."""

    values: Mapping[str, Any]
    tensors: Mapping[str, Tensor] | None = None


@dataclass
class Workspace:
    """Inputs of a task: earlier results, the images, a folder for its checkpoints, and a device."""

    store: ResultStore
    open_images: Callable[[], Any]
    scratch: Path
    checkpoint_every: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def images(self) -> Any:
        """The images, read on first use; ``open_images`` is cached once a process."""
        return self.open_images()
