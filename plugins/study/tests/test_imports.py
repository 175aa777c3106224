"""The rooms of the study: each imports only from those above it, without circles or long chains."""

from __future__ import annotations

from pathlib import Path

from tests.test_imports import longest_chain, modules, room, violations

STUDY = Path(__file__).parents[1] / "src" / "minimaxopt_study"
# A room imports only from rooms before it; "" is minimaxopt_study/__init__.py.
ROOMS = [
    "",
    "formatting",
    "paper",
    "profiles",
    "plan",
    "tasks",
    "runner",
    "results",
    "study",
    "report",
    "commands",
    "plugin",
]
LARGEST = 14
LONGEST_CHAIN = 15


def test_the_order_names_every_room() -> None:
    assert set(ROOMS) == {room(name) for name in modules(STUDY)}
    assert len([path for path in STUDY.iterdir() if path.name != "__pycache__"]) <= LARGEST


def test_rooms_import_only_from_above() -> None:
    assert violations(STUDY, ROOMS) == []
    assert violations(STUDY, [*reversed(ROOMS)]) != []


def test_files_form_no_circle_and_no_long_chain() -> None:
    assert len(longest_chain(STUDY)) <= LONGEST_CHAIN
