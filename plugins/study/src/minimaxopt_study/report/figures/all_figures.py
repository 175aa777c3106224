"""The figures of a report: their file names, their data and their drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from minimaxopt_study.paper.printed import FIGURE_KINDS, Experiment, FigureKind
from minimaxopt_study.report.figures.curves import draw_games, draw_training, games_figure, training_figure
from minimaxopt_study.report.figures.matrix import draw_matrix, matrix
from minimaxopt_study.report.figures.samples import draw_samples, samples_figure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from minimaxopt_study.results.gather import Results

Picture = tuple["Callable[[Results], dict[str, Any]]", "Callable[[Mapping[str, Any]], Figure]"]
PICTURES: dict[FigureKind, Picture] = {
    "training": (training_figure, draw_training),
    "games": (games_figure, draw_games),
    "samples": (samples_figure, draw_samples),
    "matrix": (matrix, draw_matrix),
}


def figures_of(experiment: Experiment) -> dict[str, Picture]:
    """Return the file name of each figure of a data set, with the functions for its data and its drawing.

    Examples:
        >>> from minimaxopt_study.paper.printed import CIFAR10, MNIST
        >>> list(figures_of(MNIST)), list(figures_of(CIFAR10))
        (['fig1', 'fig2', 'fig3', 'matrix'], ['fig4', 'fig5', 'samples', 'matrix'])
    """
    return dict(zip(experiment.figures, (PICTURES[kind] for kind in FIGURE_KINDS), strict=True))
