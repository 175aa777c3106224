"""Two studies side by side: what differs is counted and marked, what only one of them has is a dash."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from math import sqrt
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console
from tiny_study import invoke, write_profile

from minimaxopt_study.formatting import DASH
from minimaxopt_study.paper.names import LWA, MINIMAX_GRAD, NO_DEFENSE
from minimaxopt_study.plan.kinds import VERSIONS
from minimaxopt_study.plan.plan import derive
from minimaxopt_study.profiles.profile import load_profile
from minimaxopt_study.report.comparison import Comparison, Pair, Side, compare
from minimaxopt_study.report.side_by_side import markdown, show, summary
from minimaxopt_study.results import tables
from minimaxopt_study.results.gather import Results, Row
from minimaxopt_study.results.margins import Verdict
from minimaxopt_study.study import Study

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Make

DATA = {"name": "images", "note": "made up", "train": 4000, "evaluated": 1000, "fingerprint": "f" * 64}


def side(label: str, results: Results, data: dict[str, Any] = DATA, code: str = "c" * 64, **changes: Any) -> Side:
    known = {"eta": results.eta, "seeds": results.seeds, "rounds": results.rounds}
    profile = load_profile("quick", **(known | changes))
    return Side(label, profile, data, {"evaluation": (code,)}, results)


def more_rounds(results: Results, rounds: int) -> Results:
    """The same results, whose last round has another number; the rounds between repeat the second."""
    rows: dict[tuple[str, float, int], Row] = {}
    for (name, eta, seed), row in results.rows.items():
        fgsm = (*row.fgsm[:2], *[row.fgsm[1]] * (rounds - 3), row.fgsm[2])
        rows[name.replace("Adv FGSM3", f"Adv FGSM{rounds}"), eta, seed] = replace(row, fgsm=fgsm)
    return replace(results, rounds=rounds, rows=rows)


def at(comparison: Comparison, table: int, eta: str, row: str, column: str) -> Pair:
    places = {(pair.table, pair.eta, pair.row, pair.column): pair for pair in comparison.pairs}
    assert len(places) == len(comparison.pairs)
    return places[table, eta, row, column]


def printed(comparison: Comparison, width: int = 120) -> str:
    buffer = io.StringIO()
    show(comparison, Console(file=buffer, width=width))
    return buffer.getvalue()


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_equal_studies_do_not_differ(made_up: Make, seeds: tuple[int, ...]) -> None:
    comparison = compare(side("one", made_up(seeds=seeds)), side("other", made_up(seeds=seeds)))
    assert comparison.same
    assert len(comparison.pairs) == sum(len(list(tables.cells(table))) for table in tables.build(made_up()).values())
    assert [pair.difference for pair in comparison.pairs] == [0.0] * len(comparison.pairs)
    assert len(comparison.verdicts) == 17
    assert not any(pair.differs for pair in comparison.pairs)
    assert not any(claim.differs for claim in comparison.verdicts)
    assert comparison.settings == comparison.origins == ()
    for text in (markdown(comparison), printed(comparison)):
        assert "do not differ in any number" in " ".join(text.split())
        assert "Cells that differ" not in text
        assert "Settings that differ" not in text


def test_a_changed_number_is_counted_and_marked(made_up: Make) -> None:
    worse = replace(made_up().rows[LWA, 0.2, 0], fgsm=(0.157, 0.5, 0.036))
    comparison = compare(side("one", made_up()), side("other", made_up(changes={(LWA, 0.2): worse})))
    pair = at(comparison, 3, "0.2", LWA, "FGSM2")
    p, q = ((error * 10_000 + 1) / 10_002 for error in (0.034, 0.5))
    assert pair.difference == pytest.approx(0.5 - 0.034)
    assert pair.standard_error == pytest.approx(sqrt((p * (1 - p) + q * (1 - q)) / 10_000))
    assert pair.paper == 0.034
    differing = [(pair.table, pair.row, pair.column) for pair in comparison.pairs if pair.differs]
    assert differing == [(3, LWA, "FGSM2"), (3, LWA, "worst"), (3, LWA, "worst over all rounds")]
    assert not comparison.same
    assert "have a number in both studies; of these 3 differ" in summary(comparison)[2]
    marked = [line for line in markdown(comparison).splitlines() if line.endswith("**differs** |")]
    assert f"| {LWA} | FGSM2 | 0.034 (1) | 0.500 (1) | +0.466 (0.005) | 0.034 | **differs** |" in marked
    assert len(marked) == 2 * 3  # in a table of their own and where they belong
    assert len(re.findall(r"0\.034.*differs", printed(comparison))) == 2


def test_a_small_change_is_told_but_not_marked(made_up: Make) -> None:
    close = replace(made_up().rows[LWA, 0.2, 0], fgsm=(0.157, 0.035, 0.036))
    comparison = compare(side("one", made_up()), side("other", made_up(changes={(LWA, 0.2): close})))
    pair = at(comparison, 3, "0.2", LWA, "FGSM2")
    assert pair.difference == pytest.approx(0.001)
    assert not any(pair.differs for pair in comparison.pairs)
    assert not comparison.same
    assert "| +0.001 (0.003) |" in markdown(comparison)


def test_seeds_that_disagree_widen_the_error(made_up: Make) -> None:
    ours, theirs = made_up(seeds=(0, 1, 2)), made_up(seeds=(3, 4))
    rows = dict(ours.rows)
    for seed, error in ((0, 0.0), (1, 0.2), (2, 0.4)):
        rows[LWA, 0.2, seed] = replace(rows[LWA, 0.2, seed], clean=error)
    comparison = compare(side("one", replace(ours, rows=rows)), side("other", theirs))
    pair = at(comparison, 3, "0.2", LWA, "No attack")
    assert pair.standard_error == pytest.approx(0.2 / sqrt(3), abs=0.001)
    assert not pair.differs
    assert "| 0.200 ± 0.200 (3) | 0.007 ± 0.000 (2) |" in markdown(comparison)
    assert ("seeds", "0, 1, 2", "3, 4") in comparison.settings


def test_verdicts_that_differ_are_marked(made_up: Make) -> None:
    strong = {(NO_DEFENSE, eta): Row(0.02, (0.1, 0.1, 0.1), 0.1, {}, {}) for eta in (0.2, 0.4)}
    comparison = compare(side("one", made_up()), side("other", made_up(changes=strong)))
    claim = next(claim for claim in comparison.verdicts if claim.claim == "undefended fails")
    assert claim.here == (Verdict.HOLDS, Verdict.FAILS)
    assert claim.over_seeds == (Verdict.UNDECIDED, Verdict.UNDECIDED)
    assert claim.differs
    assert "undefended fails (at this scale holds in A, fails in B)" in summary(comparison)[3]
    assert "| undefended fails | holds | fails | undecided | undecided | holds | **differs** |" in markdown(comparison)
    assert "| own round is cured | holds | holds | undecided | undecided | holds |  |" in markdown(comparison)


def test_an_eta_of_one_study_only_shows_a_dash(made_up: Make) -> None:
    comparison = compare(side("one", made_up(eta=(0.2, 0.4))), side("other", made_up(eta=(0.1, 0.2))))
    assert {pair.eta for pair in comparison.in_both} == {"", "0.2"}
    for eta, missing in (("0.1", 0), ("0.4", 1)):
        pair = at(comparison, 3, eta, LWA, "FGSM1")
        assert pair.cells[missing] is None
        assert pair.cells[1 - missing] is not None
        assert (pair.difference, pair.standard_error, pair.differs) == (None, None, False)
        assert pair.paper is not None
    assert ("eta", "0.2, 0.4", "0.1, 0.2") in comparison.settings
    assert f"| {LWA} | FGSM1 | {DASH} | 0.044 (1) | {DASH} | 0.044 |  |" in markdown(comparison)
    assert [pair.eta for pair in comparison.pairs if pair.table == 3] == sorted(
        p.eta for p in comparison.pairs if p.table == 3
    )
    assert not comparison.same


def test_last_rounds_stand_beside_each_other(made_up: Make) -> None:
    comparison = compare(side("one", made_up()), side("other", more_rounds(made_up(), 80)))
    pair = at(comparison, 3, "0.2", "Adv FGSM(last)", "FGSM(last)")
    assert (pair.difference, pair.paper) == (0.0, 0.013)
    assert len(comparison.in_both) == len(comparison.pairs)
    assert comparison.settings == (("rounds", "3", "80"),)
    assert "(last) is round 3 in A and round 80 in B." in summary(comparison)
    alike = compare(side("one", made_up()), side("other", made_up()))
    assert at(alike, 3, "0.2", "Adv FGSM3", "FGSM3").difference == 0
    assert "(last)" not in markdown(alike)


def test_settings_images_and_code_that_differ_are_named(made_up: Make) -> None:
    data = DATA | {"evaluated": 800, "fingerprint": "e" * 64}
    tuned = {"steps": 7, "rate": 1e-3}
    other = side("other", made_up(), data, "d" * 64, checkpoint_every=9, lwa={"steps": 5, "rate": 1e-3}, tuned_attack=tuned,
                 eta_reading="unit interval")  # fmt: skip
    comparison = compare(side("one", made_up()), other)
    settings = {name: (ours, theirs) for name, ours, theirs in comparison.settings}
    assert settings["lwa.steps"] == ("600", "5")
    assert settings["tuned_attack.steps"] == (DASH, "7")
    assert "checkpoint_every" not in settings  # it changes no result
    assert [name for name, _, _ in comparison.origins] == ["images", "code: evaluation"]
    text = " ".join(summary(comparison))
    assert "The images differ. The code differs for 1 kind of task." in text
    assert "different units" in text
    assert "| lwa.steps | 600 | 5 |" in markdown(comparison)


def test_a_study_without_numbers_has_dashes(made_up: Make) -> None:
    nothing: dict[str, Any] = {part: {} for part in ("rows", "costs", "attackers", "pair_curves", "misled")}
    empty = replace(made_up(), **nothing, test_images=0)
    comparison = compare(side("one", empty), side("other", made_up()))
    assert comparison.in_both == []
    assert not comparison.same
    assert compare(side("one", empty), side("other", empty)).same


def test_the_terminal_has_the_summary_first_and_every_cell(made_up: Make) -> None:
    comparison = compare(side("[bold]one", made_up()), side("other", made_up(eta=(0.2,))))
    text = printed(comparison, width=200)
    assert text.startswith("A: [bold]one, profile quick")
    assert text.index("Verdicts: of 17 claims") < text.index("here: A") < text.index("Table 1") < text.index("Table 5")
    assert len(re.findall(rf"^ ({NO_DEFENSE}|Adv |LWA|Mini|Alt|{DASH}|0\.\d  )", text, re.MULTILINE)) >= len(
        comparison.pairs
    )
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for pair in comparison.pairs:
        assert any(f"{pair.row} {pair.column} " in line for line in lines)


def stored(folder: Path, error: float, **changes: str) -> Path:
    """A folder as a run leaves it, without weights: all errors are ``error``."""
    folder.mkdir()
    profile = load_profile(str(write_profile(folder, **changes)))
    study = Study(folder, profile, DATA, dict.fromkeys(profile.seeds, VERSIONS), [])
    study.save()
    attacks = [*(f"FGSM{number}" for number in range(1, profile.rounds + 1)), "No attack", "FGSM-curr"]
    plan = derive(profile, DATA["fingerprint"])
    evaluation = {"errors": dict.fromkeys(attacks, error), "attnet": {"fresh": error}, "attnet_train": {"fresh": error},
                  "images": 1000, "seconds": {}}  # fmt: skip
    for task in plan.graph:
        if task.kind in ("evaluation", "attack network"):
            values = evaluation if task.kind == "evaluation" else {"saturated": 0.0}
            study.store.put(task.key, {"version": 0, "values": values, "seconds": 1.0, "sources": "s" * 64})
    return folder


def test_the_command_prints_and_writes_the_same(tmp_path: Path) -> None:
    a, b = stored(tmp_path / "a", 0.1), stored(tmp_path / "b", 0.2, rounds="4")
    out = tmp_path / "deep" / "page.md"
    done = invoke("compare", str(a), str(b), "--out", str(out))
    assert done.exit_code == 0, done.output
    page = out.read_text(encoding="utf-8")
    assert page.startswith("# Two studies side by side\n\nA: ")
    assert page.count("+0.100 (0.016)") > 100
    assert "+0.100 (0.016)" in done.output
    assert "| rounds | 3 | 4 |" in page
    again = invoke("compare", str(a), str(a))
    assert again.exit_code == 0
    assert "do not differ in any number" in again.output


def test_faults_are_told_in_a_line(tmp_path: Path) -> None:
    a = stored(tmp_path / "a", 0.1)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "run.json").write_text(json.dumps(json.loads((a / "run.json").read_text()) | {"format": 99}))
    for arguments, says in (
        ((str(a), str(tmp_path / "nowhere")), "holds no study"),
        ((str(tmp_path / "old"), str(a)), "format 99"),
        ((str(a), str(a), "--out", str(tmp_path)), "is a folder"),
    ):
        done = invoke("compare", *arguments)
        assert done.exit_code == 2, done.output
        assert says in " ".join(done.output.split())
        assert "Traceback" not in done.output


def test_a_column_of_one_study_only_stands_in_its_row(made_up: Make) -> None:
    tuned = {
        (MINIMAX_GRAD, eta): replace(made_up().rows[MINIMAX_GRAD, eta, 0], attnet={"fresh": 0.5, "tuned": 0.9})
        for eta in (0.2, 0.4)
    }
    comparison = compare(side("one", made_up()), side("other", made_up(changes=tuned)))
    columns = [pair.column for pair in comparison.pairs if (pair.table, pair.eta, pair.row) == (5, "0.4", MINIMAX_GRAD)]
    assert sorted(columns) == sorted(["FGSM-curr", "AttNet-curr", "worst", tables.BEYOND, "worst over all rounds"])
    rows = [pair.row for pair in comparison.pairs if (pair.table, pair.eta) == (4, "0.2")]
    assert rows == sorted(rows, key=[NO_DEFENSE, "Adv FGSM1", "Adv FGSM3", MINIMAX_GRAD].index)
    assert at(comparison, 5, "0.4", MINIMAX_GRAD, tables.BEYOND).cells[0] is None
