"""Verdicts on all claims, here and on the paper's own numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minimaxopt_study.paper.printed import CIFAR10, MNIST, Experiment
from minimaxopt_study.results import claims_cifar10 as cifar_claims
from minimaxopt_study.results import claims_mnist as claims
from minimaxopt_study.results.claims_mnist import Claim
from minimaxopt_study.results.evidence import Evidence, paper_evidence
from minimaxopt_study.results.margins import Margin, Verdict, at_this_scale, over_seeds

_CLAIMS = {MNIST.data: claims.CLAIMS, CIFAR10.data: cifar_claims.CLAIMS}
_GATES = {MNIST.data: claims.gate, CIFAR10.data: cifar_claims.gate}


@dataclass(frozen=True)
class Judgement:
    """A claim with its verdicts, the numbers that decide them and, where undecided, why."""

    claim: Claim
    at_this_scale: Verdict
    over_seeds: Verdict
    on_paper: Verdict
    margins: tuple[Margin, ...]
    paper_margins: tuple[Margin, ...]
    because: str

    def as_json(self) -> dict[str, Any]:
        """Return the judgement ready for JSON."""
        return {
            "name": self.claim.name,
            "claim": self.claim.says,
            "test": self.claim.test,
            "verdict": self.over_seeds.value,
            "at this scale": self.at_this_scale.value,
            "on the paper's numbers": self.on_paper.value,
            "because": self.because,
            "conditions": [_margin_json(margin) for margin in self.margins],
            "conditions on the paper's numbers": [_margin_json(margin) for margin in self.paper_margins],
        }


def gate(evidence: Evidence) -> list[Margin]:
    """Return the conditions on the attack network before anything is concluded from it."""
    return _GATES[evidence.experiment.data](evidence)


def in_words(experiment: Experiment) -> str:
    """Return the conditions of ``gate`` as the predicate of a sentence."""
    return {MNIST.data: claims.GATE_IN_WORDS, CIFAR10.data: cifar_claims.GATE_IN_WORDS}[experiment.data]


def gate_passed(evidence: Evidence) -> bool:
    """Return whether the attack network attacks the undefended classifier at each eta."""
    return all(margin.known and margin.quantity.mean > 0 for margin in gate(evidence))


def judge(evidence: Evidence) -> list[Judgement]:
    """Judge all claims on the evidence and on the paper's own numbers."""
    printed = paper_evidence(evidence.experiment)
    return [_judge(claim, evidence, printed) for claim in claims_on(evidence.experiment)]


def claims_on(experiment: Experiment) -> tuple[Claim, ...]:
    """Return the paper's claims on a data set."""
    return _CLAIMS[experiment.data]


def _judge(claim: Claim, evidence: Evidence, printed: Evidence) -> Judgement:
    margins, paper_margins = tuple(claim.margins(evidence)), tuple(claim.margins(printed))
    here, seeds = at_this_scale(margins), over_seeds(margins)
    because = _because(margins, here, seeds)
    if claim.attnet and not gate_passed(evidence):
        here = seeds = Verdict.UNDECIDED
        because = (
            "the attack network does not attack the undefended classifier well enough for any conclusion"
            if all(margin.known for margin in gate(evidence))
            else "no attack network has met the undefended classifier at each eta yet"
        )
    elif claim.late and evidence.rounds < evidence.experiment.rounds and here is Verdict.FAILS:
        here = seeds = Verdict.UNDECIDED
        because = (
            f"the claim is about round {evidence.experiment.rounds}: round {evidence.rounds} can bear it out, but not "
            "refute it"
        )
    return Judgement(claim, here, seeds, at_this_scale(paper_margins), margins, paper_margins, because)


def _because(margins: tuple[Margin, ...], here: Verdict, seeds: Verdict) -> str:
    if not margins:
        return "this run has no eta that the claim is about"
    missing = sum(not margin.known for margin in margins)
    if missing:
        return f"{missing} of {len(margins)} numbers are not there yet"
    if here is Verdict.UNDECIDED:
        return "a deciding difference is under two standard errors"
    if seeds is Verdict.UNDECIDED:
        return f"{min(len(margin.quantity.by_seed) for margin in margins)} of 3 seeds"
    return ""


def _margin_json(margin: Margin) -> dict[str, Any]:
    known = margin.known
    return {
        "condition": margin.says,
        "verdict": margin.verdict.value,
        "margin": round(margin.quantity.mean, 6) if known else None,
        "standard error": round(margin.quantity.standard_error, 6) if known else None,
        "seeds": len(margin.quantity.by_seed),
        "numbers": {label: round(value, 6) for label, value in margin.quantity.numbers},
    }
