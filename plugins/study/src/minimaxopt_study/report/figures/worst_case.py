"""The figure of the three worst cases: printed, here under the paper's attacks, here under modern attacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from minimaxopt_study.report.figures.style import BLUE, GREY, INK, VERMILION, headline
from minimaxopt_study.results.modern_worst_case import worst_cases

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minimaxopt_study.results.gather import Results

LABELS = {"printed": "printed in the paper", "here": "here, the paper's attacks", "today": "here, today's attacks"}


def worst_figure(results: Results) -> dict[str, Any]:
    """Return the data of the figure: for each eta and row the three worst errors, and the interval of the last."""
    cases = worst_cases(results)
    images = max((case.worst.as_json()["images"] for case in cases), default=0)
    return {
        "title": "The worst case that the paper's attacks show, and today's",
        "caption": (
            "Worst. Largest test error of each classifier (row): as the paper's tables print it, here under the same "
            "attacks (FGSM of the printed rounds and against itself, and attack networks), and here under today's "
            "(iterated attacks with restarts, transferred images, AutoAttack where it was run) on the first "
            f"{images:,} test {results.experiment.many}, an image counting as soon as one of them fools the "
            f"classifier. Bars are 95% intervals of these {images:,}; the paper's attacks are counted on all "
            f"{results.test_images:,}. A long line is robustness that only they see."
        ),
        "panels": [
            {
                "eta": eta,
                "rows": [
                    {
                        "name": case.row,
                        "printed": case.printed,
                        "here": case.here,
                        "today": round(case.worst.mean, 6),
                        "interval": case.worst.interval,
                    }
                    for case in cases
                    if case.eta == eta
                ],
            }
            for eta in results.eta
            if any(case.eta == eta for case in cases)
        ],
    }


def draw_worst(data: Mapping[str, Any]) -> Figure:
    """Draw the picture from its data."""
    panels = data["panels"]
    deepest = max((len(panel["rows"]) for panel in panels), default=1)
    figure = Figure(figsize=(max(5.0, 4.3 * len(panels) + 1.2), 0.36 * deepest + 1.7), layout="constrained")
    headline(figure, data["title"])
    axes = figure.subplots(1, max(len(panels), 1), sharey=True, squeeze=False)[0]
    for axis, panel in zip(axes, panels, strict=False):
        for height, row in enumerate(panel["rows"]):
            if row["here"] is not None:
                axis.plot([row["here"], row["today"]], [height, height], color="#cccccc", linewidth=2.2, zorder=1)
                axis.plot(row["here"], height, "o", color=BLUE, markersize=6, gid="here")
            if row["interval"] is not None:
                axis.plot(row["interval"], [height, height], color=VERMILION, linewidth=1.2, alpha=0.7, zorder=2)
            axis.plot(row["today"], height, "D", color=VERMILION, markersize=5.5, gid="today")
            if row["printed"] is not None:
                axis.plot(row["printed"], height, "o", markerfacecolor="none", markeredgecolor=GREY, markersize=6.5,
                          gid="printed")  # fmt: skip
        axis.set_title(f"η = {panel['eta']:g}", loc="left", fontsize=10, color=INK)
        axis.set_xlim(-0.02, 1.02)
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0%", "25%", "50%", "75%", "100%"])
        axis.set_ylim(len(panel["rows"]) - 0.5, -0.5)
        axis.set_yticks(range(len(panel["rows"])), [row["name"] for row in panel["rows"]])
        axis.grid(axis="x", color="#e6e6e6", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.tick_params(length=0, labelsize=8.5, colors="#444444")
        axis.set_xlabel("worst test error", fontsize=9)
        for side in axis.spines.values():
            side.set_visible(False)
    if panels:
        handles = [
            axes[0].plot([], [], "o", markerfacecolor="none", markeredgecolor=GREY, label=LABELS["printed"])[0],
            axes[0].plot([], [], "o", color=BLUE, label=LABELS["here"])[0],
            axes[0].plot([], [], "D", color=VERMILION, label=LABELS["today"])[0],
        ]
        figure.legend(handles=handles, loc="outside lower left", ncols=3, frameon=False, fontsize=8.5)
    return figure
