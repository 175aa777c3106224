"""The plugin's hook: the command ``minimaxopt study``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minimaxopt import hookimpl

if TYPE_CHECKING:
    import typer


@hookimpl
def register_commands(cli: typer.Typer) -> None:
    """Add ``minimaxopt study``."""
    from minimaxopt_study.commands.cli import app

    cli.add_typer(app, name="study")
