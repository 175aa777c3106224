"""Quadratic games of every type. All that can be known of them follows from three matrices.

For ``f = w' A w / 2 + w' B z - z' C z / 2`` with ``w = u - p`` and ``z = v - r``: with ``C > 0`` the follower answers
``z = C^-1 B' w``, so that ``max_v f = w' S w / 2`` with the Schur complement ``S = A + B C^-1 B'``; with ``A > 0`` the
leader replies ``w = -A^-1 B z``, so that ``min_u f = -z' T z / 2`` with ``T = C + B' A^-1 B``. A ``C`` with a negative
eigenvalue lets the follower rise without bound from every ``u``, an ``A`` with one the leader fall from every ``v``.
"""

# Matrices are capital letters.
# ruff: noqa: N803, N806
from __future__ import annotations

from math import inf

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minimaxopt.testing.games.known_game import KnownGame, KnownPoint, excluded, nash, number, strict, undecided, vector

_ZERO = (number(0.0), number(0.0))
_START = (number(1.0), number(0.5))
_N = 5


def games() -> list[KnownGame]:
    """Four quadratics of two numbers and six of ten."""
    return [*_planar(), *_ten_dimensional()]


def _planar() -> list[KnownGame]:
    u, v = _START
    return [
        KnownGame(
            "convex-concave", "u² + uv - v²", lambda u, v: u**2 + u * v - v**2, u, v, 0.0, 0.0, True,
            "Convex in u and concave in v, so that its one stationary point is a saddle.", "elementary",
            minimax_points=(nash(*_ZERO, "The Hessians are 2 and -2."),),
            answer=lambda u: u / 2, reply=lambda v: -v / 2,
        ),
        KnownGame(
            "minimax-not-nash", "-3u² - v² + 4uv", lambda u, v: -3 * u**2 - v**2 + 4 * u * v, u, v, 0.0, -inf, False,
            "The follower answers 2u, which leaves the leader u². Concave in u, so that a leader who moves second "
            "falls without bound.", "Wang, Zhang and Ba 2020",
            minimax_points=(strict(*_ZERO, "The Hessians are -6 and -2, the Schur complement -6 + 16/2 = 2."),),
            answer=lambda u: 2 * u,
        ),
        KnownGame(
            "unbounded-follower", "3u² + v² + 4uv", lambda u, v: 3 * u**2 + v**2 + 4 * u * v, u, v, inf, 0.0, False,
            "Convex in v: the follower rises without bound from every u. The leader replies -2v/3, which leaves the "
            "follower -v²/3.", "Wang, Zhang and Ba 2020",
            impostors=(excluded(*_ZERO, "The follower's Hessian is 2: it gains v² by any move."),),
            reply=lambda v: -2 * v / 3,
        ),
        KnownGame(
            "unbounded-leader", "-2u² + uv - v²", lambda u, v: -2 * u**2 + u * v - v**2, u, v, -inf, -inf, False,
            "The follower answers u/2, which leaves the leader -7u²/4.", "elementary",
            impostors=(excluded(*_ZERO, "The Schur complement is -4 + 1/2: the leader gains whatever the answer."),),
            answer=lambda u: u / 2,
        ),
    ]  # fmt: skip


