"""Certificates and solver trajectories come out as pinned.

The pinned numbers are written by ``python tests/golden/pin.py core``; a commit that writes them again changes numbers, and
says why. ``python tests/golden/compare.py BEFORE AFTER`` compares two commits to the bit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minimaxopt.solvers import SOLVERS
from tests.golden import core
from tests.golden.pinning import differences, perturbed, pinned, read

PINNED = read(Path(__file__).with_name("core.json"))


@pytest.fixture(scope="module")
def computed() -> dict[str, Any]:
    return pinned(core.numbers())


def test_certificates_and_trajectories_are_as_pinned(computed: dict[str, Any]) -> None:
    assert differences(PINNED, computed) == []


def test_every_solver_is_pinned() -> None:
    played = {path.split("/")[1].partition(",")[0] for path in PINNED if path.startswith("solvers/")}
    assert played == set(SOLVERS)


def test_a_changed_number_is_rejected() -> None:
    for path, changed in perturbed(PINNED):
        assert [line.partition(":")[0] for line in differences(PINNED, changed)] == [path]


@pytest.mark.parametrize(
    ("actual", "line"),
    [
        ({"a": 1.0}, "b: only expected"),
        ({"a": 1.0, "b": "x", "c": 2}, "c: not expected"),
        ({"a": 1.0, "b": "y"}, "b: 'x' expected, 'y' computed"),
        ({"a": 1, "b": "x"}, "a: 1.0 expected, 1 computed"),
        ({"a": 1.0 + 1e-8, "b": "x"}, "a: 1.0 expected, 1.00000001 computed"),
    ],
)
def test_what_differs_is_named(actual: dict[str, Any], line: str) -> None:
    assert differences({"a": 1.0, "b": "x"}, actual) == [line]
    assert differences(actual, actual) == []
