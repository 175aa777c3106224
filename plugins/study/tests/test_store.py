from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
import torch

from minimaxopt_study import store as module
from minimaxopt_study.store import Store, StoreError, read_json, write_json


def test_put_and_get(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert "k" not in store
    store.put("k", {"error": 0.25}, {"w": torch.arange(3.0)[::2]})
    assert "k" in store
    assert store.result("k")["error"] == 0.25
    assert torch.equal(store.tensors("k")["w"], torch.tensor([0.0, 2.0]))
    assert stat.S_IMODE((tmp_path / "store" / "k").stat().st_mode) == 0o755


def test_the_first_result_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("k", {"error": 0.25})
    store.put("k", {"error": 0.75})
    assert store.result("k") == {"error": 0.25}
    assert [path.name for path in store.results.iterdir()] == ["k"]


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)

    def full(path: Path, raw: bytes) -> None:
        path.write_bytes(raw[: len(raw) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(StoreError, match="free space"):
        store.put("k", {"error": 0.25}, {"w": torch.zeros(3)})
    assert "k" not in store
    assert list(store.results.iterdir()) == []


def test_a_number_that_json_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Store(tmp_path).put("k", {"error": float("nan")})
    assert "k" not in Store(tmp_path)


def test_damage_is_named_with_its_remedy(tmp_path: Path) -> None:
    store = Store(tmp_path)
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


def test_lock_holds_off_a_second_run_and_sweeps_leftovers(tmp_path: Path) -> None:
    store = Store(tmp_path)
    leftover = store.results / ".writing-abc"
    leftover.mkdir(parents=True)
    assert not store.is_locked()
    with store.lock():
        assert not leftover.exists()
        assert store.is_locked()
        with pytest.raises(StoreError, match="already running"), Store(tmp_path).lock():
            pass
    assert not store.is_locked()


def test_write_json_replaces_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder" / "file.json"
    write_json(path, {"a": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError("disk is gone")))
        with pytest.raises(OSError, match="gone"):
            write_json(path, {"a": 2})
    assert read_json(path) == {"a": 1}
    assert json.loads(path.read_text()) == {"a": 1}
    assert [item.name for item in path.parent.iterdir()] == ["file.json"]
