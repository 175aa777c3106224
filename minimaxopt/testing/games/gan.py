"""Small models of generative adversarial training."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from minimaxopt.testing.games.known_game import KnownGame, excluded, number, strict, undecided

_LOG2 = math.log(2.0)


def games() -> list[KnownGame]:
    """The Dirac GAN, plain and with a gradient penalty, and a Wasserstein GAN that learns a covariance."""
    return [_dirac(), _penalised(), _covariance()]


def _dirac() -> KnownGame:
    return KnownGame(
        "dirac-gan", "g(uv) + g(0) with g(t) = -log(1 + exp(-t))", lambda u, v: F.logsigmoid(u * v) - _LOG2, number(1.0),
        number(1.0), -2 * _LOG2, -2 * _LOG2, True,
        "For u other than 0 the discriminator drives g(uv) up to 0, without reaching it; for v other than 0 the "
        "generator drives it down without bound. At u = 0 or v = 0 it is g(0) = -log 2.",
        "Mescheder, Geiger and Nowozin 2018",
        minimax_points=(
            undecided(number(0.0), number(0.0), "Both Hessians vanish there; a saddle.", local_minimax=True),
            excluded(
                number(0.0), number(1.0),
                "Minimax, since every discriminator answers 0 equally well, but the generator's slope is 1/2.",
            ),
        ),
    )  # fmt: skip


def _penalised() -> KnownGame:
    gamma = 0.5

    def f(u: Tensor, v: Tensor) -> Tensor:
        return F.logsigmoid(u * v) - _LOG2 - gamma / 2 * v**2

    def answer(u: Tensor) -> Tensor:
        # Strictly concave in v. With v = u s the slope is zero where gamma s = sigmoid(-u² s), between 0 and 1/(2 gamma).
        low, high = torch.zeros_like(u), torch.full_like(u, 1 / (2 * gamma))
        for _ in range(60):
            middle = (low + high) / 2
            above = gamma * middle > torch.sigmoid(-(u**2) * middle)
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return u * (low + high) / 2

    return KnownGame(
        "dirac-gan-penalised", "g(uv) + g(0) - v²/4 with g(t) = -log(1 + exp(-t))", f, number(1.0), number(1.0),
        -2 * _LOG2, -2 * _LOG2, True,
        "With v = 0 the follower has -2 log 2 at any u; at other u it can do better, being pulled by the slope u/2. The "
        "minimum over u is infinite unless v = 0.",
        "Mescheder, Geiger and Nowozin 2018 (R1 penalty)",
        minimax_points=(
            strict(
                number(0.0), number(0.0),
                "The follower's Hessian is -1/2, the leader's 0, the Schur complement (1/2)²/(1/2) = 1/2. It is Nash as "
                "well, since f(u, 0) is constant, which the second derivative does not tell.",
            ),
        ),
        answer=answer,
    )  # fmt: skip


def _covariance() -> KnownGame:
    root = torch.tensor([[1.2, 0.4], [0.4, 1.8]], dtype=torch.float64)
    target = root @ root
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    eye = torch.eye(2, dtype=torch.float64)

    def f(u: Tensor, v: Tensor) -> Tensor:
        return (v * (target - u @ u.T)).sum()

    def nearest(u: Tensor) -> Tensor:
        # The orthogonal Procrustes problem: min over rotations Q of ||u - root Q||.
        left, _, right = torch.linalg.svd(root @ u)
        return root @ left @ right

    saddle = "Both Hessians vanish, as W does; a saddle."
    return KnownGame(
        "covariance-gan", "<W, Σ - VV'> for V = u, W = v, 2 by 2", f, eye.clone(), torch.zeros_like(eye), 0.0, 0.0, True,
        "The maximum over W is infinite unless VV' = Σ, which root Σ times any orthogonal matrix fulfils. The minimum "
        "over V is infinite if the symmetric part of W has a positive eigenvalue, and else <W, Σ> <= 0, attained at "
        "V = 0.",
        "Daskalakis, Ilyas, Syrgkanis and Zeng 2018 (learning a covariance)",
        minimax_points=(
            undecided(root, torch.zeros_like(eye), saddle, local_minimax=True),
            undecided(root @ turn, torch.zeros_like(eye), saddle, local_minimax=True),
            excluded(root, eye, "Minimax, since every W answers root Σ equally well, but V's slope -2WV is not zero."),
        ),
        leaders=nearest,
    )  # fmt: skip
