"""Tasks of the runner's tests: sums of numbers, and some that misbehave."""

from __future__ import annotations

import errno
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import torch

from minimaxopt.errors import ResumeError
from minimaxopt.plugins import ResultStore
from minimaxopt_study.plan.task import Graph, Task, canonical
from minimaxopt_study.results.earlier_results import open_store
from minimaxopt_study.runner.scheduler import Summary, compute
from minimaxopt_study.tasks.workspace import Outcome, Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FUNCTIONS = {kind: f"toy_tasks:{kind}" for kind in ("add", "fail", "die", "slow", "images", "full", "noted", "stale")}


def run_graph(graph: Graph, folder: Path, *arguments: Any, **options: Any) -> Summary:
    """Compute a graph as a study does: holding its folder."""
    with ResultStore(folder).lock():
        return compute(graph, open_store(folder), *arguments, **options)


def add(task: Task, workspace: Workspace) -> Outcome:
    total = task.setting("value") + sum(workspace.store.result(key)["values"]["total"] for _, key in task.parents)
    return Outcome({"total": total, "threads": torch.get_num_threads()}, {"total": torch.tensor([float(total)])})


def slow(task: Task, workspace: Workspace) -> Outcome:
    workspace.scratch.mkdir(parents=True, exist_ok=True)
    (workspace.scratch / "begun").touch()
    time.sleep(task.setting("seconds"))
    return add(task, workspace)


def fail(task: Task, workspace: Workspace) -> Outcome:
    raise ValueError("eta: is cursed; choose another")


def die(task: Task, workspace: Workspace) -> Outcome:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("is dead")


def full(task: Task, workspace: Workspace) -> Outcome:
    raise OSError(errno.ENOSPC, "No space left on device")


def noted(task: Task, workspace: Workspace) -> Outcome:
    error = ValueError("eta: is cursed; choose another")
    error.add_note("The solve got to step 3.")
    raise error


def stale(task: Task, workspace: Workspace) -> Outcome:
    raise ResumeError("path: it was changed")


def images(task: Task, workspace: Workspace) -> Outcome:
    return Outcome({"images": workspace.images["greeting"]})


def chain(length: int, kind: str = "add", **settings: float) -> Graph:
    """Tasks that each build on the one before."""
    tasks: list[Task] = []
    for index in range(length):
        parents = (("before", tasks[-1].key),) if tasks else ()
        tasks.append(Task(kind, f"{kind} {index}", canonical({"value": index} | settings), parents))
    return Graph(tasks)


def fork(kinds: Mapping[str, str]) -> Graph:
    """A task of each kind by title, and one more that builds on each."""
    tasks = [Task(kind, title, canonical({"value": 1, "title": title})) for title, kind in kinds.items()]
    children = [Task("add", f"after {task.title}", canonical({"value": 10}), (("before", task.key),)) for task in tasks]
    return Graph(tasks + children)
