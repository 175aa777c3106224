"""Accumulation over micro-batches: one step's gradients formed from parts of its batch, in less memory.

``grad f(batch) = sum_k (N_k / N) grad f(batch_k)`` for a risk that is a mean over the samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import optree
import torch
from torch import Tensor

from minimaxopt._types import Tensors
from minimaxopt.calculus.gradients import Gradients
from minimaxopt.errors import DataError


def micro_batches(batch: tuple[Any, ...], count: int) -> list[tuple[float, tuple[Any, ...]]]:
    """Return a batch in parts of nearly equal size, each with its share of the samples.

    Args:
        batch: ``()`` without data and ``(batch,)`` with.
        count: the number of parts; a batch of fewer samples has one part for each.

    Raises:
        DataError: if the batch cannot be split by its samples.

    Examples:
        >>> [(share, len(part)) for share, (part,) in micro_batches((torch.zeros(5, 2),), 2)]
        [(0.6, 3), (0.4, 2)]
    """
    leaves, structure = optree.tree_flatten(batch)  # type: ignore[arg-type] - optree takes any object
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim()]
    sizes = {len(tensor) for tensor in tensors}
    if not leaves or len(tensors) < len(leaves) or len(sizes) > 1 or 0 in sizes:
        raise DataError(
            "micro_batches: a batch can only be split if it holds tensors alone, with one row a sample; give such "
            "batches, or leave micro_batches out"
        )
    samples = sizes.pop()
    split = [torch.tensor_split(tensor, min(count, samples)) for tensor in tensors]
    return [(len(rows[0]) / samples, optree.tree_unflatten(structure, rows)) for rows in zip(*split, strict=True)]  # type: ignore[misc] - of the batch's structure


def accumulated(terms: Iterable[tuple[float, Gradients]]) -> Gradients:
    """Return the sum of gradients, each times its share, holding no more than two of them at a time."""
    risks: list[Tensor] = []
    u: Tensors = {}
    v: Tensors = {}
    for share, term in terms:
        risks.append(share * term.risk)
        accumulate(u, share, term.u)
        accumulate(v, share, term.v)
    return Gradients(torch.stack(risks).sum(), u, v)


def accumulate(total: Tensors, share: float, term: Tensors) -> None:
    """Add ``share * term`` to ``total``, which is empty at first."""
    for name, tensor in term.items():
        if name in total:
            total[name].add_(tensor, alpha=share)
        else:
            total[name] = share * tensor


def mean_logs(logs: list[tuple[float, Mapping[str, Tensor]]]) -> dict[str, Tensor]:
    """Return the mean of each logged value over the micro-batches that have it, weighted by their shares."""
    means: dict[str, Tensor] = {}
    for name in dict.fromkeys(name for _, values in logs for name in values):
        weighted = [(share, values[name]) for share, values in logs if name in values]
        total = sum(share for share, _ in weighted)
        means[name] = torch.stack([(share / total) * value for share, value in weighted]).sum()
    return means
