"""Small modules, each written in one way in which people write modules; all map ``(N, 2)`` to ``(N, 2)``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

Factory = Callable[[], Any]


def linear() -> nn.Module:
    return nn.Linear(2, 2)


def frozen(module: nn.Module) -> nn.Module:
    return module.requires_grad_(False)


def quietly(factory: Factory) -> Factory:
    """Silence what torch says of its older forms."""

    def made() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return factory()

    return made


# -- parameters that share or refuse to move ---------------------------------------------------------------------------


def frozen_layer() -> nn.Module:
    return nn.Sequential(frozen(nn.Linear(2, 2)), nn.Tanh(), nn.Linear(2, 2))


class Tied(nn.Module):
    """An autoencoder whose decoder has the encoder's weights, tied in one of several ways."""

    def __init__(self, tie: Callable[[nn.Linear, nn.Linear], None]) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(2, 2), nn.Linear(2, 2)
        tie(self.encoder, self.decoder)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x).tanh())


def same_parameter(encoder: nn.Linear, decoder: nn.Linear) -> None:
    decoder.weight = encoder.weight


def same_data(encoder: nn.Linear, decoder: nn.Linear) -> None:
    decoder.weight.data = encoder.weight.data


def transposed_data(encoder: nn.Linear, decoder: nn.Linear) -> None:
    decoder.weight = nn.Parameter(encoder.weight.t())


def half_of_the_data(encoder: nn.Linear, decoder: nn.Linear) -> None:
    decoder.bias.data = encoder.weight.data[0]


def two_modules_of_one_storage() -> list[nn.Module]:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight.data = first.weight.data
    return [first, nn.Tanh(), second]


class BufferOfParameter(nn.Module):
    """A buffer that views a row of a parameter, and so moves with it, but carries no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.register_buffer("row", self.inner.weight.detach()[0])

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + self.row


# -- hooks -------------------------------------------------------------------------------------------------------------


def masked_gradient() -> nn.Module:
    module, mask = nn.Linear(2, 2), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    module.weight.register_hook(lambda gradient: gradient * mask)
    return module


def masked_gradient_of_a_bare_parameter() -> nn.Parameter:
    parameter, mask = nn.Parameter(torch.randn(2, 2) / 2), torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    parameter.register_hook(lambda gradient: gradient * mask)
    return parameter


def two_hooks_in_order() -> nn.Module:
    module, mask = nn.Linear(2, 2), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    module.weight.register_hook(lambda gradient: gradient + 0.1)
    module.weight.register_hook(lambda gradient: gradient * mask)
    return module


def forward_hooks() -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))
    module[0].register_forward_pre_hook(lambda part, args: (args[0] * 0.5,))
    module[2].register_forward_hook(lambda part, args, output: output + part.bias)
    return module


def observing_backward_hook() -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))
    lengths: list[float] = []
    module[0].register_full_backward_hook(lambda part, inputs, outputs: lengths.append(float(outputs[0].norm())))
    return module


def scaling_backward_hook() -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))
    module[2].register_full_backward_hook(lambda part, inputs, outputs: (inputs[0] * 0.5,))
    return module


# -- functions that keep a module --------------------------------------------------------------------------------------


class ClosureOverSelf(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(2) / 2), nn.Linear(2, 2)
        self.prior = lambda: self.a**2

    def forward(self, x: Tensor) -> Tensor:
        return self.b(x) + self.prior()


class BoundMethod(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(2) / 2), nn.Linear(2, 2)
        self.prior = self.square

    def square(self) -> Tensor:
        return self.a**2

    def forward(self, x: Tensor) -> Tensor:
        return self.b(x) + self.prior()


def wrapped_forward() -> nn.Module:
    module = nn.Linear(2, 2)
    forward = module.forward
    module.forward = lambda x: forward(x) * 0.5
    return module


class HookOverSelf(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale, self.inner = nn.Parameter(torch.tensor(0.5)), nn.Linear(2, 2)
        self.inner.register_forward_hook(lambda part, args, output: output * self.scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class ComputedOnce(nn.Module):
    """An attribute computed from a parameter when the module was made."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.raised = self.inner.weight + 0.1

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + x @ self.raised


# -- state that is no parameter ----------------------------------------------------------------------------------------


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.calls = nn.Linear(2, 2), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.inner(x) * (1 + 0.1 * self.calls)


class TensorAttribute(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.mean = nn.Linear(2, 2), torch.zeros(2)

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return self.inner(x - self.mean)


class TensorAttributeInPlace(TensorAttribute):
    def forward(self, x: Tensor) -> Tensor:
        self.mean.mul_(0.9).add_(x.detach().mean(0), alpha=0.1)
        return self.inner(x - self.mean.clone())


class ListAttribute(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.past: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        self.past.append(float(x.detach().mean()))
        return self.inner(x) + sum(self.past) / len(self.past)


class Mask(nn.Module):
    """Causal attention over the samples."""

    def __init__(self, *, persistent: bool) -> None:
        super().__init__()
        self.query = nn.Linear(2, 2)
        self.register_buffer("mask", torch.triu(torch.full((4, 4), -torch.inf), 1), persistent=persistent)

    def forward(self, x: Tensor) -> Tensor:
        return (self.query(x) @ x.T + self.mask[: len(x), : len(x)]).softmax(-1) @ x


class NotANumber(nn.Module):
    """A buffer of NaN as a placeholder, and a best value that begins at infinity."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.register_buffer("placeholder", torch.full((2,), torch.nan))
        self.register_buffer("smallest", torch.tensor(torch.inf))

    def forward(self, x: Tensor) -> Tensor:
        output = self.inner(x)
        self.smallest.copy_(torch.minimum(self.smallest, output.detach().min()))
        return output + self.smallest.clone() / 10


class AssignedBuffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.register_buffer("mean", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return self.inner(x - self.mean)


class GrowingBuffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.register_buffer("queue", torch.zeros(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        self.queue = torch.cat([self.queue, x.detach().mean(0, keepdim=True)])[-3:]
        return self.inner(x - self.queue.mean(0))


class ComplexBuffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.register_buffer("phase", torch.exp(1j * torch.tensor([0.3, 0.6])))
        self.register_buffer("order", torch.tensor([1, 0]))

    def forward(self, x: Tensor) -> Tensor:
        return (self.inner(x)[:, self.order] * self.phase).real


class ComplexParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.z = nn.Parameter(torch.randn(2, 2, dtype=torch.complex128) / 2)

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(self.z.dtype) @ self.z).real


class Teacher(nn.Module):
    """A mean teacher: a frozen copy that follows the student in every forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.student, self.teacher = nn.Linear(2, 2), frozen(nn.Linear(2, 2))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            for follower, leader in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                follower.mul_(0.9).add_(leader, alpha=0.1)
            taught = self.teacher(x)
        return self.student(x) - taught / 2


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
