"""The steps of the first-order solvers, derived by hand, and the rows that they add to the table.

A step that remembers begins afresh at ``i = 0``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from minimaxopt.game.random_streams import stream
from minimaxopt.solvers.best_response import BestResponse
from minimaxopt.solvers.extragradient import AnchoredExtragradient, Extragradient, Optimistic, PastExtragradient
from minimaxopt.solvers.gda import AlternatingGDA, SimultaneousGDA, TwoTimescale
from minimaxopt.solvers.kbeam import KBeam
from minimaxopt.solvers.momentum import NegativeMomentum
from minimaxopt.solvers.smoothed import SmoothedGDA
from minimaxopt.solvers.wrappers import Averaged, Lookahead
from tests.solvers import hand
from tests.solvers.hand import Array, HandGame, Optimizer, Step

Pair = tuple[Array, Array]


def field(game: HandGame, u: Array, v: Array) -> Pair:
    """Each player's gradient of its own loss."""
    return game.grad_u(u, v), -game.grad_v(u, v)


def forgetful(optimizer: Optimizer, moments: str) -> Optimizer:
    """The optimizer that extrapolates: itself, or a copy whose moments are thrown away."""
    return optimizer if moments == "both" else copy.deepcopy(optimizer)


def extragradient(moments: str = "both", stretch: float = 1.0) -> Step:
    def step(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> Pair:
        g_u, g_v = field(game, u, v)
        ahead_u = u + stretch * (forgetful(down, moments)(u, g_u) - u)
        ahead_v = v + stretch * (forgetful(up, moments)(v, g_v) - v)
        g_u, g_v = field(game, ahead_u, ahead_v)
        return down(u, g_u), up(v, g_v)

    return step


def past_extragradient(moments: str = "both", stretch: float = 1.0) -> Step:
    memory: dict[str, Pair] = {}

    def step(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> Pair:
        ahead_u, ahead_v = u, v
        if i > 0:
            g_u, g_v = memory["gradients"]
            ahead_u = u + stretch * (forgetful(down, moments)(u, g_u) - u)
            ahead_v = v + stretch * (forgetful(up, moments)(v, g_v) - v)
        memory["gradients"] = g_u, g_v = field(game, ahead_u, ahead_v)
        return down(u, g_u), up(v, g_v)

    return step


def optimistic(strength: float = 1.0) -> Step:
    memory: dict[str, Pair] = {}

    def step(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> Pair:
        g_u, g_v = field(game, u, v)
        now = down(u, g_u) - u, up(v, g_v) - v
        before = now if i == 0 else memory["moves"]
        memory["moves"] = now
        return (
            u + (1 + strength) * now[0] - strength * before[0],
            v + (1 + strength) * now[1] - strength * before[1],
        )

    return step


def best_response(most: int, tolerance: float) -> Step:
    def step(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> Pair:
        for _ in range(most):
            slope = game.grad_v(u, v)
            if np.sqrt(slope @ slope) <= tolerance:
                break
            v = up(v, -slope)
        return down(u, game.grad_u(u, v)), v

    return step


def two_timescale(ratio: float, power: float) -> Step:
    def step(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> Pair:
        g_u, g_v = field(game, u, v)
        return u + (down(u, g_u) - u) / (ratio * (i + 1) ** power), up(v, g_v)

    return step


def negative_momentum(beta: float, *, alternate: bool) -> Step:
    memory: dict[str, Pair] = {}

    def step(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> Pair:
        last_u, last_v = memory["last"] if i else (u, v)
        memory["last"] = u, v
        new_u = down(u, game.grad_u(u, v)) + beta * (u - last_u)
        return new_u, up(v, -game.grad_v(new_u if alternate else u, v)) + beta * (v - last_v)

    return step


def smoothed(p: float, beta: float) -> Step:
    memory: dict[str, Array] = {}

    def step(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> Pair:
        z = memory["z"] if i else u
        u = down(u, game.grad_u(u, v) + p * (u - z))
        memory["z"] = (1 - beta) * z + beta * u
        return u, up(v, -game.grad_v(u, v))

    return step


def anchored(moments: str = "both") -> Step:
    memory: dict[str, Pair] = {}

    def step(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> Pair:
        if i == 0:
            memory["anchor"] = u, v
        a, b = memory["anchor"]
        g_u, g_v = field(game, u, v)
        ahead_u = forgetful(down, moments)(u, g_u) + (a - u) / (i + 2)
        ahead_v = forgetful(up, moments)(v, g_v) + (b - v) / (i + 2)
        g_u, g_v = field(game, ahead_u, ahead_v)
        return down(u, g_u) + (a - u) / (i + 2), up(v, g_v) + (b - v) / (i + 2)

    return step


def lookahead(inner: Step, period: int, alpha: float, *, reset: bool = False) -> Step:
    memory: dict[str, Any] = {}

    def step(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> Pair:
        if i == 0:
            memory.update(slow=(u, v), fresh=(copy.deepcopy(vars(down)), copy.deepcopy(vars(up))))
        u, v = inner(game, u, v, down, up, i)
        if (i + 1) % period == 0:
            s, t = memory["slow"]
            u, v = (1 - alpha) * s + alpha * u, (1 - alpha) * t + alpha * v
            memory["slow"] = u, v
            if reset:
                for optimizer, fresh in zip((down, up), memory["fresh"], strict=True):
                    vars(optimizer).update(copy.deepcopy(fresh))
        return u, v

    return step


def averaged(inner: Step, weights: Callable[[int], list[float]]) -> Step:
    """The weights of ``w_0, w_1, ..., w_{i+1}`` in the average after step ``i``."""
    memory: dict[str, list[Pair]] = {}

    def step(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> Pair:
        if i == 0:
            memory["path"] = [(u, v)]
        path = memory["path"]
        path.append(inner(game, *path[-1], down, up, i))
        held = weights(i)
        return sum(w * p[0] for w, p in zip(held, path, strict=True)), sum(
            w * p[1] for w, p in zip(held, path, strict=True)
        )  # type: ignore[return-value] - not empty

    return step


def decaying(decay: float) -> Callable[[int], list[float]]:
    return lambda i: [decay ** (i + 1)] + [(1 - decay) * decay ** (i - j) for j in range(i + 1)]


def uniform(start: int) -> Callable[[int], list[float]]:
    """All points after step ``start`` alike; before, the last alone."""

    def weights(i: int) -> list[float]:
        first = min(start + 1, i + 1)
        return [0.0 if j < first else 1 / (i + 2 - first) for j in range(i + 2)]

    return weights


def random_follower(v: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(v.shape, generator=generator, dtype=torch.float64) / 2


def k_beam(followers: int, epsilon: float = 0.0, ascent_steps: int = 1, *, keep_given: bool = True) -> Step:
    memory: dict[str, Any] = {}

    def start(v: Array, up: Optimizer) -> None:
        generator = torch.Generator().manual_seed(stream(0, 0, "start"))
        drawn = [random_follower(torch.from_numpy(v), generator).numpy() for _ in range(followers - keep_given)]
        memory.update(beam=[v] * keep_given + drawn, ups=[copy.deepcopy(up) for _ in range(followers)])

    def step(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> Pair:
        if i == 0:
            start(v, up)
        beam, ups = memory["beam"], memory["ups"]

        def risks(u: Array) -> list[float]:
            return [float(game.f(torch.from_numpy(u), torch.from_numpy(w))) for w in beam]

        held = risks(u)
        near = [w for w, risk in zip(beam, held, strict=True) if risk >= max(held) - epsilon]
        u = down(u, sum(game.grad_u(u, w) for w in near) / len(near))
        for _ in range(ascent_steps):
            beam[:] = [climb(w, -game.grad_v(u, w)) for w, climb in zip(beam, ups, strict=True)]
        return u, beam[int(np.argmax(risks(u)))]

    return step


ROWS: list[tuple[str, Any, Step]] = [
    ("extragradient", Extragradient(), extragradient()),
    ("extragradient, moments of the step", Extragradient(moments="step"), extragradient("step")),
    ("extragradient, stretched", Extragradient(stretch=2.0), extragradient(stretch=2.0)),
    ("past extragradient", PastExtragradient(), past_extragradient()),
    ("past extragradient, moments of the step", PastExtragradient(moments="step"), past_extragradient("step")),
    ("past extragradient, stretched", PastExtragradient(stretch=0.5), past_extragradient(stretch=0.5)),
    ("optimistic", Optimistic(), optimistic()),
    ("optimistic, half", Optimistic(strength=0.5), optimistic(0.5)),
    ("optimistic, 0", Optimistic(strength=0.0), hand.simultaneous),
    ("best response, 3 ascents", BestResponse(ascent_steps=3), hand.alternating("v", 3)),
    ("best response, tolerance", BestResponse(ascent_steps=20, tolerance=0.4), best_response(20, 0.4)),
    ("two timescales", TwoTimescale(ratio=4.0), two_timescale(4.0, 0.0)),
    ("two timescales, growing", TwoTimescale(ratio=2.0, power=0.5), two_timescale(2.0, 0.5)),
    ("two timescales, ratio 1", TwoTimescale(ratio=1.0), hand.simultaneous),
    ("negative momentum", NegativeMomentum(), negative_momentum(-0.5, alternate=True)),
    (
        "negative momentum, simultaneous",
        NegativeMomentum(beta=-0.3, alternate=False),
        negative_momentum(-0.3, alternate=False),
    ),
    ("negative momentum, beta 0", NegativeMomentum(beta=0.0), hand.alternating("u", 1)),
    ("smoothed", SmoothedGDA(p=2.0, beta=0.3), smoothed(2.0, 0.3)),
    ("smoothed, p 0", SmoothedGDA(p=0.0), hand.alternating("u", 1)),
    ("anchored", AnchoredExtragradient(), anchored()),
    ("anchored, moments of the step", AnchoredExtragradient(moments="step"), anchored("step")),
    ("lookahead", Lookahead(), lookahead(hand.alternating("u", 1), 5, 0.5)),
    ("lookahead by name", Lookahead("simultaneous-gda", 7, 0.3), lookahead(hand.simultaneous, 7, 0.3)),
    (
        "lookahead, reset",
        Lookahead(Optimistic(), period=4, moments="reset"),
        lookahead(optimistic(), 4, 0.5, reset=True),
    ),
    (
        "lookahead, nested",
        Lookahead(Lookahead(SimultaneousGDA(), period=3), period=12, alpha=0.7),
        lookahead(lookahead(hand.simultaneous, 3, 0.5), 12, 0.7),
    ),
    ("lookahead, period 1", Lookahead(PastExtragradient(), period=1, alpha=1.0), past_extragradient()),
    ("averaged", Averaged(), averaged(hand.alternating("u", 1), uniform(0))),
    ("averaged, late", Averaged(Extragradient(), start=20), averaged(extragradient(), uniform(20))),
    ("averaged, decaying", Averaged(Optimistic(), decay=0.9), averaged(optimistic(), decaying(0.9))),
    ("averaged, no memory", Averaged(AlternatingGDA(), decay=0.0), hand.alternating("u", 1)),
    ("k-beam 1", KBeam(followers=1), hand.alternating("u", 1)),
    ("k-beam 4", KBeam(followers=4, draw=random_follower), k_beam(4)),
    ("k-beam 4, one by one", KBeam(followers=4, draw=random_follower, vectorise=False), k_beam(4)),
    ("k-beam 3, near the strongest", KBeam(followers=3, epsilon=0.2, draw=random_follower), k_beam(3, 0.2)),
    ("k-beam 2, 3 ascents", KBeam(followers=2, ascent_steps=3, draw=random_follower), k_beam(2, ascent_steps=3)),
    ("k-beam 3, all drawn", KBeam(3, keep_given=False, draw=random_follower), k_beam(3, keep_given=False)),
]
