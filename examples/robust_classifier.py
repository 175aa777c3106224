"""A robust classifier from your own network, data and attack: handwritten digits that stay readable under attack.

The leader is the network. The follower *responds*: `attack` is an ordinary function that is called at every step with
the current network and batch, and returns the attacked pixels. `Descent` then trains the network on these pixels. Both
networks are tested under a stronger attack than the one trained against, on digits that were not trained on.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from minimaxopt import Batches, Descent, Game, solve

ETA = 0.3  # largest change of a pixel while training; pixels lie in [-1, 1]
ADAM = partial(torch.optim.Adam, lr=1e-3)
ETAS = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


def risk(network: nn.Module, images: Tensor, batch: Any) -> Tensor:
    """Return the loss on the pixels that the follower chose; the labels come from the batch."""
    return F.cross_entropy(network(images), batch[1])


def attack(risk: Any, network: nn.Module, batch: Any, *, eta: float = ETA, steps: int = 5) -> Tensor:
    """Climb the risk by signed gradient steps from a random start, within eta of the image (PGD)."""
    x = batch[0]
    z = x + eta * (2 * torch.rand_like(x) - 1)
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(risk(network, z.requires_grad_(), batch), z)
        z = (z.detach() + 2.5 * eta / steps * gradient.sign()).clamp(x - eta, x + eta).clamp(-1, 1)
    return z


def no_attack(risk: Any, network: nn.Module, batch: Any) -> Tensor:
    return batch[0]  # in ordinary training the follower does nothing


def error(network: nn.Module, test: Any, eta: float) -> float:
    """Return the share of test digits misread under an attack of 40 steps."""
    z = attack(risk, network, test, eta=eta, steps=40)
    return float((network(z).argmax(1) != test[1]).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/examples"), help="folder of the picture")
    parser.add_argument("--steps", type=int, default=1000, help="training steps of each network")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(pixels / 8 - 1, dtype=torch.float32), torch.tensor(labels)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=500, random_state=0, stratify=labels)
    network = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    data, test = Batches((x_train, y_train), batch_size=64), (x_test, y_test)

    def train(follower: Any) -> nn.Module:
        return solve(Game(risk, network, follower), Descent(), data=data, steps=options.steps, u_optimizer=ADAM).u

    networks = {"undefended": (train(no_attack), "#D55E00"), "robust": (train(attack), "#0072B2")}
    left, right = plt.figure(figsize=(11, 4.4), layout="constrained").subfigures(1, 2, width_ratios=[1, 1.25])
    axes, rows, eight = left.subplots(), right.subplots(3, 8), (x_test[:8], y_test[:8])
    for name, (trained, colour) in networks.items():
        errors = [error(trained, test, eta) for eta in ETAS]
        print(f"{name:10s} " + "  ".join(f"eta {eta:.1f}: {e:.3f}" for eta, e in zip(ETAS, errors, strict=True)))
        axes.plot(ETAS, errors, "o-", color=colour, linewidth=2.2)
        axes.text(ETA - 0.02, errors[3] + 0.03, name, color=colour, weight="bold", ha="right")
    axes.set(xlabel="attack size η (pixels span 2)", ylabel="test error under PGD-40", ylim=(0, 1.03))
    axes.axvline(ETA, color="grey", linestyle=":")
    axes.text(ETA + 0.01, 0.03, "robust was\ntrained here", color="grey")
    axes.spines[["top", "right"]].set_visible(False)
    left.suptitle("Trained against its attacker, a network holds out longer", weight="bold", fontsize=11)
    right.suptitle(f"Eight test digits, attacked at η = {ETA} against each network", weight="bold", fontsize=11)
    shown = [("untouched", eight[0], [str(int(truth)) for truth in eight[1]], "black")]
    for name, (trained, colour) in networks.items():
        z = attack(risk, trained, eight, steps=40)
        readings = [f"{int(r)} {'✓' if r == t else '✗'}" for r, t in zip(trained(z).argmax(1), eight[1], strict=True)]
        shown.append((name, z, readings, colour))
    for row, (name, images, titles, colour) in zip(rows, shown, strict=True):
        for axes, image, title in zip(row, images, titles, strict=True):
            axes.imshow(image.view(8, 8).numpy(), cmap="gray", vmin=-1, vmax=1, interpolation="bilinear")
            axes.set(xticks=[], yticks=[])
            axes.set_title(title, color=colour, weight="bold")
        row[0].set_ylabel(name, color=colour, weight="bold")
    plt.savefig(options.out / "robust_classifier.png", dpi=150)


if __name__ == "__main__":
    main()
