"""What one worker process does: take a task, compute it, store it, say so."""

from __future__ import annotations

import os
import platform
import signal
import threading
import time
import traceback
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from importlib.metadata import version
from multiprocessing import parent_process
from typing import TYPE_CHECKING, Any

from minimaxopt import Checkpoint
from minimaxopt.errors import ResumeError
from minimaxopt_study.runner.source_hash import digest
from minimaxopt_study.store import FORMAT, DiskFullError, StoreError, read_json, unwritable, write_json
from minimaxopt_study.tasks.workspace import Desk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.connection import Connection
    from pathlib import Path

    import torch

    from minimaxopt_study.plan.task import Task
    from minimaxopt_study.store import Store
    from minimaxopt_study.tasks.workspace import Outcome


def resolve(path: str) -> Callable[..., Any]:
    """The function that `"module:name"` names.

    >>> resolve("minimaxopt_study.plan.task:canonical")([1])
    '[1]'
    """
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def serve(connection: Connection, functions: Mapping[str, str], store: Store, images: Mapping[str, Any],
          checkpoint_every: int, device: str = "cpu") -> None:  # fmt: skip
    """Body of a worker process: serve tasks until the runner hangs up.

    Args:
        connection: to the runner: tasks come in, and for each its answer goes out, as from `compute`.
        functions: for each kind of task, the function that computes it as `"module:name"`.
        store: of the study.
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
    where = torch.device(device)
    opened = cache(lambda: _placed(opener(**arguments), where))
    while True:
        try:
            task: Task = connection.recv()
        except EOFError:
            return
        desk = Desk(store, opened, store.folder / "unfinished" / task.key, checkpoint_every, where)
        connection.send(compute(task, functions, desk))


def _placed(images: Any, device: torch.device) -> Any:
    """The images on the device, where they then stay."""
    return images.to(device) if hasattr(images, "to") else images


def compute(task: Task, functions: Mapping[str, str], desk: Desk) -> tuple[str, Any]:
    """Compute a task and store its result.

    Returns:
        ``("done", seconds)``, ``("failed", reason)``, or ``("full", reason)`` where the disk is full, so that there is no
        use in going on: whatever goes wrong in one task must not stop the others.
    """
    start = time.perf_counter()
    try:
        try:
            function = functions[task.kind]
            sources = digest((function.partition(":")[0],))
            seconds = spent_before(desk.scratch) if desk.checkpoint_every and task.steps else 0.0
            outcome = resolve(function)(task, desk)
            seconds += time.perf_counter() - start
            desk.store.put(task.key, _record(task, outcome, sources, seconds, desk), outcome.tensors)
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
        return "full", str(error)
    except Exception as error:  # noqa: BLE001 -- it is told to the runner, and the other tasks go on
        return "failed", _reason(error)
    return "done", seconds


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


def _record(task: Task, outcome: Outcome, sources: str, seconds: float, desk: Desk) -> dict[str, Any]:
    import json

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
