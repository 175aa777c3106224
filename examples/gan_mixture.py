"""A GAN on eight Gaussians in a ring: does the generator find them all?

The generator leads and the discriminator follows, f = E log D(x) + E log (1 - D(G(z))), both moved by Adam at rates at
which plain alternation loses modes. Alg. 1 plays the same game at the same rates; only its generator anticipates the
discriminator's reaction. All games that were played are shown. The result holds for these rates and not for all: with
Adam at 1e-3 and beta_1 = 0.5, alternation finds all eight as well, in 3,000 steps.
"""

from __future__ import annotations

import argparse
import math
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimaxopt import AlternatingGDA, Batches, Evaluate, Game, Sensitivity, solve

MODES, SPREAD, NOISE = 8, 0.1, 8
ANGLES = torch.arange(MODES) * 2 * math.pi / MODES
CENTRES = 2 * torch.stack([ANGLES.cos(), ANGLES.sin()], 1)
SOLVERS = {"alternating-gda": (AlternatingGDA(), "#D55E00"), "sensitivity": (Sensitivity(gamma=1.0), "#0072B2")}


def network(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, outputs))


def risk(generator: nn.Module, discriminator: nn.Module, real: Tensor) -> Tensor:
    """Return the log-likelihood of the discriminator, on noise that is drawn afresh at each step."""
    fake = generator(torch.randn(len(real), NOISE))
    return F.logsigmoid(discriminator(real)).mean() + F.logsigmoid(-discriminator(fake)).mean()


def samples(generator: nn.Module) -> Tensor:
    noise = torch.randn(2000, NOISE, generator=torch.Generator().manual_seed(0))
    return generator(noise).detach()


def coverage(generator: nn.Module) -> tuple[int, float]:
    """Return the number of modes with at least a tenth of an even share, and the share of samples near a mode."""
    distance, nearest = torch.cdist(samples(generator), CENTRES).min(1)
    near = distance < 4 * SPREAD
    counts = torch.bincount(nearest[near], minlength=MODES)
    return int((counts > 0.1 * len(near) / MODES).sum()), float(near.float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/examples"), help="folder of the picture")
    parser.add_argument("--steps", type=int, default=1500, help="steps of each game")
    parser.add_argument("--seeds", type=int, default=3, help="games for each solver")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)

    rng = torch.Generator().manual_seed(0)
    real = CENTRES[torch.randint(MODES, (4096,), generator=rng)] + SPREAD * torch.randn(4096, 2, generator=rng)
    adam = {"u_optimizer": partial(torch.optim.Adam, lr=5e-3), "v_optimizer": partial(torch.optim.Adam, lr=2e-3)}
    evaluate = Evaluate({"modes": lambda u, v: coverage(u)[0], "near": lambda u, v: coverage(u)[1]}, every=100)

    figure = plt.figure(figsize=(12, 6.2), layout="constrained")
    grid = figure.add_gridspec(2, options.seeds + 1, width_ratios=[1] * options.seeds + [1.35])
    curves = [figure.add_subplot(grid[0, -1]), figure.add_subplot(grid[1, -1])]
    for row, (name, (solver, colour)) in enumerate(SOLVERS.items()):
        for seed in range(options.seeds):
            torch.manual_seed(seed)
            game, data = Game(risk, network(NOISE, 2), network(2, 1)), Batches(real, 64, seed)
            solution = solve(game, solver, data=data, steps=options.steps, seed=seed, callbacks=[evaluate], **adam)
            modes, near = coverage(solution.u)
            print(f"{name:16s} seed {seed}: {modes} of {MODES} modes, {near:4.0%} of the samples near one")
            axes = figure.add_subplot(grid[row, seed])
            axes.scatter(*samples(solution.u).T.numpy(), s=2, color=colour, alpha=0.35, linewidths=0)
            axes.scatter(*CENTRES.T.numpy(), s=260, facecolors="none", edgecolors="black", linewidths=0.8)
            axes.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal", xticks=[], yticks=[])
            axes.set_title(f"seed {seed}: {modes} of {MODES} modes, {near:.0%} near", fontsize=10)
            if seed == 0:
                axes.set_ylabel(name, color=colour, weight="bold", fontsize=12)
            for panel, column in zip(curves, ("modes", "near"), strict=True):
                history = solution.history
                panel.plot(history.steps(column) + 1, history[column], color=colour, linewidth=1.5, alpha=0.8)
    curves[0].set(ylabel="modes found", ylim=(-0.3, MODES + 0.5), xticklabels=[])
    curves[1].set(ylabel="share of samples near a mode", ylim=(0, 1), xlabel="step")
    for axes in curves:
        axes.spines[["top", "right"]].set_visible(False)
    title = "At the same learning rates, alternation loses modes and Alg. 1 finds all eight"
    figure.suptitle(f"{title} (circles: data, dots: generator)", weight="bold")
    figure.savefig(options.out / "gan_mixture.png", dpi=150)
    print(f"picture: {options.out / 'gan_mixture.png'}")


if __name__ == "__main__":
    main()
