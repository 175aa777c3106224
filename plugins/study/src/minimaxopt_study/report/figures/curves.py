"""Curves over trainings: Figures 1 and 2 of MNIST, 4 and 5 of CIFAR-10."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from minimaxopt_study.paper.names import ALTERNATING, MAXIMIN, MINIMAX
from minimaxopt_study.paper.printed import MNIST
from minimaxopt_study.report.figures.style import BLUE, GREEN, INK, VERMILION, headline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from minimaxopt_study.results.gather import Results

GAME_COLOURS = {MINIMAX: BLUE, ALTERNATING: GREEN, MAXIMIN: VERMILION}  # the paper's blue, green and red
GRAD_STYLE = {"clean": (BLUE, "-"), "FGSM-curr": (VERMILION, "-")}
NONE_SEEN = 5e-4  # where an error of zero is drawn on a logarithmic axis
READS_THE_LABEL = 0.1  # share of images classified as the wrong class given to the attack network; by chance far less


def training_figure(results: Results) -> dict[str, Any]:
    """Return the data of Figures 1 and 4: clean and FGSM-curr error over the training of Minimax-Grad, for each eta."""
    curves = [
        {"eta": eta, "seed": seed, "name": name, "step": list(curve["step"]), "error": list(curve[name])}
        for (eta, seed), curve in sorted(results.grad_curves.items())
        for name in GRAD_STYLE
        if curve.get("step")
    ]
    return {
        "title": "Minimax-Grad learns to withstand the attack that is made against it",
        "caption": (
            f"{results.experiment.figure_title('training')}. Test error of Minimax-Grad during its training, on clean "
            "images and on images that FGSM perturbs against the classifier of that moment (FGSM-curr), for each "
            "bound eta on the perturbation. At step 0 it is the classifier that the training starts from. The scale "
            "is logarithmic." + _counted(results)
        ),
        "curves": curves,
    }


def games_figure(results: Results) -> dict[str, Any]:
    """Return the data of Figures 2 and 5: test error of the pair (u_i, v_i) over each game, from all starts."""
    curves: list[dict[str, Any]] = [
        {"name": name, "seed": seed, "start": start, "step": list(curve["step"]), "error": list(curve["pair"])}
        for (name, seed, start), curve in sorted(results.pair_curves.items())
        if curve.get("step")
    ]
    ends = {
        name: float(np.mean([curve["error"][-5:] for curve in curves if curve["name"] == name]))
        for name in GAME_COLOURS
        if any(curve["name"] == name for curve in curves)
    }
    order = ", ".join(f"{name} {end:.3f}" for name, end in sorted(ends.items(), key=lambda item: -item[1]))
    return {
        "title": "Three ways to play the same game, and where each ends",
        "caption": (
            f"{results.experiment.figure_title('games')}. Test error of the classifier u_i on the images that the "
            f"attack network v_i of the same moment perturbs, over the games at eta {results.games_eta:g}, each from "
            f"{_starts(curves)}. {_shown_on_mnist(results)}here, from top to bottom: {order or 'not there yet'} (mean "
            f"of the last five evaluations). The scale is logarithmic, with no error at all drawn as {NONE_SEEN:.2%}."
            f"{_counted(results)}{_reading(results)}"
        ),
        "eta": results.games_eta,
        "ends": ends,
        "curves": curves,
    }


def _starts(curves: Sequence[Mapping[str, Any]]) -> str:
    """Return the number of starts of each game, in words."""
    count = len({(curve["seed"], curve["start"]) for curve in curves})
    return f"{count} random start{'' if count == 1 else 's'}"


def _shown_on_mnist(results: Results) -> str:
    if results.experiment is not MNIST:
        return "The curves end, "
    return "The paper shows Minimax-AttNet ending on top, Alt-AttNet in the middle, Maximin-AttNet at the bottom; "


def _counted(results: Results) -> str:
    """Return the sentence on the number of images, where the tables have more."""
    fewer = results.curve_images < results.test_images
    return f" Counted on {results.curve_images:,} of the {results.test_images:,} images of the tables." if fewer else ""


def _reading(results: Results) -> str:
    """Return why Maximin-AttNet can end below its clean error, where this was measured."""
    shares = [share for (name, _, _), share in results.misled.items() if name == MAXIMIN]
    if not shares or min(shares) < READS_THE_LABEL:
        return ""
    return (
        f" {MAXIMIN} ends so low because its attack network, which sees the label, writes it into the image, and its "
        "classifier reads it there: told a wrong label, the pair answers with that label on "
        f"{float(np.mean(shares)):.0%} of the images."
    )


def draw_training(data: Mapping[str, Any]) -> Figure:
    """Draw Figure 1 or 4 from its data."""
    etas = sorted({curve["eta"] for curve in data["curves"]})
    figure = Figure(figsize=(max(4.2, 3.7 * len(etas)), 3.9), layout="constrained")
    axes = figure.subplots(1, max(len(etas), 1), sharey=True, squeeze=False)[0]
    for axis, eta in zip(axes, etas, strict=False):
        curves = [curve for curve in data["curves"] if curve["eta"] == eta]
        for curve in curves:
            colour, style = GRAD_STYLE[curve["name"]]
            axis.plot(curve["step"], _visible(curve["error"]), style, color=colour, linewidth=1.8, gid="curve")
        groups = {name: ([c for c in curves if c["name"] == name], GRAD_STYLE[name][0]) for name in GRAD_STYLE}
        _label_ends(axis, groups, room=0.42)
        axis.set_title(f"η = {eta:g}", loc="left", fontsize=10, color=INK)
        axis.set_yscale("log")
        axis.set_xlabel("step", fontsize=9)
    for axis in axes:
        _percent_axis(axis, [error for curve in data["curves"] for error in _visible(curve["error"])])
        _clean(axis)
    axes[0].set_ylabel("test error", fontsize=9)
    headline(figure, data["title"])
    return figure


def draw_games(data: Mapping[str, Any]) -> Figure:
    """Draw Figure 2 or 5 from its data."""
    figure = Figure(figsize=(7.4, 4.4), layout="constrained")
    axis = figure.subplots()
    for curve in data["curves"]:
        axis.plot(curve["step"], _visible(curve["error"]), color=GAME_COLOURS[curve["name"]], linewidth=1.6,
                  alpha=0.85, gid="curve")  # fmt: skip
    groups = {name: ([c for c in data["curves"] if c["name"] == name], colour) for name, colour in GAME_COLOURS.items()}
    _label_ends(axis, groups, room=0.26, finals=data["ends"])
    axis.set_yscale("log")
    _percent_axis(axis, [error for curve in data["curves"] for error in _visible(curve["error"])])
    axis.set_xlabel("step", fontsize=9)
    axis.set_ylabel("test error of the pair (u, v)", fontsize=9)
    _clean(axis)
    axis.set_title(f"η = {data['eta']:g}, {_starts(data['curves'])} each", loc="left", fontsize=10, color=INK)
    headline(figure, data["title"])
    return figure


def _visible(errors: Sequence[float]) -> list[float]:
    """Return errors as they are drawn on a logarithmic axis, which has no place for 0."""
    return [max(error, NONE_SEEN) for error in errors]


def _label_ends(axis: Axes, groups: Mapping[str, tuple[list[dict[str, Any]], str]], room: float,
                finals: Mapping[str, float] | None = None) -> None:  # fmt: skip
    """Write each group's name where its curves end, moved apart where they end together.

    ``room`` is the space for the names, as a share of the axis with data; the numbers are ``finals``, or the last ones.
    """
    ends = sorted(
        ((finals or {}).get(name, float(np.mean([c["error"][-1] for c in curves]))), name, curves, colour)
        for name, (curves, colour) in groups.items()
        if curves
    )
    if not ends:
        return
    low, high = _limits([error for _, _, curves, _ in ends for curve in curves for error in _visible(curve["error"])])
    gap = 0.075 * (np.log(high) - np.log(low))
    heights: list[float] = []
    for end in (float(np.log(_visible([final])[0])) for final, *_ in ends):
        heights.append(max(end, heights[-1] + gap if heights else float(np.log(low)) + 0.5 * gap))
    last = max(curve["step"][-1] for _, _, curves, _ in ends for curve in curves)
    for height, (final, name, _, colour) in zip(heights, ends, strict=True):
        axis.text(last * 1.025, float(np.exp(height)), f"{name}\n{final:.1%}", color=colour, fontsize=8.5, va="center",
                  fontweight="bold", linespacing=1.05)  # fmt: skip
    axis.set_xlim(0, last * (1 + room))
    axis.set_xticks([tick for tick in axis.get_xticks() if 0 <= tick <= last])


def _limits(errors: Sequence[float]) -> tuple[float, float]:
    return (max(min(errors) * 0.8, 4e-4), 1.05) if errors else (0.01, 1.05)


def _percent_axis(axis: Axes, errors: Sequence[float]) -> None:
    low, high = _limits(errors)
    few = low > 0.15  # of powers and halves there would be two
    every = [n / 10 for n in range(1, 11)] if few else [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
    ticks = [tick for tick in every if low <= tick <= high]
    axis.set_yscale("log")
    axis.set_ylim(low, high)
    axis.set_yticks(ticks, [f"{tick:.0%}" if tick >= 0.01 else f"{tick:.1%}" for tick in ticks], fontsize=8.5)
    axis.set_yticks([], minor=True)


def _clean(axis: Axes) -> None:
    axis.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(length=0, labelsize=8.5, colors="#444444")
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color("#bbbbbb")
