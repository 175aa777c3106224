"""Derivatives of a game of your own modules: mixed products, a linear system, and the ends of a spectrum.

A small classifier plays against a network that shifts its inputs. `minimaxopt.calculus` gives what second-order methods
are made of: the operator, Hessian blocks times vectors without forming a matrix, and what linear algebra needs of them.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimaxopt import AlternatingGDA, Context, Game
from minimaxopt.calculus import Blocks, Tensors, conjugate_gradient, operator, smallest_eigenvalue

DAMPING = 2.0
ADAM = partial(torch.optim.Adam, lr=1e-2)


def risk(classifier: nn.Module, shift: nn.Module, batch: Any) -> Tensor:
    x, y = batch
    lengths = sum(p.square().sum() for p in shift.parameters())
    return F.cross_entropy(classifier(x + shift(x)), y) - 0.1 * lengths


def anticipated(blocks: Blocks, g_v: Tensors) -> tuple[Tensors, int]:
    """Return `(d2f/du dv) (-d2f/dv2 + damping I)^-1 grad_v f`, and the steps of conjugate gradients that it took."""

    def negative_curvature(w: Tensors) -> Tensors:
        product = blocks.product(w, row="v", column="v")
        return {name: DAMPING * t - product[name] for name, t in w.items()}

    solved = conjugate_gradient(negative_curvature, g_v, tolerance=1e-8)
    return blocks.product(solved.x, row="u", column="v"), solved.steps


def norm(tensors: Tensors) -> float:
    return float(torch.stack([t.square().sum() for t in tensors.values()]).sum().sqrt())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/examples"), help="folder of the picture")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    x = torch.randn(256, 4)
    batch = x, (x[:, 0] * x[:, 1] > 0).long()
    classifier = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))
    shift = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))
    ctx = Context(Game(risk, classifier, shift), data=[batch], u_optimizer=ADAM, v_optimizer=ADAM)
    solver = AlternatingGDA()
    state = solver.init(ctx)
    ends: list[list[float]] = []
    for step in range(201):
        state, record = ctx.advance(solver, state)
        if step % 20 == 0:
            blocks = ctx.blocks(products=100)  # the gradient is linearised once, by torch.func

            def own(w: Tensors, player: Any, blocks: Blocks = blocks) -> Tensors:
                product = blocks.product(w, row=player, column=player)
                return product if player == "u" else {name: -t for name, t in product.items()}

            pair = {
                p: smallest_eigenvalue(partial(own, player=p), t) for p, t in (("u", ctx.point.u), ("v", ctx.point.v))
            }
            ends.append([step, float(record["risk"]), pair["u"].value, pair["v"].value])

    g = operator(ctx.risk(), ctx.point)
    total, steps = anticipated(ctx.blocks(products=100), {name: -t for name, t in g.v.items()})
    units = {name: torch.stack([torch.zeros_like(t)] * 2) for name, t in ctx.point.v.items()}
    units["2.bias"][0, 0] = units["2.bias"][1, 1] = 1.0
    columns = ctx.blocks().products(units, row="u", column="v")  # two columns of the mixed block by one vmap
    print(f"||grad_u f|| = {norm(g.u):.2e}, what the follower's answer adds: {norm(total):.2e} ({steps} products)")
    print(f"two columns of d2f/du dv, norms: {[round(norm({n: t[k] for n, t in columns.items()}), 4) for k in (0, 1)]}")
    print(f"smallest eigenvalues after {ends[-1][0]} steps: d2f/du2 {ends[-1][2]:.3f}, -d2f/dv2 {ends[-1][3]:.3f}")
    numbers = torch.tensor(ends)
    axes = plt.figure(figsize=(9, 3.6), layout="constrained").subplots(1, 2)
    axes[0].plot(numbers[:, 0], numbers[:, 1], color="#0072B2")
    axes[0].set(title="The risk", xlabel="step")
    axes[1].plot(numbers[:, 0], numbers[:, 2], color="#0072B2", label="of the leader, d²f/du²")
    axes[1].plot(numbers[:, 0], numbers[:, 3], color="#D55E00", label="of the follower, -d²f/dv²")
    axes[1].axhline(0, color="black", linewidth=0.5)
    axes[1].set(title="Smallest eigenvalue of a player's own Hessian", xlabel="step")
    axes[1].legend()
    plt.savefig(out / "curvature_of_a_network.png", dpi=150)


if __name__ == "__main__":
    main()
