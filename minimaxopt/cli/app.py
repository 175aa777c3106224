"""The command line: ``minimaxopt plugins|problems|solvers|solve|certify``, and the commands of the plugins."""

# No `from __future__ import annotations`: typer reads the annotations of the commands at run time.
import inspect
import io
import json
import sys
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape
from typer.core import TyperGroup

from minimaxopt.cli.tables import brief_repr, console, new_table, option_table, print_table, print_title
from minimaxopt.errors import ArgumentError, MinimaxoptError
from minimaxopt.plugins.commands import DIVERGED, INTERRUPTED, REFUSED
from minimaxopt.plugins.host import plugin_host
from minimaxopt.plugins.options import describe_options, describe_settings, parsed_docstring
from minimaxopt.plugins.problem import load_problem
from minimaxopt.solvers import SOLVERS

_HELP = f"""Minimax optimisation on PyTorch: min over u, max over v of f(u, v).

Exit codes: 0 done; 1 unexpected error; {REFUSED} refused, with the reason; {DIVERGED} diverged; {INTERRUPTED} interrupted.
"""


class _Group(TyperGroup):
    """Prints the errors that minimaxopt raises on purpose in one red line, those of the plugins' commands too."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except MinimaxoptError as error:
            reason = " ".join(str(error).split())
            console(stderr=True).print(f"[red]Error: {escape(reason)}[/red]", soft_wrap=True, highlight=False)
            raise typer.Exit(REFUSED) from error


def main() -> None:
    """Run the command line on the arguments of this process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console that lacks a character, such as ±, shows a question mark
    application()()


