"""Small modules, each written in one way in which people write modules; all map ``(N, 2)`` to ``(N, 2)``."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

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


class Meter:
    """A helper with a memory, as training scripts have them."""

    def __init__(self) -> None:
        self.total, self.count = torch.zeros(2), 0

    def update(self, x: Tensor) -> Tensor:
        self.total, self.count = self.total + x.detach().mean(0), self.count + 1
        return self.total / self.count


class HelperObject(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.meter = nn.Linear(2, 2), Meter()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x - self.meter.update(x))


class OwnGenerator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.generator = nn.Linear(2, 2), torch.Generator().manual_seed(5)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x + torch.randn(x.shape, generator=self.generator, dtype=x.dtype) / 5)


class Unregistered(nn.Module):
    """A layer in a plain list, which torch does not see: it never moves."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(2, 2)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)  # it is no part of what is saved either
            self.layers = [nn.Linear(2, 2)]

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layers[0](x).tanh())


class Noisy(nn.Module):
    """Noise of Python's and of NumPy's generators."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x + random.random() / 5 + float(np.random.rand()) / 5)
