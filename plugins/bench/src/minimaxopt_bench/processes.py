"""The processes that do the work of a bench, one job after the other."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")


def work(task: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], workers: int) -> Iterator[Result]:
    """Yield ``task(*job)`` of every job as it is finished, computed by processes of one thread each.

    With one worker the jobs are done here, one after the other. When the caller stops early, for instance on an
    interrupt, jobs that have not begun are dropped, and those under way are finished.
    """
    if workers == 1 or len(jobs) < 2:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for job in jobs:
                yield task(*job)
        finally:
            torch.set_num_threads(threads)
        return
    # A fork would copy the thread pools of torch in whatever state they are.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin)
    try:
        futures: list[Future[Result]] = [pool.submit(task, *job) for job in jobs]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    torch.set_num_threads(1)
    # An interrupt from the keyboard reaches every process; the one that called decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def finish(task: Callable[..., object], jobs: Sequence[tuple[Any, ...]], workers: int, title: str, shown: bool) -> None:
    """Do all jobs, each of which stores its own result, behind a progress bar."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as progress:
        bar = progress.add_task(title, total=len(jobs))
        for _ in work(task, jobs, workers):
            progress.advance(bar)
