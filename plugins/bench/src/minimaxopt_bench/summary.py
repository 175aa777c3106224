"""Standings of the solvers over all cells: how often, and how cheaply, each ends at a minimax point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple, TypeAlias

from minimaxopt.testing import known_game
from minimaxopt_bench.cells import Cell, best_choice, group_by_choice
from minimaxopt_bench.settings import CLASSES, NO_SOLUTION, game_class, solver_label, variants

Cells: TypeAlias = dict[tuple[str, str], Cell]
"""Cells by solver and game."""


class Standing(NamedTuple):
    """Standing of a solver over all games that have a minimax point.

    Attributes:
        solver: name of the solver.
        solved: by class of game, the number of games solved (at least half of the starts end at a minimax point) and
            the number of games run.
        share: mean over games of the share of starts that end at a minimax point.
        cost: median, over the games solved, of its gradient evaluations over those of the cheapest solver.
        rates: mean number of learning rates that serve, over the games solved.
        fooled: number of games without a minimax point on which some run comes to rest all the same, and of all such
            games played.
    """

    solver: str
    solved: dict[str, tuple[int, int]]
    share: float
    cost: float
    rates: float
    fooled: tuple[int, int]

    @property
    def total(self) -> tuple[int, int]:
        """Number of games solved, and of games run."""
        return sum(n for n, _ in self.solved.values()), sum(n for _, n in self.solved.values())


def by_class(games: Sequence[str]) -> dict[str, list[str]]:
    """Return the games of each class, in the order of ``CLASSES``, without empty classes.

    Examples:
        >>> by_class(["bilinear", "saddle"])
        {'Nash': ['saddle'], 'degenerate': ['bilinear']}
    """
    groups: dict[str, list[str]] = {name: [] for name in CLASSES}
    for game in games:
        groups[game_class(known_game(game))].append(game)
    return {name: members for name, members in groups.items() if members}


def standings(cells: Cells) -> list[Standing]:
    """Return the standings of the solvers, the one that solves most games first.

    Args:
        cells: cells of every solver on every game.
    """
    solvers = list(dict.fromkeys(solver for solver, _ in cells))
    groups = by_class(list(dict.fromkeys(game for _, game in cells)))
    cheapest = {
        game: min(cells[solver, game].evaluations for solver in solvers if _solves(cells[solver, game]))
        for game in {game for _, game in cells}
        if any(_solves(cells[solver, game]) for solver in solvers)
    }
    table: list[Standing] = []
    for solver in solvers:
        solved: dict[str, tuple[int, int]] = {}
        for name, games in groups.items():
            if name != NO_SOLUTION:
                solved[name] = sum(_solves(cells[solver, game]) for game in games), len(games)
        played = [cells[solver, game] for name, games in groups.items() if name != NO_SOLUTION for game in games]
        won = [cell for cell in played if _solves(cell)]
        without = [cells[solver, game] for game in groups.get(NO_SOLUTION, [])]
        table.append(
            Standing(
                solver=solver,
                solved=solved,
                share=_mean([share_of(cell) for cell in played]),
                cost=median(c.evaluations / max(cheapest[c.game], 1) for c in won) if won else math.inf,
                rates=_mean([cell.serving_rates for cell in won]),
                fooled=(sum(any(t.run.ending == "stationary" for t in cell.trials) for cell in without), len(without)),
            )
        )
    return sorted(table, key=lambda s: (-s.total[0], -s.share, s.cost, s.solver))


def by_setting(cells: Cells) -> list[tuple[str, int, int]]:
    """Return each setting of the solvers tried with several, the number of games it solves alone, and of games run.

    A setting solves a game if at least half of the screening starts end at a minimax point at its best rate.

    Args:
        cells: cells of every solver on every game.
    """
    rows: list[tuple[str, int, int]] = []
    for solver in dict.fromkeys(solver for solver, _ in cells):
        played = [cell for (name, game), cell in cells.items() if name == solver and known_game(game).minimax_points]
        for index, variant in enumerate(variants(solver) if len(variants(solver)) > 1 else ()):
            alone = [_alone(cell, index) for cell in played]
            rows.append((solver_label(solver, variant), sum(map(_solves, alone)), len(alone)))
    return rows


def _alone(cell: Cell, variant: int) -> Cell:
    """Return a cell with one setting only, and only the starts that all settings were run from."""
    screening = min(map(len, group_by_choice(cell.trials).values()), default=0)
    seeds = sorted({trial.seed for trial in cell.trials})[:screening]
    trials = tuple(trial for trial in cell.trials if trial.variant == variant and trial.seed in seeds)
    return cell._replace(trials=trials, best=best_choice(trials) if trials else None)


def share_of(cell: Cell) -> float:
    """Return the share of the best setting's starts that end at a minimax point; 0 if there is no best setting."""
    reached, total = cell.share
    return reached / total if cell.best is not None else 0.0


def _solves(cell: Cell) -> bool:
    return cell.ending == "minimax"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
