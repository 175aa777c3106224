"""A step of every member as one recording: what is captured, refused and left out, without a device but for the last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimaxopt import (
    AlternatingGDA,
    Batches,
    Context,
    Descent,
    Game,
    Run,
    Sensitivity,
    Solution,
    Status,
    _together,
    solve,
    solve_many,
)
from minimaxopt.errors import ArgumentError, DivergenceWarning

STEPS = 9
ROUNDING = 1e-9
sgd = partial(torch.optim.SGD, lr=0.1, momentum=0.5)


class Rehearsal:
    """Records steps by remembering them: what a graph does with fixed memory, done by running them again."""

    def __init__(self) -> None:
        self.warmed: list[int] = []
        self.recorded: list[int] = []
        self.replayed = 0

    def warm(self, functions: Sequence[Callable[[], Any]]) -> list[Any]:
        self.warmed.append(len(functions))
        return [function() for function in functions]

    def record(self, functions: Sequence[Callable[[], Any]]) -> Callable[[], list[Any]]:
        self.recorded.append(len(functions))
        held: list[dict[str, Tensor]] = [{} for _ in functions]

        def again() -> list[Any]:
            self.replayed += 1
            for function, there in zip(functions, held, strict=True):
                for name, value in function().items():
                    there.setdefault(name, torch.empty_like(value)).copy_(value)
            return held  # the same memory each time, as a graph's

        return again


@pytest.fixture
def rehearsal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rehearsal]:
    """Let solve_many capture by a rehearsal."""
    recorder = Rehearsal()
    monkeypatch.setattr(_together, "_recorder", lambda contexts: recorder)
    monkeypatch.setattr("minimaxopt.run.prepare", lambda ctx, solver: None)
    monkeypatch.setattr("minimaxopt.run.rehearse", lambda ctx, solver: None)
    return recorder


def closed(eta: float) -> Any:
    return lambda u, v, batch: F.cross_entropy(u(batch[0] + eta * v(batch[0]).tanh()), batch[1])


def networks(seed: int, *extra: nn.Module) -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        leader = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), *extra, nn.Linear(6, 3)).double()
        return leader, nn.Linear(5, 5).double()


def batches(n: int = 16, seed: int = 0) -> Batches:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    return Batches((x, torch.randint(0, 3, (n,), generator=generator)), 8, seed)


def runs(*changes: dict[str, Any]) -> list[Run]:
    """Members that differ in everything that one graph may hold: constants, solvers, optimizers, batches."""
    solvers = [Sensitivity(0.5), AlternatingGDA(ascent_steps=2), Descent()]
    found: list[Run] = []
    for i, eta in enumerate((0.1, 0.3, 0.7)):
        settings: dict[str, Any] = {
            "steps": STEPS,
            "seed": i,
            "data": batches(seed=i),
            "u_optimizer": sgd,
            "v_optimizer": None if i else sgd,
            **(changes[i] if changes else {}),
        }
        found.append(Run(Game(closed(eta), *networks(i)), solvers[i], **settings))
    return found


def same(found: list[Solution], expected: list[Solution]) -> None:
    for one, other in zip(found, expected, strict=True):
        for a, b in ((one.u, other.u), (one.v, other.v)):
            for name, tensor in a.state_dict().items():
                torch.testing.assert_close(tensor, b.state_dict()[name], rtol=ROUNDING, atol=ROUNDING)
        assert one.history.to_dict() == other.history.to_dict()
        assert (one.status, one.steps, one.gradient_evaluations) == (
            other.status,
            other.steps,
            other.gradient_evaluations,
        )


def alone(asked: list[Run]) -> list[Solution]:
    return [solve(**vars(run)) for run in asked]


def test_each_member_equals_its_single_solve(rehearsal: Rehearsal) -> None:
    same(solve_many(runs(), form="graph"), alone(runs()))
    assert (rehearsal.warmed, rehearsal.recorded, rehearsal.replayed) == ([3], [3], STEPS - 1)


def test_each_set_of_batch_shapes_has_a_recording_of_its_own(rehearsal: Rehearsal) -> None:
    changes = [{"data": batches(n)} for n in (16, 22, 22)]
    same(solve_many(runs(*changes), form="graph"), alone(runs(*changes)))
    assert (rehearsal.warmed, rehearsal.recorded) == ([3, 3], [3, 3])


def test_members_that_have_ended_are_left_out_of_the_next_recording(rehearsal: Rehearsal) -> None:
    changes = [{"steps": 4}, {}, {}]
    same(solve_many(runs(*changes), form="graph"), alone(runs(*changes)))
    assert (rehearsal.warmed, rehearsal.recorded) == ([3, 2], [3, 2])


def test_one_that_diverges_ends_alone(rehearsal: Rehearsal) -> None:
    (x, y), bad = batches().at(0), batches().at(1)[0] * float("nan")
    changes = [{}, {"data": [(x, y)] * 5 + [(bad, y)] * 9}, {}]
    with pytest.warns(DivergenceWarning, match=r"runs\[1\]"):
        found = solve_many(runs(*changes), form="graph")
    with pytest.warns(DivergenceWarning):
        expected = alone(runs(*changes))
    same(found, expected)
    assert [solution.status for solution in found] == [Status.STEPS_USED, Status.DIVERGED, Status.STEPS_USED]


def test_random_draws_are_refused_before_any_step(rehearsal: Rehearsal) -> None:
    asked = [Run(Game(closed(0.1), *networks(i, nn.Dropout(0.5))), steps=2, data=batches()) for i in range(2)]
    with pytest.raises(
        ArgumentError, match="form: f draws random numbers, such as dropout's, and one graph has one seed"
    ):
        solve_many(asked, form="graph")
    assert rehearsal.warmed == []


def test_a_graph_needs_a_device() -> None:
    with pytest.raises(
        ArgumentError, match="form: 'graph' captures steps on one CUDA device, and the runs are on cpu; give"
    ):
        solve_many(runs(), form="graph")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_one_graph_of_all_members_on_cuda() -> None:
    def asked() -> list[Run]:
        fast = partial(torch.optim.Adam, lr=0.01, capturable=True)
        changes = {"device": "cuda", "u_optimizer": fast, "v_optimizer": fast}
        return [Run(**{**vars(run), **changes, "data": batches(seed=i).to("cuda")}) for i, run in enumerate(runs())]

    for one, other in zip(solve_many(asked(), form="graph"), alone(asked()), strict=True):
        assert one.history["risk"] == pytest.approx(other.history["risk"], rel=1e-6)


def test_the_context_is_what_members_are_captured_with() -> None:
    """The recording's own contract: buffers stay where they are, so that a replay reads what the last one left."""
    ctx = Context(Game(closed(0.1), *networks(0)), data=batches(), u_optimizer=sgd, v_optimizer=sgd)
    ctx.own_buffers()
    before = {name: t.data_ptr() for name, t in ctx.buffers["u"].items()}
    ctx.open()
    Descent().step(ctx, None)
    ctx.commit_in_place()
    assert {name: t.data_ptr() for name, t in ctx.buffers["u"].items()} == before
    assert int(ctx.buffers["u"]["1.num_batches_tracked"]) == 1
