"""One cell of the comparison: a solver on a game, over its settings, learning rates and starts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from minimaxopt.errors import ArgumentError
from minimaxopt.plugins import ResultStore, content_key
from minimaxopt.testing import known_game
from minimaxopt_bench.one_run import Run, play
from minimaxopt_bench.outcomes import ENDINGS, Ending
from minimaxopt_bench.settings import FOLLOWER_RATES, Rate, Settings, solver_label, variants

SELECTION_RULE = (
    "The best setting and rate of a solver on a game is the one with which the largest share of the screening starts "
    "ends at a minimax point; of equals the one with the smallest median of gradient evaluations until then; of equals "
    "the first. It is then played from all starts. Where no screening start of any setting and rate ends at one, the "
    "cell shows how most of all these runs ended; of equals the ending at the largest rate."
)
VERSION = 1
"""Version of the computation of a cell: raised whenever its numbers change, so that stored cells are computed anew."""


class Trial(NamedTuple):
    """One run, with the indices of its setting and its rate, and the seed of its start."""

    variant: int
    rate: int
    seed: int
    run: Run

    @property
    def choice(self) -> tuple[int, int]:
        """Indices of the setting and the rate."""
        return self.variant, self.rate


COLUMNS = ("variant", "rate", "seed", *Run._fields)
"""Columns of a run as ``to_dict`` writes it."""


class Cell(NamedTuple):
    """A solver on a game.

    Attributes:
        solver: name of the solver.
        game: name of the game.
        trials: all runs.
        best: indices of the best setting and rate; ``None`` if no run of the screening ends at a minimax point.
        refused: reason why the solver cannot solve the game; empty if it can.
    """

    solver: str
    game: str
    trials: tuple[Trial, ...]
    best: tuple[int, int] | None
    refused: str = ""

    @property
    def judged_runs(self) -> list[Run]:
        """Runs of the best setting and rate, or all runs if there is none."""
        return [trial.run for trial in self.trials if self.best is None or trial.choice == self.best]

    @property
    def share(self) -> tuple[int, int]:
        """Number of the judged runs that end at a minimax point, and of all judged runs."""
        runs = self.judged_runs
        return sum(run.ending == "minimax" for run in runs), len(runs)

    @property
    def ending(self) -> Ending | None:
        """Ending of most judged runs: a minimax point if half of them reach one; ``None`` if the solver refused."""
        if not self.trials:
            return None
        reached, total = self.share
        if 2 * reached >= total and reached:
            return "minimax"
        counts: Counter[Ending] = Counter(run.ending for run in self.judged_runs if run.ending != "minimax")
        largest_rate = {trial.run.ending: trial.rate for trial in sorted(self.trials, key=lambda trial: trial.rate)}
        return max((ending for ending in ENDINGS if counts[ending]), key=lambda e: (counts[e], largest_rate[e]))

    @property
    def evaluations(self) -> float:
        """Median of the gradient evaluations until a minimax point, over the judged runs that end at one."""
        return _median(run.to_evaluations for run in self.judged_runs)

    @property
    def steps(self) -> float:
        """Median of the steps until a minimax point, over the judged runs that end at one."""
        return _median(run.to_steps for run in self.judged_runs)

    @property
    def serving_rates(self) -> int:
        """Number of learning rates at which some setting reaches a minimax point from all starts it was run from."""
        groups = group_by_choice(self.trials)
        return len({rate for (_, rate), runs in groups.items() if all(run.ending == "minimax" for run in runs)})

    def setting(self, rates: Sequence[Rate]) -> str:
        """Return the best setting and rate as text; empty if there is none."""
        if self.best is None:
            return ""
        variant, rate = self.best
        return f"{solver_label(self.solver, variants(self.solver)[variant])}, rate {rates[rate]}"


def _median(numbers: Iterable[int | None]) -> float:
    reached = [number for number in numbers if number is not None]
    return median(reached) if reached else math.inf


def compute(solver: str, game: str, settings: Settings) -> Cell:
    """Run a whole cell: every setting and rate from the screening starts, the best from all starts.

    Args:
        solver: name of a solver.
        game: name of a game with known answers.
        settings: budget, starts, rates and rules.

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
            outcome = play(known, solver, variants(solver)[variant], settings.rates[rate], seed, settings)
            trials.append(Trial(variant, rate, seed, outcome))

    screening = min(settings.screening, settings.starts)
    try:
        for variant in range(len(variants(solver))):
            for rate in range(len(settings.rates)):
                run(variant, rate, range(screening))
    except ArgumentError as error:
        return Cell(solver, game, (), None, str(error))
    best = best_choice(trials)
    if best is not None:
        run(*best, range(screening, settings.starts))
    return Cell(solver, game, tuple(trials), best)


