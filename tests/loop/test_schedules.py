"""Schedules of the learning rates, against their closed forms."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as L
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LinearLR, MultiStepLR, SequentialLR

from minimaxopt import AlternatingGDA, Checkpoint, Game, solve
from minimaxopt.errors import ResumeError
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


class Remembering(torch.optim.lr_scheduler.LRScheduler):
    """A schedule whose memory is of every type of container; it refuses to go on with another."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.memory: dict[str, Any] = {
            "recent": deque([0.1], maxlen=3),
            "counts": Counter([1]),
            "by_parity": defaultdict(list, {0: [1]}),
            "order": OrderedDict(b=1, a=2),
            "visited": {0},
            "pair": (1, [2.0]),
            "dtype": torch.float64,
            "shape": torch.Size([2]),
            "number": np.float32(0.5),
        }
        super().__init__(optimizer)

    def get_lr(self) -> list[float | torch.Tensor]:
        memory = self.memory
        memory["recent"].append(0.1 / (1 + len(memory["visited"])))
        memory["counts"].update([self.last_epoch % 3])
        memory["by_parity"][self.last_epoch % 2].append(self.last_epoch)
        memory["order"].move_to_end("b")
        memory["visited"].add(self.last_epoch)
        memory["number"] = memory["number"] * np.float32(0.9)
        assert isinstance(memory["pair"], tuple)
        assert (memory["dtype"], memory["shape"].numel(), type(memory["number"])) == (torch.float64, 2, np.float32)
        rate = (
            sum(memory["recent"]) / 3 + 0.01 * memory["counts"].most_common(1)[0][0] + 0.001 * float(memory["number"])
        )
        return [rate for _ in self.base_lrs]


SCHEDULES: dict[str, Any] = {
    "steps then milestones": lambda o: SequentialLR(o, [L.ConstantLR(o, 1.0, 1), MultiStepLR(o, [3])], [4]),
    "chained": lambda o: L.ChainedScheduler([MultiStepLR(o, [2, 5, 5], 0.5), ExponentialLR(o, 0.9)]),
    "one cycle": partial(L.OneCycleLR, max_lr=0.2, total_steps=20),
    "cyclic": partial(L.CyclicLR, base_lr=0.01, max_lr=0.1, step_size_up=3, mode="exp_range", cycle_momentum=False),
    "restarts": partial(L.CosineAnnealingWarmRestarts, T_0=3, T_mult=2),
    "lambda": partial(L.LambdaLR, lr_lambda=lambda k: 0.9**k),
    "multiplicative": partial(L.MultiplicativeLR, lr_lambda=lambda k: 0.9),
    "polynomial": partial(L.PolynomialLR, total_iters=9, power=2.0),
    "every container": Remembering,
}


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")  # torch's own, inside SequentialLR
@pytest.mark.filterwarnings("ignore:To get the last learning rate")
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("at", [1, 2, 5])
def test_schedules_resume_to_the_bit(schedule: Any, at: int, tmp_path: Path) -> None:
    def go(steps: int, **more: Any) -> list[float]:
        game = Game(lambda u, v: (u - 1).square(), torch.tensor(0.0).double(), None)
        return (
            solve(game, "descent", steps=steps, u_optimizer=sgd, u_scheduler=schedule, **more).history["risk"].tolist()
        )

    go(at, callbacks=[Checkpoint(tmp_path)])
    assert go(12, resume=tmp_path) == go(12)


def test_an_optimizers_state_resumes_with_its_types(tmp_path: Path) -> None:
    class Odd(torch.optim.SGD):
        """Moves by the mean of its latest gradients, which it keeps in a deque."""

        def step(self, closure: Any = None) -> None:
            del closure
            for group in self.param_groups:
                for p in group["params"]:
                    state = self.state[p]
                    recent = state.setdefault("recent", deque(maxlen=2))
                    recent.append(p.grad.clone())
                    state.setdefault("counts", Counter()).update([len(recent)])
                    p.data.sub_(group["lr"] * sum(recent) / len(recent) / state["counts"].most_common()[0][1])

    def go(steps: int, **more: Any) -> list[float]:
        game = Game(lambda u, v: (u - 1).square().sum(), torch.zeros(2), None)
        return solve(game, "descent", steps=steps, u_optimizer=partial(Odd, lr=0.1), **more).history["risk"].tolist()

    go(3, callbacks=[Checkpoint(tmp_path)])
    assert go(9, resume=tmp_path) == go(9)


def test_a_schedule_that_cannot_be_kept_is_named(tmp_path: Path) -> None:
    def schedule(optimizer: torch.optim.Optimizer) -> ExponentialLR:
        made = ExponentialLR(optimizer, 0.9)
        made.clock = object()  # type: ignore[attr-defined] - what a schedule of somebody else's may have
        return made

    game = Game(lambda u, v: u.square(), torch.tensor(1.0), None)
    with pytest.raises(ResumeError, match=r"checkpoint\.run\.schedulers\.u\.clock: object cannot be saved; keep"):
        solve(game, "descent", steps=2, u_scheduler=schedule, callbacks=[Checkpoint(tmp_path)])
