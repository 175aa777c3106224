"""Steps that are left out since a value ceased to be finite: what they leave as it was, what they use up, and how many."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from minimaxopt import (
    Batches,
    Checkpoint,
    Descent,
    EarlyStop,
    Evaluate,
    Game,
    JSONLLog,
    Lookahead,
    Sensitivity,
    SimultaneousGDA,
    Solution,
    Status,
    solve,
)
from minimaxopt.errors import ArgumentError, DivergenceWarning, RiskError
from minimaxopt.loop import loop as _loop

STEPS = 30
BAD = [0, 1, 7, 8, 9, 22, STEPS - 1]
ADAM = partial(torch.optim.Adam, lr=0.05)
DECAY = partial(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.9)


@pytest.fixture(params=[1, 4, 1000])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let blocks grow to a number of steps, whatever the machine's speed."""
    monkeypatch.setattr(_loop, "_BLOCK_SECONDS", 1e9)
    monkeypatch.setattr(_loop, "_BLOCK_STEPS", request.param)
    return request.param


def data(bad: list[int] = BAD) -> list[Tensor]:
    rows = torch.randn(STEPS, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows[bad, 2] = math.nan
    return list(rows)


class Normalised(nn.Module):
    """A network with running statistics and a counter."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.out, self.calls = nn.BatchNorm1d(3), nn.Linear(3, 1), 0
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.out(self.norm(x))


def risk(u: nn.Module, v: Tensor, x: Tensor) -> Tensor:
    return (u(x + v).square() - u(x)).mean() - v.square().sum()


def game() -> Game:
    return Game(risk, Normalised(), torch.zeros(3, dtype=torch.float64))


def played(solver: Any = "simultaneous-gda", **settings: Any) -> Solution:
    moves = {"u_optimizer": ADAM, "v_optimizer": ADAM, "u_scheduler": DECAY}
    return solve(game(), solver, **{"steps": STEPS, "data": data(), "skip_nonfinite": len(BAD)} | moves | settings)


def values(solution: Solution) -> list[Tensor]:
    return [*(t.detach() for t in solution.u.state_dict().values()), solution.v]


def same(a: Solution, b: Solution) -> bool:
    equal = all(torch.equal(x, y) for x, y in zip(values(a), values(b), strict=True))
    return equal and a.history.to_dict() == b.history.to_dict() and a.u.calls == b.u.calls


@pytest.mark.filterwarnings("ignore:Detected call")  # by the loop by hand, which leaves its first step out
def test_the_others_are_those_of_a_loop_by_hand(blocks: int) -> None:
    solution = played()
    u, v = Normalised(), torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizers = [ADAM(u.parameters()), ADAM([v])]
    schedule, evaluated = DECAY(optimizers[0]), 0
    for step, x in enumerate(data()):
        if step not in BAD:
            value = risk(u, v, x)
            evaluated += 2
            gradients = torch.autograd.grad(value, [*u.parameters(), v])
            for parameter, gradient in zip([*u.parameters(), v], gradients, strict=True):
                parameter.grad = gradient if parameter is not v else -gradient
            for optimizer in optimizers:
                optimizer.step()
        schedule.step()
    torch.testing.assert_close(values(solution), [*u.state_dict().values(), v.detach()], rtol=1e-12, atol=1e-12)
    assert solution.history.steps("skipped").tolist() == BAD
    assert solution.history.steps("risk").tolist() == [step for step in range(STEPS) if step not in BAD]
    assert (solution.skipped, solution.status, solution.steps) == (len(BAD), Status.STEPS_USED, STEPS)
    assert solution.message == f"made all {STEPS} steps, {len(BAD)} of them skipped."
    assert solution.u.calls == evaluated


@pytest.mark.parametrize("solver", [Sensitivity(), Lookahead("extragradient", period=3), Descent()], ids=repr)
def test_every_block_size_gives_the_same(solver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    solutions: list[Solution] = []
    for size in (1, 3, 1000):
        monkeypatch.setattr(_loop, "_BLOCK_SECONDS", 1e9)
        monkeypatch.setattr(_loop, "_BLOCK_STEPS", size)
        settings: dict[str, Any] = {"v_optimizer": None} if isinstance(solver, Descent) else {}
        solutions.append(played(solver, callbacks=[Evaluate({"calls": lambda u, v: u.calls}, every=4)], **settings))
    assert solutions[0].skipped == len(BAD)
    assert all(same(solutions[0], other) for other in solutions[1:])


def test_without_bad_batches_nothing_changes(blocks: int) -> None:
    whole = [played(data=data([]), skip_nonfinite=n) for n in (0, 5)]
    assert same(*whole)
    assert whole[1].skipped == 0
    assert "skipped" not in whole[1].history
    assert whole[1].message == f"made all {STEPS} steps."


@pytest.mark.parametrize("allowed", [0, 1, 4])
def test_one_more_than_allowed_ends_the_solve(allowed: int, blocks: int) -> None:
    with pytest.warns(DivergenceWarning, match=f"at step {BAD[allowed]}"):
        solution = played(skip_nonfinite=allowed)
    assert solution.status is Status.DIVERGED
    assert ("skipped steps" in solution.message) == (allowed > 0)
    assert all(bool(torch.isfinite(t).all()) for t in values(solution))


def test_a_point_that_is_bad_itself_ends_before_it(blocks: int) -> None:
    def root(u: Tensor, v: Tensor) -> Tensor:
        return u.sqrt() + u - v**2  # not a number once u is negative

    with pytest.warns(DivergenceWarning, match="after 3 skipped steps"):
        solution = solve(
            Game(root, torch.tensor(1.0), torch.tensor(1.0)),
            SimultaneousGDA(),
            steps=STEPS,
            skip_nonfinite=3,
            u_optimizer=partial(torch.optim.SGD, lr=0.1),
        )
    assert solution.u >= 0
    assert math.isfinite(solution.history["risk"][-1])
    assert solution.skipped == 0  # all lay behind the point at which it ends


def test_data_may_be_read_once_and_a_loader_may_shuffle(blocks: int) -> None:
    whole = played()
    assert same(whole, played(data=iter(data())))
    loader = torch.utils.data.DataLoader(torch.stack(data([])).reshape(-1, 3), batch_size=6, shuffle=True)
    flawed = Game(lambda u, v, x: risk(u, v, torch.where(x > 2.5, math.nan, x)), *(lambda g: (g.u, g.v))(game()))
    solutions = [solve(flawed, steps=STEPS, data=loader, skip_nonfinite=99, u_optimizer=ADAM) for _ in range(2)]
    assert solutions[0].skipped
    assert same(*solutions)


@pytest.mark.parametrize("stop", [1, 8, 10, 23])
def test_a_resumed_run_keeps_the_count(stop: int, tmp_path: Path, blocks: int) -> None:
    whole = played()
    played(steps=stop, callbacks=[Checkpoint(tmp_path)])
    assert same(whole, played(resume=tmp_path))
    with pytest.warns(DivergenceWarning, match=f"at step {BAD[-1]}, after {len(BAD) - 1} skipped steps"):
        played(resume=tmp_path, skip_nonfinite=len(BAD) - 1)


def test_an_exception_that_a_bad_step_would_have_led_to_does_not_come(blocks: int) -> None:
    def strict(u: nn.Module, v: Tensor, x: Tensor) -> Tensor:
        if not all(bool(torch.isfinite(p).all()) for p in u.parameters()):
            raise FloatingPointError("not finite")
        return risk(u, v, x)

    bad = data()
    solution = solve(Game(strict, game().u, game().v), "descent", steps=STEPS, data=bad, skip_nonfinite=9)
    assert solution.skipped == len(BAD)

    def failing(u: nn.Module, v: Tensor, x: Tensor) -> Tensor:
        if x is bad[12]:
            raise FloatingPointError("of its own")
        return risk(u, v, x)

    with pytest.raises(FloatingPointError, match="of its own") as raised:
        solve(Game(failing, game().u, game().v), "descent", steps=STEPS, data=bad, skip_nonfinite=9)
    assert raised.value.solution.steps == 12
    assert raised.value.solution.skipped == sum(step < 12 for step in BAD)


def test_an_interrupt_is_not_lost(blocks: int) -> None:
    interrupts: list[int] = []

    def interrupted(u: nn.Module, v: Tensor, x: Tensor) -> Tensor:
        if len(interrupts) < 1 and x is bad[12]:
            interrupts.append(12)
            raise KeyboardInterrupt
        return risk(u, v, x)

    bad = data()
    solution = solve(Game(interrupted, game().u, game().v), "descent", steps=STEPS, data=bad, skip_nonfinite=9)
    assert (solution.status, solution.steps) == (Status.INTERRUPTED, 12)


def test_callbacks_and_logs(tmp_path: Path, blocks: int) -> None:
    stopping = EarlyStop("risk", patience=99, every=1)
    solution = played(callbacks=[stopping, JSONLLog(tmp_path / "log.jsonl")])
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert len(lines) == STEPS
    assert lines[BAD[1]] == '{"step": 1, "skipped": 1.0}'
    assert Solution.load(solution.save(tmp_path / "solution"), game()).skipped == len(BAD)


def test_the_column_belongs_to_the_loop() -> None:
    logging = Game(lambda u, v: (u**2, {"skipped": u}), torch.tensor(1.0), None)
    assert solve(logging, "descent", steps=2).history["skipped"][0] == 1
    with pytest.raises(RiskError, match="logs 'skipped'"):
        solve(logging, "descent", steps=2, skip_nonfinite=1)
    with pytest.raises(ArgumentError, match="skipped: is a column"):
        played(callbacks=[Evaluate({"skipped": lambda u, v: 0.0})])


@pytest.mark.parametrize("number", [-1, 1.5, True, None])
def test_what_is_no_number_of_steps_is_refused(number: Any) -> None:
    with pytest.raises(ArgumentError, match=r"skip_nonfinite: .* is not a number of steps"):
        played(skip_nonfinite=number)


def test_micro_batches_with_a_bad_sample() -> None:
    batches = Batches(torch.cat(data()), batch_size=6, shuffle=False)
    whole, divided = (played(Sensitivity(), data=batches, micro_batches=n, steps=10) for n in (1, 2))
    assert whole.history.steps("skipped").tolist() == divided.history.steps("skipped").tolist() == BAD[:5]
