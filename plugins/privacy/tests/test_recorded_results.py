"""The results recorded in the documentation: every number that the page quotes comes from a record."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from minimaxopt_privacy import Curve
from minimaxopt_privacy.genki import report
from minimaxopt_privacy.genki.outcome import read

RESULTS = Path(__file__).parents[3] / "docs" / "results"
CURVES = sorted(path.parent for path in RESULTS.glob("*/tradeoff.json"))
FACES = sorted(path.parent for path in RESULTS.glob("*/genki.json"))
NUMBER = re.compile(r"(?<![\w.,])-?\d*\.\d+(?![\w.])")

VERSION = re.compile(r"(torch|scikit-learn) [\d.]+\d")


def quotable(value):
    """Return the numbers of a row that a page may quote; with the settings tried, any number would be among them."""
    if isinstance(value, dict):
        return set().union(*(quotable(v) for k, v in value.items() if k not in ("scores", "settings", "tried")))
    if isinstance(value, list | tuple):
        return set().union(*map(quotable, value)) if value else set()
    return {float(value)} if isinstance(value, int | float) else set()


def untraced(text, known):
    return [
        shown
        for shown in NUMBER.findall(VERSION.sub("", text))
        if not any(abs(float(shown) - v) <= 0.5000001 * 10 ** -len(shown.partition(".")[2]) for v in known)
    ]


def test_there_are_records():
    assert FACES
    assert CURVES


@pytest.mark.parametrize("record", FACES, ids=lambda path: path.name)
def test_the_table_of_faces_comes_back_from_the_scores(record):
    outcome = read(record)
    assert report.markdown(outcome) == (record / "genki.md").read_text()
    assert all(count == 1 for count in outcome.looks.values())
    for cells in outcome.scores.values():
        assert len(cells) == len(outcome.protocol.seeds)


@pytest.mark.parametrize("record", CURVES, ids=lambda path: path.name)
def test_the_trade_off_comes_back_from_its_rows(record):
    document = json.loads((record / "tradeoff.json").read_text())
    curve = Curve(document["rows"], tuple(document["labels"]), document["chance"])
    assert curve.markdown() == (record / "tradeoff.md").read_text()


def section(record):
    return (RESULTS / "privacy.md").read_text().partition(f"<!-- {record.name} -->")[2].partition("<!-- /")[0]


def known(record):
    if record in FACES:
        return quotable(report.rows(read(record)))
    document = json.loads((record / "tradeoff.json").read_text())
    curve = Curve(document["rows"], tuple(document["labels"]), document["chance"])
    return quotable([[p.useful, p.useful_margin, p.leakage, p.leakage_margin, p.rho or 0.0] for p in curve.points()])


@pytest.mark.parametrize("record", [*FACES, *CURVES], ids=lambda path: path.name)
def test_every_number_on_the_page_is_in_its_record(record):
    text = section(record)
    assert NUMBER.findall(text)
    assert untraced(text, known(record)) == []


def test_a_number_that_is_in_no_record_is_found():
    assert untraced("0.123 and -0.5", {0.1231, 0.5}) == ["-0.5"]
