"""Draws from ``random`` and ``numpy.random``: seeded, replayed and resumed like torch's, and the user's left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from minimaxopt import (
    AlternatingGDA,
    Checkpoint,
    Evaluate,
    Extragradient,
    Game,
    KBeam,
    SimultaneousGDA,
    Solution,
    certify,
    solve,
)
from minimaxopt.loop import loop
from minimaxopt.results import storage

STEPS = 40


class Noise(Dataset[torch.Tensor]):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor(np.random.randn() + random.gauss())


class Numbers:
    """Batch ``i`` is the number ``i``."""

    def at(self, index: int) -> int:
        return index


def of_the_data(u: torch.Tensor, v: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return (u * v - x).square().mean() - 2 * v.square()


def from_the_start(u: torch.Tensor, v: torch.Tensor, _: Any) -> torch.Tensor:
    return (u * v - random.random() - np.random.randn()).square() - 2 * v.square()


def late(u: torch.Tensor, v: torch.Tensor, step: int) -> torch.Tensor:
    """Draw from one generator first at step 13 and from the other at step 29."""
    x = (random.random() if step >= 13 else 0.5) + (np.random.rand() if step >= 29 else 0.5)
    return (u * v - x).square() - 2 * v.square()


def both(u: torch.Tensor, v: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return of_the_data(u, v, x + np.random.randn())


def loader() -> DataLoader[torch.Tensor]:
    return DataLoader(Noise(), 4, shuffle=True)


KINDS: dict[str, tuple[Any, Any]] = {
    "data": (of_the_data, loader),
    "risk": (from_the_start, Numbers),
    "late": (late, Numbers),
    "both": (both, loader),
    "list": (from_the_start, lambda: [0, 1, 2]),
}


def play(kind: str, steps: int = STEPS, solver: Any = None, **more: Any) -> Solution:
    f, data = KINDS[kind]
    sgd = partial(torch.optim.SGD, lr=0.05)
    game = Game(f, torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64))
    return solve(
        game, solver or SimultaneousGDA(), steps=steps, data=data(), seed=3, u_optimizer=sgd, v_optimizer=sgd, **more
    )


def values(solution: Solution) -> list[float]:
    return [solution.u.item(), solution.v.item(), *solution.history["risk"].tolist()]


def disturb(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    np.random.randn()  # leaves a second number in the generator
    random.gauss()


@pytest.fixture(autouse=True)
def own_state():
    python, numpy = random.getstate(), np.random.get_state()
    yield
    random.setstate(python)
    np.random.set_state(numpy)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_solves_are_equal_whatever_the_global_state(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    disturb(1)
    first = play(kind)
    disturb(2)
    monkeypatch.setattr(loop, "_BLOCK_SECONDS", 1e9)  # where blocks end has no influence
    assert values(play(kind)) == values(first)
    disturb(2)
    monkeypatch.setattr(loop, "_BLOCK_STEPS", 1)
    assert values(play(kind)) == values(first)
    assert len(set(first.history["risk"].tolist())) == STEPS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [5, 13, 14, 30])
def test_two_halves_equal_the_whole(kind: str, at: int, tmp_path: Path) -> None:
    disturb(1)
    play(kind, at, callbacks=[Checkpoint(tmp_path)])
    disturb(2)
    assert values(play(kind, resume=tmp_path)) == values(play(kind))


def test_a_killed_process_is_continued_to_the_bit(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.loop.test_host_randomness", str(tmp_path)]
    child = subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (tmp_path / "18").exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    child.kill()
    _, errors = child.communicate()
    assert child.returncode == -signal.SIGKILL, errors.decode()
    assert storage.read(tmp_path / "checkpoint.json")["run"]["step"] < STEPS
    assert values(play("both", resume=tmp_path)) == values(play("both"))


def states() -> list[Any]:
    numpy = np.random.get_state(legacy=False)
    return [random.getstate(), repr(numpy), np.random.get_bit_generator()]


@pytest.mark.parametrize("engine", [np.random.MT19937, np.random.PCG64])
def test_the_users_generators_are_left_as_they_were(engine: Any) -> None:
    original = np.random.get_bit_generator()
    try:
        np.random.set_bit_generator(engine(5))
        random.seed(5)
        np.random.randn()
        random.gauss()
        before = states()
        first = play("both")
        assert states() == before

        def fail(u: torch.Tensor, v: torch.Tensor, step: int) -> torch.Tensor:
            if step == 7:
                raise ZeroDivisionError
            return from_the_start(u, v, step)

        with pytest.raises(ZeroDivisionError):
            solve(Game(fail, torch.tensor(1.0), torch.tensor(1.0)), steps=9, data=Numbers())
        assert states() == before
        certify(Game(late, torch.tensor(1.0), torch.tensor(1.0)), play("late"), data=[20], restarts=0)
        assert states() == before
    finally:
        np.random.set_bit_generator(original)
    assert values(play("both")) == values(first)


@pytest.mark.parametrize("solver", [Extragradient(), KBeam(2)], ids=["extragradient", "k-beam"])
def test_all_evaluations_of_a_step_see_the_same_draw(solver: Any) -> None:
    draws: dict[int, list[float]] = defaultdict(list)

    def noted(u: torch.Tensor, v: torch.Tensor, step: int) -> torch.Tensor:
        noise = random.random() + np.random.rand() if step >= 6 else 0.0
        draws[step].append(noise)
        return (u * v - noise).square().sum() - 2 * v.square().sum()

    game = Game(noted, torch.tensor(1.0), torch.tensor(0.5))
    settings = {"u_optimizer": partial(torch.optim.SGD, lr=0.05), "v_optimizer": partial(torch.optim.SGD, lr=0.05)}
    solve(game, solver, steps=15, data=Numbers(), **settings)
    draws_at_the_end = {step: noise[-2:] for step, noise in draws.items() if step >= 6}
    assert all(len(noise) == 2 and len(set(noise)) == 1 for noise in draws_at_the_end.values())
    assert len({noise[0] for noise in draws_at_the_end.values()}) == 9


def test_certificates_repeat_themselves() -> None:
    solution = play("late", 5)
    game = Game(late, torch.tensor(1.0).double(), torch.tensor(0.5).double())
    disturb(1)
    first = certify(game, solution, data=[20, 21], restarts=1, steps=5, seed=4)
    disturb(2)
    again = certify(game, solution, data=[20, 21], restarts=1, steps=5, seed=4)
    assert (again.risk, again.worst, again.followers) == (first.risk, first.worst, first.followers)


def test_an_error_or_interrupt_while_draws_are_noticed_is_raised() -> None:
    """A block is played again because of its draws; what happens in the replay is the user's to see."""
    calls = {"now": 0}

    def f(u: torch.Tensor, v: torch.Tensor, step: int) -> torch.Tensor:
        calls["now"] += step == 13
        if calls["now"] == 2:  # the first call of the replay
            raise KeyboardInterrupt
        return late(u, v, step)

    solution = solve(Game(f, torch.tensor(1.0), torch.tensor(1.0)), SimultaneousGDA(), steps=STEPS, data=Numbers())
    assert (str(solution.status), solution.steps) == ("interrupted", 13)


