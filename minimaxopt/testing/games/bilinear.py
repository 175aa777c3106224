"""Bilinear games: on the whole space, on simplices (matrix games), regularised, and bent by a tanh."""

# Matrices are capital letters.
# ruff: noqa: N806
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from minimaxopt.constraints import Simplex
from minimaxopt.testing.games.known_game import KnownGame, KnownPoint, excluded, nash, number, undecided, vector

_FLAT = "Linear in each player, so that both Hessians vanish; a saddle all the same."
_PUSHED = "Minimax, since every v answers u* equally well, but the leader's slope is not zero."


def games() -> list[KnownGame]:
    """Two games on the whole space, four matrix games, a regularised one and a bent one."""
    return [*_free(), *_matrix_games(), _regularised(), _hidden()]


def _free() -> list[KnownGame]:
    B = torch.from_numpy(np.random.default_rng(3).normal(size=(5, 5)))
    p, r = vector(0.5, -0.5, 1.0, 0.0, -1.0), vector(-0.5, 1.0, 0.0, 0.5, -1.0)
    why = "The maximum over v is infinite unless B'(u - p) = 0, the minimum over u unless B (v - r) = 0."
    return [
        KnownGame(
            "bilinear", "uv", lambda u, v: u * v, number(1.0), number(0.5), 0.0, 0.0, True,
            "The maximum over v is infinite unless u = 0, the minimum over u unless v = 0.", "elementary",
            minimax_points=(
                undecided(number(0.0), number(0.0), _FLAT, local_minimax=True),
                excluded(number(0.0), number(1.0), _PUSHED),
            ),
        ),
        KnownGame(
            "bilinear-10", "(u - p)'B(v - r) in 5 dimensions each, B invertible", lambda u, v: (u - p) @ B @ (v - r),
            torch.zeros_like(p), torch.zeros_like(r), 0.0, 0.0, True, why, "elementary",
            minimax_points=(undecided(p, r, _FLAT, local_minimax=True), excluded(p, r + 1, _PUSHED)),
        ),
    ]  # fmt: skip


def _matrix_games() -> list[KnownGame]:
    wide = [
        [-1.1, -0.4, 0.8, -1.3, -1.3, 1.1, 1.2],
        [1.7, -0.2, 0.9, 0.5, 0.2, 0.8, 0.3],
        [1.8, 0.7, -0.5, 0.8, 0.9, -1.8, 0.3],
        [0.0, 0.0, -1.1, -1.3, 1.3, 1.4, 1.5],
        [-0.7, -1.0, -0.2, 0.5, 1.0, 0.5, 0.4],
    ]
    u, v, value = _equalised(wide, [0, 1, 2, 4], [0, 4, 5, 6])
    e_1, e_4 = vector(1.0, 0.0, 0.0), vector(1.0, 0.0, 0.0, 0.0)
    return [
        _matrix_game(
            "matching-pennies", [[1, -1], [-1, 1]], 0.0, "Against (1/2, 1/2) every strategy of the other is worth 0.",
            (
                undecided(vector(0.5, 0.5), vector(0.5, 0.5), _FLAT, local_minimax=True),
                excluded(vector(0.5, 0.5), vector(1.0, 0.0), _PUSHED),
            ),
        ),
        _matrix_game(
            "rock-paper-scissors", [[0, -1, 1], [1, 0, -1], [-1, 1, 0]], 0.0,
            "Against (1/3, 1/3, 1/3) every strategy of the other is worth 0.",
            (
                undecided(torch.ones(3).double() / 3, torch.ones(3).double() / 3, _FLAT, local_minimax=True),
                excluded(torch.ones(3).double() / 3, e_1, _PUSHED),
            ),
        ),
        _matrix_game(
            "matrix-5x7", wide, value, "The supports are those of the linear program; on them each player makes the "
            "other indifferent, and off them each strategy is worth less to its owner.",
            (undecided(u, v, _FLAT, local_minimax=True),),
        ),
        _matrix_game(
            "matrix-pure", [[3, 1, 2, 0], [5, 6, 1, 4], [4, 2, 7, 1]], 3.0,
            "The entry 3 is the largest of its row and the smallest of its column: a saddle in pure strategies.",
            (nash(e_1, e_4, "Each other strategy is strictly worse to its owner: no direction is free."),),
        ),
    ]  # fmt: skip


