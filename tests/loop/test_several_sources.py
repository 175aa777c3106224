"""Several data sources in one solve: the batches, their order, and runs that are stopped, killed and continued."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from minimaxopt import Batches, Checkpoint, Game, Solution, Status, certify, solve
from minimaxopt.errors import DataError, ResumeError
from minimaxopt.game.data_source import source_of
from minimaxopt.loop import loop as _loop
from minimaxopt.results import storage
from tests.trainings import SupportsState, fingerprint

STEPS = 60


def rows(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loader(n: int = 22, seed: int = 1) -> DataLoader[Any]:
    return DataLoader(TensorDataset(rows(n, seed)), batch_size=4, shuffle=True)


def sources() -> dict[str, Any]:
    """Five batches, six that are shuffled, four with a state, and one."""
    return {
        "labelled": Batches(rows(15), batch_size=3, seed=2),
        "unlabelled": loader(),
        "stateful": SupportsState((rows(28, 3), torch.zeros(28))),
        "one": [rows(4, 4)],
    }


def risk(u: Tensor, v: Tensor, batch: dict[str, Any]) -> Tensor:
    a, b, c, d = batch["labelled"], batch["unlabelled"][0], batch["stateful"][0], batch["one"]
    fit = ((a @ u).cos().mean() + (b @ (u + v)).sin().mean()) + (c @ v).square().mean() / 9 + (d @ u).mean()
    return fit + u.square().sum() - v.square().sum() + 0.01 * torch.randn((), dtype=u.dtype) * u.sum()


def play(data: Any = None, **settings: Any) -> Solution:
    game = Game(risk, torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    return solve(game, **{"steps": STEPS, "data": sources() if data is None else data} | settings)


def taken(data: Any, count: int, seed: int = 0) -> list[Any]:
    source = source_of(data, seed, None)
    return [source.take()[0] for _ in range(count)]


# -- batches -----------------------------------------------------------------------------------------------------------


def test_each_source_goes_round_by_itself() -> None:
    batches = Batches(torch.arange(5), 2, seed=1)
    data = {"a": batches, "b": [10, 20], "c": (torch.tensor([i]) for i in range(9))}
    for i, batch in enumerate(taken(data, 9)):
        assert list(batch) == ["a", "b", "c"]
        assert torch.equal(batch["a"], batches.at(i))
        assert (batch["b"], batch["c"].item()) == ([10, 20][i % 2], i)


class Pair(NamedTuple):
    first: Any
    second: Any


def test_the_batch_has_the_form_of_the_sources() -> None:
    batches = Batches(torch.arange(4), 2, shuffle=False)
    first, second = taken((batches, [7]), 1)[0]
    assert (first.tolist(), second) == ([0, 1], 7)
    nested = taken({"x": (batches, [7]), "y": {"z": [8]}}, 2)[1]
    assert (nested["x"][0].tolist(), nested["x"][1], nested["y"]) == ([2, 3], 7, {"z": 8})


def test_a_tuple_of_batches_is_one_source_still() -> None:
    pairs = ((torch.zeros(2), torch.ones(2)), (torch.ones(2), torch.zeros(2)))
    assert taken(pairs, 3) == [pairs[0], pairs[1], pairs[0]]


def test_loaders_of_one_length_shuffle_differently() -> None:
    def orders(seed: int) -> list[list[float]]:
        batch = taken({"a": loader(22, 1), "b": loader(22, 1)}, 1, seed)[0]
        return [batch[key][0].flatten().tolist() for key in ("a", "b")]

    assert orders(0)[0] != orders(0)[1]
    assert orders(0) == orders(0)
    assert orders(1)[1] != orders(0)[1]


def test_a_solve_equals_a_loop_by_hand() -> None:
    data = {"a": Batches(rows(5), 2, seed=1), "b": [rows(3, 1), rows(2, 2), rows(4, 3)]}
    game = Game(lambda u, v, b: ((b["a"] @ u) * (b["b"] @ v).mean()).mean(), rows(3, 5)[0], rows(3, 6)[0])
    sgd = partial(torch.optim.SGD, lr=0.1)
    solution = solve(game, "simultaneous-gda", steps=11, data=data, u_optimizer=sgd, v_optimizer=sgd)
    u, v = rows(3, 5)[0], rows(3, 6)[0]
    for i in range(11):
        a, b = data["a"].at(i).mean(0), data["b"][i % 3].mean(0)
        u, v = u - 0.1 * a * (b @ v), v + 0.1 * b * (a @ u)
    torch.testing.assert_close([solution.u, solution.v], [u, v], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": [1], "b": torch.zeros(3)}, r"data\['b'\]: a bare tensor is not a collection"),
        ({"a": [1], "b": None}, r"data\['b'\]: is None"),
        ({"a": {"inner": []}}, r"data\['a'\]\['inner'\]: is empty"),
        ((Batches(torch.ones(3), 1), 5), r"data\[1\]: int is neither"),
        ({}, "data: a dict is not a collection"),
    ],
)
def test_what_is_no_source_is_named(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        source_of(data, 0, None)


def test_a_source_without_batches_is_named() -> None:
    with pytest.raises(DataError, match=r"data\['b'\]: has no batches"):
        taken({"a": [1], "b": (i for i in ())}, 1)


def test_the_shortest_that_cannot_begin_again_ends_the_solve() -> None:
    data = sources() | {"one": (rows(4, i) for i in range(7))}
    solution = play(data)
    assert (solution.status, solution.steps) == (Status.DATA_ENDED, 7)


def test_a_certificate_wants_one_source() -> None:
    game = Game(lambda u, v, b: u.square() + b["a"].mean() * v - v.square(), torch.zeros(()), torch.zeros(()))
    data = {"a": Batches(torch.ones(4), 2), "b": [1]}
    with pytest.raises(DataError, match="weighs the batches of one source"):
        certify(game, (game.u, game.v), data=data)
    assert certify(game, (game.u, game.v), data=[{"a": torch.ones(4)}], fit_data=data, steps=3, restarts=1)


# -- stopped and continued ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 17, 30])
def test_two_halves_equal_the_whole(steps: int, tmp_path: Path) -> None:
    whole = play()
    play(steps=steps, callbacks=[Checkpoint(tmp_path)])
    assert fingerprint(play(resume=tmp_path)) == fingerprint(whole)
    source = storage.read(tmp_path / "checkpoint.json")["run"]["source"]
    assert list(source["sources"]) == list(sources())


@pytest.mark.parametrize("blocks", [1, 1000])
def test_going_back_finds_the_same_batches(blocks: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_loop, "_BLOCK_SECONDS", 1e9)
    monkeypatch.setattr(_loop, "_BLOCK_STEPS", blocks)
    whole, calls = play(), [0]

    def interrupting(u: Tensor, v: Tensor, batch: Any) -> Tensor:
        calls[0] += 1
        if calls[0] == 40:
            raise KeyboardInterrupt
        return risk(u, v, batch)

    game = Game(interrupting, torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    broken = solve(game, steps=STEPS, data=sources(), callbacks=[Checkpoint(tmp_path)])
    assert broken.status is Status.INTERRUPTED
    assert fingerprint(play(resume=tmp_path)) == fingerprint(whole)


def test_a_first_draw_from_random_finds_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_loop, "_BLOCK_SECONDS", 1e9)

    def drawing(late: int) -> Any:
        calls = [0]

        def f(u: Tensor, v: Tensor, batch: Any) -> Tensor:
            calls[0] += 1
            return risk(u, v, batch) * (1.0 if calls[0] < late else 1 + 0 * random.random())

        return Game(f, torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64))

    whole = [
        solve(drawing(late), steps=STEPS, data=sources() | {"stateful": [(rows(8, 3), torch.zeros(8))]})
        for late in (0, 30)
    ]
    assert fingerprint(whole[0]) == fingerprint(whole[1])


def test_a_killed_process_is_continued_to_the_bit(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.loop.test_several_sources", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (tmp_path / "30").exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    child.kill()
    _, errors = child.communicate()
    assert child.returncode == -signal.SIGKILL, errors.decode()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert fingerprint(play(resume=tmp_path / "run")) == fingerprint(play())
    finally:
        torch.set_num_threads(before)


class Stream(IterableDataset[Any]):
    def __iter__(self):
        return iter(rows(9))


@pytest.mark.parametrize(
    ("key", "part", "reason"),
    [
        ("unlabelled", lambda: DataLoader(Stream(), batch_size=2), r"data\['unlabelled'\]: a DataLoader over an Iter"),
        ("one", lambda: (rows(4, i) for i in range(99)), r"data\['one'\]: generator cannot be brought back"),
    ],
)
def test_the_source_that_cannot_resume_is_named(key: str, part: Any, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match=rf"callbacks: a Checkpoint could not .*{reason}"):
        play(sources() | {key: part()}, callbacks=[Checkpoint(tmp_path)])


def test_other_sources_are_refused(tmp_path: Path) -> None:
    play(steps=3, callbacks=[Checkpoint(tmp_path)])
    with pytest.raises(ResumeError, match=r"made with data dict\(labelled: Batches of 15.*not dict"):
        play(sources() | {"labelled": Batches(rows(16), batch_size=3, seed=2)}, resume=tmp_path)


if __name__ == "__main__":  # the process that is to be killed

    class Tell:
        every = 1

        def __call__(self, run: Any) -> None:
            if run.step > 30:
                (Path(sys.argv[1]) / "30").touch()
                time.sleep(0.2)

    torch.set_num_threads(1)
    play(callbacks=[Tell(), Checkpoint(Path(sys.argv[1]) / "run", every=3)])
