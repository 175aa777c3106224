"""The content of the report as plain data, for the Markdown and the HTML template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minimaxopt_study.formatting import DASH, clock
from minimaxopt_study.paper import printed as paper
from minimaxopt_study.paper.names import NO_DEFENSE, adv
from minimaxopt_study.report.modern_content import modern_blocks
from minimaxopt_study.results.tables import WORST, WORST_OF_ALL, Cell
from minimaxopt_study.results.verdicts import Judgement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minimaxopt_study.results.gather import Results
    from minimaxopt_study.results.margins import Margin
    from minimaxopt_study.results.modern_worst_case import WorstCase


def number(cell: Cell) -> str:
    """Return a cell as it is printed: the mean, and the deviation over seeds if there are several.

    Examples:
        >>> number(Cell({0: 0.25}, 0.3)), number(Cell({0: 0.2, 1: 0.4}, None)), number(Cell({}, 0.1))
        ('0.250', '0.300 ± 0.141', '–')
    """
    content = cell.as_json()
    if content["mean"] is None:
        return DASH
    return f"{content['mean']:.3f}" + (f" ± {content['std']:.3f}" if content["std"] is not None else "")


def tables(results: Results, built: Mapping[int, Mapping[str, Any]],
           cases: Sequence[WorstCase] = ()) -> list[dict[str, Any]]:  # fmt: skip
    """Return all tables in blocks of one eta each, with the errors under modern attacks on the same rows."""
    return [
        (_flat if kind < 3 else _blocks)(results, kind, built[kind])
        | {"modern": modern_blocks(results, kind, built[kind], cases)}
        for kind in built
    ]


def _flat(results: Results, kind: int, table: Mapping[str, Any]) -> dict[str, Any]:
    row, defence = table["rows"][0], NO_DEFENSE if kind == 1 else adv(1)
    attack = "FGSM-curr" if kind == 1 else "FGSM1"
    clean = table["values"]["clean"]
    columns, cells = [], []
    if isinstance(clean, Cell):
        columns.append("No attack")
        cells.append(_cell(results, clean, defence, results.eta[0], "No attack"))
    for eta in results.eta:
        if not isinstance(clean, Cell):
            columns.append(f"No attack, η = {eta:g}")
            cells.append(_cell(results, table["clean by eta"][f"{eta:g}"], defence, eta, "No attack"))
        columns.append(f"FGSM, η = {eta:g}")
        cells.append(_cell(results, table["values"]["FGSM"][f"{eta:g}"], defence, eta, attack))
    blocks = [{"eta": None, "columns": columns, "rows": [{"name": row, "cells": cells}]}]
    return _table(results, kind, table, blocks)


def _blocks(results: Results, kind: int, table: Mapping[str, Any]) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = []
    for eta in results.eta:
        rows = table["eta"][f"{eta:g}"]
        columns = list(next(iter(rows.values())))
        blocks.append(
            {
                "eta": eta,
                "columns": columns,
                "rows": [
                    {
                        "name": row,
                        "cells": [_cell(results, cell, row, eta, column, kind) for column, cell in cells.items()],
                    }
                    for row, cells in rows.items()
                ],
            }
        )
    return _table(results, kind, table, blocks)


def _table(results: Results, kind: int, table: Mapping[str, Any], blocks: list[dict[str, Any]]) -> dict[str, Any]:
    number = results.experiment.printed(kind)
    return {
        "number": number,
        "title": table["title"],
        "blocks": blocks,
        "here": list(table.get("here", [])),
        "printed": paper.notes(number),
    }


def _cell(results: Results, cell: Cell, row: str, eta: float, column: str, kind: int = 0) -> dict[str, Any]:
    maximum = column in (WORST, WORST_OF_ALL)
    # The maxima of Tables 4 and 5 rest on attack networks too.
    cost = results.costs.get((row, eta, f"{column} with networks" if maximum and kind > 3 else column))
    return {
        "here": number(cell),
        "paper": DASH if cell.paper is None else f"{cell.paper:.3f}",
        "cost": f"{cost.steps:,} steps, {clock(cost.seconds)}" if cost else "",
        "worst": maximum,
    }


def claims(judgements: Sequence[Judgement]) -> list[dict[str, Any]]:
    """Return all claims with the numbers that decide them."""
    return [
        {
            "name": judgement.claim.name,
            "says": judgement.claim.says,
            "test": judgement.claim.test,
            "here": judgement.at_this_scale.value,
            "seeds": judgement.over_seeds.value,
            "paper": judgement.on_paper.value,
            "because": judgement.because,
            "conditions": [_condition(margin) for margin in judgement.margins],
        }
        for judgement in judgements
    ]


def _condition(margin: Margin) -> dict[str, str]:
    numbers = "; ".join(f"{label}: {value:.3f}" for label, value in margin.quantity.numbers)
    known = (
        f"margin {margin.quantity.mean:+.3f}, standard error {margin.quantity.standard_error:.3f}"
        if margin.known
        else ""
    )
    return {"says": margin.says, "verdict": margin.verdict.value, "numbers": numbers, "margin": known}


def attackers(results: Results) -> list[tuple[str, str, str, str]]:
    """Return a row for each fresh attack network: its classifier, training and test error, saturated outputs."""
    rows: list[tuple[str, str, str, str]] = []
    for (defence, eta, seed), values in results.attackers.items():
        row = results.rows[defence, eta, seed]
        against = f"{defence}, η = {eta:g}" + (f", seed {seed}" if len(results.seeds) > 1 else "")
        rows.append(
            (against, f"{row.attnet_train['fresh']:.3f}", f"{row.attnet['fresh']:.3f}", f"{values['saturated']:.0%}")
        )
    return rows
