"""The command ``minimaxopt bench``."""

# No `from __future__ import annotations`: typer reads the annotations of the command at run time.
import dataclasses
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from minimaxopt.plugins import INTERRUPTED, comma_separated
from minimaxopt_bench import comparison
from minimaxopt_bench.kbeam_table import Protocol
from minimaxopt_bench.settings import QUICK, Settings


def bench(
    out: Annotated[Path, typer.Option(help="Folder for pages, pictures, numbers and stored results.")],
    games: Annotated[
        str | None, typer.Option(help="Names of games with known answers, separated by commas; all by default.")
    ] = None,
    solvers: Annotated[
        str | None, typer.Option(help="Names of solvers, separated by commas; by default all that move both players.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Largest number of steps of a run.")] = None,
    evaluations: Annotated[
        int | None, typer.Option(min=1, help="Largest number of gradient evaluations of a run.")
    ] = None,
    starts: Annotated[int | None, typer.Option(min=1, help="Number of random starts; with --kbeam, of trials.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the first start; later ones add 1.")] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of processes, of one thread each; by default one per core.")
    ] = None,
    portraits: Annotated[
        bool, typer.Option("--portraits/--no-portraits", help="Whether to draw a phase portrait of each game.")
    ] = True,
    quick: Annotated[
        bool, typer.Option("--quick", help="Use a small budget, for a trial run of seconds; its numbers mean little.")
    ] = False,
    kbeam: Annotated[
        bool, typer.Option("--kbeam", help="Repeat the published K-beam table instead: six surfaces, 100 trials.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only errors.")] = False,
) -> None:
    """Run every solver on every game with a known answer, and write tables and pictures of where each ends.

    Finished results are stored in --out: run an interrupted command again to continue.
    """
    overrides = {"steps": steps, "seed": seed, "trials" if kbeam else "starts": starts}
    if not kbeam:
        overrides["evaluations"] = evaluations
    changed: dict[str, Any] = {name: value for name, value in overrides.items() if value is not None}
    options: dict[str, Any] = {
        "workers": workers or os.cpu_count() or 1,
        "command": " ".join(["minimaxopt", *sys.argv[1:]]),
        "progress": False if quiet else None,
    }
    try:
        if kbeam:
            protocol = dataclasses.replace(Protocol(trials=3, steps=20) if quick else Protocol(), **changed)
            comparison.kbeam(out, protocol=protocol, **options)
        else:
            options |= {"games": comma_separated(games), "solvers": comma_separated(solvers), "portraits": portraits}
            comparison.bench(out, settings=dataclasses.replace(QUICK if quick else Settings(), **changed), **options)
    except KeyboardInterrupt:
        typer.echo("Interrupted; the same command continues.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if not quiet:
        typer.echo(f"Written: {out / ('kbeam.md' if kbeam else 'index.md')}")
