"""Time a step of the library against the same mathematics written by hand, and write ``docs/benchmarks/steps.md``.

Both steps take turns within one run, so that other work of the machine slows both. The library's includes what ``solve``
adds to it: blocks of 100 steps with their snapshots, checks and history.

    OMP_NUM_THREADS=1 python docs/benchmarks/steps.py
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from minimaxopt import AlternatingGDA, Context, Game, Sensitivity, SimultaneousGDA, Unrolled
from minimaxopt.game.live_risk import GuardedBatch
from minimaxopt.game.played_game import PlayedGame
from minimaxopt.loop.rollback import StepBlocks
from minimaxopt.solvers import gda
from minimaxopt.solvers.evaluation import Evaluation

PAGE = Path(__file__).with_name("steps.md")
ROUNDS, GAMMA, INNER = 31, 1.0, 0.01
Step = Callable[[], None]


class Noise(nn.Module):
    """Adds a bounded, learned perturbation to an image."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layer = nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * self.layer(x.flatten(1)).tanh().view_as(x)


class Constant:
    """The same batch at every step, so that no data are timed."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def at(self, index: int) -> Any:
        return self.batch


def mlp(batch: int) -> tuple[nn.Module, nn.Module, Any]:
    u = nn.Sequential(nn.Flatten(), nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 10))
    return u, Noise(196), (torch.randn(batch, 1, 14, 14), torch.randint(0, 10, (batch,)))


def cnn(batch: int) -> tuple[nn.Module, nn.Module, Any]:
    u = nn.Sequential(
        nn.Conv2d(1, 16, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )
    return u, Noise(196), (torch.randn(batch, 1, 14, 14), torch.randint(0, 10, (batch,)))


class Number(nn.Module):
    """A parameter in R."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.ones(1))


def plane(batch: int) -> tuple[nn.Module, nn.Module, Any]:
    return Number(), Number(), torch.zeros(batch)


def images(u: Any, v: Any, batch: Any) -> Tensor:
    return F.cross_entropy(u(v(batch[0])), batch[1])


def quadratic(u: Any, v: Any, batch: Any) -> Tensor:
    return (u.x**2 / 2 + u.x * v.x - v.x**2 / 2).sum()


GAMES: dict[str, tuple[Callable[[int], Any], Callable[..., Tensor], int, int]] = {
    "R^2": (plane, quadratic, 1, 100),
    "MLP 196-64-10, batch 32": (mlp, images, 32, 40),
    "MLP 196-64-10, batch 128": (mlp, images, 128, 30),
    "CNN 16-32, batch 128": (cnn, images, 128, 6),
}
SOLVERS: dict[str, Any] = {
    "simultaneous": SimultaneousGDA(),
    "alternating": AlternatingGDA(),
    "Alg. 1": Sensitivity(gamma=GAMMA),
    "Alg. 1, alternating": Sensitivity(gamma=GAMMA, alternate=True),
    "unrolled, K = 2": Unrolled(steps=2, inner_lr=INNER),
}


def adam(tensors: Any) -> torch.optim.Optimizer:
    # So small a rate that neither run drifts to values, such as denormal ones, on which arithmetic is slow.
    return torch.optim.Adam(tensors, lr=1e-9, fused=True)


