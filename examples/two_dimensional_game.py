"""Two games in the plane, every solver from the same start: who runs away, who circles, who finds the minimax point.

Left, f = 4uv - 3u^2 - v^2. The follower's best answer to u is v = 2u, and against it the leader's risk is u^2, so that
(0, 0) is the minimax point, although f is concave in u. Descent-ascent sees only that slope and leaves; Alg. 1
converges where gamma > 1/4. Right, f = uv, the game in which descent-ascent chases its own tail.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from minimaxopt import Evaluate, Game, Sensitivity, Unrolled, solve
from minimaxopt.solvers import SOLVERS

SETTINGS = {"sensitivity": Sensitivity(gamma=0.5), "unrolled": Unrolled(steps=5, inner_lr=0.1)}
COLOURS = {"sensitivity": "#0072B2", "unrolled": "#009E73", "alternating-gda": "#D55E00", "simultaneous-gda": "#AA4499"}
WHERE = {  # the labels' places in the two panels; a solver that is not here is drawn in grey
    "sensitivity": [(0.56, -0.5, "right"), (0.02, -0.78, "center")],
    "unrolled": [(0.66, 0.4, "left"), (-0.45, 0.55, "left")],
    "alternating-gda": [(2.2, 0.05, "right"), (0.0, -1.17, "center")],
    "simultaneous-gda": [(2.2, -1.2, "right"), (0.0, -2.0, "center")],
}
STEPS = 300
HALO = [withStroke(linewidth=3, foreground="white")]


def ridge(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return 4 * u * v - 3 * u**2 - v**2


def product(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return u * v


def trajectory(f: Callable[..., torch.Tensor], solver: str, start: tuple[float, float], rate: float) -> np.ndarray:
    """Return the points (u, v) that a solver visits, one row a step."""
    game = Game(f, torch.tensor(start[0]), torch.tensor(start[1]))
    sgd = partial(torch.optim.SGD, lr=rate)
    look = Evaluate({"u": lambda u, v: float(u), "v": lambda u, v: float(v)}, every=1)
    chosen = SETTINGS.get(solver, solver)
    history = solve(game, chosen, steps=STEPS, u_optimizer=sgd, v_optimizer=sgd, callbacks=[look]).history
    return np.vstack([start, np.column_stack([history["u"], history["v"]])])


def draw_field(axes: Axes, f: Callable[..., torch.Tensor]) -> None:
    """Draw the direction in which simultaneous descent-ascent would move."""
    line = torch.linspace(-2.2, 2.2, 61)
    v, u = (grid.requires_grad_() for grid in torch.meshgrid(line, line, indexing="ij"))
    down, up = torch.autograd.grad(f(u, v).sum(), (u, v))
    x = line.numpy()
    axes.streamplot(x, x, -down.numpy(), up.numpy(), color="#c4c4c4", linewidth=0.7, arrowsize=0.8, density=0.8)
    axes.set(xlim=(-2.2, 2.2), ylim=(-2.2, 2.2), aspect="equal", xlabel="leader u (minimises)")
    axes.plot(0, 0, marker="*", markersize=17, color="black", markeredgecolor="white", zorder=5)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/examples"), help="folder of the picture")
    out: Path = parser.parse_args().out
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)

    figure, panels = plt.subplots(1, 2, figsize=(11, 5.6), layout="constrained")
    games = [
        (ridge, "4uv - 3u² - v²: only anticipation arrives", (0.9, -1.0), 0.02),
        (product, "uv: descent-ascent circles or spirals out", (1.0, 0.6), 0.1),
    ]
    for i, (axes, (f, title, start, rate)) in enumerate(zip(panels, games, strict=True)):
        draw_field(axes, f)
        print(f"{f.__name__}: distance from the minimax point, start {np.hypot(*start):.2f}")
        for name in [n for n, s in SOLVERS.items() if s.movers == ("u", "v")]:
            path, colour = trajectory(f, name, start, rate), COLOURS.get(name, "grey")
            print(f"  {name:17s} after {STEPS} steps {np.hypot(*path[-1]):.2g}")
            axes.plot(*path.T, color=colour, linewidth=2.2)
            if name in WHERE:
                x, y, side = WHERE[name][i]
                axes.text(x, y, name, color=colour, ha=side, weight="bold", path_effects=HALO, zorder=6)
        axes.plot(*start, "o", color="black", markersize=6)
        axes.annotate("start", start, xytext=(-6, -14), textcoords="offset points", ha="right", path_effects=HALO)
        axes.set_title(title, loc="left", weight="bold")
    panels[0].axline((0, 0), slope=2, color="black", linewidth=1, linestyle=":")
    panels[0].text(0.83, 1.85, "follower's best answer v = 2u", ha="right", path_effects=HALO)
    panels[0].text(-0.15, 0.03, "minimax point", ha="right", path_effects=HALO)
    panels[0].set_ylabel("follower v (maximises)")
    figure.savefig(out / "two_dimensional_game.png", dpi=150)
    print(f"picture: {out / 'two_dimensional_game.png'}")


if __name__ == "__main__":
    main()
