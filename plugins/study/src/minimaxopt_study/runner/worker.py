"""The body of a worker process: compute a task and store its result."""

from __future__ import annotations

import json
import time
import traceback
from datetime import UTC, datetime
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import torch

from minimaxopt import Checkpoint
from minimaxopt.errors import DiskFullError, ResumeError, StoreError
from minimaxopt.plugins import environment, read_json, unwritable, write_json
from minimaxopt_study.runner.source_hash import source_hash
from minimaxopt_study.tasks.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from minimaxopt.plugins import ResultStore
    from minimaxopt_study.plan.task import Task
    from minimaxopt_study.tasks.workspace import Outcome

FORMAT = 1  # of a result, as ``ResultStore`` reads it

Answer = tuple[Literal["done", "failed", "full"], Any]


def resolve(path: str) -> Callable[..., Any]:
    """Return the function that ``"module:name"`` names.

    Examples:
        >>> resolve("minimaxopt_study.plan.task:canonical")([1])
        '[1]'
    """
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def prepare(functions: Mapping[str, str], store: ResultStore, images: Mapping[str, Any], checkpoint_every: int,
            device: str) -> Callable[[Task], Answer]:  # fmt: skip
    """Return the function by which a worker process computes tasks.

    Args:
        functions: for each kind of task, the function that computes it as ``"module:name"``.
        store: of the study.
        images: how to open the images: ``"open"`` names the function, all else are its arguments.
        checkpoint_every: steps between checkpoints inside a training, 0 for none.
        device: where to compute.
    """
    arguments = dict(images)
    opener = resolve(arguments.pop("open")) if "open" in arguments else dict
    place = torch.device(device)

    @cache
    def open_images() -> Any:
        opened: Any = opener(**arguments)
        return opened.to(place) if hasattr(opened, "to") else opened

    def compute_one(task: Task) -> Answer:
        scratch = store.folder / "unfinished" / task.key
        return compute(task, functions[task.kind], Workspace(store, open_images, scratch, checkpoint_every, place))

    return compute_one


def compute(task: Task, function: str, workspace: Workspace) -> Answer:
    """Compute a task and store its result.

    Returns:
        ``("done", seconds)``, ``("failed", reason)``, or ``("full", reason)`` where the disk is full, so that there is
        no use in going on. Nothing is raised: whatever goes wrong in one task must not stop the others.
    """
    start = time.perf_counter()
    try:
        sources = source_hash(function.partition(":")[0])
        seconds = spent_before(workspace.scratch) if workspace.checkpoint_every and task.steps else 0.0
        outcome = _computed(partial(resolve(function), task, workspace), workspace.scratch)
        seconds += time.perf_counter() - start
        workspace.store.put(task.key, _result(task, outcome, sources, seconds, workspace.device), outcome.tensors)
    except DiskFullError as error:
        return "full", str(error)
    except Exception as error:  # noqa: BLE001 - the scheduler reports it, and the other tasks are computed
        return "failed", _reason(error)
    return "done", seconds


def _computed(function: Callable[[], Outcome], scratch: Path) -> Outcome:
    """Call the function of a task, with the remedy in the errors that its checkpoints cause."""
    try:
        return function()
    except ResumeError as error:
        raise StoreError(
            f"unfinished: the checkpoint in {scratch} cannot be continued ({error}); delete that folder and run "
            "again, and the training starts anew"
        ) from error
    except OSError as error:  # a training's checkpoint found no room
        full = unwritable(scratch, error)
        if isinstance(full, DiskFullError):
            raise full from error
        raise


def spent_before(scratch: Path) -> float:
    """Return the seconds that interrupted runs spent on a training up to its checkpoint.

    Leaves a note of the time now for the next run, should this one be interrupted too.
    """
    note, checkpoint = scratch / "spent.json", scratch / f"{Checkpoint.NAME}.json"
    seconds = 0.0
    if note.is_file() and checkpoint.is_file():
        last = read_json(note)
        seconds = last["before"] + max(0.0, checkpoint.stat().st_mtime - last["since"])  # negative: it made none
    write_json(note, {"before": round(seconds, 3), "since": time.time()})
    return seconds


def _reason(error: Exception) -> str:
    """Return the traceback, ending in the error even where a solve added notes: summaries show the last line."""
    text = traceback.format_exc()
    return text + f"{type(error).__name__}: {error}\n" if getattr(error, "__notes__", None) else text


def _result(task: Task, outcome: Outcome, sources: str, seconds: float, device: torch.device) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "key": task.key,
        "kind": task.kind,
        "version": task.version,
        "title": task.title,
        "settings": json.loads(task.settings),
        "parents": dict(task.parents),
        "data": task.data,
        "seed": task.seed,
        "sources": sources,
        "steps": task.steps,
        "seconds": round(seconds, 3),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment([device]),
        "values": dict(outcome.values),
    }
