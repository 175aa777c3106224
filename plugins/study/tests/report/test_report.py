from __future__ import annotations

import json
import re
from contextlib import nullcontext
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.image import imread
from tiny_study import without_pictures

from minimaxopt.plugins import ResultStore
from minimaxopt_study.formatting import DASH
from minimaxopt_study.paper import printed as paper
from minimaxopt_study.paper.names import (
    ALTERNATING,
    KINDS_OF_TABLE,
    LWA,
    MAXIMIN,
    MINIMAX,
    MINIMAX_GRAD,
    NO_DEFENSE,
    adv,
)
from minimaxopt_study.profiles.profile import load_profile
from minimaxopt_study.report.content import number
from minimaxopt_study.report.differences_from_paper import differences_from_paper
from minimaxopt_study.report.figures.all_figures import figures_of
from minimaxopt_study.report.figures.curves import draw_games, draw_training, games_figure, training_figure
from minimaxopt_study.report.figures.matrix import draw_matrix, matrix
from minimaxopt_study.report.figures.samples import draw_samples, samples_figure
from minimaxopt_study.report.figures.style import png
from minimaxopt_study.report.write import write_results
from minimaxopt_study.results import tables
from minimaxopt_study.results.gather import Row
from minimaxopt_study.study import Study

if TYPE_CHECKING:
    from conftest import Make
    from matplotlib.figure import Figure

PICTURES = figures_of(paper.MNIST)
DATA = {"name": "images", "note": "made up", "train": 4000, "evaluated": 1000, "fingerprint": "f" * 64}


def artists(figure: Figure, gid: str) -> int:
    return sum(artist.get_gid() == gid for axis in figure.axes for artist in axis.get_children())


def test_figure1_has_two_curves_for_each_eta_and_seed(made_up: Make) -> None:
    data = training_figure(made_up(seeds=(0, 1)))
    assert {(c["eta"], c["seed"], c["name"]) for c in data["curves"]} == {
        (eta, seed, name) for eta in (0.2, 0.4) for seed in (0, 1) for name in ("clean", "FGSM-curr")
    }
    figure = draw_training(data)
    assert artists(figure, "curve") == len(data["curves"]) == 8
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["η = 0.2", "η = 0.4"]


def test_figure2_has_a_curve_for_each_method_and_start(made_up: Make) -> None:
    data = games_figure(made_up())
    assert len(data["curves"]) == 6
    assert artists(draw_games(data), "curve") == 6
    assert "Minimax-AttNet 0.3" in data["caption"]
    assert "no error at all drawn as 0.05%" in data["caption"]
    assert "told a wrong label, the pair answers with that label on 40%" in data["caption"]
    assert "told a wrong label" not in games_figure(replace(made_up(), misled={(MAXIMIN, 0, 0): 0.01}))["caption"]
    assert data["caption"].index("Minimax-AttNet 0.3") < data["caption"].index("Maximin-AttNet 0.1")


def test_figure3_has_seven_panels_of_each_digit(made_up: Make) -> None:
    data = samples_figure(made_up())
    assert [panel["letter"] for panel in data["panels"]] == list("abcdefg")
    assert data["panels"][2]["name"] == "FGSM3"
    figure = draw_samples(data)
    images = sum(image.get_gid() == "image" for axis in figure.axes for image in axis.images)
    assert images == 2 * (7 + 6)  # two images: seven images and six perturbations of each


def test_curves_counted_on_fewer_images_say_so(made_up: Make) -> None:
    fewer = replace(made_up(), curve_images=2000)
    for make in (training_figure, games_figure):
        assert "Counted on 2,000 of the 10,000 images" in make(fewer)["caption"]
        assert "Counted on" not in make(made_up())["caption"]


def chase(rounds: int) -> dict[tuple[str, float, int], Row]:
    """Rows of which each errs by 0.01 on its own round, by 0.9 on the next, and by 0.3 on all others."""
    rows: dict[tuple[str, float, int], Row] = {}
    for eta in (0.2, 0.4):
        for own, name in enumerate((NO_DEFENSE, *map(adv, range(1, rounds + 1)))):
            fgsm = tuple({own: 0.01, own + 1: 0.9}.get(attack, 0.3) for attack in range(1, rounds + 1))
            rows[name, eta, 0] = Row(0.01, fgsm, 0.9, {}, {})
        for name in (LWA, MINIMAX_GRAD, MINIMAX, ALTERNATING):
            rows[name, eta, 0] = Row(0.02, (0.1,) * rounds, 0.2, {}, {})
    return rows


