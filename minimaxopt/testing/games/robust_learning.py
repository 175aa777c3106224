"""Robust and distributionally robust learning on a few samples, with exact answers.

Each is convex in the leader, and its follower's best response at ``u*`` makes ``u*`` the leader's: a saddle, so that
minimax and maximin values are one. Leaders without a closed form are found by Newton's method on ``max_v f(u, v)``.
"""

# Matrices are capital letters.
# ruff: noqa: N803, N806
from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minimaxopt._types import Projection, Tree
from minimaxopt.constraints import L2Ball, LInfBall, Simplex
from minimaxopt.testing.games.known_game import KnownGame, KnownPoint, Map, Payoff, nash, strict, undecided, vector

_A = torch.tensor(
    [[1.0, 0.2, -0.5], [0.3, -1.2, 0.8], [-0.7, 0.5, 1.1], [1.4, 0.9, 0.1], [-0.2, 0.6, -1.3], [0.8, -0.4, 0.5],
     [-1.1, 0.3, 0.4], [0.5, 1.0, 0.9]], dtype=torch.float64,
)  # fmt: skip
_b = vector(1.0, -0.8, 0.6, 2.0, -0.3, 1.5, 0.2, 0.7)


def games() -> list[KnownGame]:
    """Two forms of robust least squares, a robust classifier, three of reweighted samples, a circle, a portfolio."""
    return [
        _robust_least_squares(), _robust_dual(), _robust_classification(), _chebyshev(), _chi_square(), _tilted(),
        _enclosing_ball(), _portfolio(),
    ]  # fmt: skip


def _robust_least_squares() -> KnownGame:
    A, b, rho = _A[:6], _b[:6], 0.5

    def f(u: Tensor, v: Tensor) -> Tensor:
        return ((A + v) @ u - b).square().sum() / 2

    def answer(u: Tensor) -> Tensor:
        r = A @ u - b
        return rho * torch.outer(r, u) / (r.norm() * u.norm())

    u = newton(lambda u: (_norm(A @ u - b) + rho * _norm(u)).square() / 2, _regression(A, b))
    point = nash(
        u, answer(u),
        "f is convex in V, but along the sphere its multiplier bends it down: the follower's Hessian on the tangent "
        "space is at most -||r|| ||u|| / rho. The leader's is (A + V)'(A + V) > 0.",
    )  # fmt: skip
    return _saddle(
        "robust-least-squares", "||(A + V)u - b||²/2 for 6 samples in 3 dimensions, ||V||_F <= 1/2, V = v", f, point,
        torch.ones(3, dtype=torch.float64), torch.zeros(6, 3, dtype=torch.float64),
        "With r = Au - b the follower answers rho r u'/(||r|| ||u||), which leaves (||r|| + rho ||u||)²/2. At its "
        "minimum A'r/||r|| + rho u/||u|| = 0, so that (A + V)'r = 0: u is the least-squares solution for that V too.",
        "El Ghaoui and Lebret 1997 (of which this perturbs A alone)",
        project_v=L2Ball(rho), box=((-2.0, 2.0), (-rho, rho)), answer=answer,
        reply=lambda v: _regression(A + v, b),
    )  # fmt: skip


def _robust_dual() -> KnownGame:
    A, b, rho = _A[:6], _b[:6], 0.5

    def f(u: Tensor, v: dict[str, Tensor]) -> Tensor:
        return v["residual"] @ (A @ u - b) + rho * (v["shrink"] @ u)

    def answer(u: Tensor) -> dict[str, Tensor]:
        r = A @ u - b
        return {"residual": r / r.norm(), "shrink": u / u.norm()}

    u = newton(lambda u: _norm(A @ u - b) + rho * _norm(u), _regression(A, b))
    point = strict(
        u, answer(u),
        "f is bilinear: all curvature is that of the two spheres. It makes the follower's Hessian -||r|| and -rho ||u|| "
        "on the tangent spaces, and the Schur complement the Hessian of ||r|| + rho ||u||, positive definite. The "
        "leader's own Hessian is 0.",
    )  # fmt: skip
    return _saddle(
        "robust-dual", "y'(Au - b) + z'u/2 for v = (y, z), ||y|| <= 1, ||z|| <= 1, A 6 by 3", f, point,
        torch.ones(3, dtype=torch.float64),
        {"residual": torch.zeros(6, dtype=torch.float64), "shrink": torch.zeros(3, dtype=torch.float64)},
        "The follower answers the unit vectors along Au - b and u, which leaves ||Au - b|| + ||u||/2. At its minimum "
        "A'y + z/2 = 0, so that f(., v*) is constant.",
        "El Ghaoui and Lebret 1997 (the dual of their second-order cone program)",
        project_v=L2Ball(1.0), box=((-2.0, 2.0), (-1.0, 1.0)), answer=answer,
    )  # fmt: skip


