"""The whole study, end to end, in miniature: real trainings of a few steps."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from typer.testing import CliRunner

from minimaxopt.cli import application
from minimaxopt_study import measure, work
from minimaxopt_study._desk import Desk
from minimaxopt_study._digits import how_to_open, open_digits
from minimaxopt_study.names import MAXIMIN, MINIMAX, adv
from minimaxopt_study.plan import FUNCTIONS, derive
from minimaxopt_study.profile import Data, load_profile
from minimaxopt_study.results import gather
from minimaxopt_study.store import Store

if TYPE_CHECKING:
    from pathlib import Path

TINY = """
name = "tiny"
eta = [0.2, 0.4]
rounds = 3
[data]
evaluate_on = "held-out"
held_out = 100
[classifier]
width = 2
stride = 2
hidden = 8
dropout = 0.5
[attacker]
hidden = [8]
[undefended]
steps = 40
rate = 1e-2
[adversarial_round]
steps = 3
rate = 1e-2
[lwa]
steps = 3
rate = 1e-2
[minimax_grad]
steps = 4
rate = 1e-2
[minimax_attnet]
steps = 4
rate = 1e-2
attacker_rate = 1e-3
[alt_attnet]
steps = 4
rate = 1e-2
attacker_rate = 1e-3
[maximin_attnet]
steps = 4
rate = 1e-2
attacker_rate = 1e-3
[attack]
steps = 3
rate = 1e-3
choose_on = 100
[figures]
points = 2
samples = 2
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny.toml").write_text(TINY, encoding="utf-8")
    done = invoke("run", "--profile", str(folder / "tiny.toml"), "--out", str(folder / "out"), "--workers", "2")
    assert done.exit_code == 0, done.output
    return folder


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(application(), ["study", *arguments])


def test_the_whole_study_runs(finished: Path) -> None:
    out = finished / "out"
    profile = load_profile(str(finished / "tiny.toml"))
    plan = derive(profile, json.loads((out / "run.json").read_text())["data"]["fingerprint"])
    results = gather(plan, Store(out), profile)
    assert len(results.rows) == 8 * 2
    assert results.test_images == 100
    assert all(len(row.fgsm) == 3 for row in results.rows.values())
    tables = [json.loads((out / "tables" / f"table{number}.json").read_text()) for number in range(1, 6)]
    text = json.dumps(tables)
    assert '"mean": null' not in text
    assert text.count('"n": 1') == text.count('"mean"') > 100
    assert results.panel is not None
    assert list(results.panel["images"]) == ["original", "FGSM1", "FGSM3", "IFGSM1", MINIMAX, "Alt-AttNet", MAXIMIN]
    assert "not complete" not in (out / "report.html").read_text(encoding="utf-8")


def test_curves_start_before_the_first_step_and_end_with_the_result(finished: Path) -> None:
    profile = load_profile(str(finished / "tiny.toml"))
    out = finished / "out"
    plan = derive(profile, json.loads((out / "run.json").read_text())["data"]["fingerprint"])
    results = gather(plan, Store(out), profile)
    for (eta, seed), curve in results.grad_curves.items():
        assert curve["step"] == [0.0, 2.0, 4.0]
        row = results.rows["Minimax-Grad", eta, seed]
        undefended = results.rows["No defense", eta, seed]
        assert (curve["clean"][0], curve["FGSM-curr"][0]) == (undefended.clean, undefended.fgsm_curr)
        assert (curve["clean"][-1], curve["FGSM-curr"][-1]) == (row.clean, row.fgsm_curr)
    assert len(results.pair_curves) == 6
    for (name, seed, start), curve in results.pair_curves.items():
        assert curve["step"] == [0.0, 2.0, 4.0]
        if name == MINIMAX and start == 0:
            assert curve["pair"][-1] == results.rows[MINIMAX, 0.4, seed].attnet["co-trained"]


def test_attacks_are_the_same_where_the_definitions_say_so(finished: Path) -> None:
    out = finished / "out"
    third = json.loads((out / "tables" / "table3.json").read_text())["eta"]
    for rows in third.values():
        assert rows["No defense"]["FGSM1"]["mean"] == rows["No defense"]["FGSM-curr"]["mean"]
        assert rows[adv(1)]["FGSM2"]["mean"] == rows[adv(1)]["FGSM-curr"]["mean"]
        assert rows[adv(2)]["FGSM3"]["mean"] == rows[adv(2)]["FGSM-curr"]["mean"]


def test_run_again_finds_all_and_changes_nothing(finished: Path) -> None:
    out = finished / "out"
    before = {path.name: path.read_bytes() for path in (out / "tables").iterdir()}
    again = invoke("run", "--profile", str(finished / "tiny.toml"), "--out", str(out))
    assert again.exit_code == 0, again.output
    assert "0 tasks computed" in again.output
    assert {path.name: path.read_bytes() for path in (out / "tables").iterdir()} == before