def _ten_dimensional() -> list[KnownGame]:
    rng = np.random.default_rng(10)
    B, C, A = rng.normal(size=(_N, _N)), _spectrum(rng, [0.5, 1, 1.5, 2, 3]), _spectrum(rng, [0.5, 1, 1.5, 2, 3])
    S = _spectrum(rng, [0.5, 0.8, 1, 1.5, 2])
    coupled = B @ np.linalg.solve(C, B.T)
    n_u, n_v = rng.normal(size=_N), rng.normal(size=_N)
    n_u, n_v = n_u / np.linalg.norm(n_u), n_v / np.linalg.norm(n_v)
    off_u, off_v = np.eye(_N) - np.outer(n_u, n_u), np.eye(_N) - np.outer(n_v, n_v)
    p, r = vector(0.5, -0.5, 1.0, 0.0, -1.0), vector(-0.5, 1.0, 0.0, 0.5, -1.0)
    tn_u, tn_v = torch.from_numpy(n_u), torch.from_numpy(n_v)
    return [
        _game(
            "quadratic-nash-10", "A > 0, C > 0", A, B, C, p, r, 0.0, 0.0, True,
            "Convex in u and concave in v.", solutions=(nash(p, r, "A and C are positive definite."),),
        ),
        _game(
            "regularised-bilinear-10", "A = C = 1/10", np.eye(_N) / 10, B, np.eye(_N) / 10, p, r, 0.0, 0.0, True,
            "Convex in u and concave in v, by little: plain steps turn more than they contract.",
            solutions=(nash(p, r, "A and C are positive definite."),),
        ),
        _game(
            "quadratic-minimax-10", "C > 0, S > 0, A with negative eigenvalues", S - coupled, B, C, p, r, 0.0, -inf,
            False, "The Schur complement is S, positive definite; A is not, so that min_u f is infinite.",
            solutions=(strict(p, r, "C and S are positive definite, A = S - B C^-1 B' is not."),),
        ),
        _game(
            "quadratic-unbounded-leader-10", "C > 0, S with a negative eigenvalue",
            _spectrum(rng, [-1, 0.5, 1, 1.5, 2]) - coupled, B, C, p, r, -inf, -inf, False,
            "Along S's negative eigenvector the leader falls without bound, whatever the answer.",
            impostors=(excluded(p, r, "The Schur complement has the eigenvalue -1."),),
        ),
        _game(
            "quadratic-unbounded-follower-10", "A > 0, C with a negative eigenvalue, T > 0", A,
            B, _spectrum(rng, [0.5, 0.8, 1, 1.5, 2]) - B.T @ np.linalg.solve(A, B), p, r, inf, 0.0, False,
            "Along C's negative eigenvector the follower rises without bound; T = C + B' A^-1 B is positive definite.",
            impostors=(excluded(p, r, "C = T - B' A^-1 B has a negative eigenvalue, along which the follower gains."),),
        ),
        _game(
            "quadratic-flat-10", "A >= 0 and C >= 0 of rank 4, with B zero on their kernels", off_u @ A @ off_u,
            off_u @ B @ off_v, off_v @ C @ off_v, p, r, 0.0, 0.0, True,
            "Convex in u and concave in v; along the kernels nothing changes, so that every point of p + ker A is a "
            "minimax leader.",
            solutions=(
                undecided(p, r, "Both Hessians have a kernel; it is a saddle all the same.", local_minimax=True),
                undecided(p + tn_u, r - tn_v, "Moved along both kernels.", local_minimax=True),
            ),
            kernel=tn_u,
        ),
    ]  # fmt: skip


def _game(
    name: str,
    type_: str,
    A: NDArray[np.float64],
    B: NDArray[np.float64],
    C: NDArray[np.float64],
    p: Tensor,
    r: Tensor,
    minimax: float,
    maximin: float,
    saddle: bool,
    why: str,
    *,
    solutions: tuple[KnownPoint, ...] = (),
    impostors: tuple[KnownPoint, ...] = (),
    kernel: Tensor | None = None,
) -> KnownGame:
    tA, tB, tC = (torch.from_numpy(x) for x in (A, B, C))

    def f(u: Tensor, v: Tensor) -> Tensor:
        w, z = u - p, v - r
        return w @ tA @ w / 2 + w @ tB @ z - z @ tC @ z / 2

    answers, replies = (torch.from_numpy(np.linalg.pinv(x, hermitian=True)) for x in (C, A))
    return KnownGame(
        name, f"w'Aw/2 + w'Bz - z'Cz/2 with w = u - p, z = v - r in 5 dimensions each, {type_}", f,
        torch.zeros_like(p), torch.zeros_like(r), minimax, maximin, saddle, why, "elementary",
        minimax_points=solutions, impostors=impostors,
        answer=(lambda u: r + answers @ tB.T @ (u - p)) if minimax < inf else None,
        reply=(lambda v: p - replies @ tB @ (v - r)) if maximin > -inf else None,
        leaders=None if kernel is None else lambda u: p + kernel * (kernel @ (u - p)),
    )  # fmt: skip


def _spectrum(rng: np.random.Generator, eigenvalues: list[float]) -> NDArray[np.float64]:
    Q = np.linalg.qr(rng.normal(size=(_N, _N)))[0]
    matrix = Q @ np.diag(eigenvalues) @ Q.T
    return (matrix + matrix.T) / 2
