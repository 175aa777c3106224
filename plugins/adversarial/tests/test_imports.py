"""The rooms of the plugin: each imports only from rooms above it, without circles and long chains."""

from __future__ import annotations

from pathlib import Path

import minimaxopt_adversarial
from tests.test_imports import longest_chain, modules, room, violations

PACKAGE = Path(minimaxopt_adversarial.__file__).parent
# A room imports only from rooms before it; "" is the package itself, which names what is public.
ROOMS = ["checks", "losses", "attacks", "networks", "datasets", "evaluation", "defences", "problems", "", "plugin"]
ENTRIES, LONGEST_CHAIN, LONGEST_FILE = 14, 15, 400


def test_the_order_names_every_room() -> None:
    assert set(ROOMS) == {room(name) for name in modules(PACKAGE)}
    assert len([path for path in PACKAGE.iterdir() if path.name != "__pycache__"]) <= ENTRIES


def test_rooms_import_only_from_above() -> None:
    assert violations(PACKAGE, ROOMS) == []
    assert "attacks.input_gradient imports checks" in violations(PACKAGE, ROOMS[::-1])


def test_files_form_no_circle_and_no_long_chain() -> None:
    assert 2 < len(longest_chain(PACKAGE)) <= LONGEST_CHAIN


def test_files_are_short() -> None:
    assert {p.name for p in PACKAGE.rglob("*.py") if len(p.read_text().splitlines()) > LONGEST_FILE} == set()
