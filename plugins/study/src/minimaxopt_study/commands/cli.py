"""``minimaxopt study run | status | record | report | compare | choices``."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from minimaxopt.errors import ArgumentError
from minimaxopt.plugins import FAILED, INTERRUPTED, comma_separated, usable_device, write_atomically

if TYPE_CHECKING:
    from minimaxopt_study.runner.scheduler import Summary

app = typer.Typer(no_args_is_help=True, help="Reproduce the tables and figures of Hamm and Mehra (2018).")

WIDTH_OF_A_FILE = 120  # a pipe or file has no width

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the study.")]
AllowUnverified = Annotated[
    bool,
    typer.Option(
        "--allow-unverified-data", help="Accept data files that cannot be verified; every result then says so."
    ),
]
Download = Annotated[
    bool, typer.Option("--download", help="Fetch data files that are missing; nothing is fetched without it.")
]
Workers = Annotated[int, typer.Option(min=1, help="Number of processes, of one thread each.")]


@app.command()
def run(
    out: Annotated[Path, typer.Option(help="Folder of the study; stored results in it are used again.")],
    profile: Annotated[
        str,
        typer.Option(
            help="Packaged profiles or paths of TOML files, separated by commas. Each of several has a folder of its name."
        ),
    ] = "quick",
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the data files; all 70,000 digits of MNIST are then used.")
    ] = None,
    allow_unverified_data: AllowUnverified = False,
    download: Download = False,
    seeds: Annotated[str | None, typer.Option(help="Seeds, such as 0,1,2; the profile's by default.")] = None,
    eta: Annotated[
        str | None, typer.Option(help="Perturbation bounds, such as 0.2,0.4; the profile's by default.")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(help="Tables and figures, such as table3,fig1,matrix; only their rows are computed."),
    ] = None,
    workers: Workers = 2,
    device: Annotated[str, typer.Option(help="Device, such as cpu or cuda.")] = "cpu",
) -> None:
    """Run a study, or continue one, and write its tables, figures and report."""
    from minimaxopt_study.commands.run import run_study
    from minimaxopt_study.plan import selection
    from minimaxopt_study.profiles.profile import load_profile
    from minimaxopt_study.runner.progress import reporter

    changes: dict[str, tuple[float, ...]] = {}
    if seeds is not None:
        changes["seeds"] = _seeds(seeds)
    if eta is not None:
        changes["eta"] = tuple(sorted(_numbers("eta", eta)))
    profiles = [load_profile(name, **changes) for name in comma_separated(profile) or [profile]]
    folders = [out] if len(profiles) == 1 else [out / one.name for one in profiles]
    if len(set(folders)) < len(folders):
        raise ArgumentError(f"profile: two of {profile!r} have the same name and would share a folder; name each once")
    names = selection.parse(only, [one.experiment for one in profiles]) if only is not None else ()
    if data_dir is not None and not data_dir.is_dir():
        raise ArgumentError(
            f"data-dir: {data_dir} is not a folder; give the one that holds the data set's files, or an empty one "
            "beside --download"
        )
    usable_device(device)
    console = Console()
    complete = True
    for one, folder in zip(profiles, folders, strict=True):
        own_names = tuple(name for name in names if name in selection.choices(one.experiment))
        if names and not own_names:
            continue
        if len(profiles) > 1:
            _print(console, f"profile {one.name}, into {folder}")
        try:
            summary = run_study(
                one, folder, reporter(console), workers=workers, data_dir=str(data_dir) if data_dir else None,
                only=own_names, allow_unverified=allow_unverified_data, download=download, device=device,
            )  # fmt: skip
        except KeyboardInterrupt:
            raise _interrupted(console) from None
        _print_summary(console, folder, summary)
        complete &= summary.complete
    if not complete:
        raise typer.Exit(FAILED)


def _print_summary(console: Console, folder: Path, summary: "Summary") -> None:
    from minimaxopt_study.formatting import clock, last_line

    counts = f"{len(summary.computed)} tasks computed, {len(summary.stored)} found"
    _print(console, f"{counts}, in {clock(summary.seconds)}")
    for key, reason in (summary.failed | summary.damaged).items():
        details = folder / "failures" / f"{key}.txt"
        _print(console, f"failed: {last_line(reason)}; all of it in {details}", style="red")
    _print(console, f"report: {(folder / 'report.html').resolve()}")


def _print(console: Console, line: str, style: str | None = None) -> None:
    """Print a line as it is: unwrapped, with brackets and numbers left alone."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def _interrupted(console: Console) -> typer.Exit:
    _print(console, "interrupted; finished tasks are kept: the same command continues")
    return typer.Exit(INTERRUPTED)


