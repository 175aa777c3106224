"""``Batches``: an in-memory sampler whose batches are a function of seed and number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeGuard, final, runtime_checkable

import optree
import torch
from torch import Tensor

from minimaxopt._types import Tree
from minimaxopt.errors import ArgumentError, DataError
from minimaxopt.game.random_streams import stream
from minimaxopt.game.trees import leaves_with_names, tensors_of, to_device


@final
class Batches:
    """An in-memory sampler whose batch ``i`` is a pure function of ``(seed, i)``.

    Each epoch is a new permutation of the samples; an epoch's last batch is smaller where the size does not divide. The
    tensors stay on their device, so that no batch is copied from the host. A solve that reads from it resumes exactly.

    Args:
        tensors: any nesting of tensors that have the same first dimension (samples), such as ``(x, y)``.
        batch_size: samples in a batch.
        seed: of the permutations.
        shuffle: whether to permute at all.

    Raises:
        DataError: if there are no samples, the first dimensions differ, or something is not a tensor.
        ArgumentError: if ``batch_size`` is not a positive integer, or ``seed`` is not an integer.

    Examples:
        >>> import torch
        >>> batches = Batches((torch.arange(6.0), torch.arange(6)), batch_size=4, seed=0)
        >>> len(batches), [len(x) for x, y in batches]
        (2, [4, 2])
        >>> torch.equal(batches.at(7)[0], batches.at(7)[0])
        True
    """

    def __init__(self, tensors: Tree, batch_size: int, seed: int = 0, *, shuffle: bool = True) -> None:
        leaves = tensors_of(tensors)
        for path, leaf in leaves_with_names(tensors):
            if leaf is not None and not isinstance(leaf, Tensor):
                raise DataError(
                    f"tensors: {type(leaf).__name__}{f' at {path}' if path else ''} is not a tensor; convert it first, "
                    "for example by torch.as_tensor"
                )
        if not leaves:
            raise DataError("tensors: hold no tensor; give a nesting of tensors such as (x, y)")
        lengths = {t.shape[0] if t.dim() else None for t in leaves}
        if len(lengths) != 1 or None in lengths:
            raise DataError(
                f"tensors: have shapes {[tuple(t.shape) for t in leaves]}, which differ in the first dimension; give one "
                "row a sample"
            )
        self._n = leaves[0].shape[0]
        if self._n == 0:
            raise DataError("tensors: hold no samples (first dimension 0); give at least one")
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:  # pyright: ignore[reportUnnecessaryIsInstance] - callers are not all typed
            raise ArgumentError(f"batch_size: {batch_size!r} is not a positive integer; give the samples in a batch")
        if isinstance(seed, bool) or not isinstance(seed, int):  # pyright: ignore[reportUnnecessaryIsInstance] - callers are not all typed
            raise ArgumentError(f"seed: {seed!r} is not an integer; give one")
        self.tensors, self.batch_size, self.seed, self.shuffle = tensors, batch_size, seed, shuffle
        self._devices = {t.device for t in leaves}
        self._epoch: tuple[int, dict[torch.device, Tensor]] | None = None

    def __repr__(self) -> str:
        settings = f"batch_size={self.batch_size}, seed={self.seed}, shuffle={self.shuffle}"
        return f"Batches of {self._n} samples ({settings})"

    def __len__(self) -> int:
        return -(-self._n // self.batch_size)

    def __iter__(self) -> Iterator[Tree]:
        return (self.at(i) for i in range(len(self)))

    @property
    def samples(self) -> int:
        """The number of samples."""
        return self._n

    def at(self, index: int) -> Tree:
        """Return batch ``index``, counted from the first batch of the first epoch on without end."""
        epoch, offset = divmod(index, len(self))
        rows = slice(offset * self.batch_size, (offset + 1) * self.batch_size)
        order = self._permutations(epoch) if self.shuffle else None

        def chosen(tensor: Tensor) -> Tensor:
            return tensor[rows] if order is None else tensor[order[tensor.device][rows]]

        return optree.tree_map(chosen, self.tensors)

    def to(self, device: torch.device | str) -> Batches:
        """Return the same sampler over tensors on ``device``; its batches hold the same samples."""
        moved = to_device(self.tensors, torch.device(device))
        return Batches(moved, self.batch_size, self.seed, shuffle=self.shuffle)

    def _permutations(self, epoch: int) -> dict[torch.device, Tensor]:
        if self._epoch is None or self._epoch[0] != epoch:
            # Drawn on the CPU whatever the device, so that a run on another device sees the same batches.
            generator = torch.Generator().manual_seed(stream(self.seed, epoch, "shuffle"))
            order = torch.randperm(self._n, generator=generator)
            self._epoch = (epoch, {device: order.to(device) for device in self._devices})
        return self._epoch[1]


@runtime_checkable
class Seekable(Protocol):
    """Data whose batch ``i`` can be had at any time."""

    def at(self, index: int) -> Tree:
        """Return batch ``index``."""
        ...


def is_seekable(data: object) -> TypeGuard[Seekable]:
    """Return whether batches can be had by number; a loader may have a number called ``at``.

    >>> is_seekable(Batches(torch.ones(4), batch_size=2)), is_seekable([torch.ones(2)])
    (True, False)
    """
    return isinstance(data, Seekable) and callable(data.at)
