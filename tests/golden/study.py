"""Numbers of a tiny study, on digits and on made-up images in CIFAR-10's format; every kind of task is computed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from minimaxopt import solve_many

from .adapter import study
from .pinning import default_dtype

_MNIST = """
name = "golden"
eta = [0.2, 0.4]
rounds = 3
checkpoint_every = 0
[data]
evaluate_on = "held-out"
held_out = 40
train = 100
[classifier]
width = 2
stride = 2
hidden = 8
dropout = 0.5
[attacker]
hidden = [8]
[undefended]
steps = 12
rate = 1e-2
batch = 20
[adversarial_round]
steps = 3
rate = 1e-2
batch = 20
[lwa]
steps = 3
rate = 1e-2
batch = 20
[minimax_grad]
steps = 4
rate = 1e-2
batch = 20
[minimax_attnet]
steps = 4
rate = 1e-2
batch = 20
attacker_rate = 1e-3
[alt_attnet]
steps = 4
rate = 1e-2
batch = 20
attacker_rate = 1e-3
[maximin_attnet]
steps = 4
rate = 1e-2
batch = 20
attacker_rate = 1e-3
[attack]
steps = 3
rate = 1e-3
batch = 20
choose_on = 40
[figures]
points = 2
samples = 2
[modern]
images = 4
steps = 2
restarts = 2
sweep_images = 3
sweep_steps = 1
autoattack_images = AUTOATTACK
"""
_CIFAR10 = (
    _MNIST.replace('"golden"', '"golden-cifar"')
    .replace("eta = [0.2, 0.4]", "eta = [0.08]")
    .replace("[data]\n", '[data]\nname = "cifar10"\n')
    .replace("train = 100\n", "")
    .replace("stride = 2\nhidden = 8\n", "hidden = [8, 8]\n")
    .replace("AUTOATTACK", "0")
)


def numbers(dtype: Literal["float32", "float64"] = "float64") -> dict[str, Any]:
    """Return values of every task, tables and claims of both studies, trained in ``dtype``."""
    precision: torch.dtype = getattr(torch, dtype)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return {
            "mnist": _play(folder / "mnist", _MNIST.replace("AUTOATTACK", "2"), None, precision),
            "cifar10": _play(folder / "cifar10", _CIFAR10, _write_images(folder / "data"), precision),
        }


def _play(folder: Path, text: str, data_dir: Path | None, dtype: torch.dtype) -> dict[str, Any]:
    """Compute a profile's tasks one after another in this process, as a study's worker would."""
    folder.mkdir()
    path = folder / "golden.toml"
    path.write_text(text, encoding="utf-8")
    profile = study.load_profile(str(path))
    images = study.images(profile, data_dir)
    plan = study.derive(profile, images.fingerprint)
    store = study.Store(folder)
    tasks: dict[str, Any] = {}
    for task in _chosen(plan.graph):
        # torchattacks computes in float32 alone. Its values are counts of images.
        outcome = _compute(task, store, images, torch.float32 if task.kind == "autoattack" else dtype)
        study.put(store, task, outcome)
        name = f"{task.title} ({task.kind})"
        assert name not in tasks, f"two tasks are called {name}"
        tasks[name] = {"values": _timeless(outcome.values), "tensors": outcome.tensors or {}}
    results = study.gather(plan, store, profile)
    tables = study.build_tables(results)
    claims = {judgement.claim.name: _verdict(judgement) for judgement in study.judge(study.evidence(results, tables))}
    cells = {
        str(number): {"/".join(at): cell.by_seed for at, cell in study.cells(table)} for number, table in tables.items()
    }
    return {"tasks": tasks, "tables": cells, "modern": study.modern(results), "claims": claims}


def _chosen(graph: Any) -> Iterator[Any]:
    """Yield the tasks, of those with AutoAttack, which takes seconds an image, the first alone."""
    attacked = 0
    for task in graph:
        attacked += task.kind == "autoattack"
        if task.kind != "autoattack" or attacked == 1:
            yield task


def _compute(task: Any, store: Any, images: Any, dtype: torch.dtype) -> Any:
    """Compute one task with networks and images of one type."""
    cast = replace(images, x_train=images.x_train.to(dtype), x_test=images.x_test.to(dtype))
    with default_dtype(dtype):
        outcome = study.function(task.kind)(task, study.workspace(store, lambda: cast, store.folder / "scratch"))
        return outcome.finish(solve_many([outcome.run])[0]) if hasattr(outcome, "run") else outcome


def _verdict(judgement: Any) -> dict[str, Any]:
    """Return the verdicts on a claim, and of each of its conditions the margin with its standard error, unrounded."""
    margins = {
        side: [[m.verdict.value, m.quantity.by_seed, m.quantity.standard_error if m.known else None] for m in margins]
        for side, margins in (("here", judgement.margins), ("on paper", judgement.paper_margins))
    }
    verdicts = (judgement.at_this_scale, judgement.over_seeds, judgement.on_paper)
    return {"verdicts": [verdict.value for verdict in verdicts], **margins}


def _timeless(value: Any) -> Any:
    """Return a task's values without what the clock measured."""
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if "seconds" not in str(key)}
    return [_timeless(item) for item in value] if isinstance(value, list | tuple) else value


def _write_images(folder: Path, count: int = 20) -> Path:
    """Write six files in CIFAR-10's format, whose classes differ in their mean colour, and return their folder."""
    random = np.random.default_rng(0)
    target = folder / "cifar-10-batches-bin"
    target.mkdir(parents=True)
    for name in (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"):
        labels = np.arange(count) % 10
        colour = np.stack([labels * 25, 255 - labels * 25, labels % 2 * 200], 1)[:, :, None]
        pixels = np.clip(colour + random.integers(-40, 40, (count, 3, 1024)), 0, 255)
        records = np.concatenate([labels[:, None], pixels.reshape(count, -1)], 1).astype(np.uint8)
        (target / name).write_bytes(records.tobytes())
    return folder
