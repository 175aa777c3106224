"""The progress of a study: what is done, what runs, and about how long the rest will take.

The seconds that finished tasks took, divided by the weight that the plan gives them, are the measure: by kind of task
where one of that kind is done, else over all.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from minimaxopt.errors import StoreError
from minimaxopt.plugins import ResultStore, read_json
from minimaxopt_study.plan.kinds import VERSIONS
from minimaxopt_study.plan.selection import wanted
from minimaxopt_study.study import open_study

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from minimaxopt_study.plan.task import Graph, Task
    from minimaxopt_study.study import Study


@dataclass(frozen=True)
class KindProgress:
    """Progress of one kind of task.

    Args:
        done, running, left: numbers of tasks.
        seconds: spent on those that are done.
        seconds_left: about how many seconds of computing the others still take; None before anything was measured.
    """

    done: int
    running: int
    left: int
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True)
class Running:
    """A task that is being computed, since how many seconds, and about how many it still takes."""

    title: str
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True)
class Status:
    """The progress of a study.

    Args:
        kinds: by kind of task.
        running: what is being computed.
        seconds: spent on all that is done.
        seconds_left: about how many seconds of computing, of one worker, the rest takes.
        active: true while a run holds the folder.
        workers: of that run, 0 without one.
        only: the tables and figures that it was restricted to.
        finish: when it will about be done, in local time.
        recorded: true for a record, which has no weights and is not going on: what it lacks was not recorded.
        outdated: the stored versions and the current one of each kind of task where they differ: a run would compute
            it anew.
    """

    kinds: Mapping[str, KindProgress]
    running: tuple[Running, ...]
    seconds: float
    seconds_left: float | None
    active: bool
    workers: int
    only: tuple[str, ...]
    finish: str | None
    recorded: bool
    outdated: Mapping[str, tuple[tuple[int, ...], int]]


class Pace:
    """Estimate of seconds from the weights of tasks.

    Examples:
        >>> from minimaxopt_study.plan.task import Task
        >>> a, b = Task("a", "a", "{}", weight=10.0), Task("b", "b", "{}", weight=30.0)
        >>> pace = Pace([(a, 5.0)])
        >>> pace.seconds(a), pace.seconds(b), Pace([]).seconds(a)
        (5.0, 15.0, None)
    """

    def __init__(self, done: Iterable[tuple[Task, float]]) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._weight: defaultdict[str, float] = defaultdict(float)
        for task, seconds in done:
            self._seconds[task.kind] += seconds
            self._weight[task.kind] += task.weight

    def seconds(self, task: Task) -> float | None:
        """Return about how many seconds a task takes; None before anything was measured."""
        seconds, weight = self._seconds[task.kind], self._weight[task.kind]
        if not weight:
            seconds, weight = sum(self._seconds.values()), sum(self._weight.values())
        return task.weight * seconds / weight if weight else None


def read_status(folder: Path) -> Status:
    """Return the progress of the study in a folder, while a run is active or afterwards."""
    study = open_study(folder)
    plan, store, now = study.plan, study.store, time.time()
    run = _running(store)
    only, workers = tuple(run.get("only", ())), int(run.get("workers", 0))
    graph = wanted(plan, study.profile, only) if only else plan.graph  # what an active run will do
    taken = {task.key: float(store.result(task.key)["seconds"]) for task in plan.graph if task.key in store}
    since = {key: now - start for key, start in run.get("since", {}).items() if key in graph and key not in taken}
    pace = Pace((plan.graph[key], seconds) for key, seconds in taken.items())
    needed = {task.key: _rest(pace.seconds(task), since.get(task.key)) for task in graph if task.key not in taken}
    recorded = not run and _is_record(store)
    return Status(
        kinds=_kinds(graph, taken, since, {} if recorded else needed),
        running=tuple(Running(plan.graph[key].title, round(spent, 1), needed[key]) for key, spent in since.items()),
        seconds=round(sum(taken.values()), 1),
        seconds_left=None if recorded else _total(needed.values()),
        active=bool(run) or store.is_locked(),
        workers=workers,
        only=only,
        finish=_clock_time(_wait(graph, needed, workers)),
        recorded=recorded,
        outdated=_outdated(study),
    )


def _is_record(store: ResultStore) -> bool:
    """Return whether there are results but no weights."""
    return any(store.results.glob("*/result.json")) and not any(store.results.glob("*/tensors.safetensors"))


def _outdated(study: Study) -> dict[str, tuple[tuple[int, ...], int]]:
    by_seed = [study.versions.get(seed, {}) for seed in study.profile.seeds]
    here = {kind: tuple(sorted({versions.get(kind, now) for versions in by_seed})) for kind, now in VERSIONS.items()}
    return {kind: (versions, VERSIONS[kind]) for kind, versions in here.items() if versions != (VERSIONS[kind],)}


def _running(store: ResultStore) -> dict[str, Any]:
    """Return the content of running.json; nothing without an active run, or if it ends at this moment."""
    if not store.is_locked():
        return {}
    try:
        return dict(read_json(store.folder / "running.json"))
    except StoreError:
        return {}


def _rest(expected: float | None, spent: float | None) -> float | None:
    return None if expected is None else round(max(expected - (spent or 0.0), 0.0), 1)


def _total(seconds: Iterable[float | None]) -> float | None:
    """Return the sum, or None if a part is not known."""
    total = 0.0
    for part in seconds:
        if part is None:
            return None
        total += part
    return round(total, 1)


def _kinds(graph: Graph, taken: Mapping[str, float], since: Mapping[str, float],
           needed: Mapping[str, float | None]) -> dict[str, KindProgress]:  # fmt: skip
    by_kind: dict[str, list[str]] = {}
    for task in graph:
        by_kind.setdefault(task.kind, []).append(task.key)
    return {
        kind: KindProgress(
            done=sum(key in taken for key in keys),
            running=sum(key in since for key in keys),
            left=sum(key not in taken and key not in since for key in keys),
            seconds=round(sum(taken.get(key, 0.0) for key in keys), 1),
            seconds_left=_total(needed[key] for key in keys if key in needed),
        )
        for kind, keys in by_kind.items()
    }


def _clock_time(wait: float | None) -> str | None:
    if wait is None:
        return None
    return (datetime.now().astimezone() + timedelta(seconds=wait)).isoformat(timespec="seconds")


def _wait(graph: Graph, needed: Mapping[str, float | None], workers: int) -> float | None:
    """Return the seconds until the workers have done the rest: their share, but no less than its longest chain."""
    total = _total(needed[task.key] for task in graph if task.key in needed)
    if total is None or not workers:
        return None
    chain: dict[str, float] = {}  # by task, the longest chain of those that build on it
    longest = 0.0
    for task in reversed(tuple(graph)):
        length = (needed.get(task.key) or 0.0) + chain.get(task.key, 0.0)
        longest = max(longest, length)
        for _, parent in task.parents:
            chain[parent] = max(chain.get(parent, 0.0), length)
    return max(total / workers, longest)
