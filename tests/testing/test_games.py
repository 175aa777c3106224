"""Every known game's claims hold, and a game that claims anything else is found out by the same judge."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import optree
import pytest
import torch
from scipy.optimize import linprog

from minimaxopt import Sensitivity, solve
from minimaxopt.errors import UnknownNameError
from minimaxopt.testing import GAMES, KnownGame, KnownPoint, known_game
from minimaxopt.testing.games import bilinear
from minimaxopt.testing.games import robust_learning as data
from minimaxopt.testing.games.known_game import flat
from tests.testing import referee
from tests.testing.searches import best_follower, find_values

KINDS = ("strict local minimax", "local Nash", "not local minimax", "undecided")
every_game = pytest.mark.parametrize("known", GAMES.values(), ids=GAMES.keys())


def points(known: KnownGame) -> tuple[KnownPoint, ...]:
    return (*known.minimax_points, *known.impostors)


def shifted(tree: Any, by: float) -> Any:
    return optree.tree_map(lambda x: x + by, tree)


def elsewhere(value: float) -> float:
    return value + 0.05 if math.isfinite(value) else 0.0


# -- claims against searches -----------------------------------------------------------------------------------------


@every_game
def test_values_are_those_that_searches_find(known: KnownGame) -> None:
    searched = find_values(known)
    assert referee.judge_values(known, searched) == []
    lies = [
        replace(known, minimax_value=elsewhere(known.minimax_value)),
        replace(known, maximin_value=elsewhere(known.maximin_value)),
    ]
    if known.minimax_points:
        moved = tuple(replace(p, u=shifted(p.u, 0.7)) for p in known.minimax_points)
        lies.append(replace(known, minimax_points=moved, leaders=None))
    for lie in lies:
        assert referee.judge_values(lie, searched) != []


@every_game
def test_points_are_minimax_and_impostors_are_not(known: KnownGame) -> None:
    assert referee.judge_points(known) == []
    lies: list[KnownGame] = []
    if known.minimax_points:
        first = known.minimax_points[0]
        lies.append(replace(known, minimax_points=(replace(first, u=shifted(first.u, 0.7)),)))
        lies.append(replace(known, impostors=(first,)))
    if known.impostors:
        first = known.impostors[0]
        lies.append(replace(known, impostors=(replace(first, v=shifted(first.v, 0.3)),)))
        lies.append(replace(known, minimax_points=(first,)))
    assert lies
    for lie in lies:
        assert referee.judge_points(lie) != []


@every_game
def test_responses_are_the_best(known: KnownGame) -> None:
    assert referee.judge_responses(known) == []
    lies: list[KnownGame] = []
    if known.answer is not None:
        right = known.answer
        lies.append(replace(known, answer=lambda u: halfway(right(u), known.v)))
    if known.reply is not None:
        reply = known.reply
        lies.append(replace(known, reply=lambda v: halfway(reply(v), known.u)))
    for lie in lies:
        assert referee.judge_responses(lie) != []


def halfway(a: Any, b: Any) -> Any:
    return optree.tree_map(lambda x, y: (x + y) / 2, a, b)


@every_game
def test_nash_points_exist_where_claimed(known: KnownGame) -> None:
    assert referee.judge_nash(known) == []
    assert referee.judge_nash(replace(known, nash=not known.nash)) != []


@every_game
def test_local_types_are_those_of_dense_hessians(known: KnownGame) -> None:
    assert referee.judge_kinds(known) == []
    for point in points(known):
        for kind in KINDS:
            claimed = replace(known, minimax_points=(replace(point, kind=kind),), impostors=())
            assert (referee.judge_kinds(claimed) == []) is (kind == point.kind)


@every_game
def test_points_nearby_refute_what_is_not_local_minimax_and_nothing_else(known: KnownGame) -> None:
    assert referee.judge_local(known) == []
    for point in points(known):
        lie = replace(point, local_minimax=not point.local_minimax)
        assert referee.judge_local(replace(known, minimax_points=(lie,), impostors=())) != []


@every_game
def test_random_starts_are_allowed_reproducible_and_not_stationary(known: KnownGame) -> None:
    before = torch.get_rng_state()
    first, again, other = known.start(0), known.start(0), known.start(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(flat(first.u), flat(again.u))
    assert torch.equal(flat(first.v), flat(again.v))
    assert not torch.equal(flat(first.u), flat(other.u))
    for seed in range(5):
        at = known.start(seed)
        assert referee.judge_points(replace(known, minimax_points=(), impostors=(claim(at),)))[0].startswith(
            "impostor 0"
        )
        assert referee.dense_kind(known, at.u, at.v) == "not local minimax"
        assert not referee._outside(known, at.u, at.v, "start")


def claim(at: Any) -> KnownPoint:
    return KnownPoint(at.u, at.v, "not local minimax", "", False)


# -- a second method where there is one ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["matching-pennies", "rock-paper-scissors", "matrix-5x7", "matrix-pure"])
def test_matrix_games_are_solved_by_linear_programming(name: str) -> None:
    known = GAMES[name]
    m, n = known.dimensions
    M = np.array([[float(known.f(e, d)) for d in torch.eye(n).double()] for e in torch.eye(m).double()])
    program = linprog(
        np.r_[np.zeros(m), 1.0], A_ub=np.c_[M.T, -np.ones(n)], b_ub=np.zeros(n), A_eq=[np.r_[np.ones(m), 0.0]], b_eq=[1.0],
        bounds=[(0, None)] * m + [(None, None)],
    )  # fmt: skip
    assert known.minimax_value == pytest.approx(program.x[m], abs=1e-9)
    np.testing.assert_allclose(known.minimax_points[0].u, program.x[:m], atol=1e-9)
    # Equalising on other supports gives weights that are no strategy, or a value that is not the program's.
    if name == "matrix-5x7":
        u, _, value = bilinear._equalised(M.tolist(), [0, 1, 2, 3], [0, 4, 5, 6])
        assert abs(value - program.x[m]) > 1e-3 or float(u.min()) < 0


def test_the_largest_residual_is_least_by_linear_programming() -> None:
    known = GAMES["chebyshev-regression"]
    A, b, one = data._A[:, :2].numpy(), data._b.numpy(), np.ones(8)
    program = linprog(
        [0, 0, 1], A_ub=np.block([[A, -one[:, None]], [-A, -one[:, None]]]), b_ub=np.r_[b, -b], bounds=[(None, None)] * 3
    )  # fmt: skip
    np.testing.assert_allclose(known.minimax_points[0].u, program.x[:2], atol=1e-9)
    assert known.minimax_value == pytest.approx(program.x[2] ** 2 / 2, abs=1e-9)


def test_newton_reaches_a_minimum_to_rounding() -> None:
    minimum = data.newton(lambda x: (x[0] - 1) ** 4 + (x[0] - 1) ** 2 + torch.cosh(x[1]), data.vector(3.0, -2.0))
    np.testing.assert_allclose(minimum, [1.0, 0.0], atol=1e-12)


# -- the collection --------------------------------------------------------------------------------------------------


def test_the_collection_has_games_of_every_sort() -> None:
    games = [game for family in (bilinear, data) for game in family.games()]
    assert {game.name for game in games} <= set(GAMES)
    assert len(GAMES) >= 45
    assert len({g.formula for g in GAMES.values()}) >= 45
    assert sum(sum(g.dimensions) >= 10 for g in GAMES.values()) >= 5
    assert sum(g.constrained for g in GAMES.values()) >= 5
    assert sum(g.degenerate for g in GAMES.values()) >= 5
    assert {p.kind for g in GAMES.values() for p in points(g)} == set(KINDS)
    assert {(p.kind, p.local_minimax) for g in GAMES.values() for p in points(g)} >= {
        ("undecided", True),
        ("undecided", False),
    }
    for name, game in GAMES.items():
        assert name == game.name
        assert all(len(text) > 5 for text in (game.why, game.source, *(p.why for p in points(game))))


@every_game
def test_games_are_in_float64_and_their_players_are_copies(known: KnownGame) -> None:
    game = known.game()
    for original, copied in ((known.u, game.u), (known.v, game.v)):
        leaves = optree.tree_leaves(copied)
        assert {leaf.dtype for leaf in leaves} == {torch.float64}
        assert all(a.data_ptr() != b.data_ptr() for a, b in zip(leaves, optree.tree_leaves(original), strict=True))
    assert known.f(game.u, game.v).dtype == torch.float64
    moved = known.game(shifted(known.u, 1.0))
    assert torch.equal(flat(moved.u), flat(known.u) + 1)
    assert torch.equal(flat(moved.v), flat(known.v))


def test_distances_are_to_the_nearest_leader() -> None:
    assert GAMES["monkey-saddle"].distance(torch.tensor(-0.5)) == pytest.approx(0.25)
    assert GAMES["linear-square"].distance(torch.tensor(-0.3)) == 0.0
    assert GAMES["linear-square"].distance(torch.tensor(0.5)) == 0.5
    assert GAMES["unbounded-follower"].distance(torch.tensor(0.0)) == math.inf
    hyperbola = GAMES["factorised"]
    t = torch.linspace(0.05, 20, 200001, dtype=torch.float64)
    for seed in range(5):
        u = hyperbola.start(seed).u
        branches = torch.stack([t, 1 / t]), torch.stack([-t, -1 / t])
        brute = min(float((b - u[:, None]).norm(dim=0).min()) for b in branches)
        assert hyperbola.distance(u) == pytest.approx(brute, abs=1e-6)
    covariance = GAMES["covariance-gan"]
    angles = torch.linspace(0, 2 * math.pi, 20001, dtype=torch.float64)
    turns = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], 1).reshape(-1, 2, 2)
    mirror = torch.tensor([[1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
    root = covariance.minimax_points[0].u
    for seed in range(5):
        u = covariance.start(seed).u
        brute = min(float((root @ q - u).square().sum((1, 2)).min().sqrt()) for q in (turns, turns @ mirror))
        assert covariance.distance(u) == pytest.approx(brute, abs=1e-6)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    assert known_game("seesaw") is GAMES["seesaw"]
    with pytest.raises(UnknownNameError, match="did you mean 'seesaw'"):
        known_game("sesaw")


def test_the_follower_that_a_search_finds_is_not_always_the_nearest() -> None:
    """At the Nash points of the weapons among neighbours the follower does better far away."""
    known = GAMES["weapons"]
    point = known.impostors[1]
    assert best_follower(known, point.u) > float(known.f(point.u, point.v)) + 0.05


@pytest.mark.parametrize("name", ["minimax-not-nash", "quadratic-minimax-10", "ridge"])
def test_a_solver_finds_minimax_points_that_are_not_nash(name: str) -> None:
    known = GAMES[name]
    sgd = {p: lambda tensors: torch.optim.SGD(tensors, lr=0.02) for p in ("u_optimizer", "v_optimizer")}
    near = known.game(shifted(known.minimax_points[0].u, 0.1), shifted(known.minimax_points[0].v, 0.1))
    solution = solve(near, Sensitivity(gamma=1.0), steps=3000, **sgd)
    assert known.distance(solution.u) < 1e-3
    assert known.distance(near.u) > 0.05
