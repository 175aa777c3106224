"""What counts as a difference between two commits that were played once or twice."""

from __future__ import annotations

import pytest

from tests.golden.compare import _differences


def play(before: str, after: str) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str]]]:
    return {"core": {"risk": before}}, {"core": {"risk": after}}


@pytest.mark.parametrize(
    ("plays", "lines"),
    [
        ([play("0x1p-2", "0x1p-2")], []),
        ([play("0x1p-2", "0x1p-1"), play("0x1p-2", "0x1p-1")], ["core: risk: 0x1p-2 before, 0x1p-1 after"]),
        ([play("0x1p-2", "0x1p-1"), play("0x1p-2", "0x1p-2")], ["not repeatable: core: risk: 0x1p-2 before, "]),
    ],
)
def test_a_number_differs_where_no_play_agrees(plays: list, lines: list[str]) -> None:
    differences = _differences("core", plays)
    assert len(differences) == len(lines)
    assert all(line.startswith(start) for line, start in zip(differences, lines, strict=True))


def test_numbers_of_one_side_and_parts_that_fail_are_differences() -> None:
    assert _differences("core", [({"core": {"risk": "0x1p-2"}}, {"core": {}})]) == [
        "core: risk: 0x1p-2 before, absent after"
    ]
    failed = {"core": {"error": "ImportError: moved"}}
    assert _differences("core", [({"core": {}}, failed)]) == ["core: cannot be played after: ImportError: moved"]
