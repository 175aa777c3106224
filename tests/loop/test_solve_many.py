"""Several solves in one call: each equal to its own, whatever befalls the others."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from minimaxopt import (
    Checkpoint,
    Evaluate,
    Game,
    JSONLLog,
    Run,
    Sensitivity,
    Solution,
    Status,
    solve,
    solve_many,
)
from minimaxopt.errors import ArgumentError, ResumeError
from tests.trainings import CASES, batches, fingerprint, network_game


def alone(run: Run) -> Solution:
    return solve(**{field.name: getattr(run, field.name) for field in fields(run)}, progress=False)


def training(case: str, steps: int = 12, **changes: Any) -> Run:
    return Run(network_game(), **{"steps": steps, "data": batches(), "seed": 5, **CASES[case], **changes})


def quadratic(u: Any, v: Any) -> torch.Tensor:
    return u**2 / 2 + 2 * u * v - v**2 / 2


def small(solver: Any = "sensitivity", steps: int = 7, **changes: Any) -> Run:
    return Run(Game(quadratic, torch.tensor(1.0), torch.tensor(1.0)), solver, steps, **changes)


class InterruptAt:
    """What Ctrl-C does, at a step."""

    every = 1

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, run: Any) -> None:
        if run.step == self.step:
            raise KeyboardInterrupt


def test_each_member_equals_its_own_solve_to_the_bit() -> None:
    runs = [training(case) for case in CASES] + [small("extragradient"), small(Sensitivity(gamma=0.5))]
    together = solve_many(runs)
    for run, solution in zip(runs, together, strict=True):
        single = alone(run)
        assert fingerprint(solution) == fingerprint(single)
        assert (solution.status, solution.message) == (single.status, single.message)
        assert solution.gradient_evaluations == single.gradient_evaluations
        assert solution.manifest == single.manifest
    assert fingerprint(together[0]) != fingerprint(together[1])


def test_the_global_random_state_is_left_as_found() -> None:
    before = torch.get_rng_state()
    solve_many([training("sensitivity", 2), training("sgd", 2)])
    assert torch.equal(torch.get_rng_state(), before)


def test_callbacks_and_checkpoints_are_those_of_each(tmp_path: Path) -> None:
    def callbacks(name: str) -> list[Any]:
        return [
            Evaluate({"twice": lambda u, v: 2.0 * float(u)}, every=2),
            JSONLLog(tmp_path / f"{name}.jsonl", every=3),
            Checkpoint(tmp_path / name, every=4),
        ]

    found = solve_many([small(callbacks=callbacks("a")), small("optimistic", callbacks=callbacks("b"))])
    for name, run, solution in (("c", small(), found[0]), ("d", small("optimistic"), found[1])):
        single = alone(replace(run, callbacks=callbacks(name)))
        assert fingerprint(solution) == fingerprint(single)
        assert solution.history["twice"].tolist() == single.history["twice"].tolist() != []
    for one, other in (("a", "c"), ("b", "d")):
        assert (tmp_path / f"{one}.jsonl").read_text() == (tmp_path / f"{other}.jsonl").read_text()
        steps = [json.loads((tmp_path / p / "checkpoint.json").read_text()) for p in (one, other)]
        assert steps[0].keys() == steps[1].keys()


def test_members_are_resumed_each_from_its_own_checkpoint(tmp_path: Path) -> None:
    names = ["sensitivity", "sgd"]
    solve_many([training(n, 5, callbacks=[Checkpoint(tmp_path / n)]) for n in names])
    rest = solve_many([training(n, resume=tmp_path / n) for n in names])
    whole = solve_many([training(n) for n in names])
    assert [fingerprint(s) for s in rest] == [fingerprint(s) for s in whole]
    assert [s.steps for s in rest] == [12, 12]


def test_an_interrupt_leaves_the_rest_where_they_stood(tmp_path: Path) -> None:
    solve_many([training("sgd", 5, callbacks=[Checkpoint(tmp_path / "r")])])
    saved = (tmp_path / "r" / "checkpoint.json").read_text()
    runs = [
        small(),
        small(callbacks=[InterruptAt(3)]),
        small("extragradient", callbacks=[JSONLLog(tmp_path / "never.jsonl")]),
        training("sgd", resume=tmp_path / "r", callbacks=[Checkpoint(tmp_path / "r")]),
    ]
    first, second, third, fourth = solve_many(runs)
    assert fingerprint(first) == fingerprint(alone(runs[0]))
    assert (second.status, second.steps) == (Status.INTERRUPTED, 3)
    assert (third.status, third.steps, third.message) == (Status.INTERRUPTED, 0, "interrupted after step 0.")
    assert torch.equal(third.u, torch.tensor(1.0))
    assert third.history.names == []
    assert (fourth.status, fourth.steps) == (Status.INTERRUPTED, 5)
    assert fingerprint(fourth) == fingerprint(alone(training("sgd", 5)))
    assert not (tmp_path / "never.jsonl").exists()
    assert (tmp_path / "r" / "checkpoint.json").read_text() == saved


def test_an_interrupt_before_the_first_step_ends_all() -> None:
    asked: list[Any] = []

    def factory(tensors: list[torch.Tensor]) -> torch.optim.Optimizer:
        asked.append(tensors)
        if len(asked) == 1:
            raise KeyboardInterrupt
        return torch.optim.SGD(tensors, lr=0.1)

    found = solve_many([small(u_optimizer=factory), small()])
    assert [(s.status, s.steps) for s in found] == [(Status.INTERRUPTED, 0)] * 2
    assert len(asked) == 2


def failing_at(step: int) -> Game:
    """A game whose risk fails when it is evaluated at a step; a step and the probe evaluate it once each."""
    seen: list[int] = []

    def f(u: Any, v: Any) -> torch.Tensor:
        seen.append(0)
        if len(seen) > step:
            raise OSError(f"the disk of step {step} is gone")
        return quadratic(u, v)

    return Game(f, torch.tensor(1.0), torch.tensor(1.0))


def test_a_failure_loses_nobody_elses_result() -> None:
    sgd = partial(torch.optim.SGD, lr=0.1)
    runs = [
        small(),
        Run(failing_at(4), "simultaneous-gda", 9, u_optimizer=sgd, v_optimizer=sgd),
        small("optimistic"),
        small(resume="nowhere"),
        small("extragradient"),
    ]
    with pytest.raises(OSError, match="the disk of step 4 is gone") as caught:
        solve_many(runs)
    solutions: list[Any] = caught.value.solutions  # type: ignore[attr-defined]
    for i in (0, 2, 4):
        assert fingerprint(solutions[i]) == fingerprint(alone(runs[i]))
    assert solutions[1].status is Status.FAILED
    assert solutions[1].steps > 0
    assert solutions[3] is None
    notes = " ".join(caught.value.__notes__)
    assert "Run 1 of 5 (from 0) failed: OSError" in notes
    assert "Run 3 of 5 (from 0) failed: ResumeError" in notes
    with pytest.raises(ResumeError):
        solve_many([runs[3]])


def test_a_member_that_diverges_is_a_result() -> None:
    sgd = partial(torch.optim.SGD, lr=1e30)
    with pytest.warns(match="ceased to be finite"):
        found = solve_many([small(u_optimizer=sgd, v_optimizer=sgd), small()])
    assert [s.status for s in found] == [Status.DIVERGED, Status.STEPS_USED]


@pytest.mark.parametrize("none", [[], ()])
def test_no_runs_are_refused(none: Any) -> None:
    with pytest.raises(ArgumentError, match="runs: there is none; give at least one Run"):
        solve_many(none)
