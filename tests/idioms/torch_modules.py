"""Small modules of torch's own kinds, and players of several parts; all map ``(N, 2)`` to ``(N, 2)``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

from tests.idioms.modules import Counter, Factory, Mask, Teacher, frozen_layer

# -- what runs in the backward pass ------------------------------------------------------------------------------------


class Checkpointed(nn.Module):
    """A network that is recomputed in the backward pass; not with ``use_reentrant=None``."""

    def __init__(self, *, use_reentrant: bool | None, dropout: float = 0.0) -> None:
        super().__init__()
        self.first, self.dropout, self.last = nn.Linear(2, 2), nn.Dropout(dropout), nn.Linear(2, 2)
        self.use_reentrant = use_reentrant

    def inner(self, x: Tensor) -> Tensor:
        return self.last(self.dropout(x).tanh())

    def forward(self, x: Tensor) -> Tensor:
        # The older form has no gradient at all where its input needs none.
        if self.use_reentrant is None:
            return self.inner(self.first(x))
        return checkpoint(self.inner, self.first(x), use_reentrant=self.use_reentrant)


class InputGradient(nn.Module):
    """A module that differentiates itself by its input, as a gradient penalty does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        output = self.inner(x)
        (slope,) = torch.autograd.grad(output.sum(), x, create_graph=True)
        return output + slope


class Reversed(torch.autograd.Function):
    """The identity, whose gradient is turned round."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -0.5 * gradient


class GradientReversal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(Reversed.apply(self.features(x).tanh()))


# -- torch's own -------------------------------------------------------------------------------------------------------


def orthogonal() -> nn.Module:
    return parametrizations.orthogonal(nn.Linear(2, 2), orthogonal_map="cayley")


def normalised(mode: str) -> Factory:
    """Batch normalisation: ``"train"``, ``"eval"`` or ``"cumulative"``."""

    def made() -> nn.Module:
        norm = nn.BatchNorm1d(2, momentum=None if mode == "cumulative" else 0.1)
        module = nn.Sequential(nn.Linear(2, 2), norm)
        with torch.no_grad():
            module[0].weight.mul_(4)  # the smaller the variance, the sharper the curvature
        return module.eval() if mode == "eval" else module

    return made


class Recurrent(nn.Module):
    """A recurrent layer over the samples, as narrow as can be."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.inner = kind(1, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x[:, :1].unsqueeze(0))[0].squeeze(0)


class Attention(nn.Module):
    """Self-attention over the samples."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(2, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x[None], x[None], x[None], need_weights=False)[0][0]


class Embedded(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.table = nn.Embedding(3, 2, **options)
        self.register_buffer("rows", torch.tensor([0, 1, 2, 1]))
        with torch.no_grad():
            self.table.weight.mul_(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table(self.rows[: len(x)])


class Limited(Embedded):
    def __init__(self) -> None:
        super().__init__(max_norm=0.4)


def pruned() -> nn.Module:
    module = nn.Linear(2, 2)
    prune.l1_unstructured(module, "weight", amount=1)
    return module


def compiled() -> nn.Module:
    torch._dynamo.reset()  # what has been compiled too often is run as it is, and then has a second derivative
    return torch.compile(nn.Linear(2, 2), backend="aot_eager")  # type: ignore[return-value] - a module for a module


def scripted() -> nn.Module:
    return torch.jit.script(nn.Linear(2, 2))


def traced() -> nn.Module:
    return torch.jit.trace(nn.Linear(2, 2), torch.zeros(4, 2))


def several() -> nn.Module:
    """Everything that a checkpoint must hold, in one network."""
    return nn.Sequential(
        frozen_layer(), Counter(), Teacher(), nn.BatchNorm1d(2), nn.Dropout(0.3), Mask(persistent=False)
    )


# -- several leaves ----------------------------------------------------------------------------------------------------


def dictionary() -> dict[str, Any]:
    return {"net": nn.Linear(2, 2), "b": torch.randn(2, 2) / 2, "a": {"deep": nn.Linear(2, 2)}}


def sequence(kind: type) -> Factory:
    return lambda: kind([nn.Linear(2, 2), torch.randn(2, 2) / 2, nn.Tanh(), nn.Linear(2, 2)])


class Lists(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.matrices = nn.ParameterList([torch.randn(2, 2) / 2, torch.randn(2, 2) / 2])
        self.named = nn.ParameterDict({"shift": torch.randn(2)})

    def forward(self, x: Tensor) -> Tensor:
        for matrix in self.matrices:
            x = (x @ matrix).tanh()
        return x + self.named["shift"]
