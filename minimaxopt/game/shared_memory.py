"""Tensors of a player that share their memory, as one variable.

An optimizer moves each of them by itself, as in a loop written by hand. A derivative in the space of values needs each
value once: the coordinates are those of the tensor that holds the others, and theirs are read from it.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from minimaxopt._types import Player, Tensors
from minimaxopt.errors import ArgumentError
from minimaxopt.game.trees import extent_of, storage_of


@final
class SharedMemory:
    """The tensors of a player whose values are those of another one, or of a part of it.

    Args:
        player: whose tensors they are, for errors.
        tensors: all of them, by name.

    Raises:
        ArgumentError: if two share a part of their memory, and neither holds the other.

    Examples:
        >>> weight = torch.arange(4.0).reshape(2, 2)
        >>> shared = SharedMemory("u", {"encoder": weight, "decoder": weight.t()})
        >>> list(shared.reduced({"encoder": weight, "decoder": weight.t()}))
        ['encoder']
        >>> shared.expanded({"encoder": weight})["decoder"]
        tensor([[0., 2.],
                [1., 3.]])
        >>> shared.merged({"encoder": torch.ones(2, 2), "decoder": weight.t()})["encoder"]
        tensor([[1., 2.],
                [3., 4.]])
    """

    def __init__(self, player: Player, tensors: Tensors) -> None:
        self._tensors = {name: t.detach() for name, t in tensors.items()}
        self._holder: dict[str, str] = {}
        by_storage: dict[int, list[str]] = {}
        for name in sorted(tensors, key=lambda name: -tensors[name].numel()):
            others = by_storage.setdefault(storage_of(tensors[name]), [])
            start, end = extent_of(tensors[name])
            for other in others:
                first, last = extent_of(tensors[other])
                if max(start, first) < min(end, last):
                    dense = tensors[other].numel() * tensors[other].element_size() == last - first
                    if not (first <= start and end <= last and dense):
                        raise ArgumentError(
                            f"{player}.{name}: shares a part of its memory with {player}.{other}, so that neither's values "
                            "are variables of their own; let one hold the other, or tie them as one Parameter"
                        )
                    self._holder[name] = other
                    break
            else:
                others.append(name)

    @property
    def any(self) -> bool:
        """``True`` if some tensor shares its memory with another."""
        return bool(self._holder)

    def reduced(self, tensors: Tensors) -> Tensors:
        """Return the tensors that hold the others."""
        return {name: t for name, t in tensors.items() if name not in self._holder}

    def expanded(self, tensors: Tensors) -> Tensors:
        """Return values of all tensors from those of ``reduced``."""
        if not self._holder:
            return tensors
        every = {}
        for name, own in self._tensors.items():
            holder = self._holder.get(name)
            every[name] = tensors[name] if holder is None else self._view(tensors[holder], holder, own)
        return every

    def merged(self, derivatives: Tensors) -> Tensors:
        """Return the derivatives by the tensors of ``reduced`` from those by all: sums over what shares the memory."""
        if not self._holder:
            return derivatives
        total = self.reduced(derivatives)
        for name, holder in self._holder.items():
            if name in derivatives:
                part = torch.zeros_like(total[holder])
                total[holder] = total[holder] + self._scattered(part, holder, name, derivatives[name])
        return total

    def _view(self, value: Tensor, holder: str, own: Tensor) -> Tensor:
        """Return what a tensor reads from its holder's value."""
        base = self._tensors[holder]
        laid_out = torch.empty_strided(base.shape, base.stride(), dtype=value.dtype, device=value.device).copy_(value)
        offset = own.storage_offset() - base.storage_offset()
        return laid_out.as_strided(own.shape, own.stride(), offset).clone()

    def _scattered(self, part: Tensor, holder: str, name: str, derivative: Tensor) -> Tensor:
        base, own = self._tensors[holder], self._tensors[name]
        laid_out = torch.empty_strided(base.shape, base.stride(), dtype=part.dtype, device=part.device).zero_()
        laid_out.as_strided(own.shape, own.stride(), own.storage_offset() - base.storage_offset()).add_(derivative)
        return laid_out
