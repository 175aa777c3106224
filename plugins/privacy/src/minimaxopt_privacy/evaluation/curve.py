"""The trade-off curve between utility and leakage: its points, its table and its picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, final

import numpy as np

from minimaxopt.plugins import markdown_table

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999", "#882255", "#44AA99")


@final
@dataclass(frozen=True)
class Point:
    """One method at one ``rho``: mean utility and leakage over the seeds.

    Attributes:
        method: its name.
        rho: price of utility; ``None`` for a method that has none.
        useful: mean utility.
        useful_margin: half the width of its 95% interval; NaN for a single seed.
        leakage: mean leakage, by the worst family for each seed.
        leakage_margin: half the width of its 95% interval; NaN for a single seed.
        families: mean score on the private labels by family of predictors.
        seeds: number of seeds.
    """

    method: str
    rho: float | None
    useful: float
    useful_margin: float
    leakage: float
    leakage_margin: float
    families: Mapping[str, float]
    seeds: int


@final
@dataclass(frozen=True)
class Curve:
    """Evaluations of several methods over ``rho`` and seeds, on one data set.

    Args:
        rows: one for each method, ``rho`` and seed, with keys ``method``, ``rho``, ``seed`` and ``evaluation``.
        labels: names of the useful and of the private label.
        chance: score on the private label of a predictor that sees nothing.

    Examples:
        >>> row = {"method": "pca", "rho": None, "evaluation": {"useful": 0.9, "leakage": 0.6, "private": []}}
        >>> curve = Curve([{**row, "seed": 0}, {**row, "seed": 1}], ("digit", "parity"), 0.5)
        >>> curve.points()[0].useful, curve.points()[0].useful_margin
        (0.9, 0.0)

    Source: this library.
    """

    rows: Sequence[Mapping[str, Any]]
    labels: tuple[str, str]
    chance: float

    def points(self) -> list[Point]:
        """Return the means over the seeds, by method and ``rho`` in the order of ``rows``."""
        groups: dict[tuple[str, float | None], list[Mapping[str, Any]]] = {}
        for row in self.rows:
            groups.setdefault((row["method"], row["rho"]), []).append(row["evaluation"])
        points: list[Point] = []
        for (method, rho), evaluations in groups.items():
            useful, leakage = ([evaluation[name] for evaluation in evaluations] for name in ("useful", "leakage"))
            scores: dict[str, list[float]] = {}
            for evaluation in evaluations:
                for reading in evaluation["private"]:
                    for score in reading["scores"]:
                        scores.setdefault(score["family"], []).append(score["value"])
            families = {name: float(np.mean(values)) for name, values in scores.items()}
            margins = mean_and_margin(useful), mean_and_margin(leakage)
            points.append(Point(method, rho, *margins[0], *margins[1], families, len(evaluations)))
        return points

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the column titles and the rows: a row for each point, with 95% intervals over the seeds."""
        points = self.points()
        families = list(dict.fromkeys(name for point in points for name in point.families))
        columns = ["method", "rho", f"{self.labels[0]} kept", f"{self.labels[1]} told (worst)", *families, "seeds"]
        rows = [
            [
                point.method,
                "" if point.rho is None else f"{point.rho:g}",
                _with_margin(point.useful, point.useful_margin),
                _with_margin(point.leakage, point.leakage_margin),
                *(f"{point.families[name]:.3f}" if name in point.families else "" for name in families),
                str(point.seeds),
            ]
            for point in points
        ]
        return columns, rows

    def note(self) -> str:
        """Return the sentence below the table: the score of a guess."""
        return f"Whoever sees nothing guesses the {self.labels[1]} with {self.chance:.3f}."

    def markdown(self) -> str:
        """Return the table and the note below it as Markdown."""
        return f"{markdown_table(*self.table())}\n\n{self.note()}\n"

    def plot(self, path: str | Path) -> None:
        """Draw utility against leakage: a line over ``rho`` for each minimax filter, a mark for each other method.

        Args:
            path: the picture; its ending names the format, as in matplotlib.
        """
        # matplotlib takes long to import.
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.5, 5.2), layout="constrained")
        axes: Any = figure.subplots()
        points = self.points()
        for colour, method in zip(cycle(COLOURS), dict.fromkeys(point.method for point in points), strict=False):
            line = sorted((point for point in points if point.method == method), key=lambda point: point.rho or 0.0)
            x, y = [p.leakage for p in line], [p.useful for p in line]
            xerr, yerr = [_bar(p.leakage_margin) for p in line], [_bar(p.useful_margin) for p in line]
            style = "o-" if len(line) > 1 else "s"
            axes.errorbar(x, y, yerr, xerr, style, color=colour, capsize=2, linewidth=1.8, label=method)
            if len(line) > 1:
                low, high = ([v + side * w for v, w in zip(y, yerr, strict=True)] for side in (-1, 1))
                axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
                for p in (line[0], line[-1]):
                    axes.annotate(f"ρ = {p.rho:g}", (p.leakage, p.useful), xytext=(5, -11), textcoords="offset points")
        axes.set_xlim(_clipped_limits(axes.get_xlim(), [p.leakage for p in points]))
        axes.set_ylim(_clipped_limits(axes.get_ylim(), [p.useful for p in points]))
        axes.axvline(self.chance, color="grey", linestyle=":")
        axes.text(self.chance, 0.02, " a guess", transform=axes.get_xaxis_transform(), color="grey")
        axes.set(xlabel=f"{self.labels[1]} read by the worst fresh attacker", ylabel=f"{self.labels[0]} read")
        axes.set_title("Up and to the left is better; bars are 95% intervals over seeds", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        figure.savefig(path, dpi=150)


def mean_and_margin(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean, and half the width of its 95% interval by Student's t; NaN for a single value.

    >>> [round(number, 3) for number in mean_and_margin([0.0, 1.0, 2.0])]
    [1.0, 2.484]
    """
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.nan
    return mean, float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))


def _with_margin(mean: float, margin: float) -> str:
    """Return a mean with its margin as a table shows it.

    >>> _with_margin(0.5, 0.02), _with_margin(0.5, math.nan)
    ('0.500 ± 0.020', '0.500')
    """
    return f"{mean:.3f}" if math.isnan(margin) else f"{mean:.3f} ± {margin:.3f}"


def _bar(margin: float) -> float:
    """Return the length of an error bar: none for a single seed."""
    return 0.0 if math.isnan(margin) else margin


def _clipped_limits(limits: tuple[float, float], scores: Sequence[float]) -> tuple[float, float]:
    """Return the limits of an axis, clipped to the range of possible scores, which intervals of few seeds exceed.

    >>> _clipped_limits((-0.5, 1.3), [0.2, 0.9])
    (-0.02, 1.02)
    """
    return max(limits[0], min(0.0, *scores) - 0.02), min(limits[1], 1.02)
