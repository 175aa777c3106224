"""The pages of a bench: tables in Markdown, from the stored cells alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from minimaxopt.testing import KnownGame, known_game
from minimaxopt_bench.cells import RULE, Cell
from minimaxopt_bench.kbeam_table import Protocol
from minimaxopt_bench.outcomes import RULES
from minimaxopt_bench.published import KBEAM, KBEAM_COLUMNS, KBEAM_SOURCE
from minimaxopt_bench.settings import CLASSES, EXCLUDED, FOLLOWER_RATES, NO_SOLUTION, VARIANTS, Settings, written
from minimaxopt_bench.summary import Cells, Standing, by_class, by_setting, standings

_WIDE = 8
"""Games in one table."""
_SHOWN = {"stationary": "stationary", "cycle": "cycle", "slow": "slow", "divergence": "diverges"}


def index(cells: Cells, settings: Settings, about: Mapping[str, Any], *, portraits: bool, kbeam: bool) -> str:
    """Return the page with the rules, the summary and the tables.

    Args:
        cells: the cells by solver and game.
        settings: what they were run with.
        about: command and versions.
        portraits: whether there is a page of portraits to link to.
        kbeam: whether there is the page of the published comparison.
    """
    ranked = standings(cells)
    games = by_class(list(dict.fromkeys(game for _, game in cells)))
    lines = ["# Every solver on every game", "", _what(cells, settings, about), "", "![The outcome of every solver on every game]"
             "(summary.png)", ""]  # fmt: skip
    links = [*["[Phase portraits](portraits.md)"] * portraits, *["[K-beam's published table](kbeam.md)"] * kbeam]
    if links:
        lines += [f"See also: {', '.join(links)}. All numbers: [results.json](results.json).", ""]
    lines += ["## Summary", "", *_summary(ranked, games), ""]
    lines += [*_settings(cells), "## Rules", "", *_rules(settings), ""]
    for name, held in games.items():
        lines += [f"## Games: {name}", "", CLASSES[name], ""]
        for first in range(0, len(held), _WIDE):
            lines += [*_outcomes(cells, ranked, held[first : first + _WIDE]), ""]
    lines += ["## The games", "", *_games(games), ""]
    return "\n".join(lines)


def _what(cells: Cells, settings: Settings, about: Mapping[str, Any]) -> str:
    solvers, games = (len({key[i] for key in cells}) for i in (0, 1))
    versions = ", ".join(f"{name} {about['environment'][name]}" for name in ("minimaxopt", "torch", "python"))
    return (
        f"{solvers} solvers on {games} games with known answers, from {settings.starts} random starts each. Made by "
        f"`{about['command']}` ({versions}; {about['environment']['machine']}, processes of one thread, float64). A number "
        "is the median of the gradient evaluations after which the runs are at a minimax point and stay there; a word says "
        "where most runs end otherwise."
    )


def _summary(ranked: Sequence[Standing], games: Mapping[str, Sequence[str]]) -> Iterator[str]:
    classes = [name for name in games if name != NO_SOLUTION]
    yield (
        "On how many games at least half of the starts end at a minimax point, by class of game; the mean share of starts; "
        "the cost, which is the median over the games solved of the gradient evaluations over those of the cheapest solver "
        "of the game; on the games solved, how many of the learning rates serve."
    )
    if NO_SOLUTION in games:
        yield (
            "On a game without a minimax point divergence is the right outcome; the last column counts those on which some "
            "run comes to rest all the same."
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
    yield from table([*head, *tail], rows)


def _settings(cells: Cells) -> Iterator[str]:
    rows = [[f"`{setting}`", f"{solved} of {of}"] for setting, solved, of in by_setting(cells)]
    if rows:
        yield "Solvers with several settings, each setting alone, from the screening starts:"
        yield ""
        yield from table(["setting", "games solved"], rows)
        yield ""


def _rules(settings: Settings) -> Iterator[str]:
    rates = ", ".join(map(str, settings.rates))
    yield (
        f"Both players move by plain SGD at one learning rate, of {rates} (t = 1, 2, ...), the same choice for every solver. "
        f"The followers of {' and '.join(f'`{name}`' for name in FOLLOWER_RATES)} make Newton steps, at rate 1. "
        "Solvers have their default settings, and a few others beside them: "
        + ", ".join(f"`{written(name, given)}`" for name, held in VARIANTS.items() for given in held if given)
        + f". Starts are drawn uniformly from each game's domain or box (seeds {settings.seed} to "
        f"{settings.seed + settings.starts - 1}); {settings.screening} of them screen settings and rates. " + RULE
    )
    yield ""
    yield (
        f"A run has at most {settings.steps} steps and {settings.evaluations} gradient evaluations, as the solver counts "
        "them: one for each evaluation of the gradients of one player or both, one for each product with a block of the "
        "Hessian. It ends early when it has stayed at a minimax point for "
        f"{settings.stay} steps, has come to rest (projected gradients below {settings.stationary:g}, or no more moves) or "
        f"lies farther out than {settings.radius:g} times half the width of the game's box. The tolerance is "
        f"{settings.tolerance:g}."
    )
    yield ""
    yield from (f"- **{_SHOWN.get(name, name)}**: {text}." for name, text in RULES.items())
    if EXCLUDED:
        yield ""
        yield "Not compared: " + "; ".join(f"`{name}` ({why})" for name, why in EXCLUDED.items()) + "."


def _outcomes(cells: Cells, ranked: Sequence[Standing], games: Sequence[str]) -> Iterator[str]:
    solvers = [standing.solver for standing in ranked]
    best = {game: min(_full(cells[solver, game]) for solver in solvers) for game in games}
    rows = [
        [f"`{solver}`", *(_text(cells[solver, game], _full(cells[solver, game]) == best[game]) for game in games)]
        for solver in solvers
    ]
    yield from table(["solver", *games], rows)


def _full(cell: Cell) -> float:
    reached, of = cell.share
    return cell.evaluations if cell.best is not None and reached == of else math.inf


def _text(cell: Cell, bold: bool) -> str:
    if not cell.trials:
        return "refused"
    reached, of = cell.share
    if cell.best is None:
        return _SHOWN[cell.ending or "slow"]
    number = f"**{cell.evaluations:.0f}**" if bold and reached == of else f"{cell.evaluations:.0f}"
    return number if reached == of else f"{number} ({reached}/{of})"


def _games(games: Mapping[str, Sequence[str]]) -> Iterator[str]:
    def value(known: KnownGame) -> str:
        both = [f"{x:.4g}".replace("inf", "∞") for x in (known.minimax_value, known.maximin_value)]
        return " / ".join(both)

    rows = [
        [game, escaped(known_game(game).formula), name, value(known_game(game)), escaped(known_game(game).source)]
        for name, held in games.items()
        for game in held
    ]
    yield from table(["game", "risk and domain", "class", "minimax / maximin value", "source"], rows)


def portraits(games: Sequence[str]) -> str:
    """Return the page of the phase portraits of these games."""
    lines = [
        "# Phase portraits",
        "",
        "The flow of descent-ascent over contours of the risk, and the ways of a few solvers from the same start (hollow "
        "circle) to where they end (filled), each at its smallest rate with the ending that is typical for it. A star marks "
        "minimax points, a cross points that only look like solutions. Games of more than two numbers are drawn on the "
        "slice through a minimax point and the start: 0 is the minimax point, 1 the start, and flow and ways are projected "
        "on it, so that lines may cross, and end beside the star where minimax points form a curve. Thin lines are jumps: "
        "K-beam shows the strongest of its followers.",
        "",
    ]
    for name, held in by_class(games).items():
        lines += [f"## {name}", "", CLASSES[name], ""]
        for game in held:
            known = known_game(game)
            lines += [f"### {game}", "", f"{escaped(known.formula)}. {escaped(known.why)}", ""]
            lines += [f"![Phase portrait of {game}](portraits/{game}.png)", ""]
    return "\n".join(lines)


def kbeam(found: Mapping[str, Mapping[str, tuple[float, float]]], protocol: Protocol, about: Mapping[str, Any]) -> str:
    """Return the page that puts the published K-beam table beside ours.

    Args:
        found: mean and deviation by surface and column.
        protocol: how they were found.
        about: command and versions.
    """
    versions = ", ".join(f"{name} {about['environment'][name]}" for name in ("minimaxopt", "torch", "python"))
    lines = [
        "# K-beam's published table, repeated",
        "",
        f"Mean and deviation of |u - u*|, the distance from the nearest minimax leader, after {protocol.steps} projected "
        f"steps of size 0.1/√t, over {protocol.trials} trials; u and ten v of each trial are drawn uniformly from "
        f"[{protocol.low:g}, {protocol.high:g}] (seed {protocol.seed}), and every column begins with the first of these v. "
        f"Published figures: {KBEAM_SOURCE}. Made by `{about['command']}` ({versions}).",
        "",
    ]
    rows: list[list[str]] = []
    for surface in KBEAM:
        here = found.get(surface, {})
        formula = escaped(known_game(surface).formula.partition(", |u|")[0])
        rows.append([f"{surface}: {formula}", "published", *map(_spread, KBEAM[surface])])
        rows.append(["", "here", *(_spread(here.get(column)) for column in KBEAM_COLUMNS)])
    return "\n".join([*lines, *table(["surface", "", *KBEAM_COLUMNS], rows), ""])


def _spread(pair: tuple[float, float] | None) -> str:
    if pair is None:
        return "not run"
    mean, deviation = (f"{x:.3f}".removeprefix("0") for x in pair)
    return mean if float(deviation) == 0 else f"{mean} ± {deviation}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown.

    >>> print(*table(["a", "b"], [["1", "2"]]), sep=chr(10))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def escaped(text: str) -> str:
    r"""Return text that Markdown shows as it is.

    >>> print(escaped("|u| <= 1, x_i * y"))
    \|u\| &lt;= 1, x\_i \* y
    """
    for sign in "\\|*_[]":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("<", "&lt;")
