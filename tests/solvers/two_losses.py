"""Steps of games of two losses, written by hand: on flat vectors, by autograd of the whole step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import softplus
from torch.nn.utils import parameters_to_vector

from minimaxopt import (
    AlternatingGDA,
    AnchoredExtragradient,
    Ascent,
    Averaged,
    BestResponse,
    Descent,
    Extragradient,
    Lookahead,
    NegativeMomentum,
    Optimistic,
    PastExtragradient,
    Sensitivity,
    SimultaneousGDA,
    SmoothedGDA,
    Stackelberg,
    TwoTimescale,
    Unrolled,
)

RATE_U, RATE_V = 0.1, 0.2
Loss = Callable[[Tensor, Tensor, Any], Tensor]


def players() -> tuple[torch.nn.Module, torch.nn.Module]:
    """A generator of two numbers from two, and a discriminator."""
    torch.manual_seed(0)
    generator = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
    discriminator = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Softplus(), torch.nn.Linear(3, 1))
    return generator.double(), discriminator.double()


def generator_loss(u: Any, v: Any, batch: Any) -> Tensor:
    """The non-saturating loss, which is not minus the discriminator's."""
    noise, _ = batch
    return softplus(-v(u(noise))).mean()


def discriminator_loss(u: Any, v: Any, batch: Any) -> Tensor:
    noise, real = batch
    decay = sum(p.square().sum() for p in v.parameters())
    return softplus(v(u(noise))).mean() + softplus(-v(real)).mean() + 0.5 * decay


