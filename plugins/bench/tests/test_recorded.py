"""The recorded bench in the documentation: of games and solvers that exist, small, and whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minimaxopt.solvers import SOLVERS
from minimaxopt.testing import GAMES
from minimaxopt_bench.published import KBEAM, KBEAM_COLUMNS
from minimaxopt_bench.settings import Settings

PAGES = Path(__file__).parents[3] / "docs" / "benchmarks"
RECORDED = PAGES / "recorded"
LARGEST = 4_500_000


def test_it_was_run_with_the_default_settings_on_what_exists() -> None:
    recorded = json.loads((RECORDED / "results.json").read_text(), parse_constant=pytest.fail)
    assert recorded["settings"] == json.loads(json.dumps(Settings().to_dict()))
    assert set(recorded["solvers"]) <= set(SOLVERS)
    assert {name: GAMES[name].formula for name in recorded["games"]} == {
        n: g["formula"] for n, g in recorded["games"].items()
    }
    assert len(recorded["cells"]) == len(recorded["solvers"]) * len(recorded["games"])


def test_the_published_table_was_repeated() -> None:
    recorded = json.loads((RECORDED / "kbeam.json").read_text())
    assert {surface: set(row) for surface, row in recorded["distance"].items()} == {
        surface: set(KBEAM_COLUMNS) for surface in KBEAM
    }
    assert "not run" not in (RECORDED / "kbeam.md").read_text()
    assert (recorded["protocol"]["trials"], recorded["protocol"]["steps"]) == (100, 1000)


def test_the_repeated_table_agrees_with_the_published_one() -> None:
    recorded = json.loads((RECORDED / "kbeam.json").read_text())

    def far(mean: float, deviation: float, here: list[float]) -> bool:
        """Return whether two means over 100 trials each differ by more than 1.6 standard errors, at three digits."""
        return abs(here[0] - mean) > 1.6 * (here[1] ** 2 + deviation**2) ** 0.5 / 10 + 0.0005

    cells = [
        (here, published)
        for surface, row in KBEAM.items()
        for column, published in zip(KBEAM_COLUMNS, row, strict=True)
        if (here := recorded["distance"][surface][column])
    ]
    assert len(cells) == 36
    assert not [cell for cell in cells if far(*cell[1], cell[0])]
    assert far(0.235, 0.127, [0.302, 0.116])


def test_links_lead_somewhere_and_pictures_are_small() -> None:
    pages = [*PAGES.glob("*.md"), *RECORDED.glob("*.md")]
    assert {page.name for page in pages} >= {"index.md", "portraits.md", "kbeam.md"}
    for page in pages:
        for part in page.read_text().split("](")[1:]:
            link = part.partition(")")[0].partition("#")[0]
            assert link.startswith("http") or not link or (page.parent / link).exists(), f"{page.name}: {link}"
    files = [path for path in PAGES.rglob("*") if path.is_file()]
    assert all(path.stat().st_size < 80_000 for path in files if path.suffix == ".png")
    assert sum(path.stat().st_size for path in files) < LARGEST
