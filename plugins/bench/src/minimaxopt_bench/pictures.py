"""Pictures of the comparison: a phase portrait of each game, and the outcome of every solver on every game."""

from __future__ import annotations

import io
import math
import operator
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optree
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from minimaxopt import Game
from minimaxopt.plot import Plane, Trajectory, phase_portrait, trajectory
from minimaxopt.plugins import write_atomically
from minimaxopt.solvers import SOLVERS
from minimaxopt.testing import KnownGame, known_game
from minimaxopt_bench.cells import Cell, Trial, cached_cell, is_stored
from minimaxopt_bench.outcomes import Array, Ending
from minimaxopt_bench.settings import Settings, optimizers, solver_label, variants
from minimaxopt_bench.summary import Cells, by_class, share_of, standings

DRAWN_SOLVERS = ("simultaneous-gda", "alternating-gda", "extragradient", "sensitivity", "follow-the-ridge", "k-beam")
"""Solvers whose paths are drawn: few enough to be distinguished, and of different kinds."""
SLICE = (-1.4, 1.4)
"""Range of a slice along each axis: 0 is the minimax point, 1 the start."""

_JUMP = 0.1
"""Shortest step of K-beam's follower that counts as a jump, in widths of the game's box for each value."""
_FILLS: dict[Ending, str] = {
    "minimax": "#0072B2",
    "stationary": "#E69F00",
    "cycle": "#CC79A7",
    "slow": "#D9D9D9",
    "divergence": "#8A3324",
}
_SYMBOLS: dict[Ending, str] = {"minimax": "", "stationary": "s", "cycle": "o", "slow": "…", "divergence": "×"}
_LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours of the paths, in the order of ``phase_portrait``."""
_BLUES = ("#c9e2f2", "#56a3d3", "#0b4f7d")


def _mixed_with_white(colour: str, share: float) -> tuple[int, int, int]:
    """Return a colour as it is at the edges of a line, where it covers only a share of the white ground."""
    red, green, blue = (round(share * int(colour[i : i + 2], 16) + (1 - share) * 255) for i in (1, 3, 5))
    return red, green, blue


_PALETTE = [
    *(_mixed_with_white(colour, share) for colour in (*_LINES, "#000000") for share in (1.0, 0.7)),
    (255, 255, 255),
]
"""Colours that every picture keeps."""


# -- phase portraits ---------------------------------------------------------------------------------------------------


class _View(NamedTuple):
    """Arguments of ``phase_portrait`` for a game, with the paths in the coordinates of the picture."""

    base: Game
    ranges: tuple[tuple[float, float], tuple[float, float]]
    directions: tuple[Any, Any] | None
    paths: dict[str, Array]
    points: dict[str, Any]
    impostors: list[tuple[Any, Any]]


def write_portrait(folder: Path, game: str, settings: Settings) -> None:
    """Draw the phase portrait of a game from the stored cells and write it to ``portraits`` in the folder."""
    stored = [solver for solver in DRAWN_SOLVERS if solver in SOLVERS and is_stored(folder, solver, game, settings)]
    cells = [cached_cell(folder, solver, game, settings) for solver in stored]
    figure = portrait(known_game(game), [cell for cell in cells if cell.trials], settings)
    _write(figure, folder / "portraits" / f"{game}.png")


def portrait(known: KnownGame, cells: Sequence[Cell], settings: Settings) -> Figure:
    """Return the phase portrait of a game with the paths of some solvers.

    Args:
        known: the game.
        cells: cells of the solvers, all of this game and with runs.
        settings: settings of the comparison.
    """
    start = known.start(settings.seed)
    paths: dict[str, Trajectory] = {}
    for cell in cells:
        trial, label = _typical_trial(cell, settings)
        solver = SOLVERS[cell.solver](**variants(cell.solver)[trial.variant])
        arguments = optimizers(cell.solver, settings.rates[trial.rate])
        paths[label] = trajectory(start, solver, steps=trial.run.steps, seed=settings.seed, **arguments)
    view = _plane_view(known, start, paths) if known.dimensions == (1, 1) else _slice_view(known, start, paths)
    figure = Figure(figsize=(6.0, 6.4), dpi=90, layout="constrained")
    axes = figure.subplots()
    title = "\n".join([known.name, *textwrap.wrap(_unbroken(known.formula), 72)])
    phase_portrait(
        view.base,
        *view.ranges,
        paths={n: _without_jumps(path, known) if n.startswith("k-beam") else path for n, path in paths.items()},
        points=view.points,
        directions=view.directions,
        ax=axes,
        legend=False,
        title=title if view.directions is None else f"{title} (slice)",
    )
    if view.impostors:
        marker: dict[str, Any] = {"s": 90, "marker": "X", "color": "black", "edgecolors": "white", "zorder": 5}
        axes.scatter(*np.array(view.impostors, dtype=np.float64).T, label="only looks like one", **marker)
    if view.directions is not None:
        scale = "from the marked point (0) to the start (1)"
        axes.set(xlabel=f"leader u, {scale}", ylabel=f"follower v, {scale}")
    axes.title.set_fontsize(10)
    for i, (line, path) in enumerate(zip(list(axes.lines), view.paths.values(), strict=True)):
        # Paths that run together are seen as stripes, the first the widest.
        line.set(linewidth=3.6 - 0.45 * i, path_effects=[])
        axes.plot(*path.T, color=line.get_color(), linewidth=0.4, zorder=3.5)
    handles, labels = axes.get_legend_handles_labels()
    place: Any = "outside lower center"
    figure.legend(handles, labels, loc=place, ncols=2, frameon=False, fontsize=8.5, markerscale=0.6)
    return figure


def _plane_view(known: KnownGame, start: Game, paths: dict[str, Trajectory]) -> _View:
    """Return the view of a game of two numbers, over both of them."""
    return _View(
        base=start,
        ranges=(_widened(*known.box[0]), _widened(*known.box[1])),
        directions=None,
        paths={name: np.column_stack(path) for name, path in paths.items()},
        points={"minimax point": [(p.u, p.v) for p in known.minimax_points]} if known.minimax_points else {},
        impostors=[(p.u, p.v) for p in known.impostors],
    )


def _slice_view(known: KnownGame, start: Game, paths: dict[str, Trajectory]) -> _View:
    """Return the view of a larger game, on the slice through a minimax point (or an impostor) and the start."""
    marked = (known.minimax_points or known.impostors)[0]
    base = known.game(marked.u, marked.v)
    directions = _difference(start.u, base.u), _difference(start.v, base.v)
    plane = Plane(base, directions)
    projected = {n: np.column_stack([plane.along("u", path.u), plane.along("v", path.v)]) for n, path in paths.items()}
    u_range = _span(plane.allowed("u", *SLICE), [path[:, 0] for path in projected.values()])
    v_range = _span(plane.allowed("v", *SLICE), [path[:, 1] for path in projected.values()])
    # Other points lie beside the slice, and would be drawn where they are not.
    points: dict[str, Any] = {"minimax point": (0.0, 0.0)} if known.minimax_points else {}
    return _View(base, (u_range, v_range), directions, projected, points, [] if points else [(0.0, 0.0)])


def _without_jumps(path: Trajectory, known: KnownGame) -> Trajectory:
    """Leave out the jumps from one of several followers to another, which would cover the picture."""
    u, v = (np.array(x, dtype=np.float64).reshape(len(x), -1) for x in path)
    shortest = _JUMP * (known.box[1][1] - known.box[1][0]) * math.sqrt(v.shape[1])
    after = 1 + np.flatnonzero(np.linalg.norm(np.diff(v, axis=0), axis=1) > shortest)
    after = after[after < len(v) - 1]
    u, v = (np.insert(x, after, np.nan, axis=0) for x in (u, v))
    return Trajectory(*(x[:, 0] if x.shape[1] == 1 else x for x in (u, v)))


def _typical_trial(cell: Cell, settings: Settings) -> tuple[Trial, str]:
    """Return the run that stands for a cell, and its label.

    It is one from the first start that ends as the cell does, with the smallest rate, whose path is the smoothest.
    """
    first_start = [trial for trial in cell.trials if trial.seed == settings.seed]
    typical = [trial for trial in first_start if trial.run.ending == cell.ending] or first_start
    chosen = min(typical, key=lambda t: (settings.rates[t.rate].decays, settings.rates[t.rate].size, t.variant))
    label = solver_label(cell.solver, variants(cell.solver)[chosen.variant])
    return chosen, f"{label}, {settings.rates[chosen.rate]}: {chosen.run.ending}"


def _widened(low: float, high: float) -> tuple[float, float]:
    """Return an interval with a margin, so that points on the boundary of a domain are shown whole."""
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def _span(allowed: tuple[float, float], paths: Sequence[Array]) -> tuple[float, float]:
    """Return the range that a slice shows of an axis: the allowed part, and the paths within ``SLICE``."""
    values = np.concatenate([*paths, np.array(allowed)])
    visible = values[(values >= SLICE[0]) & (values <= SLICE[1])]
    low, high = _widened(float(visible.min()), float(visible.max()))
    return max(low, SLICE[0]), min(high, SLICE[1])


def _unbroken(formula: str) -> str:
    """Keep the sides of a relation on one line."""
    for sign in ("<=", ">=", "<", ">", "="):
        formula = formula.replace(f" {sign} ", f"\u00a0{sign}\u00a0")
    return formula


def _difference(a: Any, b: Any) -> Any:
    """Return ``a - b``, tensor by tensor."""
    return optree.tree_map(operator.sub, a, b)


# -- the picture of all outcomes ---------------------------------------------------------------------------------------


def write_summary(folder: Path, cells: Cells) -> None:
    """Draw the outcome of every solver on every game and write it as ``summary.png``."""
    _write(summary(cells), folder / "summary.png")


def summary(cells: Cells) -> Figure:
    """Return a picture with a row for each solver and a column for each game, grouped by class."""
    solvers = [standing.solver for standing in standings(cells)]
    groups = by_class(list(dict.fromkeys(game for _, game in cells)))
    games = [game for members in groups.values() for game in members]
    blues = LinearSegmentedColormap.from_list("evaluations", _BLUES[::-1])
    costs = [cells[s, g].evaluations for s in solvers for g in games if math.isfinite(cells[s, g].evaluations)]
    low, high = math.log10(max(min(costs, default=1), 1)), math.log10(max(max(costs, default=10), 10))
    image = np.ones((len(solvers), len(games), 3))
    size = 3.2 + 0.245 * len(games), 2.6 + 0.26 * len(solvers)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    axes = figure.subplots()
    for i, solver in enumerate(solvers):
        for j, game in enumerate(games):
            cell = cells[solver, game]
            if cell.ending is None:
                continue
            image[i, j] = to_rgb(_FILLS[cell.ending])
            text, ink = _SYMBOLS[cell.ending], "white" if cell.ending == "divergence" else "#333333"
            if cell.ending == "minimax":
                part = (math.log10(max(cell.evaluations, 1)) - low) / max(high - low, 1e-9)
                image[i, j] = blues(part)[:3]
                ink = "white" if part < 0.6 else "#333333"
            if 0 < share_of(cell) < 1:
                text = str(cell.share[0])
            axes.text(j, i, text, ha="center", va="center", color=ink, fontsize=7.5)
    axes.imshow(image, aspect="auto")
    axes.set_xticks(range(len(games)), games, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(solvers)), solvers, fontsize=9)
    axes.set_xticks(np.arange(-0.5, len(games)), minor=True)
    axes.set_yticks(np.arange(-0.5, len(solvers)), minor=True)
    axes.grid(which="minor", color="white", linewidth=1.2)
    axes.tick_params(length=0, which="both")
    axes.spines[:].set_visible(False)
    _add_class_titles(axes, groups)
    starts = max((cell.share[1] for cell in cells.values() if cell.best is not None), default=1)
    _add_key(figure, blues, (low, high), starts)
    return figure


def _add_class_titles(axes: Axes, groups: dict[str, list[str]]) -> None:
    edge = 0
    for name, members in groups.items():
        title = "\n".join(name.rsplit(" ", 1)) if len(members) < 5 else name.replace(", ", ",\n")
        axes.text(edge + len(members) / 2 - 0.5, -0.75, title, ha="center", va="bottom", fontsize=10, fontweight="bold")
        edge += len(members)
        if edge < sum(map(len, groups.values())):
            axes.axvline(edge - 0.5, color="#333333", linewidth=1.6)


def _add_key(figure: Figure, blues: Any, exponents: tuple[float, float], starts: int) -> None:
    ends = [f"{round(10**x, -1 if x > 2 else 0):.0f}" for x in exponents]
    handles = [Patch(color=blues(part)) for part in (0.0, 1.0)]
    labels = [f"minimax point, after {ends[0]}", f"to {ends[1]} gradient evaluations"]
    words: dict[Ending, str] = {
        "stationary": "stationary elsewhere",
        "cycle": "cycle",
        "slow": "slow",
        "divergence": "divergence",
    }
    for ending, word in words.items():
        handles.append(Patch(color=_FILLS[ending]))
        labels.append(f"{_SYMBOLS[ending]}  {word}")
    handles.append(Patch(color="none"))
    labels.append(f"digit: starts of {starts} that end at a minimax point")
    place: Any = "outside lower center"
    columns = len(labels) if figure.get_figwidth() > 12 else 2
    figure.legend(handles, labels, loc=place, ncols=columns, frameon=False, fontsize=9, handlelength=1.2)


def _write(figure: Figure, path: Path) -> None:
    """Write a figure as PNG with a palette, a third of the size of full colour."""
    raw, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png")
    picture = Image.open(raw).convert("RGB")
    # By itself the palette would go to the shades of the background, and none to the thin lines.
    common = picture.quantize(256 - len(_PALETTE), dither=Image.Dither.NONE).getpalette() or []
    palette = np.array([*_PALETTE, *np.reshape(common, (-1, 3))], dtype=np.int32)[:256]
    colours, positions = np.unique(np.asarray(picture, dtype=np.int32).reshape(-1, 3), axis=0, return_inverse=True)
    nearest = np.square(colours[:, None] - palette).sum(-1).argmin(1).astype(np.uint8)
    image = Image.fromarray(nearest[positions].reshape(picture.size[::-1]), "P")
    image.putpalette([int(part) for part in palette.ravel()])
    image.save(packed, format="png", optimize=True)
    write_atomically(path, packed.getvalue())
