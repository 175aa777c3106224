"""The attacks of today beside the paper's: which numbers stand where, and what is made of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from matplotlib.figure import Figure
from tiny_study import write_profile

from minimaxopt.plugins import ResultStore
from minimaxopt_adversarial import Errors, EtaSweep, RobustnessEvaluation, masking_flags
from minimaxopt_study.paper import printed as paper
from minimaxopt_study.paper.names import ANOTHER, LWA, MINIMAX, MINIMAX_GRAD, NO_DEFENSE, TRANSFER, adv, in_tables
from minimaxopt_study.plan.plan import derive
from minimaxopt_study.plan.selection import wanted
from minimaxopt_study.profiles.profile import load_profile
from minimaxopt_study.report.content import tables as table_page
from minimaxopt_study.report.figures.style import png
from minimaxopt_study.report.figures.worst_case import draw_worst, worst_figure
from minimaxopt_study.report.modern_content import modern as modern_page
from minimaxopt_study.results import modern_worst_case as beyond
from minimaxopt_study.results.gather import Attacked
from minimaxopt_study.results.tables import build
from minimaxopt_study.tasks import modern_attacks as modern
from minimaxopt_study.tasks.images import open_images
from minimaxopt_study.tasks.networks import new_classifier, pack
from minimaxopt_study.tasks.workspace import Workspace

if TYPE_CHECKING:
    from conftest import Make

    from minimaxopt_study.results.gather import Results

COUNT = 100


def wrong(count: int, of: int = COUNT) -> Errors:
    """Errors on the first so many of some images."""
    return Errors(torch.arange(of) < count)


def attacked(fgsm: int, pgd: int, transfer: int = 5, auto: int | None = None) -> Attacked:
    evaluation = RobustnessEvaluation(
        eta=0.2, bounds=(-1.0, 1.0), seed=0, clean=wrong(2), fgsm=wrong(fgsm), attacks={"PGD": wrong(pgd)},
        transfer={ANOTHER: wrong(transfer)}, autoattack=None if auto is None else wrong(auto, of=50),
        settings={"PGD": "PGD in words", f"transfer from {ANOTHER}": "made there"},
    )  # fmt: skip
    sweep = EtaSweep((-1.0, 1.0), (0.5, 2.0), (wrong(50), wrong(100)), (wrong(60), wrong(100)), 3)
    return Attacked(evaluation, masking_flags([evaluation], sweep=sweep))


@pytest.fixture
def results(made_up: Make) -> Results:
    """The paper's own numbers, and attacks of today on every row: FGSM 10, PGD 20, on Minimax-Grad 60 of 100 images."""
    complete = made_up()
    weak = {(row, eta, 0): attacked(10, 20) for row in in_tables(3) for eta in complete.eta}
    return replace(
        complete, attacked=weak | {(MINIMAX_GRAD, eta, 0): attacked(10, 60, auto=40) for eta in complete.eta}
    )


def test_each_row_has_its_three_worst_cases(results: Results) -> None:
    lines = {(line.row, line.eta): line for line in beyond.worst_cases(results)}
    assert [row for row, eta in lines if eta == 0.2] == list(in_tables(3))
    line = lines[MINIMAX_GRAD, 0.2]
    # Its row has no worst above AttNet's in Tables 4 and 5, and the made-up results are the paper's.
    assert line.printed == max(paper.table(4)["eta"]["0.2"][MINIMAX_GRAD].values())
    assert line.here == line.printed
    assert line.worst.mean == 0.6
    assert line.gap == pytest.approx(0.6 - line.printed)
    assert lines[LWA, 0.4].printed == paper.table(3)["eta"]["0.4"][LWA]["worst"]


def test_intervals_are_wilsons_and_those_of_several_seeds_a_spread(results: Results) -> None:
    line = next(line for line in beyond.worst_cases(results) if line.row == MINIMAX_GRAD)
    assert line.worst.interval == pytest.approx((0.502, 0.691), abs=1e-3)
    assert line.columns["AutoAttack"].as_json()["images"] == 50
    several = beyond.ErrorRate({0: wrong(20), 1: wrong(40)})
    assert several.interval is None
    assert several.as_json() == {
        "mean": 0.3,
        "std": pytest.approx(0.141421),
        "n": 2,
        "low": None,
        "high": None,
        "images": 100,
    }


def test_flags_are_told_with_what_they_mean(results: Results) -> None:
    content = modern_page(beyond.worst_cases(results), results)
    raised = {(flag["row"], flag["name"]) for flag in content["flags"]}
    assert (MINIMAX_GRAD, "fgsm-pgd-gap") in raised
    assert (LWA, "not-reaching-one") not in raised
    assert all(len(flag["sentence"]) > 40 for flag in content["flags"])
    row = next(row for row in content["blocks"][0]["rows"] if row["name"] == MINIMAX_GRAD)
    assert (row["today"], row["auto"]) == ("0.600", "0.800")
    assert next(row for row in content["blocks"][0]["rows"] if row["name"] == LWA)["auto"] == "not run"
    assert dict(content["settings"])[f"transfer from {ANOTHER}"].endswith("Adv FGSM1 for the undefended itself")


