"""A damaged file is never read as whole: it is refused by an error that names it, or is equal to what was saved."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from minimaxopt import Solution
from minimaxopt.errors import ResumeError
from minimaxopt.loop.resume import read_checkpoint
from tests.results import damage


@pytest.mark.parametrize("kind", damage.CASES)
def test_no_damage_goes_unseen(kind: str, tmp_path: Path) -> None:
    case = damage.CASES[kind](tmp_path)
    assert damage.content(case.read(tmp_path / "a")) == case.sound
    outcomes = damage.count(case, tmp_path / "damaged", 120)
    assert set(outcomes) <= {"refused", "equal"}, outcomes
    assert outcomes["refused"] > 110


def test_a_form_that_is_not_ours_is_refused_though_the_digest_fits(tmp_path: Path) -> None:
    case = damage.solutions(tmp_path)
    outcomes = damage.count(case, tmp_path / "damaged", 60, sign=True)
    assert set(outcomes) <= {"refused", "equal", "silent"}, outcomes  # another finite number is as good as the first
    assert outcomes["refused"] > 30
    case = damage.checkpoints(tmp_path / "c")
    case.read = lambda folder: read_checkpoint(folder) and damage.play(0)
    outcomes = damage.count(case, tmp_path / "c" / "damaged", 60, sign=True)
    assert set(outcomes) <= {"refused", "equal", "silent"}, outcomes


def edited(files: damage.Files, change: Any) -> tuple[bytes, bytes]:
    """Return the files with a change of the content, and the digest made to fit."""
    head = json.loads(files.head)
    change(head["content"])
    head["sha256"] = damage.digest(head["content"], files.tensors)
    return json.dumps(head).encode(), files.tensors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.pop("steps"),
            r"solution\.json does not hold .* \(steps: Field required\); load it with the version",
        ),
        (lambda c: c.update(steps="6"), r"\(steps: Input should be a valid integer"),
        (lambda c: c.update(steps=-1), r"\(steps: "),
        (lambda c: c.update(status="fine"), r"\(status: "),
        (lambda c: c.update(more=1), r"\(more: "),
        (lambda c: c["parameters"]["v"].update(value=1.0), r"\(parameters\.v\.value: "),
        (lambda c: c["history"]["risk"]["$tuple"].pop(), r"\(history\.risk\.1: Field required"),
        (lambda c: c["history"]["risk"]["$tuple"][0].pop(), r"\(history: .*column 'risk' has another number of steps"),
        (lambda c: c["certificate"]["worst"].pop("value"), r"\(certificate\.worst\.value: Field required"),
        (lambda c: c.update(message={"$odd": 1}), r"^solution\.message: holds '\$odd', which this version"),
    ],
)
def test_a_field_that_is_not_as_saved_is_named(change: Any, message: str, tmp_path: Path) -> None:
    case = damage.solutions(tmp_path)
    case.files.put(tmp_path / "a", *edited(case.files, lambda content: None))
    assert damage.content(case.read(tmp_path / "a")) == case.sound
    case.files.put(tmp_path / "a", *edited(case.files, change))
    with pytest.raises(ResumeError, match=message):
        case.read(tmp_path / "a")


def test_files_that_cannot_be_opened_are_named(tmp_path: Path) -> None:
    case = damage.solutions(tmp_path)
    tensors = tmp_path / "a" / case.files.tensors_name
    tensors.unlink()
    tensors.mkdir()
    load = partial(Solution.load, tmp_path / "a", damage.game())
    with pytest.raises(ResumeError, match=r"the tensors 'solution-.*' that .*solution\.json names cannot be read"):
        load()
    (tmp_path / "a" / "solution.json").unlink()
    (tmp_path / "a" / "solution.json").mkdir()
    with pytest.raises(ResumeError, match=r"solution\.json cannot be read"):
        load()
