"""Time several trainings one after another and in processes, in turns within one run.

OMP_NUM_THREADS=1 python docs/benchmarks/ensembles.py --rounds 7
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import statistics
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from minimaxopt import Batches, Game, Run, Sensitivity, solve_many

ETAS = (0.1, 0.2, 0.3, 0.4)
STEPS = {"mlp": 100, "conv": 10, "small": 60}
MEMBERS = {"mlp": 4, "conv": 4, "small": 32}
BATCH = 128


def risk(eta: float) -> Any:
    """Return the classifier's risk under an attack of strength ``eta``."""

    def f(classifier: nn.Module, attacker: nn.Module, batch: Any) -> torch.Tensor:
        x, y = batch
        return F.cross_entropy(classifier(x + eta * attacker(x.flatten(1)).tanh().view_as(x)), y)

    return f


def run(kind: str, member: int) -> Run:
    """Return one training, the same in every process."""
    with torch.random.fork_rng():
        torch.manual_seed(member)
        if kind == "small":
            shape, attacked = (5,), 5
            classifier = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 10))
        elif kind == "mlp":
            shape, attacked = (20,), 20
            classifier = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        else:
            shape, attacked = (1, 28, 28), 784
            classifier = nn.Sequential(
                nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
                nn.Flatten(), nn.Linear(256, 10),
            )  # fmt: skip
        wide = 8 if kind == "small" else 64
        attacker = nn.Sequential(nn.Linear(attacked, wide), nn.ReLU(), nn.Linear(wide, attacked))
        torch.manual_seed(0)
        samples = torch.rand(1024, *shape), torch.randint(0, 10, (1024,))
    game = Game(risk(ETAS[member % len(ETAS)]), classifier, attacker)
    return Run(
        game,
        Sensitivity(gamma=1.0),
        steps=STEPS[kind],
        data=Batches(samples, 16 if kind == "small" else BATCH),
        seed=member,
    )


def alone(kind: str, member: int) -> float:
    """Play one training with one thread, and return its last risk."""
    torch.set_num_threads(1)
    return float(solve_many([run(kind, member)])[0].history.last("risk"))


def main() -> None:
    """Print the wall-clock and processor times of each form as ratios to those of the loop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}, one thread a process")
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        for kind, count in MEMBERS.items():
            members = range(count)
            forms = {
                "loop": lambda k=kind, m=members: solve_many([run(k, i) for i in m]),
                f"{arguments.processes} processes": lambda k=kind, m=members: pool.starmap(alone, [(k, i) for i in m]),
            }
            wall: dict[str, list[float]] = {name: [] for name in forms}
            busy: dict[str, list[float]] = {name: [] for name in forms}
            for turn in range(arguments.rounds + 1):
                for name, form in forms.items():
                    started, busy_before = time.perf_counter(), time.process_time()
                    form()
                    if turn:  # the first warms up
                        wall[name].append(time.perf_counter() - started)
                        busy[name].append(time.process_time() - busy_before)
            for name in forms:
                print(f"{kind:5} x {count:2} {name:12} wall {ratio_text(wall, name)}", end="")
                # The time of this process says nothing of others.
                print("" if "processes" in name else f", of the processor {ratio_text(busy, name)}", end="")
                print(f"; {1e3 * statistics.median(wall[name]) / STEPS[kind] / count:.2f} ms a step")


def ratio_text(times: dict[str, list[float]], name: str) -> str:
    """Return the median ratio to the loop's time of the same round, with the smallest and the largest."""
    ratios = [a / b for a, b in zip(times[name], times["loop"], strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
