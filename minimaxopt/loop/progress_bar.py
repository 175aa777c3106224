"""The progress bar: step, risk, rates, time left. Quiet where the output is not a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@final
class Bar:
    """A progress bar of one solve, drawn by rich."""

    def __init__(self, title: str, steps: int, *, done: int = 0, shown: bool | None) -> None:
        self._title, self._steps, self._done = title, steps, done
        self._shown = sys.stderr.isatty() if shown is None else shown
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Bar:
        if self._shown:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[risk]}"),
                TextColumn("{task.fields[rates]}"),
                TextColumn("{task.fields[speed]}"),
                TimeRemainingColumn(),
            )
            self._progress = Progress(*columns, console=Console(stderr=True))
            self._progress.start()
            self._task = self._progress.add_task(
                self._title, total=self._steps, completed=self._done, risk="", rates="", speed=""
            )
        return self

    def update(self, step: int, risk: float, rates: Mapping[str, float]) -> None:
        """Show where the solve is."""
        if self._progress is None or self._task is None:
            return
        speed = self._progress.tasks[0].speed
        self._progress.update(
            self._task,
            completed=step,
            risk=f"risk {risk:.4g}",
            rates=" ".join(f"lr {p} {rate:.2g}" for p, rate in rates.items()),
            speed=f"{speed:.0f} steps/s" if speed else "",
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
