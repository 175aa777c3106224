"""The published K-beam comparison, repeated: six surfaces, 100 trials, 1,000 projected steps of size 0.1/sqrt(t)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
import torch
from torch import Tensor

from minimaxopt import Context, Game
from minimaxopt.plugins import ResultStore, check_count, content_key
from minimaxopt.solvers import SOLVERS
from minimaxopt.testing import KnownGame, known_game
from minimaxopt_bench.outcomes import Array
from minimaxopt_bench.published import KBEAM, KBEAM_COLUMNS
from minimaxopt_bench.settings import Rate

KBeamTable: TypeAlias = dict[str, dict[str, tuple[float, float]]]
"""Mean and standard deviation of ``|u - u*|`` by surface and column."""

VERSION = 1
"""Version of the computation of a part: raised whenever its numbers change, so that stored parts are computed anew."""
_RATE = Rate(0.1, decays=True)
_FOLLOWERS = 10
_PART = 20
"""Trials of K-beam in one part."""
_SINGLE_FOLLOWER = {"GD": "simultaneous-gda", "alternating GD": "alternating-gda"}


@final
@dataclass(frozen=True)
class Protocol:
    """Trials, steps and starts of the K-beam comparison; the published ones by default.

    Args:
        trials: number of random trials of each surface and column.
        steps: number of steps of a trial.
        low: lower end of the interval from which ``u`` and ten ``v`` of each trial are drawn.
        high: upper end of that interval.
        seed: seed of these draws, the same for every column.

    Raises:
        ArgumentError: there is no trial, or no step.

    Examples:
        >>> u, v = Protocol(trials=4).starts("seesaw")
        >>> u.shape, v.shape
        ((4,), (4, 10))

    Source: Hamm and Noh 2018, K-Beam Minimax, as published in the README of its repository.
    """

    trials: int = 100
    steps: int = 1000
    low: float = -0.45
    high: float = 0.45
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("trials", "steps"):
            check_count(name, getattr(self, name))

    def starts(self, surface: str) -> tuple[Array, Array]:
        """Return the leaders' starts, ``(trials,)``, and the followers', ``(trials, 10)``."""
        rng = np.random.default_rng([self.seed, list(KBEAM).index(surface)])
        values = rng.uniform(self.low, self.high, (self.trials, 1 + _FOLLOWERS))
        return values[:, 0], values[:, 1:]

    def to_dict(self) -> dict[str, Any]:
        """Return the protocol as plain values, with the learning rate."""
        return {**asdict(self), "rate": str(_RATE)}


def missing_parts(
    folder: Path, protocol: Protocol, surfaces: Sequence[str] = tuple(KBEAM)
) -> list[tuple[Path, Protocol, str, str, int]]:
    """Return the arguments of ``distances`` for every part that is not stored yet, the long ones first."""
    store = ResultStore(folder)
    return [
        (folder, protocol, surface, column, first)
        for column in reversed(KBEAM_COLUMNS)
        for surface in surfaces
        for first in _firsts(column, protocol)
        if content_key(_determined_by(protocol, surface, column, first)) not in store
    ]


def distances(folder: Path, protocol: Protocol, surface: str, column: str, first: int) -> list[float]:
    """Return how far the leaders of one part of the trials end from the nearest minimax leader.

    Args:
        folder: folder of the comparison, in whose store the distances are kept.
        protocol: trials, steps and starts.
        surface: name of a surface, a key of ``KBEAM``.
        column: name of a column, one of ``KBEAM_COLUMNS``.
        first: first trial of the part.

    Raises:
        StoreError: the stored part is damaged, or the part cannot be written.
    """

    def compute() -> dict[str, list[float]]:
        known = known_game(surface)
        u, v = (start[first : first + _part_size(column, protocol)] for start in protocol.starts(surface))
        if column in _SINGLE_FOLLOWER:
            leaders = _play_jointly(known, _SINGLE_FOLLOWER[column], u, v[:, 0], protocol.steps)
        else:
            leaders = _play_separately(known, int(column.removeprefix("K=")), u, v, protocol.steps)
        return {"distances": [known.distance(torch.tensor(u, dtype=torch.float64)) for u in leaders]}

    return ResultStore(folder).cached(_determined_by(protocol, surface, column, first), compute)["distances"]


def mean_and_deviation(folder: Path, protocol: Protocol, surface: str, column: str) -> tuple[float, float]:
    """Return mean and standard deviation of ``|u - u*|`` over all trials; parts that are not stored are computed."""
    parts = [distances(folder, protocol, surface, column, first) for first in _firsts(column, protocol)]
    values = np.concatenate(parts)
    return float(values.mean()), float(values.std())


def table(folder: Path, protocol: Protocol) -> KBeamTable:
    """Return the whole table; parts that are not stored are computed."""
    return {
        surface: {column: mean_and_deviation(folder, protocol, surface, column) for column in KBEAM_COLUMNS}
        for surface in KBEAM
    }


def _determined_by(protocol: Protocol, surface: str, column: str, first: int) -> dict[str, Any]:
    """Return everything that determines a part: its key in the store."""
    return {"version": VERSION, "surface": surface, "column": column, "first": first, "protocol": protocol.to_dict()}


def _part_size(column: str, protocol: Protocol) -> int:
    return protocol.trials if column in _SINGLE_FOLLOWER else min(_PART, protocol.trials)


def _firsts(column: str, protocol: Protocol) -> range:
    """Return the first trial of each part of a column."""
    return range(0, protocol.trials, _part_size(column, protocol))


def _play_jointly(known: KnownGame, solver: str, u: Array, v: Array, steps: int) -> list[float]:
    """Run all trials as one game: the sum of their risks, each of which depends on one pair of numbers."""

    def total(u: Tensor, v: Tensor) -> Tensor:
        return known.f(u, v).sum()

    game = Game(total, torch.tensor(u), torch.tensor(v), project_u=known.project_u, project_v=known.project_v)
    return _leaders(game, SOLVERS[solver](), steps)


def _play_separately(known: KnownGame, followers: int, u: Array, v: Array, steps: int) -> list[float]:
    """Run each trial separately, because each has its own strongest follower."""
    leaders: list[float] = []
    for leader, row in zip(u, v, strict=True):
        first, *others = (torch.tensor(value, dtype=torch.float64) for value in row)
        solver = SOLVERS["k-beam"](followers=followers, draw=_drawing(others))
        leaders += _leaders(known.game(torch.tensor(leader, dtype=torch.float64), first), solver, steps)
    return leaders


def _drawing(followers: list[Tensor]) -> Callable[[Any, torch.Generator], Any]:
    """Return a ``draw`` for K-beam that yields these followers."""
    remaining = iter(followers)
    return lambda like, generator: next(remaining)


def _leaders(game: Game, solver: Any, steps: int) -> list[float]:
    """Run a game and return the final values of its leader."""
    sgd, schedule = _RATE.factories()
    ctx = Context(game, u_optimizer=sgd, v_optimizer=sgd, u_scheduler=schedule, v_scheduler=schedule)
    with torch.random.fork_rng(devices=()):
        state = solver.init(ctx)
        for _ in range(steps):
            state, _ = ctx.advance(solver, state)
    return ctx.point.u["value"].detach().reshape(-1).tolist()
