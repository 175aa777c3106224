"""What tests of derivatives share: tolerances, players drawn alike, and inner products of dictionaries of tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minimaxopt import Context
    from minimaxopt._types import Player, Tensors
    from minimaxopt.calculus.gradients import FlatRisk

ENGINES = 1e-12  # two exact float64 computations of one derivative
HESSIAN = 1e-10  # against a dense Hessian of a small network
DIFFERENCES = 1e-7  # against central differences with a step of 1e-6
# torch compiles its own forward-mode decompositions the first time that jvp runs.
FORWARD_MODE = pytest.mark.filterwarnings(r"ignore:.*torch\.jit\.script.* is deprecated:DeprecationWarning")
PLAYERS: tuple[Player, Player] = ("u", "v")


def in_double() -> Iterator[None]:
    """To be made a fixture: new tensors in float64, and one seed."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return bool((a - b).abs().max() <= tolerance * (1 + b.abs().max()))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def like(tensors: Tensors, seed: int) -> Tensors:
    return {name: drawn(*t.shape, seed=seed + i) for i, (name, t) in enumerate(tensors.items())}


def inner(a: Tensors, b: Tensors) -> Tensor:
    return torch.stack([(a[name] * b[name]).sum() for name in a]).sum()


def pure(ctx: Context) -> FlatRisk:
    """Return the risk of a context as a pure function of its players' tensors."""
    functional, buffers = ctx.evaluation.functional, ctx.evaluation.buffers
    return lambda u, v: functional.evaluate(u, v, ctx.batch, buffers)[0]
