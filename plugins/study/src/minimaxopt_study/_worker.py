"""What one worker process does: take a task, compute it, store it, say so."""

from __future__ import annotations

import os
import platform
import signal
import threading
import time
import traceback
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from multiprocessing import parent_process
from typing import TYPE_CHECKING, Any

from minimaxopt_study._desk import Desk
from minimaxopt_study.store import FORMAT, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.connection import Connection
    from pathlib import Path

    from minimaxopt_study._desk import Outcome
    from minimaxopt_study.tasks import Task


def resolve(path: str) -> Callable[..., Any]:
    """The function that `"module:name"` names.

    >>> resolve("minimaxopt_study.tasks:canonical")([1])
    '[1]'
    """
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def serve(connection: Connection, functions: Mapping[str, str], folder: Path, digits: Mapping[str, Any],
          checkpoint_every: int) -> None:  # fmt: skip
    """Body of a worker process: serve tasks until the runner hangs up.

    Args:
        connection: to the runner: tasks come in, `(outcome, seconds or reason)` goes out.
        functions: for each kind of task, the function that computes it as `"module:name"`.
        folder: folder of the study.
        digits: how to open the digits: `"open"` names the function, all else are its arguments.
        checkpoint_every: steps between checkpoints inside a training, 0 for none.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the runner decides what it means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)  # two processes of one thread are faster than one of two, and exactly repeatable
    arguments = dict(digits)
    opener = resolve(arguments.pop("open")) if "open" in arguments else dict
    desk = Desk(Store(folder), lambda: opener(**arguments), folder, checkpoint_every)
    while True:
        try:
            task: Task = connection.recv()
        except EOFError:
            return
        desk.scratch = folder / "unfinished" / task.key
        connection.send(_compute(task, resolve(functions[task.kind]), desk))


def _compute(task: Task, function: Callable[[Task, Desk], Outcome], desk: Desk) -> tuple[str, Any]:
    start = time.perf_counter()
    try:
        outcome = function(task, desk)
        seconds = time.perf_counter() - start
        desk.store.put(task.key, _record(task, outcome, seconds), outcome.tensors)
    except Exception:  # noqa: BLE001 -- whatever goes wrong in one task must not stop the others
        return "failed", traceback.format_exc()
    return "done", seconds


def _record(task: Task, outcome: Outcome, seconds: float) -> dict[str, Any]:
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
        "environment": environment(),
        "values": dict(outcome.values),
    }


def environment() -> dict[str, str]:
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
        "device": "cpu",
    }


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # the runner was killed: nobody reads the result, and the next run starts workers of its own
