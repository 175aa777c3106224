"""Batches, and the sources from which the loop takes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from minimaxopt import Batches, Descent, Game, solve
from minimaxopt.errors import ArgumentError, DataError, MinimaxoptError
from minimaxopt.game.batches import Seekable
from minimaxopt.game.data_source import Exhausted, Indexed, Iterated, source_of

# -- Batches -----------------------------------------------------------------------------------------------------------


@given(n=st.integers(1, 40), size=st.integers(1, 50), seed=st.integers(-(2**70), 2**70), epoch=st.integers(0, 5))
def test_each_epoch_holds_every_sample_once(n: int, size: int, seed: int, epoch: int) -> None:
    batches = Batches(torch.arange(n), size, seed)
    count = len(batches)
    assert count == -(-n // size)
    assert batches.samples == n
    held = [batches.at(epoch * count + i) for i in range(count)]
    assert sorted(torch.cat(held).tolist()) == list(range(n))
    assert [len(batch) for batch in held] == [size] * (n // size) + ([n % size] if n % size else [])


@given(indices=st.lists(st.integers(0, 100), min_size=1, max_size=20))
def test_a_batch_depends_on_the_seed_and_its_number_only(indices: list[int]) -> None:
    """Whatever was asked for before, and whatever the global random state."""
    used = Batches(torch.arange(20), 3, seed=1)
    for index in indices:
        torch.manual_seed(index)
        assert torch.equal(used.at(index), Batches(torch.arange(20), 3, seed=1).at(index))


def test_epochs_and_seeds_differ() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return Batches(torch.arange(50), 50, seed).at(epoch).tolist()

    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)
    assert order(0, 0) == order(0, 0) != list(range(50))


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    Batches(torch.arange(9), 2).at(7)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_shuffling_the_order_is_that_of_the_samples() -> None:
    batches = Batches(torch.arange(5), 2, shuffle=False)
    assert [batch.tolist() for batch in batches] == [[0, 1], [2, 3], [4]]
    assert batches.at(4).tolist() == [2, 3]


def test_any_nesting_keeps_its_rows_together() -> None:
    x = torch.arange(7)
    batches = Batches({"image": x, "more": (x * 10, [x.double()]), "nothing": None}, 3)
    batch = batches.at(4)
    assert set(batch) == {"image", "more", "nothing"}
    assert batch["nothing"] is None
    assert isinstance(batch["more"], tuple)
    assert torch.equal(batch["more"][0], batch["image"] * 10)
    assert torch.equal(batch["more"][1][0], batch["image"].double())


def test_iterating_gives_one_epoch_and_again() -> None:
    batches = Batches(torch.arange(7), 3)
    assert [b.tolist() for b in batches] == [batches.at(i).tolist() for i in range(3)] == [b.tolist() for b in batches]


def test_another_device_holds_the_same_batches() -> None:
    batches = Batches((torch.arange(9.0), torch.arange(9)), 4, seed=5)
    moved = batches.to("cpu")
    assert repr(moved) == repr(batches) == "Batches of 9 samples (batch_size=4, seed=5, shuffle=True)"
    assert torch.equal(moved.at(7)[0], batches.at(7)[0])
    meta = batches.to(torch.device("meta")).at(2)
    assert (meta[0].device.type, meta[0].shape) == ("meta", batches.at(2)[0].shape)


def test_batches_are_copies() -> None:
    x = torch.zeros(6)
    Batches(x, 2).at(0).fill_(1)
    assert not x.any()


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"tensors": torch.zeros(0, 2)}, DataError, "tensors: hold no samples"),
        ({"tensors": ()}, DataError, "tensors: hold no tensor"),
        ({"tensors": None}, DataError, "tensors: hold no tensor"),
        (
            {"tensors": (torch.zeros(3), torch.zeros(4))},
            DataError,
            r"tensors: have shapes \[\(3,\), \(4,\)\], which diff",
        ),
        ({"tensors": torch.tensor(1.0)}, DataError, r"tensors: have shapes \[\(\)\]"),
        ({"tensors": (torch.zeros(3), [1, 2, 3])}, DataError, r"tensors: int at 1\.0 is not a tensor; convert"),
        ({"tensors": torch.zeros(3).numpy()}, DataError, "tensors: ndarray is not a tensor; convert it first"),
        ({"batch_size": 0}, ArgumentError, "batch_size: 0 is not a positive integer"),
        ({"batch_size": True}, ArgumentError, "batch_size: True is not"),
        ({"batch_size": 2.0}, ArgumentError, r"batch_size: 2\.0 is not"),
        ({"seed": 1.0}, ArgumentError, r"seed: 1\.0 is not an integer"),
        ({"seed": False}, ArgumentError, "seed: False is not an integer"),
    ],
)
def test_bad_batches_are_refused(arguments: dict[str, Any], kind: type[Exception], message: str) -> None:
    usual: dict[str, Any] = {"tensors": torch.zeros(3), "batch_size": 2}
    with pytest.raises(kind, match=message):
        Batches(**{**usual, **arguments})
    assert len(Batches(**usual)) == 2


# -- sources -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(4, 2), r"data: a bare tensor is not a collection of batches; give Batches"),
        ({"x": torch.zeros(3)}, "data: a dict is not a collection of batches"),
        ("mnist", "data: a str is not a collection"),
        ((torch.zeros(4, 2), torch.zeros(4)), r"data: a tuple of tensors looks like one batch; give Batches"),
        (5, "data: int is neither Batches nor an iterable"),
        ([], "data: is empty"),
        ((), "data: is empty"),
    ],
)
def test_what_is_no_collection_of_batches_is_refused(data: Any, message: str) -> None:
    game = Game(lambda u, v, x: u * 0, torch.tensor(1.0), None)
    with pytest.raises(MinimaxoptError, match=message):
        solve(game, Descent(), data=data, steps=1)
    assert solve(game, Descent(), data=[(torch.zeros(4, 2), torch.zeros(4))], steps=2).steps == 2


def values(source: Any, n: int) -> list[Any]:
    return [source.take()[0] for _ in range(n)]


def sources() -> list[Any]:
    return [
        source_of(Batches(torch.arange(10), 3), 0, None),
        source_of([torch.tensor([i]) for i in range(4)], 0, None),
        source_of(DataLoader(TensorDataset(torch.arange(10)), batch_size=3, shuffle=True), 0, None),
    ]


@pytest.mark.parametrize("which", range(3))
def test_a_source_goes_back(which: int) -> None:
    source = sources()[which]
    first = values(source, 9)
    source.rewind(2)
    source.forget(2)
    again = values(source, 9)
    assert source.position == 11
    for a, b in zip(first[2:], again, strict=False):
        assert torch.equal(
            torch.cat(list(a)) if isinstance(a, list) else a, torch.cat(list(b)) if isinstance(b, list) else b
        )


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize(("taken", "back"), [(0, 0), (1, 1), (1, 0), (5, 5), (9, 6), (9, 3)])
def test_a_state_is_that_of_the_position_and_not_of_what_was_drawn(which: int, taken: int, back: int) -> None:
    source = sources()[which]
    for i in range(taken):
        source.take()
        if i == 3:
            source.state()
            source.forget(2)
    source.rewind(back)
    other = sources()[which]
    other.load(source.state())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = values(source, 6)
    for a, b in zip(expected, values(other, 6), strict=True):
        assert str(a) == str(b)
    assert other.state().keys() == source.state().keys()


def test_a_loader_is_shuffled_anew_in_each_epoch_and_the_same_for_a_seed() -> None:
    def drawn(seed: int) -> list[str]:
        loader = DataLoader(TensorDataset(torch.arange(30)), batch_size=30, shuffle=True)
        return [str(x) for x in values(source_of(loader, seed, None), 3)]

    assert len(set(drawn(0))) == 3
    assert drawn(0) == drawn(0) != drawn(1)


def test_data_with_random_transforms_repeat_themselves() -> None:
    class Noisy(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 6

        def __getitem__(self, i: int) -> torch.Tensor:
            return i + torch.rand(())

    def source() -> Any:
        return source_of(DataLoader(Noisy(), batch_size=2, shuffle=True), 3, None)

    whole, part = source(), source()
    expected = values(whole, 8)
    values(part, 5)
    resumed = source()
    resumed.load(part.state())
    assert [x.tolist() for x in values(resumed, 3)] == [x.tolist() for x in expected[5:]]


def test_nothing_is_taken_without_data() -> None:
    source = source_of(None, 0, None)
    assert isinstance(source, Indexed)
    assert source.take() == ()
    assert source.exact


def test_anything_with_numbered_batches_will_do() -> None:
    class Squares:
        def at(self, index: int) -> torch.Tensor:
            return torch.tensor(float(index**2))

    assert isinstance(Squares(), Seekable)
    game = Game(lambda u, v, x: u * x, torch.tensor(0.0), None)
    assert solve(game, Descent(), data=Squares(), steps=5).history.last("risk") != 0
    source = source_of(Squares(), 0, None)
    assert [x.item() for x in values(source, 4)] == [0, 1, 4, 9]


def test_batches_go_to_the_device_whole() -> None:
    source = source_of([{"x": torch.zeros(2), "y": (torch.ones(1), "label")}], 0, torch.device("meta"))
    batch = source.take()[0]
    assert (batch["x"].device.type, batch["y"][0].device.type, batch["y"][1]) == ("meta", "meta", "label")


def test_a_generator_ends() -> None:
    source = source_of((torch.tensor(i) for i in range(2)), 0, None)
    values(source, 2)
    with pytest.raises(Exhausted):
        source.take()
    source.rewind(1)
    assert source.take()[0].item() == 1
    assert "generator cannot be brought back" in source.why_not
    assert not source.exact


def test_large_batches_are_not_hoarded() -> None:
    source = source_of([torch.zeros(2**20), torch.zeros(2**20)], 0, None)
    source.take()
    assert isinstance(source, Iterated)
    assert source.limit == 16  # 64 MiB of 4 MiB each
    for i in range(1, 50):
        source.take()
        source.forget(i)
    assert len(source._kept) == 1