def by_hand(kind: str, f: Callable[..., Tensor], u: nn.Module, v: nn.Module, batch: Any) -> Step:
    """Return the step as one would write it."""
    us, vs = list(u.parameters()), list(v.parameters())
    u_optimizer, v_optimizer = adam(us), adam(vs)

    def move(optimizer: Any, tensors: list[Any], gradients: Any, sign: float) -> None:
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = gradient if sign > 0 else -gradient
        optimizer.step()
        for tensor in tensors:
            tensor.grad = None

    def descend(gradients: Any) -> None:
        move(u_optimizer, us, gradients, 1.0)

    def ascend(gradients: Any) -> None:
        move(v_optimizer, vs, gradients, -1.0)

    def penalized() -> tuple[Any, Any]:
        risk = f(u, v, batch)
        g_v = torch.autograd.grad(risk, vs, create_graph=True)
        squared = sum((g * g).sum() for g in g_v)
        return torch.autograd.grad(risk + GAMMA / 2 * squared, us), [g.detach() for g in g_v]

    def simultaneous() -> None:
        gradients = torch.autograd.grad(f(u, v, batch), [*us, *vs])
        descend(gradients[: len(us)])
        ascend(gradients[len(us) :])

    def alternating() -> None:
        descend(torch.autograd.grad(f(u, v, batch), us))
        ascend(torch.autograd.grad(f(u, v, batch), vs))

    def algorithm_1() -> None:
        g_u, g_v = penalized()
        ascend(g_v)
        descend(g_u)

    def algorithm_1_alternating() -> None:
        ascend(torch.autograd.grad(f(u, v, batch), vs))
        descend(penalized()[0])

    def unrolled() -> None:
        names = [name for name, _ in v.named_parameters()]
        values: list[Tensor] = list(vs)
        first: list[Tensor] = []

        def at(values: list[Tensor]) -> Any:
            if isinstance(v, Number):
                stand_in = Number.__new__(Number)
                nn.Module.__init__(stand_in)
                vars(stand_in)["x"] = values[0]
                return stand_in
            return partial(torch.func.functional_call, v, dict(zip(names, values, strict=True)))

        for _ in range(2):
            g_v = torch.autograd.grad(f(u, at(values), batch), values, create_graph=True)
            first = first or [g.detach() for g in g_v]
            values = [x + INNER * g for x, g in zip(values, g_v, strict=True)]
        g_u = torch.autograd.grad(f(u, at(values), batch), us)
        ascend(first)
        descend(g_u)

    steps = (simultaneous, alternating, algorithm_1, algorithm_1_alternating, unrolled)
    return dict(zip(SOLVERS, steps, strict=True))[kind]


def by_library(kind: str, f: Callable[..., Tensor], u: nn.Module, v: nn.Module, batch: Any) -> Callable[[int], None]:
    """Return a function that makes a block of steps, as ``solve`` does."""
    ctx = Context(Game(f, u, v), data=Constant(batch), u_optimizer=adam, v_optimizer=adam)
    blocks = StepBlocks(ctx, SOLVERS[kind], {"u": "u", "v": "v"})
    return lambda size: blocks.make(size) and None


def ratios(kind: str, game: str) -> tuple[list[float], float]:
    """Return library / hand for each round, and the microseconds of a step by hand."""
    build, f, batch, size = GAMES[game]
    torch.manual_seed(0)
    hand = by_hand(kind, f, *build(batch))
    library = by_library(kind, f, *build(batch))
    library(5)
    for _ in range(5):
        hand()
    measured: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        library(size)
        middle = time.perf_counter()
        for _ in range(size):
            hand()
        measured.append((middle - start, time.perf_counter() - middle))
    return [a / b for a, b in measured], statistics.median(b for _, b in measured) / size * 1e6


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


def parts() -> dict[str, list[Any]]:
    """Return what a step does besides its mathematics, with the replacements that leave it out."""
    replaced: dict[str, list[Any]] = {
        "nothing": [],
        "draws that can be replayed": [mock.patch.object(Evaluation, "_seed", nothing)],
        "the modules' state, read and put back": [
            mock.patch.object(PlayedGame, "read_state", lambda self: self.start),
            mock.patch.object(PlayedGame, "write_state", nothing),
        ],
        "the batch, checked for changes": [mock.patch.object(GuardedBatch, "check", nothing)],
        "the recorded norm": [mock.patch.object(gda, "sensitivity_of", lambda gradients: {"risk": gradients.risk})],
    }
    return {**replaced, "all four": [patch for patches in replaced.values() for patch in patches]}


