from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tiny_study import in_one_process
from toy_tasks import FUNCTIONS, chain, fork, run_graph

from minimaxopt.errors import DiskFullError, StoreError
from minimaxopt.plugins import ResultStore, write_json
from minimaxopt_study.runner.progress import Display, Lines, reporter
from minimaxopt_study.runner.scheduler import lacking
from minimaxopt_study.runner.worker import spent_before


@pytest.fixture
def one_process() -> Iterator[None]:
    """For tests of what is computed when, to which it does not matter by whom."""
    with in_one_process():
        yield


def lines() -> tuple[Lines, io.StringIO]:
    text = io.StringIO()
    return Lines(Console(file=text, width=200)), text


def totals(folder: Path) -> dict[str, int]:
    results = (json.loads(path.read_text()) for path in folder.glob("store/*/result.json"))
    return {result["title"]: result["values"]["total"] for result in results}


def test_a_graph_is_computed_once(tmp_path: Path) -> None:
    graph = chain(4)
    log, text = lines()
    summary = run_graph(graph, tmp_path, FUNCTIONS, log)
    assert summary.complete
    assert totals(tmp_path) == {"add 0": 0, "add 1": 1, "add 2": 3, "add 3": 6}
    assert "[4/4] add 3" in text.getvalue()
    again = run_graph(graph, tmp_path, FUNCTIONS, lines()[0])
    assert (len(again.computed), len(again.stored)) == (0, 4)
    longer = run_graph(chain(5), tmp_path, FUNCTIONS, lines()[0])
    assert (len(longer.computed), len(longer.stored)) == (1, 4)


def test_results_say_where_they_come_from(tmp_path: Path) -> None:
    run_graph(chain(1), tmp_path, FUNCTIONS, lines()[0])
    (task,) = chain(1)
    result = ResultStore(tmp_path).result(task.key)
    assert {"key", "kind", "settings", "parents", "data", "seed", "sources", "seconds", "environment"} <= result.keys()
    assert result["environment"]["threads"] == 1
    assert result["values"]["threads"] == 1


def test_a_failure_takes_only_its_dependants(tmp_path: Path) -> None:
    log, text = lines()
    summary = run_graph(fork({"good": "add", "bad": "fail", "deadly": "die"}), tmp_path, FUNCTIONS, log)
    assert sorted(totals(tmp_path)) == ["after good", "good"]
    assert not summary.complete
    reasons = " ".join(summary.failed.values())
    assert "eta: is cursed" in reasons
    assert "exit code -9" in reasons
    assert len(summary.skipped) == 2
    assert "FAILED bad: ValueError: eta: is cursed; choose another" in text.getvalue()
    assert "skipped after bad, which needs bad" in text.getvalue()


@pytest.mark.usefixtures("one_process")
def test_weights_that_are_not_there_are_computed_again_only_where_needed(tmp_path: Path) -> None:
    run_graph(chain(4), tmp_path, FUNCTIONS, lines()[0], workers=1)
    keys, store = [task.key for task in chain(5)], ResultStore(tmp_path)
    for key in keys[:3]:
        (store.results / key / "tensors.safetensors").unlink()
    nothing = run_graph(chain(4), tmp_path, FUNCTIONS, lines()[0], workers=1)
    assert (len(nothing.computed), len(nothing.stored)) == (0, 4)
    new = run_graph(chain(5), tmp_path, FUNCTIONS, lines()[0], workers=1)
    assert new.computed.keys() == {keys[4]}  # what it builds on has its weights
    (store.results / keys[3] / "tensors.safetensors").unlink()
    last = run_graph(chain(6), tmp_path, FUNCTIONS, lines()[0], workers=1)
    assert last.complete
    assert [chain(6)[key].title for key in last.computed] == ["add 5"]
    (store.results / keys[4] / "tensors.safetensors").unlink()
    (store.results / [task.key for task in chain(6)][5] / "result.json").unlink()
    again = run_graph(chain(6), tmp_path, FUNCTIONS, lines()[0], workers=1)
    assert again.complete
    assert [chain(6)[key].title for key in again.computed] == [f"add {index}" for index in range(6)]
    assert not any(store.lacks_weights(key) for key in keys)


