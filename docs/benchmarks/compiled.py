"""Time compiled steps against eager ones, and the members of an ensemble one by one against all in one vmap.

Both sides of a ratio take turns within one run, so that other work of the machine slows both.

    OMP_NUM_THREADS=1 python docs/benchmarks/compiled.py
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimaxopt import AlternatingGDA, Context, Descent, Game, Sensitivity, SimultaneousGDA
from minimaxopt.execution.compile import prepare, rehearse
from minimaxopt.loop.rollback import StepBlocks

ROUNDS, MEMBERS = 41, 8


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(196, 64), nn.Tanh(), nn.Linear(64, 10))


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
    )


class Attacker(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 196))

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.3 * self.net(x).tanh().view_as(x)


def risk(u: Any, v: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(u(v(batch[0])), batch[1])


def samples(n: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, 1, 14, 14, generator=g), torch.randint(0, 10, (n,), generator=g)


def step_function(game: Game, solver: Any, batch: Any, *, compiled: bool, **settings: Any) -> Callable[[], None]:
    ctx = Context(game, players=solver.players, **settings)
    if compiled:
        prepare(ctx, solver)
    return lambda: ctx.advance(solver, None, batch) and None


def in_turns(first: Callable[[], None], second: Callable[[], None]) -> tuple[float, float, float]:
    """Return the median milliseconds of both and the median of the ratios second / first."""
    for side in (first, second):
        for _ in range(3):
            side()
    times: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        pair: list[float] = []
        for side in (first, second):
            start = time.perf_counter()
            for _ in range(5):
                side()
            pair.append((time.perf_counter() - start) / 5e-3)
        times.append((pair[0], pair[1]))
    ratio = statistics.median(b / a for a, b in times)
    return statistics.median(a for a, _ in times), statistics.median(b for _, b in times), ratio


def compiled_steps() -> None:
    print(
        "| leader | solver | batch | as written, ms | compiled, ms | ratio | first step, s |\n|---|---|---|---|---|---|---|"
    )
    for net in (mlp, conv):
        for solver in (AlternatingGDA(), Sensitivity(gamma=1.0)):
            for n in (32, 128):
                game, batch = Game(risk, net(), Attacker()), samples(n)
                sides = [step_function(game, solver, batch, compiled=c) for c in (False, True)]
                start = time.perf_counter()
                sides[1]()
                seconds = time.perf_counter() - start
                a, b, ratio = in_turns(*sides)
                print(
                    f"| {net.__name__} | `{solver.name}` | {n} | {a:.2f} | {b:.2f} | {ratio:.2f} | {seconds:.0f} |",
                    flush=True,
                )


def loops() -> None:
    """Print what a step costs in one compiled loop, for risks of bare tensors without data."""
    print("\n| players in | solver | as written, us | in the loop, us | compiling, s |\n|---|---|---|---|---|")
    adam = partial(torch.optim.Adam, lr=1e-9)  # so that no run drifts to denormal numbers, whose arithmetic is slow
    for n in (1, 10, 100):
        a = torch.randn(n, n) / n**0.5
        f = lambda u, v, a=a: u @ u / 2 + u @ (a @ v) - v @ v / 2  # noqa: E731 - a game's risk
        for solver in (SimultaneousGDA(), AlternatingGDA(), Sensitivity(gamma=1.0)):
            sides: list[Callable[[], None]] = []
            for compiled in (False, True):
                ctx = Context(Game(f, torch.ones(n), torch.ones(n)), u_optimizer=adam, v_optimizer=adam)
                start = time.perf_counter()
                if compiled:
                    prepare(ctx, solver)
                    rehearse(ctx, solver)
                blocks = StepBlocks(ctx, solver, {"u": "u", "v": "v"})
                sides.append(lambda blocks=blocks, steps=1000 if compiled else 20: blocks.make(steps) and None)
                seconds = time.perf_counter() - start
            eager, loop, _ = in_turns(*sides)
            print(f"| R^{n} | `{solver.name}` | {eager * 50:.0f} | {loop:.1f} | {seconds:.0f} |", flush=True)


def ensembles() -> None:
    print(f"\n| leader | batch | {MEMBERS} members in turn, ms | one vmap, ms | ratio |\n|---|---|---|---|---|")
    for net in (mlp, conv):
        for n in (32, 128):
            batch, members = samples(n), [net() for _ in range(MEMBERS)]
            f = lambda u, v, batch: F.cross_entropy(u(batch[0]), batch[1])  # noqa: E731 - a game's risk
            sgd = partial(torch.optim.SGD, lr=0.01)
            alone = [
                step_function(Game(f, m, None), Descent(), batch, compiled=False, u_optimizer=sgd) for m in members
            ]
            a, b, ratio = in_turns(lambda alone=alone: [step() for step in alone] and None, stacked(members, batch))
            print(f"| {net.__name__} | {n} | {a:.2f} | {b:.2f} | {ratio:.2f} |", flush=True)


def stacked(members: list[nn.Module], batch: tuple[Tensor, Tensor]) -> Callable[[], None]:
    """Return one step of plain descent of all members in one vmap: the least that a stacked form would do."""
    parameters, _ = torch.func.stack_module_state(members)
    parameters = {name: t.detach() for name, t in parameters.items()}

    def loss(member: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(members[0], member, (batch[0],)), batch[1])

    gradients_of = torch.func.vmap(torch.func.grad_and_value(loss))

    def step() -> None:
        gradients, _ = gradients_of(parameters)
        for name, tensor in parameters.items():
            tensor.sub_(gradients[name], alpha=0.01)

    return step


if __name__ == "__main__":
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()} CPU, {threads} thread(s)\n"
    )
    compiled_steps()
    loops()
    ensembles()
