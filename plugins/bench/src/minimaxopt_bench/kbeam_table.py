"""The published K-beam comparison, repeated: six surfaces, 1,000 projected steps of size 0.1/sqrt(t), 100 random trials."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from minimaxopt._types import Tree
from minimaxopt.errors import ArgumentError
from minimaxopt.game.game import Game
from minimaxopt.game.random_streams import preserve_rng_state
from minimaxopt.results import storage
from minimaxopt.solvers import SOLVERS, Context
from minimaxopt.testing import KnownGame, known_game
from minimaxopt_bench.outcomes import Array
from minimaxopt_bench.published import KBEAM, KBEAM_COLUMNS
from minimaxopt_bench.settings import Rate

_RATE = Rate(0.1, decays=True)
_DRAWN = 10
_ALONE = {"GD": "simultaneous-gda", "alternating GD": "alternating-gda"}


@final
@dataclass(frozen=True)
class Protocol:
    """How the comparison is run; the published one by default.

    Args:
        trials: random trials of each surface and column.
        steps: steps of a trial.
        low: lower end of the interval in which ``u`` and ten ``v`` of each trial are drawn.
        high: its upper end.
        seed: of these draws, the same for every column.
    """

    trials: int = 100
    steps: int = 1000
    low: float = -0.45
    high: float = 0.45
    seed: int = 0

    def __post_init__(self) -> None:
        if self.trials < 1 or self.steps < 1:
            raise ArgumentError("trials: each column needs a trial of a step; give 1 or more of both")

    def starts(self, surface: str) -> tuple[Array, Array]:
        """Return the leaders' starts, ``(trials,)``, and the followers', ``(trials, 10)``."""
        rng = np.random.default_rng([self.seed, list(KBEAM).index(surface)])
        drawn = rng.uniform(self.low, self.high, (self.trials, 1 + _DRAWN))
        return drawn[:, 0], drawn[:, 1:]


def jobs(folder: Path, protocol: Protocol, surfaces: Sequence[str] = tuple(KBEAM)) -> list[tuple[Any, ...]]:
    """Return the arguments of ``compute_and_store`` for every part that is not stored yet; the long ones first."""
    parts = [(surface, column, first) for column in reversed(KBEAM_COLUMNS) for surface in surfaces
             for first in range(0, protocol.trials, _size(column, protocol))]  # fmt: skip
    return [(folder, protocol, *part) for part in parts if _stored(folder, protocol, *part) is None]


def compute_and_store(folder: Path, protocol: Protocol, surface: str, column: str, first: int) -> None:
    """Play one part of the trials and store how far their leaders end from the nearest minimax leader."""
    u, v = (start[first : first + _size(column, protocol)] for start in protocol.starts(surface))
    known = known_game(surface)
    found = _together(known, column, u, v[:, 0], protocol.steps) if column in _ALONE else _apart(
        known, int(column[2:]), u, v, protocol.steps
    )  # fmt: skip
    distances = [known.distance(torch.tensor(x, dtype=torch.float64)) for x in found]
    path = _path(folder, surface, column, first)
    path.parent.mkdir(parents=True, exist_ok=True)
    storage.write_atomically(path, json.dumps({"of": described(protocol), "distances": distances}).encode())


def described(protocol: Protocol) -> dict[str, Any]:
    """Return the protocol as plain values, with the learning rate."""
    return {**asdict(protocol), "rate": str(_RATE)}


def results(folder: Path, protocol: Protocol) -> dict[str, dict[str, tuple[float, float]]]:
    """Return the mean and deviation of ``|u - u*|`` by surface and column, of those that are complete."""
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for surface in KBEAM:
        for column in KBEAM_COLUMNS:
            firsts = range(0, protocol.trials, _size(column, protocol))
            parts = [_stored(folder, protocol, surface, column, first) for first in firsts]
            held = [part for part in parts if part is not None]
            if len(held) == len(parts):
                values = np.concatenate(held)
                found.setdefault(surface, {})[column] = float(values.mean()), float(values.std())
    return found


def _together(known: KnownGame, column: str, u: Array, v: Array, steps: int) -> list[float]:
    """Play all trials as one game: the sum of their risks, of which each pair of numbers enters one."""

    def total(u: Tensor, v: Tensor) -> Tensor:
        return known.f(u, v).sum()

    game = Game(total, torch.tensor(u), torch.tensor(v), project_u=known.project_u, project_v=known.project_v)
    return _leaders(game, SOLVERS[_ALONE[column]](), steps)


def _apart(known: KnownGame, followers: int, u: Array, v: Array, steps: int) -> list[float]:
    """Play each trial by itself, since the strongest follower is that of one trial."""
    found: list[float] = []
    for x, drawn in zip(u, v, strict=True):
        start = [torch.tensor(y, dtype=torch.float64) for y in drawn]
        solver = SOLVERS["k-beam"](followers=followers, draw=_given(start[1:]))
        found += _leaders(known.game(torch.tensor(x, dtype=torch.float64), start[0]), solver, steps)
    return found


def _given(followers: list[Tensor]) -> Callable[[Tree, torch.Generator], Tree]:
    remaining = iter(followers)
    return lambda like, generator: next(remaining)


def _leaders(game: Game, solver: Any, steps: int) -> list[float]:
    sgd, schedule = _RATE.moves()
    ctx = Context(game, u_optimizer=sgd, v_optimizer=sgd, u_scheduler=schedule, v_scheduler=schedule)
    with preserve_rng_state(ctx.devices):
        state = solver.init(ctx)
        for _ in range(steps):
            state, _ = ctx.advance(solver, state)
    return ctx.point.u["value"].detach().reshape(-1).tolist()


def _size(column: str, protocol: Protocol) -> int:
    return protocol.trials if column in _ALONE else min(20, protocol.trials)


def _path(folder: Path, surface: str, column: str, first: int) -> Path:
    return folder / "cells" / "k-beam" / surface / f"{column.replace(' ', '-').replace('=', '')}-{first}.json"


def _stored(folder: Path, protocol: Protocol, surface: str, column: str, first: int) -> list[float] | None:
    with suppress(FileNotFoundError, json.JSONDecodeError):
        content: Mapping[str, Any] = json.loads(_path(folder, surface, column, first).read_text(encoding="utf-8"))
        if content.get("of") == described(protocol):
            return [float(x) for x in content["distances"]]
    return None
