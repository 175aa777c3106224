"""The content of the report as plain data, for the Markdown and the HTML template."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from minimaxopt_study.formatting import DASH, clock, listed, plural
from minimaxopt_study.paper import printed as paper
from minimaxopt_study.paper.names import ALTERNATING, ANOTHER, LWA, MINIMAX, MINIMAX_GRAD, NO_DEFENSE, adv
from minimaxopt_study.results.margins import Verdict
from minimaxopt_study.results.modern_worst_case import falling_rows
from minimaxopt_study.results.tables import WORST, WORST_OF_ALL, Cell
from minimaxopt_study.results.verdicts import Judgement, gate, gate_passed, in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minimaxopt_study.profiles.profile import Profile
    from minimaxopt_study.results.evidence import Evidence
    from minimaxopt_study.results.gather import Results
    from minimaxopt_study.results.margins import Margin
    from minimaxopt_study.results.modern_worst_case import ErrorRate, WorstCase


def number(cell: Cell) -> str:
    """Return a cell as it is printed: the mean, and the deviation over seeds if there are several.

    >>> number(Cell({0: 0.25}, 0.3)), number(Cell({0: 0.2, 1: 0.4}, None)), number(Cell({}, 0.1))
    ('0.250', '0.300 ± 0.141', '–')
    """
    content = cell.as_json()
    if content["mean"] is None:
        return DASH
    return f"{content['mean']:.3f}" + (f" ± {content['std']:.3f}" if content["std"] is not None else "")


def tables(results: Results, built: Mapping[int, Mapping[str, Any]],
           cases: Sequence[WorstCase] = ()) -> list[dict[str, Any]]:  # fmt: skip
    """Return all tables in blocks of one eta each, with the errors under the attacks of today on the same rows."""
    return [
        (_flat if kind < 3 else _blocks)(results, kind, built[kind])
        | {"modern": _modern_blocks(results, kind, built[kind], cases)}
        for kind in built
    ]


def _modern_blocks(
    results: Results, kind: int, table: Mapping[str, Any], cases: Sequence[WorstCase]
) -> list[dict[str, Any]]:
    """Return the columns of the attacks of today on the rows of a table, for each eta."""
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


def _todays(cases: Sequence[WorstCase], results: Results) -> list[str]:
    """Return the sentences on the attacks of today."""
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


def summary(profile: Profile, data: Mapping[str, Any], results: Results, judgements: Sequence[Judgement],
            evidence: Evidence, cases: Sequence[WorstCase] = ()) -> list[str]:  # fmt: skip
    """Return the report's first sentences."""
    seeds = len(profile.seeds)
    here = Counter(judgement.at_this_scale.value for judgement in judgements)
    over = Counter(judgement.over_seeds.value for judgement in judgements)
    pixels = "[-1, 1]" if profile.eta_reading == "pixels" else "[0, 1]"
    experiment = profile.experiment
    first, last = (experiment.printed(kind) for kind in (1, paper.TABLES))
    lines = [
        f"Profile {profile.name}: every defence of the paper's Tables {first} to {last}, trained on {data['train']:,} "
        f"{experiment.many} and attacked on {data['evaluated']:,} others, at η = {listed(profile.eta)} (pixels in "
        f"{pixels}{_in_pixels(profile, data)}), {profile.rounds} rounds of cat and mouse, {seeds} "
        f"{plural('seed', seeds)}.",
        f"Of the paper's {len(judgements)} claims on {experiment.title}, at this scale {here['holds']} hold, "
        f"{here['fails']} fail and {here['undecided']} are undecided. "
        + (
            "Whether other seeds would say the same is undecided throughout: that takes three."
            if seeds < 3
            else f"Over the {seeds} seeds {over['holds']} hold, {over['fails']} fail and {over['undecided']} are "
            "undecided."
        ),
    ]
    if not data.get("verified", True):
        lines.append(unverified(data))
    lines += _todays(cases, results)
    lines.append(_learned(evidence))
    missing = sum(1 for place in _expected(profile) if place not in results.rows)
    if missing:
        lines.append(f"The study is not complete: {missing} rows of results are missing, shown as {DASH}.")
    return lines


def unverified(data: Mapping[str, Any]) -> str:
    """Return the warning about images that could not be verified."""
    return (
        f"Not the published data: {data['name']}, {data['note']}. The files were taken as they are, on leave "
        "(--allow-unverified-data), and no number here is one on the published images."
    )


def of_255(profile: Profile, data: Mapping[str, Any]) -> dict[float, str]:
    """Return each eta in grey levels of 255, as headings show it; older records do not know that unit."""
    return {eta: f" ({level:g} of 255)" for eta, level in zip(profile.eta, _levels(profile, data), strict=False)}


def _in_pixels(profile: Profile, data: Mapping[str, Any]) -> str:
    levels = _levels(profile, data)
    return f"; of 255 grey levels {listed(levels)}" if levels else ""


def _levels(profile: Profile, data: Mapping[str, Any]) -> list[float]:
    """Return the bounds in grey levels of the files, from 0 to 255."""
    return [round(profile.radius(eta) * data["unit"], 1) for eta in profile.eta] if "unit" in data else []


def _learned(evidence: Evidence) -> str:
    """Return the sentence on whether anything may be concluded from the attack network."""
    conditions = gate(evidence)
    if not all(condition.known for condition in conditions):
        return (
            "No attack network has met the undefended classifier at each η yet, so nothing is concluded: every claim "
            "about attack networks is undecided."
        )
    if not gate_passed(evidence):
        return (
            "The attack network did not attack the undefended classifier well enough at each η, so nothing is "
            "concluded from it: every claim about attack networks is undecided."
        )
    narrow = [condition.says for condition in conditions if condition.verdict is not Verdict.HOLDS]
    return (
        f"The attack network learned to attack: at each η, against the undefended classifier, it "
        f"{in_words(evidence.experiment)}. So its failures elsewhere mean something."
        + (f" This is narrow, by less than two standard errors, in one respect: {'; '.join(narrow)}." if narrow else "")
    )


def _expected(profile: Profile) -> list[tuple[str, float, int]]:
    rows = [NO_DEFENSE, LWA, MINIMAX_GRAD, MINIMAX, ALTERNATING, *(adv(n) for n in range(1, profile.rounds + 1))]
    return [(row, eta, seed) for row in rows for eta in profile.eta for seed in profile.seeds]


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
