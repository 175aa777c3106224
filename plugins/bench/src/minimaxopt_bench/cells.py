"""One cell of the comparison: a solver on a game, over its settings, learning rates and starts; stored when finished."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from minimaxopt.errors import ArgumentError
from minimaxopt.results import storage
from minimaxopt.testing import known_game
from minimaxopt_bench.one_run import Run, play
from minimaxopt_bench.outcomes import ENDINGS, Ending
from minimaxopt_bench.settings import FOLLOWER_RATES, Rate, Settings, variants, written

RULE = (
    "The best setting and rate of a solver on a game is the one with which the largest share of the screening starts ends "
    "at a minimax point; of equals the one with the smallest median of gradient evaluations until then; of equals the "
    "first. It is then played from all starts. Where no screening start of any setting and rate ends at one, the cell shows "
    "how most of all these runs ended; of equals the ending at the largest rate."
)
_VERSION = 1
"""Of the rules; another recomputes."""


class Trial(NamedTuple):
    """One run with what it was run with: indices of the setting and the rate, and the start's seed."""

    variant: int
    rate: int
    seed: int
    run: Run


class Cell(NamedTuple):
    """A solver on a game.

    Attributes:
        solver: the solver's name.
        game: the game's name.
        trials: all runs.
        best: the indices of the best setting and rate; ``None`` where none ends at a minimax point.
        refused: why the solver does not play the game, if it does not.
    """

    solver: str
    game: str
    trials: tuple[Trial, ...]
    best: tuple[int, int] | None
    refused: str = ""

    @property
    def chosen(self) -> list[Run]:
        """The runs of the best setting and rate, or all where there is none."""
        return [t.run for t in self.trials if self.best is None or (t.variant, t.rate) == self.best]

    @property
    def share(self) -> tuple[int, int]:
        """How many of the best setting's runs end at a minimax point, and how many there are."""
        runs = self.chosen
        return sum(run.ending == "minimax" for run in runs), len(runs)

    @property
    def ending(self) -> Ending | None:
        """How most of the chosen runs end: a minimax point if half of them do; ``None`` if the solver refused."""
        if not self.trials:
            return None
        reached, of = self.share
        if 2 * reached >= of and reached:
            return "minimax"
        found: list[Ending] = [run.ending for run in self.chosen if run.ending != "minimax"]
        counts: Counter[Ending] = Counter(found)
        at_rate = {trial.run.ending: trial.rate for trial in sorted(self.trials, key=lambda t: t.rate)}
        return max((held for held in ENDINGS if counts[held]), key=lambda held: (counts[held], at_rate[held]))

    @property
    def evaluations(self) -> float:
        """The median of the gradient evaluations until a minimax point, over the runs that end at one."""
        return _median(run.to_evaluations for run in self.chosen)

    @property
    def forgiving(self) -> int:
        """With how many learning rates some setting ends at a minimax point, from all starts that it was played from."""
        groups: dict[tuple[int, int], list[bool]] = {}
        for trial in self.trials:
            groups.setdefault((trial.variant, trial.rate), []).append(trial.run.ending == "minimax")
        return len({rate for (_, rate), reached in groups.items() if all(reached)})

    @property
    def steps(self) -> float:
        """The median of the steps until a minimax point, likewise."""
        return _median(run.to_steps for run in self.chosen)

    def setting(self, rates: Sequence[Rate]) -> str:
        """Return the best setting and rate as text; empty where there is none."""
        if self.best is None:
            return ""
        return f"{written(self.solver, variants(self.solver)[self.best[0]])}, rate {rates[self.best[1]]}"


def _median(found: Iterator[int | None]) -> float:
    held = [x for x in found if x is not None]
    return median(held) if held else math.inf


