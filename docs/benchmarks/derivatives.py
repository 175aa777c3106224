"""Time Hessian-vector products by both engines, and write ``docs/benchmarks/derivatives.md``.

The engines take turns within one run, so that other work of the machine slows both. The games are those of ``steps.py``.

    OMP_NUM_THREADS=1 python docs/benchmarks/derivatives.py
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from steps import Constant, cnn, images, mlp
from torch import Tensor

from minimaxopt import Context, Game
from minimaxopt.calculus import Blocks, Tensors
from minimaxopt.calculus.spectrum import random_like
from minimaxopt.solvers.hessian_engine import At, pure_risk

PAGE = Path(__file__).with_name("derivatives.md")
ROUNDS, SECONDS = 15, 0.15  # pairs, and about how long a round of one cell takes
PRODUCTS, TOGETHER = (1, 3, 10, 30), (1, 4, 16)


def tensors(size: int, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(size), torch.randn(size), torch.randn(size, size)


def coupled(u: Any, v: Any, matrix: Tensor) -> Tensor:
    return u.square().sum() / 2 + u @ (matrix @ v) - v.square().sum() / 2 + (u * v).sin().sum()


GAMES: dict[str, tuple[Callable[[int], Any], Callable[..., Tensor], int]] = {
    "R^2": (partial(tensors, 1), coupled, 1),
    "R^20": (partial(tensors, 10), coupled, 1),
    "R^100": (partial(tensors, 50), coupled, 1),
    "MLP 196-64-10, batch 128": (mlp, images, 128),
    "CNN 16-32, batch 128": (cnn, images, 128),
}


def interleaved(one: Callable[[], Any], other: Callable[[], Any]) -> tuple[str, float]:
    """Return the ratio of times ``other / one``, its median with the quartiles, and the microseconds of ``one``."""
    other()
    start = time.perf_counter()
    one()
    repeats = max(1, int(SECONDS / 2 / (time.perf_counter() - start)))
    pairs: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(repeats):
            one()
        middle = time.perf_counter()
        for _ in range(repeats):
            other()
        pairs.append((middle - start, time.perf_counter() - middle))
    low, middle, high = statistics.quantiles([b / a for a, b in pairs], n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f}", statistics.median(a for a, _ in pairs) / repeats * 1e6


def measure(name: str) -> tuple[list[str], list[str]]:
    """Return a game's cells of both tables."""
    build, f, batch = GAMES[name]
    torch.manual_seed(0)
    u, v, data = build(batch)
    ctx = Context(Game(f, u, v), data=Constant(data), players=())
    ctx.evaluation.open(ctx.source.take())
    at = At(*ctx.evaluation.begun_with(0, ctx.batch))

    def by_autograd() -> Blocks:
        return ctx.evaluation.blocks(ctx.point, ("v",), 0, ctx.batch)

    def by_torch_func() -> Blocks:
        return Blocks(
            pure_risk(ctx.played, ctx.evaluation.functional, at), ctx.point, columns=("v",), engine="torch.func"
        )

    def one_by_one(blocks: Blocks, vectors: list[Tensors]) -> None:
        for vector in vectors:
            blocks.product(vector, row="v", column="v")

    drawn = [random_like(ctx.point.v, seed) for seed in range(max(*PRODUCTS, *TOGETHER))]
    first: list[str] = []
    for number in PRODUCTS:
        ratio, own = interleaved(
            lambda number=number: one_by_one(by_autograd(), drawn[:number]),
            lambda number=number: one_by_one(by_torch_func(), drawn[:number]),
        )
        first.append(f"{ratio}; {own:,.0f})")
    second: list[str] = []
    for number in TOGETHER:
        stacked = {n: torch.stack([vector[n] for vector in drawn[:number]]) for n in drawn[0]}
        for blocks in (by_autograd(), by_torch_func()):
            ratio, own = interleaved(
                lambda blocks=blocks, number=number: one_by_one(blocks, drawn[:number]),
                lambda blocks=blocks, stacked=stacked: blocks.products(stacked, row="v", column="v"),
            )
            second.append(f"{ratio}; {own:,.0f})")
    return first, second


def table(heads: list[str], rows: dict[str, list[str]]) -> str:
    lines = ["| game | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    return "\n".join([*lines, *(f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items())])


def main() -> None:
    """Measure everything and write the page."""
    torch.set_num_threads(1)
    measured: dict[str, tuple[list[str], list[str]]] = {}
    for name in GAMES:
        measured[name] = measure(name)
        print(name, *measured[name], flush=True)
    together = [f"{k} together, {engine}" for k in TOGETHER for engine in ("autograd", "torch.func")]
    PAGE.write_text(
        "# The cost of Hessian-vector products\n\n"
        "One point, its gradient and some products with `d2f/dv2`: the time by torch.func divided by the time by\n"
        "autograd, with its quartiles, and the microseconds by autograd. Written by `make bench`.\n\n"
        + table([f"{k} product{'s' * (k > 1)}" for k in PRODUCTS], {n: first for n, (first, _) in measured.items()})
        + "\n\n"
        "Several products at one point: the time by `torch.vmap` divided by the time one by one, by either engine, and\n"
        "the microseconds one by one.\n\n"
        + table(together, {n: second for n, (_, second) in measured.items()})
        + f"\n\nMedians of {ROUNDS} interleaved pairs, one thread, torch {torch.__version__}, Python\n"
        f"{platform.python_version()}, {platform.machine()} ({platform.system()}).\n"
    )


if __name__ == "__main__":
    main()
