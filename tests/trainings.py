"""A small adversarial training with all that a run depends on: batch statistics, dropout, moments, schedules."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR

from minimaxopt import (
    AlternatingGDA,
    Batches,
    Game,
    Sensitivity,
    SimultaneousGDA,
    Solution,
    Unrolled,
    solve,
)

STEPS = 60


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(16, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).flatten(1))


class Attacker(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(36, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 36))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.3 * self.net(x.flatten(1)).tanh().view_as(x)


def risk(classifier: nn.Module, attacker: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    x, y = batch
    return F.cross_entropy(classifier(attacker(x)), y)


def network_game() -> Game:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Game(risk, Classifier(), Attacker())


def samples(n: int = 42) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(2)
    return torch.randn(n, 1, 6, 6, generator=g), torch.randint(0, 3, (n,), generator=g)


def batches() -> Batches:
    return Batches(samples(), batch_size=8, seed=3)


def fingerprint(solution: Solution) -> str:
    """Hash every tensor of both players and every column of the history."""
    digest = hashlib.sha256()
    for player in (solution.u, solution.v):
        state = player.state_dict() if isinstance(player, nn.Module) else {"": player}
        for name, tensor in state.items():
            digest.update(name.encode() + tensor.numpy(force=True).tobytes())
    for name in solution.history.names:
        digest.update(name.encode() + solution.history[name].tobytes() + solution.history.steps(name).tobytes())
    return digest.hexdigest()


CASES: dict[str, dict[str, Any]] = {
    "sensitivity": {"solver": Sensitivity(gamma=0.5)},
    "fresh ascent": {"solver": AlternatingGDA(ascent_steps=2), "ascent_batches": "fresh"},
    "unrolled": {"solver": Unrolled(steps=2, inner_lr=0.1)},
    "maximin": {"solver": Sensitivity(gamma=0.5), "order": "maximin"},
    "sgd": {
        "solver": SimultaneousGDA(),
        "u_optimizer": partial(torch.optim.SGD, lr=0.05, momentum=0.9),
        "v_optimizer": partial(torch.optim.SGD, lr=0.05, momentum=0.9),
    },
}


def play(case: str, steps: int = STEPS, **changes: Any) -> Solution:
    """Play a case, by default with the default optimizers; schedules that a dictionary of milestones is part of."""
    settings: dict[str, Any] = {
        "data": batches(),
        "seed": 5,
        "u_scheduler": partial(CosineAnnealingLR, T_max=STEPS),
        "v_scheduler": partial(MultiStepLR, milestones=[10, 35, 50], gamma=0.5),
        "progress": False,
        **CASES[case],
    }
    return solve(network_game(), steps=steps, **{**settings, **changes})


class SupportsState:
    """A loader that can say where it is, with a generator of its own."""

    def __init__(self, tensors: tuple[torch.Tensor, ...]) -> None:
        self._tensors, self._generator = tensors, torch.Generator().manual_seed(7)
        self._order: list[int] = []

    def __iter__(self):
        while True:
            if not self._order:
                self._order = torch.randperm(len(self._tensors[0]), generator=self._generator).tolist()
            rows, self._order = self._order[:8], self._order[8:]
            yield tuple(t[rows] for t in self._tensors)
            if not self._order:
                return

    def state_dict(self) -> dict[str, Any]:
        return {"order": self._order, "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._order = list(state["order"])
        self._generator.set_state(state["generator"])
