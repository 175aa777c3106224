"""The entry point: what minimaxopt finds when it looks for plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minimaxopt import hookimpl

if TYPE_CHECKING:
    import typer


@hookimpl
def register_commands(cli: typer.Typer) -> None:
    """Add ``minimaxopt bench``."""
    from minimaxopt_bench.command import bench

    cli.command()(bench)
