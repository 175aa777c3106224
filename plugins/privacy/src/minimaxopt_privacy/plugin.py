"""Hooks of the plugin: its problems and its command."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from minimaxopt import Problem, hookimpl
from minimaxopt_privacy.problems import PROBLEMS

if TYPE_CHECKING:
    import typer


@hookimpl
def register_problems(register: Callable[[str, Callable[..., Problem]], None]) -> None:
    """Register the privacy filters."""
    for name, build in PROBLEMS.items():
        register(name, build)


@hookimpl
def register_commands(cli: typer.Typer) -> None:
    """Add `minimaxopt privacy`."""
    from minimaxopt_privacy.cli import app

    cli.add_typer(app, name="privacy")
