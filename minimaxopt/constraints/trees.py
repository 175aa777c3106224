"""Trees of tensors for projections: walking them, and settings that spread over them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import optree
import torch
from torch import Tensor

from minimaxopt.errors import ArgumentError
from minimaxopt.game.trees import leaves_with_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minimaxopt._types import Tree


def tensors_in(tree: Tree, name: str = "tree") -> list[Tensor]:
    """Return the tensors of ``tree`` in order, or raise if it holds anything else."""
    tensors: list[Tensor] = []
    for path, leaf in leaves_with_names(tree):
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
            kind = f"{leaf.dtype} values".removeprefix("torch.") if isinstance(leaf, Tensor) else type(leaf).__name__
            raise ArgumentError(f"{name}: holds {kind}{f' at {path!r}' if path else ''}; give floating tensors")
        tensors.append(leaf)
    return tensors


def rebuilt(tree: Tree, tensors: Sequence[Tensor]) -> Tree:
    """Return ``tensors`` in the structure of ``tree``."""
    spec: Any = optree.tree_structure(tree, none_is_leaf=True)
    return optree.tree_unflatten(spec, tensors)


def mismatch(error: ValueError) -> str:
    """Return optree's message on two structures, without the tensors that it prints."""
    text = re.sub(r"; (?!expected)\w+: .*", "", str(error), flags=re.DOTALL)
    return re.sub(r"^Expected an instance of ([\w.]+), got .*", r"expected a \1", text, flags=re.DOTALL).rstrip(".")


def spread(name: str, value: Tree, tree: Tree, tensors: Sequence[Tensor]) -> list[float | Tensor]:
    """Return the setting ``value`` for each tensor of ``tree``: itself, or its own part where it is a nesting.

    Numbers stay numbers, which cost no copy to the device; tensors come in the dtype and on the device of theirs.
    """
    if isinstance(value, (int, float, Tensor)):
        parts: list[Any] = [value] * len(tensors)
    else:
        try:
            parts = optree.broadcast_prefix(value, tree, none_is_leaf=True)
        except ValueError as error:
            raise ArgumentError(
                f"{name}: has another structure than the tensors ({mismatch(error)}); give a number, a tensor, or the player's "
                "own nesting of these"
            ) from error
    return [_fitting(name, part, x) for part, x in zip(parts, tensors, strict=True)]


def _fitting(name: str, part: Any, x: Tensor) -> float | Tensor:
    if not isinstance(part, Tensor):
        return part
    try:
        fits = torch.broadcast_shapes(part.shape, x.shape) == x.shape
    except RuntimeError:  # torch's error for shapes that do not broadcast
        fits = False
    if not fits:
        raise ArgumentError(
            f"{name}: shape {tuple(part.shape)} does not broadcast to the tensor's {tuple(x.shape)}; give a number or "
            "a tensor of fitting shape"
        )
    return part.to(x)


def numbers_in(name: str, value: Tree) -> list[float | Tensor]:
    """Return the numbers and tensors that a setting is made of, or raise if there is anything else."""
    numbers: list[float | Tensor] = []
    for path, leaf in leaves_with_names(value):
        if isinstance(leaf, bool) or not isinstance(leaf, (int, float, Tensor)):
            where = f" at {path!r}" if path else ""
            raise ArgumentError(f"{name}: {type(leaf).__name__}{where} is not a number; give numbers or tensors")
        numbers.append(leaf)
    return numbers


def noise_for(x: Tensor, generator: torch.Generator | None, shape: Sequence[int] | None = None) -> Tensor:
    """Return an empty tensor of x's dtype to draw into, on the device whose random stream is to be used."""
    device = x.device if generator is None else generator.device
    return torch.empty(tuple(x.shape if shape is None else shape), dtype=x.dtype, device=device)
