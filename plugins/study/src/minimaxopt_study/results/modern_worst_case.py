"""The worst case under the paper's attacks and under modern ones, for the rows of its tables.

For each row three maxima are sentences apart: over the attacks that the paper's tables print, as printed; over the same
attacks, here; and over modern attacks on the first test images, each image counted once if any of them fools the
classifier. Intervals are Wilson's at 95% for the images attacked; they do not know other trainings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from minimaxopt_study.paper import printed as paper
from minimaxopt_study.paper.names import in_tables

if TYPE_CHECKING:
    from minimaxopt_adversarial import Errors, MaskingFlag
    from minimaxopt_study.results.gather import Attacked, Results, Row

WORST, COVERED = "worst", "worst on AutoAttack's"


@dataclass(frozen=True)
class ErrorRate:
    """An error rate under one of these attacks, from each seed.

    Examples:
        >>> from minimaxopt_adversarial import Errors
        >>> import torch
        >>> ErrorRate({0: Errors(torch.arange(100) < 20)}).as_json()["mean"]
        0.2
    """

    by_seed: Mapping[int, Errors]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return fmean(errors.rate for errors in self.by_seed.values())

    @property
    def interval(self) -> tuple[float, float] | None:
        """Interval of one seed's rate; None for several seeds, whose spread says more."""
        (only, *others) = self.by_seed.values()
        return None if others else only.interval

    def as_json(self) -> dict[str, Any]:
        """Return mean, deviation over seeds, number of seeds, interval and images."""
        rates = [errors.rate for errors in self.by_seed.values()]
        low, high = self.interval or (None, None)
        return {
            "mean": round(fmean(rates), 6),
            "std": round(stdev(rates), 6) if len(rates) > 1 else None,
            "n": len(rates),
            "low": None if low is None else round(low, 6),
            "high": None if high is None else round(high, 6),
            "images": next(iter(self.by_seed.values())).count,
        }


@dataclass(frozen=True)
class WorstCase:
    """One row: its worst error in the paper and here, and its error under each modern attack.

    Args:
        row: the defence.
        eta: the bound.
        printed: the largest error that the paper's tables print for it; None where the paper has no such eta.
        here: the same of this study, averaged over seeds; None where it is not there yet.
        columns: by attack.
        flags: by seed, the signs of masked gradients.
        settings: what each column's attack is, in a line.
    """

    row: str
    eta: float
    printed: float | None
    here: float | None
    columns: Mapping[str, ErrorRate]
    flags: Mapping[int, tuple[MaskingFlag, ...]]
    settings: Mapping[str, str]

    @property
    def worst(self) -> ErrorRate:
        """Error under the strongest attack on each image."""
        return self.columns[WORST]

    @property
    def gap(self) -> float | None:
        """Error here under modern attacks, minus that under the paper's."""
        return None if self.here is None else self.worst.mean - self.here

    @property
    def raised(self) -> tuple[str, ...]:
        """Names of the flags that some seed raises."""
        return tuple(dict.fromkeys(flag.name for flags in self.flags.values() for flag in flags if flag.raised))


def worst_cases(results: Results) -> list[WorstCase]:
    """Return every row that was attacked by today's attacks, by eta and in the order of the tables."""
    cases: list[WorstCase] = []
    for eta in results.eta:
        for row in in_tables(results.rounds):
            seeds = {
                seed: results.attacked[row, eta, seed] for seed in results.seeds if (row, eta, seed) in results.attacked
            }
            if seeds:
                cases.append(_worst_case(results, row, eta, seeds))
    return cases


def _worst_case(results: Results, row: str, eta: float, seeds: Mapping[int, Attacked]) -> WorstCase:
    by_column: dict[str, dict[int, Errors]] = {}
    for seed, attacked in seeds.items():
        columns = attacked.evaluation.columns()
        if (covered := attacked.evaluation.worst_covered) is not None:
            columns = columns | {COVERED: covered}  # of the same images as AutoAttack's rate, which is not that of all
        for column, errors in columns.items():
            by_column.setdefault(column, {})[seed] = errors
    rows = [results.rows[row, eta, seed] for seed in results.seeds if (row, eta, seed) in results.rows]
    here = [_paper_attacks(one, results.rounds) for one in rows]
    return WorstCase(
        row=row,
        eta=eta,
        printed=_printed(results, row, eta),
        here=fmean(here) if here else None,
        columns={column: ErrorRate(errors) for column, errors in by_column.items()},
        flags={seed: attacked.flags for seed, attacked in seeds.items()},
        settings=next(iter(seeds.values())).evaluation.settings,
    )


def _paper_attacks(row: Row, last: int) -> float:
    """Return the largest error under the attacks that the paper's tables print."""
    return max(row.fgsm[0], row.fgsm[1], row.fgsm[last - 1], row.fgsm_curr, row.attnet_curr or 0.0)


def _printed(results: Results, row: str, eta: float) -> float | None:
    experiment = results.experiment
    named = (
        row.removesuffix(f"FGSM{results.rounds}") + experiment.last if row.endswith(f"FGSM{results.rounds}") else row
    )
    cells = [
        error
        for kind in (3, 4, 5)
        for column, error in paper.table(experiment.printed(kind))["eta"].get(f"{eta:g}", {}).get(named, {}).items()
        if column != "No attack"
    ]
    return max(cells, default=None)


def falling_rows(results: Results) -> list[str]:
    """Return sentences on rows where FGSM-curr errs less at a larger eta, by more than two standard errors."""
    sentences: list[str] = []
    for row in in_tables(results.rounds):
        errors = {
            eta: fmean(
                results.rows[row, eta, seed].fgsm_curr for seed in results.seeds if (row, eta, seed) in results.rows
            )
            for eta in results.eta
            if any((row, eta, seed) in results.rows for seed in results.seeds)
        }
        for less, more in pairwise(errors):
            error = sqrt(sum(p * (1 - p) for p in (errors[less], errors[more])) / max(results.test_images, 1))
            if errors[less] - errors[more] > 2 * error:
                sentences.append(
                    f"FGSM-curr errs on {errors[less]:.3f} of {row} at η = {less:g} and on {errors[more]:.3f} at η = "
                    f"{more:g}, where it may do all that it may there and more. These are two classifiers, and the "
                    "second may be the more robust one; or it has learned to answer this one step (label leaking), "
                    "and its cell says nothing: the attacks of today tell which."
                )
    return sentences


def as_json(cases: list[WorstCase]) -> dict[str, Any]:
    """Return all rows, ready for JSON."""
    content: dict[str, Any] = {}
    for case in cases:
        content.setdefault(f"{case.eta:g}", {})[case.row] = {
            "worst in the paper": case.printed,
            "worst here, the paper's attacks": None if case.here is None else round(case.here, 6),
            "attacks of today": {column: rate.as_json() for column, rate in case.columns.items()},
            "flags": {str(seed): [flag.to_dict() for flag in flags] for seed, flags in case.flags.items()},
        }
    return {"eta": content}