@pytest.mark.parametrize(("rounds", "numbers"), [(3, 2 * 8 * 4), (10, 2 * 15 * 11), (80, 0)])
def test_the_matrix_has_a_cell_for_every_attack_on_every_classifier(made_up: Make, rounds: int, numbers: int) -> None:
    data = matrix(replace(made_up(), rounds=rounds, rows=chase(rounds)))
    assert data["rows"] == [NO_DEFENSE, *map(adv, range(1, rounds + 1)), LWA, MINIMAX_GRAD, MINIMAX, ALTERNATING]
    assert data["columns"] == [*(f"FGSM{number}" for number in range(1, rounds + 1)), "FGSM-curr"]
    for panel in data["panels"]:
        errors = np.array(panel["error"])
        assert errors.shape == (rounds + 5, rounds + 1)
        assert set(np.diag(errors[1:], 0)[:rounds]) == {0.01}  # the attack that a row was trained on
        assert set(np.diag(errors)[:rounds]) == {0.9}  # the attack made against it
        assert set(errors[: rounds + 1, -1]) == {0.9}
    figure = draw_matrix(data)
    assert artists(figure, "matrix") == len(data["panels"]) == 2
    assert artists(figure, "number") == numbers
    stairs = [line for axis in figure.axes for line in axis.get_lines() if line.get_gid() == "stair"]
    assert [int(max(stair.get_xdata())) for stair in stairs] == [rounds, rounds]
    assert [axis.get_title(loc="left") for axis in figure.axes][:2] == ["η = 0.2", "η = 0.4"]
    named = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert set(named[:1] + named[-4:]) == {NO_DEFENSE, LWA, MINIMAX_GRAD, MINIMAX, ALTERNATING}
    assert named[1:-4] == ([adv(n) for n in range(10, 81, 10)] if rounds == 80 else data["rows"][1:-4])


def test_the_matrix_averages_over_seeds_and_leaves_out_what_is_missing(made_up: Make) -> None:
    results = made_up(seeds=(0, 1))
    rows = dict(results.rows)
    rows[LWA, 0.2, 1] = replace(rows[LWA, 0.2, 1], fgsm_curr=1.0)
    del rows[LWA, 0.4, 0], rows[LWA, 0.4, 1]
    rows = {place: row for place, row in rows.items() if place[0] != MINIMAX}
    data = matrix(replace(results, rows=rows))
    assert MINIMAX not in data["rows"]
    at = data["rows"].index(LWA)
    first, second = (panel["error"][at] for panel in data["panels"])
    assert first[-1] == pytest.approx((rows[LWA, 0.2, 0].fgsm_curr + 1) / 2)
    assert second == [None] * 4
    assert "mean over 2 seeds" in data["caption"]
    assert "seeds" not in matrix(made_up())["caption"]
    drawn = draw_matrix(json.loads(json.dumps(data)))
    assert [text.get_text() for text in drawn.axes[1].texts].count(DASH) == 4


@pytest.mark.parametrize("which", PICTURES)
def test_pictures_can_be_read_and_are_not_blank(made_up: Make, tmp_path: Path, which: str) -> None:
    make, draw = PICTURES[which]
    raw = png(draw(make(made_up())))
    assert raw == png(draw(make(made_up())))
    path = tmp_path / "figure.png"
    path.write_bytes(raw)
    assert np.std(imread(path)) > 0.01


@pytest.mark.parametrize("which", PICTURES)
def test_pictures_of_nothing_are_drawn_all_the_same(made_up: Make, which: str) -> None:
    make, draw = PICTURES[which]
    empty = replace(made_up(), rows={}, grad_curves={}, pair_curves={}, misled={}, panel=None)
    assert png(draw(make(empty))).startswith(b"\x89PNG")


RUNS = [{"started": "2018-01-01T00:00:00+00:00", "seconds": 123.0, "workers": 2, "computed": 54}]


