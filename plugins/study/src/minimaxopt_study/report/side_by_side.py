"""A comparison in words, on a terminal and in Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from minimaxopt.plugins import markdown_table
from minimaxopt_study.formatting import DASH
from minimaxopt_study.report.comparison import LAST
from minimaxopt_study.report.content import number

if TYPE_CHECKING:
    from rich.console import Console

    from minimaxopt_study.report.comparison import Comparison, Pair, Side, Verdicts
    from minimaxopt_study.results.tables import Cell

DIFFERS = "differs"
TITLE = "Two studies side by side"
PAIR = ("defence", "attack", "A (seeds)", "B (seeds)", "B - A (std. error)", "paper", "")


@dataclass(frozen=True)
class _Part:
    """A table whose last column marks the rows that differ."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def markdown(comparison: Comparison) -> str:
    """Return the comparison as a page of Markdown."""
    lines = [f"# {TITLE}", ""]
    for line in summary(comparison):
        lines += [line, ""]
    for part in _parts(comparison):
        rows = (row if row[-1] != DIFFERS else (*row[:-1], f"**{DIFFERS}**") for row in part.rows)
        lines += [f"## {part.title}", "", markdown_table(part.columns, rows), ""]
    return "\n".join(lines)


def show(comparison: Comparison, console: Console) -> None:
    """Print the comparison: the summary first."""
    for line in summary(comparison):
        console.print(Text(line))
        console.print()
    for part in _parts(comparison):
        table = Table(title=Text(part.title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for column in part.columns:
            table.add_column(Text(column))
        for row in part.rows:
            table.add_row(*map(Text, row), style="bold yellow" if row[-1] == DIFFERS else None)
        console.print(table)


def summary(comparison: Comparison) -> list[str]:
    """Return the first sentences: the two studies, and how many cells, verdicts and settings differ."""
    both, differing = len(comparison.in_both), sum(pair.differs for pair in comparison.in_both)
    changed = [claim for claim in comparison.verdicts if claim.differs]
    lines = [f"{letter}: {_described(side)}" for letter, side in zip("AB", comparison.sides, strict=True)]
    if comparison.same:
        lines.append("The two do not differ in any number, verdict or setting.")
    lines.append(
        f"Cells: of {len(comparison.pairs)}, {both} have a number in both studies; of these {differing} differ by "
        "more than two standard errors of the difference. A cell's standard error is that of counting errors on the "
        "evaluated images, or that of the mean over seeds where it is larger; the two studies count as independent. "
        "One seed does not show how much another training would differ, and of cells that are truly alike one in "
        "twenty may differ so by chance. A number that several tables print, such as FGSM-curr, counts in each."
    )
    lines.append(
        f"Verdicts: of {len(comparison.verdicts)} claims {len(changed)} have another verdict in B than in A"
        + (": " + "; ".join(map(_change, changed)) if changed else "")
        + "."
    )
    settings = len(comparison.settings)
    lines.append(
        f"Settings: {settings or 'none'} of the profile {'differs' if settings == 1 else 'differ'}.{_from(comparison)}"
    )
    return lines + _notes(comparison)


def _described(side: Side) -> str:
    profile, seeds = side.profile, len(side.profile.seeds)
    return (
        f"{side.label}, profile {profile.name}, η = {', '.join(f'{eta:g}' for eta in profile.eta)}, "
        f"{profile.rounds} rounds, {seeds} seed{'s' if seeds > 1 else ''}, {side.data['evaluated']:,} evaluated images."
    )


def _change(claim: Verdicts) -> str:
    kinds = (("at this scale", claim.here), ("over seeds", claim.over_seeds))
    changes = (f"{kind} {ours} in A, {theirs} in B" for kind, (ours, theirs) in kinds if ours is not theirs)
    return f"{claim.claim} ({', '.join(changes)})"


def _from(comparison: Comparison) -> str:
    images = any(name == "images" for name, _, _ in comparison.origins)
    code = sum(name != "images" for name, _, _ in comparison.origins)
    of_code = f" The code differs for {code} {'kind' if code == 1 else 'kinds'} of task." if code else ""
    return (" The images differ." if images else "") + of_code


def _notes(comparison: Comparison) -> list[str]:
    a, b = comparison.sides
    notes: list[str] = []
    if comparison.rounds_differ:
        notes.append(f"{LAST} is round {a.results.rounds} in A and round {b.results.rounds} in B.")
    if a.profile.eta_reading != b.profile.eta_reading:
        notes.append("The two read η in different units (eta_reading): under the same η they perturb differently.")
    return notes


def _parts(comparison: Comparison) -> list[_Part]:
    parts = [_verdicts(comparison)]
    for title, rows in (
        ("Settings that differ", comparison.settings),
        ("Images and code that differ", comparison.origins),
    ):
        if rows:
            parts.append(_Part(title, ("name", "A", "B"), rows))
    differing = [pair for pair in comparison.pairs if pair.differs]
    if differing:
        rows = tuple((f"{pair.table}", pair.eta, *_pair(pair)) for pair in differing)
        parts.append(_Part("Cells that differ", ("table", "η", *PAIR), rows))
    one_row = {comparison.sides[0].results.experiment.printed(kind) for kind in (1, 2)}  # which the etas share
    for (which, eta), pairs in groupby(
        comparison.pairs, key=lambda pair: (pair.table, None if pair.table in one_row else pair.eta)
    ):
        if eta is None:
            rows = tuple((pair.eta or DASH, *_pair(pair)) for pair in pairs)
            parts.append(_Part(f"Table {which}", ("η", *PAIR), rows))
        else:
            parts.append(_Part(f"Table {which}, η = {eta}", PAIR, tuple(map(_pair, pairs))))
    return parts


def _verdicts(comparison: Comparison) -> _Part:
    columns = ("claim", "here: A", "B", "over seeds: A", "B", "paper", "")
    rows = tuple(
        (claim.claim, *claim.here, *claim.over_seeds, claim.paper, DIFFERS if claim.differs else "")
        for claim in comparison.verdicts
    )
    return _Part("Verdicts", columns, rows)


def _pair(pair: Pair) -> tuple[str, ...]:
    known = pair.difference is not None
    difference = f"{pair.difference:+.3f} ({pair.standard_error:.3f})" if known else DASH
    paper = DASH if pair.paper is None else f"{pair.paper:.3f}"
    return (pair.row, pair.column, *map(_cell, pair.cells), difference, paper, DIFFERS if pair.differs else "")


def _cell(cell: Cell | None) -> str:
    return f"{number(cell)} ({len(cell.by_seed)})" if cell is not None and cell.by_seed else DASH
