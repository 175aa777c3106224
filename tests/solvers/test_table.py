"""Every solver against steps derived by hand, on every game, with SGD, momentum and Adam."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from minimaxopt import AlternatingGDA, Ascent, Descent, Game, Sensitivity, SimultaneousGDA, Unrolled, solve
from minimaxopt.solvers import SOLVERS
from tests.solvers import first_order, hand, second_order

STEPS = 60
EXACT = 1e-12  # sixty steps in float64
SIGMA, LAMBDA = 0.03, 0.02

TABLE: list[tuple[str, Any, hand.Step]] = [
    ("simultaneous", SimultaneousGDA(), hand.simultaneous),
    ("alternating", AlternatingGDA(), hand.alternating("u", 1)),
    ("alternating, v first", AlternatingGDA(first="v"), hand.alternating("v", 1)),
    ("alternating, 3 ascents", AlternatingGDA(ascent_steps=3), hand.alternating("u", 3)),
    ("sensitivity", Sensitivity(gamma=0.7), hand.sensitivity(lambda i: 0.7, alternate=False)),
    ("sensitivity, gamma 0", Sensitivity(gamma=0.0), hand.simultaneous),
    (
        "sensitivity, schedule",
        Sensitivity(gamma=lambda i: 1 / (1 + i)),
        hand.sensitivity(lambda i: 1 / (1 + i), alternate=False),
    ),
    ("sensitivity, sigma", Sensitivity(gamma="sigma"), hand.sensitivity(lambda i: SIGMA, alternate=False)),
    ("sensitivity, alternate", Sensitivity(gamma=0.7, alternate=True), hand.sensitivity(lambda i: 0.7, alternate=True)),
    ("sensitivity, alternate, gamma 0", Sensitivity(gamma=0.0, alternate=True), hand.alternating("v", 1)),
    ("unrolled 1", Unrolled(steps=1, inner_lr=0.1), hand.unrolled(1, 0.1)),
    ("unrolled 5", Unrolled(steps=5, inner_lr=0.1), hand.unrolled(5, 0.1)),
    ("unrolled, sigma", Unrolled(steps=3), hand.unrolled(3, SIGMA)),
    ("descent", Descent(), hand.descent),
    ("ascent", Ascent(), hand.ascent),
    *first_order.ROWS,
    *second_order.ROWS,
]
OPTIMIZERS: list[tuple[str, Any, Any]] = [
    ("sgd", torch.optim.SGD, hand.HandSGD),
    ("momentum", partial(torch.optim.SGD, momentum=0.5), partial(hand.HandSGD, momentum=0.5)),
    ("adam", torch.optim.Adam, hand.HandAdam),
    ("fused adam", partial(torch.optim.Adam, fused=True), hand.HandAdam),
]


def play(game: hand.HandGame, solver: Any, optimizer: Any, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    players = torch.from_numpy(game.u0), torch.from_numpy(game.v0)
    solution = solve(
        Game(game.f, *players),
        solver,
        steps=STEPS,
        u_optimizer=partial(optimizer, lr=LAMBDA),
        v_optimizer=partial(optimizer, lr=SIGMA),
        **options,
    )
    assert solution.steps == STEPS
    return solution.u.numpy(), solution.v.numpy()


def derive(game: hand.HandGame, step: hand.Step, optimizer: Any) -> tuple[np.ndarray, np.ndarray]:
    u, v, down, up = game.u0, game.v0, optimizer(LAMBDA), optimizer(SIGMA)
    for i in range(STEPS):
        u, v = step(game, u, v, down, up, i)
    return u, v


@pytest.mark.parametrize("game", hand.games(), ids=lambda game: game.name)
@pytest.mark.parametrize(("_name", "optimizer", "by_hand"), OPTIMIZERS, ids=[name for name, *_ in OPTIMIZERS])
@pytest.mark.parametrize(("_row", "solver", "step"), TABLE, ids=[name for name, *_ in TABLE])
def test_steps_are_those_derived_by_hand(
    game: hand.HandGame, _name: str, optimizer: Any, by_hand: Any, _row: str, solver: Any, step: hand.Step
) -> None:
    u, v = play(game, solver, optimizer)
    expected_u, expected_v = derive(game, step, by_hand)
    np.testing.assert_allclose(u, expected_u, rtol=EXACT, atol=EXACT)
    np.testing.assert_allclose(v, expected_v, rtol=EXACT, atol=EXACT)


def test_the_table_tells_solvers_apart() -> None:
    game = hand.games()[0]
    u, v = play(game, SimultaneousGDA(), torch.optim.SGD)
    for step in (hand.alternating("u", 1), hand.sensitivity(lambda i: 0.01, alternate=False), hand.unrolled(1, 0.001)):
        expected_u, expected_v = derive(game, step, hand.HandSGD)
        assert max(np.abs(u - expected_u).max(), np.abs(v - expected_v).max()) > 1e-5


def test_every_solver_is_in_the_table() -> None:
    held = [*TABLE, *second_order.SGD_ROWS]  # these play with plain SGD only, in test_second_order.py
    assert {type(solver) for _, solver, _ in held} == set(SOLVERS.values())


@pytest.mark.parametrize("game", hand.games(), ids=lambda game: game.name)
def test_maximin_is_the_solver_on_the_flipped_game(game: hand.HandGame) -> None:
    flipped = hand.HandGame(
        "flipped",
        f=lambda v, u: -game.f(u, v),
        grad_u=lambda v, u: -game.grad_v(u, v),
        grad_v=lambda v, u: -game.grad_u(u, v),
        # d2(-f) / dv du is the transpose of -d2f / du dv, column by column.
        uv=lambda v, u, w: -np.array([game.uv(u, v, e) @ w for e in np.eye(len(v))]),
        vv=lambda v, u, w: np.zeros_like(w),
        u0=game.v0,
        v0=game.u0,
    )
    u, v = play(game, Sensitivity(gamma=0.7), torch.optim.SGD, order="maximin")
    x, y, down, up = game.v0, game.u0, hand.HandSGD(SIGMA), hand.HandSGD(LAMBDA)
    for i in range(STEPS):
        x, y = hand.sensitivity(lambda _: 0.7, alternate=False)(flipped, x, y, down, up, i)
    np.testing.assert_allclose(v, x, rtol=EXACT, atol=EXACT)
    np.testing.assert_allclose(u, y, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("eta", [0.01, 0.1, 0.5])
def test_factors_per_step_on_xy(eta: float) -> None:
    """Simultaneous steps lengthen by sqrt(1 + eta^2); alternating ones keep x^2 + y^2 - eta x y (leader first)."""
    game = Game(lambda u, v: u * v, torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64))
    sgd = partial(torch.optim.SGD, lr=eta)
    one = solve(game, "simultaneous-gda", steps=STEPS, u_optimizer=sgd, v_optimizer=sgd)
    length = float(torch.hypot(one.u, one.v))
    assert length == pytest.approx(np.hypot(1.0, 0.5) * (1 + eta**2) ** (STEPS / 2), rel=EXACT)
    two = solve(game, "alternating-gda", steps=STEPS, u_optimizer=sgd, v_optimizer=sgd)
    x, y = float(two.u), float(two.v)
    assert x * x + y * y - eta * x * y == pytest.approx(1.0 + 0.25 - eta * 0.5, rel=EXACT)
    assert abs(length - np.hypot(x, y)) > 1e-3
