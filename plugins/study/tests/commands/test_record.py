"""Records of studies: without weights, of several seeds, and studies that go on from a copy of one."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_study import in_one_process, invoke, without_pictures, write_profile

from minimaxopt.errors import ArgumentError, DiskFullError, StoreError
from minimaxopt.plugins import ResultStore
from minimaxopt_study.commands.record import record
from minimaxopt_study.plan.kinds import VERSIONS
from minimaxopt_study.study import open_study

ETA = 0.4


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two studies that differ in their seed alone; neither they nor what is made of them has pictures."""
    folder = tmp_path_factory.mktemp("studies")
    write_profile(folder, eta=f"[{ETA}]")
    with in_one_process(), without_pictures():
        for seed in "01":
            assert run(folder, folder / seed, seed).exit_code == 0
        yield folder


def run(folder: Path, out: Path, seeds: str, *more: str) -> Any:
    return invoke("run", "--profile", str(folder / "tiny.toml"), "--out", str(out), "--seeds", seeds, *more)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rewrite(folder: Path, **changes: Any) -> None:
    """Change what run.json says."""
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def means(folder: Path, table: int) -> list[dict[str, Any]]:
    """Every number of a table."""
    entries: list[dict[str, Any]] = []

    def look(item: Any) -> None:
        if isinstance(item, dict):
            entries.extend([item] if "mean" in item else [])
            for part in item.values():
                look(part)

    look(json.loads((folder / "tables" / f"table{table}.json").read_text()))
    return entries


def test_a_record_is_the_study_without_its_weights(studies: Path, tmp_path: Path) -> None:
    dest = tmp_path / "records" / "tiny"
    done = invoke("record", str(studies / "0"), str(dest))
    assert done.exit_code == 0, done.output
    count = len(open_study(studies / "0").plan.graph)
    assert f"{count} results copied, 0 there before; the record holds seed 0" in done.output
    study, kept = content(studies / "0"), content(dest)
    left_out = {name for name in study if name not in kept}
    assert left_out == {"lock", *(name for name in study if name.endswith(".safetensors"))}
    assert kept.keys() <= study.keys()
    for name in kept:
        if name != "run.json" and not name.endswith(".png"):
            assert kept[name] == study[name], name
    assert json.loads(kept["run.json"]) == json.loads(study["run.json"])
    assert invoke("report", str(dest)).exit_code == 0
    assert content(dest).keys() == kept.keys()


def test_a_record_grows_as_tasks_finish(studies: Path, tmp_path: Path) -> None:
    running, dest = tmp_path / "running", tmp_path / "dest"
    shutil.copytree(studies / "0", running)
    study = open_study(running)
    late = [study.plan.evaluations[row, ETA, 0] for row in ("No defense", "LWA")]
    for key in late:
        (study.store.results / key).rename(running / key)
    (study.store.results / ".writing-abc").mkdir()
    with study.store.lock():  # a run is active
        first = record(running, dest)
        assert first.copied == len(study.plan.graph) - 2
        assert "not complete" in (dest / "report.html").read_text()
        for key in late:
            (running / key).rename(study.store.results / key)
        assert (record(running, dest).copied, record(running, dest).copied) == (2, 0)
    assert "not complete" not in (dest / "report.html").read_text()
    assert not list(dest.glob("**/.writing-*"))


