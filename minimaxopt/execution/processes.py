"""Worker processes of one thread each, of which any may be killed at any time.

Two processes of one thread are faster on two cores than one of two, and exactly repeatable. Processes are spawned,
since forking a process that has used torch's thread pools is not safe.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, final

import torch

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

Job = TypeVar("Job")
Result = TypeVar("Result")

_PATIENCE = 5.0  # seconds that a worker has for ending by itself


class WorkerDiedError(RuntimeError):
    """A worker process ended, killed from outside or crashed, before it had answered."""


@dataclass(frozen=True)
class Outcome(Generic[Job]):
    """End of a job: a result, or an error.

    Attributes:
        job: what was handed in.
        result: what the function returned; ``None`` where there is an error.
        error: what it raised, with the worker's traceback as a note, or a ``WorkerDiedError``.
    """

    job: Job
    result: Any = None
    error: BaseException | None = None


@dataclass
class _Worker(Generic[Job]):
    process: SpawnProcess
    connection: Connection
    job: Job | None = None


@final
class WorkerPool(Generic[Job]):
    """Processes that compute jobs; one that dies costs only its job, and is replaced.

    Used as a context manager: at the end, idle workers are dismissed and busy ones terminated.

    Args:
        prepare: called once in each process with ``arguments``; returns the function that computes a job. Both are
            pickled, and so are jobs and results.
        arguments: of ``prepare``.
        workers: number of processes, at least 1.

    Examples:
        >>> with WorkerPool(prepare_function, (abs,), workers=1) as pool:
        ...     pool.submit(-3)
        ...     [outcome.result for outcome in pool.wait()]
        [3]
    """

    def __init__(self, prepare: Callable[..., Callable[[Job], Any]], arguments: Sequence[Any], workers: int) -> None:
        self._start = (prepare, tuple(arguments))
        self._count = workers
        self._workers: list[_Worker[Job]] = []

    def __enter__(self) -> WorkerPool[Job]:
        self._workers = [self._hire() for _ in range(self._count)]
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        for worker in self._workers:
            worker.connection.close()
            if worker.job is not None:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(_PATIENCE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    @property
    def idle(self) -> int:
        """Number of workers that wait for a job."""
        return sum(worker.job is None for worker in self._workers)

    @property
    def busy(self) -> bool:
        """``True`` while any job is being computed."""
        return self.idle < len(self._workers)

    def submit(self, job: Job) -> None:
        """Hand a job to an idle worker.

        Raises:
            RuntimeError: none is idle.
        """
        for place, worker in enumerate(self._workers):
            if worker.job is None:
                if not worker.process.is_alive():
                    self._workers[place] = worker = self._hire()
                worker.job = job
                worker.connection.send(job)
                return
        raise RuntimeError("every worker is busy; wait() for one first")

    def wait(self) -> list[Outcome[Job]]:
        """Wait until at least one job has ended, and return those that have."""
        outcomes: list[Outcome[Job]] = []
        working = {worker.connection: worker for worker in self._workers if worker.job is not None}
        for connection in wait(list(working)):
            assert isinstance(connection, Connection)
            worker = working[connection]
            job, worker.job = worker.job, None
            assert job is not None
            try:
                result, error = connection.recv()
            except (EOFError, ConnectionResetError):
                worker.process.join()
                code = worker.process.exitcode
                result, error = None, WorkerDiedError(f"its worker process ended with exit code {code}")
            outcomes.append(Outcome(job, result, error))
        return outcomes

    def _hire(self) -> _Worker[Job]:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, *self._start), daemon=True)
        process.start()
        theirs.close()  # so that the worker's death closes the pipe
        return _Worker(process, ours)


def map_in_processes(
    function: Callable[..., Result], jobs: Iterable[tuple[Any, ...]], workers: int
) -> Iterator[Result]:
    """Yield ``function(*job)`` of every job as it is finished, computed by processes of one thread each.

    With one worker, or one job, the jobs are done here, one after the other, with one thread. When the caller stops
    early, jobs that have not begun are dropped, and those under way are ended.

    Args:
        function: pickled by name.
        jobs: its arguments.
        workers: number of processes.

    Raises:
        Exception: what the first job that failed raised, or ``WorkerDiedError``.

    Examples:
        >>> sorted(map_in_processes(divmod, [(7, 2), (9, 4)], workers=1))
        [(2, 1), (3, 1)]
    """
    waiting = list(jobs)
    if workers == 1 or len(waiting) < 2:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for job in waiting:
                yield function(*job)
        finally:
            torch.set_num_threads(threads)
        return
    with WorkerPool[tuple[Any, ...]](prepare_starred, (function,), min(workers, len(waiting))) as pool:
        while waiting or pool.busy:
            while waiting and pool.idle:
                pool.submit(waiting.pop(0))
            for outcome in pool.wait():
                if outcome.error is not None:
                    raise outcome.error
                yield outcome.result


def prepare_function(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return ``function`` itself: jobs are its argument."""
    return function


def prepare_starred(function: Callable[..., Any]) -> Callable[[tuple[Any, ...]], Any]:
    """Return ``function`` of a tuple of arguments."""
    return lambda job: function(*job)


def _serve(connection: Connection, prepare: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    """Body of a worker process: compute jobs until the pool hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the pool's owner decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    compute = prepare(*arguments)
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            connection.send((compute(job), None))
        except Exception as error:  # noqa: BLE001 - handed to the pool's owner
            _send_error(connection, error)


def _send_error(connection: Connection, error: Exception) -> None:
    """Send an error with its traceback as a note, which pickling would lose; as text alone if it cannot be pickled."""
    text = traceback.format_exc()
    try:
        twin = copy.copy(error)  # fails as the other side would, such as where __init__ wants other arguments
        twin.add_note(text)
        connection.send((None, twin))
    except Exception:  # noqa: BLE001 - whatever keeps an error from being sent, its text can be
        connection.send((None, RuntimeError(text)))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # the owner was killed: nobody reads the result