def application() -> typer.Typer:
    """Build the command line, with the commands of the plugins that load."""
    cli = typer.Typer(
        name="minimaxopt",
        cls=_Group,
        help=_HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    cli.callback()(_root)
    cli.command()(plugins)
    cli.command()(solve)
    cli.command()(certify)
    for name, listing, show in (("problems", problems, show_problem), ("solvers", solvers, show_solver)):
        group = typer.Typer(name=name, help=inspect.getdoc(listing), invoke_without_command=True)
        group.callback()(listing)
        group.command("show")(show)
        cli.add_typer(group)
    plugin_host().add_commands(cli, _stage, taken=("plugins", "problems", "solvers", "solve", "certify"))
    return cli


def _stage() -> typer.Typer:
    stage = typer.Typer(add_completion=False)
    stage.callback()(lambda: None)  # with a callback even a single command stays a command of a group
    return stage


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"minimaxopt {metadata.version('minimaxopt')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def plugins() -> None:
    """List the installed plugins, what each adds, and why a failed one failed."""
    table = new_table("name", "distribution", "version", "status", "brings, or why it failed")
    for record in plugin_host().records:
        kinds = ("problems", "solvers", "callbacks", "commands")
        brought = [f"{kind}: {', '.join(names)}" for kind in kinds if (names := getattr(record, kind))]
        colour = {"loaded": "green", "failed": "red", "skipped": "yellow"}[record.status]
        reason = str(record.error or "").removeprefix(
            f"plugin {record.name!r} ({record.distribution} {record.version}): "
        )
        table.add_row(
            escape(record.name),
            escape(record.distribution),
            escape(record.version),
            f"[{colour}]{record.status}[/]",
            f"[red]{escape(reason)}[/]" if reason else escape("\n".join(brought)),
        )
    print_table(table, empty="No plugins are installed.")


def _sentence(build: Callable[..., object]) -> str:
    return parsed_docstring(build).short_description or ""


def _description(build: Callable[..., object]) -> str:
    return (parsed_docstring(build).description or "").rstrip()


def problems(context: typer.Context) -> None:
    """List the problems that the plugins add; 'problems show NAME' describes one."""
    if context.invoked_subcommand is not None:
        return
    host = plugin_host()
    origin = {name: record.distribution for record in host.records for name in record.problems}
    table = new_table("name", "problem", "distribution")
    for name, build in sorted(host.problems.items()):
        table.add_row(escape(name), escape(_sentence(build)), escape(origin[name]))
    print_table(table, empty="No plugin brings a problem.")
    failed = [record.name for record in host.records if record.status == "failed"]
    if failed:
        console().print(f"[yellow]Not loaded: {escape(', '.join(failed))}; 'minimaxopt plugins' says why.[/]")


def show_problem(name: Annotated[str, typer.Argument(help="Name, as listed by 'minimaxopt problems'.")]) -> None:
    """Describe a problem: its options, and its settings for 'solve'."""
    build = plugin_host().find("problem", name)
    print_title(name, _description(build))
    print_table(option_table(describe_options(build)), empty="It has no options.")
    typer.echo()
    try:
        settings = load_problem(name).settings
    except MinimaxoptError as error:  # such as missing data; what is printed above holds regardless
        console().print(f"[yellow]Its settings for the solve cannot be shown: {escape(str(error))}[/]", highlight=False)
        return
    table = new_table("setting of solve", "value")
    for key, value in settings.items():
        table.add_row(escape(key), escape(brief_repr(value)))
    print_table(table, empty="It brings no settings for the solve.")


def solvers(context: typer.Context) -> None:
    """List the solvers; 'solvers show NAME' describes one."""
    if context.invoked_subcommand is not None:
        return
    host = plugin_host()
    origin = {name: record.distribution for record in host.records for name in record.solvers}
    table = new_table("name", "solver", "distribution")
    for name, build in sorted({**host.solvers, **SOLVERS}.items()):
        table.add_row(escape(name), escape(_sentence(build)), escape(origin.get(name, "minimaxopt")))
    print_table(table, empty="")


def show_solver(name: Annotated[str, typer.Argument(help="Name, as listed by 'minimaxopt solvers'.")]) -> None:
    """Describe a solver: its update, and its settings with their defaults."""
    build = plugin_host().find("solver", name)
    print_title(name, _description(build))
    print_table(option_table(describe_settings(build)), empty="It has no settings.")


def solve(
    problem: Annotated[str, typer.Argument(help="Name, as listed by 'minimaxopt problems'.")],
    solver: Annotated[
        str | None, typer.Option(help="Name, as listed by 'minimaxopt solvers'; by default the problem's own.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Number of steps; by default the problem's own.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random draws.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="An option of the problem or, with the prefix 'solver.', a setting of the solver. Repeatable.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the solution, log.jsonl and checkpoints; without it nothing is written."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Device, such as cpu or cuda:0.")] = None,
    order: Annotated[
        Literal["minimax", "maximin"] | None,
        typer.Option(help="Who leads: u (minimax) or v (maximin); by default the problem's own."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Continue from the last checkpoint in --out, if there is one.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only errors.")] = False,
) -> None:
    """Solve a problem, and write the solution to --out.

    If the solve diverges or is interrupted, --out holds the last finite point.
    """
    # Imported here: the other commands need not wait for what solving needs.
    from minimaxopt.cli.solve import Request, launch
    from minimaxopt.results.solution import Status

    options, solver_settings = _assignments(set_ or [])
    options_of_solve = {"steps": steps, "seed": seed, "device": device, "order": order}
    settings = {key: value for key, value in options_of_solve.items() if value is not None}
    outcome = launch(Request(problem, options, solver, solver_settings, settings, out, resume, quiet))
    if not quiet:
        table = new_table("result", "value")
        for key, value in outcome.rows:
            table.add_row(escape(key), escape(value))
        print_table(table, empty="")
    code = {Status.DIVERGED: DIVERGED, Status.INTERRUPTED: INTERRUPTED}.get(outcome.solution.status, 0)
    raise typer.Exit(code)


def certify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A folder that 'minimaxopt solve --out' wrote.")],
    restarts: Annotated[
        int, typer.Option(min=0, help="Number of fresh followers, and of fresh leaders, to train.")
    ] = 5,
    steps: Annotated[int, typer.Option(min=0, help="Steps of each training.")] = 500,
    tolerance: Annotated[
        float | None, typer.Option(help="Gradient norm and eigenvalue below which they count as zero.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random draws.")] = 0,
    device: Annotated[str | None, typer.Option(help="Device, such as cpu or cuda:0.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the certificate as JSON.")] = False,
) -> None:
    """Certify a saved solution, and save the certificate with it and in certificate.json."""
    from minimaxopt.cli.certify import certify_run

    settings = {"restarts": restarts, "steps": steps, "tolerance": tolerance, "seed": seed, "device": device}
    certificate, path = certify_run(run, settings)
    if as_json:
        typer.echo(json.dumps(certificate.to_dict(), indent=2))
        return
    typer.echo(str(certificate))
    typer.echo(f"\nwritten to {path}")


def _assignments(texts: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Split ``key=value`` texts into the problem's options and the solver's settings; of equal keys the last wins."""
    options: dict[str, str] = {}
    settings: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ArgumentError(f"--set: {text!r} is not KEY=VALUE; write, for instance, --set eta=0.2")
        if key.startswith("solver."):
            settings[key.removeprefix("solver.")] = value
        else:
            options[key] = value
    return options, settings


if __name__ == "__main__":
    main()
