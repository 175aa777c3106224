"""Where second-order solvers end: at minimax points, away from what is none, and on bilinear games."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from minimaxopt import Game, SimultaneousGDA, Solution, solve
from minimaxopt.solvers.adjusted import Consensus, Hamiltonian, SymplecticAdjustment
from minimaxopt.solvers.competitive import CompetitiveGradient
from minimaxopt.solvers.implicit import FollowTheRidge, Stackelberg
from minimaxopt.solvers.newton import CompleteNewton, NewtonFollower
from tests.solvers import hand

EXACT = 1e-12


def number(x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


def minimax(u: Any, v: Any) -> Any:
    """0 is a strict local minimax point and no Nash point: the best answer is v = 2 u, and max_v f = u^2."""
    return -3 * u**2 - v**2 + 4 * u * v


def impostor(u: Any, v: Any) -> Any:
    """0 is stationary, and the follower's worst point: max_v f is infinite."""
    return 3 * u**2 + v**2 + 4 * u * v


def reach(f: Any, solver: Any, rates: tuple[float, float], *, optimizer: Any = torch.optim.SGD, steps: int) -> float:
    """Play from a distance of 0.01 and return the distance at the end."""
    solution = solve(
        Game(f, number(0.006), number(0.008)),
        solver,
        steps=steps,
        u_optimizer=partial(optimizer, lr=rates[0]),
        v_optimizer=partial(optimizer, lr=rates[1]),
    )
    return distance(solution)


def distance(solution: Solution) -> float:
    return float(torch.hypot(solution.u, solution.v))


AIMED: list[tuple[Any, tuple[float, float]]] = [
    (Stackelberg(), (0.1, 0.1)),
    (FollowTheRidge(), (0.1, 0.1)),
    (NewtonFollower(), (0.1, 1.0)),
    (CompleteNewton(), (1.0, 1.0)),
]
"""Solvers whose attracting points are strict local minimax points, with rates in their range."""

OTHERS: list[tuple[Any, tuple[float, float]]] = [
    (SimultaneousGDA(), (0.02, 0.02)),
    (CompetitiveGradient(), (0.02, 0.02)),
    (SymplecticAdjustment(), (0.02, 0.02)),
    (Consensus(), (0.02, 0.02)),
    (Hamiltonian(), (0.02, 0.02)),
]


def named(value: Any) -> str | None:
    return getattr(value, "name", None)


@pytest.mark.parametrize("damping", [0.0, 0.1])
@pytest.mark.parametrize(("solver", "rates"), AIMED, ids=named)
def test_a_minimax_point_attracts(solver: Any, rates: tuple[float, float], damping: float) -> None:
    assert reach(minimax, type(solver)(damping=damping), rates, steps=200) < EXACT
    assert reach(minimax, SimultaneousGDA(), (0.02, 0.02), steps=300) > 1.0


@pytest.mark.parametrize("solver", [Stackelberg(), FollowTheRidge()], ids=named)
def test_it_attracts_under_adam_too(solver: Any) -> None:
    assert reach(minimax, solver, (0.01, 0.01), optimizer=torch.optim.Adam, steps=1000) < EXACT


@pytest.mark.parametrize(("solver", "rates"), AIMED, ids=named)
def test_what_is_no_minimax_point_repels(solver: Any, rates: tuple[float, float]) -> None:
    assert reach(impostor, solver, rates, steps=40) > 0.1


@pytest.mark.parametrize(("solver", "rates"), OTHERS, ids=named)
def test_the_others_take_it_for_a_solution(solver: Any, rates: tuple[float, float]) -> None:
    """The documented limit of solvers that do not tell leader from follower."""
    assert reach(impostor, solver, rates, steps=300) < 0.009


def test_with_damping_above_its_curvature_an_impostor_attracts() -> None:
    """d2f/dv2 = 2: with damping 3 the system is definite, and the penalty's weight 1 keeps the wrong point."""
    assert reach(impostor, Stackelberg(damping=3.0), (0.02, 0.02), steps=300) < 0.005


def test_a_correction_formed_from_the_raw_gradient_leads_away_under_adam() -> None:
    """By hand on -3 x^2 - y^2 + 4 x y, where the correction is 2 du: the leader's displacement converges, its gradient
    times its rate does not."""

    def final(*, raw: bool) -> float:
        u, v, down, up = np.array([0.1]), np.array([0.1]), hand.HandAdam(0.01), hand.HandAdam(0.01)
        for _ in range(1000):
            g_u, g_v = -6 * u + 4 * v, -2 * v + 4 * u
            moved = down(u, g_u)
            v = up(v, -g_v) + 2 * (-0.01 * g_u if raw else moved - u)
            u = moved
        return float(np.hypot(u, v)[0])

    assert final(raw=True) > 0.5 > np.hypot(0.1, 0.1)
    assert final(raw=False) < EXACT
    adam = partial(torch.optim.Adam, lr=0.01)
    game = Game(minimax, number(0.1), number(0.1))
    assert distance(solve(game, FollowTheRidge(), steps=1000, u_optimizer=adam, v_optimizer=adam)) < EXACT


