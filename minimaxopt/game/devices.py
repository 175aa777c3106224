"""Devices: where players live, and where they can be played."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from minimaxopt._types import Tree
from minimaxopt.errors import ArgumentError
from minimaxopt.game.trees import is_responding, leaves_with_names, module_tensors


def usable_device(device: torch.device | str | None) -> torch.device | None:
    """Return the device that a text names.

    Args:
        device: such as ``"cpu"`` or ``"cuda:0"``; ``None`` stays ``None``.

    Raises:
        ArgumentError: this machine cannot use it; the message gives torch's reason.

    Examples:
        >>> usable_device("cpu")
        device(type='cpu')
    """
    if device is None:
        return None
    try:
        place = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:  # torch's own ways to say that it has no such device
        reason = str(error).splitlines()[0].rstrip(".")
        raise ArgumentError(f"device: {device!r} cannot be used ({reason}); give one of this machine's") from error
    if place.type == "meta":
        raise ArgumentError(
            "device: 'meta' holds shapes without values, so that nothing can be played there; give 'cpu'"
        )
    return place


def devices_of(trees: tuple[Tree, ...]) -> list[torch.device]:
    """Return the devices on which the tensors of ``trees`` live, each once."""
    devices: dict[torch.device, None] = {}
    for tree in trees:
        if tree is None or is_responding(tree):
            continue
        for _, leaf in leaves_with_names(tree):
            tensors = [t for _, t in module_tensors(leaf)] if isinstance(leaf, nn.Module) else [leaf]
            devices.update({t.device: None for t in tensors if isinstance(t, Tensor)})
    return list(devices)
