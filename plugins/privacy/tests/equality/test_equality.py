"""Every filter and every evaluator is what scikit-learn's own is, and the page says so."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from .comparisons import COMPARISONS

DOCS = Path(__file__).parents[4] / "docs"
CASES = [(number, case) for number, row in enumerate(COMPARISONS) for case in row.cases]


@pytest.mark.parametrize(("number", "case"), CASES, ids=[f"{COMPARISONS[n].ours}-{case}" for n, case in CASES])
def test_it_is_equal_to_scikit_learns(number: int, case: str) -> None:
    assert COMPARISONS[number].difference(case) <= COMPARISONS[number].tolerance


def test_a_difference_is_found() -> None:
    row = COMPARISONS[0]
    ours, theirs = row.cases["two classes"]()
    other = replace(row, cases={"changed": lambda: (ours + 1e-6, theirs)})
    assert other.difference("changed") > row.tolerance


def test_the_page_is_that_of_the_table() -> None:
    script = runpy.run_path(str(DOCS / "equality_privacy.py"))
    text = (DOCS / "equality-privacy.md").read_text(encoding="utf-8")
    assert text == script["page"](), "run python docs/equality_privacy.py"
