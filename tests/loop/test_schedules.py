"""Schedules of the learning rates, against their closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LinearLR, MultiStepLR, SequentialLR

from minimaxopt import AlternatingGDA, Game, solve
from minimaxopt.loop import loop as _loop

FAST = 4.0
sgd = partial(torch.optim.SGD, lr=0.05)
fast = partial(torch.optim.SGD, lr=FAST)
BLOCKS = [1, 2, 7, 1000]


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let blocks grow to a number of steps, whatever the machine's speed."""

    def choose(steps: int) -> None:
        monkeypatch.setattr(_loop, "_BLOCK_SECONDS", 1e9)
        monkeypatch.setattr(_loop, "_BLOCK_STEPS", steps)

    return choose


def warm_up(optimizer: torch.optim.Optimizer) -> SequentialLR:
    parts = [LinearLR(optimizer, start_factor=0.25, total_iters=3), ExponentialLR(optimizer, gamma=0.9)]
    return SequentialLR(optimizer, parts, milestones=[3])


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")  # torch's own, inside SequentialLR
@pytest.mark.parametrize(
    ("schedule", "rate"),
    [
        (partial(ExponentialLR, gamma=0.9), lambda k: 0.1 * 0.9**k),
        (partial(CosineAnnealingLR, T_max=20), lambda k: 0.05 * (1 + math.cos(math.pi * k / 20))),
        (partial(MultiStepLR, milestones=[4, 9], gamma=0.1), lambda k: 0.1 * 0.1 ** ((k >= 4) + (k >= 9))),
        (warm_up, lambda k: 0.1 * (0.25 + 0.25 * k) if k < 3 else 0.1 * 0.9 ** (k - 3)),
    ],
)
@pytest.mark.parametrize("player", ["u", "v"])
@pytest.mark.parametrize("order", ["minimax", "maximin"])
def test_schedules_advance_once_a_step(
    schedule: Any, rate: Callable[[int], float], player: str, order: Any, blocks: Callable[[int], None]
) -> None:
    """On a linear risk the distance moved is the sum of the rates."""
    blocks(5)
    steps = 15
    seen: list[float] = []

    class Look:
        every = 1

        def __call__(self, run: Any) -> None:
            seen.append(run.rates()[player])

    solution = solve(
        Game(lambda u, v: u + v, torch.tensor(0.0).double(), torch.tensor(0.0).double()),
        AlternatingGDA(),
        steps=steps,
        order=order,
        callbacks=[Look()],
        u_optimizer=partial(torch.optim.SGD, lr=0.1),
        v_optimizer=partial(torch.optim.SGD, lr=0.1),
        **{f"{player}_scheduler": schedule},
    )
    moved = {"u": -solution.u.item(), "v": solution.v.item()}
    expected = {"u": 0.1 * steps, "v": 0.1 * steps, player: sum(map(rate, range(steps)))}
    assert moved == pytest.approx(expected, rel=1e-12)
    assert seen == pytest.approx([rate(k + 1) for k in range(steps)], rel=1e-12)
