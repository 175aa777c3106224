"""Random streams that can be replayed.

Every draw belongs to a stream named by (seed, step, purpose, substep). Seeding the default generators from that name
just before an evaluation makes each evaluation a pure function of its arguments: two evaluations of one step see the
same dropout masks, and a resumed run sees those of the run that was interrupted.

The default generators are torch's, and the global ones of ``random`` and ``numpy.random`` in this process ("the host's"
below). Seeding the host's takes six times as long as seeding torch's, so ``solve`` leaves them alone until the first
draw: it brings them to rest, a state whose next numbers are known, and checks after each block of steps whether they
were drawn from. If so, it replays the block with its data drawn again, and seeds them from then on.
"""

from __future__ import annotations

import functools
import hashlib
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final

import numpy as np
import torch
from numpy.random import mtrand

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

Purpose: TypeAlias = Literal["callback", "data", "respond", "risk", "shuffle", "source", "start"]


def stream(seed: int, step: int, purpose: Purpose, substep: int = 0, part: int = 0) -> int:
    """Return the 63-bit seed of a stream; ``part`` counts micro-batches.

    >>> stream(0, 7, "risk") == stream(0, 7, "risk"), stream(0, 7, "risk") == stream(0, 7, "respond")
    (True, False)
    """
    name = f"{seed}:{step}:{purpose}:{substep}" + (f":{part}" if part else "")  # a user's seed may exceed 64 bits
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") >> 1


def replay(seed: int, devices: Iterable[torch.device] = (), *, host: bool = True) -> None:
    """Set the default generators to the start of a stream.

    Args:
        seed: of the stream.
        devices: whose generators are set beside torch's of the CPU.
        host: whether those of ``random`` and ``numpy.random`` are set too.
    """
    if host:
        seed_host(seed)
    # torch.manual_seed reaches every backend and costs a hundred times as much, once per evaluation.
    torch.default_generator.manual_seed(seed)
    for device in devices:
        if device.type == "cuda":
            torch.cuda.default_generators[_cuda_index(device)].manual_seed(seed)
        elif device.type == "mps":
            torch.mps.manual_seed(seed)


def seed_host(seed: int) -> None:
    """Set the generators of ``random`` and ``numpy.random`` to the start of a stream."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # which takes no more bits


_REST = 0x6D696E696D6178


@functools.cache
def _rest() -> tuple[Any, int, float]:
    """Return Python's generator's state at rest, and the next number then of Python's and of NumPy's."""
    python = random.Random(_REST)
    return python.getstate(), python.getrandbits(64), np.random.RandomState(_REST % 2**32).random_sample()


def bring_to_rest() -> None:
    """Set the host's generators to the state in which ``drawn_from`` notices a draw."""
    random.setstate(_rest()[0])
    np.random.seed(_REST % 2**32)


def drawn_from() -> bool:
    """Return whether the host's generators have been drawn from or seeded since they came to rest; ends the rest.

    >>> with preserve_rng_state():
    ...     bring_to_rest()
    ...     before = drawn_from()
    ...     bring_to_rest()
    ...     _ = random.gauss()
    ...     before, drawn_from()
    (False, True)
    """
    _, python, numpy = _rest()
    return random.getrandbits(64) != python or np.random.random_sample() != numpy


@final
class HostGenerators:
    """The generators of ``random`` and ``numpy.random`` in one run.

    Attributes:
        seeded: whether they are seeded wherever torch's are; ``False`` only as long as they are watched.
    """

    def __init__(self) -> None:
        self.seeded = True
        self._drawn_from = False

    def watch(self) -> None:
        """Leave them unseeded, unless they were drawn from before."""
        if not self._drawn_from:
            self.seeded = False
            bring_to_rest()

    def drew_unseeded(self) -> bool:
        """Return whether they were drawn from unseeded, since ``watch``; they are seeded from now on then."""
        if self.seeded:
            return False
        self._drawn_from = self.seeded = drawn_from()
        return self._drawn_from


@contextmanager
def preserve_rng_state(devices: Iterable[torch.device] = ()) -> Generator[None]:
    """Leave the global random state as it was found, that of ``random`` and ``numpy.random`` included."""
    places = list(devices)
    cuda = sorted({_cuda_index(device) for device in places if device.type == "cuda"})
    mps = torch.mps.get_rng_state() if any(device.type == "mps" for device in places) else None
    python, numpy, engine = random.getstate(), np.random.get_state(legacy=False), mtrand.get_bit_generator()
    mtrand.set_bit_generator(np.random.MT19937())  # np.random.seed refuses others, which a user may have set
    try:
        with torch.random.fork_rng(devices=cuda, device_type="cuda"):
            yield
    finally:
        random.setstate(python)
        mtrand.set_bit_generator(engine)
        np.random.set_state(numpy)
        if mps is not None:
            torch.mps.set_rng_state(mps)


def _cuda_index(device: torch.device) -> int:
    # "cuda" without a number is the current device, which need not be the first.
    index: Any = device.index  # torch's stubs leave its None out
    return torch.cuda.current_device() if index is None else index
