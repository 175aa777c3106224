"""The display of a run: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from minimaxopt_study.formatting import clock, last_line

if TYPE_CHECKING:
    from minimaxopt_study.plan.task import Graph, Task
    from minimaxopt_study.runner.scheduler import Reporter


def reporter(console: Console) -> Reporter:
    """Return a live display if ``console`` is a terminal, else plain lines."""
    return Display(console) if console.is_terminal else Lines(console)


class _Tally:
    """Counts and an estimate of the time left, from the work done in this run."""

    def __init__(self) -> None:
        self.total = self.done = 0
        self.work_left = self.work_done = 0.0
        self.start = time.perf_counter()

    def begin(self, graph: Graph, done: set[str]) -> None:
        self.total, self.done = len(graph), len(done)
        self.work_left = sum(task.weight for task in graph if task.key not in done)
        self.start = time.perf_counter()

    def account(self, task: Task, computed: bool) -> None:
        self.done += 1
        self.work_left -= task.weight
        self.work_done += task.weight if computed else 0.0

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self.start

    @property
    def left(self) -> float | None:
        return self.elapsed * self.work_left / self.work_done if self.work_done else None


class Lines:
    """One line for each task that ends."""

    def __init__(self, console: Console) -> None:
        self.console, self.tally = console, _Tally()

    def note(self, line: str) -> None:
        """Show a line about the run."""
        self._say(line)

    def begin(self, graph: Graph, done: set[str]) -> None:
        """Begin a run of a graph, of which some tasks are done."""
        self.tally.begin(graph, done)
        self._say(f"{len(graph)} tasks, {len(done)} of them done before")

    def started(self, task: Task) -> None:
        """Print nothing: a line at the end of each task is enough."""

    def finished(self, task: Task, seconds: float) -> None:
        """Show that a task has finished."""
        self.tally.account(task, computed=True)
        steps = f"{task.steps} steps in " if task.steps else ""
        left = f", about {clock(self.tally.left)} left" if self.tally.left else ""
        self._say(f"[{self.tally.done}/{self.tally.total}] {task.title}: {steps}{clock(seconds)}{left}")

    def failed(self, task: Task, reason: str) -> None:
        """Show that a task has failed, with its traceback."""
        self.tally.account(task, computed=False)
        self._say(f"[{self.tally.done}/{self.tally.total}] FAILED {task.title}: {last_line(reason)}")

    def skipped(self, task: Task, because: Task) -> None:
        """Show that a task is skipped because of one that it needs."""
        self.tally.account(task, computed=False)
        self._say(f"[{self.tally.done}/{self.tally.total}] skipped {task.title}, which needs {because.title}")

    def end(self) -> None:
        """End the display."""
        self._say(f"ended after {clock(self.tally.elapsed)}")

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


class Display:
    """A bar over all tasks, the tasks that run now, and a line for each that ended badly."""

    def __init__(self, console: Console) -> None:
        self.console, self.tally = console, _Tally()
        self.bar = Progress(
            TextColumn("[bold]study"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"), console=console,
        )  # fmt: skip
        self.overall = self.bar.add_task("study", total=None, left="")
        self.running: dict[str, tuple[Task, float]] = {}
        self.live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def note(self, line: str) -> None:
        """Show a line about the run."""
        self.console.print(Text(line))

    def begin(self, graph: Graph, done: set[str]) -> None:
        """Begin a run of a graph, of which some tasks are done."""
        self.tally.begin(graph, done)
        self.bar.update(self.overall, total=len(graph), completed=len(done))
        self.live.start()

    def started(self, task: Task) -> None:
        """Show that a task has started."""
        self.running[task.key] = (task, time.perf_counter())

    def finished(self, task: Task, seconds: float) -> None:
        """Show that a task has finished."""
        self._ended(task, computed=True)

    def failed(self, task: Task, reason: str) -> None:
        """Show that a task has failed, with its traceback."""
        self._ended(task, computed=False)
        self.console.print(Text(f"failed: {task.title}: {last_line(reason)}", style="red"))

    def skipped(self, task: Task, because: Task) -> None:
        """Show that a task is skipped because of one that it needs."""
        self._ended(task, computed=False)
        self.console.print(Text(f"skipped: {task.title}, which needs {because.title}", style="yellow"))

    def end(self) -> None:
        """End the display."""
        self.live.stop()
        self.console.print(
            f"{self.tally.done} of {self.tally.total} tasks, {clock(self.tally.elapsed)}", highlight=False
        )

    def _ended(self, task: Task, computed: bool) -> None:
        self.running.pop(task.key, None)
        self.tally.account(task, computed)
        left = f"about {clock(self.tally.left)} left" if self.tally.left else ""
        self.bar.update(self.overall, completed=self.tally.done, left=left)

    def _render(self) -> Group:
        now = time.perf_counter()
        lines = [Text(f"  {task.title}  {clock(now - since)}", style="dim") for task, since in self.running.values()]
        return Group(self.bar, *lines)