def _robust_classification() -> KnownGame:
    eps, n = 0.2, 8
    y = vector(-1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0)

    def f(u: Tensor, v: Tensor) -> Tensor:
        return F.softplus(-y * ((_A + v) @ u)).mean()

    def answer(u: Tensor) -> Tensor:
        return -eps * torch.outer(y, u.sign())

    # ||u||_1 by its signs: the second derivative of abs() would import half of torch.
    u = newton(lambda u: F.softplus(-y * (_A @ u) + eps * (u @ u.detach().sign())).mean(), vector(0.3, 0.3, -0.3))
    point = nash(
        u, answer(u),
        "Each value of the follower is pressed against its bound, as no weight of u* is zero; the leader's Hessian is "
        "that of logistic regression on the shifted samples, positive definite.",
    )  # fmt: skip
    return _saddle(
        "robust-classification", "mean log(1 + exp(-y u'(x + v))) over 8 samples in 3 dimensions, |v| <= 1/5", f, point,
        torch.ones(3, dtype=torch.float64), torch.zeros(n, 3, dtype=torch.float64),
        "The follower answers -y sign(u)/5, which lowers each margin by ||u||_1/5. No weight is zero at the minimum, "
        "where the gradient is that of f(., v*), a convex function.",
        "Goodfellow, Shlens and Szegedy 2015",
        project_v=LInfBall(eps), box=((-2.0, 2.0), (-eps, eps)), answer=answer,
    )  # fmt: skip


def _chebyshev() -> KnownGame:
    A, b = _A[:, :2], _b
    # The three samples with the largest residuals at the solution, all below zero: Au - b = -t.
    extremal, ones = [2, 5, 6], torch.ones(3, 1, dtype=torch.float64)
    u = torch.linalg.solve(torch.cat([A[extremal], ones], 1), b[extremal])
    weights = torch.linalg.solve(torch.cat([A[extremal], ones], 1).T, vector(0.0, 0.0, 1.0))
    v = torch.zeros(8, dtype=torch.float64)
    v[extremal] = weights

    def losses(u: Tensor) -> Tensor:
        return (A @ u - b).square() / 2

    point = undecided(
        u[:2], v, "Linear in v, so that its Hessian vanishes on the face of the three; a saddle.", local_minimax=True
    )
    return _saddle(
        "chebyshev-regression", "sum v_i (a_i'u - b_i)²/2 over 8 samples, u in 2 dimensions, v on the simplex",
        lambda u, v: v @ losses(u), point, torch.zeros(2, dtype=torch.float64), torch.ones(8, dtype=torch.float64) / 8,
        "The follower picks the largest residual, so that u* minimises it: three residuals are equal in magnitude there, "
        "and the weights v* > 0 make their gradients cancel.", "Chebyshev 1854",
        project_v=Simplex(), box=((-2.0, 2.0), (0.0, 1.0)),
        answer=lambda u: F.one_hot(losses(u).argmax(), 8).to(torch.float64),
    )  # fmt: skip


