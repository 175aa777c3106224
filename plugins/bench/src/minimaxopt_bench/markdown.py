"""Pages of the comparison in Markdown, written from the stored cells alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from minimaxopt.plugins import markdown_table
from minimaxopt.testing import KnownGame, known_game
from minimaxopt_bench.cells import SELECTION_RULE, Cell
from minimaxopt_bench.kbeam_table import KBeamTable, Protocol
from minimaxopt_bench.outcomes import RULES
from minimaxopt_bench.published import KBEAM, KBEAM_COLUMNS, KBEAM_SOURCE
from minimaxopt_bench.settings import CLASSES, EXCLUDED, FOLLOWER_RATES, NO_SOLUTION, VARIANTS, Settings, solver_label
from minimaxopt_bench.summary import Cells, Standing, by_class, by_setting, standings

_TABLE_WIDTH = 8
"""Games in one table."""
_ENDING_TEXT = {"stationary": "stationary", "cycle": "cycle", "slow": "slow", "divergence": "diverges"}


def index_page(cells: Cells, settings: Settings, provenance: Mapping[str, Any], *, portraits: bool, kbeam: bool) -> str:
    """Return the page with the rules, the summary and the tables.

    Args:
        cells: cells by solver and game.
        settings: settings of the comparison.
        provenance: command and environment.
        portraits: whether to link to the page of portraits.
        kbeam: whether to link to the page of the published comparison.
    """
    ranked = standings(cells)
    games = by_class(list(dict.fromkeys(game for _, game in cells)))
    lines = ["# Every solver on every game", "", _introduction(cells, settings, provenance), ""]
    lines += ["![The outcome of every solver on every game](summary.png)", ""]
    links = [*["[Phase portraits](portraits.md)"] * portraits, *["[K-beam's published table](kbeam.md)"] * kbeam]
    if links:
        lines += [f"See also: {', '.join(links)}. All numbers: [results.json](results.json).", ""]
    lines += ["## Summary", "", *_summary(ranked, games), ""]
    lines += [*_settings(cells), "## Rules", "", *_rules(settings), ""]
    for name, members in games.items():
        lines += [f"## Games: {name}", "", CLASSES[name], ""]
        for first in range(0, len(members), _TABLE_WIDTH):
            lines += [_outcomes(cells, ranked, members[first : first + _TABLE_WIDTH]), ""]
    lines += ["## The games", "", _games(games), ""]
    return "\n".join(lines)


def _versions(provenance: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {provenance['environment'][name]}" for name in ("minimaxopt", "torch", "python"))


def _introduction(cells: Cells, settings: Settings, provenance: Mapping[str, Any]) -> str:
    solvers, games = (len({pair[i] for pair in cells}) for i in (0, 1))
    machine = provenance["environment"]["machine"]
    return (
        f"{solvers} solvers on {games} games with known answers, from {settings.starts} random starts each. Made by "
        f"`{provenance['command']}` ({_versions(provenance)}; {machine}, processes of one thread, float64). A number "
        "is the median of the gradient evaluations after which the runs are at a minimax point and stay there; a word "
        "says where most runs end otherwise."
    )


def _summary(ranked: Sequence[Standing], games: Mapping[str, Sequence[str]]) -> Iterator[str]:
    classes = [name for name in games if name != NO_SOLUTION]
    yield (
        "On how many games at least half of the starts end at a minimax point, by class of game; the mean share of "
        "starts; the cost, which is the median over the games solved of the gradient evaluations over those of the "
        "cheapest solver of the game; on the games solved, how many of the learning rates serve."
    )
    if NO_SOLUTION in games:
        yield (
            "On a game without a minimax point divergence is the right outcome; the last column counts those on which "
            "some run comes to rest all the same."
        )
    yield ""
    head = ["solver", *(f"{name} ({len(games[name])})" for name in classes), "all", "share of starts", "cost", "rates"]
    tail = [f"fooled ({len(games[NO_SOLUTION])})"] if NO_SOLUTION in games else []
    rows = [
        [
            f"`{s.solver}`",
            *(str(s.solved[name][0]) for name in classes),
            f"**{s.total[0]}**",
            f"{s.share:.0%}",
            "" if math.isinf(s.cost) else f"{s.cost:.1f}",
            f"{s.rates:.1f}" if s.total[0] else "",
            *([str(s.fooled[0])] if tail else []),
        ]
        for s in ranked
    ]
    yield markdown_table([*head, *tail], rows)


def _settings(cells: Cells) -> Iterator[str]:
    rows = [[f"`{setting}`", f"{solved} of {played}"] for setting, solved, played in by_setting(cells)]
    if rows:
        yield "Solvers with several settings, each setting alone, from the screening starts:"
        yield ""
        yield markdown_table(["setting", "games solved"], rows)
        yield ""


def _rules(settings: Settings) -> Iterator[str]:
    rates = ", ".join(map(str, settings.rates))
    labels = [f"`{solver_label(name, variant)}`" for name, tried in VARIANTS.items() for variant in tried if variant]
    yield (
        f"Both players move by plain SGD at one learning rate, of {rates} (t = 1, 2, ...), the same choice for every "
        f"solver. The followers of {' and '.join(f'`{name}`' for name in FOLLOWER_RATES)} make Newton steps, at rate "
        f"1. Solvers have their default settings, and a few others beside them: {', '.join(labels)}. Starts are "
        f"drawn uniformly from each game's domain or box (seeds {settings.seed} to "
        f"{settings.seed + settings.starts - 1}); {settings.screening} of them screen settings and rates. "
        f"{SELECTION_RULE}"
    )
    yield ""
    yield (
        f"A run has at most {settings.steps} steps and {settings.evaluations} gradient evaluations, as the solver "
        "counts them: one for each evaluation of the gradients of one player or both, one for each product with a "
        "block of the Hessian. It ends early when it has stayed at a minimax point for "
        f"{settings.stay} steps, has come to rest (projected gradients below {settings.stationary:g}, or no more "
        f"moves) or lies farther out than {settings.radius:g} times half the width of the game's box. The tolerance is "
        f"{settings.tolerance:g}."
    )
    yield ""
    yield from (f"- **{_ENDING_TEXT.get(name, name)}**: {text}." for name, text in RULES.items())
    if EXCLUDED:
        yield ""
        yield "Not compared: " + "; ".join(f"`{name}` ({why})" for name, why in EXCLUDED.items()) + "."


def _outcomes(cells: Cells, ranked: Sequence[Standing], games: Sequence[str]) -> str:
    solvers = [standing.solver for standing in ranked]
    cheapest = {game: min(_cost(cells[solver, game]) for solver in solvers) for game in games}
    rows = [
        [f"`{solver}`", *(_text(cells[solver, game], _cost(cells[solver, game]) == cheapest[game]) for game in games)]
        for solver in solvers
    ]
    return markdown_table(["solver", *games], rows)


def _cost(cell: Cell) -> float:
    """Return the evaluations of a cell whose judged runs all end at a minimax point; infinity for any other."""
    reached, total = cell.share
    return cell.evaluations if cell.best is not None and reached == total else math.inf


def _text(cell: Cell, bold: bool) -> str:
    if not cell.trials:
        return "refused"
    reached, total = cell.share
    if cell.best is None:
        return _ENDING_TEXT[cell.ending or "slow"]
    number = f"**{cell.evaluations:.0f}**" if bold and reached == total else f"{cell.evaluations:.0f}"
    return number if reached == total else f"{number} ({reached}/{total})"


def _games(games: Mapping[str, Sequence[str]]) -> str:
    def row(known: KnownGame, name: str) -> list[str]:
        values = " / ".join(f"{x:.4g}".replace("inf", "∞") for x in (known.minimax_value, known.maximin_value))
        return [known.name, escape_markdown(known.formula), name, values, escape_markdown(known.source)]

    rows = [row(known_game(game), name) for name, members in games.items() for game in members]
    return markdown_table(["game", "risk and domain", "class", "minimax / maximin value", "source"], rows)


def portraits_page(games: Sequence[str]) -> str:
    """Return the page of the phase portraits of these games."""
    lines = [
        "# Phase portraits",
        "",
        "The flow of descent-ascent over contours of the risk, and the ways of a few solvers from the same start "
        "(hollow circle) to where they end (filled), each at its smallest rate with the ending that is typical for it. "
        "A star marks minimax points, a cross points that only look like solutions. Games of more than two numbers are "
        "drawn on the slice through a minimax point and the start: 0 is the minimax point, 1 the start, and flow and "
        "ways are projected on it, so that lines may cross, and end beside the star where minimax points form a curve. "
        "Thin lines are jumps: K-beam shows the strongest of its followers.",
        "",
    ]
    for name, members in by_class(games).items():
        lines += [f"## {name}", "", CLASSES[name], ""]
        for game in members:
            known = known_game(game)
            lines += [f"### {game}", "", f"{escape_markdown(known.formula)}. {escape_markdown(known.why)}", ""]
            lines += [f"![Phase portrait of {game}](portraits/{game}.png)", ""]
    return "\n".join(lines)


def kbeam_page(table: KBeamTable, protocol: Protocol, provenance: Mapping[str, Any]) -> str:
    """Return the page that compares the K-beam table with the published one.

    Args:
        table: mean and standard deviation of ``|u - u*|`` by surface and column.
        protocol: protocol by which the table was computed.
        provenance: command and environment.
    """
    lines = [
        "# K-beam's published table, repeated",
        "",
        f"Mean and deviation of |u - u*|, the distance from the nearest minimax leader, after {protocol.steps} "
        f"projected steps of size 0.1/√t, over {protocol.trials} trials; u and ten v of each trial are drawn uniformly "
        f"from [{protocol.low:g}, {protocol.high:g}] (seed {protocol.seed}), and every column begins with the first of "
        f"these v. Published figures: {KBEAM_SOURCE}. Made by `{provenance['command']}` ({_versions(provenance)}).",
        "",
    ]
    rows: list[list[str]] = []
    for surface in KBEAM:
        formula = escape_markdown(known_game(surface).formula.partition(", |u|")[0])
        rows.append([f"{surface}: {formula}", "published", *map(_spread, KBEAM[surface])])
        rows.append(["", "here", *(_spread(table[surface][column]) for column in KBEAM_COLUMNS)])
    return "\n".join([*lines, markdown_table(["surface", "", *KBEAM_COLUMNS], rows), ""])


def _spread(pair: tuple[float, float]) -> str:
    mean, deviation = (f"{x:.3f}".removeprefix("0") for x in pair)
    return mean if float(deviation) == 0 else f"{mean} ± {deviation}"


def escape_markdown(text: str) -> str:
    r"""Return text that Markdown shows as it is; vertical bars are left to ``markdown_table``.

    Examples:
        >>> print(escape_markdown("|u| <= 1, x_i * y"))
        |u| &lt;= 1, x\_i \* y
    """
    for sign in "\\*_[]":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("<", "&lt;")
