"""Players: what they may hold, and which of them owns a tensor."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from minimaxopt._types import Player, Tree
from minimaxopt.errors import ArgumentError
from minimaxopt.game.trees import leaves_with_names


def is_responding(player: Tree) -> bool:
    """Return whether a player is a function rather than modules and tensors."""
    return callable(player) and not isinstance(player, nn.Module)


class _Claim(NamedTuple):
    player: Player
    where: str
    start: int
    """The first byte of the tensor in its storage, and the one past the last."""
    end: int
    still: bool
    """Whether it is part of a module and no optimizer moves it."""


@final
class Ownership:
    """The owner of each tensor, by identity and by memory: a view of u's tensor is u's tensor."""

    def __init__(self) -> None:
        self._by_id: dict[int, _Claim] = {}
        self._by_storage: dict[int, list[_Claim]] = {}

    def claim(self, player: Player, tree: Tree) -> None:
        """Note a player's tensors as its own; raise ``ArgumentError`` for what no player may hold."""
        if tree is None or is_responding(tree):
            return
        leaves = leaves_with_names(tree)
        if not leaves:
            raise ArgumentError(
                f"{player}: {type(tree).__name__} is empty; give a module, a tensor, or a nesting of both"
            )
        names: set[str] = set()
        for path, leaf in leaves:
            where = f"{player}.{path}" if path else player
            if isinstance(leaf, nn.Module):
                tensors = [(f"{path}.{name}" if path else name, tensor) for name, tensor in module_tensors(leaf)]
            elif isinstance(leaf, Tensor):
                tensors = [(path, leaf)]
            else:
                raise ArgumentError(
                    f"{where}: {type(leaf).__name__} is neither a module nor a tensor; wrap numbers as "
                    "torch.tensor(...) and leave constants to f"
                )
            for name, tensor in tensors:
                whose = f"{player}.{name}" if name else player
                if name in names:
                    raise ArgumentError(f"{whose}: is the name of two tensors; rename a key, or leave dots out of keys")
                names.add(name)
                self._add(player, whose, tensor, inside_module=leaf is not tensor)

    def _add(self, player: Player, where: str, tensor: Tensor, *, inside_module: bool) -> None:
        if is_lazy(tensor):
            raise ArgumentError(
                f"{where}: a lazy parameter has no shape yet; run the module once on a batch before it plays"
            )
        if not tensor.is_floating_point() and (not inside_module or tensor.requires_grad):
            kind = str(tensor.dtype).removeprefix("torch.")
            raise ArgumentError(
                f"{where}: a {kind} tensor cannot be moved by real gradients; give a floating tensor "
                "(for a complex one torch.view_as_real, and torch.view_as_complex inside f)"
            )
        owner = self._owner(tensor)
        # Modules of one player may tie weights, and both may hold what never moves; a bare tensor that is also someone's
        # weight has no consistent move.
        if owner is not None and not (inside_module and (owner.player == player or self._still(owner, tensor))):
            raise ArgumentError(
                f"{where}: shares its values with {owner.where}, so that one move would move both; copy one of them "
                "(copy.deepcopy for a module, clone() for a tensor)"
            )
        claim = _Claim(player, where, *extent_of(tensor), inside_module and not tensor.requires_grad)
        self._by_id.setdefault(id(tensor), claim)
        self._by_storage.setdefault(storage_of(tensor), []).append(claim)

    @staticmethod
    def _still(owner: _Claim, tensor: Tensor) -> bool:
        return owner.still and not tensor.requires_grad

    def _owner(self, tensor: Tensor) -> _Claim | None:
        if id(tensor) in self._by_id:
            return self._by_id[id(tensor)]
        start, end = extent_of(tensor)
        claims = self._by_storage.get(storage_of(tensor), [])
        return next((c for c in claims if max(start, c.start) < min(end, c.end)), None)


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
