"""The GENKI comparison as a picture: test faces above, the cross-validation over ``rho`` below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minimaxopt_privacy.evaluation.curve import COLOURS
from minimaxopt_privacy.genki.outcome import Outcome, best_candidate
from minimaxopt_privacy.genki.protocol import FIXED_DIMENSION
from minimaxopt_privacy.genki.published import DIMENSIONS, README
from minimaxopt_privacy.genki.report import TEST_FACES, rows


def plot(outcome: Outcome, path: str | Path) -> None:
    """Draw smile against gender on the test faces, a panel for each dimension, and the sweep over ``rho`` below.

    Args:
        outcome: the comparison.
        path: the picture; its ending names the format, as in matplotlib.
    """
    from matplotlib.figure import Figure

    dimensions = outcome.protocol.dimensions
    figure = Figure(figsize=(max(9.0, 3.3 * len(dimensions)), 8.6), layout="constrained")
    panels: Any = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    upper, lower = panels
    _draw_faces(upper, outcome)
    _draw_sweep(lower, outcome)
    figure.savefig(path, dpi=150)


def _draw_faces(figure: Any, outcome: Outcome) -> None:
    table = rows(outcome)
    dimensions = outcome.protocol.dimensions
    bases = dict.fromkeys(row["method"].partition("@")[0] for row in table)
    noiseless = dict.fromkeys(base.partition("+")[0] for base in bases)
    palette = dict(zip(noiseless, COLOURS * 3, strict=False))
    colours = {base: palette[base.partition("+")[0]] for base in bases}  # noise changes the marker, not the colour
    panels = np.atleast_1d(figure.subplots(1, len(dimensions), sharex=True, sharey=True))
    handles: dict[str, Any] = {}
    for dimension, axes in zip(dimensions, panels, strict=True):
        for row in table:
            if row["dimension"] != dimension and row["method"] not in FIXED_DIMENSION:
                continue
            base, _, fixed_rho = row["method"].partition("@")
            x, y = row["leakage"], row["useful"]
            ends = [
                [[mean - row[f"{name}_interval"][0]], [row[f"{name}_interval"][1] - mean]]
                for name, mean in (("useful", y), ("leakage", x))
            ]
            marker = "D" if fixed_rho else "^" if "+" in base else "o"
            bars = axes.errorbar(
                [x], [y], *np.abs(ends), marker, color=colours[base], alpha=0.85, elinewidth=0.5, markersize=6,
                markerfacecolor="white" if fixed_rho else colours[base],
            )  # fmt: skip
            handles.setdefault(f"{base}, ρ = {fixed_rho}" if fixed_rho else base, bars)
        if dimension == DIMENSIONS[0]:
            for name, (smile, gender) in README.items():
                axes.plot(gender, smile, "x", color=colours.get(name, "black"), markersize=9, mew=2)
            (handles["as published"],) = axes.plot([], [], "x", color="black", markersize=9, mew=2)
        axes.axvline(0.5, color="grey", linestyle=":")
        axes.set_title(f"{dimension} numbers published", fontsize=10)
        axes.set_xlabel("gender read by the worst attacker")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("smile read")
    figure.suptitle(f"{TEST_FACES} test faces, 95% intervals: up and to the left is better", fontsize=11)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=7, frameon=False, fontsize=8)


def _draw_sweep(figure: Any, outcome: Outcome) -> None:
    panels = figure.subplots(1, 2)
    colours = dict(zip(outcome.protocol.dimensions, COLOURS * 3, strict=False))
    for (method, dimension), choice in outcome.choices.items():
        if "@" in method or not any("rho" in row["settings"] for row in choice.tried):
            continue
        sweep = _best_by_rho(choice.tried, outcome.protocol.target)
        rhos = [row["settings"]["rho"] for row in sweep]
        for axes, name in zip(panels, ("leakage", "useful"), strict=True):
            axes.plot(
                rhos, [row[name] for row in sweep], "o-" if method == "linear" else "s--", color=colours[dimension],
                label=f"{method}, d = {dimension}",
            )  # fmt: skip
    for axes, label in zip(panels, ("gender read by the worse of two attackers", "smile read"), strict=True):
        axes.set(xscale="log", xlabel="ρ, the price of utility", ylabel=label)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].axhline(0.5, color="grey", linestyle=":")
    panels[1].axhline(outcome.protocol.target, color="grey", linestyle=":")
    figure.suptitle("Cross-validation on the training faces: the best candidate at each ρ", fontsize=11)
    if panels[0].get_legend_handles_labels()[0]:
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=8
        )


def _best_by_rho(tried: Sequence[Mapping[str, Any]], target: float) -> list[Mapping[str, Any]]:
    """Return the best candidate at each ``rho``, in growing order."""
    rhos = sorted({row["settings"]["rho"] for row in tried})
    return [best_candidate([row for row in tried if row["settings"]["rho"] == rho], target) for rho in rhos]
