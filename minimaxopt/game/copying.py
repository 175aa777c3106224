"""Faithful copies of players.

``copy.deepcopy`` copies a module, but not what ties its tensors together: views and shared storage come apart, and
gradient hooks are dropped. Here every tensor is copied first, together with those that share its storage, and
``deepcopy`` then finds the copies in its memo.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple, final

import optree
import torch
from torch import Tensor, nn

from minimaxopt._types import Player, Tree
from minimaxopt.errors import ArgumentError
from minimaxopt.game.trees import is_responding, leaves_with_names, parts_with_names, storage_of, tensors_of

IN_PLACE = "or play on the modules themselves by solve(..., inplace=True)"
"""The remedy where a copy cannot be faithful."""


class NamedTensor(NamedTuple):
    """A tensor of a player, and what the user would call it."""

    name: str
    tensor: Tensor


@final
class Copier:
    """Copies both players of a game, with what they share.

    Args:
        device: where the copies live; ``None`` leaves them where the originals are.

    Attributes:
        originals: the tensors that were copied, by name.
        detached: copies of tensors that had a graph. A module that computes them anew, as spectral normalisation does,
            never reads them; one that computed them once would read values without their gradient.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._device = device
        self._memo: dict[int, Any] = {}
        self.originals: list[NamedTensor] = []
        self.detached: list[NamedTensor] = []

    def copy(self, player: Player, tree: Tree, *, modules_only: bool = False) -> Tree:
        """Return a copy of a player, whose tensors can be moved.

        Args:
            player: whose it is.
            tree: the player.
            modules_only: whether bare tensors stay the given ones.

        Raises:
            ArgumentError: if something in it cannot be copied.
        """
        if tree is None or is_responding(tree):
            return tree
        leaves = leaves_with_names(tree)
        bare = {id(leaf) for _, leaf in leaves if modules_only and not isinstance(leaf, nn.Module)}
        named = [item for item in tensors_with_names(player, tree) if id(item.tensor) not in {*self._memo, *bare}]
        self._copy_tensors(named)
        copied = [
            leaf if id(leaf) in bare else self._copy_leaf(f"{player}.{path}" if path else player, leaf)
            for path, leaf in leaves
        ]
        for _, tensor in named:
            self._copy_attributes(tensor, self._memo[id(tensor)])
        return optree.tree_unflatten(optree.tree_structure(tree, none_is_leaf=True), copied)

    def _copy_tensors(self, named: list[NamedTensor]) -> None:
        by_storage: dict[int, list[NamedTensor]] = {}
        for item in named:
            by_storage.setdefault(storage_of(item.tensor), []).append(item)
        for items in by_storage.values():
            values = [torch.func.debug_unwrap(item.tensor) for item in items]
            for item, value, copied in zip(items, values, self._together([v.detach() for v in values]), strict=True):
                new = nn.Parameter(copied, value.requires_grad) if isinstance(item.tensor, nn.Parameter) else copied
                if value is not item.tensor or value.grad_fn is not None:
                    self.detached.append(item._replace(tensor=new))
                elif value.requires_grad:
                    new.requires_grad_()
                self._memo[id(item.tensor)] = new
                self.originals.append(item)

    def _together(self, tensors: list[Tensor]) -> list[Tensor]:
        """Return copies that share storage as the tensors do."""
        if len({id(t) for t in tensors}) == 1 or any(t.layout is not torch.strided for t in tensors):
            return [self._moved(t).clone() if self._moved(t) is t else self._moved(t) for t in tensors]
        storage = tensors[0].untyped_storage()
        flat = torch.empty(0, dtype=torch.uint8, device=tensors[0].device)
        flat = self._moved(flat.set_(storage, 0, (storage.nbytes(),), (1,)).clone()).untyped_storage()

        def view(tensor: Tensor) -> Tensor:
            like = torch.empty(0, dtype=tensor.dtype, device=self._device or tensor.device)
            return like.set_(flat, tensor.storage_offset(), tensor.shape, tensor.stride())

        return [view(tensor) for tensor in tensors]

    def _moved(self, tensor: Tensor) -> Tensor:
        return tensor if self._device is None else tensor.to(self._device)

    def _copy_leaf(self, name: str, leaf: Any) -> Any:
        if not isinstance(leaf, nn.Module):
            # A bare Parameter and a plain tensor are moved alike: who names a tensor as a player wants it moved.
            tensor: Tensor = self._memo[id(leaf)]
            self.detached = [item for item in self.detached if item.tensor is not tensor]
            return tensor.requires_grad_()
        for path, part in leaf.named_modules():
            if isinstance(part, torch.jit.ScriptModule) and any(p.requires_grad for p in part.parameters()):
                where = f"{name}.{path}" if path else name
                raise ArgumentError(
                    f"{where}: a TorchScript module cannot be copied with its parameters; give the module as it was "
                    f"before, {IN_PLACE}"
                )
        try:
            copied = copy.deepcopy(leaf, self._memo)
        except (RuntimeError, TypeError) as error:
            raise ArgumentError(
                f"{name}: {type(leaf).__name__} cannot be copied ({error}), and a solve works on copies; remove the "
                f"attribute that cannot, give the module a __deepcopy__, {IN_PLACE}"
            ) from error
        return copied if self._device is None else copied.to(self._device)

    def _copy_attributes(self, tensor: Tensor, copied: Tensor) -> None:
        """Give a copy the gradient hooks, and the attributes, that users have set on a tensor."""
        if vars(tensor):
            vars(copied).update(copy.deepcopy(vars(tensor), self._memo))
        if tensor.grad_fn is None and copied.requires_grad:
            for hook in list((getattr(tensor, "_backward_hooks", None) or {}).values()):
                copied.register_hook(copy.deepcopy(hook, self._memo))  # a method goes with its module


def copy_modules(player: Player, tree: Tree) -> Tree:
    """Return a tree with copies of its modules, which share among them what the modules do."""
    return Copier().copy(player, tree, modules_only=True)


def tensors_with_names(player: Player, tree: Tree) -> Iterator[NamedTensor]:
    """Yield every plain tensor that a player holds: parameters, buffers, attributes and what lies in containers.

    Tensors of types of their own are left to their ``__deepcopy__``.
    """
    for path, leaf in leaves_with_names(tree):
        name = f"{player}.{path}" if path else player
        if isinstance(leaf, Tensor):
            yield NamedTensor(name, leaf)
        elif isinstance(leaf, nn.Module):
            for part_path, part in parts_with_names(leaf):
                yield from _tensors_of_part(f"{name}.{part_path}" if part_path else name, part)


def _tensors_of_part(name: str, part: Any) -> Iterator[NamedTensor]:
    named: list[Any] = [vars(part)["_parameters"], vars(part)["_buffers"]] if isinstance(part, nn.Module) else []
    for store in (*named, vars(part)):
        for key, value in store.items():
            if value is None or key in ("_parameters", "_buffers", "_modules"):
                continue
            for tensor in [value] if isinstance(value, Tensor) else tensors_of(value) if _container(value) else ():
                if type(torch.func.debug_unwrap(tensor)) in (Tensor, nn.Parameter):
                    yield NamedTensor(f"{name}.{key}", tensor)


def _container(value: object) -> bool:
    return isinstance(value, (dict, list, tuple)) and bool(value)
