"""Entry point of the plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minimaxopt import hookimpl

if TYPE_CHECKING:
    import typer


@hookimpl
def register_commands(cli: typer.Typer) -> None:
    """Add ``minimaxopt bench``."""
    # Imported here: only the command line needs typer.
    from minimaxopt_bench.command import bench

    cli.command()(bench)
