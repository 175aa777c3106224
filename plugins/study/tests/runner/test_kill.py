"""A study that is killed again and again ends as one that was left alone.

``MINIMAXOPT_KILLS=20`` asks for more kills than the suite has time for.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_study import in_one_process, invoke, write_profile

from minimaxopt.plugins import ResultStore

KILLS = int(os.environ.get("MINIMAXOPT_KILLS", "3"))
PATIENCE = 240.0  # seconds, on a machine that has more to do
LATEST = 0.3  # seconds that a kill waits at most after its turn has come


def start(folder: Path, name: str) -> subprocess.Popen[bytes]:
    """The command in a process group of its own, so that the kill takes the workers too."""
    command = [sys.executable, "-m", "minimaxopt.cli.app", "study", "run", "--profile", "tiny.toml", "--out", name]
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)


def finish(folder: Path, name: str) -> None:
    process = start(folder, name)
    assert process.wait(PATIENCE) == 0, (folder / f"{name}.log").read_text()


def finished(out: Path) -> int:
    return len(list(out.glob("store/*/result.json")))


def wait_for(condition: Any, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, "the run ended before its kill"
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.002)


def checkpoints(out: Path, since: float = 0.0) -> list[Path]:
    """Checkpoints of trainings under way that were written after a moment."""
    paths: list[Path] = []
    for path in out.glob("unfinished/*/checkpoint.json"):
        try:
            paths += [path] if path.stat().st_mtime > since else []
        except FileNotFoundError:  # its training has just ended
            continue
    return paths


def results(out: Path) -> dict[str, Any]:
    """Return the results by title, without times: key, digest of the weights, and numbers."""
    store, by_title = ResultStore(out), {}
    for path in out.glob("store/*/result.json"):
        result = store.result(path.parent.name)
        numbers = {name: value for name, value in result["values"].items() if name != "seconds"}
        by_title[result["title"]] = (result["key"], result.get("tensors_sha256"), numbers)
        if "tensors_sha256" in result:
            assert store.tensors(result["key"])
    return by_title


def written(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (*(out / "tables").glob("*.json"), out / "claims.json")}


def test_a_study_killed_again_and_again_ends_as_one_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_profile(tmp_path, eta="[0.4]", steps="30", checkpoint_every="2")
    began = time.monotonic()
    alone, out = tmp_path / "alone", tmp_path / "killed"
    with in_one_process():
        assert invoke("run", "--profile", str(tmp_path / "tiny.toml"), "--out", str(alone)).exit_code == 0
    undisturbed = time.monotonic() - began
    total, chance = finished(alone), random.Random(0)
    in_training, at = 0, []
    for kill in range(1, KILLS + 1):
        born = time.time()
        process = start(tmp_path, "killed")
        due = round(total * kill / (KILLS + 1))
        wait_for(lambda due=due: finished(out) >= due, process)
        time.sleep(chance.uniform(0, LATEST))
        if kill % 2 and finished(out) < total // 2:  # trainings come first; later there may be none to wait for
            wait_for(lambda born=born: checkpoints(out, born), process)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the run ended before its kill"
        in_training += bool(checkpoints(out, born))
        at.append(finished(out))
    finish(tmp_path, "killed")
    assert in_training, "no kill fell inside a training that had a checkpoint"
    assert results(out) == results(alone)
    assert written(out) == written(alone)
    assert len(written(out)) == 7  # five tables, the attacks of today, the claims
    assert not list(out.glob("unfinished/*"))
    assert not list(out.glob("**/.writing-*"))
    assert not (out / "running.json").exists()
    if "MINIMAXOPT_KILLS" in os.environ:
        with capsys.disabled():
            print(
                f"\n{KILLS} kills when {at} of {total} tasks were done, {in_training} of them in a training with a "
                f"checkpoint; {time.monotonic() - began:.0f} s, in one process and undisturbed {undisturbed:.0f} s"
            )
