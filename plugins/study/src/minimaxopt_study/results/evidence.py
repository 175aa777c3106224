"""The numbers that claims are tested on: this study's tables and curves, or the paper's tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from minimaxopt_study.paper import printed as paper
from minimaxopt_study.paper.names import ALTERNATING, KINDS_OF_TABLE, MAXIMIN, MINIMAX
from minimaxopt_study.results.margins import Quantity, measured
from minimaxopt_study.results.tables import WORST, Cell

if TYPE_CHECKING:
    from minimaxopt_study.paper.printed import Experiment
    from minimaxopt_study.results.gather import Results

SMALL_ETA, LARGE_ETA = 0.2, 0.3  # the paper sets "eta = 0.1 and 0.2" against "eta = 0.3 and 0.4"
LAST_POINTS = 5  # evaluations at the end of a curve whose mean is its final value


@dataclass(frozen=True)
class Evidence:
    """Numbers, by where the paper prints them.

    Args:
        experiment: the paper's experiments on the same data set.
        tables: the five tables by kind, with a ``Cell`` for each number.
        eta: perturbations for which there are numbers.
        rounds: the last cat-and-mouse round.
        images: images on which the errors were counted.
        finals: error of the pair (u, v) at the end of the games of Figure 2 or 5, by defence.
        games_eta: perturbation of those games.
    """

    experiment: Experiment
    tables: Mapping[int, Mapping[str, Any]]
    eta: tuple[float, ...]
    rounds: int
    images: int
    finals: Mapping[str, Quantity]
    games_eta: float | None

    def error(self, table: int, row: str, column: str, eta: float) -> Quantity:
        """Return the error in one cell."""
        cell = self.tables[table]["eta"].get(f"{eta:g}", {}).get(row, {}).get(column)
        label = f"{row} under {column}" if column != "worst" else f"{row} at worst"
        return measured(cell.by_seed, self.images, f"{label}, eta {eta:g}") if cell is not None else Quantity({})

    def final(self, defence: str) -> Quantity:
        """Return the error of the pair (u, v) at the end of the games of Figure 2 or 5."""
        return self.finals.get(defence, Quantity({}))

    @property
    def small(self) -> tuple[float, ...]:
        """The small perturbations, at most ``SMALL_ETA``."""
        return tuple(eta for eta in self.eta if eta <= SMALL_ETA)

    @property
    def large(self) -> tuple[float, ...]:
        """The large perturbations, at least ``LARGE_ETA``."""
        return tuple(eta for eta in self.eta if eta >= LARGE_ETA)


def evidence(results: Results, tables: Mapping[int, Mapping[str, Any]]) -> Evidence:
    """Return this study's numbers as evidence."""
    finals: dict[str, Quantity] = {}
    for defence in (MINIMAX, ALTERNATING, MAXIMIN):
        by_seed: dict[int, list[float]] = {}
        for (name, seed, _), curve in results.pair_curves.items():
            if name == defence and curve.get("pair"):
                by_seed.setdefault(seed, []).append(fmean(curve["pair"][-LAST_POINTS:]))
        counted = measured(
            {s: fmean(v) for s, v in by_seed.items()}, max(results.curve_images, 1), f"{defence}, end of game"
        )
        # Starts differ by more than the images' number explains: the larger of the two variances is taken.
        between = max((stdev(v) ** 2 / len(v) for v in by_seed.values() if len(v) > 1), default=0.0)
        finals[defence] = Quantity(counted.by_seed, max(counted.variance, between), counted.numbers)
    return Evidence(
        results.experiment, tables, results.eta, results.rounds, max(results.test_images, 1), finals, results.games_eta
    )


def paper_evidence(experiment: Experiment) -> Evidence:
    """Return the paper's printed numbers as evidence; it prints none for the curves of its figures."""
    tables = {kind: _printed(paper.table(experiment.printed(kind))) for kind in KINDS_OF_TABLE}
    for row in (row for rows in tables[3]["eta"].values() for row in rows.values()):
        # On CIFAR-10 the caption defines the column, but it is not printed.
        row.setdefault(WORST, max(row.values(), key=lambda cell: cell.by_seed[0]))
    return Evidence(experiment, tables, experiment.eta, experiment.rounds, paper.TEST_IMAGES, {}, None)


def _printed(value: Any) -> Any:
    """Return a table with a ``Cell`` for each number of its body."""

    def wrap(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: wrap(item) for key, item in value.items()}
        return Cell({0: float(value)}, float(value)) if isinstance(value, int | float) else value

    return {key: wrap(item) if key in ("eta", "values") else item for key, item in value.items()}