def best_choice(trials: Sequence[Trial]) -> tuple[int, int] | None:
    """Return the indices of the best setting and rate by ``SELECTION_RULE``.

    ``None`` if no run ends at a minimax point.

    Args:
        trials: runs from the screening starts, at least one.
    """
    groups = group_by_choice(trials)

    def merit(runs: list[Run]) -> tuple[float, float]:
        reached = [run.to_evaluations for run in runs if run.to_evaluations is not None]
        return (len(reached) / len(runs), -median(reached)) if reached else (0.0, -math.inf)

    best = max(groups, key=lambda choice: (*merit(groups[choice]), -choice[0], -choice[1]))
    return best if merit(groups[best])[0] > 0 else None


def group_by_choice(trials: Iterable[Trial]) -> dict[tuple[int, int], list[Run]]:
    """Return the runs by the indices of their setting and rate."""
    groups: dict[tuple[int, int], list[Run]] = {}
    for trial in trials:
        groups.setdefault(trial.choice, []).append(trial.run)
    return groups


# -- the store ---------------------------------------------------------------------------------------------------------


def determined_by(solver: str, game: str, settings: Settings) -> dict[str, Any]:
    """Return everything that determines a cell, as plain values: its key in the store."""
    own = {"follower's rate": FOLLOWER_RATES[solver]} if solver in FOLLOWER_RATES else {}
    return {
        "version": VERSION,
        "solver": solver,
        "game": game,
        "formula": known_game(game).formula,
        "variants": list(map(dict, variants(solver))),
        "settings": settings.to_dict(),
        **own,
    }


def is_stored(folder: Path, solver: str, game: str, settings: Settings) -> bool:
    """Return whether a folder holds the cell of these settings."""
    return content_key(determined_by(solver, game, settings)) in ResultStore(folder)


def cached_cell(folder: Path, solver: str, game: str, settings: Settings) -> Cell:
    """Return a cell from the store of a folder, computed and stored if it is not there.

    Args:
        folder: folder of the comparison.
        solver: name of a solver.
        game: name of a game with known answers.
        settings: budget, starts, rates and rules.

    Raises:
        StoreError: the stored cell is damaged, or the cell cannot be written.
    """
    determined = determined_by(solver, game, settings)
    return from_dict(ResultStore(folder).cached(determined, lambda: to_dict(compute(solver, game, settings))))


def to_dict(cell: Cell) -> dict[str, Any]:
    """Return a cell as plain values for JSON, its runs as rows of ``COLUMNS`` with numbers of three digits."""
    rows = [[trial.variant, trial.rate, trial.seed, *map(_plain, trial.run)] for trial in cell.trials]
    return {"solver": cell.solver, "game": cell.game, "best": cell.best, "refused": cell.refused, "runs": rows}


def from_dict(content: Mapping[str, Any]) -> Cell:
    """Return the cell that ``to_dict`` wrote."""
    trials = tuple(
        Trial(variant, rate, seed, Run(*map(_number, run, Run._fields)))
        for variant, rate, seed, *run in content["runs"]
    )
    best = content["best"]
    return Cell(content["solver"], content["game"], trials, best and (best[0], best[1]), content["refused"])


def _plain(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.3g}") if math.isfinite(value) else None  # JSON has no infinity


def _number(value: Any, name: str) -> Any:
    return math.inf if value is None and name in ("distance", "residual") else value
