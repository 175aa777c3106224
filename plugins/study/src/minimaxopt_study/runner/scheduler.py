"""Computing a graph of tasks in worker processes that may be killed at any time.

What is stored is not computed again, so running is the same as resuming. A task that fails takes with it only those
that build on it; a worker that dies is replaced; a full disk ends the run.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from minimaxopt.errors import DiskFullError, StoreError
from minimaxopt.plugins import WorkerPool, write_json
from minimaxopt_study.plan.task import Task
from minimaxopt_study.runner.worker import prepare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minimaxopt.plugins import Outcome, ResultStore
    from minimaxopt_study.plan.task import Graph


class Reporter(Protocol):
    """Protocol of objects that report the progress of a run."""

    def note(self, line: str) -> None:
        """Show a line about the run."""
        ...

    def begin(self, graph: Graph, done: set[str]) -> None:
        """Begin a run of a graph, of which some tasks are done."""
        ...

    def started(self, task: Task) -> None:
        """Show that a task has started."""
        ...

    def finished(self, task: Task, seconds: float) -> None:
        """Show that a task has finished."""
        ...

    def failed(self, task: Task, reason: str) -> None:
        """Show that a task has failed, with its traceback."""
        ...

    def skipped(self, task: Task, because: Task) -> None:
        """Show that a task is skipped because of one that it needs."""
        ...

    def end(self) -> None:
        """End the display."""
        ...


@dataclass(frozen=True)
class Summary:
    """The outcome of a run.

    Args:
        computed: keys of the tasks that were computed, with their seconds.
        stored: keys of those that were stored before.
        failed, damaged: keys of those that failed, and of those whose results are damaged, with the reason.
        skipped: keys of those that build on failed or damaged ones.
        seconds: that the run took.
    """

    computed: dict[str, float]
    stored: set[str]
    failed: dict[str, str]
    damaged: dict[str, str]
    skipped: set[str]
    seconds: float

    @property
    def complete(self) -> bool:
        """True if every task has a result."""
        return not self.failed and not self.damaged and not self.skipped


def compute(
    graph: Graph,
    store: ResultStore,
    functions: Mapping[str, str],
    reporter: Reporter,
    *,
    workers: int = 2,
    images: Mapping[str, Any] | None = None,
    checkpoint_every: int = 0,
    only: Sequence[str] = (),
    device: str = "cpu",
) -> Summary:
    """Compute what a store lacks; the caller holds its lock.

    Args:
        graph: the tasks.
        store: of the study.
        functions: for each kind of task, the function that computes it as ``"module:name"``.
        reporter: receives each start and end.
        workers: processes, of one thread each.
        images: arguments with which a worker opens the images.
        checkpoint_every: steps between checkpoints inside a training, 0 for none.
        only: the tables and figures that the graph is for, all if empty; noted for ``status``.
        device: where the workers compute, such as "cpu" or "cuda".

    Raises:
        DiskFullError: there is no room for results; what was stored stays.
        StoreError: the folder cannot be written to.
        KeyboardInterrupt: passed on, after the workers have ended; what was stored stays.
    """
    arguments = (dict(functions), store, dict(images or {}), checkpoint_every, device)
    return _Run(graph, store, reporter, tuple(only)).through(workers, arguments)


def lacking(graph: Graph, store: ResultStore, stored: set[str]) -> set[str]:
    """Return the stored tasks whose weights are not kept though a task that is to be computed needs them.

    A record of a study stores no weights. A task that is computed again may in turn need weights that are not kept.
    """
    needed: set[str] = set()
    again: set[str] = set()
    for task in reversed(tuple(graph)):  # children before parents
        if task.key in stored and not (task.key in needed and store.lacks_weights(task.key)):
            continue
        if task.key in stored:
            again.add(task.key)
        needed |= {parent for _, parent in task.parents}
    return again


class _Run:
    def __init__(self, graph: Graph, store: ResultStore, reporter: Reporter, only: tuple[str, ...]) -> None:
        self.graph, self.store, self.reporter, self.only = graph, store, reporter, only
        self.stored, self.damaged = self._stored()
        self.stored -= lacking(graph, store, self.stored)
        self.waiting = {task.key: task for task in graph if task.key not in self.stored | self.damaged.keys()}
        self.started: dict[str, float] = {}  # of the tasks that are being computed, by the clock
        self.computed: dict[str, float] = {}
        self.failed: dict[str, str] = {}
        self.skipped: set[str] = set()
        self.urgency = graph.urgency()

    def through(self, workers: int, arguments: tuple[Any, ...]) -> Summary:
        start = time.perf_counter()
        self._sweep()
        self.reporter.begin(self.graph, set(self.stored))
        workers = min(workers, len(self.waiting))
        try:
            for key, reason in self.damaged.items():
                self.reporter.failed(self.graph[key], reason)
                self._skip_dependants(self.graph[key])
            with WorkerPool[Task](prepare, arguments, workers) as pool:
                self._assign(pool, workers)
                while pool.busy:
                    for outcome in pool.wait():
                        self._take(outcome)
                        self._note_running(workers)
                    self._assign(pool, workers)
        finally:
            (self.store.folder / "running.json").unlink(missing_ok=True)
            self.reporter.end()
        seconds = time.perf_counter() - start
        return Summary(self.computed, self.stored, self.failed, self.damaged, self.skipped, seconds)

    def _stored(self) -> tuple[set[str], dict[str, str]]:
        """Return the keys of the tasks that are done, and of those whose results are damaged, with the reason."""
        stored: set[str] = set()
        damaged: dict[str, str] = {}
        for task in self.graph:
            if task.key in self.store:
                try:
                    self.store.result(task.key)
                    stored.add(task.key)
                except StoreError as error:
                    damaged[task.key] = str(error)
        return stored, damaged

    def _sweep(self) -> None:
        """Remove checkpoints of trainings that are done: of one killed between its result and this."""
        for folder in (self.store.folder / "unfinished").glob("*"):
            if folder.name in self.stored:
                shutil.rmtree(folder, ignore_errors=True)

    def _assign(self, pool: WorkerPool[Task], workers: int) -> None:
        done = self.stored | self.computed.keys()
        while pool.idle:
            ready = [task for task in self.waiting.values() if all(key in done for _, key in task.parents)]
            if not ready:
                return
            task = max(ready, key=lambda task: self.urgency[task.key])
            del self.waiting[task.key]
            pool.submit(task)
            self.started[task.key] = round(time.time(), 1)
            self._note_running(workers)
            self.reporter.started(task)

    def _take(self, outcome: Outcome[Task]) -> None:
        """Note how a task ended."""
        task = outcome.job
        del self.started[task.key]
        ending, detail = ("failed", str(outcome.error)) if outcome.error is not None else outcome.result
        if ending == "full":
            raise DiskFullError(str(detail))
        if ending == "done":
            self.computed[task.key] = seconds = float(detail)
            shutil.rmtree(self.store.folder / "unfinished" / task.key, ignore_errors=True)
            self.reporter.finished(task, seconds)
        else:
            self.failed[task.key] = str(detail)
            self.reporter.failed(task, str(detail))
            self._skip_dependants(task)

    def _skip_dependants(self, culprit: Task) -> None:
        lost = {culprit.key}
        for task in self.graph:  # parents come first, so one pass finds all generations
            if task.key in self.waiting and any(parent in lost for _, parent in task.parents):
                lost.add(task.key)
                self.skipped.add(task.key)
                del self.waiting[task.key]
                self.reporter.skipped(task, culprit)

    def _note_running(self, workers: int) -> None:
        content = {"workers": workers, "only": list(self.only), "since": self.started}
        write_json(self.store.folder / "running.json", content)
