"""Every example runs in seconds, says its numbers and leaves its picture."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
OPTIONS = {"gan_mixture": ("--seeds", "1")}  # of three, which do all the same


def test_there_are_examples_of_at_most_a_hundred_lines() -> None:
    assert len(EXAMPLES) >= 4
    assert {path.name: n for path in EXAMPLES if (n := len(path.read_text().splitlines())) > 100} == {}


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_leaves_a_picture(script: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    command = [sys.executable, "-W", "error", str(script), "--out", str(tmp_path), *OPTIONS.get(script.stem, ())]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert any(character.isdigit() for character in done.stdout)
    (picture,) = tmp_path.glob("*.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000
