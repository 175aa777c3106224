"""Two files that a reader never sees half of, and no pickle."""

from __future__ import annotations

import json
import math
import os
import sys
from collections import Counter, OrderedDict, UserDict, defaultdict, deque, namedtuple
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from minimaxopt.errors import ResumeError
from minimaxopt.results import storage


def round_trip(folder: Path, content: Any) -> Any:
    return storage.read(storage.write(folder, "thing", content))


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(
            st.text(max_size=4) | st.integers() | st.sampled_from(["$tensor", "$items"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(content=plain)
def test_plain_values_come_back(content: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert repr(round_trip(tmp_path_factory.mktemp("b"), content)) == repr(content)


def test_numbers_that_are_none_come_back(tmp_path: Path) -> None:
    back = round_trip(tmp_path, [math.nan, math.inf, -math.inf, -0.0, np.float32(0.5), np.int64(7)])
    assert math.isnan(back[0])
    assert back[1:] == [math.inf, -math.inf, 0.0, 0.5, 7]
    assert math.copysign(1, back[3]) == -1
    assert "NaN" not in (tmp_path / "thing.json").read_text()


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]
)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_tensors_come_back_to_the_bit(dtype: torch.dtype, shape: tuple[int, ...], tmp_path: Path) -> None:
    tensor = torch.randn(shape).to(dtype)
    back = round_trip(tmp_path, {"a": [tensor, {"b": (tensor,)}]})
    assert (back["a"][0].dtype, back["a"][0].shape) == (dtype, torch.Size(shape))
    assert torch.equal(back["a"][0], tensor)
    assert torch.equal(back["a"][1]["b"][0], tensor)


def test_views_parameters_and_tied_tensors_come_back(tmp_path: Path) -> None:
    base = torch.arange(12.0).view(3, 4)
    parameter = torch.nn.Parameter(base[0])
    back = round_trip(tmp_path, [base.t(), base[:, 1], parameter, base, base])
    assert torch.equal(back[0], base.t())
    assert torch.equal(back[1], base[:, 1])
    assert torch.equal(back[2], parameter)
    assert not back[2].requires_grad
    back[3].zero_()
    assert torch.equal(back[4], base)


def test_dictionaries_keep_their_keys_and_order(tmp_path: Path) -> None:
    content = {1: "a", "1": "b", (2, 3): OrderedDict(z=1, a=2), "count": Counter([4, 4])}
    back = round_trip(tmp_path, content)
    assert list(back) == [1, "1", (2, 3), "count"]
    assert list(back[2, 3]) == ["z", "a"]
    assert back["count"] == Counter([4, 4])


Pair = namedtuple("Pair", "a b")


class Named(NamedTuple):
    x: int
    y: torch.Size


CONTAINERS: list[Any] = [
    Counter([4, 4, 7]),
    OrderedDict(z=1, a=(2, 3)),
    defaultdict(list, {"a": [1]}),
    defaultdict(None, {1: 2}),
    deque([1, (2,)], maxlen=5),
    deque("ab"),
    {1, 2},
    frozenset({"a"}),
    {1: "a", "1": "b", 2.5: "c", (2, 3): "d", None: "e", False: "f"},
    {"$tensor": 1, "$float": {"$deque": 2}},
    Pair(1, [2]),
    Named(3, torch.Size([1, 2])),
    torch.Size([]),
    torch.float32,
    torch.bfloat16,
    torch.device("cuda", 1),
    np.float32(0.1),
    np.float64(math.pi),
    np.int8(-3),
    np.uint64(2**64 - 1),
    np.bool_(True),
    {"nested": [{"deep": (Counter("aab"), {(1,): {2}})}]},
]


def types(value: Any) -> Any:
    """Return a value with the type of every part."""
    if isinstance(value, dict):
        return type(value), [(types(key), types(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple, deque)):
        return type(value), [types(item) for item in value]
    return type(value), value


@pytest.mark.parametrize("value", CONTAINERS, ids=repr)
def test_values_come_back_with_their_types(value: Any, tmp_path: Path) -> None:
    back = round_trip(tmp_path, {"a": [0, value]})["a"][1]
    assert types(back) == types(value)
    assert getattr(back, "maxlen", None) == getattr(value, "maxlen", None)
    assert getattr(back, "default_factory", None) is getattr(value, "default_factory", None)


@pytest.mark.parametrize(
    "array", [np.arange(6.0).reshape(2, 3), np.zeros((0, 2), np.int32), np.array([True, False]), np.array(1j)]
)
def test_arrays_come_back(array: Any, tmp_path: Path) -> None:
    back = round_trip(tmp_path, {"a": array})["a"]
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert np.array_equal(back, array)
    back.flat[:1] = 1  # it can be written to


def test_bytes_and_complex_numbers_come_back(tmp_path: Path) -> None:
    assert round_trip(tmp_path, {"a": (b"\x00a", 1.5 - 2j)}) == {"a": (b"\x00a", 1.5 - 2j)}


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_tensors_come_back(dtype: torch.dtype, tmp_path: Path) -> None:
    tensor = torch.randn(3, 2, dtype=dtype)
    back = round_trip(tmp_path, [tensor, tensor.T.conj(), tensor[0, 0], tensor.imag])
    assert torch.equal(back[0], tensor)
    assert torch.equal(back[1], tensor.T.conj())
    assert torch.equal(back[2], tensor[0, 0])
    assert torch.equal(back[3], tensor.imag)


class Colour(IntEnum):
    RED = 1


class Text(str): ...


Local = namedtuple("Elsewhere", "a")


@pytest.mark.parametrize(
    "thing",
    [
        object(), lambda: 0, Colour.RED, Text("a"), UserDict(), np.array(["a"]), np.longdouble(1), Local(1),
        defaultdict(lambda: 0), torch.ones(2).max(0), (1, 2).__iter__(), range(3), Path("x"), slice(1),
    ],
    ids=lambda thing: type(thing).__name__,
)  # fmt: skip
def test_what_cannot_be_kept_is_named(thing: Any, tmp_path: Path) -> None:
    for content in ({"a": [0, thing]}, {"a": (0, thing)}, {"a": deque([0, thing])}, {"a": Counter({0: 1, 1: thing})}):
        with pytest.raises(
            ResumeError, match=rf"thing\.a\.1: {type(thing).__name__} cannot be saved; keep tensors, numbers"
        ):
            storage.write(tmp_path, "thing", content)
    assert list(tmp_path.iterdir()) == []
    assert round_trip(tmp_path, {"a": [0, (1, 2)]}) == {"a": [0, (1, 2)]}


@pytest.mark.parametrize("tensor", [torch.eye(2).to_sparse(), torch.ones(2, device="meta")], ids=["sparse", "meta"])
def test_tensors_that_cannot_be_kept_are_named(tensor: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match=r"thing\.x: a tensor of layout .* cannot be saved; keep dense tensors"):
        storage.write(tmp_path, "thing", {"x": tensor})


def test_a_named_tuple_is_read_only_where_its_module_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = storage.write(tmp_path, "thing", Named(3, torch.Size([1])))
    monkeypatch.setattr(sys.modules[__name__], "Named", namedtuple("Named", "x z"))
    with pytest.raises(ResumeError, match=r"has the fields \('x', 'z'\), not \('x', 'y'\)\); load it with the version"):
        storage.read(path)
    monkeypatch.setattr(sys.modules[__name__], "Named", os.system)
    with pytest.raises(ResumeError, match=r"thing: holds '\$namedtuple', .*no named tuple .*Named is imported"):
        storage.read(path)


def test_the_files_are_safetensors_and_json(tmp_path: Path) -> None:
    storage.write(tmp_path / "deep" / "folder", "thing", {"x": torch.ones(3)})
    head, tensors = sorted((tmp_path / "deep" / "folder").iterdir(), key=lambda path: path.suffix)
    assert json.loads(head.read_text())["tensors"] == tensors.name
    assert [t.tolist() for t in load_file(tensors).values()] == [[1.0, 1.0, 1.0]]


def test_a_device_may_be_chosen(tmp_path: Path) -> None:
    path = storage.write(tmp_path, "thing", torch.ones(3))
    assert storage.read(path, "meta").device.type == "meta"


def test_an_old_pair_is_replaced_and_neighbours_are_left(tmp_path: Path) -> None:
    storage.write(tmp_path, "other", torch.zeros(2))
    storage.write(tmp_path, "thing", torch.zeros(2))
    (tmp_path / ".thing.json.4242.partial").write_text("of a run that was killed")
    (tmp_path / "notes.txt").write_text("mine")
    storage.write(tmp_path, "thing", torch.ones(2))
    storage.write(tmp_path, "thing", torch.ones(2))
    names = {path.name.partition("-")[0] + path.suffix for path in tmp_path.iterdir()}
    assert names == {"other.safetensors", "other.json.json", "thing.safetensors", "thing.json.json", "notes.txt.txt"}
    assert len(list(tmp_path.iterdir())) == 5
    assert storage.read(tmp_path / "other.json").tolist() == [0, 0]
    assert storage.read(tmp_path / "thing.json").tolist() == [1, 1]


@pytest.mark.parametrize("moment", ["write tensors", "replace tensors", "write json", "replace json"])
def test_a_crash_at_any_moment_leaves_the_old_content_or_the_new(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = storage.write(tmp_path, "thing", {"x": torch.zeros(2), "n": 1})
    verb, what = moment.split()
    suffix = {"tensors": ".safetensors", "json": ".json"}[what]
    opened, replaced = Path.open, Path.replace

    def crash_opening(self: Path, *arguments: Any, **options: Any) -> Any:
        if verb == "write" and self.name.endswith(".partial") and f"{suffix}." in self.name:
            raise OSError("crash")
        return opened(self, *arguments, **options)

    def crash_replacing(self: Path, target: Any) -> Path:
        if verb == "replace" and Path(target).suffix == suffix:
            raise OSError("crash")
        return replaced(self, target)

    monkeypatch.setattr(Path, "open", crash_opening)
    monkeypatch.setattr(Path, "replace", crash_replacing)
    with pytest.raises(OSError, match="crash"):
        storage.write(tmp_path, "thing", {"x": torch.ones(2), "n": 2})
    monkeypatch.undo()
    back = storage.read(path)
    assert (back["n"], back["x"].tolist()) == (1, [0.0, 0.0])
    assert not list(tmp_path.glob("*.partial"))
    assert round_trip(tmp_path, {"x": torch.ones(2), "n": 2})["n"] == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_files_reach_the_disk_before_they_get_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, replaced = os.fsync, Path.replace

    def sync(handle: int) -> None:
        order.append("sync")
        fsync(handle)

    def rename(self: Path, target: Any) -> Path:
        order.append(Path(target).suffix)
        return replaced(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", rename)
    storage.write(tmp_path, "thing", torch.ones(1))
    assert order == ["sync", ".safetensors", "sync", "sync", ".json", "sync"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda head, tensors: head.unlink(), "there is no thing.json in"),
        (lambda head, tensors: tensors.unlink(), "is missing beside .*; copy both files together"),
        (lambda head, tensors: tensors.write_bytes(tensors.read_bytes()[:-1]), "was changed or damaged"),
        (lambda head, tensors: tensors.write_bytes(tensors.read_bytes()[:-1] + b"\x01"), "was changed or damaged"),
        (lambda head, tensors: tensors.write_bytes(b""), "was changed or damaged"),
        (lambda head, tensors: head.write_bytes(head.read_bytes()[:-3]), "is not JSON"),
        (lambda head, tensors: head.write_bytes(b"\xff\xfe\x00"), "is not JSON"),
        (lambda head, tensors: head.write_text("[1, 2]"), "was not written by minimaxopt"),
        (lambda head, tensors: head.write_text('{"format": 1}'), "was not written by minimaxopt"),
        (
            lambda head, tensors: head.write_text(head.read_text().replace('"format": 2', '"format": 1')),
            "is not of format 2; load it with the version",
        ),
    ],
)
def test_damage_is_told(damage: Any, message: str, tmp_path: Path) -> None:
    head = storage.write(tmp_path, "thing", torch.zeros(2))
    assert storage.read(head).tolist() == [0, 0]
    damage(head, next(tmp_path.glob("*.safetensors")))
    with pytest.raises(ResumeError, match=f"path: .*{message}"):
        storage.read(head)


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResumeError, match="give the folder that save"):
        storage.read(tmp_path / "file" / "thing.json")
