from __future__ import annotations

import fcntl
import json
import os
import stat
import threading
from pathlib import Path

import pytest
import torch

from minimaxopt.errors import DiskFullError, StoreError
from minimaxopt.plugins import ResultStore, read_json, write_json
from minimaxopt.results import result_store, storage


def test_put_and_get(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    assert "k" not in store
    store.put("k", {"error": 0.25}, {"w": torch.arange(3.0)[::2]})
    assert "k" in store
    assert store.result("k")["error"] == 0.25
    assert torch.equal(store.tensors("k")["w"], torch.tensor([0.0, 2.0]))
    assert stat.S_IMODE((tmp_path / "store" / "k").stat().st_mode) == 0o755


def test_the_first_result_stays(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.put("k", {"error": 0.25})
    store.put("k", {"error": 0.75})
    assert store.result("k") == {"error": 0.25}
    assert [path.name for path in store.results.iterdir()] == ["k"]


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ResultStore(tmp_path)

    def full(path: Path, raw: bytes) -> None:
        path.write_bytes(raw[: len(raw) // 2])
        raise OSError(28, "No space left on device")

    for module in (result_store, storage):
        monkeypatch.setattr(module, "write_flushed", full)
    with pytest.raises(DiskFullError, match="free space"):
        store.put("k", {"error": 0.25}, {"w": torch.zeros(3)})
    assert "k" not in store
    assert list(store.results.iterdir()) == []
    with pytest.raises(DiskFullError, match="file.json could not be written .*free space"):
        write_json(tmp_path / "file.json", {"a": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_number_that_json_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        ResultStore(tmp_path).put("k", {"error": float("nan")})
    assert "k" not in ResultStore(tmp_path)


def test_damage_is_named_with_its_remedy(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.put("k", {"error": 0.25}, {"w": torch.zeros(3)})
    path = store.results / "k" / "tensors.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(StoreError, match="delete .* and run again"):
        store.tensors("k")
    (store.results / "k" / "result.json").write_text("{", encoding="utf-8")
    with pytest.raises(StoreError, match="delete .* and run again"):
        store.result("k")


def test_a_result_of_another_version_is_named(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.put("k", {"format": 1})
    store.put("l", {"format": 2})
    assert store.result("k") == {"format": 1}
    with pytest.raises(StoreError, match="l/result.json was made in format 2, this version reads 1; .*delete"):
        store.result("l")


def test_what_is_passed_over_seems_absent_but_is_kept(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.put("k", {"error": 0.25})
    blind = store.without({"k"})
    assert "k" not in blind
    blind.put("k", {"error": 0.75})
    assert store.result("k") == {"error": 0.25}


def test_weights_that_are_not_kept_are_told_from_damaged_ones(tmp_path: Path) -> None:
    store, weights = ResultStore(tmp_path), {"w": torch.arange(3.0)}
    store.put("k", {"error": 0.25}, weights)
    store.put("without", {"error": 0.25})
    assert not store.lacks_weights("k")
    assert not store.lacks_weights("without")
    (store.results / "k" / "tensors.safetensors").unlink()
    assert store.lacks_weights("k")
    with pytest.raises(StoreError, match="is not there, since .* is a record without weights; run in another folder"):
        store.tensors("k")
    with pytest.raises(StoreError, match="came out different .*run the study in another folder, or delete"):
        store.put("k", {"error": 0.25}, {"w": torch.arange(1.0, 4.0)})
    assert store.lacks_weights("k")
    store.put("k", {"error": 0.75}, weights)
    assert torch.equal(store.tensors("k")["w"], weights["w"])
    assert store.result("k")["error"] == 0.25
    assert sorted(path.name for path in store.results.iterdir()) == ["k", "without"]


def test_a_folder_that_lost_its_result_is_filled_again(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.put("k", {"error": 0.25}, {"w": torch.zeros(3)})
    (store.results / "k" / "result.json").unlink()
    assert "k" not in store
    store.put("k", {"error": 0.75}, {"w": torch.ones(3)})
    assert store.result("k")["error"] == 0.75
    assert torch.equal(store.tensors("k")["w"], torch.ones(3))


def test_lock_holds_off_a_second_run_and_sweeps_leftovers(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    leftover = store.results / ".writing-abc"
    leftover.mkdir(parents=True)
    (tmp_path / "tables").mkdir()
    for draft in (tmp_path / ".writing-abc", tmp_path / "tables" / ".writing-abc"):
        draft.touch()
    assert not store.is_locked()
    with store.lock():
        assert not list(tmp_path.glob("**/.writing-*"))
        assert store.is_locked()
        with pytest.raises(StoreError, match="already running"), ResultStore(tmp_path).lock():
            pass
    assert not store.is_locked()


def test_a_look_at_the_lock_does_not_turn_a_run_away(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    with store.lock():
        pass
    for _ in range(5):
        with (tmp_path / "lock").open() as looking:
            fcntl.flock(looking, fcntl.LOCK_SH)  # as `is_locked` does for a moment
            timer = threading.Timer(0.03, fcntl.flock, (looking, fcntl.LOCK_UN))
            timer.start()
            with store.lock():
                assert store.is_locked()
            timer.join()
    assert not store.is_locked()


def test_a_lock_on_a_file_that_was_removed_is_none(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    with store.lock():
        waiting = (tmp_path / "lock").open("w")
        (tmp_path / "lock").unlink()
    with waiting:
        assert not result_store._acquired(waiting, tmp_path / "lock")
    with store.lock():
        assert store.is_locked()


def test_write_json_replaces_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder" / "file.json"
    write_json(path, {"a": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError("disk is gone")))
        with pytest.raises(StoreError, match="disk is gone.*see that it can be written to"):
            write_json(path, {"a": 2})
    assert read_json(path) == {"a": 1}
    assert json.loads(path.read_text()) == {"a": 1}
    assert [item.name for item in path.parent.iterdir()] == ["file.json"]
