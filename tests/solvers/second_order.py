"""Second-order steps derived by hand: dense matrices and numpy.linalg in the place of products and iterations."""

from __future__ import annotations

from typing import Any

import numpy as np

from minimaxopt.solvers.adjusted import Consensus, Hamiltonian, SymplecticAdjustment
from minimaxopt.solvers.competitive import CompetitiveGradient
from minimaxopt.solvers.implicit import FollowTheRidge, Stackelberg
from minimaxopt.solvers.newton import CompleteNewton, NewtonFollower
from tests.solvers import hand
from tests.solvers.hand import Array, HandGame, Optimizer, Step

DAMPING = 0.5  # makes every system of the table definite: the bilinear games have d2f/dv2 = 0
TIGHT: dict[str, Any] = {"cg_steps": 60, "cg_tolerance": 1e-15}


def dense(product: Any, u: Array, v: Array, columns: int) -> Array:
    """The matrix of a block, from its products with the unit vectors."""
    return np.stack([product(u, v, e) for e in np.eye(columns)], axis=1)


def concave(game: HandGame, u: Array, v: Array, damping: float) -> Array:
    """``-d2f/dv2 + damping I``, which has to be positive definite."""
    matrix = -dense(game.vv, u, v, len(v)) + damping * np.eye(len(v))
    np.linalg.cholesky(matrix)
    return matrix


def stackelberg(damping: float) -> Step:
    def step(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> tuple[Array, Array]:
        answer = np.linalg.solve(concave(game, u, v, damping), game.grad_v(u, v))
        return down(u, game.grad_u(u, v) + game.uv(u, v, answer)), up(v, -game.grad_v(u, v))

    return step


def ridge(damping: float) -> Step:
    def step(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> tuple[Array, Array]:
        moved = down(u, game.grad_u(u, v))
        correction = np.linalg.solve(concave(game, u, v, damping), game.vu(u, v, moved - u))
        return moved, up(v, -game.grad_v(u, v)) + correction

    return step


def newton_follower(damping: float) -> Step:
    def step(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> tuple[Array, Array]:
        u = down(u, game.grad_u(u, v))
        return u, up(v, -np.linalg.solve(concave(game, u, v, damping), game.grad_v(u, v)))

    return step


def complete_newton(damping: float) -> Step:
    def step(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> tuple[Array, Array]:
        uv = dense(game.uv, u, v, len(v))
        follows = np.linalg.solve(concave(game, u, v, damping), dense(game.vu, u, v, len(u)))
        total = dense(game.uu, u, v, len(u)) + uv @ follows + damping * np.eye(len(u))
        np.linalg.cholesky(total)
        u = down(u, np.linalg.solve(total, game.grad_u(u, v)))
        return u, up(v, -np.linalg.solve(concave(game, u, v, damping), game.grad_v(u, v)))

    return step


def jacobian(game: HandGame, u: Array, v: Array) -> Array:
    """The Jacobian of ``F = (grad_u f, -grad_v f)``."""
    m, n = len(u), len(v)
    uu, uv = dense(game.uu, u, v, m), dense(game.uv, u, v, n)
    vu, vv = dense(game.vu, u, v, m), dense(game.vv, u, v, n)
    return np.block([[uu, uv], [-vu, -vv]])


def symplectic(weight: float, *, align: bool) -> Step:
    def step(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> tuple[Array, Array]:
        F, J = np.concatenate([game.grad_u(u, v), -game.grad_v(u, v)]), jacobian(game, u, v)
        A = (J - J.T) / 2
        slope = J.T @ F
        sign = np.sign((F @ slope) * ((A.T @ F) @ slope) / len(F) + 0.1) if align else 1.0
        direction = F + weight * sign * (A.T @ F)
        return down(u, direction[: len(u)]), up(v, direction[len(u) :])

    return step


def consensus(gamma: float) -> Step:
    def step(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> tuple[Array, Array]:
        F = np.concatenate([game.grad_u(u, v), -game.grad_v(u, v)])
        direction = F + gamma * jacobian(game, u, v).T @ F
        return down(u, direction[: len(u)]), up(v, direction[len(u) :])

    return step


def hamiltonian(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> tuple[Array, Array]:
    F = np.concatenate([game.grad_u(u, v), -game.grad_v(u, v)])
    direction = jacobian(game, u, v).T @ F
    return down(u, direction[: len(u)]), up(v, direction[len(u) :])


def competitive(eta_u: float, eta_v: float) -> Step:
    """Both players' systems as printed, each solved for itself."""

    def step(game: HandGame, u: Array, v: Array, down: Optimizer, up: Optimizer, i: int) -> tuple[Array, Array]:
        g_u, g_v = game.grad_u(u, v), game.grad_v(u, v)
        uv, vu = dense(game.uv, u, v, len(v)), dense(game.vu, u, v, len(u))
        p = np.linalg.solve(np.eye(len(u)) + eta_u * eta_v * uv @ vu, g_u + eta_v * uv @ g_v)
        q = np.linalg.solve(np.eye(len(v)) + eta_u * eta_v * vu @ uv, g_v - eta_u * vu @ g_u)
        return down(u, p), up(v, -q)

    return step


ROWS: list[tuple[str, Any, hand.Step]] = [
    ("stackelberg", Stackelberg(damping=DAMPING, **TIGHT), stackelberg(DAMPING)),
    ("follow-the-ridge", FollowTheRidge(damping=DAMPING, **TIGHT), ridge(DAMPING)),
    ("newton-follower", NewtonFollower(damping=DAMPING, **TIGHT), newton_follower(DAMPING)),
    ("complete-newton", CompleteNewton(damping=4.0, **TIGHT), complete_newton(4.0)),
    ("symplectic, aligned", SymplecticAdjustment(weight=0.3), symplectic(0.3, align=True)),
    ("symplectic", SymplecticAdjustment(weight=0.7, align=False), symplectic(0.7, align=False)),
    ("consensus", Consensus(gamma=0.3), consensus(0.3)),
    ("hamiltonian", Hamiltonian(), hamiltonian),
]
SIGMA, LAMBDA = 0.03, 0.02  # as in test_table
SGD_ROWS: list[tuple[str, Any, hand.Step]] = [
    ("competitive", CompetitiveGradient(**TIGHT), competitive(LAMBDA, SIGMA)),
]
"""For plain SGD alone; the solver refuses the other optimizers."""
