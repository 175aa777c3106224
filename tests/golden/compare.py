"""Play two commits and compare to the bit: ``python tests/golden/compare.py BEFORE AFTER``.

``BEFORE`` and ``AFTER`` are commits, which are checked out into temporary worktrees, or folders. Both are played by this
commit's computations (``core``, ``study``, ``privacy``, ``bench``), the study in float64 and, as it is run, in float32.
What differs is printed; the exit code is then 1, and 0 where nothing does.
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

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PARTS = ("core", "privacy", "bench", "study", "study in float32")
SHOWN = 40


def main() -> int:
    """Compare two commits; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="a commit or a folder")
    parser.add_argument("after", help="a commit or a folder")
    parser.add_argument("--parts", default=",".join(PARTS), help="some of these, separated by commas; by default all")
    arguments = parser.parse_args()
    parts = [part.strip() for part in arguments.parts.split(",")]
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--parts: there is no {', '.join(sorted(unknown))}; choose some of {', '.join(PARTS)}")
    before, after = (_played(source, parts) for source in (arguments.before, arguments.after))
    lines = [line for part in parts for line in _differences(part, before[part], after[part])]
    for line in lines[:SHOWN]:
        print(line)
    if len(lines) > SHOWN:
        print(f"... and {len(lines) - SHOWN} more")
    compared = sum(len(before[part]) for part in parts)
    print(f"{len(lines)} of {compared} numbers differ between {arguments.before} and {arguments.after}")
    return 1 if lines else 0


def _differences(part: str, before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return a line for each number of a part that differs, and for a part that could not be played."""
    broken = [f"{part}: cannot be played {when}: {side['error']}"
              for when, side in (("before", before), ("after", after)) if "error" in side]  # fmt: skip
    paths = [] if broken else sorted(before.keys() | after.keys(), key=str)
    return broken + [
        f"{part}: {path}: {before.get(path, 'absent')} before, {after.get(path, 'absent')} after"
        for path in paths
        if before.get(path) != after.get(path)
    ]


def _played(source: str, parts: list[str]) -> dict[str, dict[str, str]]:
    """Play a commit or a folder in a process of its own, and return every number by part and path."""
    with _tree(source) as tree, tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "numbers.json"
        paths = [tree, *sorted(tree.glob("plugins/*/src")), ROOT / "tests"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
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
    numbers: dict[str, dict[str, str]] = {}
    for part in parts:
        name, _, dtype = part.partition(" in ")
        try:
            arguments = {"dtype": getattr(torch, dtype)} if dtype else {}
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
