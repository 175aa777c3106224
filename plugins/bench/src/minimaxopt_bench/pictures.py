"""The pictures of a bench: a phase portrait of each game, and the outcome of every solver on every game."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optree

from minimaxopt._types import Tree
from minimaxopt.plot import phase_portrait
from minimaxopt.plot.plane import PLAYERS, Array, Plane
from minimaxopt.plot.trajectory import Trajectory, trajectory
from minimaxopt.results import storage
from minimaxopt.solvers import SOLVERS
from minimaxopt.testing import KnownGame, known_game
from minimaxopt_bench.cells import Cell, Trial, stored
from minimaxopt_bench.outcomes import Ending
from minimaxopt_bench.settings import Settings, optimizers, variants, written
from minimaxopt_bench.summary import Cells, by_class, share_of, standings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = ("simultaneous-gda", "alternating-gda", "extragradient", "sensitivity", "follow-the-ridge", "k-beam")
"""Solvers whose ways are drawn: few enough to be told apart, and of different kinds."""
SLICE = (-1.4, 1.4)
"""What a slice shows: 0 is the minimax point, 1 the start."""

_JUMP = 0.1
"""How far K-beam's follower goes in a step that counts as a jump, in widths of the game's box for each value."""
_FILLS: dict[Ending, str] = {
    "minimax": "#0072B2",
    "stationary": "#E69F00",
    "cycle": "#CC79A7",
    "slow": "#D9D9D9",
    "divergence": "#8A3324",
}
_SIGNS: dict[Ending, str] = {"minimax": "", "stationary": "s", "cycle": "o", "slow": "…", "divergence": "×"}
_LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""The colours of the ways, as ``phase_portrait`` gives them."""
_BLUES = ("#c9e2f2", "#56a3d3", "#0b4f7d")


def _ink(colour: str, share: float) -> tuple[int, int, int]:
    """Return a colour mixed with white, as it is at the edges of a line."""
    red, green, blue = (round(share * int(colour[i : i + 2], 16) + (1 - share) * 255) for i in (1, 3, 5))
    return red, green, blue


_INKS = [_ink(colour, share) for colour in (*_LINES, "#000000") for share in (1.0, 0.7)] + [(255, 255, 255)]


# -- phase portraits ---------------------------------------------------------------------------------------------------


def draw_and_store(folder: Path, game: str, settings: Settings) -> None:
    """Draw a game's portrait from the stored cells and store it."""
    found = [stored(folder, solver, game, settings) for solver in SHOWN if solver in SOLVERS]
    cells = [cell for cell in found if cell is not None and cell.trials]
    figure = portrait(known_game(game), cells, settings)
    _store(figure, folder / "portraits" / f"{game}.png")


