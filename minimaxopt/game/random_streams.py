"""Random streams that can be replayed.

Every draw belongs to a stream named by (seed, step, purpose, substep). Seeding the default generators from that name
just before an evaluation makes each evaluation a pure function of its arguments: two evaluations of one step see the
same dropout masks, and a resumed run sees those of the run that was interrupted.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

Purpose: TypeAlias = Literal["data", "respond", "risk", "shuffle", "start"]


def stream(seed: int, step: int, purpose: Purpose, substep: int = 0) -> int:
    """Return the 63-bit seed of a stream.

    >>> stream(0, 7, "risk") == stream(0, 7, "risk"), stream(0, 7, "risk") == stream(0, 7, "respond")
    (True, False)
    """
    name = f"{seed}:{step}:{purpose}:{substep}".encode()  # text, since a user's seed may exceed 64 bits
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little") >> 1


def replay(seed: int, devices: Iterable[torch.device] = ()) -> None:
    """Set the default generators of the CPU and of ``devices`` to the start of a stream."""
    # torch.manual_seed reaches every backend and costs a hundred times as much, once per evaluation.
    torch.default_generator.manual_seed(seed)
    for device in devices:
        if device.type == "cuda":
            torch.cuda.default_generators[_cuda_index(device)].manual_seed(seed)
        elif device.type == "mps":
            torch.mps.manual_seed(seed)


@contextmanager
def preserve_rng_state(devices: Iterable[torch.device] = ()) -> Generator[None]:
    """Leave the global random state as it was found, whatever happens inside."""
    places = list(devices)
    cuda = sorted({_cuda_index(device) for device in places if device.type == "cuda"})
    mps = torch.mps.get_rng_state() if any(device.type == "mps" for device in places) else None
    try:
        with torch.random.fork_rng(devices=cuda, device_type="cuda"):
            yield
    finally:
        if mps is not None:
            torch.mps.set_rng_state(mps)


def _cuda_index(device: torch.device) -> int:
    # "cuda" without a number is the current device, which need not be the first.
    index: Any = device.index  # torch's stubs leave its None out
    return torch.cuda.current_device() if index is None else index
