"""The first-order solvers on networks with batch statistics and dropout: they train, and a stopped run goes on to the
bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minimaxopt import Checkpoint, Context, SimultaneousGDA, Status
from minimaxopt.results import storage
from minimaxopt.solvers.best_response import BestResponse
from minimaxopt.solvers.extragradient import AnchoredExtragradient, Extragradient, Optimistic, PastExtragradient
from minimaxopt.solvers.gda import TwoTimescale
from minimaxopt.solvers.kbeam import KBeam
from minimaxopt.solvers.momentum import NegativeMomentum
from minimaxopt.solvers.smoothed import SmoothedGDA
from minimaxopt.solvers.wrappers import Averaged, Lookahead
from tests.trainings import batches, fingerprint, network_game, play

SOLVERS: dict[str, Any] = {
    "extragradient": Extragradient(),
    "extragradient, step": Extragradient(moments="step"),
    "past extragradient": PastExtragradient(),
    "anchored": AnchoredExtragradient(),
    "optimistic": Optimistic(),
    "best response": BestResponse(ascent_steps=4, tolerance=0.02),
    "two timescales": TwoTimescale(ratio=2.0, power=0.3),
    "negative momentum": NegativeMomentum(),
    "smoothed": SmoothedGDA(),
    "lookahead": Lookahead(SimultaneousGDA(), period=4),
    "lookahead, reset": Lookahead(Optimistic(), period=3, moments="reset"),
    "averaged": Averaged(PastExtragradient(), start=5),
    "k-beam": KBeam(followers=3, ascent_steps=2),
    "k-beam in lookahead": Lookahead(KBeam(followers=2, epsilon=0.01), period=4),
}
STEPS, HALF = 20, 9


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(case: str, steps: int = STEPS, **changes: Any) -> Any:
    return play("sensitivity", steps=steps, solver=SOLVERS[case], **changes)


@pytest.mark.parametrize("case", SOLVERS)
def test_two_halves_equal_the_whole(case: str, tmp_path: Path) -> None:
    whole = train(case)
    assert whole.status is Status.STEPS_USED
    assert np.isfinite(whole.history["risk"]).all()
    train(case, steps=HALF, callbacks=[Checkpoint(tmp_path, every=4)])
    second = train(case, resume=tmp_path)
    assert fingerprint(second) == fingerprint(whole)
    assert second.gradient_evaluations == whole.gradient_evaluations


@pytest.mark.parametrize("case", SOLVERS)
def test_fresh_batches_and_momentum_resume_too(case: str, tmp_path: Path) -> None:
    momentum = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
    settings: dict[str, Any] = {"ascent_batches": "fresh", "u_optimizer": momentum, "v_optimizer": momentum}
    whole = train(case, **settings)
    train(case, steps=HALF, callbacks=[Checkpoint(tmp_path)], **settings)
    assert fingerprint(train(case, resume=tmp_path, **settings)) == fingerprint(whole)
    assert fingerprint(train(case)) != fingerprint(whole)


@pytest.mark.parametrize("case", ["optimistic", "k-beam", "extragradient"])
def test_lookahead_that_keeps_all_is_its_inner_solver_to_the_bit(case: str) -> None:
    inner = train(case, steps=8)
    for period in (1, 3):
        wrapped = play("sensitivity", steps=8, solver=Lookahead(SOLVERS[case], period=period, alpha=1.0))
        assert fingerprint(wrapped) == fingerprint(inner)
    half = play("sensitivity", steps=8, solver=Lookahead(SOLVERS[case], period=3, alpha=0.5))
    assert fingerprint(half) != fingerprint(inner)


@pytest.mark.parametrize("case", SOLVERS)
def test_buffers_are_committed_once_a_step_and_masks_are_replayed(case: str) -> None:
    """Each step takes one batch into the statistics; equal seeds give equal bits, others do not."""
    first = train(case, steps=6)
    assert first.u.features[1].num_batches_tracked == 6
    assert not torch.equal(first.u.features[1].running_mean, torch.zeros(4))
    assert fingerprint(train(case, steps=6)) == fingerprint(first)
    assert fingerprint(train(case, steps=6, seed=6)) != fingerprint(first)


@pytest.mark.parametrize("case", SOLVERS)
def test_a_step_leaves_the_state_before_it_alone(case: str) -> None:
    """Who keeps an old state and goes back to it gets the same step again."""
    import copy

    adam, solver = partial(torch.optim.Adam, lr=1e-2), SOLVERS[case]
    ctx = Context(network_game(), data=batches(), u_optimizer=adam, v_optimizer=adam)
    state = solver.init(ctx)
    for _ in range(5):
        held, captured = copy.deepcopy(state), ctx.state_dict()
        after, _ = ctx.advance(solver, state)
        made = [t.detach().clone() for player in ctx.point for t in player.values()]
        ctx.load_state_dict(captured)
        again, _ = ctx.advance(solver, held)
        assert all(torch.equal(a, t) for a, t in zip(made, [t for p in ctx.point for t in p.values()], strict=True))
        ctx.load_state_dict(captured)
        state = ctx.advance(solver, state)[0]
        assert all(torch.equal(a, t) for a, t in zip(made, [t for p in ctx.point for t in p.values()], strict=True))
        assert _plain(state) == _plain(after) == _plain(again)


def _plain(state: Any) -> Any:
    """A state as something that can be compared."""
    if isinstance(state, torch.Tensor):
        return state.tolist()
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [_plain(value) for value in state]
    return state


def test_a_killed_run_of_several_followers_is_continued_to_the_bit(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.solvers.test_first_order_networks", "k-beam in lookahead", str(tmp_path)]
    child = subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (tmp_path / "now").exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    child.kill()
    _, errors = child.communicate()
    assert child.returncode == -signal.SIGKILL, errors.decode()
    reached = storage.read(tmp_path / "run" / "checkpoint.json")["run"]["step"]
    assert HALF <= reached < STEPS
    resumed = train("k-beam in lookahead", resume=tmp_path / "run")
    assert fingerprint(resumed) == fingerprint(train("k-beam in lookahead"))


class Tell:
    """Says that the time to be killed has come, and waits for it."""

    every = 1

    def __init__(self, place: Path) -> None:
        self._place = place

    def __call__(self, run: Any) -> None:
        if run.step > HALF + 2:
            (self._place / "now").touch()
            time.sleep(0.2)


if __name__ == "__main__":  # the process that is to be killed
    torch.set_num_threads(1)
    train(sys.argv[1], callbacks=[Tell(Path(sys.argv[2])), Checkpoint(Path(sys.argv[2]) / "run", every=3)])