def data(steps: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    draw: Any = lambda: torch.randn(6, 2, generator=generator, dtype=torch.float64)  # noqa: E731 - named for its use
    return [(draw(), draw() + 1) for _ in range(steps)]


class _Modules(torch.nn.Module):
    def __init__(self, u: torch.nn.Module, v: torch.nn.Module) -> None:
        super().__init__()
        self.u, self.v = u, v

    def forward(self, loss: Any, batch: Any) -> Tensor:
        return loss(self.u, self.v, batch)


def on_vectors(loss: Any, u: torch.nn.Module, v: torch.nn.Module) -> Loss:
    """Return a loss on modules as a function of both players' flat vectors."""
    both = _Modules(u, v)

    def value(x: Tensor, y: Tensor, batch: Any) -> Tensor:
        tensors: dict[str, Tensor] = {}
        for name, module, vector in (("u", u, x), ("v", v, y)):
            pieces = vector.split([p.numel() for p in module.parameters()])
            named = zip(module.named_parameters(), pieces, strict=True)
            tensors |= {f"{name}.{n}": piece.view_as(p) for (n, p), piece in named}
        return functional_call(both, tensors, (loss, batch))

    return value


@dataclass
class Hand:
    """A game of two losses on vectors, with the derivatives of which all steps are made."""

    f: Loss
    g: Loss
    u: Tensor
    v: Tensor
    memory: dict[str, Any] = field(default_factory=dict)

    def grad(self, loss: Loss, u: Tensor, v: Tensor, batch: Any, player: str) -> Tensor:
        x, y = u.detach().requires_grad_(), v.detach().requires_grad_()
        return torch.autograd.grad(loss(x, y, batch), x if player == "u" else y)[0]

    def operator(self, u: Tensor, v: Tensor, batch: Any) -> tuple[Tensor, Tensor]:
        return self.grad(self.f, u, v, batch, "u"), self.grad(self.g, u, v, batch, "v")

    def total(self, u: Tensor, v: Tensor, batch: Any, steps: int, size: float) -> Tensor:
        """``d/du f(u, v_K(u))`` by autograd through the whole loop."""
        x = u.detach().requires_grad_()
        y = v.detach().requires_grad_()
        for _ in range(steps):
            y = y - size * torch.autograd.grad(self.g(x, y, batch), y, create_graph=True)[0]
        return torch.autograd.grad(self.f(x, y, batch), x)[0]


def simultaneous(h: Hand, batch: Any) -> None:
    a, b = h.operator(h.u, h.v, batch)
    h.u, h.v = h.u - RATE_U * a, h.v - RATE_V * b


def alternating(h: Hand, batch: Any, first: str = "u", ascents: int = 1) -> None:
    for player in "uv" if first == "u" else "vu":
        if player == "u":
            h.u = h.u - RATE_U * h.grad(h.f, h.u, h.v, batch, "u")
        else:
            for _ in range(ascents):
                h.v = h.v - RATE_V * h.grad(h.g, h.u, h.v, batch, "v")


def timescales(h: Hand, batch: Any) -> None:
    a, b = h.operator(h.u, h.v, batch)
    h.u, h.v = h.u - RATE_U / 4 * a, h.v - RATE_V * b


def momentum(h: Hand, batch: Any) -> None:
    before = h.memory.get("moves", (torch.zeros_like(h.u), torch.zeros_like(h.v)))
    du = -RATE_U * h.grad(h.f, h.u, h.v, batch, "u") - before[0] / 2
    h.u = h.u + du
    dv = -RATE_V * h.grad(h.g, h.u, h.v, batch, "v") - before[1] / 2
    h.v = h.v + dv
    h.memory["moves"] = du, dv


def smoothed(h: Hand, batch: Any) -> None:
    centre = h.memory.setdefault("centre", h.u)
    h.u = h.u - RATE_U * (h.grad(h.f, h.u, h.v, batch, "u") + (h.u - centre))
    h.v = h.v - RATE_V * h.grad(h.g, h.u, h.v, batch, "v")
    h.memory["centre"] = centre + 0.1 * (h.u - centre)


def extragradient(h: Hand, batch: Any) -> None:
    a, b = h.operator(h.u, h.v, batch)
    a, b = h.operator(h.u - RATE_U * a, h.v - RATE_V * b, batch)
    h.u, h.v = h.u - RATE_U * a, h.v - RATE_V * b


def past(h: Hand, batch: Any) -> None:
    a, b = h.memory.get("past", (torch.zeros_like(h.u), torch.zeros_like(h.v)))
    a, b = h.memory["past"] = h.operator(h.u - RATE_U * a, h.v - RATE_V * b, batch)
    h.u, h.v = h.u - RATE_U * a, h.v - RATE_V * b


def optimistic(h: Hand, batch: Any) -> None:
    now = h.operator(h.u, h.v, batch)
    before = h.memory.get("before", now)
    h.memory["before"] = now
    h.u = h.u - RATE_U * (2 * now[0] - before[0])
    h.v = h.v - RATE_V * (2 * now[1] - before[1])


def anchored(h: Hand, batch: Any) -> None:
    u0, v0 = h.memory.setdefault("anchor", (h.u, h.v))
    i = h.memory["i"] = h.memory.get("i", -1) + 1
    pull = (u0 - h.u) / (i + 2), (v0 - h.v) / (i + 2)
    a, b = h.operator(h.u, h.v, batch)
    a, b = h.operator(h.u + pull[0] - RATE_U * a, h.v + pull[1] - RATE_V * b, batch)
    h.u, h.v = h.u + pull[0] - RATE_U * a, h.v + pull[1] - RATE_V * b


def sensitivity(h: Hand, batch: Any, alternate: bool = False) -> None:
    x, y = h.u.detach().requires_grad_(), h.v.detach().requires_grad_()
    b = torch.autograd.grad(h.g(x, y, batch), y)[0]
    if alternate:
        y = (h.v - RATE_V * b).detach().requires_grad_()
    slope = torch.autograd.grad(h.g(x, y, batch), y, create_graph=True)[0]
    a = torch.autograd.grad(h.f(x, y, batch) + 0.7 / 2 * slope.square().sum(), x)[0]
    h.u, h.v = h.u - RATE_U * a, h.v - RATE_V * b


def unrolled(h: Hand, batch: Any) -> None:
    a = h.total(h.u, h.v, batch, 3, 0.3)
    h.u, h.v = h.u - RATE_U * a, h.v - RATE_V * h.grad(h.g, h.u, h.v, batch, "v")


def stackelberg(h: Hand, batch: Any) -> None:
    """Form the Hessians whole, and solve by elimination."""
    hessian: Any = torch.autograd.functional.hessian(lambda x, y: h.g(x, y, batch), (h.u, h.v))
    w = torch.linalg.solve(hessian[1][1], h.grad(h.f, h.u, h.v, batch, "v"))
    a, b = h.operator(h.u, h.v, batch)
    h.u, h.v = h.u - RATE_U * (a - hessian[0][1] @ w), h.v - RATE_V * b


def lookahead(h: Hand, batch: Any) -> None:
    slow = h.memory.setdefault("slow", (h.u, h.v))
    i = h.memory["i"] = h.memory.get("i", 0) + 1
    simultaneous(h, batch)
    if i % 2 == 0:
        h.u, h.v = (h.u + slow[0]) / 2, (h.v + slow[1]) / 2
        h.memory["slow"] = h.u, h.v


def averaged(h: Hand, batch: Any) -> None:
    if "fast" in h.memory:
        mean, (h.u, h.v), i = (h.u, h.v), h.memory["fast"], h.memory["i"]
    else:
        mean, i = (h.u, h.v), 0
    alternating(h, batch)
    h.memory |= {"fast": (h.u, h.v), "i": i + 1}
    h.u, h.v = mean[0] + (h.u - mean[0]) / (i + 1), mean[1] + (h.v - mean[1]) / (i + 1)


def descent(h: Hand, batch: Any) -> None:
    h.u = h.u - RATE_U * h.grad(h.f, h.u, h.v, batch, "u")


def ascent(h: Hand, batch: Any) -> None:
    h.v = h.v - RATE_V * h.grad(h.g, h.u, h.v, batch, "v")


STEPS: dict[str, tuple[Any, Callable[[Hand, Any], None]]] = {
    "simultaneous": (SimultaneousGDA(), simultaneous),
    "alternating": (AlternatingGDA(), alternating),
    "alternating, v first": (AlternatingGDA("v", 2), lambda h, batch: alternating(h, batch, "v", 2)),
    "two timescales": (TwoTimescale(4.0), timescales),
    "best response": (BestResponse(3), lambda h, batch: alternating(h, batch, "v", 3)),
    "negative momentum": (NegativeMomentum(), momentum),
    "smoothed": (SmoothedGDA(), smoothed),
    "extragradient": (Extragradient(), extragradient),
    "past extragradient": (PastExtragradient(), past),
    "optimistic": (Optimistic(), optimistic),
    "anchored": (AnchoredExtragradient(), anchored),
    "sensitivity": (Sensitivity(0.7), sensitivity),
    "sensitivity, alternating": (Sensitivity(0.7, alternate=True), lambda h, batch: sensitivity(h, batch, True)),
    "sensitivity, no penalty": (Sensitivity(0.0), simultaneous),
    "unrolled": (Unrolled(3, 0.3), unrolled),
    "stackelberg": (Stackelberg(cg_steps=200, cg_tolerance=1e-15), stackelberg),
    "lookahead": (Lookahead(SimultaneousGDA(), period=2), lookahead),
    "averaged": (Averaged(AlternatingGDA()), averaged),
    "descent": (Descent(), descent),
    "ascent": (Ascent(), ascent),
}
"""Solvers with their step by hand; plain gradient descent at ``RATE_U`` and ``RATE_V``."""


def played_by_hand(name: str, batches: list[Any]) -> tuple[Tensor, Tensor]:
    """Return both players' vectors after a step on each batch."""
    u, v = players()
    f, g = on_vectors(generator_loss, u, v), on_vectors(discriminator_loss, u, v)
    hand = Hand(f, g, *(parameters_to_vector(m.parameters()).detach() for m in (u, v)))
    for batch in batches:
        STEPS[name][1](hand, batch)
    return hand.u, hand.v
