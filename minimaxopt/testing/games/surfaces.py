"""Six surfaces on the square of side 1 around 0, on which one follower is often not enough.

On four of them the follower's best answer at the minimax leader is not unique; the minimax point is then not stationary,
and no local method with a single follower can stay there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from minimaxopt.constraints import Box
from minimaxopt.testing.games.known_game import KnownGame, KnownPoint, Map, Payoff, excluded, nash, number, undecided

_SOURCE = "Hamm and Noh 2018"
_TIED = "Another answer is as good, and the leader's slope at this one is not zero: no stationary point."


def games() -> list[KnownGame]:
    """The six surfaces."""
    return [_saddle(), _rotated(), _seesaw(), _monkey(), _anti_saddle(), _weapons()]


def _surface(
    name: str,
    formula: str,
    f: Payoff,
    minimax: float,
    maximin: float,
    why: str,
    *,
    points: tuple[KnownPoint, ...],
    impostors: tuple[KnownPoint, ...] = (),
    answer: Map | None = None,
    reply: Map | None = None,
) -> KnownGame:
    return KnownGame(
        name, f"{formula}, |u| <= 1/2, |v| <= 1/2", f, number(0.3), number(0.2),
        minimax, maximin, minimax == maximin, why, _SOURCE,
        project_u=Box(-0.5, 0.5), project_v=Box(-0.5, 0.5), box=((-0.5, 0.5), (-0.5, 0.5)),
        minimax_points=points, impostors=impostors, answer=answer, reply=reply,
    )  # fmt: skip


def _at(u: float, v: float) -> tuple[Tensor, Tensor]:
    return number(u), number(v)


def _saddle() -> KnownGame:
    return _surface(
        "saddle", "5(u² - v²)", lambda u, v: 5 * (u**2 - v**2), 0.0, 0.0, "The players do not interact.",
        points=(nash(*_at(0, 0), "The Hessians are 10 and -10."),),
        answer=torch.zeros_like, reply=torch.zeros_like,
    )  # fmt: skip


def _rotated() -> KnownGame:
    return _surface(
        "rotated-saddle", "u² - v² + 2uv", lambda u, v: u**2 - v**2 + 2 * u * v, 0.0, 0.0,
        "The follower answers u, which leaves 2u²; the leader replies -v, which leaves -2v².",
        points=(nash(*_at(0, 0), "The Hessians are 2 and -2."),),
        answer=lambda u: u.clone(), reply=lambda v: -v,
    )  # fmt: skip


def _seesaw() -> KnownGame:
    return _surface(
        "seesaw", "-v sin(πu)", lambda u, v: -v * torch.sin(torch.pi * u), 0.0, 0.0,
        "The maximum over v is |sin πu|/2, the minimum over u is -|v|.",
        points=(
            undecided(*_at(0, 0), "Linear in v, so that its Hessian vanishes; a saddle.", local_minimax=True),
            excluded(*_at(0, 0.25), "Minimax, since every v answers 0 equally well, but the leader's slope is -π/4."),
        ),
        impostors=(
            excluded(*_at(0.5, -0.5), "Stationary, as cos(π/2) = 0, but a maximum in u: the leader gains inwards."),
            excluded(*_at(-0.5, 0.5), "The mirror image."),
        ),
        answer=lambda u: -torch.sign(u) / 2, reply=lambda v: torch.sign(v) / 2,
    )  # fmt: skip


def _monkey() -> KnownGame:
    def answer(u: Tensor) -> Tensor:
        inner = u.abs()
        return torch.where(2 * inner**3 > 1 / 8 - 1.5 * u**2, -inner, 0.5)

    return _surface(
        "monkey-saddle", "v³ - 3vu²", lambda u, v: v**3 - 3 * v * u**2, 1 / 32, 0.0,
        "In v there is one local maximum inside, 2|u|³ at v = -|u|, and the end 1/2 with 1/8 - 3u²/2. The former grows "
        "with |u|, the latter falls; they are equal where 16|u|³ + 12u² = 1, at |u| = 1/4. The minimum over u is "
        "v³ - 3v/4 < 0 for v > 0, and v³ for v <= 0.",
        points=tuple(excluded(*_at(u, v), _TIED) for u in (0.25, -0.25) for v in (0.5, -0.25)),
        impostors=(
            undecided(
                *_at(0, 0), "All second derivatives vanish; the follower gains v³ upwards.", local_minimax=False
            ),
            excluded(*_at(0, 0.5), "The follower is at its best, but the leader is at a maximum, with the Hessian -3."),
            excluded(*_at(0.5, 0.5), "The follower's slope at the bound is zero, and it gains inwards: Hessian 3."),
        ),
        answer=answer, reply=lambda v: torch.where(v > 0, 0.5, 0.0).to(v),
    )  # fmt: skip


def _anti_saddle() -> KnownGame:
    return _surface(
        "anti-saddle", "2v² - (u - v)²", lambda u, v: 2 * v**2 - (u - v) ** 2, 1 / 4, -1 / 4,
        "It is v² + 2uv - u², convex in v, so that the follower goes to an end: the maximum is 1/4 + |u| - u², least "
        "at 0. Concave in u: the minimum is v² - |v| - 1/4, greatest at 0.",
        points=(excluded(*_at(0, 0.5), _TIED), excluded(*_at(0, -0.5), _TIED)),
        impostors=(
            excluded(*_at(0, 0), "The follower is at a minimum, with the Hessian 2."),
            excluded(*_at(0.5, 0.5), "The leader's slope at the bound is zero, and it gains inwards: Hessian -2."),
            excluded(*_at(-0.5, 0.5), "The follower's slope at the bound is zero, and it gains inwards: Hessian 2."),
        ),
        answer=lambda u: torch.where(u >= 0, 0.5, -0.5).to(u), reply=lambda v: torch.where(v > 0, -0.5, 0.5).to(v),
    )  # fmt: skip


def _weapons() -> KnownGame:
    def f(u: Tensor, v: Tensor) -> Tensor:
        return -2 + torch.exp(-10 * (u + 0.5) * torch.exp(-v - 0.5)) + torch.exp(-10 * (0.5 - u) * torch.exp(v - 0.5))

    def reply(v: Tensor) -> Tensor:
        # A sum of two exponentials exp(-a x) + exp(-b (1 - x)) in x = u + 1/2, with log(a/b) = -2v.
        a, b = 10 * torch.exp(-v - 0.5), 10 * torch.exp(v - 0.5)
        return (b - 2 * v) / (a + b) - 0.5

    # The leader's reply to v = 1/2: x = 9 / (10 + 10/e).
    x = 0.9 / (1 + 1 / math.e)
    end = -2 + (1 + 1 / math.e) * math.exp(-9 / (math.e + 1))
    return _surface(
        "weapons", "-2 + exp(-10(u + ½)exp(-v - ½)) + exp(-10(½ - u)exp(v - ½))", f,
        -2 + math.exp(-5 / math.e) + math.exp(-5), end,
        "At u = 0 it is even in v and rises with |v|, since t exp(-t) falls for t > 1; so v = ±1/2 answer 0. For u > 0 "
        "f(u, -1/2) exceeds f(0, -1/2), being convex in u with a positive slope at 0, and so does the maximum; u < 0 is "
        "the mirror image. By the envelope theorem min_u f rises with |v|: the maximin follower is at ±1/2 too.",
        points=(excluded(*_at(0, 0.5), _TIED), excluded(*_at(0, -0.5), _TIED)),
        impostors=(
            excluded(*_at(0, 0), "Stationary, but the follower is at a minimum."),
            nash(*_at(x - 0.5, 0.5), "Convex in u, and the follower is pressed against the bound: Nash among "
                 "neighbours. The far end -1/2 is a better answer."),
            nash(*_at(0.5 - x, -0.5), "The mirror image."),
        ),
        reply=reply,
    )  # fmt: skip
