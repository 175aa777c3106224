"""The bench from beginning to end: compute what is missing, then write pages and pictures."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from minimaxopt.errors import ArgumentError
from minimaxopt.results import storage
from minimaxopt.results.environment import environment
from minimaxopt.testing import known_game
from minimaxopt_bench import cells as held
from minimaxopt_bench import kbeam_table as surfaces
from minimaxopt_bench import markdown as report
from minimaxopt_bench import pictures
from minimaxopt_bench.outcomes import RULES
from minimaxopt_bench.processes import finish
from minimaxopt_bench.settings import Settings, chosen_games, chosen_solvers, class_of, defaults, variants
from minimaxopt_bench.summary import Cells, standings


def bench(
    out: Path,
    *,
    games: list[str] | None = None,
    solvers: list[str] | None = None,
    settings: Settings | None = None,
    workers: int = 1,
    portraits: bool = True,
    command: str = "minimaxopt_bench.bench(...)",
    progress: bool | None = None,
) -> Cells:
    """Play every solver on every game, and write ``index.md``, ``results.json``, ``summary.png`` and portraits.

    Each finished pair is stored under ``out``; called again, the bench goes on with those that are missing, and computes
    anew those whose settings changed.

    Args:
        out: the folder to write to.
        games: names of games with known answers; by default all.
        solvers: names of solvers; by default all that move both players.
        settings: budget, starts, rates and rules.
        workers: processes, of one thread each.
        portraits: whether to draw phase portraits.
        command: what the pages say that they were made by.
        progress: whether to show a progress bar; by default where the output is a terminal.

    Returns:
        The cells by solver and game.

    Raises:
        ArgumentError: if a name or a number cannot be used, or matplotlib is not installed.

    Examples:
        >>> import tempfile
        >>> from minimaxopt_bench import QUICK, bench
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cells = bench(Path(folder), games=["saddle"], solvers=["optimistic"], settings=QUICK, portraits=False)
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['cells', 'index.md', 'results.json', 'summary.png']
        >>> cells["optimistic", "saddle"].ending
        'minimax'
    """
    chosen = settings or Settings()
    names, against = chosen_solvers(solvers), chosen_games(games)
    shown = _check(workers, progress)
    missing = [
        (out, solver, game, chosen)
        for game in against
        for solver in names
        if held.stored(out, solver, game, chosen) is None
    ]
    finish(held.compute_and_store, missing, workers, "solvers on games", shown)
    cells: Cells = {}
    for game in against:
        for solver in names:
            cell = held.stored(out, solver, game, chosen)
            assert cell is not None
            cells[solver, game] = cell
    about = _about(command, workers)
    _write(out / "results.json", _json(cells, chosen, about))
    pictures.draw_summary(out, cells)
    if portraits:
        jobs = [(out, game, chosen) for game in against]
        finish(pictures.draw_and_store, jobs, workers, "portraits", shown)
        _write(out / "portraits.md", report.portraits(against))
    links = {"portraits": (out / "portraits.md").exists(), "kbeam": (out / "kbeam.md").exists()}
    _write(out / "index.md", report.index(cells, chosen, about, **links))
    return cells


def kbeam(
    out: Path,
    *,
    protocol: surfaces.Protocol | None = None,
    workers: int = 1,
    command: str = "minimaxopt_bench.kbeam(...)",
    progress: bool | None = None,
) -> dict[str, dict[str, tuple[float, float]]]:
    """Repeat the published K-beam comparison, and write ``kbeam.md`` and ``kbeam.json``; it goes on where it stopped.

    Args:
        out: the folder to write to.
        protocol: trials, steps and starts; by default as published.
        workers: as in ``bench``, like all that follow.
        command: what the page says that it was made by.
        progress: whether to show a progress bar.

    Returns:
        Mean and deviation of the leader's distance by surface and column.

    Raises:
        ArgumentError: if a number cannot be used.
    """
    chosen = protocol or surfaces.Protocol()
    shown = _check(workers, progress)
    finish(surfaces.compute_and_store, surfaces.jobs(out, chosen), workers, "K-beam's table", shown)
    found = surfaces.results(out, chosen)
    about = _about(command, workers)
    _write(
        out / "kbeam.json", json.dumps({**about, "protocol": surfaces.described(chosen), "distance": found}, indent=1)
    )
    _write(out / "kbeam.md", report.kbeam(found, chosen, about))
    return found


def _check(workers: int, progress: bool | None) -> bool:
    if workers < 1:
        raise ArgumentError(f"workers: {workers} processes do nothing; give 1 or more")
    if find_spec("matplotlib") is None:
        raise ArgumentError("out: the pictures need matplotlib; install it with pip install 'minimaxopt[plot]'")
    return sys.stderr.isatty() if progress is None else progress


def _about(command: str, workers: int) -> dict[str, Any]:
    return {"command": command, "workers": workers, "environment": {**environment([torch.device("cpu")]), "threads": 1}}


def _json(cells: Cells, settings: Settings, about: Mapping[str, Any]) -> str:
    """Return all numbers, one line for each cell."""
    solvers, games = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    head: dict[str, Any] = {
        **about,
        "settings": settings.to_dict(),
        "endings": RULES,
        "solvers": {name: {"defaults": defaults(name), "tried": list(map(dict, variants(name)))} for name in solvers},
        "games": {
            name: {"formula": known.formula, "class": class_of(known), "dimensions": known.dimensions}
            for name, known in ((name, known_game(name)) for name in games)
        },
        # JSON has no infinity, which stands where a solver solves nothing.
        "standings": [{**s._asdict(), "cost": s.cost if math.isfinite(s.cost) else None} for s in standings(cells)],
        "columns of runs": held.COLUMNS,
    }
    lines = (json.dumps(held.to_dict(cell), ensure_ascii=False) for cell in cells.values())
    text = json.dumps(head, indent=1, ensure_ascii=False, allow_nan=False)
    return text.removesuffix("\n}") + ',\n "cells": [\n' + ",\n".join(lines) + "\n]\n}\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    storage.write_atomically(path, text.encode())
