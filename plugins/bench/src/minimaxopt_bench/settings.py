"""What the bench compares, and by which rules: declared as data."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, final

import torch

from minimaxopt._types import OptimizerFactory, SchedulerFactory
from minimaxopt.errors import ArgumentError, unknown_name
from minimaxopt.solvers import SOLVERS
from minimaxopt.testing import GAMES, KnownGame

EXCLUDED: Mapping[str, str] = {
    "descent": "moves the leader alone",
    "ascent": "moves the follower alone",
}
"""Solvers that stay out, and why."""

VARIANTS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "sensitivity": ({}, {"gamma": 0.2}, {"projected": True}),
    "consensus": ({}, {"gamma": 0.2}),
    "two-timescale": ({}, {"ratio": 3.0}),
    "smoothed-gda": ({}, {"p": 10.0}),
}
"""Settings that are tried beside the defaults: weights in the units of the game, and what is meant for constraints."""

FOLLOWER_RATES: Mapping[str, float] = {"newton-follower": 1.0, "complete-newton": 1.0}
"""Rates of followers that make Newton steps, of which 1 is the whole; their leaders have the rates of the others."""

NO_SOLUTION = "no minimax point"
"""The class of the games without one."""

CLASSES: Mapping[str, str] = {
    "Nash": "The minimax point is a Nash point with definite Hessians: each player's own curvature holds it.",
    "minimax, not Nash": "The minimax point is strict by the Schur complement; the leader's own curvature does not "
    "hold it there, or not strictly.",
    "degenerate": "The minimax point is stationary, but derivatives of second order do not decide: bilinear games, "
    "flat directions, powers.",
    "tied answers": "At the minimax leader several answers are equally good, and its slope at each is not zero: no "
    "stationary point, so that a single follower cannot stay.",
    NO_SOLUTION: "There is no minimax point: the best that a solver can do is not to settle.",
}
"""Classes of games, by what is known of their minimax points."""


@final
@dataclass(frozen=True)
class Rate:
    """A learning rate of both players.

    Args:
        size: the rate, or the first one.
        decays: whether step ``t = 1, 2, ...`` has the rate ``size / sqrt(t)``.
    """

    size: float
    decays: bool = False

    def __str__(self) -> str:
        return f"{self.size:g}/√t" if self.decays else f"{self.size:g}"

    def moves(self) -> tuple[OptimizerFactory, SchedulerFactory | None]:
        """Return the factories of plain gradient descent at this rate and of its schedule."""
        schedule = partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=_inverse_root) if self.decays else None
        return partial(torch.optim.SGD, lr=self.size), schedule


def _inverse_root(done: int) -> float:
    return (done + 1) ** -0.5


RATES = (Rate(0.02), Rate(0.1), Rate(0.5), Rate(0.1, decays=True))


@final
@dataclass(frozen=True)
class Settings:
    """What a bench is run with.

    Args:
        steps: the most steps of a run.
        evaluations: the most gradient evaluations of a run, as the solver counts them.
        starts: random starts of the best setting of each solver and game.
        screening: starts of every other setting, the first of ``starts``.
        seed: of the first start; the others follow.
        rates: learning rates, of both players and for every solver.
        tolerance: how near counts as there: the Euclidean distance of the leader from a minimax leader, and what the
            follower loses against its best answer, in the unit of the risk.
        stay: steps for which a run must stay there.
        stationary: the length of the projected gradients at which a run has come to rest; it has too when it no longer moves.
        radius: how far from the middle of the game's box, in half its width, a run has diverged.
    """

    steps: int = 800
    evaluations: int = 2000
    starts: int = 5
    screening: int = 2
    seed: int = 0
    rates: tuple[Rate, ...] = RATES
    tolerance: float = 0.01
    stay: int = 50
    stationary: float = 1e-7
    radius: float = 50.0

    def __post_init__(self) -> None:
        for name in ("steps", "evaluations", "starts", "screening", "stay"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"{name}: {getattr(self, name)} leaves nothing to do; give 1 or more")
        if not self.rates:
            raise ArgumentError("rates: is empty; give at least one")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return {**asdict(self), "rates": [str(rate) for rate in self.rates]}


QUICK = Settings(steps=60, evaluations=180, starts=2, screening=1, rates=(Rate(0.1), Rate(0.1, decays=True)), stay=10)
"""Small enough for a look in seconds; its numbers mean little."""


def variants(solver: str) -> tuple[Mapping[str, Any], ...]:
    """Return the settings of a solver that are tried, its defaults first."""
    return VARIANTS.get(solver, ({},))


def optimizers(solver: str, rate: Rate) -> dict[str, Any]:
    """Return the optimizers and schedules of both players, as ``Context`` and ``trajectory`` take them.

    Examples:
        >>> made = optimizers("newton-follower", Rate(0.1))
        >>> made["u_optimizer"].keywords["lr"], made["v_optimizer"].keywords["lr"]
        (0.1, 1.0)
    """
    of_v = Rate(FOLLOWER_RATES[solver]) if solver in FOLLOWER_RATES else rate
    (u, u_schedule), (v, v_schedule) = rate.moves(), of_v.moves()
    return {"u_optimizer": u, "v_optimizer": v, "u_scheduler": u_schedule, "v_scheduler": v_schedule}


def written(solver: str, variant: Mapping[str, Any]) -> str:
    """Return a solver with its settings as a person would write them.

    >>> written("sensitivity", {"gamma": 0.2})
    'sensitivity(gamma=0.2)'
    """
    inside = ", ".join(f"{key}={value}" for key, value in variant.items())
    return f"{solver}({inside})" if inside else solver


def chosen_solvers(names: list[str] | None = None) -> list[str]:
    """Return the solvers to compare: those named, or all that move two players of their own.

    Raises:
        UnknownNameError: if there is no such solver.
        ArgumentError: if one of those named cannot be compared, with the reason.
    """
    for name in names or ():
        if name not in SOLVERS:
            raise unknown_name("solvers", name, SOLVERS)
        if name in EXCLUDED:
            raise ArgumentError(f"solvers: {name!r} {EXCLUDED[name]}; give solvers that move both")
    return list(dict.fromkeys(names)) if names else [name for name in SOLVERS if name not in EXCLUDED]


def chosen_games(names: list[str] | None = None) -> list[str]:
    """Return the games to play: those named, or all.

    Raises:
        UnknownNameError: if there is no such game.
    """
    for name in names or ():
        if name not in GAMES:
            raise unknown_name("games", name, GAMES)
    return list(dict.fromkeys(names)) if names else list(GAMES)


def class_of(known: KnownGame) -> str:
    """Return the class of a game, a key of ``CLASSES``.

    Examples:
        >>> from minimaxopt.testing import known_game
        >>> [class_of(known_game(name)) for name in ("minimax-not-nash", "bilinear", "anti-saddle")]
        ['minimax, not Nash', 'degenerate', 'tied answers']
    """
    kinds = {point.kind for point in known.minimax_points}
    if not kinds:
        return NO_SOLUTION
    if "local Nash" in kinds:
        return "Nash"
    if "strict local minimax" in kinds:
        return "minimax, not Nash"
    return "degenerate" if "undecided" in kinds else "tied answers"


def defaults(solver: str) -> dict[str, Any]:
    """Return a solver's settings with their defaults, as text where they are not plain values."""
    parameters = inspect.signature(SOLVERS[solver]).parameters
    plain = (int, float, str, bool, type(None))
    return {n: p.default if isinstance(p.default, plain) else repr(p.default) for n, p in parameters.items()}