class Restless:
    """A map-style dataset whose items are drawn from the ninth batch of an epoch on."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor(float(index) + (np.random.randn() if index >= 16 else 0.0))


class Scattered:
    """A sampler that shuffles by ``random`` when it begins."""

    def __iter__(self) -> Any:
        return iter(random.sample(range(10), 10))

    def __len__(self) -> int:
        return 10


@pytest.mark.parametrize("at", [4, 8, 9, 20])
@pytest.mark.parametrize(
    "data",
    [
        lambda: DataLoader(Restless(), 2),
        lambda: DataLoader(Restless(), 2, shuffle=True),
        lambda: DataLoader(list(range(10)), 2, sampler=Scattered()),
    ],
    ids=["late", "shuffled", "sampler"],
)
@pytest.mark.parametrize("ascent_batches", ["same", "fresh"])
def test_data_that_draw_late_or_in_their_order(
    data: Any, at: int, ascent_batches: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go(steps: int = 30, **more: Any) -> list[float]:
        game = Game(of_the_data, torch.tensor(1.0).double(), torch.tensor(0.5).double())
        sgd = partial(torch.optim.SGD, lr=0.001)
        solver = AlternatingGDA(ascent_steps=2)
        settings: dict[str, Any] = {"u_optimizer": sgd, "v_optimizer": sgd, "ascent_batches": ascent_batches}
        return values(solve(game, solver, steps=steps, data=data(), **settings, **more))

    disturb(1)
    whole = go()
    disturb(2)
    go(at, callbacks=[Checkpoint(tmp_path)])
    assert go(resume=tmp_path) == whole
    monkeypatch.setattr(loop, "_BLOCK_SECONDS", 1e9)
    assert go() == whole
    monkeypatch.setattr(loop, "_BLOCK_STEPS", 1)
    assert go() == whole


def test_data_that_cannot_be_drawn_again_are_seeded_all_the_same() -> None:
    def noise() -> Any:
        for _ in range(STEPS):
            yield torch.tensor(np.random.randn())

    def go() -> list[float]:
        game = Game(both, torch.tensor(1.0).double(), torch.tensor(0.5).double())
        return values(solve(game, SimultaneousGDA(), steps=STEPS, data=noise(), seed=1))

    disturb(1)
    first = go()
    disturb(2)
    assert go() == first


@pytest.mark.parametrize("kind", ["risk", "plain"])
def test_what_callbacks_draw_is_seeded_by_the_step(kind: str, tmp_path: Path) -> None:
    def play_with(steps: int = STEPS, **more: Any) -> list[float]:
        metrics = {"noise": lambda u, v: random.random() + np.random.rand()}
        callbacks = [Evaluate(metrics, every=5), *more.pop("callbacks", [])]
        f = from_the_start if kind == "risk" else lambda u, v, _: u * v
        game = Game(f, torch.tensor(1.0), torch.tensor(0.5))
        return (
            solve(game, "simultaneous-gda", steps=steps, data=Numbers(), callbacks=callbacks, **more)
            .history["noise"]
            .tolist()
        )

    disturb(1)
    whole = play_with()
    disturb(2)
    play_with(15, callbacks=[Checkpoint(tmp_path)])
    assert play_with(resume=tmp_path) == whole
    assert len(set(whole)) == len(whole) == 8


def test_generators_that_are_not_used_are_not_seeded_at_each_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded = {"times": 0}
    seed = random.seed

    def counted(*arguments: Any) -> None:
        seeded["times"] += 1
        seed(*arguments)

    monkeypatch.setattr(random, "seed", counted)
    monkeypatch.setattr(loop, "_BLOCK_SECONDS", 1e9)
    solve(Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0)), "extragradient", steps=300)
    assert seeded["times"] == 0
    ordinary = DataLoader(TensorDataset(torch.ones(12)), 4, shuffle=True)
    solve(Game(lambda u, v, _: u * v, torch.tensor(1.0), torch.tensor(1.0)), "extragradient", steps=300, data=ordinary)
    assert seeded["times"] == 0
    play("risk", 300)
    assert seeded["times"] >= 300


if __name__ == "__main__":  # the process that is to be killed

    class Tell:
        every = 1

        def __call__(self, run: Any) -> None:
            if run.step > 18:
                (Path(sys.argv[1]) / "18").touch()
                time.sleep(0.2)

    torch.set_num_threads(1)
    play("both", callbacks=[Tell(), Checkpoint(Path(sys.argv[1]), every=3)])


class Continuing:
    """Goes on where it stands whenever it is iterated, and says where that is."""

    def __init__(self) -> None:
        self.at = 0  # no method, as that of Batches is

    def __iter__(self) -> Any:
        while self.at < 100:
            self.at += 1
            yield torch.tensor(float(self.at))

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


@pytest.mark.parametrize("draws", [True, False])
def test_a_stateful_loader_loses_no_batch_to_a_first_draw(draws: bool) -> None:
    def f(u: torch.Tensor, v: torch.Tensor, x: torch.Tensor) -> Any:
        noise = random.random() if draws else 0.0
        return u.square() - v.square() + noise * u, {"batch": x}

    solution = solve(
        Game(f, torch.tensor(1.0), torch.tensor(1.0)), "simultaneous-gda", data=Continuing(), steps=5, progress=False
    )
    assert solution.history["batch"].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
