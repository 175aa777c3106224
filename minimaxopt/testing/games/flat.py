"""Games that second derivatives do not decide: powers, products, whole curves of solutions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from minimaxopt.constraints import Box
from minimaxopt.testing.games.known_game import KnownGame, excluded, number, undecided, vector


def games() -> list[KnownGame]:
    """Five games."""
    return [_quartic(0), _quartic(1), _square_linear(), _linear_square(), _factorised()]


def _quartic(coupling: int) -> KnownGame:
    name, formula, why = "quartic", "u⁴/4 - v⁴/4", "f(0, v) = -v⁴/4 <= 0 and f(u, 0) = u⁴/4 >= 0."
    if coupling:
        name, formula, why = "quartic-coupled", f"{formula} + uv", f"{why} The best responses are cube roots."
    return KnownGame(
        name, formula, lambda u, v: (u**4 - v**4) / 4 + coupling * u * v, number(1.0), number(0.5), 0.0, 0.0, True, why,
        "elementary",
        minimax_points=(
            undecided(number(0.0), number(0.0), "Both Hessians vanish there; a saddle.", local_minimax=True),
        ),
        answer=lambda u: coupling * _cube_root(u), reply=lambda v: -coupling * _cube_root(v),
    )  # fmt: skip


def _cube_root(x: Tensor) -> Tensor:
    return torch.sign(x) * x.abs() ** (1 / 3)


def _square_linear() -> KnownGame:
    return KnownGame(
        "square-linear", "u²v, |v| <= 1", lambda u, v: u**2 * v, number(1.0), number(0.5), 0.0, 0.0, True,
        "The follower answers 1, which leaves u². The minimum over u is 0 for v >= 0, and infinite else.", "elementary",
        project_v=Box(-1.0, 1.0), box=((-2.0, 2.0), (-1.0, 1.0)),
        minimax_points=(
            undecided(number(0.0), number(1.0), "The follower's Hessian vanishes; a saddle.", local_minimax=True),
            undecided(number(0.0), number(0.0), "All second derivatives vanish; a saddle.", local_minimax=True),
            undecided(
                number(0.0), number(-0.5),
                "Minimax, since every v answers 0 equally well. Not a local one: near v = -1/2 all answers leave the "
                "leader a maximum in u. The follower's Hessian vanishes.",
                local_minimax=False,
            ),
        ),
        answer=torch.ones_like,
    )  # fmt: skip


def _linear_square() -> KnownGame:
    return KnownGame(
        "linear-square", "uv², |u| <= 1", lambda u, v: u * v**2, number(0.5), number(0.5), 0.0, 0.0, True,
        "The maximum over v is infinite for u > 0 and 0 else, so that all of [-1, 0] are minimax leaders; the leader "
        "replies -1.", "elementary",
        project_u=Box(-1.0, 1.0), box=((-1.0, 1.0), (-2.0, 2.0)),
        minimax_points=(
            undecided(
                number(-0.5), number(0.0), "The follower's Hessian is -1, the Schur complement 0.", local_minimax=True
            ),
            undecided(number(-1.0), number(0.0), "The same, at the bound.", local_minimax=True),
            undecided(number(0.0), number(0.0), "All second derivatives vanish; a saddle.", local_minimax=True),
        ),
        impostors=(excluded(number(0.5), number(0.0), "Stationary; the follower is at a minimum, with the Hessian 1."),),
        reply=lambda v: -torch.ones_like(v), leaders=lambda u: u.clamp(-1.0, 0.0),
    )  # fmt: skip


def _factorised() -> KnownGame:
    def f(u: Tensor, v: Tensor) -> Tensor:
        s = u[0] * u[1] - 1
        return s**2 / 2 + s * v - v**2 / 2

    def reply(v: Tensor) -> Tensor:
        product = 1 - v
        root = product.abs().sqrt()
        return torch.stack([torch.sign(product) * root, root])

    def nearest(u: Tensor) -> Tensor:
        # Stationary points of the squared distance along (x, 1/x): x⁴ - a x³ + b x - 1 = 0.
        a, b = u.tolist()
        roots = np.roots([1.0, -a, 0.0, b, -1.0])
        x = roots[np.abs(roots.imag) < 1e-7].real
        best = x[np.argmin((x - a) ** 2 + (1 / x - b) ** 2)]
        return vector(float(best), float(1 / best))

    along = "Along the hyperbola nothing changes: the Schur complement is singular. A minimum over it all the same."
    return KnownGame(
        "factorised", "s²/2 + sv - v²/2 with s = u₁u₂ - 1", f, vector(1.5, 0.2), number(0.5), 0.0, 0.0, True,
        "The follower answers s, which leaves s²: zero on the hyperbola u₁u₂ = 1. Any s can be made, so that the leader "
        "replies s = -v, which leaves -v².", "elementary (two-layer linear networks)",
        minimax_points=(
            undecided(vector(1.0, 1.0), number(0.0), along, local_minimax=True),
            undecided(vector(2.0, 0.5), number(0.0), along, local_minimax=True),
            undecided(vector(-1.0, -1.0), number(0.0), along, local_minimax=True),
        ),
        impostors=(
            excluded(vector(0.0, 0.0), number(-1.0), "Stationary, a saddle of s²: the Schur complement is ∓2."),
        ),
        answer=lambda u: u[0] * u[1] - 1, reply=reply, leaders=nearest,
    )  # fmt: skip
