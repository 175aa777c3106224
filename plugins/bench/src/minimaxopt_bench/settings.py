"""Settings of the comparison, declared as data: solvers, learning rates, classes of games, budget and rules."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, final

import torch
from torch.optim.lr_scheduler import LambdaLR

from minimaxopt.errors import ArgumentError, unknown_name
from minimaxopt.plugins import check_count
from minimaxopt.solvers import SOLVERS
from minimaxopt.testing import GAMES, KnownGame

EXCLUDED: Mapping[str, str] = {
    "descent": "moves the leader alone",
    "ascent": "moves the follower alone",
}
"""Solvers that are not compared, with the reason."""

VARIANTS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "sensitivity": ({}, {"gamma": 0.2}, {"projected": True}),
    "consensus": ({}, {"gamma": 0.2}),
    "two-timescale": ({}, {"ratio": 3.0}),
    "smoothed-gda": ({}, {"p": 10.0}),
}
"""Settings tried for a solver, its defaults first; others are weights in units of the game, or for constraints."""

FOLLOWER_RATES: Mapping[str, float] = {"newton-follower": 1.0, "complete-newton": 1.0}
"""Learning rates of followers that make Newton steps, 1 being the full step; their leaders have the usual rates."""

NO_SOLUTION = "no minimax point"
"""Class of the games that have no minimax point."""

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
"""Classes of games by what is known of their minimax points, each with its description."""


@final
@dataclass(frozen=True)
class Rate:
    """A learning rate of both players.

    Args:
        size: the rate, or the first one if it decays.
        decays: whether step ``t = 1, 2, ...`` has the rate ``size / sqrt(t)``.

    Examples:
        >>> print(Rate(0.02), Rate(0.1, decays=True))
        0.02 0.1/√t
    """

    size: float
    decays: bool = False

    def __str__(self) -> str:
        return f"{self.size:g}/√t" if self.decays else f"{self.size:g}"

    def factories(self) -> tuple[partial[torch.optim.SGD], partial[LambdaLR] | None]:
        """Return the factories of plain SGD at this rate and of its schedule, ``None`` for a constant rate."""
        scheduler = partial(LambdaLR, lr_lambda=_inverse_root) if self.decays else None
        return partial(torch.optim.SGD, lr=self.size), scheduler


def _inverse_root(step: int) -> float:
    return (step + 1) ** -0.5


RATES = (Rate(0.02), Rate(0.1), Rate(0.5), Rate(0.1, decays=True))
"""Learning rates tried for every solver."""


@final
@dataclass(frozen=True)
class Settings:
    """Budget, starts, learning rates and tolerances of a comparison.

    Args:
        steps: largest number of steps of a run.
        evaluations: largest number of gradient evaluations of a run, as the solver counts them.
        starts: number of random starts of the best setting of each solver and game.
        screening: number of starts of every other setting, the first of ``starts``.
        seed: seed of the first start; later ones add 1.
        rates: learning rates of both players, the same for every solver.
        tolerance: largest Euclidean distance of the leader from a minimax leader, and largest loss of the follower
            against its best answer (in units of the risk), at which a run is at a minimax point.
        stay: number of steps for which a run must stay at a minimax point.
        stationary: length of the projected gradients below which a run is at rest; so is one that no longer moves.
        radius: distance from the middle of the game's box, in half its width, beyond which a run has diverged.

    Raises:
        ArgumentError: a count is below 1, or there is no rate.

    Examples:
        >>> Settings(starts=3, rates=(Rate(0.1),)).to_dict()["rates"]
        ['0.1']

    Source: this library.
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
            check_count(name, getattr(self, name))
        if not self.rates:
            raise ArgumentError("rates: is empty; give at least one rate")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values for JSON, rates as text."""
        return {**asdict(self), "rates": [str(rate) for rate in self.rates]}


QUICK = Settings(steps=60, evaluations=180, starts=2, screening=1, rates=(Rate(0.1), Rate(0.1, decays=True)), stay=10)
"""Settings of a run of seconds; its numbers mean little."""


def variants(solver: str) -> tuple[Mapping[str, Any], ...]:
    """Return the settings that are tried for a solver, its defaults first."""
    return VARIANTS.get(solver, ({},))


def optimizers(solver: str, rate: Rate) -> dict[str, Any]:
    """Return the optimizers and schedules of both players, as ``Context`` and ``trajectory`` take them.

    Args:
        solver: name of a solver.
        rate: learning rate of both players, except for followers listed in ``FOLLOWER_RATES``.

    Examples:
        >>> factories = optimizers("newton-follower", Rate(0.1))
        >>> factories["u_optimizer"].keywords["lr"], factories["v_optimizer"].keywords["lr"]
        (0.1, 1.0)
    """
    follower_rate = Rate(FOLLOWER_RATES[solver]) if solver in FOLLOWER_RATES else rate
    (u_optimizer, u_scheduler), (v_optimizer, v_scheduler) = rate.factories(), follower_rate.factories()
    return {
        "u_optimizer": u_optimizer,
        "v_optimizer": v_optimizer,
        "u_scheduler": u_scheduler,
        "v_scheduler": v_scheduler,
    }


def solver_label(solver: str, variant: Mapping[str, Any]) -> str:
    """Return a solver with its settings in the notation of Python.

    Examples:
        >>> solver_label("sensitivity", {"gamma": 0.2})
        'sensitivity(gamma=0.2)'
    """
    arguments = ", ".join(f"{name}={value}" for name, value in variant.items())
    return f"{solver}({arguments})" if arguments else solver


def select_solvers(names: list[str] | None = None) -> list[str]:
    """Return the solvers to compare: the named ones, or all that move both players.

    Args:
        names: names of solvers; all if empty or ``None``.

    Raises:
        UnknownNameError: there is no solver of a name.
        ArgumentError: a named solver cannot be compared; the message gives the reason.

    Examples:
        >>> select_solvers(["k-beam", "optimistic", "k-beam"])
        ['k-beam', 'optimistic']
    """
    for name in names or ():
        if name not in SOLVERS:
            raise unknown_name("solvers", name, SOLVERS)
        if name in EXCLUDED:
            raise ArgumentError(f"solvers: {name!r} {EXCLUDED[name]}; give solvers that move both")
    return list(dict.fromkeys(names)) if names else [name for name in SOLVERS if name not in EXCLUDED]


def select_games(names: list[str] | None = None) -> list[str]:
    """Return the games to run: the named ones, or all.

    Args:
        names: names of games with known answers; all if empty or ``None``.

    Raises:
        UnknownNameError: there is no game of a name.

    Examples:
        >>> select_games(["saddle"])
        ['saddle']
    """
    for name in names or ():
        if name not in GAMES:
            raise unknown_name("games", name, GAMES)
    return list(dict.fromkeys(names)) if names else list(GAMES)


def game_class(known: KnownGame) -> str:
    """Return the class of a game, a key of ``CLASSES``.

    Examples:
        >>> from minimaxopt.testing import known_game
        >>> [game_class(known_game(name)) for name in ("minimax-not-nash", "bilinear", "anti-saddle")]
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


def default_settings(solver: str) -> dict[str, Any]:
    """Return the default settings of a solver by name, as text where they are not plain values.

    Examples:
        >>> default_settings("two-timescale")
        {'ratio': 10.0, 'power': 0.0}
    """
    defaults = {name: parameter.default for name, parameter in inspect.signature(SOLVERS[solver]).parameters.items()}
    plain = (int, float, str, bool, type(None))
    return {name: value if isinstance(value, plain) else repr(value) for name, value in defaults.items()}