def write(folder: Path, results: Any, runs: Any = RUNS, *, pictures: bool = False) -> Path:
    profile = load_profile("quick", seeds=results.seeds)
    with nullcontext() if pictures else without_pictures():
        return write_results(Study(folder, profile, DATA, {}, runs), ResultStore(folder), results)


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
        attributes = dict(attrs)
        self.anchors.add(attributes.get("id") or "")
        if tag == "a":
            self.targets.add(attributes.get("href") or "")
        if tag in ("img", "script", "link", "iframe"):
            self.loaded.append(attributes.get("src") or attributes.get("href") or "")
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
    html = write(tmp_path, made_up(), pictures=True).read_text(encoding="utf-8")
    page = Words(html)
    assert len(page.loaded) == len(PICTURES) == 4
    assert all(source.startswith("data:image/png;base64,") for source in page.loaded)
    assert "@import" not in html
    assert "url(" not in html
    assert 'name="viewport"' in html
    inner = {target.removeprefix("#") for target in page.targets if target.startswith("#")}
    assert inner <= page.anchors
    assert {*PICTURES, *(f"table{number}" for number in KINDS_OF_TABLE), "claim1", "claim17"} <= inner
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
    assert html.count('<section class="claim"') == html.count("the numbers that decide</summary>") == len(claims)


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_the_first_screen_says_what_was_run_and_what_came_out(made_up: Make, tmp_path: Path, seeds: Any) -> None:
    html = write(tmp_path, made_up(seeds=seeds)).read_text(encoding="utf-8")
    claims = json.loads((tmp_path / "claims.json").read_text())
    first = html[html.index("<h1>") : html.index("<nav>")]
    for words in ("Profile quick", "4,000 digits", "1,000 others", f"{len(seeds)} seed", "3 rounds"):
        assert words in first
    for verdict in ("holds", "fails", "undecided"):
        here = sum(claim["at this scale"] == verdict for claim in claims)
        over = sum(claim["verdict"] == verdict for claim in claims)
        assert re.search(rf'<div class="{verdict}"><b>{here}</b>[a-z ]+\n<small>{over} over seeds</small>', first)
    assert ("Over the 3 seeds" in first) == (len(seeds) == 3)
    overview = html[html.index('<table class="overview">') : html.index('<section class="claim"')]
    for claim in claims:
        badges = (claim["at this scale"], claim["verdict"], claim["on the paper's numbers"])
        cells = r"\s*".join(f'<td><span class="badge {verdict}">{verdict}</span></td>' for verdict in badges)
        name = re.escape(claim["name"][0].upper() + claim["name"][1:])
        assert re.search(rf">{name}</a></th>\s*{cells}\s*</tr>", overview), name


def test_runs_of_a_part_say_so(made_up: Make, tmp_path: Path) -> None:
    runs = [{"started": "2018-01-01", "seconds": 9.0, "workers": 2, "computed": 5, "only": ["table3", "matrix"]}]
    html = write(tmp_path, made_up(), runs=runs).read_text(encoding="utf-8")
    for text in (html, (tmp_path / "report.md").read_text(encoding="utf-8")):
        assert "run of 2018-01-01: 9.0 s with 2 workers, table3, matrix only" in text


def test_files_are_where_they_were_promised(made_up: Make, tmp_path: Path) -> None:
    write(tmp_path, made_up())
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {
        *(f"tables/table{n}.json" for n in range(1, 6)),
        *(f"figures/{name}.{kind}" for name in ("fig1", "fig2", "fig3", "matrix") for kind in ("png", "json")),
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
    html = write(tmp_path, results, pictures=True).read_text(encoding="utf-8")
    assert "The study is not complete: 16 rows" in html
    assert "No attack network has met the undefended classifier" in html
    assert "not complete" not in write(tmp_path, made_up()).read_text(encoding="utf-8")


def test_what_differs_from_the_paper_is_told_and_what_does_not_is_not() -> None:
    whole = {"train": 60_000, "evaluated": 10_000}
    printed = [row for row in differences_from_paper(load_profile("paper"), whole) if not row[1].startswith("not said")]
    assert printed == []
    unsaid = {
        setting
        for setting, in_paper, _ in differences_from_paper(load_profile("paper"), whole)
        if in_paper.startswith("not said")
    }
    assert {"steps of a round", "classifier's initialisation", "attack networks' output"} <= unsaid
    differing = {setting: here for setting, _, here in differences_from_paper(load_profile("standard"), whole)}
    assert differing["steps of the games with attack networks"] == "2,500"
    assert differing["classifiers' learning rate"] == "0.001"
    assert "batch" not in differing
    assert {"training digits", "classifier (the paper: similar to this)"} <= {
        row[0] for row in differences_from_paper(load_profile("quick"), {"train": 4000, "evaluated": 1000})
    }


def test_a_narrow_pass_of_the_gate_is_called_narrow(made_up: Make, tmp_path: Path) -> None:
    assert "narrow" not in write(tmp_path, made_up()).read_text(encoding="utf-8")
    row = made_up().rows["No defense", 0.2, 0]
    barely = row.fgsm_curr / 2 + 0.001
    weak = replace(row, attnet={"fresh": barely}, attnet_train={"fresh": barely})
    html = write(tmp_path, made_up(changes={("No defense", 0.2): weak})).read_text(encoding="utf-8")
    assert "narrow" in html
    assert "eta 0.2: AttNet errs more than half as often as FGSM-curr" in html
