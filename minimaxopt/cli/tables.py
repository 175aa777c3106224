"""Tables and titles on the console."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from minimaxopt.plugins.options import Option

_WIDTH_OF_A_FILE = 120  # a pipe or file has no width; 80 columns would break lines that a search should find whole


def console(*, stderr: bool = False) -> Console:
    """Return a console; where it is not a terminal, wide enough that lines are not broken."""
    plain = Console(stderr=stderr)
    return plain if plain.is_terminal else Console(stderr=stderr, width=max(plain.width, _WIDTH_OF_A_FILE))


def new_table(*columns: str) -> Table:
    """Return an empty table with a heading."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def print_title(name: str, doc: str) -> None:
    """Print a name and, below it, its description."""
    console().print(f"[bold]{escape(name)}[/]\n{escape(doc)}\n", soft_wrap=True, highlight=False)


def print_table(table: Table, *, empty: str) -> None:
    """Print a table, or a sentence where it has no rows."""
    console().print(table if table.row_count else empty, highlight=False)


def option_table(options: Sequence[Option]) -> Table:
    """Return a table of options with their types and defaults."""
    helpful = any(option.help for option in options)
    table = new_table("name", "type", "default", *(["help"] if helpful else []))
    for option in options:
        kind = "" if option.type is Any else option.type_name
        row = [option.name, kind, brief_repr(option.default), *([option.help] if helpful else [])]
        table.add_row(*map(escape, row))
    return table


def brief_repr(value: object) -> str:
    """Return a short representation of a setting's value."""
    if isinstance(value, functools.partial):
        arguments = [
            *map(brief_repr, value.args),
            *(f"{key}={brief_repr(item)}" for key, item in value.keywords.items()),
        ]
        return f"{brief_repr(value.func)}({', '.join(arguments)})"
    if inspect.isroutine(value) or isinstance(value, type):
        return value.__name__
    return repr(value)
