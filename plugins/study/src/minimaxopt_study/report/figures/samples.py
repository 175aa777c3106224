"""Samples of each attack: Figure 3, and its counterpart on CIFAR-10."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from minimaxopt_study.paper.printed import MNIST
from minimaxopt_study.report.figures.style import GREY, INK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minimaxopt_study.results.gather import Results

HEAD = 0.66  # inches above the panels of Figure 3


def samples_figure(results: Results) -> dict[str, Any]:
    """Return the data of Figure 3 and its CIFAR-10 counterpart: the same images under each attack."""
    panel = results.panel or {"labels": [], "images": {}}
    return {
        "title": "What each attack does to the same images",
        "caption": (
            f"{results.experiment.figure_title('samples')}. Test images and their perturbed versions at eta "
            f"{results.samples_eta:g}; under each its perturbation, magnified to the full range of the colour scale: "
            f"{_scale(results)}. FGSM and IFGSM follow gradients pixel by pixel; attack networks "
            "draw their own patterns."
        ),
        "eta": results.samples_eta,
        "labels": list(panel["labels"]),
        "names": [results.experiment.classes[label] for label in panel["labels"]],
        "panels": [
            {"letter": letter, "name": name, "images": images}
            for letter, (name, images) in zip("abcdefg", panel["images"].items(), strict=False)
        ],
    }


def _scale(results: Results) -> str:
    if results.experiment is MNIST:
        return "orange is brighter, purple is darker, white unchanged"
    return "grey is unchanged, a colour is what was added"


def draw_samples(data: Mapping[str, Any]) -> Figure:
    """Draw Figure 3 or its CIFAR-10 counterpart from its data."""
    panels, count = data["panels"], len(data["labels"])
    figure = Figure(figsize=(1.28 * max(len(panels), 1) + 0.2, 2.36 * max(count, 1) + HEAD))
    if not panels:
        return figure
    outer = figure.add_gridspec(count, len(panels), left=0.01, right=0.99, bottom=0.01,
                                top=1 - HEAD / figure.get_figheight(), wspace=0.05, hspace=0.07)  # fmt: skip
    original = np.asarray(panels[0]["images"], dtype=float)
    strongest = max(float(np.abs(np.asarray(panel["images"], dtype=float) - original).max()) for panel in panels) or 1.0
    coloured = original.ndim == 4
    for column, panel in enumerate(panels):
        images = np.asarray(panel["images"], dtype=float)
        for row in range(count):
            inner = outer[row, column].subgridspec(2, 1, hspace=0.03)
            top, bottom = figure.add_subplot(inner[0]), figure.add_subplot(inner[1])
            change = images[row] - original[row]
            if coloured:  # pixels of red, green and blue in [0, 1]
                top.imshow((images[row] + 1) / 2, gid="image")
            else:
                top.imshow(images[row], cmap="gray", vmin=-1, vmax=1, gid="image")
            if column and coloured:
                bottom.imshow((change / strongest + 1) / 2, gid="image")
            elif column:
                bottom.imshow(change, cmap="PuOr_r", vmin=-strongest, vmax=strongest, gid="image")
            for axis in (top, bottom):
                axis.set_xticks([])
                axis.set_yticks([])
                for side in axis.spines.values():
                    side.set_visible(bool(column) or axis is top)
                    side.set_color("#c8c8c8")
            if row == 0:
                top.set_title(f"({panel['letter']}) {panel['name']}", fontsize=8.2, color=INK, pad=4)
            if column == 0:
                label = data["names"][row] + ("\n\nperturbations\nto the right,\nmagnified" if row == 0 else "")
                bottom.text(
                    0.5, 0.85, label, ha="center", va="top", fontsize=7.5, color=GREY, transform=bottom.transAxes
                )
    figure.suptitle(f"{data['title']}, η = {data['eta']:g}", x=0.012, y=1 - 0.16 / figure.get_figheight(), ha="left",
                    va="top", fontsize=12, fontweight="bold", color=INK)  # fmt: skip
    return figure
