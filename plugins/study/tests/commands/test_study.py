"""The whole study, end to end, in miniature: real trainings of a few steps."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_study import in_one_process, invoke, without_pictures, write_profile

from minimaxopt.plugins import ResultStore, write_json
from minimaxopt_study.paper.names import MAXIMIN, MINIMAX, adv
from minimaxopt_study.plan.kinds import KINDS
from minimaxopt_study.plan.plan import derive
from minimaxopt_study.profiles.profile import load_profile
from minimaxopt_study.results.gather import gather
from minimaxopt_study.study import open_study
from minimaxopt_study.tasks import training as work
from minimaxopt_study.tasks.images import open_images
from minimaxopt_study.tasks.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_profile(folder)
    done = invoke("run", "--profile", str(folder / "tiny.toml"), "--out", str(folder / "out"), "--workers", "2")
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(autouse=True)
def after_it_cheaply(finished: Path) -> Iterator[None]:
    """One study is computed by worker processes, and has its pictures; all that follow are compared with it."""
    with in_one_process(), without_pictures():
        yield


def test_the_whole_study_runs(finished: Path) -> None:
    out = finished / "out"
    profile = load_profile(str(finished / "tiny.toml"))
    plan = derive(profile, json.loads((out / "run.json").read_text())["data"]["fingerprint"])
    results = gather(plan, ResultStore(out), profile)
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
    results = gather(plan, ResultStore(out), profile)
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


def test_a_report_outlives_a_version(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    assert "a run would compute it anew" not in invoke("status", str(out)).output
    content = json.loads((out / "run.json").read_text())
    before = (out / "tables" / "table3.json").read_bytes()
    versions = {"0": dict.fromkeys(KINDS, 7)}
    profile, fingerprint = load_profile(str(finished / "tiny.toml")), content["data"]["fingerprint"]
    store, now, other = ResultStore(out), derive(profile, fingerprint), derive(profile, fingerprint, {0: versions["0"]})
    for today, then in zip(now.graph, other.graph, strict=True):  # as if these results had been of another version
        store.path(today.key).rename(store.path(then.key))
    (out / "run.json").write_text(json.dumps(content | {"versions": versions}))
    (out / "tables" / "table3.json").unlink()
    assert invoke("report", str(out)).exit_code == 0
    assert (out / "tables" / "table3.json").read_bytes() == before
    status = json.loads(invoke("status", str(out), "--json").output)
    assert status["outdated"] == {kind: [[7], KINDS[kind].version] for kind in KINDS}
    assert all(not kind["left"] for kind in status["kinds"].values())
    assert "lwa: stored in version 7, now 0; a run would compute it anew" in invoke("status", str(out)).output


def test_a_second_run_in_a_folder_is_refused_and_changes_nothing(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    before = (out / "run.json").read_bytes()
    with ResultStore(out).lock():
        done = invoke("run", "--profile", str(finished / "tiny.toml"), "--out", str(out), "--seeds", "1")
    assert done.exit_code == 2, done.output
    assert "a study is already running" in done.output
    assert (out / "run.json").read_bytes() == before


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
    assert f"settings changed since the last run in {out}: eta 0.2,0.4 -> 0.2; only what depends" in done.output


def test_what_changed_is_told_in_a_line_and_computed_anew(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    path = finished / "tiny.toml"
    again = invoke("run", "--profile", str(path), "--out", str(out), "--only", "fig1")
    assert "settings changed" not in again.output
    other = tmp_path / "other.toml"
    other.write_text(
        path.read_text().replace("choose_on = 100", "choose_on = 50").replace("[lwa]\nsteps = 3", "[lwa]\nsteps = 5")
    )
    assert other.read_text() != path.read_text()
    done = invoke("run", "--profile", str(other), "--out", str(out), "--only", "table3")
    assert done.exit_code == 0, done.output
    (line,) = [line for line in done.output.splitlines() if "settings changed" in line]
    assert "lwa.steps 3 -> 5, attack.choose_on 100 -> 50; only" in line
    titles = [json.loads(path.read_text())["title"] for path in (out / "store").glob("*/result.json")]
    assert titles.count("LWA, eta 0.2, seed 0") == 2
    assert titles.count("Minimax-Grad, eta 0.2, seed 0") == 1


def test_only_computes_what_is_asked_for_and_the_rest_follows(finished: Path, tmp_path: Path) -> None:
    out, profile = tmp_path / "out", str(finished / "tiny.toml")
    some = invoke(
        "run", "--profile", profile, "--out", str(out), "--only", "table1", "--eta", "0.4", "--seeds", "0,1,2"
    )
    assert some.exit_code == 0, some.output
    first = json.loads((out / "tables" / "table1.json").read_text())
    assert '"mean": null' not in json.dumps(first)
    assert '"n": 3' in json.dumps(first)
    assert json.loads((out / "run.json").read_text())["runs"][0]["only"] == ["table1"]
    titles = [json.loads(path.read_text())["title"] for path in (out / "store").glob("*/result.json")]
    assert sum(title.startswith("evaluation") for title in titles) == 3  # of the undefended classifier of each seed
    assert not [title for title in titles if title.startswith(("LWA", "Minimax"))]
    left = json.loads(invoke("status", str(out), "--json").output)
    assert left["kinds"]["lwa"] == {
        "done": 0,
        "running": 0,
        "left": 3,
        "seconds": 0,
        "seconds_left": pytest.approx(1, abs=20),
    }
    rest = invoke("run", "--profile", profile, "--out", str(out), "--eta", "0.4", "--seeds", "0", "--workers", "1")
    assert rest.exit_code == 0, rest.output
    stored = sum("seed 0" in title for title in titles)
    assert f"{stored} found" in rest.output
    assert (out / "tables" / "table3.json").read_text() == one_eta(finished / "out" / "tables" / "table3.json", "0.4")


def one_eta(path: Path, eta: str) -> str:
    table = json.loads(path.read_text())
    return json.dumps(table | {"eta": {eta: table["eta"][eta]}}, indent=1) + "\n"


def test_status_tells_times(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    whole = json.loads(invoke("status", str(out), "--json").output)
    assert (whole["active"], whole["finish"], whole["seconds_left"], whole["running"]) == (False, None, 0.0, [])
    assert all(kind["done"] and not kind["left"] for kind in whole["kinds"].values())
    assert whole["seconds"] == pytest.approx(sum(kind["seconds"] for kind in whole["kinds"].values()), abs=1)
    store, study = ResultStore(out), open_study(out)
    evaluations = [task for task in study.plan.graph if task.kind == "evaluation"]
    taken = store.result(evaluations[2].key)["seconds"]
    for task in evaluations[:2]:
        shutil.rmtree(store.results / task.key)
    with store.lock():
        since = {evaluations[0].key: time.time() - 0.001}
        write_json(out / "running.json", {"workers": 2, "only": ["table1"], "since": since})
        active = json.loads(invoke("status", str(out), "--json").output)
        shown = invoke("status", str(out)).output
    kind = active["kinds"]["evaluation"]
    assert (kind["done"], kind["running"], kind["left"]) == (1, 1, 0)  # of table1's two: the run will do no more
    assert kind["seconds_left"] == active["seconds_left"] == pytest.approx(taken, abs=10)
    assert "lwa" not in active["kinds"]
    later = json.loads(invoke("status", str(out), "--json").output)["kinds"]["evaluation"]
    assert (later["done"], later["running"], later["left"]) == (14, 0, 2)
    assert [task["title"] for task in active["running"]] == [evaluations[0].title]
    assert (active["active"], active["workers"], active["only"]) == (True, 2, ["table1"])
    assert abs(datetime.fromisoformat(active["finish"]).timestamp() - time.time()) < 60
    assert "a run (table1 only) is active with 2 workers, done at about" in shown
    assert f"left: {evaluations[0].title}" in shown


def test_without_any_time_measured_none_is_promised(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(finished / "out" / "run.json", out)
    status = json.loads(invoke("status", str(out), "--json").output)
    assert (status["seconds"], status["seconds_left"]) == (0, None)
    assert "not known yet" in invoke("status", str(out)).output


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
        (("run", "--out", "o", "--seeds", "inf"), "not finite"),
        (("run", "--out", "o", "--only", "table6"), "no 'table6'; choose among table1, table2"),
        (("run", "--out", "o", "--only", ","), "names nothing; choose among"),
        (("record", "nowhere", "o"), "holds no study"),
    ],
)
def test_faults_are_told_in_a_line(arguments: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke(*arguments)
    assert done.exit_code == 2, done.output
    assert says in done.output
    assert "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_study_of_another_version_is_left_alone(finished: Path, tmp_path: Path) -> None:
    out, profile = tmp_path / "out", str(finished / "tiny.toml")
    out.mkdir()
    content = json.loads((finished / "out" / "run.json").read_text()) | {"format": 99}
    (out / "run.json").write_text(json.dumps(content))
    for arguments in (
        ("report", str(out)),
        ("status", str(out)),
        ("record", str(out), str(tmp_path / "dest")),
        ("record", str(finished / "out"), str(out)),
        ("run", "--profile", profile, "--out", str(out)),
    ):
        done = invoke(*arguments)
        assert done.exit_code == 2, done.output
        assert "format 99, this version reads 1; use the version that made it" in done.output
    assert [path.name for path in out.iterdir()] == ["run.json"]
    assert json.loads((out / "run.json").read_text()) == content


HOLLOW = '{"format": 1, "profile": {}, "data": {}, "versions": [], "runs": null}'


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": 1}', HOLLOW])
def test_a_damaged_run_file_costs_nothing_else(text: str, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    done = invoke("status", str(tmp_path))
    assert done.exit_code == 2, done.output
    assert "run.json cannot be read" in done.output
    assert "delete this one file and run the study into the folder again" in done.output


def test_a_damaged_result_is_named_and_the_rest_goes_on(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    store, plan = ResultStore(out), open_study(out).plan
    damaged = store.results / plan.classifiers["LWA", 0.2, 0] / "result.json"
    spoilt = store.results / plan.classifiers["Minimax-Grad", 0.2, 0] / "tensors.safetensors"
    damaged.write_text(damaged.read_text()[:100])
    spoilt.write_bytes(spoilt.read_bytes()[:-1])
    for defence in ("LWA", "Minimax-Grad", "No defense"):
        shutil.rmtree(store.results / plan.evaluations[defence, 0.2, 0])
    arguments = (
        "run",
        "--profile",
        str(finished / "tiny.toml"),
        "--out",
        str(out),
        "--only",
        "table3",
        "--workers",
        "1",
    )
    done = invoke(*arguments)
    assert done.exit_code == 1, done.output
    for path in (damaged, spoilt):
        assert f"delete {path.parent} and run again, and it is computed anew" in done.output
    assert plan.evaluations["No defense", 0.2, 0] in store
    assert plan.evaluations["LWA", 0.2, 0] not in store
    assert "not complete" in (out / "report.html").read_text(encoding="utf-8")
    for path in (damaged, spoilt):
        shutil.rmtree(path.parent)
    assert invoke(*arguments).exit_code == 0
    assert not list((out / "failures").iterdir())
    kept = (finished / "out" / "tables" / "table3.json").read_bytes()
    assert (out / "tables" / "table3.json").read_bytes() == kept


@pytest.mark.parametrize(("checkpoints", "room", "where"), [(0, 0.8, "store/"), (1, 1.5, "unfinished/")])
def test_a_full_disk_stops_the_run_and_the_next_one_goes_on(checkpoints: int, room: float, where: str, finished: Path,
                                                            tmp_path: Path) -> None:  # fmt: skip
    plan, kept = open_study(finished / "out").plan, ResultStore(finished / "out")
    classifier = kept.results / plan.classifiers["No defense", 0.2, 0] / "tensors.safetensors"
    size = int(room * classifier.stat().st_size)  # a checkpoint is larger: it has the optimizer's moments
    out, profile = tmp_path / "out", write_profile(tmp_path, checkpoint_every=str(checkpoints))
    arguments = ("run", "--profile", str(profile), "--out", str(out), "--only", "fig1", "--workers", "1")
    full = with_room(size, *arguments)
    assert full.returncode == 2, full.stderr
    assert f"{out}/{where}" in full.stderr
    assert "could not be written" in full.stderr
    assert "free space on the disk and run again: what is stored is kept" in full.stderr
    assert "Traceback" not in full.stderr
    assert not list(out.glob("store/*"))
    assert not list(out.glob("**/*checkpoint.json"))
    assert not ResultStore(out).is_locked()
    again = invoke(*arguments)
    assert again.exit_code == 0, again.output
    for key in plan.grad_runs.values():
        assert ResultStore(out).result(key)["tensors_sha256"] == kept.result(key)["tensors_sha256"]


def test_a_report_that_finds_no_room_leaves_the_old_one(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    full = with_room(10, "report", str(out))
    assert full.returncode == 2, full.stderr
    assert "free space on the disk" in full.stderr
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def with_room(size: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``minimaxopt study ...`` where no file can grow beyond a size: a write fails just as on a full disk."""
    script = (
        "import resource, sys\n"
        "from minimaxopt.cli.app import main\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"
        f"sys.argv = ['minimaxopt', 'study', *{list(arguments)!r}]\n"
        "main()\n"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)


def test_a_checkpointed_training_is_the_same(finished: Path, tmp_path: Path) -> None:
    profile = load_profile(str(finished / "tiny.toml"))
    out = finished / "out"
    plan = derive(profile, json.loads((out / "run.json").read_text())["data"]["fingerprint"])
    task = plan.graph[plan.classifiers["Minimax-AttNet", 0.2, 0]]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        workspace = Workspace(
            ResultStore(out), lambda: open_images(held_out=100), tmp_path / "scratch", checkpoint_every=1
        )
        outcome = work.attnet_game(task, workspace)
        assert list((tmp_path / "scratch").iterdir())
        resumed = work.attnet_game(task, workspace)
    finally:
        torch.set_num_threads(threads)
    kept = ResultStore(out).tensors(task.key)
    assert outcome.tensors is not None
    assert resumed.tensors is not None
    for name, tensor in kept.items():
        assert torch.equal(outcome.tensors[name], tensor), name
        assert torch.equal(resumed.tensors[name], tensor), name