def _chi_square() -> KnownGame:
    tau, simplex = 0.6, Simplex()

    def losses(u: Tensor) -> Tensor:
        return (_A @ u - _b).square() / 2

    def f(u: Tensor, v: Tensor) -> Tensor:
        return v @ losses(u) - tau / 2 * (v - 1 / 8).square().sum()

    def answer(u: Tensor) -> Tensor:
        return simplex(1 / 8 + losses(u) / tau)

    u = newton(lambda u: f(u, answer(u)), _regression(_A, _b))
    point = nash(
        u, answer(u),
        "The follower's Hessian is -tau, and the slopes of the samples that it leaves out point outwards; the leader's "
        "is the weighted sum of aa' over the others.",
    )  # fmt: skip
    return _saddle(
        "chi-square-regression",
        "sum v_i (a_i'u - b_i)²/2 - 3||v - 1/8||²/10 over 8 samples, u in 3 dimensions, v on the simplex", f, point,
        torch.zeros(3, dtype=torch.float64), torch.ones(8, dtype=torch.float64) / 8,
        "The follower answers the projection of 1/8 + loss/tau on the simplex. Strongly concave in v, convex in u.",
        "Namkoong and Duchi 2016 (the penalised form)",
        project_v=simplex, box=((-2.0, 2.0), (0.0, 1.0)), answer=answer,
        reply=lambda v: _regression(_A, _b, v),
    )  # fmt: skip


def _tilted() -> KnownGame:
    tau = 0.5

    def losses(u: Tensor) -> Tensor:
        return (_A @ u - _b).square() / 2

    def f(u: Tensor, v: Tensor) -> Tensor:
        log_p = torch.log_softmax(v, 0)
        return (log_p.exp() * (losses(u) - tau * (log_p + math.log(8)))).sum()

    u = newton(lambda u: tau * (torch.logsumexp(losses(u) / tau, 0) - math.log(8)), vector(1.0, 0.5, 0.0))
    v = losses(u) / tau
    why = "The same number added to all of v changes nothing: its Hessian is singular. A saddle all the same."
    points = (undecided(u, v, why, local_minimax=True), undecided(u, v - v.mean(), why, local_minimax=True))
    value = float(f(u, v))
    return KnownGame(
        "tilted-regression", "E_p (a'u - b)²/2 - KL(p | uniform)/2 with p = softmax(v), 8 samples, u in 3 dimensions", f,
        torch.zeros(3, dtype=torch.float64), torch.zeros(8, dtype=torch.float64), value, value, True,
        "The follower answers loss/tau, which leaves tau log mean exp(loss/tau). In p it is strictly concave, in u "
        "convex: a saddle of (u, p).", "Donsker and Varadhan 1983; Li et al. 2021 (tilted losses)",
        minimax_points=points, answer=lambda u: losses(u) / tau,
        reply=lambda v: _regression(_A, _b, torch.softmax(v, 0)),
    )  # fmt: skip


def _enclosing_ball() -> KnownGame:
    center, radius = vector(0.3, -0.2, 0.5, 0.1), 1.5
    directions = torch.tensor(
        [[1.0, 0.2, -0.3, 0.1], [-0.4, 1.0, 0.3, -0.2], [-0.1, -0.5, 1.0, 0.6], [0.2, 0.1, -0.4, 1.0]],
        dtype=torch.float64,
    )  # fmt: skip
    directions = directions / directions.norm(dim=1, keepdim=True)
    total = directions.sum(0)
    # Five points on the sphere whose weighted mean is the center, three inside.
    outer = torch.cat([directions, -total[None] / total.norm()])
    weights = torch.cat([torch.ones(4, dtype=torch.float64), total.norm()[None]])
    inner = torch.tensor([[0.3, 0.2, 0.0, 0.1], [-0.2, 0.5, 0.1, 0.0], [0.0, -0.1, -0.6, 0.2]], dtype=torch.float64)
    x = center + radius * torch.cat([outer, inner])
    v = torch.cat([weights / weights.sum(), torch.zeros(3, dtype=torch.float64)])

    def squares(u: Tensor) -> Tensor:
        return (x - u).square().sum(1)

    point = undecided(center, v, "Linear in v, so that its Hessian vanishes; a saddle.", local_minimax=True)
    return _saddle(
        "enclosing-ball", "sum v_i ||u - x_i||² for 8 points in 4 dimensions, v on the simplex",
        lambda u, v: v @ squares(u), point, torch.zeros(4, dtype=torch.float64), torch.ones(8, dtype=torch.float64) / 8,
        "The follower picks the farthest point. With the weights v*, whose mean is the center c, sum v_i ||u - x_i||² = "
        "||u - c||² + R², so that no center has a smaller radius than c.", "Sylvester 1857",
        project_v=Simplex(), box=((-2.0, 2.0), (0.0, 1.0)),
        answer=lambda u: F.one_hot(squares(u).argmax(), 8).to(torch.float64), reply=lambda v: v @ x,
    )  # fmt: skip


