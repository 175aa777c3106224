"""Worker processes: results, errors and deaths."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
import torch

from minimaxopt.errors import ArgumentError
from minimaxopt.plugins import WorkerDiedError, WorkerPool, map_in_processes


class AwkwardError(Exception):
    """An error that pickle cannot make anew."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def double(job: int) -> int:
    """Body of a worker, which ends in a way chosen by a number."""
    if job == -1:
        raise ArgumentError("job: -1 is refused; give another")
    if job == -2:
        os.kill(os.getpid(), signal.SIGKILL)
    if job == -3:
        raise AwkwardError("cannot", "travel")
    return 2 * job


def prepare(threads: int) -> Callable[[int], tuple[int, int, int]]:
    assert torch.get_num_threads() == threads
    return lambda job: (double(job), os.getpid(), torch.get_num_threads())


def test_a_pool_returns_results_errors_and_deaths() -> None:
    with WorkerPool[int](prepare, (1,), workers=2) as pool:
        assert (pool.idle, pool.busy) == (2, False)
        pool.submit(4)
        pool.submit(-1)
        with pytest.raises(RuntimeError, match="every worker is busy"):
            pool.submit(5)
        outcomes = {}
        while pool.busy:
            outcomes |= {outcome.job: outcome for outcome in pool.wait()}
        assert outcomes[4].result[0] == 8
        assert outcomes[4].result[2] == 1
        assert isinstance(outcomes[-1].error, ArgumentError)
        assert "in double" in "".join(outcomes[-1].error.__notes__)
        pool.submit(-2)
        (dead,) = pool.wait()
        assert isinstance(dead.error, WorkerDiedError)
        assert "exit code -9" in str(dead.error)
        pool.submit(-3)
        (awkward,) = pool.wait()
        assert isinstance(awkward.error, RuntimeError)
        assert "AwkwardError: cannot travel" in str(awkward.error)
        for job in (5, 6):  # by the worker that is left, and by the one in the place of the dead
            pool.submit(job)
        results = []
        while pool.busy:
            results += [outcome.result for outcome in pool.wait()]
        assert {result[0] for result in results} == {10, 12}
        assert len({result[1] for result in results}) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_a_map_yields_all_results_or_raises(workers: int) -> None:
    threads = torch.get_num_threads()
    assert sorted(map_in_processes(double, [(job,) for job in range(5)], workers)) == [0, 2, 4, 6, 8]
    with pytest.raises(ArgumentError, match="-1 is refused"):
        list(map_in_processes(double, [(1,), (-1,), (2,)], workers))
    assert torch.get_num_threads() == threads