def test_status_and_report(finished: Path) -> None:
    out = finished / "out"
    status = invoke("status", str(out))
    assert status.exit_code == 0
    assert "no run is active" in status.output
    (out / "report.html").unlink()
    assert invoke("report", str(out)).exit_code == 0
    assert (out / "report.html").is_file()


def test_a_report_outlives_its_sources(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    assert "sources have changed" not in invoke("status", str(out)).output
    content = json.loads((out / "run.json").read_text())
    store = Store(out)
    for task in derive(load_profile(str(finished / "tiny.toml")), content["data"]["fingerprint"]).graph:
        assert store.result(task.key)["sources"] == content["sources"][task.kind]
    before = (out / "tables" / "table3.json").read_bytes()
    older = derive(
        load_profile(str(finished / "tiny.toml")), content["data"]["fingerprint"], dict.fromkeys(FUNCTIONS, "x")
    )
    now = derive(load_profile(str(finished / "tiny.toml")), content["data"]["fingerprint"])
    for old, new in zip(older.graph, now.graph, strict=True):  # as if these results had been made by other sources
        (store.results / new.key).rename(store.results / old.key)
    (out / "run.json").write_text(json.dumps(content | {"sources": dict.fromkeys(FUNCTIONS, "x")}))
    assert invoke("report", str(out)).exit_code == 0
    assert (out / "tables" / "table3.json").read_bytes() == before
    assert "sources have changed" in invoke("status", str(out)).output


def test_eta_restricts_and_keeps_what_is_there(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    done = invoke("run", "--profile", str(finished / "tiny.toml"), "--out", str(out), "--eta", "0.2")
    assert done.exit_code == 0, done.output
    third = json.loads((out / "tables" / "table3.json").read_text())["eta"]
    assert list(third) == ["0.2"]
    assert "0 tasks computed" not in done.output  # at another eta Figure 2 needs games of its own
    whole = json.loads((finished / "out" / "tables" / "table3.json").read_text())["eta"]
    assert third["0.2"] == whole["0.2"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("status", "nowhere"), "holds no study"),
        (("report", "nowhere"), "holds no study"),
        (("run", "--out", "o", "--profile", "quik"), "packaged profile"),
        (("run", "--out", "o", "--eta", "big"), "not a list of numbers"),
        (("run", "--out", "o", "--eta", "-0.1"), "eta.0"),
        (("run", "--out", "o", "--seeds", "0.5"), "whole numbers"),
        (("run", "--out", "o", "--data-dir", "/dev/null/nowhere"), "nowhere"),
    ],
)
def test_faults_are_told_in_a_line(arguments: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke(*arguments)
    assert done.exit_code == 2, done.output
    assert says in done.output
    assert "Traceback" not in done.output


def test_a_study_of_another_version_is_left_alone(finished: Path, tmp_path: Path) -> None:
    content = json.loads((finished / "out" / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(content | {"format": 99}))
    done = invoke("report", str(tmp_path))
    assert done.exit_code == 2
    assert "format 99" in done.output


def test_held_out_digits_are_not_trained_on() -> None:
    whole = open_digits("embedded", None, 0)
    aside = open_digits("embedded", None, 100)
    assert len(aside.y_train) + 100 == len(whole.y_train)
    assert aside.fingerprint != whole.fingerprint
    seen = {image.numpy().tobytes() for image in aside.x_train}
    assert not seen & {image.numpy().tobytes() for image in aside.x_test}
    assert how_to_open(Data(), None)["source"] == "embedded"
    assert how_to_open(Data(), "somewhere")["source"] == "download"


def test_a_checkpointed_training_is_the_same(finished: Path, tmp_path: Path) -> None:
    profile = load_profile(str(finished / "tiny.toml"))
    out = finished / "out"
    plan = derive(profile, json.loads((out / "run.json").read_text())["data"]["fingerprint"])
    task = plan.graph[plan.classifiers["Minimax-AttNet", 0.2, 0]]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        desk = Desk(Store(out), lambda: open_digits("embedded", None, 100), tmp_path / "scratch", checkpoint_every=1)
        outcome = work.attnet_game(task, desk)
        assert list((tmp_path / "scratch").iterdir())
        resumed = work.attnet_game(task, desk)
    finally:
        torch.set_num_threads(threads)
    kept = Store(out).tensors(task.key)
    assert outcome.tensors is not None
    assert resumed.tensors is not None
    for name, tensor in kept.items():
        assert torch.equal(outcome.tensors[name], tensor), name
        assert torch.equal(resumed.tensors[name], tensor), name


def test_every_kind_of_task_has_its_function() -> None:
    for function in FUNCTIONS.values():
        module, _, name = function.partition(":")
        home = {"minimaxopt_study.work": work, "minimaxopt_study.measure": measure}[module]
        assert callable(getattr(home, name))
