"""Two games in the plane, four solvers from the same start: which diverge, circle or find the minimax point?

Left, f = 4uv - 3u^2 - v^2. The follower's best response to u is v = 2u, and against it the leader's risk is u^2, so that
(0, 0) is the minimax point, although f is concave in u. Descent-ascent follows that concavity and leaves; Alg. 1
converges where gamma > 1/4. Right, f = uv, the game in which descent-ascent chases its own tail.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patheffects import withStroke

from minimaxopt import AlternatingGDA, Game, Sensitivity, SimultaneousGDA, Unrolled
from minimaxopt.plot import phase_portrait, trajectory

SOLVERS = {
    "sensitivity": Sensitivity(gamma=0.5),
    "alternating-gda": AlternatingGDA(),
    "unrolled": Unrolled(steps=5, inner_lr=0.1),
    "simultaneous-gda": SimultaneousGDA(),
}
LABELS = {  # positions of the labels in the two panels
    "sensitivity": [(0.56, -0.5, "right"), (0.02, -0.78, "center")],
    "alternating-gda": [(2.15, 0.05, "right"), (0.0, -1.17, "center")],
    "unrolled": [(0.66, 0.4, "left"), (-0.45, 0.55, "left")],
    "simultaneous-gda": [(2.15, -1.2, "right"), (0.0, -2.0, "center")],
}
STEPS = 300
HALO = [withStroke(linewidth=3, foreground="white")]


def ridge(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return 4 * u * v - 3 * u**2 - v**2


def product(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return u * v


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
    span = (-2.2, 2.2)
    for i, (axes, (f, title, start, rate)) in enumerate(zip(panels, games, strict=True)):
        game = Game(f, *(torch.tensor(x) for x in start))
        sgd = partial(torch.optim.SGD, lr=rate)
        paths = {
            name: trajectory(game, solver, steps=STEPS, u_optimizer=sgd, v_optimizer=sgd)
            for name, solver in SOLVERS.items()
        }
        print(f"{f.__name__}: distance from the minimax point, start {np.hypot(*start):.2f}")
        for name, path in paths.items():
            print(f"  {name:17s} after {STEPS} steps {np.hypot(path.u[-1], path.v[-1]):.2g}")
        marks = {"minimax point": (0, 0)}
        phase_portrait(game, span, span, paths=paths, points=marks, ax=axes, shading=False, legend=False, title="")
        for line, (x, y, side) in zip(axes.lines, (LABELS[name][i] for name in paths), strict=True):
            axes.text(
                x, y, line.get_label(), color=line.get_color(), ha=side, weight="bold", path_effects=HALO, zorder=8
            )
        axes.annotate("start", start, xytext=(-6, -14), textcoords="offset points", ha="right", path_effects=HALO)
        axes.set_title(title, loc="left", weight="bold")
    panels[0].axline((0, 0), slope=2, color="black", linewidth=1, linestyle=":")
    panels[0].text(0.83, 1.85, "follower's best answer v = 2u", ha="right", path_effects=HALO)
    panels[0].text(-0.15, 0.03, "minimax point", ha="right", path_effects=HALO)
    panels[1].set_ylabel("")
    figure.savefig(out / "two_dimensional_game.png", dpi=150)
    print(f"picture: {out / 'two_dimensional_game.png'}")


if __name__ == "__main__":
    main()
