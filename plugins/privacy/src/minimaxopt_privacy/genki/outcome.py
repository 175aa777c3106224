"""Outcome of the GENKI comparison: chosen settings and test scores, and the JSON file that holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias, final

from minimaxopt.plugins import read_json, write_json
from minimaxopt_privacy.genki.protocol import Protocol

Comparison: TypeAlias = tuple[str, int]
"""A method and a dimension."""


@final
@dataclass(frozen=True)
class Choice:
    """Candidate that cross-validation chose for a method at a dimension.

    Attributes:
        settings: of the filter, ``rho`` among them.
        useful: its mean utility over the folds.
        leakage: its mean leakage over the folds.
        tried: settings, utility and leakage of every candidate.
    """

    settings: Mapping[str, Any]
    useful: float
    leakage: float
    tried: Sequence[Mapping[str, Any]]


@final
@dataclass(frozen=True)
class Outcome:
    """Result of the comparison.

    Attributes:
        protocol: its settings.
        choices: the chosen candidates.
        scores: evaluations on the test faces, one for each seed.
        fingerprint: of the data.
        looks: how many different settings of a method were ever scored on the test faces in this folder: 1, unless the
            test faces were used for choosing.
    """

    protocol: Protocol
    choices: Mapping[Comparison, Choice]
    scores: Mapping[Comparison, Sequence[Mapping[str, Any]]]
    fingerprint: str
    looks: Mapping[Comparison, int]


def write(outcome: Outcome, out: str | Path, provenance: Mapping[str, Any]) -> None:
    """Write an outcome into the folder's ``genki.json``, from which ``read`` reads it.

    Args:
        outcome: the outcome.
        out: the folder.
        provenance: further entries of the file, such as the environment.

    Raises:
        StoreError: the file cannot be written.
    """
    content = {
        **provenance,
        "fingerprint": outcome.fingerprint,
        "protocol": asdict(outcome.protocol),
        "choices": choice_rows(outcome.choices),
        "places": [
            {"method": m, "dimension": d, "looks": outcome.looks[m, d], "scores": list(evaluations)}
            for (m, d), evaluations in outcome.scores.items()
        ],
    }
    write_json(Path(out) / "genki.json", content)


def read(out: str | Path) -> Outcome:
    """Return the outcome in a folder's ``genki.json``.

    Raises:
        StoreError: the file cannot be read.
    """
    content = read_json(Path(out) / "genki.json")
    protocol: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in content["protocol"].items()
    }
    choices = {
        (row["method"], row["dimension"]): Choice(row["settings"], row["useful"], row["leakage"], row["tried"])
        for row in content["choices"]
    }
    scored = {(row["method"], row["dimension"]): row for row in content["places"]}
    return Outcome(
        Protocol(**protocol),
        choices,
        {comparison: row["scores"] for comparison, row in scored.items()},
        content["fingerprint"],
        {comparison: row["looks"] for comparison, row in scored.items()},
    )


def choice_rows(choices: Mapping[Comparison, Choice]) -> list[dict[str, Any]]:
    """Return the chosen candidates as plain values for JSON."""
    return [{"method": m, "dimension": d, **asdict(choice)} for (m, d), choice in choices.items()]


def best_candidate(candidates: Sequence[Mapping[str, Any]], target: float) -> Mapping[str, Any]:
    """Return the candidate of least leakage among those that reach the target; failing all, that of most utility.

    >>> rows = [{"useful": 0.95, "leakage": 0.8}, {"useful": 0.9, "leakage": 0.6}, {"useful": 0.7, "leakage": 0.5}]
    >>> best_candidate(rows, 0.88)["useful"], best_candidate(rows, 0.99)["useful"]
    (0.9, 0.95)
    """
    useful = [row for row in candidates if row["useful"] >= target]
    if useful:
        return min(useful, key=lambda row: row["leakage"])
    return max(candidates, key=lambda row: row["useful"])
