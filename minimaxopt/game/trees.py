"""Arithmetic on flat dictionaries of tensors, and the flattening of a player's tree (optree does the walking)."""

from __future__ import annotations

import copy
from collections import OrderedDict, UserDict, UserList
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

import optree
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence


def leaves_with_names(tree: Any) -> list[tuple[str, object]]:
    """Flatten a tree into ``(dotted path, leaf)`` pairs; a bare leaf has the empty path.

    >>> [name for name, _ in leaves_with_names({"a": [1, 2], "b": 3})]
    ['a.0', 'a.1', 'b']
    """
    paths, leaves, _ = optree.tree_flatten_with_path(tree, none_is_leaf=True)  # type: ignore[arg-type] - optree takes any object
    return [(".".join(str(part) for part in path), leaf) for path, leaf in zip(paths, leaves, strict=True)]


def shell_of(spec: Any) -> Any:
    """Return a tree of the structure ``spec`` whose leaves are their own numbers, for ``rebuilt``."""
    return optree.tree_unflatten(spec, range(spec.num_leaves))


def rebuilt(shell: Any, leaves: Sequence[Any]) -> Any:
    """Return the tree of ``shell_of`` with ``leaves`` in its places, in plain Python.

    optree would do the same faster, but torch.compile cannot follow it.

    >>> rebuilt({"b": 1, "a": [0]}, ["x", "y"])
    {'b': 'y', 'a': ['x']}
    """
    if isinstance(shell, int):
        return leaves[shell]
    if type(shell) in (dict, OrderedDict):
        return type(shell)((key, rebuilt(part, leaves)) for key, part in shell.items())
    if type(shell) in (list, tuple):
        return type(shell)([rebuilt(part, leaves) for part in shell])
    if isinstance(shell, tuple) and hasattr(shell, "_fields"):
        return type(shell)(*[rebuilt(part, leaves) for part in shell])
    raise TypeError(f"a {type(shell).__name__} holds tensors of a player, and only dict, list and tuple can be traced")


def tensors_of(tree: object) -> list[Tensor]:
    """Return the tensors of any nesting of containers, in order."""
    return [leaf for leaf in optree.tree_leaves(tree) if isinstance(leaf, Tensor)]  # type: ignore[arg-type] - optree takes any object


def with_own_containers(tree: Any) -> Any:
    """Return a tree of the same leaves in containers of its own, so that those of ``tree`` cannot be changed.

    >>> batch = {"x": [1]}
    >>> with_own_containers(batch)["x"].append(2)
    >>> batch
    {'x': [1]}
    """
    if isinstance(tree, tuple):
        parts = [with_own_containers(part) for part in tree]
        if all(part is original for part, original in zip(parts, tree, strict=True)):
            return tree
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    if isinstance(tree, (dict, list, UserDict, UserList)):
        copied = copy.copy(tree)
        for key, part in copied.items() if isinstance(copied, (dict, UserDict)) else enumerate(copied):
            copied[key] = with_own_containers(part)
        return copied
    if is_dataclass(tree) and not isinstance(tree, type):
        copied = copy.copy(tree)
        for name, part in vars(copied).items():
            object.__setattr__(copied, name, with_own_containers(part))
        return copied
    return tree


def to_device(tree: Any, device: torch.device | None) -> Any:
    """Move every tensor of a batch to ``device``; ``None`` leaves it where it is."""
    if device is None:
        return tree

    def move(leaf: Any) -> Any:
        return leaf.to(device) if isinstance(leaf, Tensor) else leaf

    return optree.tree_map(move, tree)
