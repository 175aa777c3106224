"""Order of the plugin's rooms: the imports allowed, and the length of their chains."""

from __future__ import annotations

from pathlib import Path

import minimaxopt_privacy
from tests.test_imports import arrows, longest_chain, modules, room

PACKAGE = Path(minimaxopt_privacy.__file__).parent

ROOMS = [
    "checks", "datasets", "result_cache", "game", "predictors", "estimators", "evaluation", "genki", "problems", "",
    "cli", "plugin",
]  # fmt: skip
"""A room imports only from rooms before it; ``""`` is the package itself."""


def test_the_order_names_every_room():
    assert set(ROOMS) == {room(name) for name in modules(PACKAGE)}
    assert len([path for path in PACKAGE.iterdir() if path.name != "__pycache__"]) <= 14


def test_rooms_import_only_from_rooms_before_them():
    rank = {name: place for place, name in enumerate(ROOMS)}
    backward = {
        (name, target)
        for name, targets in arrows(PACKAGE).items()
        for target in targets
        if rank[room(target)] > rank[room(name)]
    }
    assert backward == set()


def test_files_form_no_cycle_and_no_long_chain():
    assert len(longest_chain(PACKAGE)) <= 15
