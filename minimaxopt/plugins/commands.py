"""Tools for commands: exit codes, lists with commas, Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

FAILED, REFUSED, DIVERGED, INTERRUPTED = 1, 2, 3, 130
"""Exit codes: something failed, arguments were refused, a solve diverged, the user interrupted."""


def comma_separated(text: str | None) -> list[str]:
    """Return the parts of a list that was typed with commas.

    Args:
        text: such as ``"a, b"``; ``None`` and empty parts give nothing.

    Examples:
        >>> comma_separated("table3, fig1,"), comma_separated(None)
        (['table3', 'fig1'], [])
    """
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    r"""Return a Markdown table, without a newline at its end.

    Args:
        columns: the heading.
        rows: the cells, shown by ``str``; a vertical bar in one is escaped.

    Examples:
        >>> print(markdown_table(["solver", "|g|"], [["alternating", 0.5]]))
        | solver | \|g\| |
        |---|---|
        | alternating | 0.5 |
    """

    def line(cells: Sequence[object]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(columns), "|---" * len(columns) + "|", *map(line, rows)])
