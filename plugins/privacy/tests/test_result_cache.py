"""Results are stored once under their settings and a version, and computed anew for any other."""

from __future__ import annotations

import pytest

from minimaxopt.errors import ArgumentError, StoreError
from minimaxopt_privacy import result_cache
from minimaxopt_privacy.result_cache import ResultCache


def value(cache, settings, number):
    return cache.get(settings, lambda: {"value": number})["value"]


def test_a_stored_result_is_not_computed_again(tmp_path):
    assert value(ResultCache(tmp_path), {"seed": 0}, 1) == 1
    assert value(ResultCache(tmp_path), {"seed": 0}, 2) == 1
    assert value(ResultCache(tmp_path), {"seed": 1}, 3) == 3


def test_another_version_is_computed_anew_and_still_listed(tmp_path, monkeypatch):
    assert value(ResultCache(tmp_path), {"seed": 0}, 1) == 1
    monkeypatch.setattr(result_cache, "VERSION", result_cache.VERSION + 1)
    assert value(ResultCache(tmp_path), {"seed": 0}, 2) == 2
    assert [settings["seed"] for settings in ResultCache(tmp_path).settings()] == [0, 0]


def test_without_a_folder_nothing_is_stored():
    cache = ResultCache(None)
    assert [value(cache, {"seed": 0}, number) for number in (1, 2)] == [1, 2]
    assert cache.settings() == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 1}', b"\xff"])
def test_a_damaged_result_is_computed_anew(tmp_path, content):
    for seed in (0, 1):
        value(ResultCache(tmp_path), {"seed": seed}, seed)
    (path,) = [path for path in tmp_path.rglob("result.json") if b'"seed": 0' in path.read_bytes()]
    path.write_bytes(content)
    assert [settings["seed"] for settings in ResultCache(tmp_path).settings()] == [1]
    assert value(ResultCache(tmp_path), {"seed": 0}, 2) == 2
    assert value(ResultCache(tmp_path), {"seed": 0}, 3) == 2
    assert value(ResultCache(tmp_path), {"seed": 1}, 3) == 1


def test_a_result_of_another_format_is_not_taken_for_a_damaged_one(tmp_path):
    value(ResultCache(tmp_path), {"seed": 0}, 1)
    (path,) = tmp_path.rglob("result.json")
    path.write_bytes(path.read_bytes().replace(b'"format": 1', b'"format": 99'))
    with pytest.raises(StoreError, match="format 99"):
        value(ResultCache(tmp_path), {"seed": 0}, 2)
    assert path.exists()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="out: .*file is a file"):
        ResultCache(tmp_path / "file")