def portrait(known: KnownGame, cells: Sequence[Cell], settings: Settings) -> Figure:
    """Return the phase portrait of a game, with the ways of the solvers of these cells."""
    from matplotlib.figure import Figure

    start = known.start(settings.seed)
    paths: dict[str, Trajectory] = {}
    for cell in cells:
        trial, label = _drawn(cell, settings)
        solver = SOLVERS[cell.solver](**variants(cell.solver)[trial.variant])
        moves = optimizers(cell.solver, settings.rates[trial.rate])
        paths[label] = trajectory(start, solver, steps=trial.run.steps, seed=settings.seed, **moves)
    figure = Figure(figsize=(6.0, 6.4), dpi=90, layout="constrained")
    axes = figure.subplots()
    title = "\n".join([known.name, *textwrap.wrap(_unbroken(known.formula), 72)])
    impostors = [(p.u, p.v) for p in known.impostors]
    if known.dimensions == (1, 1):
        options: dict[str, Any] = {"u_range": _view(*known.box[0]), "v_range": _view(*known.box[1])}
        ways = {name: np.column_stack(path) for name, path in paths.items()}
        points = {"minimax point": [(p.u, p.v) for p in known.minimax_points]} if known.minimax_points else {}
        base = start
    else:
        title += " (slice)"
        at = (known.minimax_points or known.impostors)[0]
        base = known.game(at.u, at.v)
        directions = _difference(start.u, base.u), _difference(start.v, base.v)
        plane = Plane(base, directions)
        ways = {n: np.column_stack([plane.along("u", p.u), plane.along("v", p.v)]) for n, p in paths.items()}
        ranges = [_span(plane.allowed(p, *SLICE), [way[:, i] for way in ways.values()]) for i, p in enumerate(PLAYERS)]
        options = {"directions": directions, "u_range": ranges[0], "v_range": ranges[1]}
        # Other points lie beside the slice, and would be drawn where they are not.
        points = {"minimax point": (0.0, 0.0)} if known.minimax_points else {}
        impostors = [] if known.minimax_points else [(0.0, 0.0)]
    whole = {name: _broken(path, known) if name.startswith("k-beam") else path for name, path in paths.items()}
    phase_portrait(base, paths=whole, points=points, ax=axes, legend=False, title=title, **options)
    if impostors:
        marker: dict[str, Any] = {"s": 90, "marker": "X", "color": "black", "edgecolors": "white", "zorder": 5}
        axes.scatter(*np.array(impostors, dtype=np.float64).T, label="only looks like one", **marker)
    if known.dimensions != (1, 1):
        axes.set(xlabel="leader u, from the marked point (0) to the start (1)",
                 ylabel="follower v, from the marked point (0) to the start (1)")  # fmt: skip
    axes.title.set_fontsize(10)
    for i, (line, way) in enumerate(zip(list(axes.lines), ways.values(), strict=True)):
        # Ways that run together are seen as stripes, the first the widest.
        line.set(linewidth=3.6 - 0.45 * i, path_effects=[])
        axes.plot(*way.T, color=line.get_color(), linewidth=0.4, zorder=3.5)
    _legend(figure, axes)
    return figure


def _broken(path: Trajectory, known: KnownGame) -> Trajectory:
    """Leave out the jumps from one of several followers to another, which would cover the picture."""
    u, v = (np.array(x, dtype=np.float64).reshape(len(x), -1) for x in path)
    far = _JUMP * (known.box[1][1] - known.box[1][0]) * math.sqrt(v.shape[1])
    after = 1 + np.flatnonzero(np.linalg.norm(np.diff(v, axis=0), axis=1) > far)
    after = after[after < len(v) - 1]
    u, v = (np.insert(x, after, np.nan, axis=0) for x in (u, v))
    return Trajectory(*(x[:, 0] if x.shape[1] == 1 else x for x in (u, v)))


def _drawn(cell: Cell, settings: Settings) -> tuple[Trial, str]:
    """Return the run that stands for a cell, and its label.

    It is one from the first start that ends as the cell does, with the smallest rate, whose way is the smoothest.
    """
    first = [t for t in cell.trials if t.seed == settings.seed]
    likely = [t for t in first if t.run.ending == cell.ending] or first
    chosen = min(likely, key=lambda t: (settings.rates[t.rate].decays, settings.rates[t.rate].size, t.variant))
    name = written(cell.solver, variants(cell.solver)[chosen.variant])
    return chosen, f"{name}, {settings.rates[chosen.rate]}: {chosen.run.ending}"


def _view(low: float, high: float) -> tuple[float, float]:
    """Return an interval with a margin, so that points on the boundary of a domain are seen whole."""
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def _span(allowed: tuple[float, float], ways: Sequence[Array]) -> tuple[float, float]:
    """Return what a slice shows of an axis: what is allowed there, and the ways as far as they stay in sight."""
    values = np.concatenate([*ways, np.array(allowed)])
    seen = values[(values >= SLICE[0]) & (values <= SLICE[1])]
    low, high = _view(float(seen.min()), float(seen.max()))
    return max(low, SLICE[0]), min(high, SLICE[1])


