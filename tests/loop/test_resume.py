"""A run that was stopped and continued gives the bits of one that was not: parameters, buffers, moments, history."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, TensorDataset

from minimaxopt import Checkpoint, Descent, EarlyStop, Evaluate, Game, JSONLLog, Status, solve
from minimaxopt.errors import ResumeError
from minimaxopt.loop import loop as _loop
from minimaxopt.results import storage
from tests.trainings import CASES, STEPS, SupportsState, batches, fingerprint, network_game, play, risk, samples


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Pause:
    """Gives the parent process time to kill this one."""

    every = 1

    def __call__(self, run: Any) -> None:
        if run.step > 30:
            time.sleep(0.2)


@pytest.mark.parametrize("case", CASES)
def test_two_halves_equal_the_whole(case: str, tmp_path: Path) -> None:
    def looks() -> list[Any]:
        norm = {"norm": lambda u, v: float(sum(p.norm() for p in u.parameters()))}
        return [Evaluate(norm, every=10), EarlyStop("norm", patience=100, every=10)]

    whole = play(case, callbacks=looks())
    first = play(case, steps=30, callbacks=[*looks(), Checkpoint(tmp_path, every=7)])
    assert first.steps == 30
    seconds = storage.read(tmp_path / "checkpoint.json")["seconds"]
    second = play(case, callbacks=looks(), resume=Checkpoint.latest(tmp_path))
    assert fingerprint(second) == fingerprint(whole)
    assert second.status is Status.STEPS_USED
    assert second.gradient_evaluations == whole.gradient_evaluations
    assert second.history.steps("norm").tolist() == [9, 19, 29, 39, 49, 59]
    assert second.seconds >= seconds > 0  # what the run before spent counts too


def test_a_killed_process_is_continued_to_the_bit(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.loop.test_resume", "fresh ascent", str(tmp_path)]
    child = subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (tmp_path / "30").exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    child.kill()
    _, errors = child.communicate()
    assert child.returncode == -signal.SIGKILL, errors.decode()
    reached = storage.read(tmp_path / "run" / "checkpoint.json")["run"]["step"]
    assert 30 <= reached < STEPS
    assert fingerprint(play("fresh ascent", resume=tmp_path / "run")) == fingerprint(play("fresh ascent"))


# -- data --------------------------------------------------------------------------------------------------------------


class Stream(IterableDataset[Any]):
    def __iter__(self):
        return zip(*samples(), strict=True)


def as_list() -> list[Any]:
    return list(batches())


def loader(**options: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*samples()), **{"batch_size": 8, "shuffle": True, **options})


EXACT = {"list": as_list, "loader": loader, "stateful": lambda: SupportsState(samples())}


@pytest.mark.parametrize("steps", [1, 17, 30])
@pytest.mark.parametrize("kind", EXACT)
def test_other_data_resume_too(kind: str, steps: int, tmp_path: Path) -> None:
    whole = play("sgd", steps=40, data=EXACT[kind]())
    play("sgd", steps=steps, data=EXACT[kind](), callbacks=[Checkpoint(tmp_path)])
    assert fingerprint(play("sgd", steps=40, data=EXACT[kind](), resume=tmp_path)) == fingerprint(whole)


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("at", [0, 1, 6, 23])
def test_an_interrupted_run_resumes_at_its_own_batch(
    kind: str, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long blocks, so that batches beyond the interrupted step had been drawn.
    monkeypatch.setattr(_loop, "_BLOCK_SECONDS", 1e9)
    whole = play("fresh ascent", steps=40, data=EXACT[kind]())
    calls = {"left": 1 + 4 * at + 2}  # the trial evaluation, three evaluations a step, one of them begun

    def interrupted(classifier: nn.Module, attacker: nn.Module, batch: Any) -> torch.Tensor:
        calls["left"] -= 1
        if calls["left"] == 0:
            raise KeyboardInterrupt
        return risk(classifier, attacker, batch)

    g = network_game()
    settings = {"u_scheduler": partial(CosineAnnealingLR, T_max=STEPS), "seed": 5, **CASES["fresh ascent"]}
    settings["v_scheduler"] = partial(MultiStepLR, milestones=[10, 35, 50], gamma=0.5)
    stopped = solve(
        Game(interrupted, g.u, g.v), steps=40, data=EXACT[kind](), callbacks=[Checkpoint(tmp_path)], **settings
    )
    assert stopped.status is Status.INTERRUPTED
    assert 0 < stopped.steps < 40 or at == 0
    assert fingerprint(play("fresh ascent", steps=40, data=EXACT[kind](), resume=tmp_path)) == fingerprint(whole)


def own_generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (lambda: loader(generator=own_generator()), "generator of its own"),
        (lambda: loader(shuffle=False, sampler=RandomSampler(range(42), generator=own_generator())), "of its own"),
        (
            lambda: DataLoader(
                TensorDataset(*samples()),
                batch_sampler=BatchSampler(RandomSampler(range(42), generator=own_generator()), 8, drop_last=False),
            ),
            "generator of its own",
        ),
        (lambda: DataLoader(Stream(), batch_size=8), "IterableDataset"),
        (lambda: (batch for batch in batches()), "generator cannot be brought back"),
    ],
)
def test_data_that_do_not_repeat_are_refused_before_any_work(data: Any, reason: str, tmp_path: Path) -> None:
    calls: list[int] = []

    def counted(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        return risk(*arguments)

    g = network_game()
    with pytest.raises(ResumeError, match=rf"{reason}.*; use Batches") as caught:
        solve(Game(counted, g.u, g.v), steps=5, data=data(), callbacks=[Checkpoint(tmp_path)])
    assert str(caught.value).startswith("callbacks: ")
    assert not calls
    assert solve(g, steps=2, data=data()).steps == 2  # without a checkpoint they are welcome
    play("sgd", steps=2, callbacks=[Checkpoint(tmp_path)])
    with pytest.raises(ResumeError, match=r"data.*(; use Batches|give the same)"):
        play("sgd", steps=5, data=data(), resume=tmp_path)


def test_data_that_end_before_the_checkpoint_are_refused(tmp_path: Path) -> None:
    class Once(SupportsState):
        def __iter__(self):
            return iter(())

    play("sgd", steps=9, data=SupportsState(samples()), callbacks=[Checkpoint(tmp_path)])
    head = storage.read(tmp_path / "checkpoint.json")
    head["run"]["source"]["further"] = 3
    head["manifest"]["data"] = "Once"
    storage.write(tmp_path, "checkpoint", head)
    with pytest.raises(ResumeError, match="data: ended before the batch"):
        play("sgd", steps=12, data=Once(samples()), resume=tmp_path)


# -- callbacks that remember -------------------------------------------------------------------------------------------


def test_early_stopping_remembers(tmp_path: Path) -> None:
    game = Game(lambda u, v: (u - 3).abs().sum(), torch.zeros(1), None)
    settings: dict[str, Any] = {"u_optimizer": partial(torch.optim.SGD, lr=0.1)}

    def looks(*before: Any) -> list[Any]:
        return [*before, EarlyStop("risk", patience=4, every=5)]

    whole = solve(game, Descent(), steps=200, callbacks=looks(), **settings)
    assert whole.status is Status.STOPPED
    # At step 43 a look is waited for already, and the end of this part must not count as another.
    solve(game, Descent(), steps=43, callbacks=looks(Checkpoint(tmp_path)), **settings)
    other = Evaluate({"twice": lambda u, v: float(2 * u)}, every=5)
    rest = solve(game, Descent(), steps=200, callbacks=looks(other), resume=tmp_path, **settings)
    assert (rest.steps, rest.message) == (whole.steps, whole.message)
    assert torch.equal(rest.u, whole.u)


def test_each_step_stands_once_in_the_log_of_a_resumed_run(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    play("sgd", steps=13, callbacks=[JSONLLog(log, every=4), Checkpoint(tmp_path, every=5)])
    with log.open("a") as file:
        file.write('{"step": 13, "ri')  # a kill in the middle of a line
    play("sgd", steps=22, callbacks=[JSONLLog(log, every=4)], resume=tmp_path)
    import json

    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(22))


def test_a_checkpoint_holds_what_the_others_noted(tmp_path: Path) -> None:
    def look() -> Evaluate:
        return Evaluate({"norm": lambda u, v: float(sum(p.norm() for p in u.parameters()))}, every=5)

    whole = play("sgd", steps=15, callbacks=[look()])
    play("sgd", steps=10, callbacks=[Checkpoint(tmp_path, every=5), look()])
    assert fingerprint(play("sgd", steps=15, callbacks=[look()], resume=tmp_path)) == fingerprint(whole)


if __name__ == "__main__":  # the process that is to be killed

    class Tell(Pause):
        def __call__(self, run: Any) -> None:
            if run.step > 30:
                (Path(sys.argv[2]) / "30").touch()
            super().__call__(run)

    torch.set_num_threads(1)
    play(sys.argv[1], callbacks=[Tell(), Checkpoint(Path(sys.argv[2]) / "run", every=3)])