def test_what_lacks_weights_is_found_through_all_generations(tmp_path: Path) -> None:
    graph, store = chain(5), ResultStore(tmp_path)
    keys = [task.key for task in graph]
    for index, key in enumerate(keys[:4]):
        store.put(key, {"index": index}, {"w": torch.zeros(1)})
    assert lacking(graph, store, set(keys[:4])) == set()
    for index in (0, 1, 3):
        (store.results / keys[index] / "tensors.safetensors").unlink()
    assert lacking(graph, store, set(keys[:4])) == {keys[3]}
    (store.results / keys[2] / "tensors.safetensors").unlink()
    assert lacking(graph, store, set(keys[:4])) == set(keys[:4])
    assert lacking(chain(4), store, set(keys[:4])) == set()


@pytest.mark.usefixtures("one_process")
def test_a_damaged_result_takes_only_its_dependants(tmp_path: Path) -> None:
    graph = fork({"good": "add", "bad": "add"})
    run_graph(graph, tmp_path, FUNCTIONS, lines()[0], workers=1)
    bad = next(task for task in graph if task.title == "bad")
    after = [task for task in graph if task.title.startswith("after")]
    store = ResultStore(tmp_path)
    (store.results / bad.key / "result.json").write_text('{"key": ')
    for task in after:
        shutil.rmtree(store.results / task.key)
    log, text = lines()
    summary = run_graph(graph, tmp_path, FUNCTIONS, log, workers=1)
    assert not summary.complete
    assert f"delete {store.results / bad.key} and run again" in summary.damaged[bad.key]
    assert [graph[key].title for key in summary.computed] == ["after good"]
    assert "skipped after bad, which needs bad" in text.getvalue()
    shutil.rmtree(store.results / bad.key)
    assert run_graph(graph, tmp_path, FUNCTIONS, lines()[0], workers=1).complete


@pytest.mark.usefixtures("one_process")
def test_a_full_disk_ends_the_run(tmp_path: Path) -> None:
    graph = fork({"good": "add", "full": "full"})
    with pytest.raises(
        DiskFullError, match="unfinished/.* could not be written .*No space left.*free space on the disk"
    ):
        run_graph(graph, tmp_path, FUNCTIONS, lines()[0], workers=1)
    assert not (tmp_path / "running.json").exists()
    assert not ResultStore(tmp_path).is_locked()
    whole = run_graph(fork({"good": "add"}), tmp_path, FUNCTIONS, lines()[0])
    assert whole.complete


@pytest.mark.usefixtures("one_process")
def test_reasons_end_in_the_error_itself(tmp_path: Path) -> None:
    log, text = lines()
    graph = fork({"noted": "noted", "stale": "stale"})
    summary = run_graph(graph, tmp_path, FUNCTIONS, log)
    assert "FAILED noted: ValueError: eta: is cursed; choose another\n" in text.getvalue()
    reason = next(reason for key, reason in summary.failed.items() if graph[key].title == "stale")
    assert f"the checkpoint in {tmp_path}/unfinished/" in reason
    assert "delete that folder and run again" in reason


@pytest.mark.usefixtures("one_process")
def test_checkpoints_of_finished_tasks_are_swept(tmp_path: Path) -> None:
    (task,) = chain(1)
    run_graph(chain(1), tmp_path, FUNCTIONS, lines()[0], workers=1)
    for name in (task.key, "another"):
        (tmp_path / "unfinished" / name).mkdir(parents=True)
    run_graph(chain(1), tmp_path, FUNCTIONS, lines()[0], workers=1)
    assert [path.name for path in (tmp_path / "unfinished").iterdir()] == ["another"]


