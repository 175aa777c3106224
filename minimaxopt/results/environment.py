"""The environment of a result: versions, devices, threads; and digests of values."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from minimaxopt._types import Player, Tensors


def environment(devices: Iterable[torch.device] = (), packages: Iterable[str] = ()) -> dict[str, Any]:
    """Return versions, devices, threads, processor and BLAS: what a result depends on beside its settings.

    The same sources give other last bits where the processor has other vector instructions, and a training carries them
    to where they are seen.

    Args:
        devices: where it was computed; the CPU if empty.
        packages: distributions whose versions matter beside those of minimaxopt, torch, NumPy and Python.

    Raises:
        importlib.metadata.PackageNotFoundError: one of ``packages`` is not installed.

    Examples:
        >>> environment()["devices"]
        ['cpu']
    """
    from minimaxopt import __version__

    places = list(devices) or [torch.device("cpu")]
    accelerators = [torch.cuda.get_device_name(place) for place in places if place.type == "cuda"]
    return {
        "minimaxopt": __version__,
        "torch": str(torch.__version__),  # a class of its own
        "numpy": _version("numpy"),
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "blas": _blas(),
        "cores": os.cpu_count(),
        "devices": [str(place) for place in places],
        **({"accelerators": accelerators} if accelerators else {}),
        "threads": torch.get_num_threads(),
    }


@cache
def _processor() -> str:
    """Return the name of the processor, as far as the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def _blas() -> str:
    """Return the libraries of linear algebra of torch and of NumPy, with their versions."""
    of_torch = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    of_numpy = dict(np.show_config(mode="dicts")["Build Dependencies"]["blas"])
    name, version = of_numpy.get("name", "unknown"), of_numpy.get("version", "")
    return f"torch {of_torch[1] if of_torch else 'unknown'}, numpy {name} {version}".rstrip()


@cache
def _version(package: str) -> str:
    return metadata.version(package)


def digest(players: Mapping[Player, Tensors]) -> str:
    """Return a hash of players' tensors, names and values."""
    total = hashlib.sha256()
    for player, tensors in players.items():
        for name, tensor in tensors.items():
            total.update(f"{player}.{name}".encode())
            total.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def without_addresses(value: Any) -> str:
    """Return the representation without the addresses of functions, which differ between processes."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
