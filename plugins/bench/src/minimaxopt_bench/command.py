"""The command ``minimaxopt bench``."""

# No `from __future__ import annotations`: typer reads the annotations of the command at run time.
import dataclasses
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

_INTERRUPTED = 130


def bench(
    out: Annotated[Path, typer.Option(help="Folder for pages, pictures and numbers, and for what is done so far.")],
    games: Annotated[
        str | None, typer.Option(help="Games with known answers by name, with commas between; by default all.")
    ] = None,
    solvers: Annotated[
        str | None, typer.Option(help="Solvers by name, with commas between; by default all that move both players.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="The most steps of a run.")] = None,
    evaluations: Annotated[int | None, typer.Option(min=1, help="The most gradient evaluations of a run.")] = None,
    starts: Annotated[int | None, typer.Option(min=1, help="Random starts; with --kbeam, trials.")] = None,
    seed: Annotated[int, typer.Option(help="Of the first start; the others follow.")] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes of one thread each; by default one for each core.")
    ] = None,
    portraits: Annotated[
        bool, typer.Option("--portraits/--no-portraits", help="Whether to draw a phase portrait of each game.")
    ] = True,
    quick: Annotated[
        bool, typer.Option("--quick", help="A small budget, for a look in seconds; its numbers mean little.")
    ] = False,
    kbeam: Annotated[
        bool, typer.Option("--kbeam", help="Repeat the published K-beam table instead: six surfaces, 100 trials.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Play every solver on every game with known answers, and write tables and pictures of where each ends.

    What is finished is kept in --out: an interrupted bench goes on when the same command is given again, and other
    settings are computed anew.
    """
    # Imported here: other commands need not wait for it.
    from minimaxopt_bench import QUICK, Protocol, Settings
    from minimaxopt_bench import bench as run
    from minimaxopt_bench import kbeam as run_kbeam

    given: dict[str, Any] = {"steps": steps, "starts": starts, "seed": seed}
    options: dict[str, Any] = {
        "workers": workers or os.cpu_count() or 1,
        "command": " ".join(["minimaxopt", *sys.argv[1:]]),
        "progress": False if quiet else None,
    }
    try:
        if kbeam:
            renamed = {"trials" if key == "starts" else key: value for key, value in _set(given).items()}
            base = Protocol(trials=3, steps=20) if quick else Protocol()
            run_kbeam(out, protocol=dataclasses.replace(base, **renamed), **options)
        else:
            settings = dataclasses.replace(
                QUICK if quick else Settings(), **_set({**given, "evaluations": evaluations})
            )
            run(out, games=_names(games), solvers=_names(solvers), settings=settings, portraits=portraits, **options)
    except KeyboardInterrupt:
        typer.echo("Interrupted; the same command goes on.", err=True)
        raise typer.Exit(_INTERRUPTED) from None
    if not quiet:
        typer.echo(f"Written: {out / ('kbeam.md' if kbeam else 'index.md')}")


def _set(given: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if value is not None}


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