def test_a_resumed_training_counts_the_seconds_of_its_checkpoint(tmp_path: Path) -> None:
    assert spent_before(tmp_path) == 0
    now = time.time()
    for since, before, written, spent in (
        (now - 9, 0.0, now - 2, 7.0),
        (now - 9, 5.0, now - 2, 12.0),
        (now, 5.0, now - 2, 5.0),
    ):
        write_json(tmp_path / "spent.json", {"before": before, "since": since})
        (tmp_path / "checkpoint.json").touch()
        os.utime(tmp_path / "checkpoint.json", (written, written))
        assert spent_before(tmp_path) == pytest.approx(spent, abs=0.01)
    (tmp_path / "checkpoint.json").unlink()
    assert spent_before(tmp_path) == 0


def test_while_it_runs_it_says_what_it_does(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    with start(folder) as process:
        wait_for_results(folder, 1)
        while not (content := json.loads((folder / "running.json").read_text()))["since"]:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    wait_until_unlocked(folder)
    assert (content["workers"], content["only"]) == (2, [])
    (started,) = content["since"].values()
    assert abs(started - time.time()) < 60


def test_images_module_are_opened_by_the_worker(tmp_path: Path) -> None:
    graph = chain(1, "images")
    run_graph(graph, tmp_path, FUNCTIONS, lines()[0], images={"open": "builtins:dict", "greeting": "hello"})
    (task,) = graph
    assert ResultStore(tmp_path).result(task.key)["values"] == {"images": "hello"}


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    with ResultStore(tmp_path).lock(), pytest.raises(StoreError, match="already running"):
        run_graph(chain(1), tmp_path, FUNCTIONS, lines()[0])


@pytest.mark.usefixtures("one_process")
def test_on_a_terminal_there_is_a_display(tmp_path: Path) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120)
    display = reporter(console)
    assert isinstance(display, Display)
    assert isinstance(reporter(Console(file=io.StringIO())), Lines)
    run_graph(fork({"good": "add", "bad": "fail"}), tmp_path, FUNCTIONS, display)
    assert "4 of 4 tasks" in text.getvalue()
    assert "skipped: after bad" in text.getvalue()


SCRIPT = """
import io, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
# A suite that runs in the background hands down that interrupts are ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
from toy_tasks import FUNCTIONS, chain, run_graph
from minimaxopt_study.runner.progress import Lines
from rich.console import Console
if __name__ == "__main__":
    run_graph(chain(4, "slow", seconds=0.3), Path({folder!r}), FUNCTIONS, Lines(Console(file=io.StringIO())))
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    script = folder.parent / f"{folder.name}.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parents[1]), folder=str(folder)))
    return subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE)


def wait_for_results(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(folder.glob("store/*/result.json"))) < count:
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.01)


def wait_until_unlocked(folder: Path) -> None:
    deadline = time.monotonic() + 30
    while ResultStore(folder).is_locked():
        assert time.monotonic() < deadline, "the lock outlives the run"
        time.sleep(0.02)


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    for count in (1, 2):
        with start(folder) as process:
            wait_for_results(folder, count)
            process.send_signal(signal.SIGKILL)
        wait_until_unlocked(folder)
    kept = totals(folder)
    assert 2 <= len(kept) < 4
    summary = run_graph(chain(4, "slow", seconds=0.3), folder, FUNCTIONS, lines()[0])
    assert len(summary.stored) == len(kept)
    assert totals(folder) == {"slow 0": 0, "slow 1": 1, "slow 2": 3, "slow 3": 6}
    assert not list(folder.glob("store/.writing-*"))


def test_an_interrupted_run_ends_its_workers(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    with start(folder) as process:
        wait_for_results(folder, 1)
        process.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in process.communicate(timeout=60)[1]
    assert process.returncode != 0
    assert not (folder / "running.json").exists()
    assert not ResultStore(folder).is_locked()
    assert len(totals(folder)) >= 1
