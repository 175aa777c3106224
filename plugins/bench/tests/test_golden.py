"""Golden numbers: runs, cells and standings of five solvers on five games come out as pinned.

The pinned numbers are written by ``python tests/golden/pin.py bench``; a commit that writes them again changes numbers,
and says why. ``python tests/golden/compare.py BEFORE AFTER`` compares two commits to the bit.
"""

from __future__ import annotations

from pathlib import Path

from tests.golden import bench
from tests.golden.pinning import differences, perturbed, pinned, read

PINNED = read(Path(__file__).with_name("golden.json"))


def test_numbers_are_as_pinned() -> None:
    assert differences(PINNED, pinned(bench.numbers())) == []


def test_a_changed_number_is_rejected() -> None:
    for path, changed in perturbed(PINNED):
        assert [line.partition(":")[0] for line in differences(PINNED, changed)] == [path]
