"""Running a graph of tasks in worker processes that may be killed at any time.

What is stored is not computed again, so running is the same as resuming. A task that fails takes with it only those
that build on it; a worker that dies is replaced; a full disk ends the run. Processes are spawned, since forking a
process that has used torch's thread pools is not safe.
"""

from __future__ import annotations

import multiprocessing
import shutil
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Protocol

from minimaxopt_study.runner.worker import serve
from minimaxopt_study.store import DiskFullError, StoreError, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from multiprocessing.context import SpawnProcess

    from minimaxopt_study.plan.task import Graph, Task
    from minimaxopt_study.store import Store

PATIENCE = 5.0  # seconds that a worker has for ending by itself


class Reporter(Protocol):
    """Who is told how the run goes on."""

    def noted(self, line: str) -> None: ...
    def begin(self, graph: Graph, done: set[str]) -> None: ...
    def started(self, task: Task) -> None: ...
    def finished(self, task: Task, seconds: float) -> None: ...
    def failed(self, task: Task, reason: str) -> None: ...
    def skipped(self, task: Task, because: Task) -> None: ...
    def end(self) -> None: ...


@dataclass(frozen=True)
class Summary:
    """How a run ended: keys of tasks computed now, found done, failed or found damaged (with the reason) and skipped."""

    computed: dict[str, float]
    found: set[str]
    failed: dict[str, str]
    damaged: dict[str, str]
    skipped: set[str]
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether every task has a result."""
        return not self.failed and not self.damaged and not self.skipped


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    task: Task | None = None
    since: float = field(default_factory=time.perf_counter)


def compute(
    graph: Graph,
    store: Store,
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
        functions: for each kind of task, the function that computes it as `"module:name"`.
        reporter: is told of each start and end.
        workers: processes, of one thread each.
        images: how a worker opens the images.
        checkpoint_every: steps between checkpoints inside a training, 0 for none.
        device: where they compute, such as "cpu" or "cuda".
        only: which tables and figures the graph is for, all if empty; `status` asks for it while the run goes on.

    Raises:
        DiskFullError: there is no room for results; what was stored stays.
        StoreError: the folder cannot be written to.
        KeyboardInterrupt: passed on, after the workers have ended; what was stored stays.
    """
    run = _Run(
        graph, store, dict(functions), reporter, dict(images or {}), checkpoint_every, tuple(only), device,
    )  # fmt: skip
    return run.through(workers)


def lacking(graph: Graph, store: Store, found: set[str]) -> set[str]:
    """Those of the tasks found done whose weights are not stored though a task that is to be computed needs them.

    In a record of a study no weights are stored. What must be computed again may in turn need weights that are not there.
    """
    needed: set[str] = set()
    again: set[str] = set()
    for task in reversed(tuple(graph)):  # children before parents
        if task.key in found and not (task.key in needed and store.lacks_weights(task.key)):
            continue
        if task.key in found:
            again.add(task.key)
        needed |= {parent for _, parent in task.parents}
    return again


class _Run:
    def __init__(self, graph: Graph, store: Store, functions: dict[str, str], reporter: Reporter,
                 images: dict[str, Any], checkpoint_every: int, only: tuple[str, ...], device: str) -> None:  # fmt: skip
        self.graph, self.store, self.reporter, self.only = graph, store, reporter, only
        self.arguments = (functions, store, images, checkpoint_every, device)
        self.found, self.damaged = self._found()
        self.found -= lacking(graph, store, self.found)
        self.waiting = {task.key: task for task in graph if task.key not in self.found | self.damaged.keys()}
        self.computed: dict[str, float] = {}
        self.failed: dict[str, str] = {}
        self.skipped: set[str] = set()
        self.urgency = graph.urgency()
        self.workers: list[_Worker] = []

    def through(self, count: int) -> Summary:
        start = time.perf_counter()
        self._sweep()
        self.reporter.begin(self.graph, set(self.found))
        try:
            for key, reason in self.damaged.items():
                self.reporter.failed(self.graph[key], reason)
                self._skip_dependants(self.graph[key])
            self.workers = [self._hire() for _ in range(min(count, len(self.waiting)))]
            self._assign()
            while any(worker.task for worker in self.workers):
                self._collect()
                self._assign()
        finally:
            self._dismiss()
            self.reporter.end()
        seconds = time.perf_counter() - start
        return Summary(self.computed, self.found, self.failed, self.damaged, self.skipped, seconds)

    def _found(self) -> tuple[set[str], dict[str, str]]:
        """Keys of the tasks that are done, and of those whose results are damaged, with the reason."""
        found: set[str] = set()
        damaged: dict[str, str] = {}
        for task in self.graph:
            if task.key in self.store:
                try:
                    self.store.result(task.key)
                    found.add(task.key)
                except StoreError as error:
                    damaged[task.key] = str(error)
        return found, damaged

    def _sweep(self) -> None:
        """Remove checkpoints of trainings that are done: of one killed between its result and this."""
        for folder in (self.store.folder / "unfinished").glob("*"):
            if folder.name in self.found:
                shutil.rmtree(folder, ignore_errors=True)

    def _hire(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, *self.arguments), daemon=True)
        process.start()
        theirs.close()  # so that the worker's death closes the pipe
        return _Worker(process, ours)

    def _assign(self) -> None:
        done = self.found | self.computed.keys()
        for index, worker in enumerate(self.workers):
            if worker.task:
                continue
            ready = [task for task in self.waiting.values() if all(key in done for _, key in task.parents)]
            if not ready:
                return
            task = max(ready, key=lambda task: self.urgency[task.key])
            del self.waiting[task.key]
            if not worker.process.is_alive():
                self.workers[index] = worker = self._hire()
            worker.task, worker.since = task, time.perf_counter()
            worker.connection.send(task)
            self._note_running()
            self.reporter.started(task)

    def _collect(self) -> None:
        busy = {worker.connection: worker for worker in self.workers if worker.task}
        for connection in wait(list(busy)):
            assert isinstance(connection, Connection)
            worker = busy[connection]
            task, worker.task = worker.task, None
            assert task is not None
            try:
                outcome, detail = connection.recv()
            except (EOFError, ConnectionResetError):
                worker.process.join()
                outcome, detail = "failed", f"its worker process ended with exit code {worker.process.exitcode}"
            self._note(task, outcome, detail)
            self._note_running()

    def _note(self, task: Task, outcome: str, detail: Any) -> None:
        """Take down how a task ended."""
        if outcome == "full":
            raise DiskFullError(str(detail))
        if outcome == "done":
            seconds = float(detail)
            self.computed[task.key] = seconds
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

    def _note_running(self) -> None:
        now = time.perf_counter()
        since = {w.task.key: round(time.time() - (now - w.since), 1) for w in self.workers if w.task}
        content = {"workers": len(self.workers), "only": list(self.only), "since": since}
        write_json(self.store.folder / "running.json", content)

    def _dismiss(self) -> None:
        for worker in self.workers:
            worker.connection.close()
            if worker.task:
                worker.process.terminate()
        for worker in self.workers:
            worker.process.join(PATIENCE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        (self.store.folder / "running.json").unlink(missing_ok=True)