@app.command()
def status(
    directory: Directory, as_json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False
) -> None:
    """Show which tasks are done, running and left, and how much time is left."""
    from minimaxopt_study.commands.status import read_status
    from minimaxopt_study.commands.status_table import status_lines, status_table

    progress = read_status(directory)
    if as_json:
        typer.echo(json.dumps(asdict(progress), indent=1))
        return
    console = Console()
    console.print(status_table(progress, title=f"{directory}"))
    for line in status_lines(progress):
        _print(console, line)


@app.command()
def record(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of the study, in which a run may be active.")
    ],
    dest: Annotated[
        Path, typer.Argument(metavar="DEST", help="New folder, or record to which the study's seeds are added.")
    ],
) -> None:
    """Copy a study without its weights, or add its seeds to an existing record."""
    from minimaxopt_study.commands.record import record as record_study
    from minimaxopt_study.formatting import plural

    recorded = record_study(directory, dest)
    console = Console()
    seeds = f"{plural('seed', len(recorded.seeds))} {', '.join(map(str, recorded.seeds))}"
    _print(console, f"{recorded.copied} results copied, {recorded.had} there before; the record holds {seeds}")
    _print(console, f"report: {recorded.report.resolve()}")


@app.command()
def report(directory: Directory) -> None:
    """Write tables, figures and report again from the stored results."""
    from minimaxopt_study.report.write import write_report
    from minimaxopt_study.study import open_study

    _print(Console(), f"report: {write_report(open_study(directory)).resolve()}")


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of the first study.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Folder of the second study.")],
    out: Annotated[Path | None, typer.Option(help="Markdown file to write the comparison to.")] = None,
) -> None:
    """Compare two studies: every cell, every verdict, and the settings that differ."""
    from minimaxopt_study.report import comparison, side_by_side
    from minimaxopt_study.study import open_study

    if out is not None and out.is_dir():
        raise ArgumentError(f"out: {out} is a folder; give a file, such as {out / 'comparison.md'}")
    both = comparison.compare(*(comparison.Side.of(open_study(folder)) for folder in (a, b)))
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH_OF_A_FILE
    side_by_side.show(both, console)
    if out is not None:
        write_atomically(out, side_by_side.markdown(both).encode())
        _print(console, f"written: {out.resolve()}")


@app.command()
def choices(
    out: Annotated[Path, typer.Option(help="Folder of the runs; stored results in it are used again.")],
    profile: Annotated[str, typer.Option(help="Base profile: a packaged one, or the path of a TOML file.")] = "quick",
    seeds: Annotated[str, typer.Option(help="Seeds, such as 0,1,2.")] = "0,1,2",
    only: Annotated[str | None, typer.Option(help="Names of choices, separated by commas; all by default.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the data files.")] = None,
    allow_unverified_data: AllowUnverified = False,
    download: Download = False,
    workers: Workers = 2,
) -> None:
    """Measure the effect of the choices that the paper does not state, by changing one setting at a time."""
    from minimaxopt_study.commands import ablations
    from minimaxopt_study.profiles.profile import load_profile
    from minimaxopt_study.runner.progress import reporter

    base = load_profile(profile, seeds=_seeds(seeds))
    chosen = ablations.named(only) if only is not None else ablations.CHOICES
    console = Console()
    try:
        ablations.measure(
            base, out, reporter(console), chosen=chosen, workers=workers, data_dir=str(data_dir) if data_dir else None,
            allow_unverified=allow_unverified_data, download=download,
        )  # fmt: skip
    except KeyboardInterrupt:
        raise _interrupted(console) from None
    _print(console, f"written: {(out / 'choices.md').resolve()}")


def _seeds(text: str) -> tuple[int, ...]:
    values = _numbers("seeds", text)
    if any(value != int(value) for value in values):
        raise ArgumentError(f"seeds: {text!r} has a fraction; seeds are whole numbers")
    return tuple(int(value) for value in values)


def _numbers(option: str, text: str) -> list[float]:
    try:
        values = [float(part) for part in comma_separated(text)]
    except ValueError:
        raise ArgumentError(f"{option}: {text!r} is not a list of numbers; write it as 0,1,2") from None
    if not values:
        raise ArgumentError(f"{option}: {text!r} is not a list of numbers; write it as 0,1,2")
    if not all(map(math.isfinite, values)):
        raise ArgumentError(f"{option}: {text!r} has a number that is not finite; write it as 0,1,2")
    return values
