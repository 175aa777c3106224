"""Games decided by the edge of their domain: vertices, curved boundaries, a Lagrangian."""

# Matrices are capital letters.
# ruff: noqa: N806
from __future__ import annotations

import math

import torch
from torch import Tensor

from minimaxopt.constraints import Box, L2Ball
from minimaxopt.testing.games.known_game import KnownGame, excluded, nash, number, strict, undecided, vector


def games() -> list[KnownGame]:
    """Six games."""
    return [_vertex(), _flat_box(), _lagrangian(), _curved_leader(), _hide_and_seek(), _eigenvalue()]


def _vertex() -> KnownGame:
    a, c = vector(2.0, -3.0, 2.5, -2.0, 4.0), vector(-2.0, 2.5, 3.0, -2.0, 2.0)
    B = torch.tensor(
        [[0.3, -0.2, 0.4, 0.1, 0.5], [-0.5, 0.2, 0.3, -0.4, 0.1], [0.2, 0.6, -0.1, 0.3, -0.3],
         [0.4, -0.1, 0.2, -0.5, 0.4], [-0.2, 0.5, 0.6, 0.1, -0.3]], dtype=torch.float64,
    )  # fmt: skip

    def f(u: Tensor, v: Tensor) -> Tensor:
        return a @ u + u @ B @ v + c @ v

    u, v = -a.sign(), c.sign()
    value = float(f(u, v))
    return KnownGame(
        "box-vertex", "a'u + u'Bv + c'v on [-1, 1]⁵ each, B small", f, torch.zeros(5, dtype=torch.float64),
        torch.zeros(5, dtype=torch.float64), value, value, True,
        "B is too small to turn the sign of any slope, so that each player goes to its vertex whatever the other does.",
        "elementary", project_u=Box(-1.0, 1.0), project_v=Box(-1.0, 1.0), box=((-1.0, 1.0), (-1.0, 1.0)),
        minimax_points=(nash(u, v, "Each value is pressed against its bound: no direction is free."),),
        answer=lambda u: (c + u @ B).sign(), reply=lambda v: -(a + B @ v).sign(),
    )  # fmt: skip


def _flat_box() -> KnownGame:
    a, c = vector(1.0, 0.0, -2.0), vector(0.0, 1.0)
    u = vector(-1.0, 0.0, 1.0)
    return KnownGame(
        "flat-box", "u₁ - 2u₃ + v₂ on [-1, 1]³ and [-1, 1]²", lambda u, v: a @ u + c @ v, vector(0.5, 0.5, 0.5),
        vector(0.5, 0.5), -2.0, -2.0, True, "Linear; u₂ and v₁ have no effect.", "elementary",
        project_u=Box(-1.0, 1.0), project_v=Box(-1.0, 1.0), box=((-1.0, 1.0), (-1.0, 1.0)),
        minimax_points=(
            undecided(u, vector(0.0, 1.0), "Along u₂ and v₁ nothing changes; a saddle.", local_minimax=True),
            undecided(u + vector(0.0, 0.7, 0.0), vector(-0.4, 1.0), "Moved along both.", local_minimax=True),
        ),
        answer=lambda u: c.sign(), reply=lambda v: -a.sign(),
        leaders=lambda u: torch.stack([u[0] * 0 - 1, u[1].clamp(-1.0, 1.0), u[2] * 0 + 1]),
    )  # fmt: skip


def _lagrangian() -> KnownGame:
    u = vector(0.5, 0.5)
    return KnownGame(
        "lagrangian", "||u||² + v(1 - u₁ - u₂), 0 <= v <= 10", lambda u, v: u @ u + v * (1 - u.sum()), vector(0.0, 1.0),
        number(0.0), 0.5, 0.5, True,
        "The least ||u||² with u₁ + u₂ >= 1: the penalty 10 for what is missing exceeds the multiplier 1, so that it is "
        "exact. The leader replies u₁ = u₂ = v/2, which leaves v - v²/2.", "elementary",
        project_v=Box(0.0, 10.0), box=((-2.0, 2.0), (0.0, 10.0)),
        minimax_points=(
            undecided(u, number(1.0), "Linear in v, so that its Hessian vanishes; a saddle.", local_minimax=True),
            excluded(u, number(0.0), "Minimax, since every v answers u* equally well, but the leader's slope is 2u."),
        ),
        answer=lambda u: torch.where(u.sum() < 1, 10.0, 0.0).to(u), reply=lambda v: torch.stack([v / 2, v / 2]),
    )  # fmt: skip


