"""Regression that is fair to the worst group: the follower weights the groups, on the simplex.

    min_w max_q  sum_g q_g L_g(w),    q >= 0,  sum q = 1,    L_g the mean squared error of group g

equals min_w max_g L_g(w). Least squares serves the majority; the robust line levels the two worst groups. SciPy solves
the same problem in another form (min t with L_g(w) <= t) and must agree.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patheffects import withStroke
from scipy.optimize import minimize
from torch import Tensor

from minimaxopt import AlternatingGDA, Game, Simplex, solve

GROUPS = {"majority": (160, 1.0, 0.0), "middle": (80, 0.3, 0.3), "minority": (20, -0.5, 0.9)}  # samples, slope, height
COLOURS, LABELS = ["#3C9BD0", "#7F7F7F", "#D55E00"], [(-0.55, -1.0), (-1.0, 0.62), (-0.6, 1.55)]
HALO = [withStroke(linewidth=3, foreground="white")]
SQUARES, ROBUST = "black", "#0072B2"


def sample(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows (1, x), (N, 2), the targets y, (N,), and the group numbers, (N,), of random points."""
    rng = torch.Generator().manual_seed(seed)
    group = torch.repeat_interleave(torch.arange(3), torch.tensor([n for n, _, _ in GROUPS.values()]))
    slope, height = (torch.tensor([g[i] for g in GROUPS.values()], dtype=torch.float64)[group] for i in (1, 2))
    x, noise = 2 * torch.rand(len(group), generator=rng) - 1, 0.25 * torch.randn(len(group), generator=rng)
    return torch.stack([torch.ones_like(x), x], 1).double(), slope * x + height + noise, group


def group_losses(w: Tensor, points: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    x, y, group = points
    squares = (x @ w - y).square()
    return torch.stack([squares[group == g].mean() for g in range(3)])


def reference(points: tuple[Tensor, Tensor, Tensor]) -> float:
    """Return the least loss of the worst group, by SciPy: minimise t subject to L_g(w) <= t."""
    slack = {"type": "ineq", "fun": lambda z: z[2] - group_losses(torch.tensor(z[:2]), points).numpy()}
    return float(minimize(lambda z: z[2], np.array([0.0, 0.0, 9.0]), constraints=slack, method="SLSQP", tol=1e-12).x[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/examples"), help="folder of the picture")
    out: Path = parser.parse_args().out
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)

    points = sample(seed=0)
    squares = torch.linalg.lstsq(points[0], points[1]).solution
    even = torch.full((3,), 1 / 3, dtype=torch.float64)
    game = Game(lambda w, q: q @ group_losses(w, points), squares, even, project_v=Simplex())
    sgd = partial(torch.optim.SGD, lr=0.1)
    solution = solve(game, AlternatingGDA(), steps=800, u_optimizer=sgd, v_optimizer=sgd)
    robust, weights, best = solution.u, solution.v, reference(points)
    before, after = (group_losses(w, points).numpy() for w in (squares, robust))
    print("group           least squares   robust   weight")
    for name, a, b, q in zip(GROUPS, before, after, weights, strict=True):
        print(f"{name:14s} {a:14.4f} {b:8.4f} {q:8.3f}")
    print(f"worst group: least squares {before.max():.6f}, robust {after.max():.6f}, SciPy's optimum {best:.6f}")
    print(f"difference from SciPy after {solution.steps} steps: {after.max() - best:.1e}")

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained", width_ratios=[1.2, 1])
    for g, (name, colour) in enumerate(zip(GROUPS, COLOURS, strict=True)):
        in_group = points[2] == g
        left.scatter(*(c[in_group].numpy() for c in (points[0][:, 1], points[1])), s=22, color=colour, alpha=0.85)
        left.text(*LABELS[g], f"{name}, n = {in_group.sum()}", color=colour, weight="bold", path_effects=HALO)
    for w, colour, name in ((squares, SQUARES, "least squares"), (robust, ROBUST, "robust")):
        left.axline((0, float(w[0])), slope=float(w[1]), color=colour, linewidth=2.4)
        left.annotate(name, (1.02, float(w.sum())), color=colour, weight="bold", annotation_clip=False, va="center")
    left.set(xlabel="x", ylabel="y", xlim=(-1.05, 1.0))
    left.set_title("Least squares follows the majority", loc="left", weight="bold")
    rows = range(len(GROUPS))
    right.hlines(rows, before, after, color="#cccccc", linewidth=5, zorder=1)
    both = ((before, SQUARES, "least squares", "center"), (after, ROBUST, "robust", "right"))
    for losses, colour, name, side in both:
        right.scatter(losses, rows, s=90, color=colour, zorder=2)
        right.text(losses[-1], rows[-1] + 0.1, name, ha=side, weight="bold", color=colour)
    right.axvline(best, color=ROBUST, linewidth=1, linestyle=":")
    right.text(best + 0.02, 0.4, f"optimum by SciPy\n{best:.4f}", color=ROBUST)
    right.set_yticks(rows, [f"{name}\nweight {q:.2f}" for name, q in zip(GROUPS, weights, strict=True)])
    right.set(xlim=(0, 1.2 * before.max()), ylim=(-0.4, 2.4), xlabel="mean squared error")
    right.set_title("Robust levels the two worst groups", loc="left", weight="bold")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out / "robust_regression.png", dpi=150)
    print(f"picture: {out / 'robust_regression.png'}")


if __name__ == "__main__":
    main()
