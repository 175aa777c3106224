"""Two sides of one coin: the adversarial and the privacy problem through the same solver, each with its certificate.

A classifier and someone who changes its inputs play one game; who leads decides which problem it is. A classifier that
leads is to be robust against the worst change (adversarial training). Where the one who changes the inputs leads, they
are to tell nothing of a private label even to the best classifier (a privacy filter). Both are min over u, max over v of
f(u, v), and `solve` and `certify` do not know which one they are given.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimaxopt import Batches, Game, Sensitivity, certify, solve
from minimaxopt_privacy import evaluate_filter, privacy_game

SIZE = 0.6  # how far the attacker may move a point
STEPS = 3000
ADAM = partial(torch.optim.Adam, lr=1e-2)
DECAY = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=STEPS)
COLOURS = np.array(["#0072B2", "#D55E00"])


def draw(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Points of the plane, the side on which each lies (useful), and its height (private), both with some noise."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(400, 2, generator=rng) @ torch.tensor([[1.0, 0.5], [0.0, 1.0]])
    useful, private = (x + 0.3 * torch.randn(400, 2, generator=rng) > 0).long().T
    return x, useful, private


def shifted(x: Tensor, y: Tensor, directions: Tensor) -> Tensor:
    """An attacker who sees the label: every point of a class is moved in one direction, by at most SIZE."""
    return x + SIZE * directions[y] / (1e-3 + directions[y].norm(dim=1, keepdim=True))


def attacked_risk(classifier: nn.Module, directions: Tensor, batch: Any) -> Tensor:
    x, y, _ = batch
    weights = sum(p.square().sum() for p in classifier.parameters())
    return F.cross_entropy(classifier(shifted(x, y, directions)), y) + 1e-2 * weights


def report(name: str, game: Game, points: Any) -> Any:
    """Solve a game and say how good the point is: the same two calls for both problems."""
    data = Batches(points, len(points[0]), shuffle=False)
    how = {"u_optimizer": ADAM, "v_optimizer": ADAM, "u_scheduler": DECAY, "v_scheduler": DECAY}
    solution = solve(game, Sensitivity(gamma=1.0), data=data, steps=STEPS, **how)
    proof = certify(game, solution, data, restarts=2, steps=300, v_optimizer=ADAM)
    numbers = [f"{part.value:.4f}" for part in (proof.risk, proof.worst, proof.gap)]
    print(f"{name}: risk {numbers[0]}, at worst >= {numbers[1]}, gap >= {numbers[2]}; {proof.kind}")
    return solution


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/examples"), help="folder of the picture")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    train, test = draw(0), draw(1)
    x, y, private = test

    robust = report("classifier leads", Game(attacked_risk, nn.Linear(2, 2), torch.randn(2, 2)), train)
    readers = (nn.Linear(1, 2), nn.Linear(1, 2))
    hidden = report("filter leads", privacy_game(nn.Linear(2, 1), *readers, penalty=1e-2, head_penalty=1e-2), train)
    for name, filter_ in (("as they are", nn.Identity()), ("filtered", hidden.u["filter"])):
        seen, unseen = (
            [filter_(part[0]).detach().numpy(), *(label.numpy() for label in part[1:])] for part in (train, test)
        )
        found = evaluate_filter(None, *seen, *unseen, families=["logistic", "rbf-svm"])
        print(f"points {name}: useful label read {found.useful:.3f}, private one at worst {found.leakage:.3f}")
    axes = plt.figure(figsize=(11, 4.2), layout="constrained").subplots(1, 2)
    moved = shifted(x, y, robust.v)
    axes[0].quiver(*x.T, *(moved - x).T, color=COLOURS[y], angles="xy", scale_units="xy", scale=1, width=0.003)
    w, b = (p.detach() for p in robust.u.parameters())
    across = torch.linspace(-3, 3, 2)
    axes[0].plot(across, -((w[1] - w[0])[0] * across + b[1] - b[0]) / (w[1] - w[0])[1], "k", linewidth=2)
    axes[0].set(title="The classifier leads: the attacker moves each class across", ylim=(-3.5, 3.5), xlim=(-3, 3))
    for label, colour in enumerate(COLOURS):
        z = hidden.u["filter"](x[private == label]).detach()[:, 0]
        axes[1].hist(z, bins=np.linspace(-6, 6, 41), alpha=0.5, color=colour)
    axes[1].set(title="The filter leads: it hides the private label (colours)", xlabel="published number")
    plt.savefig(out / "two_sides_of_one_coin.png", dpi=150)


if __name__ == "__main__":
    main()
