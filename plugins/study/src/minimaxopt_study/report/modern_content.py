"""The content of the report about modern attacks, as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minimaxopt_study.formatting import DASH
from minimaxopt_study.paper.names import ANOTHER, NO_DEFENSE, adv
from minimaxopt_study.results.modern_worst_case import falling_rows
from minimaxopt_study.results.tables import WORST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minimaxopt_study.results.gather import Results
    from minimaxopt_study.results.modern_worst_case import ErrorRate, WorstCase


def modern(cases: Sequence[WorstCase], results: Results) -> dict[str, Any]:
    """Return each row's three worst errors with its flags, and the settings of the attacks."""
    settings: dict[str, str] = {}
    for case in cases:
        settings |= case.settings
    column = f"transfer from {ANOTHER}"
    if column in settings:
        settings[column] += ", where it is the undefended classifier, and Adv FGSM1 for the undefended itself"
    return {
        "blocks": [
            {"eta": eta, "rows": [_worst_row(case) for case in cases if case.eta == eta]}
            for eta in dict.fromkeys(case.eta for case in cases)
        ],
        "settings": list(settings.items()),
        "falling": falling_rows(results),
        "flags": [
            {"row": case.row, "eta": case.eta, "name": flag.name, "sentence": flag.sentence,
             "seed": seed if len(case.flags) > 1 else None}
            for case in cases for seed, flags in case.flags.items() for flag in flags if flag.raised
        ],
    }  # fmt: skip


def modern_blocks(
    results: Results, kind: int, table: Mapping[str, Any], cases: Sequence[WorstCase]
) -> list[dict[str, Any]]:
    """Return the columns of the modern attacks on the rows of a table, for each eta."""
    own = {1: (NO_DEFENSE,), 2: (adv(1),)}
    blocks: list[dict[str, Any]] = []
    for eta in results.eta:
        rows = own[kind] if kind < 3 else tuple(table["eta"][f"{eta:g}"])
        attacked = sorted(
            (case for case in cases if case.eta == eta and case.row in rows), key=lambda o: rows.index(o.row)
        )
        if attacked:
            blocks.append({"eta": eta, **_modern_block(attacked)})
    return blocks


def _modern_block(cases: Sequence[WorstCase]) -> dict[str, Any]:
    columns = list(
        dict.fromkeys(column for case in cases for column in case.columns if column not in ("clean", "FGSM"))
    )
    images = {column: measured.as_json()["images"] for case in cases for column, measured in case.columns.items()}
    return {
        "columns": [f"{column} ({images[column]:,})" for column in columns],
        "rows": [
            {
                "name": case.row,
                "cells": [_modern_cell(case.columns.get(column), worst=column == WORST) for column in columns],
            }
            for case in cases
        ],
    }


def _modern_cell(measured: ErrorRate | None, *, worst: bool = False) -> dict[str, Any]:
    return {"here": rate(measured), "interval": between(measured), "worst": worst}


def _worst_row(case: WorstCase) -> dict[str, str]:
    auto = case.columns.get("AutoAttack")
    return {
        "name": case.row,
        "printed": DASH if case.printed is None else f"{case.printed:.3f}",
        "here": DASH if case.here is None else f"{case.here:.3f}",
        "today": rate(case.worst),
        "interval": between(case.worst),
        "gap": DASH if case.gap is None else f"{case.gap:+.3f}",
        "auto": rate(auto) if auto is not None else "not run",
        "auto_interval": between(auto),
        "flags": ", ".join(case.raised) or "none",
    }


def modern_sentences(cases: Sequence[WorstCase], results: Results) -> list[str]:
    """Return the sentences about modern attacks."""
    known = [case for case in cases if case.here is not None]
    if not known:
        return []
    widest = max(known, key=lambda case: case.gap or 0.0)
    best = [min((case for case in known if case.eta == eta), key=lambda case: case.worst.mean)
            for eta in dict.fromkeys(case.eta for case in known)]  # fmt: skip
    images = widest.worst.as_json()["images"]
    larger = sum((case.gap or 0.0) > 0 for case in known)
    return [
        f"Under the attacks of today, on {images:,} test {results.experiment.many}, the worst error is larger than "
        f"under the paper's attacks (on all {results.test_images:,}) on {larger} of {len(known)} rows; the "
        f"widest gap is that of {widest.row} at η = {widest.eta:g}, from {widest.here:.3f} to "
        f"{widest.worst.mean:.3f}. The lowest worst error that remains is "
        + ", ".join(f"{case.worst.mean:.3f} at η = {case.eta:g} ({case.row})" for case in best)
        + f". Rows on which signs of masked gradients are raised: {sum(bool(case.raised) for case in known)}."
    ]


def rate(measured: ErrorRate | None) -> str:
    """Return an error rate as it is printed, with the deviation over seeds if there are several."""
    if measured is None:
        return DASH
    content = measured.as_json()
    return f"{content['mean']:.3f}" + (f" ± {content['std']:.3f}" if content["std"] is not None else "")


def between(measured: ErrorRate | None) -> str:
    """Return the interval of one seed's error rate."""
    if measured is None or measured.interval is None:
        return ""
    low, high = measured.interval
    return f"{low:.3f} to {high:.3f}"
