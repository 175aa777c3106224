"""The comparison from beginning to end: compute what is missing, then write pages and pictures."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from minimaxopt.plugins import ResultStore, check_count, environment, map_in_processes, write_atomically, write_json
from minimaxopt.testing import known_game
from minimaxopt_bench import kbeam_table, markdown
from minimaxopt_bench.cells import COLUMNS, cached_cell, is_stored, to_dict
from minimaxopt_bench.kbeam_table import KBeamTable, Protocol
from minimaxopt_bench.outcomes import RULES
from minimaxopt_bench.settings import Settings, default_settings, game_class, select_games, select_solvers, variants
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
    """Run every solver on every game, and write ``index.md``, ``results.json``, ``summary.png`` and portraits.

    Each finished pair is stored under ``out``. Called again, the bench computes only the pairs that are missing or
    whose settings have changed.

    Args:
        out: folder to write to.
        games: names of games with known answers; by default all.
        solvers: names of solvers; by default all that move both players.
        settings: budget, starts, rates and rules.
        workers: number of processes, of one thread each.
        portraits: whether to draw phase portraits.
        command: command that the pages name as their origin.
        progress: whether to show a progress bar; by default if the output is a terminal.

    Returns:
        The cells by solver and game.

    Raises:
        ArgumentError: a name or a number cannot be used.
        StoreError: a stored result is damaged or cannot be written, or another benchmark is running in ``out``.

    Examples:
        >>> import tempfile
        >>> from minimaxopt_bench import QUICK, bench
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cells = bench(Path(folder), games=["saddle"], solvers=["optimistic"], settings=QUICK, portraits=False)
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['index.md', 'results.json', 'store', 'summary.png']
        >>> cells["optimistic", "saddle"].ending
        'minimax'

    Source: this library.
    """
    # Imported here: matplotlib takes half a second, which no other command of minimaxopt needs to wait for.
    from minimaxopt_bench import pictures

    settings = settings or Settings()
    solver_names, game_names = select_solvers(solvers), select_games(games)
    check_count("workers", workers)
    pairs = [(solver, game) for game in game_names for solver in solver_names]
    with _locked(out):
        missing = [(out, *pair, settings) for pair in pairs if not is_stored(out, *pair, settings)]
        _run_all(cached_cell, missing, workers, "solvers on games", progress)
        cells: Cells = {pair: cached_cell(out, *pair, settings) for pair in pairs}
        provenance = _provenance(command, workers)
        write_atomically(out / "results.json", _results_json(cells, settings, provenance).encode())
        pictures.write_summary(out, cells)
        if portraits:
            jobs = [(out, game, settings) for game in game_names]
            _run_all(pictures.write_portrait, jobs, workers, "portraits", progress)
            write_atomically(out / "portraits.md", markdown.portraits_page(game_names).encode())
        links = {"portraits": (out / "portraits.md").exists(), "kbeam": (out / "kbeam.md").exists()}
        write_atomically(out / "index.md", markdown.index_page(cells, settings, provenance, **links).encode())
        return cells


def kbeam(
    out: Path,
    *,
    protocol: Protocol | None = None,
    workers: int = 1,
    command: str = "minimaxopt_bench.kbeam(...)",
    progress: bool | None = None,
) -> KBeamTable:
    """Repeat the published K-beam comparison, and write ``kbeam.md`` and ``kbeam.json``.

    Finished parts are stored under ``out``, as in ``bench``.

    Args:
        out: folder to write to.
        protocol: trials, steps and starts; by default as published.
        workers: number of processes, of one thread each.
        command: command that the page names as its origin.
        progress: whether to show a progress bar; by default if the output is a terminal.

    Returns:
        Mean and standard deviation of ``|u - u*|`` by surface and column.

    Raises:
        ArgumentError: a number cannot be used.
        StoreError: a stored result is damaged or cannot be written, or another benchmark is running in ``out``.

    Examples:
        >>> import tempfile
        >>> from minimaxopt_bench import Protocol, kbeam
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = kbeam(Path(folder), protocol=Protocol(trials=1, steps=1))
        >>> sorted(table)
        ['anti-saddle', 'monkey-saddle', 'rotated-saddle', 'saddle', 'seesaw', 'weapons']

    Source: Hamm and Noh 2018, K-Beam Minimax, as published in the README of its repository.
    """
    protocol = protocol or Protocol()
    check_count("workers", workers)
    with _locked(out):
        _run_all(kbeam_table.distances, kbeam_table.missing_parts(out, protocol), workers, "K-beam's table", progress)
        table = kbeam_table.table(out, protocol)
        provenance = _provenance(command, workers)
        write_json(out / "kbeam.json", {**provenance, "protocol": protocol.to_dict(), "distance": table})
        write_atomically(out / "kbeam.md", markdown.kbeam_page(table, protocol, provenance).encode())
        return table


@contextmanager
def _locked(out: Path) -> Generator[None]:
    """Hold the folder against a second benchmark, whose pages and numbers would mix with those of the first."""
    with ResultStore(out).lock("a benchmark"):
        try:
            yield
        finally:
            (out / "lock").unlink(missing_ok=True)  # it tells a reader nothing


def _run_all(
    function: Callable[..., object], jobs: list[tuple[Any, ...]], workers: int, title: str, progress: bool | None
) -> None:
    """Call a function, which stores its own result, on every job, behind a progress bar."""
    shown = sys.stderr.isatty() if progress is None else progress
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task(title, total=len(jobs))
        for _ in map_in_processes(function, jobs, workers):
            bar.advance(task)


def _provenance(command: str, workers: int) -> dict[str, Any]:
    return {"command": command, "workers": workers, "environment": {**environment(), "threads": 1}}


def _results_json(cells: Cells, settings: Settings, provenance: Mapping[str, Any]) -> str:
    """Return all numbers as JSON, with one line for each cell."""
    solvers, games = (list(dict.fromkeys(pair[i] for pair in cells)) for i in (0, 1))
    head: dict[str, Any] = {
        **provenance,
        "settings": settings.to_dict(),
        "endings": RULES,
        "solvers": {
            name: {"defaults": default_settings(name), "tried": list(map(dict, variants(name)))} for name in solvers
        },
        "games": {
            name: {"formula": known.formula, "class": game_class(known), "dimensions": known.dimensions}
            for name, known in ((name, known_game(name)) for name in games)
        },
        # JSON has no infinity, which is the cost of a solver that solves nothing.
        "standings": [{**s._asdict(), "cost": s.cost if math.isfinite(s.cost) else None} for s in standings(cells)],
        "columns of runs": COLUMNS,
    }
    lines = (json.dumps(to_dict(cell), ensure_ascii=False) for cell in cells.values())
    text = json.dumps(head, indent=1, ensure_ascii=False, allow_nan=False)
    return text.removesuffix("\n}") + ',\n "cells": [\n' + ",\n".join(lines) + "\n]\n}\n"
