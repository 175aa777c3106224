from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.image import imread

from minimaxopt_study import paper, report, tables
from minimaxopt_study.figures import FIGURES, draw1, draw2, draw3, figure1, figure2, figure3, png
from minimaxopt_study.names import MAXIMIN
from minimaxopt_study.page import DASH, number
from minimaxopt_study.plan import derive
from minimaxopt_study.profile import load_profile
from minimaxopt_study.store import Store

if TYPE_CHECKING:
    from conftest import Make
    from matplotlib.figure import Figure

DATA = {"name": "digits", "note": "made up", "train": 4000, "evaluated": 1000, "fingerprint": "f" * 64}


def artists(figure: Figure, gid: str) -> int:
    return sum(artist.get_gid() == gid for axis in figure.axes for artist in axis.get_children())


def test_figure1_has_two_curves_for_each_eta_and_seed(made_up: Make) -> None:
    data = figure1(made_up(seeds=(0, 1)))
    assert {(c["eta"], c["seed"], c["name"]) for c in data["curves"]} == {
        (eta, seed, name) for eta in (0.2, 0.4) for seed in (0, 1) for name in ("clean", "FGSM-curr")
    }
    figure = draw1(data)
    assert artists(figure, "curve") == len(data["curves"]) == 8
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["η = 0.2", "η = 0.4"]


def test_figure2_has_a_curve_for_each_method_and_start(made_up: Make) -> None:
    data = figure2(made_up())
    assert len(data["curves"]) == 6
    assert artists(draw2(data), "curve") == 6
    assert "Minimax-AttNet 0.3" in data["caption"]
    assert "told a wrong label, the pair answers with that label on 40%" in data["caption"]
    assert "told a wrong label" not in figure2(replace(made_up(), misled={(MAXIMIN, 0, 0): 0.01}))["caption"]
    assert data["caption"].index("Minimax-AttNet 0.3") < data["caption"].index("Maximin-AttNet 0.1")


def test_figure3_has_seven_panels_of_each_digit(made_up: Make) -> None:
    data = figure3(made_up())
    assert [panel["letter"] for panel in data["panels"]] == list("abcdefg")
    assert data["panels"][2]["name"] == "FGSM3"
    figure = draw3(data)
    images = sum(image.get_gid() == "image" for axis in figure.axes for image in axis.images)
    assert images == 2 * (7 + 6)  # two digits: seven images and six perturbations of each


@pytest.mark.parametrize("which", FIGURES)
def test_pictures_can_be_read_and_are_not_blank(made_up: Make, tmp_path: Path, which: int) -> None:
    make, draw = FIGURES[which]
    raw = png(draw(make(made_up())))
    assert raw == png(draw(make(made_up())))
    path = tmp_path / "figure.png"
    path.write_bytes(raw)
    assert np.std(imread(path)) > 0.01


@pytest.mark.parametrize("which", FIGURES)
def test_pictures_of_nothing_are_drawn_all_the_same(made_up: Make, which: int) -> None:
    make, draw = FIGURES[which]
    empty = replace(made_up(), grad_curves={}, pair_curves={}, misled={}, panel=None)
    assert png(draw(make(empty))).startswith(b"\x89PNG")


def write(folder: Path, results: Any) -> Path:
    profile = load_profile("quick", seeds=results.seeds)
    runs = [{"started": "2018-01-01T00:00:00+00:00", "seconds": 123.0, "workers": 2, "computed": 54}]
    return report.write(folder, profile, DATA, runs, derive(profile, "d"), Store(folder), results)


class Words(HTMLParser):
    """The visible words of a page, its links, its pictures and whatever it would load from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.anchors: set[str] = set()
        self.targets: set[str] = set()
        self.loaded: list[str] = []
        self.cells = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors.add(given.get("id") or "")
        if tag == "a":
            self.targets.add(given.get("href") or "")
        if tag in ("img", "script", "link", "iframe"):
            self.loaded.append(given.get("src") or given.get("href") or "")
        self.cells += tag == "td"

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_every_cell_stands_beside_the_papers(made_up: Make, tmp_path: Path, seeds: tuple[int, ...]) -> None:
    results = made_up(seeds=seeds)
    html = write(tmp_path, results).read_text(encoding="utf-8")
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    for which, table in tables.build(results).items():
        part = html[html.index(f'id="table{which}"') :]
        section = markdown[markdown.index(f"### Table {which}:") :]
        for path, cell in tables.cells(table):
            printed = f"{cell.paper:.3f}" if cell.paper is not None else DASH
            assert re.search(rf"<b>{re.escape(number(cell))}</b><span class=\"paper\">paper {printed}</span>", part), (
                path
            )
            assert f"**{number(cell)}** / {printed}" in section, path
    count = sum(len(list(tables.cells(table))) for table in tables.build(results).values())
    assert html.count("1,234 steps") == markdown.count("1,234 steps") == count


def test_the_page_is_whole_in_itself(made_up: Make, tmp_path: Path) -> None:
    html = write(tmp_path, made_up()).read_text(encoding="utf-8")
    page = Words(html)
    assert len(page.loaded) == 3
    assert all(source.startswith("data:image/png;base64,") for source in page.loaded)
    assert "@import" not in html
    assert "url(" not in html
    assert 'name="viewport"' in html
    inner = {target.removeprefix("#") for target in page.targets if target.startswith("#")}
    assert inner <= page.anchors
    assert "undefined" not in html.lower()
    text = " ".join(page.words)
    for note in paper.notes(3) + paper.notes(4):
        assert note in text


def test_every_claim_is_marked_three_times(made_up: Make, tmp_path: Path) -> None:
    path = write(tmp_path, made_up())
    claims = json.loads((tmp_path / "claims.json").read_text())
    html = path.read_text(encoding="utf-8")
    for claim in claims:
        assert {claim["verdict"], claim["at this scale"], claim["on the paper's numbers"]} <= {
            "holds",
            "fails",
            "undecided",
        }
        name = claim["name"][0].upper() + claim["name"][1:]
        assert f"<b>{name}.</b>" in html
        assert f"| **{name}.**" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert html.count('<section class="claim">') == len(claims)


def test_files_are_where_they_were_promised(made_up: Make, tmp_path: Path) -> None:
    write(tmp_path, made_up())
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {
        *(f"tables/table{n}.json" for n in range(1, 6)),
        *(f"figures/fig{n}.{kind}" for n in (1, 2, 3) for kind in ("png", "json")),
        "claims.json", "costs.json", "report.md", "report.html",
    }  # fmt: skip
    assert len(json.loads((tmp_path / "figures" / "fig2.json").read_text())["curves"]) == 6


def test_tables_hold_no_times(made_up: Make, tmp_path: Path) -> None:
    write(tmp_path, made_up())
    before = {path.name: path.read_bytes() for path in (tmp_path / "tables").iterdir()}
    slower = made_up()
    slower = replace(slower, costs={place: replace(cost, seconds=9e9) for place, cost in slower.costs.items()})
    write(tmp_path, slower)
    assert {path.name: path.read_bytes() for path in (tmp_path / "tables").iterdir()} == before


def test_an_unfinished_study_says_so(made_up: Make, tmp_path: Path) -> None:
    parts = ("rows", "costs", "attackers", "grad_curves", "pair_curves", "misled")
    nothing: dict[str, Any] = {part: {} for part in parts}
    results = replace(made_up(), **nothing, panel=None, test_images=0)
    html = write(tmp_path, results).read_text(encoding="utf-8")
    assert "The study is not complete" in html
    assert "not complete" not in write(tmp_path, made_up()).read_text(encoding="utf-8")
