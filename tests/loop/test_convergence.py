"""The tolerance: what counts as stationary, and when it is looked at."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from minimaxopt import Ascent, Box, Descent, Evaluate, Game, SimultaneousGDA, Status, solve
from minimaxopt.loop import loop as _loop

sgd = partial(torch.optim.SGD, lr=0.05)
BLOCKS = [1, 2, 7, 1000]


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let blocks grow to a number of steps, whatever the machine's speed."""

    def choose(steps: int) -> None:
        monkeypatch.setattr(_loop, "_BLOCK_SECONDS", 1e9)
        monkeypatch.setattr(_loop, "_BLOCK_STEPS", steps)

    return choose


def saddle() -> Game:
    return Game(lambda u, v: u**2 / 2 + u * v - v**2 / 2, torch.tensor(1.0), torch.tensor(1.0))


@pytest.mark.parametrize("size", BLOCKS)
def test_a_tolerance_stops_at_a_step_that_the_machine_has_no_say_in(size: int, blocks: Callable[[int], None]) -> None:
    """Simultaneous GDA on this saddle shrinks the distance by a known factor, so that the step is known too."""
    blocks(size)
    game = Game(lambda u, v: u**2 / 2 - v**2 / 2, torch.tensor(1.0).double(), torch.tensor(1.0).double())
    slow = partial(torch.optim.SGD, lr=0.01)
    look = Evaluate({"u": lambda u, v: float(u)}, every=1000)
    solution = solve(
        game, SimultaneousGDA(), steps=5000, tolerance=1e-2, u_optimizer=slow, v_optimizer=slow, callbacks=[look]
    )
    needed = math.log(1e-2 / math.sqrt(2)) / math.log(0.99)
    assert solution.steps == 50 * math.ceil(needed / 50) == 500
    assert (solution.status, solution.ok) == (Status.CONVERGED, True)
    norm = math.sqrt(2) * 0.99**500
    assert solution.message == f"the gradient's norm {norm:.3g} is within the tolerance 0.01."
    assert solution.history.steps("u").tolist() == [499]  # the end is evaluated, though not due


def test_a_tolerance_that_is_not_met_uses_the_steps() -> None:
    slow = partial(torch.optim.SGD, lr=0.01)
    solution = solve(saddle(), steps=100, tolerance=1e-9, u_optimizer=slow, v_optimizer=slow)
    assert (solution.status, solution.steps) == (Status.STEPS_USED, 100)
    assert solution.gradient_evaluations == 2 * 100 + 2  # two looks


def test_stationarity_is_that_of_the_projected_game() -> None:
    """At the box's corner the gradient is 1 for ever, and the point is stationary all the same."""
    game = Game(lambda u, v: u - v**2 / 2, torch.tensor(1.0), torch.tensor(0.0), project_u=Box(0, 1))
    go = partial(solve, solver=SimultaneousGDA(), steps=200, tolerance=1e-6, u_optimizer=sgd, v_optimizer=sgd)
    boxed = go(game)
    assert (boxed.status, boxed.steps, boxed.u.item()) == (Status.CONVERGED, 50, 0.0)
    assert go(Game(game.f, game.u, game.v)).status is Status.STEPS_USED


@pytest.mark.parametrize(("solver", "moves"), [(Descent(), "u"), (Ascent(), "v")])
def test_only_who_moves_has_to_be_stationary(solver: Any, moves: str) -> None:
    game = Game(lambda u, v: (u**2).sum() / 2 + (v**2).sum() * -0.5 + u.sum() + v.sum(), torch.zeros(2), torch.zeros(2))
    solution = solve(game, solver, steps=2000, tolerance=1e-4, u_optimizer=sgd, v_optimizer=sgd)
    assert solution.status is Status.CONVERGED
    assert getattr(solution, moves).abs().sum().item() == pytest.approx(2, abs=1e-3)


def test_a_responding_follower_converges_by_the_leader_alone() -> None:
    game = Game(lambda u, z: (u - 1) ** 2 + u * z - z**2, torch.tensor(0.0), lambda risk, u: u / 2)
    solution = solve(game, Descent(), steps=2000, tolerance=1e-5, u_optimizer=sgd)
    assert solution.status is Status.CONVERGED
    assert solution.u.item() == pytest.approx(0.8, abs=1e-4)  # 2 (u - 1) + u / 2 = 0
