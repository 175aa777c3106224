"""Many steps as one compiled loop: the values of ordinary steps, and ordinary steps wherever there is no loop."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from minimaxopt import AlternatingGDA, Box, Checkpoint, Descent, Game, Sensitivity, SimultaneousGDA, Status, solve
from tests.execution.test_compile import SGD, both, needs_compiler, tiny

pytestmark = needs_compiler
ADAM = partial(torch.optim.Adam, lr=0.01)
OPTIMIZERS: dict[str, Any] = {
    "adam": ADAM,
    "adamw": partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
    "momentum": partial(torch.optim.SGD, lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_in_the_loop_equal_ordinary_ones(optimizer: str) -> None:
    factory = OPTIMIZERS[optimizer]
    solution = both(tiny(), Sensitivity(gamma=0.5), steps=150, u_optimizer=factory, v_optimizer=SGD)
    assert solution.manifest["steps_at_once"] is True


@pytest.mark.parametrize("solver", [AlternatingGDA(ascent_steps=2), Sensitivity(gamma="sigma", alternate=True)])
def test_solvers_of_several_evaluations(solver: Any) -> None:
    assert both(tiny(), solver, steps=30).manifest["steps_at_once"] is True


def test_players_of_several_tensors_and_groups() -> None:
    def f(u: Any, v: Any) -> Tensor:
        return (u["a"] * v[0]).sum() + u["b"].square() * v[1].sum() - v[0].square().sum() - v[1].square().sum()

    def groups(tensors: Any) -> torch.optim.Optimizer:
        named = dict(tensors.named())
        return torch.optim.SGD(
            [{"params": [named["b"]], "lr": 0.01}, {"params": [named["a"]], "momentum": 0.5}], lr=0.1
        )

    ones = partial(torch.ones, dtype=torch.float64)
    game = Game(f, {"a": ones(2), "b": ones(())}, [ones(2), ones(3)])
    assert both(game, Sensitivity(gamma=0.5), u_optimizer=groups, steps=20).manifest["steps_at_once"] is True


def test_where_a_run_is_interrupted_has_no_influence(tmp_path: Any) -> None:
    settings: dict[str, Any] = {"u_optimizer": ADAM, "v_optimizer": ADAM, "compile": True, "progress": False}
    whole = solve(tiny(), Sensitivity(gamma=1.0), steps=150, **settings)
    solve(tiny(), Sensitivity(gamma=1.0), steps=41, callbacks=[Checkpoint(tmp_path)], **settings)
    rest = solve(tiny(), Sensitivity(gamma=1.0), steps=150, resume=tmp_path, **settings)
    assert torch.equal(rest.u, whole.u)
    assert torch.equal(rest.v, whole.v)
    assert rest.history["sensitivity"].tolist() == whole.history["sensitivity"].tolist()


def test_a_run_that_diverges_in_the_loop_ends_at_the_last_finite_point() -> None:
    fast = partial(torch.optim.SGD, lr=1e3)
    with pytest.warns(match="ceased to be finite"):
        solution = solve(
            tiny(), SimultaneousGDA(), steps=500, u_optimizer=fast, v_optimizer=fast, compile=True, progress=False
        )
    assert solution.manifest["steps_at_once"] is True
    assert solution.status is Status.DIVERGED
    assert 10 < solution.steps < 200
    assert bool(torch.isfinite(solution.u).all())


def test_a_rate_that_a_callback_changes_is_followed() -> None:
    class Halve:
        every = 10
        calls = 0

        def __call__(self, loop: Any) -> None:
            self.calls += 1
            for moving in loop.ctx.optimizers.values():
                for group in moving.optimizer.param_groups:
                    group["lr"] /= 2

    solution = both(tiny(), SimultaneousGDA(), steps=25, callbacks=[halve := Halve()])
    assert halve.calls >= 4  # in both solves
    assert solution.manifest["steps_at_once"] is True


def noisy(u: Any, v: Any) -> Tensor:
    return (u * v).sum() + torch.randn_like(u).sum() * u.sum() - v.square().sum()


def pair(tensors: Any) -> torch.optim.Optimizer:
    optimizer = torch.optim.SGD(tensors, lr=0.05)
    optimizer.register_step_pre_hook(lambda *_: None)
    return optimizer


NO_LOOP: dict[str, tuple[Any, dict[str, Any]]] = {
    "data": (lambda: tiny(lambda u, v, batch: (u * v * batch).sum()), {"data": [torch.ones(2, dtype=torch.float64)]}),
    "draws": (lambda: tiny(noisy), {}),
    "schedule": (tiny, {"u_scheduler": partial(torch.optim.lr_scheduler.StepLR, step_size=2)}),
    "optimizer": (tiny, {"u_optimizer": partial(torch.optim.RMSprop, lr=0.01)}),
    "hook": (tiny, {"u_optimizer": pair}),
    "constraint": (
        lambda: Game(lambda u, v: (u - v).square().sum(), torch.ones(2).double(), torch.ones(2).double(), project_u=Box(0, 1)),
        {},
    ),
    "module": (lambda: Game(lambda u, v: u(v).sum() + v.square().sum(), nn.Linear(2, 1).double(), torch.ones(2).double()), {}),
}  # fmt: skip


SAID = {
    "data": "takes a batch",
    "draws": "draws random numbers",
    "schedule": "scheduled",
    "optimizer": "u_optimizer is neither",
    "hook": "u_optimizer has hooks",
    "constraint": "constrained",
    "module": "is a module",
}


@pytest.mark.parametrize("reason", NO_LOOP)
def test_other_games_are_played_step_by_step(reason: str) -> None:
    game, settings = NO_LOOP[reason]
    manifest = both(game(), Descent(), **settings).manifest
    assert manifest["steps_at_once"] is False
    assert SAID[reason] in manifest["why_stepwise"]


def test_a_loop_whose_values_differ_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from minimaxopt.execution.step_loop import StepLoop

    make = StepLoop.make

    def wrong(self: Any, ctx: Any, count: int) -> Any:
        records = make(self, ctx, count)
        ctx.point.u["value"].data.add_(1e-3)
        return records

    monkeypatch.setattr(StepLoop, "make", wrong)
    manifest = both(tiny(), Descent()).manifest
    assert manifest["steps_at_once"] is False
    assert "differs when compiled" in manifest["why_stepwise"]