# -- bilinear games -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.1, 0.5, 1.0])
@pytest.mark.parametrize(
    ("solver", "factor"),
    [
        (CompetitiveGradient(), lambda eta: 1 / np.sqrt(1 + eta**2)),
        (SymplecticAdjustment(weight=0.6), lambda eta: np.hypot(1 - 0.6 * eta, eta)),
        (SymplecticAdjustment(weight=0.6, align=False), lambda eta: np.hypot(1 - 0.6 * eta, eta)),
        (Consensus(gamma=0.8), lambda eta: np.hypot(1 - 0.8 * eta, eta)),
        (Hamiltonian(), lambda eta: 1 - eta),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_factors_per_step_on_xy(solver: Any, factor: Any, eta: float) -> None:
    sgd = partial(torch.optim.SGD, lr=eta)
    solution = solve(
        Game(lambda u, v: u * v, number(0.6), number(0.8)), solver, steps=20, u_optimizer=sgd, v_optimizer=sgd
    )
    assert distance(solution) == pytest.approx(factor(eta) ** 20, rel=EXACT, abs=EXACT)


@pytest.mark.parametrize(
    ("solver", "rate"),
    [
        (CompetitiveGradient(), 1.0),
        (SymplecticAdjustment(), 0.1),
        (Consensus(), 0.1),
        (Hamiltonian(), 0.1),
        (Stackelberg(damping=1.0), 0.2),
    ],
    ids=named,
)
def test_bilinear_games_are_solved_that_descent_ascent_leaves(solver: Any, rate: float) -> None:
    game = hand.games()[1]
    players = torch.from_numpy(game.u0), torch.from_numpy(game.v0)

    def rest(chosen: Any) -> float:
        sgd = partial(torch.optim.SGD, lr=rate if chosen is solver else 0.1)
        s = solve(Game(game.f, *players), chosen, steps=1000, u_optimizer=sgd, v_optimizer=sgd)
        u, v = s.u.numpy(), s.v.numpy()
        return float(np.hypot(np.linalg.norm(game.grad_u(u, v)), np.linalg.norm(game.grad_v(u, v))))

    assert rest(solver) < 1e-6
    assert rest(SimultaneousGDA()) > 1.0


def test_the_total_gradient_of_a_singular_game_has_no_correction() -> None:
    """On u v the least squares leave the follower where it is, and the step is plain descent-ascent."""
    game, sgd = Game(lambda u, v: u * v, number(0.6), number(0.8)), partial(torch.optim.SGD, lr=0.1)
    plain = solve(game, SimultaneousGDA(), steps=30, u_optimizer=sgd, v_optimizer=sgd)
    for solver in (Stackelberg(), FollowTheRidge()):
        found = solve(game, solver, steps=30, u_optimizer=sgd, v_optimizer=sgd)
        assert (float(found.u), float(found.v)) == (float(plain.u), float(plain.v))
        assert found.history["not_concave"].tolist() == [1.0] * 30


# -- Newton's speed -----------------------------------------------------------------------------------------------------


def test_complete_newton_ends_a_quadratic_game_in_two_steps() -> None:
    """The first step reaches the ridge, the second its minimum."""
    game = hand.games()[0]
    full = partial(torch.optim.SGD, lr=1.0)
    players = torch.from_numpy(game.u0), torch.from_numpy(game.v0)
    exact = CompleteNewton(cg_steps=60, cg_tolerance=1e-15)
    one, two = (solve(Game(game.f, *players), exact, steps=n, u_optimizer=full, v_optimizer=full) for n in (1, 2))
    assert float(one.u.abs().max()) > 1e-3
    assert max(float(two.u.abs().max()), float(two.v.abs().max())) < EXACT


def test_complete_newton_doubles_the_digits() -> None:
    """On (x^2 + 1)(2 + sin y) the minimax point is (0, pi / 2); the errors of four steps fall like squares or faster."""
    game = Game(lambda u, v: (u**2 + 1) * (2 + torch.sin(v)) + u * (v - torch.pi / 2) / 2, number(0.4), number(1.2))
    full = partial(torch.optim.SGD, lr=1.0)
    exact = CompleteNewton(cg_steps=60, cg_tolerance=1e-15)
    errors = []
    for steps in range(1, 6):
        s = solve(game, exact, steps=steps, u_optimizer=full, v_optimizer=full)
        errors.append(float(torch.hypot(s.u, s.v - torch.pi / 2)))
    assert all(after < 2 * before**2 or after < EXACT for before, after in pairwise(errors))
    assert errors[-1] < EXACT < errors[0]


def test_a_newton_follower_answers_exactly() -> None:
    """With full steps of the follower the leader descends max_v f = u^2 by its own gradient, from the second step on."""
    slow, full = partial(torch.optim.SGD, lr=0.1), partial(torch.optim.SGD, lr=1.0)
    game = Game(minimax, number(1.0), number(2.0))
    solution = solve(game, NewtonFollower(), steps=10, u_optimizer=slow, v_optimizer=full)
    assert float(solution.u) == pytest.approx(0.8**10, rel=EXACT)
    assert float(solution.v) == pytest.approx(2 * 0.8**10, rel=EXACT)