def test_seeds_are_added(studies: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    record(studies / "0", dest)
    kept = content(dest)
    done = invoke("record", str(studies / "1"), str(dest))
    assert done.exit_code == 0, done.output
    assert "the record holds seeds 0, 1" in done.output
    for name, raw in kept.items():
        if name.startswith("store/"):
            assert content(dest)[name] == raw
    first, second, both = (means(folder, 3) for folder in (studies / "0", studies / "1", dest))
    for one, other, pair in zip(first, second, both, strict=True):
        assert pair["n"] == 2
        assert pair["mean"] == pytest.approx((one["mean"] + other["mean"]) / 2)
    assert len(open_study(dest).runs) == 2
    report = content(dest)
    again = record(studies / "0", dest)  # adds nothing and takes nothing away
    assert (again.copied, again.seeds) == (0, (0, 1))
    assert {name: raw for name, raw in content(dest).items() if not name.endswith(".png")} == {
        name: raw for name, raw in report.items() if not name.endswith(".png")
    }


def of_older_code(study: Path, where: Path) -> Path:
    """Copy a study as code from before versions left it: named by hashes that took in the sources."""
    shutil.copytree(study, where)
    content = json.loads((where / "run.json").read_text())
    del content["versions"]
    (where / "run.json").write_text(
        json.dumps(content | {"sources": {str(s): {} for s in content["profile"]["seeds"]}})
    )
    names: dict[str, str] = {}
    for task in open_study(study).plan.graph:
        path = where / "store" / task.key
        result = json.loads((path / "result.json").read_text())
        assert result.pop("version") == 0
        names[task.key] = name = hashlib.sha256(f"sources and {task.key}".encode()).hexdigest()[:40]
        result |= {"key": name, "parents": {role: names[key] for role, key in result["parents"].items()}}
        (path / "result.json").write_text(json.dumps(result))
        path.rename(where / "store" / name)
    return where


def test_a_study_of_older_code_is_read_and_goes_on(studies: Path, tmp_path: Path) -> None:
    old = of_older_code(studies / "0", tmp_path / "old")
    (old / "tables" / "table3.json").unlink()
    status = json.loads(invoke("status", str(old), "--json").output)
    assert all(kind["done"] and not kind["left"] for kind in status["kinds"].values())
    assert (status["outdated"], status["seconds_left"]) == ({}, 0.0)
    assert invoke("report", str(old)).exit_code == 0
    for name in ("tables/table3.json", "claims.json"):
        assert content(old)[name] == content(studies / "0")[name]
    assert invoke("compare", str(old), str(studies / "0")).exit_code == 0
    evaluation = open_study(old).plan.evaluations["LWA", ETA, 0]
    shutil.rmtree(open_study(old).store.path(evaluation))
    done = run(studies, old, "0")
    assert done.exit_code == 0, done.output
    assert "1 tasks computed" in done.output
    assert content(old)["tables/table3.json"] == content(studies / "0")["tables/table3.json"]


def test_seeds_of_older_and_of_new_code_are_recorded_together(studies: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    record(of_older_code(studies / "0", tmp_path / "old"), dest)
    assert record(studies / "0", dest).copied == 0  # the same results under the names of today
    record(studies / "1", dest)
    assert {number["n"] for number in means(dest, 3)} == {2}
    status = json.loads(invoke("status", str(dest), "--json").output)
    assert (status["recorded"], status["seconds_left"], status["outdated"]) == (True, None, {})
    assert "a record, without weights\n" in invoke("status", str(dest)).output


def test_a_seed_recorded_in_another_version_is_not_added_again(studies: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    record(studies / "0", dest)
    rewrite(dest, versions={"0": VERSIONS | {"lwa": 7}})
    with pytest.raises(ArgumentError, match=r"records seed 0 in other versions of lwa; .*new seeds alone"):
        record(studies / "0", dest)
    record(studies / "1", dest)
    assert open_study(dest).versions == {0: VERSIONS | {"lwa": 7}, 1: VERSIONS}


def test_a_folder_that_also_holds_another_seed_is_recorded(studies: Path, tmp_path: Path) -> None:
    both, dest = tmp_path / "both", tmp_path / "dest"
    shutil.copytree(studies / "1", both)
    shutil.copytree(studies / "0" / "store", both / "store", dirs_exist_ok=True)  # of seed 0, which it does not name
    record(studies / "0", dest)
    shutil.rmtree(next(iter((dest / "store").iterdir())))
    assert record(both, dest).seeds == (0, 1)
    assert {number["n"] for number in means(dest, 3)} == {2}


def test_seeds_run_without_autoattack_are_added(studies: Path, tmp_path: Path) -> None:
    profile = open_study(studies / "0").profile
    assert profile.modern is not None
    modern = profile.modern.model_dump(mode="json") | {"autoattack_images": 3}
    attacked = other(studies / "0", tmp_path / "attacked", modern=modern)
    for first, second in ((attacked, studies / "1"), (studies / "1", attacked)):
        dest = tmp_path / first.name
        if first is attacked:
            dest = tmp_path / "dest"
        record(first, dest)
        record(second, dest)
        merged = open_study(dest).profile.modern
        assert merged is not None
        assert merged.autoattack_images == 3


def test_a_run_in_a_copy_of_a_record_computes_only_the_new_seed(studies: Path, tmp_path: Path) -> None:
    dest, copy = tmp_path / "dest", tmp_path / "copy"
    record(studies / "0", dest)
    shutil.copytree(dest, copy)
    done = run(studies, copy, "0,1")
    assert done.exit_code == 0, done.output
    alone = len(open_study(studies / "1").plan.graph)
    assert f"{alone - 1} tasks computed, {alone} found" in done.output  # Figure 3's samples are of the first seed only
    assert {number["n"] for number in means(copy, 5)} == {2}
    for key in open_study(copy).plan.evaluations.values():
        results = [
            ResultStore(folder).result(key) for folder in (studies / "0", studies / "1") if key in ResultStore(folder)
        ]
        assert [result["values"]["errors"] for result in results] == [ResultStore(copy).result(key)["values"]["errors"]]
    record(copy, dest)
    assert {number["n"] for number in means(dest, 5)} == {2}


def test_weights_that_a_record_lacks_are_computed_again_where_needed(studies: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    record(studies / "0", dest)
    study = open_study(dest)
    lost = study.plan.evaluations["Adv FGSM2", ETA, 0]
    shutil.rmtree(study.store.results / lost)
    done = run(studies, dest, "0", "--only", "table3")
    assert done.exit_code == 0, done.output
    chain = study.plan.graph.ancestry(lost)
    assert f"{len(chain)} tasks computed" in done.output
    for task in chain[:-1]:
        name = f"store/{task.key}/tensors.safetensors"
        assert (dest / name).read_bytes() == (studies / "0" / name).read_bytes()
    assert study.store.result(lost)["values"]["errors"] == ResultStore(studies / "0").result(lost)["values"]["errors"]


def test_weights_that_come_out_different_are_told(studies: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    record(studies / "0", dest)
    study = open_study(dest)
    first = study.plan.classifiers["No defense", ETA, 0]
    path = study.store.results / first / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tensors_sha256": "0" * 64}))
    shutil.rmtree(study.store.results / study.plan.evaluations["No defense", ETA, 0])
    done = run(studies, dest, "0", "--only", "table1", "--workers", "1")
    assert done.exit_code == 1, done.output
    assert "came out different" in done.output
    assert f"run the study in another folder, or delete {path.parent} and run again" in done.output
    assert not (path.parent / "tensors.safetensors").exists()


def other(study: Path, where: Path, **changes: Any) -> Path:
    shutil.copytree(study, where)
    profile = json.loads((where / "run.json").read_text())["profile"]
    rewrite(where, profile=profile | changes)
    return where


def test_settings_that_act_on_no_result_do_not_matter(studies: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    record(studies / "0", dest)
    record(other(studies / "1", tmp_path / "other", name="x", about="y", chosen="z", checkpoint_every=7), dest)
    assert (open_study(dest).profile.name, open_study(dest).profile.seeds) == ("tiny", (0, 1))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rounds": 4}, "differs in rounds (3 there, 4 here), and"),
        (
            {"lwa": {"steps": 9, "rate": 0.5}},
            "differs in lwa.steps (3 there, 9 here), lwa.rate (0.01 there, 0.5 here), and",
        ),
        (
            {"rounds": 4, "eta": [0.3], "lwa": {"steps": 9, "rate": 0.5}},
            "differs in eta ([0.4] there, [0.3] here), rounds (3 there, 4 here), lwa.steps (3 there, 9 here) and 1 "
            "more, and",
        ),
    ],
)
def test_other_settings_are_not_added(changes: dict[str, Any], says: str, studies: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    record(studies / "0", dest)
    before = content(dest)
    done = invoke("record", str(other(studies / "1", tmp_path / "other", **changes)), str(dest))
    assert done.exit_code == 2, done.output
    assert says in done.output
    assert "choose another folder" in done.output
    assert content(dest) == before


def test_other_images_are_not_added(studies: Path, tmp_path: Path) -> None:
    dest, elsewhere = tmp_path / "dest", tmp_path / "other"
    record(studies / "0", dest)
    before = content(dest)
    shutil.copytree(studies / "1", elsewhere)
    rewrite(elsewhere, data=open_study(elsewhere).data | {"fingerprint": "f" * 64, "name": "other images"})
    with pytest.raises(ArgumentError, match=r"differs in images \(MNIST .* there, other images here\)"):
        record(elsewhere, dest)
    assert content(dest) == before


def test_a_folder_with_something_else_in_it_is_refused(studies: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for dest in (tmp_path, tmp_path / "file"):
        with pytest.raises(ArgumentError, match="holds something, but no study; choose a new or empty folder"):
            record(studies / "0", dest)
    with pytest.raises(ArgumentError, match="is the study itself"):
        record(studies / "0", studies / "0")
    assert content(tmp_path) == {"file": b"mine"}
    (tmp_path / "empty").mkdir()
    assert record(studies / "0", tmp_path / "empty").seeds == (0,)


def test_nothing_is_recorded_into_a_folder_where_a_run_is_active(studies: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    record(studies / "0", dest)
    with ResultStore(dest).lock(), pytest.raises(StoreError, match="already running"):
        record(studies / "1", dest)
    assert open_study(dest).profile.seeds == (0,)


def test_after_a_damaged_result_or_a_full_disk_a_record_can_be_made(studies: Path, tmp_path: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    damaged, dest = tmp_path / "damaged", tmp_path / "dest"
    shutil.copytree(studies / "0", damaged)
    path = next((damaged / "store").glob("*/result.json"))
    path.write_text("{")
    with pytest.raises(StoreError, match=f"delete {path.parent}"):
        record(damaged, dest)
    assert not dest.exists()
    real, count = ResultStore.put, 0

    def put(store: ResultStore, *arguments: Any) -> None:
        nonlocal count
        count += 1
        if count == 5:
            raise DiskFullError("store: full")
        real(store, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ResultStore, "put", put)
        with pytest.raises(DiskFullError):
            record(studies / "0", dest)
    assert len(list(dest.glob("store/*"))) == 4
    made = record(studies / "0", dest)
    assert (made.had, made.copied + made.had) == (4, len(open_study(dest).plan.graph))