def _matrix_game(name: str, rows: Any, value: float, why: str, points: tuple[KnownPoint, ...]) -> KnownGame:
    M = torch.tensor(rows, dtype=torch.float64)
    m, n = M.shape
    u, v = torch.arange(1.0, m + 1, dtype=torch.float64), torch.arange(1.0, n + 1, dtype=torch.float64)
    return KnownGame(
        name, f"u'Mv for a {m} by {n} matrix M, u and v on the simplex", lambda u, v: u @ M @ v, u / u.sum(),
        v / v.sum(), value, value, True, why, "von Neumann 1928",
        project_u=Simplex(), project_v=Simplex(), box=((0.0, 1.0), (0.0, 1.0)), minimax_points=points,
        answer=lambda u: _pure((u @ M).argmax(), n), reply=lambda v: _pure((M @ v).argmin(), m),
    )  # fmt: skip


def _equalised(rows: Any, plays_u: list[int], plays_v: list[int]) -> tuple[Tensor, Tensor, float]:
    """Return the strategies on the given supports that make the other player indifferent, and the value."""
    M = np.array(rows)[np.ix_(plays_u, plays_v)]
    k = len(plays_u)
    ones, target = np.ones((k, 1)), np.eye(k + 1)[k]
    left = np.linalg.solve(np.block([[M.T, -ones], [ones.T, np.zeros((1, 1))]]), target)
    right = np.linalg.solve(np.block([[M, -ones], [ones.T, np.zeros((1, 1))]]), target)
    u, v = torch.zeros(len(rows), dtype=torch.float64), torch.zeros(len(rows[0]), dtype=torch.float64)
    u[plays_u], v[plays_v] = torch.from_numpy(left[:k]), torch.from_numpy(right[:k])
    return u, v, float(left[k])


def _regularised() -> KnownGame:
    M = [
        [0.3, 0.8, 0.3, -1.3, 0.9, 0.4],
        [-0.5, 0.6, 0.4, 0.3, 0.0, 0.5],
        [-0.7, -0.2, -0.5, 0.6, 0.0, -0.3],
        [-0.8, -0.3, 0.0, -0.3, 1.3, 1.0],
        [-2.7, -1.9, -0.2, -0.4, 0.2, 0.2],
        [2.1, -1.1, -0.4, 2.0, 0.6, 0.7],
    ]
    S, T = [0, 1, 2, 4], [2, 3, 4, 5]
    inner, one, none = np.array(M)[np.ix_(S, T)], np.ones((4, 1)), np.zeros((4, 1))
    # On the supports S and T: u + M v = alpha, M'u - v = beta, and both sums are 1.
    system = np.block([
        [np.eye(4), inner, -one, none],
        [inner.T, -np.eye(4), none, -one],
        [one.T, none.T, np.zeros((1, 2))],
        [none.T, one.T, np.zeros((1, 2))],
    ])  # fmt: skip
    equilibrium = torch.from_numpy(np.linalg.solve(system, np.r_[np.zeros(8), 1.0, 1.0]))
    u, v = torch.zeros(6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    u[S], v[T] = equilibrium[:4], equilibrium[4:8]
    tM = torch.tensor(M, dtype=torch.float64)

    def f(u: Tensor, v: Tensor) -> Tensor:
        return u @ tM @ v + (u @ u - v @ v) / 2

    value, simplex = float(f(u, v)), Simplex()
    return KnownGame(
        "matrix-regularised", "u'Mv + ||u||²/2 - ||v||²/2 for a 6 by 6 matrix M, u and v on the simplex", f,
        torch.eye(6, dtype=torch.float64)[0], torch.eye(6, dtype=torch.float64)[0], value, value, True,
        "Strongly convex in u and strongly concave in v: one saddle, in which four strategies of each are played.",
        "elementary", project_u=simplex, project_v=simplex, box=((0.0, 1.0), (0.0, 1.0)),
        minimax_points=(nash(u, v, "The Hessians are 1 and -1, and off the supports the slopes point outwards."),),
        answer=lambda u: simplex(u @ tM), reply=lambda v: simplex(-(tM @ v)),
    )  # fmt: skip


def _hidden() -> KnownGame:
    return KnownGame(
        "hidden-bilinear", "tanh(u) tanh(v)", lambda u, v: torch.tanh(u) * torch.tanh(v), number(1.0), number(0.5), 0.0,
        0.0, True, "The supremum over v is |tanh u|, the infimum over u is -|tanh v|.",
        "after Vlatakis-Gkaragkounis, Flokas and Piliouras 2019",
        minimax_points=(
            undecided(number(0.0), number(0.0), "Both Hessians vanish there; a saddle.", local_minimax=True),
            excluded(number(0.0), number(1.0), _PUSHED),
        ),
    )  # fmt: skip


def _pure(index: Tensor, n: int) -> Tensor:
    return torch.nn.functional.one_hot(index, n).to(torch.float64)