def compute(solver: str, game: str, settings: Settings) -> Cell:
    """Play all runs of a cell: every setting and rate from the screening starts, the best from all starts.

    Args:
        solver: a solver's name.
        game: the name of a game with known answers.
        settings: what to run with.

    Examples:
        >>> from minimaxopt_bench.settings import QUICK
        >>> cell = compute("extragradient", "saddle", QUICK)
        >>> cell.ending, cell.share
        ('minimax', (2, 2))
    """
    known = known_game(game)
    trials: list[Trial] = []

    def run(variant: int, rate: int, starts: range) -> None:
        for start in starts:
            seed = settings.seed + start
            given = variants(solver)[variant]
            trials.append(Trial(variant, rate, seed, play(known, solver, given, settings.rates[rate], seed, settings)))

    screening = min(settings.screening, settings.starts)
    try:
        for variant in range(len(variants(solver))):
            for rate in range(len(settings.rates)):
                run(variant, rate, range(screening))
    except ArgumentError as error:
        return Cell(solver, game, (), None, str(error))
    best = choose(trials)
    if best is not None:
        run(*best, range(screening, settings.starts))
    return Cell(solver, game, tuple(trials), best)


def choose(trials: Sequence[Trial]) -> tuple[int, int] | None:
    """Return the indices of the best setting and rate by ``RULE``; ``None`` where none ends at a minimax point."""
    groups: dict[tuple[int, int], list[Run]] = {}
    for trial in trials:
        groups.setdefault((trial.variant, trial.rate), []).append(trial.run)

    def merit(runs: list[Run]) -> tuple[float, float]:
        reached = [run.to_evaluations for run in runs if run.to_evaluations is not None]
        return (len(reached) / len(runs), -median(reached)) if reached else (0.0, -math.inf)

    best = max(groups, key=lambda key: (*merit(groups[key]), -key[0], -key[1]))
    return best if merit(groups[best])[0] > 0 else None


# -- the store ---------------------------------------------------------------------------------------------------------


def determined_by(solver: str, game: str, settings: Settings) -> dict[str, Any]:
    """Return all that a cell depends on, as plain values: another means that it is computed anew."""
    known = known_game(game)
    tried = [dict(given) for given in variants(solver)]
    own = {"follower's rate": FOLLOWER_RATES[solver]} if solver in FOLLOWER_RATES else {}
    return {"rules": _VERSION, "formula": known.formula, "variants": tried, "settings": settings.to_dict(), **own}


def path_of(folder: Path, solver: str, game: str) -> Path:
    """Return where a cell is stored."""
    return folder / "cells" / game / f"{solver}.json"


def store(folder: Path, cell: Cell, settings: Settings) -> None:
    """Write a finished cell: whole, or not at all."""
    path = path_of(folder, cell.solver, cell.game)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"of": determined_by(cell.solver, cell.game, settings), **to_dict(cell)}
    storage.write_atomically(path, json.dumps(content, ensure_ascii=False).encode())


def compute_and_store(folder: Path, solver: str, game: str, settings: Settings) -> None:
    """Compute a cell and store it."""
    store(folder, compute(solver, game, settings), settings)


def stored(folder: Path, solver: str, game: str, settings: Settings) -> Cell | None:
    """Return the stored cell, or ``None`` where there is none of these settings."""
    with suppress(FileNotFoundError, json.JSONDecodeError):
        content = json.loads(path_of(folder, solver, game).read_text(encoding="utf-8"))
        # Through JSON, since that turns tuples into lists.
        if content.get("of") == json.loads(json.dumps(determined_by(solver, game, settings))):
            return from_dict(content)
    return None


def to_dict(cell: Cell) -> dict[str, Any]:
    """Return a cell as plain values; the columns of its runs are ``COLUMNS``."""
    rows = [[t.variant, t.rate, t.seed, *map(_plain, t.run)] for t in cell.trials]
    return {"solver": cell.solver, "game": cell.game, "best": cell.best, "refused": cell.refused, "runs": rows}


def from_dict(content: Mapping[str, Any]) -> Cell:
    """Return the cell of ``to_dict``."""
    trials = tuple(Trial(v, r, s, Run(*map(_number, run, Run._fields))) for v, r, s, *run in content["runs"])
    best = content["best"]
    return Cell(content["solver"], content["game"], trials, best and (best[0], best[1]), content["refused"])


COLUMNS = ("variant", "rate", "seed", *Run._fields)


def _plain(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.3g}") if math.isfinite(value) else None  # JSON knows no infinity


def _number(value: Any, name: str) -> Any:
    return math.inf if value is None and name in ("distance", "residual") else value
