"""A player's tree: its leaves (optree does the walking), the parts of its modules, and the memory of its tensors."""

from __future__ import annotations

import copy
from collections import OrderedDict, UserDict, UserList
from dataclasses import is_dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import optree
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


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


def is_responding(player: Any) -> bool:
    """Return whether a player is a function rather than modules and tensors."""
    return callable(player) and not isinstance(player, nn.Module)


def parts_with_names(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield a module's parts by their path: submodules, and the objects that they keep as attributes.

    An object is one of a class of the user's, such as a meter with a running mean; what can be called is not.
    """
    known: set[int] = set()

    def objects(path: str, owner: Any) -> Iterator[tuple[str, Any]]:
        for key, value in vars(owner).items():
            if _is_object(value) and id(value) not in known:
                known.add(id(value))
                where = f"{path}.{key}" if path else key
                yield where, value
                yield from objects(where, value)

    for path, part in module.named_modules():
        if not isinstance(part, torch.jit.ScriptModule):
            yield path, part
            yield from objects(path, part)


def _is_object(value: Any) -> bool:
    kind = type(value)
    return (
        hasattr(value, "__dict__")
        and not isinstance(value, (Tensor, nn.Module, type, ModuleType))
        and not callable(value)
        and kind.__module__.partition(".")[0] not in ("torch", "numpy", "builtins", "logging", "threading")
    )


def module_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield a module's parameters and buffers by name."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def storage_of(tensor: Tensor) -> int:
    """Return a number that tensors have in common exactly if they share storage."""
    try:
        address = tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):  # sparse and fake tensors have none; identity alone must do
        address = 0
    return address or -id(tensor)


def extent_of(tensor: Tensor) -> tuple[int, int]:
    """Return the first byte of a tensor in its storage, and the one past its last."""
    if tensor.layout is not torch.strided or not tensor.numel():
        return 0, 0
    span = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    first = tensor.storage_offset() * tensor.element_size()
    return int(first), int(first + span * tensor.element_size())
