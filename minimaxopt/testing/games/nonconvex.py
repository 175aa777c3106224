"""Games of two numbers that are neither convex nor concave: cycles, forsaken and spurious solutions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from minimaxopt.constraints import Box
from minimaxopt.testing.games.known_game import KnownGame, excluded, nash, number, strict

_TIED = "Another answer is as good, and the leader's slope at this one is not zero: no stationary point."


def games() -> list[KnownGame]:
    """Five games."""
    return [_sine(), _ridge(), _almost_bilinear(), _forsaken(), _two_sided_pl()]


def _sine() -> KnownGame:
    tilt = math.asin(0.2)

    def answer(u: Tensor) -> Tensor:
        return torch.where(u >= 0, 1.0, -1.0) * (torch.pi + torch.asin(0.2 * u.abs()))

    corner = "Nash among neighbours: the follower's Hessian is negative, the leader is pressed against the bound. "
    return KnownGame(
        "sine", "0.2uv - cos(v), |u| <= 1, |v| <= 2π", lambda u, v: 0.2 * u * v - torch.cos(v), number(0.5),
        number(1.0), 1.0, math.sqrt(0.96) - 0.2 * (math.pi - tilt), False,
        "For u >= 0 the best answer is π + arcsin(0.2u), which leaves 0.2u(π + arcsin 0.2u) + sqrt(1 - 0.04u²), "
        "increasing; u < 0 is the mirror image. The minimum over u is -0.2|v| - cos v, greatest at |v| = π - arcsin 0.2.",
        "Jin, Netrapalli and Jordan 2020",
        project_u=Box(-1.0, 1.0), project_v=Box(-2 * math.pi, 2 * math.pi),
        box=((-1.0, 1.0), (-2 * math.pi, 2 * math.pi)),
        minimax_points=(excluded(number(0.0), number(math.pi), _TIED), excluded(number(0.0), number(-math.pi), _TIED)),
        impostors=(
            excluded(number(0.0), number(0.0), "The only stationary point inside; the follower is at a minimum."),
            nash(number(-1.0), number(math.pi - tilt), corner + "The other hill is a better answer."),
            nash(number(1.0), number(tilt - math.pi), corner + "The mirror image."),
        ),
        answer=answer, reply=lambda v: torch.where(v > 0, -1.0, 1.0).to(v),
    )  # fmt: skip


def _ridge() -> KnownGame:
    def f(u: Tensor, v: Tensor) -> Tensor:
        # Written out as a polynomial, since pow's derivatives cost more.
        return (4 * u * u - (v - 3 * u + 0.05 * u * u * u) ** 2 - 0.1 * v**4) * torch.exp(-0.01 * (u * u + v * v))

    # With s = u² the slope of f(u, 0) is zero where s³/40000 - 21 s²/2000 + 13 s/20 - 5 = 0, the least root of which is
    # the minimum.
    s = min(float(x) for x in np.roots([0.000025, -0.0105, 0.65, -5.0]).real)
    maximin = (-5 * s + 0.3 * s * s - 0.0025 * s**3) * math.exp(-0.01 * s)
    return KnownGame(
        "ridge", "(4u² - (v - 3u + u³/20)² - v⁴/10) exp(-(u² + v²)/100), |u| <= 4, |v| <= 4", f, number(1.5),
        number(-1.0), 0.0, maximin, False,
        "At u = 0 the follower can do no better than 0. For any other u in the box some v makes the first factor "
        "positive: v near the minimiser of (v - 3u + u³/20)² + v⁴/10, which stays below 4u². The minimum over u is "
        "greatest at v = 0, where the two minimising leaders, one the negative of the other, are equally good.",
        "Wang, Zhang and Ba 2020 (there on the plane, where distant u are as good as 0)",
        project_u=Box(-4.0, 4.0), project_v=Box(-4.0, 4.0), box=((-4.0, 4.0), (-4.0, 4.0)),
        minimax_points=(
            strict(number(0.0), number(0.0), "The Hessians are -10 and -2, the Schur complement -10 + 36/2 = 8."),
        ),
    )  # fmt: skip


def _almost_bilinear() -> KnownGame:
    eps = 0.1

    def answer(u: Tensor) -> Tensor:
        # The far root of v³ - v = u / eps.
        return _largest_root(u, lambda x: [1.0, 0.0, -1.0, -x / eps])

    return KnownGame(
        "almost-bilinear", "uv + (v²/2 - v⁴/4)/10", lambda u, v: u * v + eps * (v**2 / 2 - v**4 / 4), number(0.5),
        number(0.5), eps / 4, 0.0, False,
        "At u = 0 the follower chooses between 1 and -1, each worth 1/40; with v = sign(u) it has |u| more. The minimum "
        "over u is infinite unless v = 0. Descent and ascent end in a cycle that holds no stationary point.",
        "Hsieh, Mertikopoulos and Cevher 2021 (almost bilinear games)",
        minimax_points=(excluded(number(0.0), number(1.0), _TIED), excluded(number(0.0), number(-1.0), _TIED)),
        impostors=(excluded(number(0.0), number(0.0), "The only stationary point; the follower is at a minimum."),),
        answer=answer,
    )  # fmt: skip


def _forsaken() -> KnownGame:
    def phi(z: Tensor) -> Tensor:
        return z**2 / 4 - z**4 / 2 + z**6 / 6

    def conjugate(x: Tensor) -> Tensor:
        # argmax_z of x z - phi(z): of the roots of z⁵ - 2z³ + z/2 = x the one farthest out, on x's side.
        return _largest_root(x, lambda value: [1.0, 0.0, -2.0, 0.0, 0.5, -value])

    far = math.sqrt(1 + math.sqrt(0.5))
    top = -float(phi(number(far)))
    # Where u = phi'(v) and v = 0.45 - phi'(u), by Newton's method.
    u, v = 0.078, 0.412
    for _ in range(10):
        grads = (v - 0.45 + u / 2 - 2 * u**3 + u**5, u - (v / 2 - 2 * v**3 + v**5))
        a, c = 0.5 - 6 * u**2 + 5 * u**4, -(0.5 - 6 * v**2 + 5 * v**4)
        u, v = u - (c * grads[0] - grads[1]) / (a * c - 1), v - (a * grads[1] - grads[0]) / (a * c - 1)
    return KnownGame(
        "forsaken", "u(v - 0.45) + h(u) - h(v) with h(z) = z²/4 - z⁴/2 + z⁶/6",
        lambda u, v: u * (v - 0.45) + phi(u) - phi(v), number(0.5), number(0.5), top, -float(phi(number(0.45))) - top,
        False,
        "-h has its maxima at ±sqrt(1 + sqrt(1/2)), so that max_v [uv - h(v)] is even and convex in u with slopes ±1.31 "
        "at 0: more than -0.45u + h(u) can take back, near 0 and far from it. Likewise the minimum over u has a kink, "
        "its maximum, at v = 0.45.",
        "Hsieh, Mertikopoulos and Cevher 2021 (forsaken solutions)",
        minimax_points=(
            excluded(number(0.0), number(far), _TIED),
            excluded(number(0.0), number(-far), _TIED),
        ),
        impostors=(
            excluded(
                number(u), number(v),
                "The only stationary point, the one that solvers are said to forsake. Its follower is at a local "
                "minimum, with the Hessian 0.374.",
            ),
        ),
        answer=conjugate, reply=lambda v: -conjugate(v - 0.45),
    )  # fmt: skip


def _two_sided_pl() -> KnownGame:
    def f(u: Tensor, v: Tensor) -> Tensor:
        p, q = torch.sin(u) ** 2, torch.sin(v) ** 2
        return u**2 + 3 * p * q - 4 * v**2 - 10 * q

    return KnownGame(
        "two-sided-pl", "u² + 3 sin²u sin²v - 4v² - 10 sin²v", f, number(1.5), number(1.0), 0.0, 0.0, True,
        "f(0, v) = -4v² - 10 sin²v <= 0 and f(u, 0) = u² >= 0. For any u the follower loses (10 - 3 sin²u) sin²v + 4v² "
        "by leaving 0, and for any v the leader gains nothing by leaving it.",
        "Yang, Kiyavash and He 2020",
        minimax_points=(nash(number(0.0), number(0.0), "The Hessians are 2 and -28."),),
        answer=torch.zeros_like, reply=torch.zeros_like,
    )  # fmt: skip


def _largest_root(x: Tensor, polynomial: Callable[[float], list[float]]) -> Tensor:
    """Return, for each value of ``x``, the largest real root of the polynomial at ``|x|``, with x's sign."""
    largest: list[float] = []
    for value in x.detach().reshape(-1).tolist():
        coefficients = np.array(polynomial(abs(value)))
        roots = np.roots(coefficients)
        root = float(max(roots[np.abs(roots.imag) < 1e-6].real))
        derivative = np.polyder(coefficients)
        for _ in range(3):  # eigenvalues of the companion matrix lose some digits
            root -= float(np.polyval(coefficients, root) / np.polyval(derivative, root))
        largest.append(math.copysign(root, value))
    return torch.tensor(largest, dtype=x.dtype).reshape(x.shape)
