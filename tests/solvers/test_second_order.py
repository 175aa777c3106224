"""Second-order solvers against steps derived by hand and against dense formulas on random games."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minimaxopt import Game, Sensitivity, solve
from minimaxopt._types import Point
from minimaxopt.calculus.hessian import Blocks
from minimaxopt.solvers.adjusted import Consensus, Hamiltonian, SymplecticAdjustment
from minimaxopt.solvers.competitive import CompetitiveGradient
from minimaxopt.solvers.implicit import FollowTheRidge, Stackelberg
from tests.solvers import hand, test_table
from tests.solvers.second_order import DAMPING, LAMBDA, SGD_ROWS, SIGMA, TIGHT, competitive, ridge, stackelberg
from tests.solvers.test_table import EXACT, derive, play

DENSE = 1e-10  # one step; the normal equations square a condition number of at most 30
SGD = partial(torch.optim.SGD, lr=0.1)

# -- steps by hand ----------------------------------------------------------------------------------------------------


def test_the_rates_are_the_tables() -> None:
    assert (LAMBDA, SIGMA) == (test_table.LAMBDA, test_table.SIGMA)


def test_hand_games_have_the_blocks_they_claim() -> None:
    for game in hand.games():
        u, v = torch.from_numpy(game.u0 + 0.1), torch.from_numpy(game.v0 - 0.2)
        (uu, uv), (vu, vv) = torch.autograd.functional.hessian(game.f, (u, v))
        a, b = np.linspace(1, 2, len(u)), np.linspace(-1, 2, len(v))
        for matrix, product, w in ((uu, game.uu, a), (uv, game.uv, b), (vu, game.vu, a), (vv, game.vv, b)):
            np.testing.assert_allclose(product(u.numpy(), v.numpy(), w), matrix.numpy() @ w, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("game", hand.games(), ids=lambda game: game.name)
@pytest.mark.parametrize(("_row", "solver", "step"), SGD_ROWS, ids=[name for name, *_ in SGD_ROWS])
def test_steps_with_plain_sgd_are_those_derived_by_hand(
    game: hand.HandGame, _row: str, solver: Any, step: hand.Step
) -> None:
    u, v = play(game, solver, torch.optim.SGD)
    expected_u, expected_v = derive(game, step, hand.HandSGD)
    np.testing.assert_allclose(u, expected_u, rtol=EXACT, atol=EXACT)
    np.testing.assert_allclose(v, expected_v, rtol=EXACT, atol=EXACT)


def test_the_hand_steps_tell_settings_apart() -> None:
    game = hand.games()[0]
    for solver, other in (
        (Stackelberg(damping=DAMPING), stackelberg(DAMPING + 0.01)),
        (FollowTheRidge(damping=DAMPING), ridge(DAMPING + 0.01)),
        (CompetitiveGradient(), competitive(LAMBDA, SIGMA + 0.01)),
    ):
        u, v = play(game, solver, torch.optim.SGD)
        expected_u, expected_v = derive(game, other, hand.HandSGD)
        assert max(np.abs(u - expected_u).max(), np.abs(v - expected_v).max()) > 1e-6


def test_without_damping_the_quadratics_system_is_exact_too() -> None:
    game = hand.games()[0]
    for solver, step in ((Stackelberg(**TIGHT), stackelberg(0.0)), (FollowTheRidge(**TIGHT), ridge(0.0))):
        u, v = play(game, solver, torch.optim.Adam)
        expected_u, expected_v = derive(game, step, hand.HandAdam)
        np.testing.assert_allclose(u, expected_u, rtol=EXACT, atol=EXACT)
        np.testing.assert_allclose(v, expected_v, rtol=EXACT, atol=EXACT)


def test_maximin_is_the_total_gradient_of_the_other_player() -> None:
    game = hand.games()[0]
    flipped = hand.HandGame(
        "flipped",
        f=lambda v, u: -game.f(u, v),
        grad_u=lambda v, u: -game.grad_v(u, v),
        grad_v=lambda v, u: -game.grad_u(u, v),
        uv=lambda v, u, w: -game.vu(u, v, w),
        vv=lambda v, u, w: -game.uu(u, v, w),
        u0=game.v0,
        v0=game.u0,
    )
    u, v = play(game, Stackelberg(**TIGHT), torch.optim.SGD, order="maximin")
    x, y, down, up = game.v0, game.u0, hand.HandSGD(SIGMA), hand.HandSGD(LAMBDA)
    for i in range(test_table.STEPS):
        x, y = stackelberg(0.0)(flipped, x, y, down, up, i)
    np.testing.assert_allclose(v, x, rtol=EXACT, atol=EXACT)
    np.testing.assert_allclose(u, y, rtol=EXACT, atol=EXACT)


# -- dense formulas on random smooth games --------------------------------------------------------------------------------


def smooth(seed: int) -> Game:
    """A game whose follower's Hessian has both signs, its magnitudes between about 1/2 and 2, and cubic terms."""
    rng = np.random.default_rng(seed)
    m, n = 4, 5
    q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    signs = np.r_[1.0, -1.0, rng.choice([-1.0, 1.0], n - 2)]
    C = torch.from_numpy(q @ np.diag(signs * rng.uniform(0.6, 1.8, n)) @ q.T)
    A = rng.normal(size=(m, m))
    A, B = torch.from_numpy(A + A.T), torch.from_numpy(rng.normal(size=(m, n)))
    a, b = torch.from_numpy(rng.normal(size=m)), torch.from_numpy(rng.normal(size=n))

    def f(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return u @ A @ u / 2 + u @ B @ v + v @ C @ v / 2 + (a @ u) ** 2 * (b @ v) / 10 + 0.01 * (b @ v) ** 3

    return Game(f, torch.from_numpy(rng.normal(size=m)), torch.from_numpy(rng.normal(size=n)) * 0.3)


def derivatives(game: Game) -> tuple[np.ndarray, ...]:
    g_u, g_v = torch.autograd.functional.jacobian(game.f, (game.u, game.v))
    (uu, uv), (vu, vv) = torch.autograd.functional.hessian(game.f, (game.u, game.v))
    return tuple(x.numpy() for x in (g_u, g_v, uu, uv, vu, vv))


def one_step(game: Game, solver: Any) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """One step with rates 0.1 and 0.2: the displacements, and what was recorded."""
    rates = {"u_optimizer": SGD, "v_optimizer": partial(torch.optim.SGD, lr=0.2)}
    solution = solve(game, solver, steps=1, **rates)
    record = {name: float(solution.history[name][0]) for name in solution.history.names}
    return (solution.u - game.u).numpy(), (solution.v - game.v).numpy(), record


def answer(vv: np.ndarray, b: np.ndarray, damping: float, not_concave: float) -> np.ndarray:
    if not_concave:
        return np.linalg.solve(vv @ vv + damping**2 * np.eye(len(vv)), -vv @ b)
    return np.linalg.solve(damping * np.eye(len(vv)) - vv, b)


@given(seed=st.integers(0, 10_000), damping=st.sampled_from([0.0, 0.3]))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_systems_are_solved_where_the_follower_is_not_concave(seed: int, damping: float) -> None:
    game = smooth(seed)
    g_u, g_v, _, uv, vu, vv = derivatives(game)
    du, dv, record = one_step(game, Stackelberg(damping=damping, **TIGHT))
    total = g_u + uv @ answer(vv, g_v, damping, record["not_concave"])
    np.testing.assert_allclose(du, -0.1 * total, rtol=DENSE, atol=DENSE)
    np.testing.assert_allclose(dv, 0.2 * g_v, rtol=DENSE, atol=DENSE)
    du, dv, record = one_step(game, FollowTheRidge(damping=damping, **TIGHT))
    np.testing.assert_allclose(du, -0.1 * g_u, rtol=DENSE, atol=DENSE)
    expected = 0.2 * g_v + answer(vv, vu @ (-0.1 * g_u), damping, record["not_concave"])
    np.testing.assert_allclose(dv, expected, rtol=DENSE, atol=DENSE)


def test_an_undamped_system_is_exact_whatever_the_curvature() -> None:
    """The same, by the equation as printed; and that both ways of solving occur."""
    flags = set[float]()
    for seed in range(12):
        game = smooth(seed)
        g_u, g_v, _, uv, vu, vv = derivatives(game)
        du, _, record = one_step(game, Stackelberg(**TIGHT))
        np.testing.assert_allclose(du, -0.1 * (g_u - uv @ np.linalg.solve(vv, g_v)), rtol=DENSE, atol=DENSE)
        flags.add(record["not_concave"])
        _, dv, _ = one_step(game, FollowTheRidge(**TIGHT))
        np.testing.assert_allclose(dv, 0.2 * g_v + 0.1 * np.linalg.solve(vv, vu @ g_u), rtol=DENSE, atol=DENSE)
    assert 1.0 in flags
    concave = Game(lambda u, v: (u * v).sum() - (v**2).sum(), torch.ones(2).double(), torch.ones(2).double())
    assert one_step(concave, Stackelberg())[2]["not_concave"] == 0.0


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_explicit_steps_are_those_of_the_dense_jacobian(seed: int) -> None:
    game = smooth(seed)
    g_u, g_v, uu, uv, vu, vv = derivatives(game)
    F, J = np.r_[g_u, -g_v], np.block([[uu, uv], [-vu, -vv]])
    A, H = (J - J.T) / 2, J.T @ F
    sign = np.sign((F @ H) * (A.T @ F @ H) / len(F) + 0.1)
    rates = np.r_[np.full(4, 0.1), np.full(5, 0.2)]
    for solver, direction in (
        (SymplecticAdjustment(weight=0.5, align=False), F + 0.5 * A.T @ F),
        (SymplecticAdjustment(weight=0.5), F + 0.5 * sign * A.T @ F),
        (Consensus(gamma=0.5), F + 0.5 * H),
        (Hamiltonian(), H),
    ):
        du, dv, record = one_step(game, solver)
        np.testing.assert_allclose(np.r_[du, dv], -rates * direction, rtol=DENSE, atol=DENSE)
    assert record["hamiltonian"] == pytest.approx(F @ F / 2, rel=EXACT)
    du, dv, _ = one_step(game, CompetitiveGradient(**TIGHT))
    # The Nash point of the local game, both stationarity conditions in one matrix.
    local = np.block([[np.eye(4) / 0.1, uv], [-vu, np.eye(5) / 0.2]])
    np.testing.assert_allclose(np.r_[du, dv], np.linalg.solve(local, np.r_[-g_u, g_v]), rtol=DENSE, atol=DENSE)


def test_without_alignment_it_is_learning_with_opponent_learning_awareness() -> None:
    """LOLA: each player differentiates its own loss, to first order, through the other's next step as well."""
    game, eta = smooth(3), 0.1
    u, v = (t.detach().clone().requires_grad_() for t in (game.u, game.v))
    value = game.f(u, v)
    g_u, g_v = torch.autograd.grad(value, (u, v), create_graph=True)
    loss_u = value + (eta * g_v) @ g_v.detach()
    loss_v = -value + (-eta * g_u) @ -g_u.detach()
    (down,) = torch.autograd.grad(loss_u, u, retain_graph=True)
    (up,) = torch.autograd.grad(loss_v, v)
    sgd = partial(torch.optim.SGD, lr=eta)
    found = solve(game, SymplecticAdjustment(weight=eta, align=False), steps=1, u_optimizer=sgd, v_optimizer=sgd)
    torch.testing.assert_close(found.u, (u - eta * down).detach(), rtol=EXACT, atol=EXACT)
    torch.testing.assert_close(found.v, (v - eta * up).detach(), rtol=EXACT, atol=EXACT)
    assert not torch.allclose(found.u, (u - eta * g_u).detach())


def test_the_signs_of_the_alignment_both_occur() -> None:
    signs = set[float]()
    for seed in range(20):
        g_u, g_v, uu, uv, vu, vv = derivatives(smooth(seed))
        F, J = np.r_[g_u, -g_v], np.block([[uu, uv], [-vu, -vv]])
        A, H = (J - J.T) / 2, J.T @ F
        signs.add(float(np.sign((F @ H) * (A.T @ F @ H) / len(F) + 0.1)))
    assert signs == {-1.0, 1.0}


def test_damping_without_curvature_is_the_sensitivity_penalty() -> None:
    game = hand.games()[1]
    np.testing.assert_allclose(
        play(game, Stackelberg(damping=2.0, **TIGHT), torch.optim.Adam)[0],
        play(game, Sensitivity(gamma=0.5), torch.optim.Adam)[0],
        rtol=EXACT,
        atol=EXACT,
    )


def test_the_whole_hessian_is_its_blocks_in_one_pass() -> None:
    game = smooth(0)
    spent: list[int] = []
    risk = lambda u, v: game.f(u["x"], v["y"])  # noqa: E731 - as short as what it wraps
    blocks = Blocks(risk, Point({"x": game.u}, {"y": game.v}), lambda: spent.append(1))
    a, b = {"x": torch.arange(4.0).double()}, {"y": torch.arange(5.0).double()}
    whole = blocks.whole(Point(a, b))
    assert len(spent) == 2
    for name, row in (("x", "u"), ("y", "v")):
        parts = [blocks.product(w, row=row, column=c)[name] for w, c in ((a, "u"), (b, "v"))]  # type: ignore[arg-type]
        held = whole.u if row == "u" else whole.v
        np.testing.assert_allclose(held[name], parts[0] + parts[1], rtol=EXACT)
    linear = Blocks(lambda u, v: u["x"].sum() - v["y"].sum(), Point({"x": game.u}, {"y": game.v}))
    assert not any(t.any() for held in linear.whole(Point(a, b)) for t in held.values())
