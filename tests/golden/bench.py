"""Numbers of the bench: five solvers on five games."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from .adapter import bench

GAMES = ["convex-concave", "minimax-not-nash", "bilinear", "saddle", "unbounded-leader"]
SOLVERS = ["sensitivity", "extragradient", "follow-the-ridge", "alternating-gda", "optimistic"]


def numbers() -> dict[str, Any]:
    """Return the standings and runs that the bench writes, and every run before it is rounded for writing."""
    settings = replace(bench.QUICK, steps=40, evaluations=120)
    with tempfile.TemporaryDirectory() as folder:
        bench.bench(Path(folder), games=GAMES, solvers=SOLVERS, settings=settings, portraits=False, progress=False)
        written = json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))
    for cell in written["cells"]:
        cell["refused"] = bool(cell["refused"])  # the reason is prose
    cells = {f"{cell['solver']} on {cell['game']}": cell for cell in written["cells"]}
    runs = {}
    for solver, game in ((solver, game) for solver in SOLVERS for game in GAMES[1:3]):
        cell = bench.compute(solver, game, settings)
        runs[f"{solver} on {game}"] = [[trial.variant, trial.rate, trial.seed, *trial.run] for trial in cell.trials]
    return {"written": cells, "standings": written["standings"], "runs": runs}
