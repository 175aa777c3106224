"""Which labels are wrong? A bilevel problem: weights of training samples, chosen by the error on clean samples.

The follower is a classifier that minimises its loss on weighted training samples, of which two in five have the wrong
label. The leader holds a weight for each of them and minimises the trained classifier's loss on a few samples that are
known to be clean: min_u f(v(u)) with v(u) = argmin_v g(u, v). The risk f does not contain u at all; all that the leader
can do is to anticipate the follower's answer, as Stackelberg and Unrolled do.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor

from minimaxopt import Descent, Game, Solution, Stackelberg, Unrolled, solve

TRAIN, CLEAN, TEST, DIMENSIONS, WRONG = 300, 60, 2000, 20, 0.4
SOLVERS = {"stackelberg": Stackelberg(), "unrolled": Unrolled(steps=10, inner_lr=1.0)}


def samples(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return points of two overlapping Gaussians, and their labels 0 and 1."""
    y = torch.randint(2, (count,), generator=generator).double()
    x = torch.randn(count, DIMENSIONS, generator=generator, dtype=torch.float64)
    return x + 0.4 * (2 * y[:, None] - 1), y


def training_loss(logits: Tensor, classifier: Tensor, batch: tuple[Tensor, ...]) -> Tensor:
    """Return the follower's loss on weighted samples, with a decay that makes its answer unique."""
    x, y = batch[:2]
    losses = F.binary_cross_entropy_with_logits(x @ classifier, y, reduction="none")
    return (logits.sigmoid() * losses).mean() + 0.05 * classifier.square().sum()


def clean_loss(logits: Tensor, classifier: Tensor, batch: tuple[Tensor, ...]) -> Tensor:
    x, y = batch[2:]
    return F.binary_cross_entropy_with_logits(x @ classifier, y)


def error(classifier: Tensor, x: Tensor, y: Tensor) -> float:
    return float(((x @ classifier > 0) != (y > 0.5)).double().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/examples"), help="folder of the picture")
    parser.add_argument("--steps", type=int, default=200, help="steps of each solver")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    generator = torch.Generator().manual_seed(0)
    (x, true), clean, test = (samples(count, generator) for count in (TRAIN, CLEAN, TEST))
    wrong = torch.rand(TRAIN, generator=generator) < WRONG
    y = torch.where(wrong, 1 - true, true)
    sgd = partial(torch.optim.SGD, lr=1.0)
    logits, classifier = (torch.zeros(n, dtype=torch.float64) for n in (TRAIN, DIMENSIONS))  # all weights are 1/2

    def trained(x: Tensor, y: Tensor) -> Tensor:
        """Return the classifier of equal weights."""
        game = Game(lambda v, _: training_loss(logits[: len(x)], v, (x, y)), classifier, None)
        return solve(game, Descent(), steps=500, u_optimizer=sgd).u

    game, data = Game(clean_loss, logits, classifier, follower_loss=training_loss), [(x, y, *clean)]
    print(f"trained on all labels:        test error {error(trained(x, y), *test):.3f}")
    print(f"trained on clean ones alone:  test error {error(trained(*clean), *test):.3f}")
    solutions: dict[str, Solution] = {}
    for name, solver in SOLVERS.items():
        adam = partial(torch.optim.Adam, lr=0.1)
        solution = solve(game, solver, steps=options.steps, data=data, u_optimizer=adam, v_optimizer=sgd)
        weights, solutions[name] = solution.u.sigmoid(), solution
        low = (weights < 0.5).double()
        print(
            f"{name + ', weighted:':29} test error {error(solution.v, *test):.3f}; {low[wrong].mean():4.0%} of the wrong "
            f"labels and {low[~wrong].mean():4.0%} of the right ones have a weight below 1/2"
        )
    print(f"trained on true labels:       test error {error(trained(x, true), *test):.3f}")

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    weights, bins = solutions["stackelberg"].u.sigmoid(), torch.linspace(0, 1, 21).tolist()
    for label, chosen, colour in (("right label", ~wrong, "#0072B2"), ("wrong label", wrong, "#D55E00")):
        left.hist(weights[chosen].tolist(), bins=bins, color=colour, alpha=0.6, label=label)
    left.set(xlabel="weight of a training sample", ylabel="samples", title="What the leader chose")
    left.legend(frameon=False)
    for (name, solution), style in zip(solutions.items(), ("-", "--"), strict=True):
        right.plot(solution.history["risk"], style, color="black", label=name)
    right.set(xlabel="step", ylabel="loss on the clean samples", title="The leader's risk")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(options.out / "data_reweighting.png", dpi=150)
    print(f"picture: {options.out / 'data_reweighting.png'}")


if __name__ == "__main__":
    main()
