"""`minimaxopt study run | status | record | report | compare | choices`."""

import json
import math
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from minimaxopt.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from minimaxopt_study.commands.status import Status
    from minimaxopt_study.runner.scheduler import Reporter, Summary

app = typer.Typer(no_args_is_help=True, help="Reproduce the tables and figures of Hamm and Mehra (2018).")

INTERRUPTED = 130  # what shells expect of a program that Ctrl-C ended
WIDTH_OF_A_FILE = 120  # a pipe or file has no width


@app.command()
def run(
    out: Annotated[Path, typer.Option(help="Folder of the study; one that holds results is continued.")],
    profile: Annotated[
        str,
        typer.Option(
            help="Name of a packaged profile, or the path of a TOML file; several with commas between, each in a folder of "
            "its name."
        ),
    ] = "quick",
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the data sets' files: all of MNIST's 70,000 digits are used.")
    ] = None,
    allow_unverified_data: Annotated[
        bool,
        typer.Option("--allow-unverified-data", help="Take files that cannot be verified; every result then says so."),
    ] = False,
    seeds: Annotated[str | None, typer.Option(help="Seeds, such as 0,1,2; by default the profile's.")] = None,
    eta: Annotated[
        str | None, typer.Option(help="Perturbation bounds, such as 0.2,0.4; by default the profile's.")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(help="Tables and figures, such as table3,fig1,matrix: only their rows are computed, whole."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes of one thread each.")] = 2,
    device: Annotated[str, typer.Option(help="Where to compute, such as cpu or cuda.")] = "cpu",
) -> None:
    """Run a study, or continue one, and write its tables, figures and report."""
    from minimaxopt_study import study
    from minimaxopt_study.plan import selection as select
    from minimaxopt_study.profiles.profile import load_profile

    changes: dict[str, tuple[float, ...]] = {}
    if seeds is not None:
        changes["seeds"] = tuple(int(seed) for seed in _numbers("seeds", seeds))
    if eta is not None:
        changes["eta"] = tuple(sorted(_numbers("eta", eta)))
    named = [name.strip() for name in profile.split(",") if name.strip()] or [profile]
    profiles = [load_profile(name, **changes) for name in named]
    folders = [out] if len(profiles) == 1 else [out / found.name for found in profiles]
    if len(set(folders)) < len(folders):
        raise ArgumentError(f"profile: {profile!r} has two of one name, which would share a folder; name each once")
    names = select.parse(only, [found.experiment for found in profiles]) if only is not None else ()
    if data_dir is not None and not data_dir.is_dir():
        raise ArgumentError(
            f"data-dir: {data_dir} is no folder; name the one that holds the data set's files, or an empty one to fetch "
            "them into"
        )
    _check_device(device)
    console = Console()
    complete = True
    for found, folder in zip(profiles, folders, strict=True):
        mine = tuple(name for name in names if name in select.choices(found.experiment))
        if names and not mine:
            continue
        if len(profiles) > 1:
            console.print(f"profile {found.name}, into {folder}", markup=False, highlight=False, soft_wrap=True)
        complete &= _run(
            console, folder,
            lambda reporter, found=found, folder=folder, mine=mine: study.run(
                found, folder, reporter, workers=workers, data_dir=str(data_dir) if data_dir else None, only=mine,
                allow_unverified=allow_unverified_data, device=device,
            ),
        )  # fmt: skip
    if not complete:
        raise typer.Exit(1)


def _run(console: Console, folder: Path, go: "Callable[[Reporter], Summary]") -> bool:
    """Run one study and say how it ended; returns whether all of it is there."""
    from minimaxopt_study.runner.progress import clock, last_line, reporter

    try:
        summary = go(reporter(console))
    except KeyboardInterrupt:
        console.print("interrupted; what is done is kept: the same command continues", markup=False)
        raise typer.Exit(INTERRUPTED) from None
    spent = f"{len(summary.computed)} tasks computed, {len(summary.found)} found, in {clock(summary.seconds)}"
    console.print(spent, markup=False, highlight=False)
    for key, reason in (summary.failed | summary.damaged).items():
        told = f"failed: {last_line(reason)}; all of it in {folder / 'failures' / key}.txt"
        console.print(told, style="red", markup=False, soft_wrap=True, highlight=False)
    console.print(f"report: {(folder / 'report.html').resolve()}", markup=False, soft_wrap=True, highlight=False)
    return summary.complete


def _check_device(name: str) -> None:
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ArgumentError(
            f"device: {name!r} cannot be computed on here ({reason}); give cpu, or a device that is there"
        ) from error


@app.command()
def status(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the study.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show what is done, running and left, the time that it took and about how long the rest will take."""
    from minimaxopt_study.commands import status as module

    found = module.status(directory)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=1))
        return
    console = Console()
    console.print(_table(found, title=f"{directory}"))
    for line in _lines(found):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(found: "Status", title: str) -> Table:
    from minimaxopt_study.commands.status import Kind
    from minimaxopt_study.runner.progress import clock

    columns = ("recorded", "took") if found.recorded else ("done", "running", "left", "took", "about left")
    table = Table("task", *columns, title=title, title_justify="left")
    total = Kind(
        *(sum(getattr(kind, name) for kind in found.kinds.values()) for name in ("done", "running", "left")),
        found.seconds, found.seconds_left,
    )  # fmt: skip
    for name, kind in {**found.kinds, "all": total}.items():
        counts, left = (kind.done, kind.running, kind.left), [_about(kind.seconds_left)]
        if found.recorded:
            counts, left = (kind.done,), []
        table.add_row(name, *(str(count) if count else "-" for count in counts), clock(kind.seconds), *left,
                      style="bold" if kind is total else "")  # fmt: skip
    return table


def _lines(found: "Status") -> list[str]:
    from minimaxopt_study.runner.progress import clock

    lines = [
        f"running for {clock(task.seconds)}, about {_about(task.seconds_left)} left: {task.title}"
        for task in found.running
    ]
    for kind, (versions, today) in found.outdated.items():
        here = ", ".join(map(str, versions))
        lines.append(f"{kind}: in version {here} here, {today} today; a run would compute anew what differs")
    if found.recorded:
        missing = ", ".join(f"{kind.left} of {name!r}" for name, kind in found.kinds.items() if kind.left)
        return [*lines, "a record, without weights" + (f"; not recorded: {missing}" if missing else "")]
    if not found.active:
        return [*lines, "no run is active"]
    what = f" ({', '.join(found.only)} only)" if found.only else ""
    finish = ""
    if found.finish is not None:
        finish = f", done at about {datetime.fromisoformat(found.finish):%Y-%m-%d %H:%M}"
    workers = f" with {found.workers} {'worker' if found.workers == 1 else 'workers'}" if found.workers else ""
    return [*lines, f"a run{what} is active{workers}{finish}"]


def _about(seconds: float | None) -> str:
    """Time left as a person reads it."""
    from minimaxopt_study.runner.progress import clock

    if seconds is None:
        return "not known yet"
    return clock(seconds) if seconds else "-"


@app.command()
def record(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the study; a run may be active in it.")],
    dest: Annotated[
        Path, typer.Argument(metavar="DEST", help="A new folder, or a record that gains the study's seeds.")
    ],
) -> None:
    """Copy what a reader needs of a study, without weights, or add its seeds to the record that is there."""
    from minimaxopt_study.commands import record as module

    done = module.record(directory, dest)
    console = Console()
    seeds = f"{'seed' if len(done.seeds) == 1 else 'seeds'} {', '.join(map(str, done.seeds))}"
    counts = f"{done.copied} results copied, {done.had} there before; the record holds {seeds}"
    console.print(counts, markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {done.report.resolve()}", markup=False, soft_wrap=True, highlight=False)


@app.command()
def report(directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the study.")]) -> None:
    """Write tables, figures and report again from what is stored."""
    from minimaxopt_study import study

    console = Console()
    path = study.rebuild(directory)
    console.print(f"report: {path.resolve()}", markup=False, soft_wrap=True, highlight=False)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of a study.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Folder of another.")],
    out: Annotated[Path | None, typer.Option(help="Markdown file to write the same to.")] = None,
) -> None:
    """Set two studies side by side: every cell, every verdict, and the settings that differ."""
    from minimaxopt_study import study
    from minimaxopt_study.report import side_by_side as _side_by_side
    from minimaxopt_study.report.comparison import Side, compare
    from minimaxopt_study.store import write_atomically

    if out is not None and out.is_dir():
        raise ArgumentError(f"out: {out} is a folder; name a file, such as {out / 'comparison.md'}")
    found = compare(*(Side.of(study.open_study(folder)) for folder in (a, b)))
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH_OF_A_FILE
    _side_by_side.show(found, console)
    if out is not None:
        write_atomically(out, _side_by_side.markdown(found).encode())
        console.print(f"written: {out.resolve()}", markup=False, soft_wrap=True, highlight=False)


@app.command()
def choices(
    out: Annotated[Path, typer.Option(help="Folder of the runs; what is done there is found again.")],
    profile: Annotated[str, typer.Option(help="The base: a packaged profile, or the path of a TOML file.")] = "quick",
    seeds: Annotated[str, typer.Option(help="Seeds, such as 0,1,2.")] = "0,1,2",
    only: Annotated[str | None, typer.Option(help="Names of choices, with commas between; by default all.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the data set's files.")] = None,
    allow_unverified_data: Annotated[
        bool,
        typer.Option("--allow-unverified-data", help="Take files that cannot be verified; every result then says so."),
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes of one thread each.")] = 2,
) -> None:
    """Measure how much the choices matter that the paper leaves unsaid: one change of the profile at a time."""
    from minimaxopt_study.commands import ablations as module
    from minimaxopt_study.profiles.profile import load_profile
    from minimaxopt_study.runner.progress import reporter

    base = load_profile(profile, seeds=tuple(int(seed) for seed in _numbers("seeds", seeds)))
    chosen = module.named(only) if only is not None else module.CHOICES
    console = Console()
    try:
        module.measure(
            base, out, reporter(console), chosen=chosen, workers=workers, data_dir=str(data_dir) if data_dir else None,
            allow_unverified=allow_unverified_data,
        )  # fmt: skip
    except KeyboardInterrupt:
        console.print("interrupted; what is done is kept: the same command continues", markup=False)
        raise typer.Exit(INTERRUPTED) from None
    console.print(f"written: {(out / 'choices.md').resolve()}", markup=False, soft_wrap=True, highlight=False)


def _numbers(option: str, text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise ArgumentError(f"{option}: {text!r} is not a list of numbers; write it as 0,1,2") from None
    if not all(map(math.isfinite, values)):
        raise ArgumentError(f"{option}: {text!r} names a number that is not finite; write it as 0,1,2")
    if option == "seeds" and any(value != int(value) for value in values):
        raise ArgumentError(f"{option}: {text!r} has a fraction; seeds are whole numbers")
    return values