def test_an_error_that_falls_as_eta_grows_is_told(made_up: Make) -> None:
    printed = made_up(eta=(0.06, 0.07, 0.08), experiment=paper.CIFAR10)
    sentences = beyond.falling_rows(printed)
    assert any("0.599 of Adv FGSM3 at η = 0.06 and on 0.423 at η = 0.07" in line for line in sentences)
    assert any("0.423 of Adv FGSM3 at η = 0.07 and on 0.338 at η = 0.08" in line for line in sentences)
    assert not any("No defense" in line for line in sentences)
    few = replace(printed, test_images=10)
    assert beyond.falling_rows(few) == []


def test_columns_stand_beside_every_table(results: Results) -> None:
    tables = {table["number"]: table for table in table_page(results, build(results), beyond.worst_cases(results))}
    assert [row["name"] for row in tables[1]["modern"][0]["rows"]] == [NO_DEFENSE]
    assert [row["name"] for row in tables[2]["modern"][0]["rows"]] == [adv(1)]
    for number in (3, 4, 5):
        rows = [row["name"] for row in tables[number]["blocks"][0]["rows"]]
        assert [row["name"] for row in tables[number]["modern"][0]["rows"]] == rows
        assert tables[number]["modern"][0]["columns"][0] == "PGD (100)"
    assert all(table["modern"] == [] for table in table_page(results, build(results)))


def test_nothing_of_it_enters_the_papers_columns(results: Results, made_up: Make) -> None:
    assert build(results) == build(made_up())


def test_the_picture_has_a_mark_for_each_number(results: Results) -> None:
    data = json.loads(json.dumps(worst_figure(results)))
    assert [len(panel["rows"]) for panel in data["panels"]] == [8, 8]
    figure = draw_worst(data)
    for gid in ("printed", "here", "today"):
        marks = [line for axis in figure.axes for line in axis.get_lines() if line.get_gid() == gid]
        assert len(marks) == 16, gid
    assert len(png(figure)) > 10_000
    assert isinstance(draw_worst(data | {"panels": []}), Figure)


def test_json_has_all_of_it(results: Results) -> None:
    content = json.loads(json.dumps(beyond.as_json(beyond.worst_cases(results))))
    row = content["eta"]["0.4"][MINIMAX_GRAD]
    assert row["attacks of today"]["worst"]["mean"] == 0.6
    assert [flag["name"] for flag in row["flags"]["0"]] == [
        "fgsm-pgd-gap",
        "not-rising",
        "not-reaching-one",
        "black-box",
    ]


def test_tasks_attack_what_the_profile_says(tmp_path: Path) -> None:
    profile = load_profile(str(write_profile(tmp_path)))
    profile = profile.model_copy(update={"modern": profile.modern.model_copy(update={"autoattack_images": 5})})
    plan = derive(profile, "images")
    assert set(plan.strong) == set(plan.autoattacks) == {(row, eta, 0) for row in in_tables(3) for eta in (0.2, 0.4)}
    task = plan.graph[plan.strong[LWA, 0.2, 0]]
    assert task.parent(TRANSFER) == plan.classifiers[NO_DEFENSE, 0.2, 0]
    undefended = plan.graph[plan.strong[NO_DEFENSE, 0.2, 0]]
    assert undefended.parent(TRANSFER) == plan.classifiers[adv(1), 0.2, 0]
    assert plan.strong[LWA, 0.2, 0] in wanted(plan, profile, ["table3"])
    assert plan.strong[MINIMAX, 0.2, 0] not in wanted(plan, profile, ["table3"])
    assert plan.autoattacks[MINIMAX, 0.2, 0] in wanted(plan, profile, ["table5"])
    assert not {"strong attacks", "autoattack"} & {task.kind for task in wanted(plan, profile, ["matrix"])}

    workspace = Workspace(ResultStore(tmp_path), lambda: open_images(held_out=100), tmp_path / "scratch")
    settings = profile.classifier.model_dump(mode="json")
    for number, key in enumerate({task.parent("classifier"), task.parent(TRANSFER)}):
        workspace.store.put(
            key, {"settings": {"classifier": settings}}, pack("classifier", new_classifier(settings, number))
        )
    values = json.loads(json.dumps(dict(modern.strong(task, workspace).values)))
    evaluation = RobustnessEvaluation.from_dict(values["evaluation"])
    assert evaluation.count == 12
    assert list(evaluation.attacks) == ["PGD", "PGD margin", "momentum PGD"]
    assert evaluation.settings["PGD"] == "PGD on the cross-entropy, 2 steps of 2.5 eta / 2, 2 random starts"
    assert EtaSweep.from_dict(values["sweep"]).pgd[0].count == 6
    assert evaluation.worst.rate >= max(errors.rate for errors in evaluation.attacks.values())
