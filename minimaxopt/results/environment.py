"""What a result depends on beside its settings: versions, device, threads; and digests of values."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Mapping
from typing import Any

import torch

from minimaxopt._types import Player, Tensors


def environment(devices: list[torch.device]) -> dict[str, Any]:
    """Return versions, device and threads: what a result depends on beside its settings."""
    from minimaxopt import __version__

    return {
        "minimaxopt": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "devices": [str(d) for d in devices],
        "threads": torch.get_num_threads(),
    }


def digest(players: Mapping[Player, Tensors]) -> str:
    """Return a hash of players' tensors, names and values."""
    found = hashlib.sha256()
    for player, tensors in players.items():
        for name, tensor in tensors.items():
            found.update(f"{player}.{name}".encode())
            found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def without_addresses(value: Any) -> str:
    """Return the representation without the addresses of functions, which another process has elsewhere."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
