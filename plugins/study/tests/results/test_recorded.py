"""The studies recorded in the documentation: every number that a page quotes comes from a stored task."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from minimaxopt_study.paper.names import KINDS_OF_TABLE
from minimaxopt_study.report.write import write_report
from minimaxopt_study.results import claims_mnist as claims
from minimaxopt_study.study import open_study

RESULTS = Path(__file__).parents[4] / "docs" / "results"
RECORDS = sorted(path.parent for path in RESULTS.glob("*/run.json"))
LEMMA = re.compile(r"Lemma \d\.\d")
NUMBER = re.compile(r"(?<![\w.,])\d*\.\d+(?![\w.])")
LARGEST = 20_000_000  # bytes of a record: it holds no weights


def numbers(value: Any) -> set[float]:
    """Every number in some JSON."""
    if isinstance(value, dict):
        return set().union(*map(numbers, value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*map(numbers, value)) if value else set()
    return {float(value)} if isinstance(value, int | float) and not isinstance(value, bool) else set()


def untraced(text: str, known: set[float]) -> list[str]:
    """The decimal numbers of a text that no known number rounds to."""
    return [
        shown
        for shown in NUMBER.findall(LEMMA.sub("", text))
        if not any(abs(float(shown) - value) <= 0.5000001 * 10 ** -len(shown.partition(".")[2]) for value in known)
    ]


def test_there_is_a_record() -> None:
    assert RECORDS


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name)
def test_tables_and_verdicts_come_back_from_the_stored_tasks(record: Path, tmp_path: Path) -> None:
    copy = tmp_path / record.name
    copy.mkdir()
    shutil.copy(record / "run.json", copy)
    shutil.copytree(record / "store", copy / "store")
    write_report(open_study(copy))
    experiment = open_study(record).profile.experiment
    names = [f"tables/table{experiment.printed(kind)}.json" for kind in KINDS_OF_TABLE]
    for name in [*names, *(f"figures/{picture}.json" for picture in experiment.figures)]:
        assert json.loads((copy / name).read_text()) == json.loads((record / name).read_text()), name
    assert json.loads((copy / "claims.json").read_text()) == json.loads((record / "claims.json").read_text())


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name)
def test_a_record_is_small_and_says_how_it_was_made(record: Path) -> None:
    files = [path for path in record.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix not in {".json", ".png", ".md", ".html"}]
    assert sum(path.stat().st_size for path in files) < LARGEST
    study = open_study(record)
    stored = [study.store.result(task.key) for task in study.plan.graph if task.key in study.store]
    assert stored
    for result in stored:
        assert result["environment"]["torch"]
        assert result["data"] == study.data["fingerprint"]


def quotable(record: Path) -> set[float]:
    """Return the numbers that a page may quote: cells, ends of games, settings and the claims' thresholds.

    Margins, curves, pixels and the matrix are left out: they are so many that some number of three decimals would
    nearly always be among them.
    """
    parts = [json.loads(path.read_text()) for path in record.glob("tables/table*.json")]
    if (record / "tables" / "modern.json").is_file():
        rows = json.loads((record / "tables" / "modern.json").read_text())["eta"].values()
        today = [line["attacks of today"] for row in rows for line in row.values()]
        parts.append([cells[name] for cells in today for name in ("worst", "AutoAttack") if name in cells])
    if (record / "machines.json").is_file():  # the same network, trained on other processors
        parts.append(json.loads((record / "machines.json").read_text()))
    _, games, *_ = open_study(record).profile.experiment.figures
    parts.append(json.loads((record / "figures" / f"{games}.json").read_text())["ends"])
    parts.append(open_study(record).profile.model_dump(mode="json"))
    parts.append([value for name, value in vars(claims).items() if name.isupper() and isinstance(value, float)])
    return numbers(parts)


def test_the_spread_over_machines_is_that_of_its_numbers() -> None:
    record = RESULTS / "mnist-standard"
    machines = json.loads((record / "machines.json").read_text())
    columns = list(zip(*(machine["errors"] for machine in machines["machines"]), strict=True))
    assert [round(max(column) - min(column), 4) for column in columns] == machines["spread"]
    recorded = [column[0] for column in columns]
    assert [round((rate * (1 - rate) / 10_000) ** 0.5, 4) for rate in recorded] == machines[
        "standard error of counting"
    ]
    assert set(recorded) <= numbers([json.loads(path.read_text()) for path in record.glob("tables/table*.json")])


def section(page: str, record: Path) -> str:
    """Return the part of a page of the documentation about a record, from its mark to the next."""
    text = (RESULTS.parent / page).read_text(encoding="utf-8")
    return text.partition(f"<!-- {record.name} -->")[2].partition("<!--")[0]


@pytest.mark.parametrize("page", ["results/index.md", "reproduction.md"])
@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name)
def test_every_number_on_the_pages_about_a_record_is_in_it(record: Path, page: str) -> None:
    part = section(page, record)
    assert NUMBER.findall(part), f"{page} says nothing about {record.name}"
    known = quotable(record)
    assert untraced(part, known) == []
    possible = [f"0.{thousandth:03}" for thousandth in range(1000)]
    wrong = untraced(" and ".join(possible), known)
    assert len(wrong) > 0.8 * len(possible)  # so a number typed in wrongly is most likely found


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name)
def test_the_verdicts_told_are_the_recorded_ones(record: Path) -> None:
    rows = [line.split(" | ") for line in section("reproduction.md", record).splitlines() if line.startswith("| ")]
    printed = [(paper, here) for _, paper, here, *_ in rows[1:]]
    recorded = [
        ("not printed" if claim["on the paper's numbers"] == "undecided" else claim["on the paper's numbers"],
         claim["at this scale"])
        for claim in json.loads((record / "claims.json").read_text())
    ]  # fmt: skip
    assert printed == recorded
