"""Pictures: phase portraits of games, and convergence curves. They need matplotlib, imported when one is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from minimaxopt._types import PLAYERS, Tree
from minimaxopt.errors import ArgumentError
from minimaxopt.plot.plane import Array, Field, Plane
from minimaxopt.plot.trajectory import Trajectory
from minimaxopt.results.history import History
from minimaxopt.results.solution import Solution

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from minimaxopt.game.game import Game


# Okabe and Ito's colours, which colour-blind readers tell apart, without the yellow that vanishes on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.2)))
_MARKERS = ("*", "X", "D", "P", "^")
_SHADES = ("#ffffff", "#dbe6ef", "#b4c8da")


def phase_portrait(
    game: Game,
    u_range: tuple[float, float] = (-1.0, 1.0),
    v_range: tuple[float, float] = (-1.0, 1.0),
    *,
    paths: Mapping[str, Trajectory] | None = None,
    points: Mapping[str, Any] | None = None,
    directions: tuple[Tree, Tree] | None = None,
    batch: Any = None,
    ax: Axes | None = None,
    title: str | None = None,
    shading: bool = True,
    legend: bool = True,
    resolution: int = 41,
) -> Axes:
    """Draw a game in the plane: its risk, the flow of descent-ascent, and the paths of solvers.

    The flow is ``(du/dt, dv/dt) = (-grad_u f, grad_v f)``; at the boundary of a constrained player's set it is that of
    small projected steps, and what is not allowed stays white. A path begins at the hollow circle and ends at
    the filled one.

    A game whose players hold one number each is drawn over these two numbers. Any other is drawn on the slice through
    the game's own ``u`` and ``v`` that ``directions`` span, with flow and paths projected on it.

    Args:
        game: the game; ``u`` and ``v`` with values of their own.
        u_range: the leader's interval, ``(low, high)``; in multiples of its direction where one is given.
        v_range: the follower's, likewise.
        paths: trajectories by the name that the legend shows, as from ``trajectory``.
        points: marked points ``(u, v)`` by name, or a list of points under one name; each player's value as a number on
            its axis, or as its tensors.
        directions: ``(d_u, d_v)``, each of its player's structure, in which a module stands as the dictionary of its
            parameters.
        batch: for an ``f(u, v, batch)``, the batch at which it is drawn.
        ax: the axes to draw into; by default those of a new figure. A figure with ``layout="constrained"`` has room for
            the scale beside them.
        title: the title; ``""`` for none.
        shading: whether to shade by the risk, with a scale beside; else only contour lines are drawn.
        legend: whether to draw a legend: below a new figure, inside given axes.
        resolution: grid points along each axis, each one evaluation of the gradients.

    Returns:
        The axes; ``axes.figure.savefig(...)`` writes the picture.

    Raises:
        ArgumentError: if a player does not hold one number and no direction is given, or an argument does not fit.
        ImportError: if matplotlib is not installed.

    Examples:
        >>> import matplotlib, torch
        >>> matplotlib.use("Agg")
        >>> from minimaxopt import Game
        >>> from minimaxopt.plot import phase_portrait, trajectory
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> paths = {"alternating GDA": trajectory(game, "alternating-gda", steps=9)}
        >>> axes = phase_portrait(game, (-2, 2), (-2, 2), paths=paths, points={"minimax point": (0, 0)})
        >>> axes.get_xlabel(), [line.get_label() for line in axes.lines]
        ('leader u (minimises)', ['alternating GDA'])

    Source: the vector field of a two-player zero-sum game, as drawn in Mescheder et al. 2017.
    """
    _check_range("u_range", u_range)
    _check_range("v_range", v_range)
    if resolution < 2:
        raise ArgumentError(f"resolution: {resolution} points do not make a grid; give two or more")
    plane = Plane(game, directions, batch)
    us = np.linspace(*plane.allowed("u", *u_range), resolution)
    vs = np.linspace(*plane.allowed("v", *v_range), resolution)
    lines = {name: _on_plane(plane, path) for name, path in (paths or {}).items()}
    marks = {name: _marks(plane, name, value) for name, value in (points or {}).items()}
    field = plane.field(us, vs)
    axes = _axes(ax, (6.4, 6.2))
    _draw_field(axes, us, vs, field, shading)
    _draw_boundary(axes, us, vs, u_range, v_range)
    _draw_paths(axes, lines)
    for i, (name, at) in enumerate(marks.items()):
        marker = _MARKERS[i % len(_MARKERS)]
        size = 260 if marker == "*" else 90
        axes.scatter(*at.T, s=size, marker=marker, color="black", edgecolors="white", zorder=5, label=name)
    along = "" if directions is None else ", along its direction"
    axes.set(xlim=u_range, ylim=v_range, xlabel=f"leader u{along} (minimises)", ylabel=f"follower v{along} (maximises)")
    if 0.5 <= (u_range[1] - u_range[0]) / (v_range[1] - v_range[0]) <= 2:
        axes.set_aspect("equal")
    axes.set_title(
        ("Phase portrait" if directions is None else "Phase portrait of a slice") if title is None else title
    )
    if legend and (lines or marks):
        _draw_legend(axes, outside=ax is None)
    return axes


def convergence(
    histories: Mapping[str, History | Solution],
    *,
    column: str = "risk",
    ax: Axes | None = None,
    title: str | None = None,
    log: bool | None = None,
    legend: bool = True,
) -> Axes:
    """Draw a column of several histories over the steps.

    Args:
        histories: histories or solutions by the name that the legend shows.
        column: the column, such as ``"risk"`` or one that ``Evaluate`` recorded.
        ax: the axes to draw into; by default those of a new figure.
        title: the title; by default none, since the axes say it.
        log: whether the values' axis is logarithmic; by default where all are positive and span two decades.
        legend: whether to draw a legend.

    Returns:
        The axes; ``axes.figure.savefig(...)`` writes the picture.

    Raises:
        ArgumentError: if there is no history, or one has no such column.
        ImportError: if matplotlib is not installed.

    Examples:
        >>> import matplotlib, torch
        >>> matplotlib.use("Agg")
        >>> from minimaxopt import Game, solve
        >>> game = Game(lambda u, v: u**2 + u * v - v**2, torch.tensor(1.0), torch.tensor(1.0))
        >>> runs = {name: solve(game, name, steps=99) for name in ("sensitivity", "alternating-gda")}
        >>> axes = convergence(runs, column="sensitivity")
        >>> axes.get_ylabel(), len(axes.lines)
        ('sensitivity', 2)
    """
    columns = {name: run.history if isinstance(run, Solution) else run for name, run in histories.items()}
    if not columns:
        raise ArgumentError("histories: is empty; give histories or solutions by name")
    for name, history in columns.items():
        if column not in history:
            has = ", ".join(history.names) or "none"
            raise ArgumentError(f"column: {name!r} has no {column!r}, but {has}; give one that all histories have")
    axes = _axes(ax, (7.2, 4.4))
    for i, (name, history) in enumerate(columns.items()):
        steps, values = history.steps(column), history[column]
        axes.plot(steps, values, color=_COLOURS[i % len(_COLOURS)], linestyle=_dash(i), linewidth=1.6, label=name)
    values = np.concatenate([history[column] for history in columns.values()])
    values = values[np.isfinite(values)]
    wide = values.size > 0 and bool(values.min() > 0) and bool(values.max() / values.min() >= 100)
    if wide if log is None else log:
        axes.set_yscale("log")
    axes.set(xlabel="step", ylabel=column, title=title or "")
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if legend:
        axes.legend(frameon=False)
    return axes


def _draw_field(ax: Axes, us: Array, vs: Array, field: Field, shading: bool) -> None:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import MaxNLocator

    risk, u, v = (np.ma.masked_invalid(values) for values in field)
    # A steep corner would leave one shade to all the rest.
    low, high = np.percentile(risk.compressed(), [2, 98]) if risk.count() else (0.0, 0.0)
    if low < high:
        levels = np.asarray(MaxNLocator(14).tick_values(low, high))
        levels = levels[(levels >= low) & (levels <= high)]
        shades = LinearSegmentedColormap.from_list("risk", _SHADES)
        if shading:
            filled = ax.contourf(us, vs, risk, levels, cmap=shades, extend="both", zorder=0)
            scale = ax.inset_axes((1.03, 0.0, 0.035, 1.0))
            ax.figure.colorbar(filled, cax=scale, label="risk f", ticks=levels[::2])
        colour = "white" if shading else _SHADES[1]
        ax.contour(us, vs, risk, levels, colors=colour, linewidths=0.7, linestyles="solid", zorder=1)
    if float(np.ma.abs(u).sum() + np.ma.abs(v).sum()) > 0:
        with np.errstate(all="ignore"):  # where the flow stands still it has no direction
            ax.streamplot(
                us,
                vs,
                u,
                v,
                color="#8f8f8f" if shading else "#b8b8b8",
                linewidth=0.6,
                arrowsize=0.7,
                density=1.1,
                zorder=2,
            )


def _draw_boundary(ax: Axes, us: Array, vs: Array, u_range: tuple[float, float], v_range: tuple[float, float]) -> None:
    style: dict[str, Any] = {"color": "#4d4d4d", "linewidth": 1.2, "zorder": 3}
    for u in {us[0], us[-1]} - set(u_range):
        ax.vlines(u, vs[0], vs[-1], **style)
    for v in {vs[0], vs[-1]} - set(v_range):
        ax.hlines(v, us[0], us[-1], **style)


def _draw_paths(ax: Axes, lines: Mapping[str, Array]) -> None:
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=3.4, foreground="white")]
    for i, (name, at) in enumerate(lines.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        ax.plot(*at.T, color=colour, linestyle=_dash(i), linewidth=2.1, zorder=4, label=name, path_effects=halo)
        ax.scatter(*at[:1].T, s=50, color="white", edgecolors="black", linewidths=1.3, zorder=6)
        ax.scatter(*at[-1:].T, s=42, color=colour, edgecolors="black", linewidths=0.8, zorder=7)


def _draw_legend(ax: Axes, *, outside: bool) -> None:
    from matplotlib.lines import Line2D

    handles, labels = ax.get_legend_handles_labels()
    if ax.lines:
        circle: dict[str, Any] = {"marker": "o", "linestyle": "none", "markersize": 6.5, "markeredgecolor": "black"}
        handles += [Line2D([], [], color="white", **circle), Line2D([], [], color="#8f8f8f", **circle)]
        labels += ["start", "end"]
    if outside:
        columns = min(3, len(labels))
        cast("Any", ax.figure).legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    else:
        ax.legend(handles, labels, fontsize="small", framealpha=0.9)


def _on_plane(plane: Plane, path: Any) -> Array:
    u, v = (np.asarray(x, dtype=np.float64) for x in path)
    return np.column_stack([plane.along("u", u), plane.along("v", v)])


def _marks(plane: Plane, name: str, value: Any) -> Array:
    pairs: list[Any] = value if isinstance(value, list) else [value]
    if any(not isinstance(pair, tuple) or len(pair) != 2 for pair in pairs):
        raise ArgumentError(f"points: {name!r} is not a point; give (u, v), or a list of such pairs")
    return np.array([[plane.coordinate(p, x) for p, x in zip(PLAYERS, pair, strict=True)] for pair in pairs])


def _check_range(name: str, ends: tuple[float, float]) -> None:
    if not -np.inf < ends[0] < ends[1] < np.inf:
        raise ArgumentError(f"{name}: {tuple(ends)} is not an interval; give (low, high)")


def _dash(i: int) -> Any:
    return _DASHES[i // len(_COLOURS) % len(_DASHES)]


def _axes(ax: Any, size: tuple[float, float]) -> Any:
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("matplotlib: is not installed; install it with pip install 'minimaxopt[plot]'") from error
    return plt.subplots(figsize=size, layout="constrained")[1]