def _curved_leader() -> KnownGame:
    c = vector(2.0, -1.0, 2.0) / 3

    def f(u: Tensor, v: Tensor) -> Tensor:
        return c @ u - 3 * (u @ u) + 2 * (u @ v) - (v @ v) / 2

    def reply(v: Tensor) -> Tensor:
        grad = c + 2 * v
        return -grad / grad.norm() if grad.norm() > 0 else -c

    return KnownGame(
        "curved-leader", "c'u - 3||u||² + 2u'v - ||v||²/2 with ||c|| = 1, ||u|| <= 1, in 3 dimensions each", f,
        torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), -2.0, -3.125, False,
        "The follower answers 2u, which leaves c'u - ||u||², concave: least at u = -c, with -2. The leader replies on "
        "the sphere, which leaves -||c + 2v|| - 3 - ||v||²/2, greatest at v = -c/2.", "elementary",
        project_u=L2Ball(1.0), box=((-1.0, 1.0), (-2.0, 2.0)),
        minimax_points=(
            strict(
                -c, -2 * c,
                "The multiplier of ||u||² = 1 bends the Schur complement from -2 to -2 + 3 = 1 along the sphere; the "
                "leader's own Hessian becomes -6 + 3 = -3 only.",
            ),
        ),
        impostors=(
            excluded(c / 2, c, "Stationary inside; the Schur complement is -2."),
            excluded(c, 2 * c, "Stationary on the sphere; along it the Schur complement is -2 + 1 = -1."),
        ),
        answer=lambda u: 2 * u, reply=reply,
    )  # fmt: skip


def _hide_and_seek() -> KnownGame:
    zero, e_1 = torch.zeros(5, dtype=torch.float64), torch.eye(5, dtype=torch.float64)[0]

    def answer(u: Tensor) -> Tensor:
        return -u / u.norm() if u.norm() > 0 else e_1

    return KnownGame(
        "hide-and-seek", "||u - v||², ||v|| <= 1, in 5 dimensions each", lambda u, v: (u - v) @ (u - v), e_1 / 2,
        zero + 0.1, 1.0, 0.0, False,
        "The follower goes to the far side, which leaves (1 + ||u||)²; the leader replies v, which leaves 0.",
        "elementary", project_v=L2Ball(1.0), box=((-1.0, 1.0), (-1.0, 1.0)),
        minimax_points=(
            excluded(zero, e_1, "Every point of the sphere answers 0 equally well, and the leader's slope is -2v."),
            excluded(zero, -e_1, "Likewise."),
        ),
        impostors=(
            excluded(zero, zero, "Found: stationary, but the follower is at a minimum, with the Hessian 2."),
            excluded(e_1, e_1, "Found on the sphere: stationary, and the follower gains along it and inwards."),
        ),
        answer=answer, reply=lambda v: v.clone(),
    )  # fmt: skip


def _eigenvalue() -> KnownGame:
    half = 1 / math.sqrt(2)
    return KnownGame(
        "eigenvalue", "v'Mv with M = diag(1 + u, 1 - u), ||v|| <= 1", lambda u, v: v @ v + u * (v[0] ** 2 - v[1] ** 2),
        number(0.7), vector(0.5, 0.2), 1.0, 1.0, True,
        "The maximum over v is the larger eigenvalue, 1 + |u|. The minimum over u is infinite unless |v₁| = |v₂|, and "
        "then ||v||².", "after Overton 1988",
        project_v=L2Ball(1.0), box=((-2.0, 2.0), (-1.0, 1.0)),
        minimax_points=(
            undecided(
                number(0.0), vector(half, half),
                "Along the circle the multiplier 2 takes the follower's Hessian away; a saddle.", local_minimax=True,
            ),
            excluded(number(0.0), vector(1.0, 0.0), "As good an answer, but the leader's slope is 1."),
        ),
        impostors=(excluded(number(0.0), vector(0.0, 0.0), "Stationary; the follower is at a minimum."),),
        answer=lambda u: torch.stack([(u >= 0).to(u), (u < 0).to(u)]),
    )  # fmt: skip
