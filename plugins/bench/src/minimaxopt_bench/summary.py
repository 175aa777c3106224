"""What the cells say together: how often, and how cheaply, each solver ends at a minimax point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple, TypeAlias

from minimaxopt.testing import known_game
from minimaxopt_bench.cells import Cell, choose
from minimaxopt_bench.settings import CLASSES, NO_SOLUTION, class_of, variants, written

Cells: TypeAlias = dict[tuple[str, str], Cell]
"""Cells by solver and game."""


class Standing(NamedTuple):
    """A solver's standing over all games that have a minimax point.

    Attributes:
        solver: its name.
        solved: by class of game, on how many at least half of the starts end at a minimax point, and on how many games
            it was played.
        share: the mean over games of the share of starts that end at a minimax point.
        cost: the median, over the games that it solves, of its gradient evaluations over those of the cheapest solver.
        rates: the mean number of learning rates that serve, over the games that it solves.
        fooled: on how many games without a minimax point some run comes to rest all the same, and how many were played.
    """

    solver: str
    solved: dict[str, tuple[int, int]]
    share: float
    cost: float
    rates: float
    fooled: tuple[int, int]

    @property
    def total(self) -> tuple[int, int]:
        """On how many games it ends at a minimax point, and how many were played."""
        return sum(n for n, _ in self.solved.values()), sum(n for _, n in self.solved.values())


def by_class(games: Sequence[str]) -> dict[str, list[str]]:
    """Return the games of each class, in the order of ``CLASSES``; classes without games are left out."""
    groups: dict[str, list[str]] = {name: [] for name in CLASSES}
    for game in games:
        groups[class_of(known_game(game))].append(game)
    return {name: held for name, held in groups.items() if held}


def standings(cells: Cells) -> list[Standing]:
    """Return the solvers' standings, the one that solves most games first."""
    solvers = list(dict.fromkeys(solver for solver, _ in cells))
    groups = by_class(list(dict.fromkeys(game for _, game in cells)))
    cheapest = {
        game: min(cells[solver, game].evaluations for solver in solvers if _solves(cells[solver, game]))
        for game in {game for _, game in cells}
        if any(_solves(cells[solver, game]) for solver in solvers)
    }
    found: list[Standing] = []
    for solver in solvers:
        solved: dict[str, tuple[int, int]] = {}
        for name, games in groups.items():
            if name != NO_SOLUTION:
                solved[name] = sum(_solves(cells[solver, game]) for game in games), len(games)
        played = [cells[solver, game] for name, games in groups.items() if name != NO_SOLUTION for game in games]
        won = [cell for cell in played if _solves(cell)]
        without = [cells[solver, game] for game in groups.get(NO_SOLUTION, [])]
        found.append(
            Standing(
                solver=solver,
                solved=solved,
                share=_mean([share_of(cell) for cell in played]),
                cost=median(c.evaluations / max(cheapest[c.game], 1) for c in won) if won else math.inf,
                rates=_mean([cell.forgiving for cell in won]),
                fooled=(sum(any(t.run.ending == "stationary" for t in cell.trials) for cell in without), len(without)),
            )
        )
    return sorted(found, key=lambda s: (-s.total[0], -s.share, s.cost, s.solver))


def by_setting(cells: Cells) -> list[tuple[str, int, int]]:
    """Return each setting of the solvers that are tried with several, on how many games it alone serves, and of how many.

    It serves if at least half of the screening starts end at a minimax point at its best rate.
    """
    found: list[tuple[str, int, int]] = []
    for solver in dict.fromkeys(solver for solver, _ in cells):
        played = [cell for (name, game), cell in cells.items() if name == solver and known_game(game).minimax_points]
        for index, given in enumerate(variants(solver) if len(variants(solver)) > 1 else ()):
            alone = [_alone(cell, index) for cell in played]
            found.append((written(solver, given), sum(map(_solves, alone)), len(alone)))
    return found


def _alone(cell: Cell, variant: int) -> Cell:
    """Return what is left of a cell with one setting and the starts that all settings were played from."""
    screened = min((sum((t.variant, t.rate) == key for t in cell.trials) for key in _keys(cell)), default=0)
    first = sorted({t.seed for t in cell.trials})[:screened]
    held = tuple(t for t in cell.trials if t.variant == variant and t.seed in first)
    return cell._replace(trials=held, best=choose(held) if held else None)


def _keys(cell: Cell) -> set[tuple[int, int]]:
    return {(t.variant, t.rate) for t in cell.trials}


def share_of(cell: Cell) -> float:
    """Return the share of the best setting's starts that end at a minimax point; 0 where none does."""
    reached, of = cell.share
    return reached / of if cell.best is not None else 0.0


def _solves(cell: Cell) -> bool:
    return cell.ending == "minimax"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
