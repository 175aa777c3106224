"""A loss with a keyword-only argument ``step`` gets the number of the step that is being made, and only in a run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from minimaxopt import AlternatingGDA, Checkpoint, Context, Game, KBeam, Solution, Status, certify, plot, solve
from minimaxopt.errors import ArgumentError, DataError, DivergenceWarning
from minimaxopt.solvers import SOLVERS
from tests.trainings import fingerprint

SGD = partial(torch.optim.SGD, lr=0.1)
ONE = torch.tensor(1.0, dtype=torch.float64)


def annealed(u: Tensor, v: Tensor, *, step: int) -> Tensor:
    return u * v - v**2 / 2 + 2.0**-step * u**2


def played(f: Any, solver: Any = "simultaneous-gda", steps: int = 6, **settings: Any) -> Solution:
    players = [p for p in "uv" if p in (SOLVERS[solver]() if isinstance(solver, str) else solver).players]
    optimizers = {f"{p}_optimizer": SGD for p in players}
    return solve(Game(f, ONE, ONE.clone()), solver, steps=steps, **optimizers | settings)


def test_a_penalty_is_annealed_as_by_hand() -> None:
    u = v = 1.0
    for step in range(6):
        u, v = u - 0.1 * (v + 2 * 2.0**-step * u), v + 0.1 * (u - v)
    solution = played(annealed)
    assert solution.u.item() == pytest.approx(u, abs=1e-15)
    assert solution.v.item() == pytest.approx(v, abs=1e-15)


@pytest.mark.parametrize("solver", [*SOLVERS.values(), partial(KBeam, vectorise=True)], ids=lambda s: str(s)[-30:])
def test_every_evaluation_of_a_step_sees_its_number(solver: Any) -> None:
    numbers: list[int] = []

    def f(u: Tensor, v: Tensor, *, step: int) -> Any:
        numbers.append(step)
        return annealed(u, v, step=step), {"number": step}

    solution = played(f, solver(), steps=4)
    assert solution.history["number"].tolist() == [0, 1, 2, 3]
    assert numbers == sorted(numbers)
    assert set(numbers) == {0, 1, 2, 3}


def test_a_resumed_run_goes_on_with_its_number(tmp_path: Path) -> None:
    whole = played(annealed)
    played(annealed, steps=3, callbacks=[Checkpoint(tmp_path)])
    assert fingerprint(played(annealed, resume=tmp_path)) == fingerprint(whole)


def test_a_block_is_replayed_with_its_numbers() -> None:
    def f(u: Tensor, v: Tensor, *, step: int) -> Tensor:
        return annealed(u, v, step=step) * (float("nan") if step == 20 else 1.0)

    with pytest.warns(DivergenceWarning):
        solution = played(f, steps=50)
    expected = played(annealed, steps=solution.steps)
    assert solution.status is Status.DIVERGED
    assert solution.steps == 19  # the risk of step 20 is of the point after step 19
    assert torch.equal(solution.u, expected.u)


def test_steps_of_ones_own_see_their_numbers() -> None:
    ctx = Context(Game(annealed, ONE, ONE.clone()), u_optimizer=SGD, v_optimizer=SGD)
    solver, state = AlternatingGDA(), None
    for _ in range(3):
        state, _ = ctx.advance(solver, state)
    assert ctx.point.u["value"].item() == played(annealed, "alternating-gda", steps=3).u.item()


def test_a_default_is_replaced_and_a_partial_is_not() -> None:
    def f(u: Tensor, v: Tensor, *, step: int = 5) -> Tensor:
        return annealed(u, v, step=step)

    def fixed(u: Tensor, v: Tensor) -> Tensor:
        return annealed(u, v, step=5)

    assert torch.equal(played(f).u, played(annealed).u)
    assert torch.equal(played(partial(annealed, step=5)).u, played(fixed).u)
    assert not torch.equal(played(annealed).u, played(fixed).u)


def test_an_argument_that_is_not_keyword_only_is_the_batch() -> None:
    def f(u: Tensor, v: Tensor, step: Tensor) -> Tensor:
        return u * v + step.sum() * u

    assert played(f, data=[torch.ones(2)]).ok
    with pytest.raises(DataError, match=r"^data: are missing, so that f is called with \(u, v\)"):
        played(f)


def test_a_maximin_game_is_given_the_number_too() -> None:
    class Module(torch.nn.Module):
        def forward(self, u: Tensor, v: Tensor, *, step: int) -> Tensor:
            return annealed(u, v, step=step)

    by_function = played(annealed, "alternating-gda", order="maximin")
    assert torch.equal(played(Module(), "alternating-gda", order="maximin").u, by_function.u)
    assert not torch.equal(played(partial(annealed, step=0), "alternating-gda", order="maximin").u, by_function.u)


def test_a_responding_followers_risk_has_the_number() -> None:
    def f(u: Tensor, v: Tensor, *, step: int) -> Tensor:
        return u * v * (step + 1)

    def respond(risk: Any, u: Tensor) -> Tensor:
        return risk(u, torch.ones((), dtype=torch.float64))

    solution = solve(Game(f, ONE, respond), "descent", steps=2, u_optimizer=SGD)
    u = 1.0
    for step in range(2):
        u -= 0.1 * (step + 1) * (u * (step + 1))
    assert solution.u.item() == pytest.approx(u, abs=1e-15)


def test_the_followers_own_loss_has_the_number() -> None:
    def g(u: Tensor, v: Tensor, *, step: int) -> Tensor:
        return (v - step) ** 2 / 2

    solution = solve(Game(lambda u, v: u * v, ONE, ONE.clone(), follower_loss=g), "ascent", steps=3, v_optimizer=SGD)
    v = 1.0
    for step in range(3):
        v -= 0.1 * (v - step)
    assert solution.v.item() == pytest.approx(v, abs=1e-15)
    np.testing.assert_allclose(solution.history["follower_loss"][:2], [0.5, (0.9 - 1) ** 2 / 2], rtol=1e-12)


def test_outside_of_a_run_there_is_no_number() -> None:
    game = Game(annealed, ONE * 0, ONE * 0)
    message = (
        r"^f: takes the number of the step, and no step is being made here; fix it, such as by functools\.partial\(f"
    )
    with pytest.raises(ArgumentError, match=message):
        certify(game, (game.u, game.v), restarts=1, steps=5)
    with pytest.raises(ArgumentError, match=message):
        plot.Plane(game).field(np.zeros(2), np.zeros(2))
    fixed = Game(partial(annealed, step=3), ONE * 0, ONE * 0)
    assert certify(fixed, (fixed.u, fixed.v), restarts=1, steps=5).kind == "local Nash"
    own = Game(lambda u, v: u * v, ONE, ONE.clone(), follower_loss=lambda u, v, *, step: v**2)
    with pytest.raises(ArgumentError, match=r"^follower_loss: takes the number of the step"):
        certify(own, (own.u, own.v), restarts=1, steps=5)


def test_compiled_steps_would_freeze_the_number() -> None:
    with pytest.raises(
        ArgumentError, match=r"^compile: f takes the number of the step, which compiled code would freeze"
    ):
        played(annealed, compile=True)
