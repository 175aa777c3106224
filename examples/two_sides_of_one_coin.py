"""Two sides of one coin: the adversarial and the privacy problem through the same solver, each with its certificate.

A classifier plays against an opponent that changes its inputs; the leader decides which problem this is. A leading
classifier must withstand the worst change (adversarial training). A leading opponent must hide a private label from the
best classifier (a privacy filter). Both are min over u, max over v of f(u, v), and `solve` and `certify` treat them
alike.
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

SIZE = 0.6  # largest distance by which the attacker may move a point
STEPS = 3000
ADAM = partial(torch.optim.Adam, lr=1e-2)
DECAY = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=STEPS)
COLOURS = np.array(["#0072B2", "#D55E00"])


def sample(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return points (400, 2), the side on which each lies (useful, (400,)) and its height (private), with some noise."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(400, 2, generator=rng) @ torch.tensor([[1.0, 0.5], [0.0, 1.0]])
    useful, private = (x + 0.3 * torch.randn(400, 2, generator=rng) > 0).long().T
    return x, useful, private


def shifted(x: Tensor, y: Tensor, directions: Tensor) -> Tensor:
    """Move every point of a class in one direction, by at most SIZE: the attacker sees the label."""
    return x + SIZE * directions[y] / (1e-3 + directions[y].norm(dim=1, keepdim=True))


def attacked_risk(classifier: nn.Module, directions: Tensor, batch: Any) -> Tensor:
    x, y, _ = batch
    weights = sum(p.square().sum() for p in classifier.parameters())
    return F.cross_entropy(classifier(shifted(x, y, directions)), y) + 1e-2 * weights


def report(name: str, game: Game, points: Any) -> Any:
    """Solve a game and print its certificate: the same two calls for both problems."""
    data = Batches(points, len(points[0]), shuffle=False)
    options = {"u_optimizer": ADAM, "v_optimizer": ADAM, "u_scheduler": DECAY, "v_scheduler": DECAY}
    solution = solve(game, Sensitivity(gamma=1.0), data=data, steps=STEPS, **options)
    certificate = certify(game, solution, data, restarts=2, steps=300, v_optimizer=ADAM)
    numbers = [f"{bound.value:.4f}" for bound in (certificate.risk, certificate.worst, certificate.gap)]
    print(f"{name}: risk {numbers[0]}, at worst >= {numbers[1]}, gap >= {numbers[2]}; {certificate.kind}")
    return solution


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/examples"), help="folder of the picture")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    train, test = sample(0), sample(1)
    x, y, private = test

    robust = report("classifier leads", Game(attacked_risk, nn.Linear(2, 2), torch.randn(2, 2)), train)
    readers = (nn.Linear(1, 2), nn.Linear(1, 2))
    hidden = report("filter leads", privacy_game(nn.Linear(2, 1), *readers, penalty=1e-2, head_penalty=1e-2), train)
    for name, filter_ in (("as they are", nn.Identity()), ("filtered", hidden.u["filter"])):
        fit, held_out = (
            [filter_(points[0]).detach().numpy(), *(label.numpy() for label in points[1:])] for points in (train, test)
        )
        evaluation = evaluate_filter(None, *fit, *held_out, families=["logistic", "rbf-svm"])
        print(
            f"points {name}: useful label read {evaluation.useful:.3f}, private one at worst {evaluation.leakage:.3f}"
        )
    axes = plt.figure(figsize=(11, 4.2), layout="constrained").subplots(1, 2)
    moved = shifted(x, y, robust.v)
    axes[0].quiver(*x.T, *(moved - x).T, color=COLOURS[y], angles="xy", scale_units="xy", scale=1, width=0.003)
    w, b = (p.detach() for p in robust.u.parameters())
    abscissa = torch.linspace(-3, 3, 2)
    axes[0].plot(abscissa, -((w[1] - w[0])[0] * abscissa + b[1] - b[0]) / (w[1] - w[0])[1], "k", linewidth=2)
    axes[0].set(title="The classifier leads: the attacker moves each class across", ylim=(-3.5, 3.5), xlim=(-3, 3))
    for label, colour in enumerate(COLOURS):
        z = hidden.u["filter"](x[private == label]).detach()[:, 0]
        axes[1].hist(z, bins=np.linspace(-6, 6, 41), alpha=0.5, color=colour)
    axes[1].set(title="The filter leads: it hides the private label (colours)", xlabel="published number")
    plt.savefig(out / "two_sides_of_one_coin.png", dpi=150)


if __name__ == "__main__":
    main()
