"""How two studies side by side are written down: in words, on a terminal, in Markdown."""

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
    """A table: the last column of its rows says whether they differ."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def markdown(found: Comparison) -> str:
    """The comparison as a page of Markdown."""
    lines = [f"# {TITLE}", ""]
    for line in summary(found):
        lines += [line, ""]
    for part in _parts(found):
        rows = (row if row[-1] != DIFFERS else (*row[:-1], f"**{DIFFERS}**") for row in part.rows)
        lines += [f"## {part.title}", "", markdown_table(part.columns, rows), ""]
    return "\n".join(lines)


def show(found: Comparison, console: Console) -> None:
    """Print the comparison: the summary first."""
    for line in summary(found):
        console.print(Text(line))
        console.print()
    for part in _parts(found):
        table = Table(title=Text(part.title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for column in part.columns:
            table.add_column(Text(column))
        for row in part.rows:
            table.add_row(*map(Text, row), style="bold yellow" if row[-1] == DIFFERS else None)
        console.print(table)


def summary(found: Comparison) -> list[str]:
    """The first sentences: what is compared, and how much of it differs."""
    both, differing = len(found.in_both), sum(pair.differs for pair in found.in_both)
    changed = [claim for claim in found.verdicts if claim.differs]
    lines = [f"{letter}: {_described(side)}" for letter, side in zip("AB", found.sides, strict=True)]
    if found.same:
        lines.append("The two do not differ in any number, verdict or setting.")
    lines.append(
        f"Cells: of {len(found.pairs)}, {both} have a number in both studies; of these {differing} differ by more than "
        "two standard errors of the difference. A cell's standard error is that of counting errors on the evaluated "
        "images, or that of the mean over seeds where it is larger; the two studies count as independent. One seed does "
        "not show how much another training would differ, and of cells that are truly alike one in twenty may differ so "
        "by chance. A number that several tables print, such as FGSM-curr, counts in each."
    )
    lines.append(
        f"Verdicts: of {len(found.verdicts)} claims {len(changed)} have another verdict in B than in A"
        + (": " + "; ".join(map(_change, changed)) if changed else "")
        + "."
    )
    settings = len(found.settings)
    lines.append(
        f"Settings: {settings or 'none'} of the profile {'differs' if settings == 1 else 'differ'}.{_from(found)}"
    )
    return lines + _notes(found)


def _described(side: Side) -> str:
    profile, seeds = side.profile, len(side.profile.seeds)
    return (
        f"{side.label}, profile {profile.name}, η = {', '.join(f'{eta:g}' for eta in profile.eta)}, "
        f"{profile.rounds} rounds, {seeds} seed{'s' if seeds > 1 else ''}, {side.data['evaluated']:,} evaluated images."
    )


def _change(claim: Verdicts) -> str:
    kinds = (("at this scale", claim.here), ("over seeds", claim.over_seeds))
    told = (f"{kind} {ours} in A, {theirs} in B" for kind, (ours, theirs) in kinds if ours is not theirs)
    return f"{claim.claim} ({', '.join(told)})"


def _from(found: Comparison) -> str:
    images = any(name == "images" for name, _, _ in found.origins)
    code = sum(name != "images" for name, _, _ in found.origins)
    of_code = f" The code differs for {code} {'kind' if code == 1 else 'kinds'} of task." if code else ""
    return (" The images differ." if images else "") + of_code


def _notes(found: Comparison) -> list[str]:
    a, b = found.sides
    notes: list[str] = []
    if found.rounds_differ:
        notes.append(f"{LAST} is round {a.results.rounds} in A and round {b.results.rounds} in B.")
    if a.profile.eta_reading != b.profile.eta_reading:
        notes.append("The two read η in different units (eta_reading): under the same η they perturb differently.")
    return notes


def _parts(found: Comparison) -> list[_Part]:
    parts = [_verdicts(found)]
    for title, rows in (("Settings that differ", found.settings), ("Images and code that differ", found.origins)):
        if rows:
            parts.append(_Part(title, ("name", "A", "B"), rows))
    differing = [pair for pair in found.pairs if pair.differs]
    if differing:
        rows = tuple((f"{pair.table}", pair.eta, *_pair(pair)) for pair in differing)
        parts.append(_Part("Cells that differ", ("table", "η", *PAIR), rows))
    one_row = {found.sides[0].results.experiment.printed(kind) for kind in (1, 2)}  # which the etas share
    for (which, eta), pairs in groupby(
        found.pairs, key=lambda pair: (pair.table, None if pair.table in one_row else pair.eta)
    ):
        if eta is None:
            rows = tuple((pair.eta or DASH, *_pair(pair)) for pair in pairs)
            parts.append(_Part(f"Table {which}", ("η", *PAIR), rows))
        else:
            parts.append(_Part(f"Table {which}, η = {eta}", PAIR, tuple(map(_pair, pairs))))
    return parts


def _verdicts(found: Comparison) -> _Part:
    columns = ("claim", "here: A", "B", "over seeds: A", "B", "paper", "")
    rows = tuple(
        (claim.claim, *claim.here, *claim.over_seeds, claim.paper, DIFFERS if claim.differs else "")
        for claim in found.verdicts
    )
    return _Part("Verdicts", columns, rows)


def _pair(pair: Pair) -> tuple[str, ...]:
    known = pair.difference is not None
    difference = f"{pair.difference:+.3f} ({pair.standard_error:.3f})" if known else DASH
    paper = DASH if pair.paper is None else f"{pair.paper:.3f}"
    return (pair.row, pair.column, *map(_cell, pair.cells), difference, paper, DIFFERS if pair.differs else "")


def _cell(cell: Cell | None) -> str:
    return f"{number(cell)} ({len(cell.by_seed)})" if cell is not None and cell.by_seed else DASH
