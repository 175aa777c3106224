"""Thousands of small games in one pass of `torch.func.vmap`: where does Alg. 1 converge?

One step of Alg. 1 is five lines of `torch.func`; `vmap` makes them the step of a whole grid of games
f = -3 u^2 + b u v - v^2, one for each coupling b and penalty gamma. The theory draws the boundary: with small steps the
origin attracts if and only if b^2 > 12 and gamma > 4 / b^2. A few members are played again by `solve_many`, one by one.
"""

from __future__ import annotations

import argparse
import math
import time
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import Tensor
from torch.func import grad, vmap

from minimaxopt import Game, Run, Sensitivity, solve_many

RATE = 0.01
START = torch.tensor(1.0, dtype=torch.float64)


def f(u: Tensor, v: Tensor, b: Tensor) -> Tensor:
    return -3 * u**2 + b * u * v - v**2


def step(u: Tensor, v: Tensor, b: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
    """Alg. 1: u <- u - RATE grad_u [f + gamma / 2 (df/dv)^2], v <- v + RATE df/dv, both from (u, v)."""

    def penalized(u: Tensor) -> tuple[Tensor, Tensor]:
        g_v = grad(f, argnums=1)(u, v, b)
        return f(u, v, b) + gamma / 2 * g_v**2, g_v

    g_u, g_v = grad(penalized, has_aux=True)(u)
    return u - RATE * g_u, v + RATE * g_v


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/examples"), help="folder of the picture")
    parser.add_argument("--steps", type=int, default=600, help="steps of each game")
    parser.add_argument("--side", type=int, default=64, help="couplings, and penalties, in the grid")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)

    couplings = torch.linspace(2, 8, options.side, dtype=torch.float64)
    penalties = torch.linspace(0, 0.4, options.side, dtype=torch.float64)
    b, gamma = (grid.flatten() for grid in torch.meshgrid(couplings, penalties, indexing="xy"))
    u, v = START.expand(b.shape), START.expand(b.shape)
    together = vmap(step)
    began = time.perf_counter()
    for _ in range(options.steps):
        u, v = together(u, v, b, gamma)
    spent = time.perf_counter() - began
    distance = torch.hypot(u, v)
    print(f"{len(b)} games, {options.steps} steps each: {1e6 * spent / options.steps / len(b):.2f} microseconds a step")

    members = range(0, len(b), len(b) // 5)
    sgd = partial(torch.optim.SGD, lr=RATE)
    settings = {"steps": options.steps, "u_optimizer": sgd, "v_optimizer": sgd}
    games = [Game(partial(f, b=b[i]), START.clone(), START.clone()) for i in members]
    runs = [Run(game, Sensitivity(gamma=gamma[i].item()), **settings) for game, i in zip(games, members, strict=True)]
    solutions = solve_many(runs)
    apart = max(abs(s.u - u[i]).item() / abs(u[i]).item() for s, i in zip(solutions, members, strict=True))
    print(f"{len(runs)} of them by solve_many: largest relative difference of u {apart:.1e}")

    figure, axes = plt.subplots(figsize=(7.5, 5), layout="constrained")
    shown = (distance / math.sqrt(2)).log10().clamp(-3, 3).reshape(options.side, options.side)
    mesh = axes.pcolormesh(
        couplings.numpy(), penalties.numpy(), shown.numpy(), cmap="RdBu_r", vmin=-3, vmax=3, rasterized=True
    )
    edge = torch.linspace(math.sqrt(12), 8, 200)
    axes.plot(edge.numpy(), (4 / edge**2).numpy(), color="black", linewidth=2)
    axes.plot([math.sqrt(12)] * 2, [4 / 12, 0.4], color="black", linewidth=2)
    axes.text(6.2, 0.28, "converges", weight="bold", ha="center", color="white")
    axes.text(2.7, 0.08, "runs away", weight="bold", ha="center", color="white")
    axes.set(xlabel="coupling b", ylabel="penalty gamma", xlim=(2, 8), ylim=(0, 0.4))
    figure.colorbar(mesh, label=f"log10 of the distance after {options.steps} steps, start = 0")
    axes.set_title(f"{len(b)} games in one vmap: Alg. 1 converges where theory (black) says", weight="bold")
    figure.savefig(options.out / "many_small_games.png", dpi=150)
    print(f"picture: {options.out / 'many_small_games.png'}")


if __name__ == "__main__":
    main()
