"""Images whose loss has no finite gradient, which an attack sets aside: counted, named, collected."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from minimaxopt.plugins import argument_error

SHOWN = 10
"""Images that a warning names; of more it gives the number."""

_collection: ContextVar[tuple[int, list[Tensor]] | None] = ContextVar("_collection", default=None)


@contextmanager
def collected(count: int) -> Generator[list[Tensor]]:
    """Collect what attacks on ``count`` images report, instead of warning of each.

    Yields:
        A list of masks, (``count``,) bool: images of which every gradient was finite.

    Examples:
        >>> with collected(2) as masks:
        ...     report(torch.tensor([True, False]))
        >>> masks
        [tensor([ True, False])]
    """
    masks: list[Tensor] = []
    token = _collection.set((count, masks))
    try:
        yield masks
    finally:
        _collection.reset(token)


def report(finite: Tensor) -> None:
    """Warn of the images of which a gradient was not finite, or refuse the classifier if there is no other.

    Args:
        finite: (N,) bool, images of which every gradient was finite.

    Raises:
        ArgumentError: no image had finite gradients alone.

    Examples:
        >>> report(torch.tensor([False, False]))
        Traceback (most recent call last):
        minimaxopt.errors.ArgumentError: classifier: its loss has a gradient that is not finite; check its weights for
        NaN and overflow
    """
    collection = _collection.get()
    if collection is not None and collection[0] == len(finite):
        collection[1].append(finite)
        return
    if bool(finite.all()):
        return
    if not bool(finite.any()):
        reason = "its loss has a gradient that is not finite"
        raise argument_error("classifier", reason, "check its weights for NaN and overflow")
    warnings.warn(
        f"classifier: {named(finite)}, and stay where they were; check the classifier's overflow there",
        stacklevel=3,  # of the caller of the attack
    )


def named(finite: Tensor) -> str:
    """Return the sentence that counts and names the images whose gradient is not finite.

    Examples:
        >>> named(torch.tensor([True, False, False]))
        '2 of 3 images have a gradient that is not finite (images 1, 2)'
    """
    images: list[int] = torch.nonzero(~finite).flatten().tolist()
    shown = ", ".join(map(str, images[:SHOWN])) + (", ..." if len(images) > SHOWN else "")
    return f"{len(images)} of {len(finite)} images have a gradient that is not finite (images {shown})"


def all_finite(masks: list[Tensor], like: Tensor) -> Tensor:
    """Return the images that every mask calls finite, (N,) bool, all of them if there is no mask."""
    everything = torch.ones(len(like), dtype=torch.bool, device=like.device)
    return torch.stack([everything, *masks]).all(0)
