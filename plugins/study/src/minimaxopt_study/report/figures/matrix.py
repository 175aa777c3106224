"""The matrix of all rounds: every classifier under the attacks of all rounds, as data and as a heat map."""

from __future__ import annotations

import re
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patheffects import withStroke

from minimaxopt_study.paper.names import ALTERNATING, LWA, MINIMAX, MINIMAX_GRAD, NO_DEFENSE, adv
from minimaxopt_study.report.figures.style import BLUE, GREY, INK, headline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from minimaxopt_study.results.gather import Results

COLOURS = colormaps["magma"].reversed()  # uniform to the eye, in grey and to the colour-blind too: dark is fooled
NUMBERED = 10  # rounds up to which every cell has its number and every row its name
CELL = (0.6, 0.33)  # inches of a cell with its number
SIDE = 4.9  # inches of a panel whose cells have none
WIDEST = 9.8  # inches of panels abreast
THICK = 1 / 22  # of the rounds: rows that belong to no round are at least so high, that their names fit
GAP = 0.25  # between the rounds and the rest, in units of the rest


def matrix(results: Results) -> dict[str, Any]:
    """Return the data of the matrix: each classifier's mean error over seeds under FGSM1, ..., FGSM-curr."""
    rounds = range(1, results.rounds + 1)
    evaluated = {defence for defence, _, _ in results.rows}
    order = (NO_DEFENSE, *map(adv, rounds), LWA, MINIMAX_GRAD, MINIMAX, ALTERNATING)
    rows = [name for name in order if name in evaluated]
    averaged = f", mean over {len(results.seeds)} seeds" if len(results.seeds) > 1 else ""
    return {
        "title": "Every round's attack on every classifier",
        "caption": (
            f"Matrix. Test error of each classifier (row) under the attacks of all rounds and FGSM-curr (column), for "
            f"each bound eta on the perturbation{averaged}. The paper has no such figure; its Table "
            f"{results.experiment.printed(3)} prints three of the rounds. FGSMk is made against Adv FGSM(k-1), FGSM1 "
            "against the undefended classifier, FGSM-curr against the row's own classifier. The stepped line follows "
            "the diagonal: the cell just left of it is the attack that "
            "the row was trained on, pale where training cured it; the cell just right of it is the next attack, made "
            "against this very row, dark where the chase goes on. Dark cells further left are old attacks that work "
            "again. A row that is pale throughout withstands every round."
        ),
        "rounds": results.rounds,
        "rows": rows,
        "columns": [*(f"FGSM{number}" for number in rounds), "FGSM-curr"],
        "panels": [
            {"eta": eta, "error": [_errors(results, name, eta) for name in rows]} for eta in results.eta if rows
        ],
    }


def _errors(results: Results, defence: str, eta: float) -> list[float | None]:
    rows = [row for seed in results.seeds if (row := results.rows.get((defence, eta, seed))) is not None]
    if not rows:
        return [None] * (results.rounds + 1)
    return [round(fmean(errors), 6) for errors in zip(*((*row.fgsm, row.fgsm_curr) for row in rows), strict=True)]


