"""The GENKI comparison as a table and verdicts: our results next to the published ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minimaxopt.plugins import markdown_table
from minimaxopt_privacy.evaluation.scores import wilson
from minimaxopt_privacy.genki.outcome import Outcome
from minimaxopt_privacy.genki.protocol import FIXED_DIMENSION
from minimaxopt_privacy.genki.published import DIMENSIONS, LEAKAGE_GOAL, LINEAR_GOAL, README, STORED, UTILITY_GOAL

TEST_FACES = 200


def interval(share: float) -> tuple[float, float]:
    """Return the 95% Wilson interval of a share of the 200 test faces, which all seeds have in common.

    >>> [round(end, 2) for end in interval(0.6)]
    [0.53, 0.67]
    """
    return wilson(round(share * TEST_FACES), TEST_FACES)


def rows(outcome: Outcome) -> list[dict[str, Any]]:
    """Return the table's rows: means over seeds, standard deviations, intervals and published numbers."""
    table: list[dict[str, Any]] = []
    for (method, dimension), evaluations in outcome.scores.items():
        useful, leakage = (np.array([evaluation[name] for evaluation in evaluations]) for name in ("useful", "leakage"))
        families: dict[str, list[float]] = {}
        for evaluation in evaluations:
            for score in evaluation["private"][0]["scores"]:
                families.setdefault(score["family"], []).append(score["value"])
        base, _, noise = method.partition("+")
        choice = outcome.choices.get((base, dimension))
        table.append(
            {
                "method": method,
                "dimension": dimension,
                "useful": float(useful.mean()),
                "useful_spread": float(useful.std(ddof=1)) if len(useful) > 1 else 0.0,
                "useful_interval": interval(float(useful.mean())),
                "leakage": float(leakage.mean()),
                "leakage_spread": float(leakage.std(ddof=1)) if len(leakage) > 1 else 0.0,
                "leakage_interval": interval(float(leakage.mean())),
                "families": {name: float(np.mean(values)) for name, values in families.items()},
                "seeds": len(evaluations),
                # Noise uses the settings chosen without it, so the scores in validation are of another filter.
                "validated": None if choice is None or noise else {"useful": choice.useful, "leakage": choice.leakage},
                "settings": {} if choice is None else dict(choice.settings),
                "published": _published(method, dimension),
                "looks": outcome.looks[method, dimension],
            }
        )
    return table


def _published(method: str, dimension: int) -> dict[str, tuple[float, float]]:
    """Return smile and gender as published, by source."""
    name = method.partition("@")[0]
    published: dict[str, tuple[float, float]] = {}
    if dimension == DIMENSIONS[0] and name in README:
        published["README"] = README[name]
    if dimension in DIMENSIONS:
        column = DIMENSIONS.index(dimension)
        for stored, (smile, gender) in STORED.items():
            if stored == name or (name in ("linear", "mlp") and stored.startswith("minimax")):
                published[f"file ({stored})" if stored != name else "file"] = (smile[column], gender[column])
    return published


FAMILY_COLUMNS = ("logistic", "rbf-svm", "random-forest", "mlp")


def markdown(outcome: Outcome) -> str:
    """Return the table, a note on how it came about, and the verdicts as Markdown."""
    columns = [
        "method", "d", "smile", "spread", "gender, worst", "spread", *FAMILY_COLUMNS, "by validation",
        "published smile / gender",
    ]  # fmt: skip
    table = rows(outcome)
    protocol = outcome.protocol
    seeds = len(protocol.seeds)
    note = (
        f"Means over {seeds} seed{'s' if seeds > 1 else ''} on {TEST_FACES} test faces, with 95% intervals of the "
        "choice of faces (Wilson) and the standard deviation over seeds; gender by the worst of four fresh attackers, "
        "which errs upward. All settings by cross-validation on the training faces; its means stand in the column before "
        "the last."
    )
    if any(name.endswith(("laplace", "gaussian")) for name in protocol.methods):
        note += f" Noise of ε = {protocol.epsilon:g}; after a filter it takes the settings that were chosen without it."
    judged = [f"- {sentence}" for sentence in verdicts(table)]
    return "\n".join([markdown_table(columns, map(_cells, table)), "", note, "", *judged]) + "\n"


def _cells(row: Mapping[str, Any]) -> list[str]:
    """Return a row of the Markdown table."""
    useful, leakage = (
        f"{row[name]:.3f} [{row[f'{name}_interval'][0]:.2f}, {row[f'{name}_interval'][1]:.2f}]"
        for name in ("useful", "leakage")
    )
    validated = row["validated"]
    return [
        row["method"] + ("" if row["looks"] == 1 else f" (test faces scored with {row['looks']} settings)"),
        "any" if row["method"] in FIXED_DIMENSION else str(row["dimension"]),
        useful,
        f"{row['useful_spread']:.3f}",
        leakage,
        f"{row['leakage_spread']:.3f}",
        *(f"{row['families'][name]:.3f}" if name in row["families"] else "" for name in FAMILY_COLUMNS),
        "" if validated is None else f"{validated['useful']:.3f} / {validated['leakage']:.3f}",
        "; ".join(f"{source} {smile:.3f} / {gender:.3f}" for source, (smile, gender) in row["published"].items()),
    ]


def verdicts(table: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each row that has a goal: reached, missed, or undecided within 95% intervals.

    >>> row = {"method": "mlp", "dimension": 10, "useful": 0.9, "leakage": 0.5, "leakage_interval": (0.43, 0.57)}
    >>> verdicts([{**row, "useful_interval": (0.85, 0.93)}])[0].split(":")[-1].strip()
    'reached, and below the whole range.'
    """
    sentences: list[str] = []
    goals = {"mlp": (UTILITY_GOAL, LEAKAGE_GOAL[0]), "linear": LINEAR_GOAL}
    for row in table:
        base = row["method"].partition("@")[0]
        if base not in goals:
            continue
        useful, leakage = goals[base]
        name = f"{row['method']}, d = {row['dimension']} (goal: smile {useful}, gender under {leakage})"
        excess = row["useful"] - useful
        linear = row.get("families", {}).get("logistic")
        if linear is not None:
            name += f"; by a softmax attacker alone, the study's, the gender is read with {linear:.3f}"
        if row["useful_interval"][1] < useful:
            sentences.append(f"{name}: missed, the smile by {-excess:.3f}.")
        elif row["leakage_interval"][0] > leakage:
            sentences.append(f"{name}: missed, the gender by {row['leakage'] - leakage:.3f}.")
        elif excess >= 0 and row["leakage_interval"][1] < leakage:
            sentences.append(f"{name}: reached, and below the whole range.")
        else:
            distance = f"smile {excess:+.3f}, gender {row['leakage'] - leakage:+.3f}"
            sentences.append(f"{name}: {distance} from the goal, which {TEST_FACES} faces do not tell apart.")
    return sentences
