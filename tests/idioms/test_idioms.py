"""Every idiom with every solver: equal to a loop written by hand, or refused by name before the first step."""

from __future__ import annotations

import random
import runpy
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minimaxopt import Checkpoint
from minimaxopt.errors import ArgumentError
from minimaxopt.solvers import SOLVERS, hessian_engine
from tests.idioms import killed
from tests.idioms.aspects import ASPECTS, outcome, wrong_cells
from tests.idioms.cells import ROWS, by_hand, differences, observed, played, shared
from tests.idioms.games import Parts, both
from tests.idioms.hand import moving_tensors
from tests.idioms.idioms import IDIOMS, TWINS, Idiom
from tests.idioms.modules import Noisy

ROOT = Path(__file__).parent.parent.parent
BY_NAME = {idiom.name: idiom for idiom in IDIOMS}


FAMILIES = list(dict.fromkeys(row.family for row in ROWS.values()))
FAMILY_CELLS = [(idiom, family) for idiom in IDIOMS for family in FAMILIES if idiom.plays(family)]
ASPECT_CELLS = [(idiom, aspect) for idiom in IDIOMS for aspect in ASPECTS if idiom.plays(aspect)]


# All solvers of a family in one test: three thousand tests would take longer to collect than to run.
@pytest.mark.parametrize(("idiom", "family"), FAMILY_CELLS, ids=lambda part: getattr(part, "name", part))
def test_solves(idiom: Idiom, family: str) -> None:
    assert wrong_cells(idiom, family) == {}


@pytest.mark.parametrize(("idiom", "aspect"), ASPECT_CELLS, ids=lambda part: getattr(part, "name", part))
def test_an_aspect(idiom: Idiom, aspect: str) -> None:
    assert ASPECTS[aspect](idiom) == []


@pytest.mark.parametrize("idiom", [i for i in IDIOMS if i.plays("second", "certify")], ids=lambda idiom: idiom.name)
def test_solves_where_torch_func_plays_whatever_it_can(idiom: Idiom, monkeypatch: pytest.MonkeyPatch) -> None:
    """The games of the table are so small that autograd is cheaper, and would form all products."""
    monkeypatch.setattr(hessian_engine, "MANY", 1)
    assert wrong_cells(idiom, "second") == {}
    assert ASPECTS["certify"](idiom) == []


class StopAt:
    """Stops a run that has come to a step."""

    every = 1

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, run: Any) -> None:
        if run.step >= self.step:
            run.stop("far enough")


def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-m", "tests.idioms.killed", str(tmp_path)], cwd=ROOT)
    try:
        while Checkpoint.latest(tmp_path) is None and child.poll() is None:
            time.sleep(0.01)
    finally:
        child.kill()
    assert child.wait() == -signal.SIGKILL
    step = killed.run(steps=killed.STEPS, resume=tmp_path, callbacks=[StopAt(0)]).steps
    resumed = killed.run(steps=step + 5, resume=tmp_path)
    whole = killed.run(steps=step + 5)
    assert 0 < step < killed.STEPS - 5
    assert differences((resumed.u, resumed.v), (whole.u, whole.v)) == []


def test_noise_of_python_and_numpy_is_replayed_and_resumed(tmp_path: Path) -> None:
    noisy = replace(BY_NAME["plain modules"], parts=both(Noisy))

    def play(**options: Any) -> tuple[Any, Any]:
        solution = played(noisy, noisy.build(), ROWS["alternating-gda"], **options)
        return solution.u, solution.v

    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()
    whole = play(steps=4)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    random.seed(2)
    assert differences(play(steps=4), whole) == []
    play(steps=2, callbacks=[Checkpoint(tmp_path)])
    np.random.seed(3)
    assert differences(play(steps=4, resume=tmp_path), whole) == []


def test_every_solver_is_in_the_table() -> None:
    assert {row.solver.name for row in ROWS.values()} == set(SOLVERS)


# -- the referee itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["alternating-gda", "extragradient", "sensitivity", "unrolled", "stackelberg"])
@pytest.mark.parametrize("idiom", TWINS)
def test_the_loop_by_hand_does_not_depend_on_the_idiom(idiom: str, name: str) -> None:
    """A game written without the idiom ends at the same risk."""
    risks: list[torch.Tensor] = []
    for written in (BY_NAME[idiom], replace(BY_NAME[idiom], parts=TWINS[idiom])):
        parts = by_hand(written, ROWS[name])
        torch.manual_seed(0)
        risks.append(parts.f(parts.u, parts.v, *written.build().data[:1]).detach())  # type: ignore[index] - all have data
    assert torch.allclose(*risks, rtol=1e-12, atol=1e-12)


def test_the_loop_by_hand_on_paper() -> None:
    """Three steps of ``u v`` from (1, 1), alternating, at 0.2 and with momentum 0.5."""
    idiom = replace(
        BY_NAME["bare tensors, no data"], parts=lambda: Parts(torch.mul, torch.tensor(1.0), torch.tensor(1.0), None)
    )
    parts = by_hand(idiom, ROWS["alternating-gda"], steps=3)
    u = v = 1.0
    move_u = move_v = 0.0
    for _ in range(3):
        move_u = 0.5 * move_u + v
        u -= 0.2 * move_u
        move_v = 0.5 * move_v - u
        v -= 0.2 * move_v
    assert (parts.u.item(), parts.v.item()) == pytest.approx((u, v), abs=1e-15)


def test_differences_are_seen() -> None:
    idiom = BY_NAME["several at once"]
    a, b = idiom.build(), idiom.build()
    assert differences((a.u, a.v), (b.u, b.v)) == []
    b.u[1].calls += 1
    b.v[0][0].bias.data += 1e-11
    b.u[3].running_var[0] = torch.inf
    assert [line.split(":")[0] for line in differences((a.u, a.v), (b.u, b.v))] == [
        "u.0.1.calls", "u.0.3.running_var", "v.0.0.0.bias",
    ]  # fmt: skip


def test_a_lost_tie_is_seen() -> None:
    tied, same = BY_NAME["tied by .data, in the leader"].build(), BY_NAME["tied by .data, in the leader"].build()
    same.u.decoder.weight.data = same.u.decoder.weight.data.clone()
    assert shared(observed("u", tied.u)) == {frozenset({"u.0.encoder.weight", "u.0.decoder.weight"})}
    assert len(moving_tensors(tied.u)) == 4
    assert differences((same.u, same.v), (tied.u, tied.v))[0].startswith("one memory: []")


def test_a_refusal_must_be_ours_early_and_name_the_culprit() -> None:
    def refusing(error: Exception) -> list[str]:
        def play() -> list[str]:
            raise error

        return outcome(play, r"u\.a\b")

    late = ArgumentError("u.a: too late")
    late.solution = None  # type: ignore[attr-defined] - as solve notes it
    assert refusing(ArgumentError("u.a: is refused")) == []
    assert "does not name" in refusing(ArgumentError("something is wrong"))[0]
    assert refusing(late) == ["refused after a step had been made"]
    assert outcome(list, "u") == ["was not refused"]
    with pytest.raises(KeyError):
        refusing(KeyError("u.a"))


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_is_that_of_the_table() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "modules.py"))
    assert (ROOT / "docs" / "modules.md").read_text() == script["page"](), "run python docs/modules.py"