def draw_matrix(data: Mapping[str, Any]) -> Figure:
    """Draw the matrix from its data: in few rounds with numbers, in many with few names and no numbers."""
    panels, rounds = data["panels"], data["rounds"]
    rows, columns = (_Side.of(data[names], rounds) for names in ("rows", "columns"))
    numbered = rounds <= NUMBERED
    width, height = (CELL[0] * columns.end, CELL[1] * rows.end) if numbered else (SIDE, SIDE)
    abreast = max(1, min(len(panels), int(WIDEST // width)))
    deep = max(1, -(-len(panels) // abreast))
    size = (abreast * (width + 0.15) + 2.0, deep * (height + 0.85) + 0.4)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(wspace=0.04))
    headline(figure, data["title"])
    axes = figure.subplots(deep, abreast, sharey=True, squeeze=False).ravel()
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    if not panels:
        axes[0].text(0.5, 0.5, "not there yet", ha="center", va="center", color=GREY)
        return figure
    for axis, panel in zip(axes, panels, strict=False):
        errors = np.array(panel["error"], dtype=float)  # None becomes NaN
        _colour(axis, errors, rows, columns, lined=numbered)
        _stair(axis, rows, width=2.0 if numbered else 1.1)
        if numbered:
            _numbers(axis, errors, rows, columns)
        _name(axis, rows, columns, every=_sparse(rounds))
        axis.set_title(f"η = {panel['eta']:g}", loc="left", fontsize=10, color=INK)
    _bar(figure, list(axes), aspect=28 * deep)
    return figure


@dataclass(frozen=True)
class _Side:
    """Positions of rows or columns in units of one round; those of no round stand apart and are wide enough for a name.

    Examples:
        >>> _Side.of(["FGSM1", "FGSM2", "FGSM-curr"], 2).begins
        (0.0, 1.0, 2.25)
    """

    names: tuple[str, ...]
    begins: tuple[float, ...]
    sizes: tuple[float, ...]

    @classmethod
    def of(cls, names: Sequence[str], rounds: int) -> _Side:
        thick = max(1.0, THICK * rounds)
        sizes = tuple(1.0 if _round(name) is not None else thick for name in names)
        begins, at = [], 0.0
        for index, (name, size) in enumerate(zip(names, sizes, strict=True)):
            if index and _round(name) is None and _round(names[index - 1]) is not None:
                at += GAP * thick
            begins.append(at)
            at += size
        return cls(tuple(names), tuple(begins), sizes)

    @property
    def end(self) -> float:
        return self.begins[-1] + self.sizes[-1] if self.begins else 1.0

    @property
    def middles(self) -> list[float]:
        return [begin + size / 2 for begin, size in zip(self.begins, self.sizes, strict=True)]

    def edges(self) -> tuple[list[float], list[int]]:
        """Return the edges of the cells from first to last, and the indices of those after a gap."""
        edges, gaps = [0.0], []
        for index, (begin, size) in enumerate(zip(self.begins, self.sizes, strict=True)):
            if begin > edges[-1]:
                gaps.append(index)
                edges.append(begin)
            edges.append(begin + size)
        return edges, gaps


def _round(name: str) -> int | None:
    """Return the round that a row or column belongs to.

    Examples:
        >>> _round("Adv FGSM12"), _round("No defense"), _round("FGSM-curr")
        (12, 0, None)
    """
    if name == NO_DEFENSE:
        return 0
    number = re.search(r"FGSM(\d+)$", name)
    return int(number[1]) if number else None


def _sparse(rounds: int) -> int:
    """Return the interval between rounds that are labelled."""
    return 1 if rounds <= NUMBERED else next((every for every in (2, 5, 10, 20, 50) if rounds <= 8 * every), rounds)


def _colour(axis: Axes, errors: np.ndarray, rows: _Side, columns: _Side, *, lined: bool) -> None:
    (tops, gaps_above), (lefts, gaps_left) = rows.edges(), columns.edges()
    cells = np.insert(np.insert(errors, gaps_above, np.nan, axis=0), gaps_left, np.nan, axis=1)
    lines: dict[str, Any] = {"edgecolors": "white", "linewidth": 1.0} if lined else {"antialiased": False}
    axis.pcolormesh(lefts, tops, np.ma.masked_invalid(cells), cmap=COLOURS, vmin=0, vmax=1, gid="matrix", **lines)
    axis.set_xlim(0, columns.end)
    axis.set_ylim(rows.end, 0)


def _stair(axis: Axes, rows: _Side, *, width: float) -> None:
    """A line between what each round was trained on and what was then made against it."""
    x: list[float] = []
    y: list[float] = []
    for name, top, size in zip(rows.names, rows.begins, rows.sizes, strict=True):
        number = _round(name)
        if number:
            x += [number - 1, number, number] if not x else [number, number]
            y += [top, top, top + size] if not y else [top, top + size]
    effects = [withStroke(linewidth=2.2 * width, foreground="white")]
    axis.plot(x, y, color=BLUE, linewidth=width, solid_joinstyle="miter", path_effects=effects, gid="stair")


def _numbers(axis: Axes, errors: np.ndarray, rows: _Side, columns: _Side) -> None:
    for y, line in zip(rows.middles, errors, strict=True):
        for x, error in zip(columns.middles, line, strict=True):
            text, ink = ("–", GREY) if np.isnan(error) else (f"{error:.2f}", "white" if error > 0.42 else INK)
            axis.text(x, y, text, ha="center", va="center", fontsize=8.5, color=ink, gid="number")


def _name(axis: Axes, rows: _Side, columns: _Side, *, every: int) -> None:
    for side, set_ticks in ((rows, axis.set_yticks), (columns, axis.set_xticks)):
        named = [i for i, name in enumerate(side.names) if (_round(name) or 0) % every == 0]
        set_ticks([side.middles[i] for i in named], [side.names[i] for i in named])
    axis.tick_params(length=0 if every == 1 else 2.5, labelsize=8.5, colors="#444444")
    for label in axis.get_xticklabels():
        label.set(rotation=35 if every == 1 else 90, ha="right", va="center", rotation_mode="anchor")
    for side in axis.spines.values():
        side.set_visible(False)


def _bar(figure: Figure, axes: list[Axes], *, aspect: float) -> None:
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), COLOURS), ax=axes, aspect=aspect, pad=0.015, ticks=ticks)
    bar.set_label("test error", fontsize=9, color=INK)
    bar.ax.set_yticklabels([f"{tick:.0%}" for tick in ticks])
    bar.ax.tick_params(length=0, labelsize=8.5, colors="#444444")
    bar.outline.set_visible(False)
