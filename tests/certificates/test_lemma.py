"""Lemma 1 of Hamm and Mehra 2018, its five inequalities, on games whose best responses are known exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minimaxopt import Game, certify

ROUNDING = 1e-9
Array = np.ndarray


@dataclass(frozen=True)
class Known:
    """A game with its best responses, minimax leader and maximin follower in closed form."""

    f: Callable[[Array, Array], float]
    attack: Callable[[Array], Array]
    """``v*(u)``"""
    defend: Callable[[Array], Array]
    """``u*(v)``"""
    minimax: Array
    """``u*``"""
    maximin: Array
    """``v*``"""
    torch_f: Callable[[Tensor, Tensor], Tensor]


def quadratic(seed: int, m: int, n: int) -> Known:
    """``u'Au/2 + u'Bv - v'Cv/2 + a'u + c'v`` with A and C positive definite."""
    rng = np.random.default_rng(seed)
    A, C = (np.eye(k) / 4 + (r := rng.normal(size=(k, k))) @ r.T / k for k in (m, n))
    B, a, c = rng.normal(size=(m, n)), rng.normal(size=m), rng.normal(size=n)
    tA, tB, tC, ta, tc = (torch.from_numpy(x) for x in (A, B, C, a, c))

    def attack(u: Array) -> Array:
        return np.linalg.solve(C, B.T @ u + c)

    def defend(v: Array) -> Array:
        return -np.linalg.solve(A, B @ v + a)

    u = -np.linalg.solve(A + B @ np.linalg.solve(C, B.T), a + B @ np.linalg.solve(C, c))
    v = np.linalg.solve(C + B.T @ np.linalg.solve(A, B), c - B.T @ np.linalg.solve(A, a))
    return Known(
        lambda u, v: float(u @ A @ u / 2 + u @ B @ v - v @ C @ v / 2 + a @ u + c @ v),
        attack,
        defend,
        u,
        v,
        lambda u, v: u @ tA @ u / 2 + u @ tB @ v - v @ tC @ v / 2 + ta @ u + tc @ v,
    )


def waves(seed: int) -> Known:
    """``sum cos(a u + b v + p)`` on a grid of the square: no saddle in general, so that the values differ."""
    rng = np.random.default_rng(seed)
    a, b, p = rng.uniform(-4, 4, 6), rng.uniform(-4, 4, 6), rng.uniform(0, 6, 6)
    grid = np.linspace(-1, 1, 61)
    table = np.cos(a * grid[:, None, None] + b * grid[None, :, None] + p).sum(-1)
    ta, tb, tp = (torch.from_numpy(x) for x in (a, b, p))

    def index(x: Array) -> int:
        return int(np.abs(grid - x[0]).argmin())

    return Known(
        lambda u, v: float(table[index(u), index(v)]),
        lambda u: grid[[table[index(u)].argmax()]],
        lambda v: grid[[table[:, index(v)].argmin()]],
        grid[[table.max(1).argmin()]],
        grid[[table.min(0).argmax()]],
        lambda u, v: torch.cos(ta * u + tb * v + tp).sum(),
    )


def violations(game: Known, u: Array, v: Array) -> list[int]:
    """Return the numbers of the lemma's inequalities that do not hold at ``(u, v)``."""
    f, attack, defend = game.f, game.attack, game.defend
    slack = ROUNDING * (1 + abs(f(u, v)) + abs(f(u, attack(u))) + abs(f(defend(v), v)))
    holds = {
        1: f(u, attack(u)) >= f(u, v) - slack,
        2: f(game.minimax, attack(game.minimax)) <= f(u, attack(u)) + slack,
        3: f(defend(v), v) <= f(u, v) + slack,
        4: f(defend(game.maximin), game.maximin) >= f(defend(v), v) - slack,
        5: f(defend(game.maximin), game.maximin) <= f(game.minimax, attack(game.minimax)) + slack,
    }
    return [number for number, satisfied in holds.items() if not satisfied]


@settings(deadline=None, max_examples=80)
@given(seed=st.integers(0, 100_000), m=st.integers(1, 4), n=st.integers(1, 4))
def test_the_lemma_on_quadratics(seed: int, m: int, n: int) -> None:
    game, rng = quadratic(seed, m, n), np.random.default_rng(seed + 1)
    assert violations(game, rng.normal(size=m) * 2, rng.normal(size=n) * 2) == []


@settings(deadline=None, max_examples=80)
@given(seed=st.integers(0, 100_000), i=st.integers(0, 60), j=st.integers(0, 60))
def test_the_lemma_on_games_without_a_saddle(seed: int, i: int, j: int) -> None:
    grid = np.linspace(-1, 1, 61)
    assert violations(waves(seed), grid[[i]], grid[[j]]) == []


def test_the_inequality_of_values_can_be_strict() -> None:
    strict = 0
    for seed in range(20):
        game = waves(seed)
        low = game.f(game.defend(game.maximin), game.maximin)
        high = game.f(game.minimax, game.attack(game.minimax))
        strict += high > low + 0.1
    assert strict > 5


@pytest.mark.parametrize(
    ("number", "wrong"),
    [
        (1, lambda g: Known(g.f, lambda u: -g.attack(u), g.defend, g.minimax, g.maximin, g.torch_f)),
        (2, lambda g: Known(g.f, g.attack, g.defend, g.minimax + 2, g.maximin, g.torch_f)),
        (3, lambda g: Known(g.f, g.attack, lambda v: g.defend(v) + 2, g.minimax, g.maximin, g.torch_f)),
        (4, lambda g: Known(g.f, g.attack, g.defend, g.minimax, g.maximin + 2, g.torch_f)),
        (5, lambda g: Known(g.f, lambda u: g.attack(u) - 2, g.defend, g.minimax, g.maximin, g.torch_f)),
    ],
)
def test_a_wrong_response_violates_the_lemma(number: int, wrong: Callable[[Known], Known]) -> None:
    game = quadratic(3, 2, 2)
    violated = set[int]()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        near = game.minimax + 0.1 * rng.normal(size=2), game.maximin + 0.1 * rng.normal(size=2)
        assert violations(game, *near) == []
        violated |= set(violations(wrong(game), *near))
    assert number in violated


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000))
def test_certificates_report_the_sandwich(seed: int) -> None:
    """``min_u f(u, v) <= max min f <= min max f <= max_v f(u, v)`` at any point, by exact responses."""
    game, rng = quadratic(seed, 2, 3), np.random.default_rng(seed)
    point = torch.from_numpy(rng.normal(size=2)), torch.from_numpy(rng.normal(size=3))
    certificate = certify(
        Game(game.torch_f, *point),
        point,
        restarts=0,
        exact={
            "v": lambda u: torch.from_numpy(game.attack(u.numpy())),
            "u": lambda v: torch.from_numpy(game.defend(v.numpy())),
        },
    )
    assert certificate.sandwich is not None
    low, high = certificate.sandwich
    maximin = game.f(game.defend(game.maximin), game.maximin)
    minimax = game.f(game.minimax, game.attack(game.minimax))
    assert low - ROUNDING <= maximin <= minimax + ROUNDING
    assert minimax <= high + ROUNDING
    assert certificate.gap.value == pytest.approx(high - low)
    at_nash = torch.from_numpy(game.minimax), torch.from_numpy(game.attack(game.minimax))
    nash = certify(Game(game.torch_f, *at_nash), at_nash, restarts=0)
    assert nash.kind == "local Nash"