def ratios_without(game: str) -> dict[str, float]:
    """Return library / hand of simultaneous steps, with each part left out in turn."""
    build, f, batch, size = GAMES[game]
    torch.manual_seed(0)
    hand = by_hand("simultaneous", f, *build(batch))
    library = by_library("simultaneous", f, *build(batch))
    library(5)
    measured: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(size):
            hand()
        by_one = time.perf_counter() - start
        for name, patches in parts().items():
            with ExitStack() as stack:
                for patch in patches:
                    stack.enter_context(patch)
                start = time.perf_counter()
                library(size)
                measured.setdefault(name, []).append((time.perf_counter() - start) / by_one)
    return {name: statistics.median(values) for name, values in measured.items()}


def peak(run: Callable[[], None]) -> int:
    """Return the most bytes that a call holds at once, beyond those held before it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


def memory() -> list[str]:
    """Return a table of what a step holds at once, in MB by the library and by hand."""
    kinds = ("alternating", "Alg. 1", "Alg. 1, alternating")
    rows = ["| game | " + " | ".join(kinds) + " |", "|---|" + "---|" * len(kinds)]
    for game in [game for game in GAMES if game.endswith("batch 128")]:
        build, f, batch, _ = GAMES[game]
        cells: list[str] = []
        for kind in kinds:
            torch.manual_seed(0)
            hand, library = by_hand(kind, f, *build(batch)), by_library(kind, f, *build(batch))
            library(5)
            hand()
            cells.append(f"{peak(lambda library=library: library(1)) / 1e6:.2f} ({peak(hand) / 1e6:.2f})")
        rows.append(f"| {game} | " + " | ".join(cells) + " |")
    return rows


def main() -> None:
    """Measure everything and write the page."""
    torch.set_num_threads(1)
    profiled = ("R^2", "MLP 196-64-10, batch 32")
    without = [ratios_without(game) for game in profiled]
    besides = ["| left out | " + " | ".join(profiled) + " |", "|---|" + "---|" * len(profiled)]
    besides += [f"| {name} | " + " | ".join(f"{each[name]:.2f}" for each in without) + " |" for name in without[0]]
    print("\n".join(besides), flush=True)
    rows = ["| game | " + " | ".join(SOLVERS) + " |", "|---|" + "---|" * len(SOLVERS)]
    for game in GAMES:
        cells: list[str] = []
        for kind in SOLVERS:
            values, hand = ratios(kind, game)
            low, middle, high = statistics.quantiles(values, n=4)
            cells.append(f"{middle:.2f} ({low:.2f} to {high:.2f}; {hand:,.0f})")
            print(game, kind, cells[-1], flush=True)
        rows.append(f"| {game} | " + " | ".join(cells) + " |")
    PAGE.write_text(
        "# The cost of a step\n\n"
        "What a step of the library costs, beside the same mathematics written by hand: the ratio of times, with its\n"
        "quartiles, and in brackets the microseconds of the step by hand. Written by `make bench`.\n\n"
        + "\n".join(rows)
        + "\n\n"
        f"Medians of {ROUNDS} interleaved pairs, fused Adam, one thread, torch {torch.__version__}, Python\n"
        f"{platform.python_version()}, {platform.machine()} ({platform.system()}). The library's steps are made in blocks, "
        "as `solve`\nmakes them, and record the risk and the squared norm of the follower's gradient at each step.\n\n"
        "## What a step does besides\n\n"
        "The ratio of simultaneous steps, with parts left out that a loop written by hand does not have. What then remains\n"
        "are the calls between the optimizers, the evaluation and the records.\n\n" + "\n".join(besides) + "\n\n"
        "## Memory\n\n"
        "What a step holds at once beyond players, moments and batch, in MB: the library's, and in brackets that of the step\n"
        "by hand. The library's has a snapshot of the players and their moments beside it.\n\n"
        + "\n".join(memory())
        + "\n"
    )


if __name__ == "__main__":
    main()
