"""Games and steps derived by hand, in NumPy and without automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def _not_given(u: Array, v: Array, w: Array) -> Array:
    raise NotImplementedError("this game was written without the derivative")


@dataclass(frozen=True)
class HandGame:
    """A game by its value in torch and its derivatives on paper."""

    name: str
    f: Callable[[Tensor, Tensor], Tensor]
    grad_u: Callable[[Array, Array], Array]
    grad_v: Callable[[Array, Array], Array]
    uv: Callable[[Array, Array, Array], Array]
    """``(d2f / du dv) w``"""
    vv: Callable[[Array, Array, Array], Array]
    """``(d2f / dv2) w``"""
    u0: Array
    v0: Array
    uu: Callable[[Array, Array, Array], Array] = _not_given
    """``(d2f / du2) w``"""
    vu: Callable[[Array, Array, Array], Array] = _not_given
    """``(d2f / dv du) w``"""


def games() -> list[HandGame]:
    """A quadratic, a bilinear and a coupled cubic game, each of 3 by 4 dimensions, and ``x y``."""
    rng = np.random.default_rng(0)
    m, n = 3, 4
    A, B, C = _definite(rng, m), rng.normal(size=(m, n)), _definite(rng, n)
    a, c = rng.uniform(0.5, 1.5, m), rng.uniform(0.5, 1.5, n)
    tA, tB, tC, ta, tc = (torch.from_numpy(x) for x in (A, B, C, a, c))
    u0, v0 = rng.normal(size=m) * 0.3, rng.normal(size=n) * 0.3
    return [
        HandGame(
            "quadratic",
            f=lambda u, v: u @ tA @ u / 2 + u @ tB @ v - v @ tC @ v / 2,
            grad_u=lambda u, v: A @ u + B @ v,
            grad_v=lambda u, v: B.T @ u - C @ v,
            uv=lambda u, v, w: B @ w,
            vv=lambda u, v, w: -C @ w,
            u0=u0,
            v0=v0,
            uu=lambda u, v, w: A @ w,
            vu=lambda u, v, w: B.T @ w,
        ),
        HandGame(
            "bilinear",
            f=lambda u, v: u @ tB @ v,
            grad_u=lambda u, v: B @ v,
            grad_v=lambda u, v: B.T @ u,
            uv=lambda u, v, w: B @ w,
            vv=lambda u, v, w: np.zeros_like(w),
            u0=u0,
            v0=v0,
            uu=lambda u, v, w: np.zeros_like(w),
            vu=lambda u, v, w: B.T @ w,
        ),
        HandGame(
            "cubic",
            f=lambda u, v: (ta * u**4).sum() / 4 + (u**2) @ tB @ v - (tc * v**4).sum() / 4 + (u @ tB @ v) / 2,
            grad_u=lambda u, v: a * u**3 + 2 * u * (B @ v) + B @ v / 2,
            grad_v=lambda u, v: B.T @ u**2 - c * v**3 + B.T @ u / 2,
            uv=lambda u, v, w: 2 * u * (B @ w) + B @ w / 2,
            vv=lambda u, v, w: -3 * c * v**2 * w,
            u0=u0,
            v0=v0,
            uu=lambda u, v, w: (3 * a * u**2 + 2 * (B @ v)) * w,
            vu=lambda u, v, w: B.T @ (2 * u * w) + B.T @ w / 2,
        ),
        HandGame(
            "xy",
            f=lambda u, v: (u * v).sum(),
            grad_u=lambda u, v: v,
            grad_v=lambda u, v: u,
            uv=lambda u, v, w: w,
            vv=lambda u, v, w: np.zeros_like(w),
            u0=np.array([1.0]),
            v0=np.array([1.0]),
            uu=lambda u, v, w: np.zeros_like(w),
            vu=lambda u, v, w: w,
        ),
    ]


def _definite(rng: np.random.Generator, n: int) -> Array:
    root = rng.normal(size=(n, n))
    return root @ root.T / n + np.eye(n) / 2


@dataclass
class HandSGD:
    """``x <- x - lr (g + momentum m)`` as torch defines momentum: ``m <- momentum m + g``, the first ``m`` being
    ``g``."""

    lr: float
    momentum: float = 0.0
    m: Array | None = None

    def __call__(self, x: Array, g: Array) -> Array:
        self.m = g if self.m is None else self.momentum * self.m + g
        return x - self.lr * self.m


@dataclass
class HandAdam:
    """Kingma and Ba 2015, Algorithm 1."""

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    t: int = 0
    m: Array = field(default_factory=lambda: np.zeros(()))
    s: Array = field(default_factory=lambda: np.zeros(()))

    def __call__(self, x: Array, g: Array) -> Array:
        self.t += 1
        self.m = self.betas[0] * self.m + (1 - self.betas[0]) * g
        self.s = self.betas[1] * self.s + (1 - self.betas[1]) * g * g
        m_hat = self.m / (1 - self.betas[0] ** self.t)
        s_hat = self.s / (1 - self.betas[1] ** self.t)
        return x - self.lr * m_hat / (np.sqrt(s_hat) + self.eps)


Optimizer = Callable[[Array, Array], Array]
Step = Callable[[HandGame, Array, Array, Optimizer, Optimizer, int], tuple[Array, Array]]


def simultaneous(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> tuple[Array, Array]:
    return down(u, game.grad_u(u, v)), up(v, -game.grad_v(u, v))


def alternating(first: str, ascent_steps: int) -> Step:
    def step(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> tuple[Array, Array]:
        if first == "u":
            u = down(u, game.grad_u(u, v))
        for _ in range(ascent_steps):
            v = up(v, -game.grad_v(u, v))
        if first == "v":
            u = down(u, game.grad_u(u, v))
        return u, v

    return step


def sensitivity(gamma: Callable[[int], float], *, alternate: bool) -> Step:
    def step(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> tuple[Array, Array]:
        moved = up(v, -game.grad_v(u, v))
        at = moved if alternate else v
        slope = game.grad_v(u, at)
        return down(u, game.grad_u(u, at) + gamma(i) * game.uv(u, at, slope)), moved

    return step


def unrolled(steps: int, size: float) -> Step:
    def step(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> tuple[Array, Array]:
        path = [v]
        for _ in range(steps):
            path.append(path[-1] + size * game.grad_v(u, path[-1]))
        # The adjoint recursion, backwards along the path.
        adjoint, gradient = game.grad_v(u, path[-1]), game.grad_u(u, path[-1])
        for at in reversed(path[:-1]):
            gradient = gradient + size * game.uv(u, at, adjoint)
            adjoint = adjoint + size * game.vv(u, at, adjoint)
        return down(u, gradient), up(v, -game.grad_v(u, v))

    return step


def descent(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> tuple[Array, Array]:
    return down(u, game.grad_u(u, v)), v


def ascent(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> tuple[Array, Array]:
    return u, up(v, -game.grad_v(u, v))
