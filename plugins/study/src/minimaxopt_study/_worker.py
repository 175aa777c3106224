"""What one worker process does: take a task, compute it, store it, say so."""

from __future__ import annotations

import os
import platform
import signal
import threading
import time
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from importlib.metadata import version
from multiprocessing import parent_process
from typing import TYPE_CHECKING, Any

from minimaxopt import Checkpoint, Status
from minimaxopt.errors import MinimaxoptError, ResumeError
from minimaxopt_study._desk import Desk, Training
from minimaxopt_study._sources import FAMILY, digest
from minimaxopt_study.store import FORMAT, DiskFullError, Store, StoreError, read_json, unwritable, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path

    import torch

    from minimaxopt import Solution
    from minimaxopt_study._desk import Outcome
    from minimaxopt_study.tasks import Task


def resolve(path: str) -> Callable[..., Any]:
    """The function that `"module:name"` names.

    >>> resolve("minimaxopt_study.tasks:canonical")([1])
    '[1]'
    """
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def serve(connection: Connection, functions: Mapping[str, str], folder: Path, images: Mapping[str, Any],
          checkpoint_every: int, device: str = "cpu") -> None:  # fmt: skip
    """Body of a worker process: serve tasks until the runner hangs up.

    Args:
        connection: to the runner: lists of tasks come in, and for each list one of `(outcome, seconds or reason)` goes out;
            the outcome is "done", "failed", or "full" where the disk is, so that there is no use in going on.
        functions: for each kind of task, the function that computes it as `"module:name"`.
        folder: folder of the study.
        images: how to open the images: `"open"` names the function, all else are its arguments.
        checkpoint_every: steps between checkpoints inside a training, 0 for none.
        device: where to compute.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the runner decides what it means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)  # two processes of one thread are faster than one of two, and exactly repeatable
    arguments = dict(images)
    opener = resolve(arguments.pop("open")) if "open" in arguments else dict
    where, store = torch.device(device), Store(folder)
    opened = cache(lambda: _placed(opener(**arguments), where))
    while True:
        try:
            tasks: list[Task] = connection.recv()
        except EOFError:
            return
        desks = [Desk(store, opened, folder / "unfinished" / task.key, checkpoint_every, where) for task in tasks]
        connection.send(compute(tasks, functions, desks))


def _placed(images: Any, device: torch.device) -> Any:
    """The images on the device, where they then stay."""
    return images.to(device) if hasattr(images, "to") else images


@dataclass(frozen=True)
class _Failed:
    """What a task failed with: an answer to the runner."""

    outcome: str
    reason: str


def compute(tasks: Sequence[Task], functions: Mapping[str, str], desks: Sequence[Desk]) -> list[tuple[str, Any]]:
    """Compute tasks, their trainings together, and store what each found; one that fails does not stop the others."""
    start = time.perf_counter()
    pairs = list(zip(tasks, desks, strict=True))
    before = [_guarded(desk, lambda d=desk, t=task: _spent(t, d)) for task, desk in pairs]
    begun = [
        spent
        if isinstance(spent, _Failed)
        else _guarded(desk, lambda t=task, d=desk: _function(t, functions[t.kind])(t, d))
        for (task, desk), spent in zip(pairs, before, strict=True)
    ]
    found = _trained(pairs, begun)
    seconds = (time.perf_counter() - start) / len(tasks)
    answers: list[tuple[str, Any]] = []
    for (task, desk), outcome, spent in zip(pairs, found, before, strict=True):
        if not isinstance(outcome, _Failed) and not isinstance(spent, _Failed):
            outcome = _guarded(desk, lambda t=task, d=desk, o=outcome, s=spent + seconds: _put(t, d, o, s))
        answers.append((outcome.outcome, outcome.reason) if isinstance(outcome, _Failed) else ("done", outcome))
    return answers


def _trained(pairs: Sequence[tuple[Task, Desk]], begun: Sequence[Any]) -> list[Any]:
    """The outcomes, of the trainings among them after they have run."""
    from minimaxopt import solve_many

    runs = {place: found.run for place, found in enumerate(begun) if isinstance(found, Training)}
    solutions: dict[int, Any] = {}
    if len(runs) > 1:
        try:
            solutions = dict(zip(runs, solve_many(list(runs.values())), strict=True))
        except Exception as error:  # noqa: BLE001 -- one of them failed: it runs again alone, to tell its own reason
            left = getattr(error, "solutions", [None] * len(runs))
            ended = zip(runs, left, strict=True)
            solutions = {place: found for place, found in ended if found and found.status is not Status.FAILED}
    outcomes = list(begun)
    for place, (task, desk) in enumerate(pairs):
        training = begun[place]
        if isinstance(training, Training):
            outcomes[place] = _guarded(
                desk, lambda t=task, w=training, p=place: _finish(t, w, solutions.get(p) or solve_many([w.run])[0])
            )
    return outcomes


def _finish(task: Task, training: Training, solution: Solution) -> Outcome:
    """The outcome of a training that used its steps.

    Raises:
        MinimaxoptError: it ended otherwise: its risk was not finite.
    """
    if solution.status is not Status.STEPS_USED:
        raise MinimaxoptError(f"{task.title}: {solution.message}; lower the learning rates or gamma in the profile")
    return training.finish(solution)


def _put(task: Task, desk: Desk, outcome: Outcome, seconds: float) -> float:
    desk.store.put(task.key, _record(task, outcome, seconds, desk), outcome.tensors)
    return seconds


def _spent(task: Task, desk: Desk) -> float:
    return spent_before(desk.scratch) if desk.checkpoint_every and task.steps else 0.0


def _guarded(desk: Desk, what: Callable[[], Any]) -> Any:
    """What a step of a task gives, or what it failed with: whatever goes wrong in one task must not stop the others."""
    try:
        try:
            return what()
        except ResumeError as error:
            raise StoreError(
                f"unfinished: the checkpoint in {desk.scratch} cannot be continued ({error}); delete that folder and run "
                "again, and the training starts anew"
            ) from error
        except OSError as error:  # a training's checkpoint found no room
            full = unwritable(desk.scratch, error)
            if isinstance(full, DiskFullError):
                raise full from error
            raise
    except DiskFullError as error:
        return _Failed("full", str(error))
    except Exception as error:  # noqa: BLE001
        return _Failed("failed", _reason(error))


def _function(task: Task, path: str) -> Callable[[Task, Desk], Outcome | Training]:
    """The function of a task, if its sources are still those under whose hash its result will be stored."""
    module = path.partition(":")[0]
    if module.startswith(FAMILY) and digest((module,)) != task.sources:
        raise StoreError(
            f"sources: those of {task.kind!r} have changed since the run began; run again, and what they touch is computed anew"
        )
    return resolve(path)


def spent_before(scratch: Path) -> float:
    """Seconds that interrupted runs put into a training up to its checkpoint, so that a result tells what it cost in all.

    Leaves a note of the time now for the next run, should this one be interrupted too.
    """
    note, checkpoint = scratch / "spent.json", scratch / f"{Checkpoint.NAME}.json"
    before = 0.0
    if note.is_file() and checkpoint.is_file():
        told = read_json(note)
        before = told["before"] + max(0.0, checkpoint.stat().st_mtime - told["since"])  # negative: it made none
    write_json(note, {"before": round(before, 3), "since": time.time()})
    return before


def _reason(error: Exception) -> str:
    """The traceback, ending in the error itself: a solve adds notes, and the last line is what a summary shows."""
    told = traceback.format_exc()
    return told + f"{type(error).__name__}: {error}\n" if getattr(error, "__notes__", None) else told


def _record(task: Task, outcome: Outcome, seconds: float, desk: Desk) -> dict[str, Any]:
    import json

    return {
        "format": FORMAT,
        "key": task.key,
        "kind": task.kind,
        "title": task.title,
        "settings": json.loads(task.settings),
        "parents": dict(task.parents),
        "data": task.data,
        "seed": task.seed,
        "sources": task.sources,
        "steps": task.steps,
        "seconds": round(seconds, 3),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment(desk.device),
        "values": dict(outcome.values),
    }


def environment(device: torch.device) -> dict[str, str]:
    """Versions and machine, as far as they may matter to a number."""
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "minimaxopt": version("minimaxopt"),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "device": "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device),
    }


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # the runner was killed: nobody reads the result, and the next run starts workers of its own