def _portfolio() -> KnownGame:
    factors = torch.cat([_A[:5], torch.eye(5, dtype=torch.float64)[:, :2] / 2], 1)
    risk, gain, kappa = factors @ factors.T / 2 + torch.eye(5, dtype=torch.float64) / 5, _b[:5] / 2, 0.4

    def f(u: Tensor, v: Tensor) -> Tensor:
        return u @ risk @ u / 2 - (gain + v) @ u

    def answer(u: Tensor) -> Tensor:
        return -kappa * u / u.norm()

    # On the assets held, with the sum fixed: u = first + basis z.
    assets = [0, 2, 3]
    first, basis = torch.zeros(5, dtype=torch.float64), torch.zeros(5, 2, dtype=torch.float64)
    first[assets] = 1 / 3
    ones = torch.ones(3, 1, dtype=torch.float64)
    basis[assets] = torch.linalg.qr(torch.cat([ones, torch.eye(3, dtype=torch.float64)[:, :2]], 1))[0][:, 1:]

    def worst(z: Tensor) -> Tensor:
        u = first + basis @ z
        return u @ risk @ u / 2 - gain @ u + kappa * u.norm()

    u = first + basis @ newton(worst, torch.zeros(2, dtype=torch.float64))
    point = nash(
        u, answer(u),
        "Linear in v: the sphere's multiplier makes the follower's Hessian -||u||/kappa on the tangent space. The "
        "leader's is the covariance, and the assets left out would cost more.",
    )  # fmt: skip
    return _saddle(
        "robust-portfolio", "u'Cu/2 - (m + v)'u for 5 assets, u on the simplex, ||v|| <= 2/5", f, point,
        torch.ones(5, dtype=torch.float64) / 5, torch.zeros(5, dtype=torch.float64),
        "The follower answers -kappa u/||u||, which leaves u'Cu/2 - m'u + kappa ||u||, convex; f is linear in v.",
        "Goldfarb and Iyengar 2003 (mean returns in a ball)",
        project_u=Simplex(), project_v=L2Ball(kappa), box=((0.0, 1.0), (-kappa, kappa)), answer=answer,
    )  # fmt: skip


def _saddle(
    name: str, formula: str, f: Payoff, point: KnownPoint, u: Tree, v: Tree, why: str, source: str, *,
    project_v: Projection, box: tuple[tuple[float, float], tuple[float, float]], answer: Map, reply: Map | None = None,
    project_u: Projection | None = None,
) -> KnownGame:  # fmt: skip
    value = float(f(point.u, point.v))
    return KnownGame(
        name, formula, f, u, v, value, value, True, why, source, project_u=project_u, project_v=project_v, box=box,
        minimax_points=(point,), answer=answer, reply=reply,
    )  # fmt: skip


def _norm(x: Tensor) -> Tensor:
    return x.square().sum().sqrt()


def _regression(A: Tensor, b: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the weighted least-squares solution."""
    share = torch.ones_like(b) if weights is None else weights.sqrt()
    return torch.linalg.lstsq(A * share[:, None], (b * share)[:, None])[0][:, 0]


def newton(value: Callable[[Tensor], Tensor], start: Tensor, steps: int = 60) -> Tensor:
    """Minimise a convex function that is smooth near its minimum, to rounding."""
    x = start
    for _ in range(steps):
        at = x.clone().requires_grad_()
        here = value(at)
        (grad,) = torch.autograd.grad(here, at, create_graph=True)
        curvature = torch.stack([torch.autograd.grad(g, at, retain_graph=True)[0] for g in grad])
        step, size, now = torch.linalg.solve(curvature, grad.detach()), 1.0, float(here.detach())
        # Close to the minimum the value no longer tells points apart.
        while float(value(x - size * step)) > now + 1e-14 * abs(now) and size > 1e-6:
            size /= 2
        x = x - size * step
        if float(step.norm()) < 1e-15:
            break
    return x