def _unbroken(formula: str) -> str:
    """Keep the sides of a relation on one line."""
    for sign in ("<=", ">=", "<", ">", "="):
        formula = formula.replace(f" {sign} ", f"\u00a0{sign}\u00a0")
    return formula


def _difference(a: Tree, b: Tree) -> Tree:
    def minus(x: Any, y: Any) -> Any:
        return x - y

    return optree.tree_map(minus, a, b)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    place: Any = "outside lower center"
    figure.legend(handles, labels, loc=place, ncols=2, frameon=False, fontsize=8.5, markerscale=0.6)


# -- the picture of all outcomes ---------------------------------------------------------------------------------------


def draw_summary(folder: Path, cells: Cells) -> None:
    """Draw the outcome of every solver on every game and store it as ``summary.png``."""
    _store(summary(cells), folder / "summary.png")


def summary(cells: Cells) -> Figure:
    """Return a picture with a row for each solver and a column for each game, in classes."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb
    from matplotlib.figure import Figure

    solvers = [standing.solver for standing in standings(cells)]
    groups = by_class(list(dict.fromkeys(game for _, game in cells)))
    games = [game for held in groups.values() for game in held]
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
            text, ink = _SIGNS[cell.ending], "white" if cell.ending == "divergence" else "#333333"
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
    _head(axes, groups)
    _key(
        figure, blues, (low, high), max((cell.share[1] for cell in cells.values() if cell.best is not None), default=1)
    )
    return figure


def _head(axes: Axes, groups: dict[str, list[str]]) -> None:
    edge = 0
    for name, held in groups.items():
        title = "\n".join(name.rsplit(" ", 1)) if len(held) < 5 else name.replace(", ", ",\n")
        axes.text(edge + len(held) / 2 - 0.5, -0.75, title, ha="center", va="bottom", fontsize=10, fontweight="bold")
        edge += len(held)
        if edge < sum(map(len, groups.values())):
            axes.axvline(edge - 0.5, color="#333333", linewidth=1.6)


def _key(figure: Figure, blues: Any, span: tuple[float, float], starts: int) -> None:
    from matplotlib.patches import Patch

    ends = [f"{round(10**x, -1 if x > 2 else 0):.0f}" for x in span]
    handles = [Patch(color=blues(part)) for part in (0.0, 1.0)]
    labels = [f"minimax point, after {ends[0]}", f"to {ends[1]} gradient evaluations"]
    words = {"stationary": "stationary elsewhere", "cycle": "cycle", "slow": "slow", "divergence": "divergence"}
    for ending, word in words.items():
        handles.append(Patch(color=_FILLS[ending]))  # type: ignore[index] - its keys are endings
        labels.append(f"{_SIGNS[ending]}  {word}")  # type: ignore[index] - likewise
    handles.append(Patch(color="none"))
    labels.append(f"digit: starts of {starts} that end at a minimax point")
    place: Any = "outside lower center"
    columns = len(labels) if figure.get_figwidth() > 12 else 2
    figure.legend(handles, labels, loc=place, ncols=columns, frameon=False, fontsize=9, handlelength=1.2)


def _store(figure: Figure, path: Path) -> None:
    """Write a figure as PNG with a palette, a third of the size of full colour."""
    from PIL import Image

    raw, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png")
    picture = Image.open(raw).convert("RGB")
    # By itself the palette would go to the shades of the background, and none to the thin lines.
    common = picture.quantize(256 - len(_INKS), dither=Image.Dither.NONE).getpalette() or []
    palette = np.array([*_INKS, *np.reshape(common, (-1, 3))], dtype=np.int32)[:256]
    colours, where = np.unique(np.asarray(picture, dtype=np.int32).reshape(-1, 3), axis=0, return_inverse=True)
    nearest = np.square(colours[:, None] - palette).sum(-1).argmin(1).astype(np.uint8)
    made = Image.fromarray(nearest[where].reshape(picture.size[::-1]), "P")
    made.putpalette([int(part) for part in palette.ravel()])
    made.save(packed, format="png", optimize=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    storage.write_atomically(path, packed.getvalue())
