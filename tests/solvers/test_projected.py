"""``Sensitivity`` under a constraint: constrained minimax points in closed form, which the whole slope misses."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from minimaxopt import Box, Game, Sensitivity, Simplex, Solution, solve
from minimaxopt.errors import ArgumentError
from tests.solvers import hand
from tests.solvers.test_table import EXACT, play

SGD = partial(torch.optim.SGD, lr=0.1)


def end(game: Game, *, steps: int, lr: float, gamma: float = 1.0, **options: Any) -> Solution:
    sgd = partial(torch.optim.SGD, lr=lr)
    return solve(game, Sensitivity(gamma=gamma, **options), steps=steps, u_optimizer=sgd, v_optimizer=sgd)


def number(x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


@pytest.mark.parametrize("alternate", [False, True])
@pytest.mark.parametrize("gamma", [0.3, 1.0])
def test_a_follower_pressed_against_a_box(gamma: float, alternate: bool) -> None:
    """u^2 + u v - 3 (v - 2)^2 / 2 with v <= 1: the answer is v = 1 for u >= -3, so that u* = -1/2; the whole slope
    u + 3 turns the leader's condition into 2 u + 1 + gamma (u + 3) = 0."""
    game = Game(
        lambda u, v: u**2 + u * v - 1.5 * (v - 2) ** 2, number(0.3), number(0.0), project_v=Box(-float("inf"), 1.0)
    )
    found = end(game, steps=400, lr=0.1, gamma=gamma, projected=True, alternate=alternate)
    assert (float(found.u), float(found.v)) == (pytest.approx(-0.5, abs=EXACT), 1.0)
    missed = end(game, steps=400, lr=0.1, gamma=gamma, alternate=alternate, projected=False)
    assert float(missed.u) == pytest.approx(-(1 + 3 * gamma) / (2 + gamma), abs=EXACT)
    assert found.history["sensitivity"][-1] == 0.0 < 1.0 < missed.history["sensitivity"][-1]


def test_weights_on_a_simplex() -> None:
    """min_u max of (u - 1)^2, (u - 2)^2, (u - 4)^2 is 9/4 at u = 5/2, and the weights that keep it there are (1/2, 0,
    1/2); with the whole slope they also balance its penalty, 3 (q_1 - q_3) + gamma / 4 = 0."""
    centres = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    game = Game(
        lambda u, q: (q * (u - centres) ** 2).sum(), number(0.0), torch.full_like(centres, 1 / 3), project_v=Simplex()
    )
    found = end(game, steps=1500, lr=0.03, projected=True)
    np.testing.assert_allclose(np.r_[found.u, found.v], [2.5, 0.5, 0.0, 0.5], atol=EXACT)
    missed = end(game, steps=1500, lr=0.03, projected=False)
    np.testing.assert_allclose(missed.v, [0.5 - 1 / 24, 0.0, 0.5 + 1 / 24], atol=EXACT)


def test_a_ball_whose_boundary_is_curved() -> None:
    """|u|^2 + <u + w, v> with |v| <= 1: max_v is |u|^2 + |u + w|, smallest at u = -w / (2 |w|) for |w| > 1/2."""
    w = torch.tensor([3.0, 4.0], dtype=torch.float64)
    game = Game(
        lambda u, v: u @ u + (u + w) @ v,
        torch.tensor([0.2, -0.1], dtype=torch.float64),
        torch.zeros(2, dtype=torch.float64),
        project_v=lambda v: v / v.norm().clamp_min(1.0),
    )
    found = end(game, steps=600, lr=0.05, projected=True)
    np.testing.assert_allclose(found.u, -w / 10, atol=EXACT)
    np.testing.assert_allclose(found.v, w / 5, atol=EXACT)
    missed = end(game, steps=600, lr=0.05, projected=False)
    np.testing.assert_allclose(missed.u, -w / 5 * (1 + 5) / (2 + 1), atol=EXACT)


@pytest.mark.parametrize("game", hand.games()[:3], ids=lambda game: game.name)
def test_one_step_counts_the_free_values_alone(game: hand.HandGame) -> None:
    u, v = torch.from_numpy(game.u0), torch.from_numpy(game.v0)
    slope = game.grad_v(game.u0, game.v0)
    # Half of the values stand at the bound that their slope pushes against, half at the one that it leaves.
    blocked = np.arange(len(slope)) % 2 == 0
    low = np.where(blocked == (slope > 0), game.v0 - 5, game.v0)
    high = np.where(blocked == (slope > 0), game.v0, game.v0 + 5)
    boxed = Game(game.f, u, v, project_v=lambda t: t.clamp(torch.from_numpy(low), torch.from_numpy(high)))
    found = end(boxed, steps=1, lr=0.1, gamma=0.7, projected=True)
    free = np.where(blocked, 0.0, slope)
    expected = game.u0 - 0.1 * (game.grad_u(game.u0, game.v0) + 0.7 * game.uv(game.u0, game.v0, free))
    np.testing.assert_allclose(found.u, expected, rtol=EXACT)
    np.testing.assert_allclose(found.v, game.v0 + 0.1 * free, rtol=EXACT)
    assert found.history["sensitivity"][0] == pytest.approx(free @ free, rel=EXACT)
    assert not np.allclose(end(boxed, steps=1, lr=0.1, gamma=0.7, projected=False).u, expected)


