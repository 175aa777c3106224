"""The report's first sentences, and what its headings say of eta."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from minimaxopt_study.formatting import DASH, listed, plural
from minimaxopt_study.paper import printed as paper
from minimaxopt_study.paper.names import ALTERNATING, LWA, MINIMAX, MINIMAX_GRAD, NO_DEFENSE, adv
from minimaxopt_study.report.modern_content import modern_sentences
from minimaxopt_study.results.margins import Verdict
from minimaxopt_study.results.verdicts import Judgement, gate, gate_passed, in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minimaxopt_study.profiles.profile import Profile
    from minimaxopt_study.results.evidence import Evidence
    from minimaxopt_study.results.gather import Results
    from minimaxopt_study.results.modern_worst_case import WorstCase


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
    lines += modern_sentences(cases, results)
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
