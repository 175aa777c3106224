from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from toy_tasks import FUNCTIONS, chain, fork

from minimaxopt_study.progress import Display, Lines, reporter
from minimaxopt_study.runner import run_graph
from minimaxopt_study.store import Store, StoreError


def lines() -> tuple[Lines, io.StringIO]:
    text = io.StringIO()
    return Lines(Console(file=text, width=200)), text


def totals(folder: Path) -> dict[str, int]:
    found = (json.loads(path.read_text()) for path in folder.glob("store/*/result.json"))
    return {result["title"]: result["values"]["total"] for result in found}


def test_a_graph_is_computed_once(tmp_path: Path) -> None:
    graph = chain(4)
    told, text = lines()
    summary = run_graph(graph, tmp_path, FUNCTIONS, told)
    assert summary.complete
    assert totals(tmp_path) == {"add 0": 0, "add 1": 1, "add 2": 3, "add 3": 6}
    assert "[4/4] add 3" in text.getvalue()
    again = run_graph(graph, tmp_path, FUNCTIONS, lines()[0])
    assert (len(again.computed), len(again.found)) == (0, 4)
    longer = run_graph(chain(5), tmp_path, FUNCTIONS, lines()[0])
    assert (len(longer.computed), len(longer.found)) == (1, 4)


def test_results_say_where_they_come_from(tmp_path: Path) -> None:
    run_graph(chain(1), tmp_path, FUNCTIONS, lines()[0])
    (task,) = chain(1)
    result = Store(tmp_path).result(task.key)
    assert {"key", "kind", "settings", "parents", "data", "seed", "sources", "seconds", "environment"} <= result.keys()
    assert result["environment"]["threads"] == "1"
    assert result["values"]["threads"] == 1


def test_a_failure_takes_only_its_dependants(tmp_path: Path) -> None:
    told, text = lines()
    summary = run_graph(fork({"good": "add", "bad": "fail", "deadly": "die"}), tmp_path, FUNCTIONS, told)
    assert sorted(totals(tmp_path)) == ["after good", "good"]
    assert not summary.complete
    reasons = " ".join(summary.failed.values())
    assert "eta: is cursed" in reasons
    assert "exit code -9" in reasons
    assert len(summary.skipped) == 2
    assert "FAILED bad: ValueError: eta: is cursed; choose another" in text.getvalue()
    assert "skipped after bad, which needs bad" in text.getvalue()


def test_digits_are_opened_by_the_worker(tmp_path: Path) -> None:
    graph = chain(1, "digits")
    run_graph(graph, tmp_path, FUNCTIONS, lines()[0], digits={"open": "builtins:dict", "greeting": "hello"})
    (task,) = graph
    assert Store(tmp_path).result(task.key)["values"] == {"digits": "hello"}


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    with Store(tmp_path).lock(), pytest.raises(StoreError, match="already running"):
        run_graph(chain(1), tmp_path, FUNCTIONS, lines()[0])


def test_on_a_terminal_there_is_a_display(tmp_path: Path) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120)
    told = reporter(console)
    assert isinstance(told, Display)
    assert isinstance(reporter(Console(file=io.StringIO())), Lines)
    run_graph(fork({"good": "add", "bad": "fail"}), tmp_path, FUNCTIONS, told)
    assert "4 of 4 tasks" in text.getvalue()
    assert "skipped: after bad" in text.getvalue()


SCRIPT = """
import io, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from toy_tasks import FUNCTIONS, chain
from minimaxopt_study.progress import Lines
from minimaxopt_study.runner import run_graph
from rich.console import Console
if __name__ == "__main__":
    run_graph(chain(4, "slow", seconds=0.3), Path({folder!r}), FUNCTIONS, Lines(Console(file=io.StringIO())))
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    script = folder.parent / f"{folder.name}.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), folder=str(folder)))
    return subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE)


def wait_for_results(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(folder.glob("store/*/result.json"))) < count:
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.01)


def wait_until_unlocked(folder: Path) -> None:
    deadline = time.monotonic() + 30
    while Store(folder).is_locked():
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
    assert len(summary.found) == len(kept)
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
    assert not Store(folder).is_locked()
    assert len(totals(folder)) >= 1
