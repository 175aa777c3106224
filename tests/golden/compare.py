"""Play two commits and compare to the bit: ``python tests/golden/compare.py BEFORE AFTER``.

``BEFORE`` and ``AFTER`` are commits, which are checked out into temporary worktrees, or folders. Both are played by this
commit's computations (``core``, ``study``, ``privacy``, ``bench``), the study in float64 and, as it is run, in float32.
What differs is printed; the exit code is then 1, and 0 where nothing does. Where sums are rounded according to how an
array lies in memory, a commit may differ from itself: a part that differs is therefore played once more on both sides, and a
number counts only if no value before is one after. The others are listed as not repeatable.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "core": ("core", {}),
    "privacy": ("privacy", {"draws": True}),
    "bench": ("bench", {}),
    "study": ("study", {}),
    "study in float32": ("study", {"dtype": "float32"}),
}
"""The module whose ``numbers`` are computed, with its arguments."""
SHOWN = 40
NOT_REPEATABLE = "not repeatable: "
Numbers: TypeAlias = dict[str, dict[str, str]]


def main() -> int:
    """Compare two commits; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="a commit or a folder")
    parser.add_argument("after", help="a commit or a folder")
    parser.add_argument("--parts", default=",".join(PARTS), help="some of these, separated by commas; by default all")
    arguments = parser.parse_args()
    parts = [part.strip() for part in arguments.parts.split(",")]
    if unknown := set(parts) - PARTS.keys():
        parser.error(f"--parts: there is no {', '.join(sorted(unknown))}; choose some of {', '.join(PARTS)}")
    with _tree(arguments.before) as before, _tree(arguments.after) as after:
        plays = [(_played(before, parts), _played(after, parts))]
        if again := [part for part in parts if plays[0][0][part] != plays[0][1][part]]:
            plays.append((_played(before, again), _played(after, again)))
    lines = [line for part in parts for line in _differences(part, [pair for pair in plays if part in pair[0]])]
    real = [line for line in lines if not line.startswith(NOT_REPEATABLE)]
    for line in [*real[:SHOWN], *(line for line in lines if line not in real)]:
        print(line)
    if len(real) > SHOWN:
        print(f"... and {len(real) - SHOWN} more")
    compared = sum(len(plays[0][0][part]) for part in parts)
    print(f"{len(real)} of {compared} numbers differ between {arguments.before} and {arguments.after}")
    return 1 if real else 0


def _differences(part: str, plays: list[tuple[Numbers, Numbers]]) -> list[str]:
    """Return a line for each number of a part that differs between the two sides of every play, or could not be played."""
    errors = [f"{part}: cannot be played {when}: {side[part]['error']}"
              for when, side in zip(("before", "after"), plays[0], strict=True) if "error" in side[part]]  # fmt: skip
    if errors:
        return errors
    lines: list[str] = []
    for path in sorted({path for pair in plays for side in pair for path in side[part]}):
        before, after = ({side[part].get(path, "absent") for side in sides} for sides in zip(*plays, strict=True))
        if before != after or len(before) > 1:
            label = NOT_REPEATABLE if before & after else ""
            lines.append(f"{label}{part}: {path}: {' or '.join(before)} before, {' or '.join(after)} after")
    return lines


def _played(tree: Path, parts: list[str]) -> Numbers:
    """Play a folder's sources in a process of its own, and return every number by part and path."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "numbers.json"
        paths = [tree, *sorted(tree.glob("plugins/*/src")), ROOT / "tests"]
        environment = (
            os.environ
            | {
                "PYTHONPATH": os.pathsep.join(map(str, paths)),
                "OMP_NUM_THREADS": "1",
                "MKL_CBWR": "COMPATIBLE",  # else MKL rounds according to how an array lies in memory, otherwise in each process
            }
        )
        # -P, so that this folder's modules do not stand before those of the tree and of Python.
        command = [
            sys.executable,
            "-P",
            "-c",
            f"import golden.compare as c; c.play({str(tree)!r}, {str(out)!r}, {parts!r})",
        ]
        subprocess.run(command, env=environment, cwd=folder, check=True)
        return json.loads(out.read_text(encoding="utf-8"))


@contextmanager
def _tree(source: str) -> Iterator[Path]:
    """The folder of a commit: itself, or a worktree for as long as it is needed."""
    if Path(source).is_dir():
        yield Path(source).resolve()
        return
    git = ["git", "-C", str(ROOT)]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder).resolve() / "tree"
        subprocess.run([*git, "worktree", "add", "--quiet", "--detach", str(tree), source], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", str(tree)], check=True)


def play(tree: str, out: str, parts: list[str]) -> None:
    """Play parts with the sources on the path, which must be the tree's, and write every number."""
    import torch

    from .pinning import exact

    torch.set_num_threads(1)
    numbers: Numbers = {}
    for part in parts:
        name, arguments = PARTS[part]
        try:
            numbers[part] = exact(import_module(f"golden.{name}").numbers(**arguments))
        except Exception as error:  # noqa: BLE001 - a part that cannot be played is a difference, the others are compared
            traceback.print_exc()
            numbers[part] = {"error": f"{type(error).__name__}: {error}"}
    for name, module in list(sys.modules.items()):
        origin = getattr(module, "__file__", None)
        if name.startswith("minimaxopt") and origin and not Path(origin).resolve().is_relative_to(tree):
            raise SystemExit(f"{name} was imported from {origin}, not from {tree}: the numbers are not that commit's")
    Path(out).write_text(json.dumps(numbers), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
