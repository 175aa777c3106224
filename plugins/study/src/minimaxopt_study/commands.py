"""`minimaxopt study run | status | report`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from minimaxopt.errors import ArgumentError

app = typer.Typer(no_args_is_help=True, help="Reproduce the tables and figures of Hamm and Mehra (2018).")

INTERRUPTED = 130  # what shells expect of a program that Ctrl-C ended


@app.command()
def run(
    out: Annotated[Path, typer.Option(help="Folder of the study; one that holds results is continued.")],
    profile: Annotated[str, typer.Option(help="Name of a packaged profile, or the path of a TOML file.")] = "quick",
    data_dir: Annotated[Path | None, typer.Option(help="Folder of MNIST's files: all 70,000 digits are used.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds, such as 0,1,2; by default the profile's.")] = None,
    eta: Annotated[
        str | None, typer.Option(help="Perturbation bounds, such as 0.2,0.4; by default the profile's.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes of one thread each.")] = 2,
) -> None:
    """Run a study, or continue one, and write its tables, figures and report."""
    from minimaxopt_study import study
    from minimaxopt_study.profile import load_profile
    from minimaxopt_study.progress import clock, last_line, reporter

    console = Console()
    changes: dict[str, tuple[float, ...]] = {}
    if seeds is not None:
        changes["seeds"] = tuple(int(seed) for seed in _numbers("seeds", seeds))
    if eta is not None:
        changes["eta"] = tuple(sorted(_numbers("eta", eta)))
    chosen = load_profile(profile, **changes)
    try:
        summary = study.run(
            chosen, out, reporter(console), workers=workers, data_dir=str(data_dir) if data_dir else None
        )
    except KeyboardInterrupt:
        console.print("interrupted; what is done is kept: the same command continues", markup=False)
        raise typer.Exit(INTERRUPTED) from None
    spent = f"{len(summary.computed)} tasks computed, {len(summary.found)} found, in {clock(summary.seconds)}"
    console.print(spent, markup=False, highlight=False)
    for key, reason in summary.failed.items():
        told = f"failed: {last_line(reason)}; all of it in {out / 'failures' / key}.txt"
        console.print(told, style="red", markup=False, soft_wrap=True, highlight=False)
    console.print(f"report: {(out / 'report.html').resolve()}", markup=False, soft_wrap=True, highlight=False)
    if not summary.complete:
        raise typer.Exit(1)


@app.command()
def status(directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the study.")]) -> None:
    """Show what is done, running and left."""
    from minimaxopt_study import study
    from minimaxopt_study.progress import clock

    console = Console()
    found = study.progress(directory)
    table = Table("task", "done", "left", title=f"{directory}", title_justify="left")
    for kind, (done, left) in found.kinds.items():
        table.add_row(kind, str(done), str(left) if left else "-")
    done, left = (sum(column) for column in zip(*found.kinds.values(), strict=True))
    table.add_row("all", str(done), str(left) if left else "-", style="bold")
    console.print(table)
    for title, seconds in found.running.items():
        console.print(f"running for {clock(seconds)}: {title}", markup=False, highlight=False)
    if found.outdated:
        console.print("the sources have changed since: a run would compute anew what they touch", markup=False)
    state = "a run is active" if found.active else "no run is active"
    console.print(f"{state}; {clock(found.seconds)} of computing stored", markup=False, highlight=False)


@app.command()
def report(directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the study.")]) -> None:
    """Write tables, figures and report again from what is stored."""
    from minimaxopt_study import study

    console = Console()
    path = study.rebuild(directory)
    console.print(f"report: {path.resolve()}", markup=False, soft_wrap=True, highlight=False)


def _numbers(option: str, text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise ArgumentError(f"{option}: {text!r} is not a list of numbers; write it as 0,1,2") from None
    if option == "seeds" and any(value != int(value) for value in values):
        raise ArgumentError(f"{option}: {text!r} has a fraction; seeds are whole numbers")
    return values