@pytest.mark.parametrize("game", hand.games(), ids=lambda game: game.name)
def test_without_a_constraint_it_is_the_plain_penalty(game: hand.HandGame) -> None:
    for plain, projected in zip(
        play(game, Sensitivity(gamma=0.7), torch.optim.Adam),
        play(game, Sensitivity(gamma=0.7, projected=True), torch.optim.Adam),
        strict=True,
    ):
        np.testing.assert_allclose(projected, plain, rtol=EXACT, atol=EXACT)


def test_values_are_told_apart_by_name() -> None:
    """A nesting's tensors come in another order from a projection than among the parameters."""
    torch.manual_seed(0)
    v = {"a": nn.Linear(2, 3).double(), "b": torch.tensor([1.0, -1.0], dtype=torch.float64)}
    game = Game(lambda u, v: v["a"](u * v["b"]).sum(), torch.ones(2, dtype=torch.float64), v, project_v=lambda t: t)
    found = end(game, steps=3, lr=0.1, projected=True)
    np.testing.assert_allclose(found.u, end(game, steps=3, lr=0.1, projected=False).u, rtol=EXACT)


def test_halves_are_projected_too() -> None:
    def f(u: Any, v: Any, batch: Any) -> Any:
        return u**2 + u * v - 1.5 * ((v - batch) ** 2).mean()

    x = torch.tensor([1.5, 2.5], dtype=torch.float64)
    game = Game(f, number(0.3), number(0.0), project_v=Box(-5.0, 1.0))
    options: dict[str, Any] = {"u_optimizer": SGD, "v_optimizer": SGD, "steps": 400, "data": [x]}
    found = solve(game, Sensitivity(projected=True, split=True), **options)
    assert (float(found.u), float(found.v)) == (pytest.approx(-0.5, abs=EXACT), 1.0)
    whole = solve(game, Sensitivity(split=True, projected=False), **options)
    assert float(whole.u) == pytest.approx(-4 / 3, abs=EXACT)


def test_a_rate_that_begins_at_zero_does_no_harm() -> None:
    game = Game(lambda u, v: u**2 + u * v - 1.5 * (v - 2) ** 2, number(0.3), number(0.0), project_v=Box(-5.0, 1.0))
    warm = partial(LambdaLR, lr_lambda=lambda i: min(1.0, i / 10))
    found = solve(game, Sensitivity(projected=True), steps=400, u_optimizer=SGD, v_optimizer=SGD, v_scheduler=warm)
    assert float(found.u) == pytest.approx(-0.5, abs=EXACT)


def test_what_cannot_be_projected_is_refused() -> None:
    responding = Game(lambda u, v: u * v, number(1.0), lambda risk, u: u.sign())
    with pytest.raises(ArgumentError, match=r"^projected: a responding follower has no projection"):
        solve(responding, Sensitivity(projected=True), steps=1, u_optimizer=SGD)
    assert solve(responding, Sensitivity(), steps=1, u_optimizer=SGD).ok
    cut = Game(lambda u, v: u * v, number(1.0), number(1.0), project_v=lambda v: v.detach().clamp(-1, 1))
    with pytest.raises(ArgumentError, match=r"^projected: project_v returns values that carry no gradient"):
        solve(cut, Sensitivity(), steps=1)
    assert solve(cut, Sensitivity(projected=False), steps=1).ok


def test_the_default_counts_what_the_constraint_leaves_free() -> None:
    """(x - 1/2)^2 / 2 + m (x - 1) with m >= 0, whose constraint is inactive: x = 1/2, as printed (1/2 + gamma) / (1 +
    gamma)."""
    game = Game(
        lambda x, m: (x - 0.5) ** 2 / 2 + m * (x - 1), number(0.0), number(0.3), project_v=Box(0.0, float("inf"))
    )
    default, printed = end(game, steps=900, lr=0.1), end(game, steps=900, lr=0.1, projected=False)
    assert (float(default.u), float(default.v)) == (pytest.approx(0.5, abs=EXACT), 0.0)
    assert (float(printed.u), float(printed.v)) == (pytest.approx(0.75, abs=EXACT), 0.0)


def test_without_a_constraint_both_forms_are_one() -> None:
    game = Game(lambda u, v: -3 * u**2 - v**2 + 4 * u * v, number(1.0), number(1.0))
    default, printed = end(game, steps=5, lr=0.05), end(game, steps=5, lr=0.05, projected=False)
    assert torch.equal(default.u, printed.u)
    assert torch.equal(default.v, printed.v)
