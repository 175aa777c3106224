"""Signs of masked gradients, which make an error rate under attack say little about robustness."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, final

from minimaxopt.plugins import argument_error, check_number
from minimaxopt_adversarial.checks import check_share
from minimaxopt_adversarial.evaluation.error_rates import Errors, paired_difference
from minimaxopt_adversarial.evaluation.eta_sweep import EtaSweep
from minimaxopt_adversarial.evaluation.robustness_evaluation import RobustnessEvaluation

FLAGS = ("fgsm-pgd-gap", "not-rising", "not-reaching-one", "black-box")


@final
@dataclass(frozen=True)
class MaskingFlag:
    """One sign of masked gradients.

    Args:
        name: one of ``fgsm-pgd-gap``, ``not-rising``, ``not-reaching-one``, ``black-box``.
        raised: True if the sign is present; None if it could not be judged.
        numbers: the compared numbers, at the radii where the sign is clearest.
        sentence: the result and its meaning for the table, or the reason why it could not be judged.

    Examples:
        >>> MaskingFlag("black-box", False, {}, "").raised
        False

    Source: Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of security" (2018), Sec. 3.1.
    """

    name: str
    raised: bool | None
    numbers: dict[str, float]
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return a record for ``from_dict``."""
        return {"name": self.name, "raised": self.raised, "numbers": dict(self.numbers), "sentence": self.sentence}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> MaskingFlag:
        """Return the flag in a record of ``to_dict``."""
        return cls(record["name"], record["raised"], dict(record["numbers"]), record["sentence"])


def masking_flags(
    evaluations: Sequence[RobustnessEvaluation],
    *,
    sweep: EtaSweep | None = None,
    gap: float = 0.1,
    drop: float = 0.01,
    shortfall: float = 0.01,
    standard_errors: float = 2.0,
) -> tuple[MaskingFlag, ...]:
    """Test for four signs that gradient attacks fail against a classifier for another reason than its robustness.

    Each compares two error rates on the same images and is raised where their difference exceeds a threshold by more
    than ``standard_errors`` of the paired difference: ``d - k * sqrt(var(a_i - b_i) / n) > threshold``.

    - ``fgsm-pgd-gap``: the iterated attacks err by ``gap`` more than FGSM;
    - ``not-rising``: FGSM or the iterated attacks err by ``drop`` less at a larger ``eta`` than at a smaller one, or
      PGD does so in the sweep (there not FGSM, whose one step may lead past the worst image where ``eta`` is large);
    - ``not-reaching-one``: PGD leaves a share of ``shortfall`` right where ``eta`` spans the whole range of the pixels;
    - ``black-box``: images made against another classifier err more than the iterated attacks on the classifier itself.

    Here "the iterated attacks" are their worst for each image. No flag proves robustness by staying down.

    Args:
        evaluations: evaluations of one classifier on the same images, one for each ``eta``, in any order.
        sweep: sweep of the same classifier, up to the whole range; without it the third sign is not judged, nor the
            second from a single evaluation.
        gap: threshold of the first sign, in [0, 1).
        drop: threshold of the second sign, in [0, 1).
        shortfall: threshold of the third sign, in [0, 1).
        standard_errors: multiple ``k`` of the standard error, >= 0.

    Returns:
        Four flags, in this order.

    Raises:
        ArgumentError: there is no evaluation, they are of different images or one ``eta`` occurs twice.

    Examples:
        >>> import torch
        >>> from minimaxopt_adversarial import eta_sweep, evaluate_robustness
        >>> x, y = torch.tensor([[0.5, 0.0], [0.1, 0.0]]), torch.tensor([0, 0])
        >>> evaluations = [evaluate_robustness(lambda x: x, x, y, eta=eta, autoattack_images=0) for eta in (0.1, 0.2)]
        >>> [flag.raised for flag in masking_flags(evaluations, sweep=eta_sweep(lambda x: x, x, y))]
        [False, False, False, None]

    Source: Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of security" (2018), Sec. 3.1; Wong,
    Rice and Kolter, "Fast is better than free" (2020), on catastrophic overfitting.
    """
    thresholds = [check_share(name, value) for name, value in (("gap", gap), ("drop", drop), ("shortfall", shortfall))]
    k = check_number("standard_errors", standard_errors)
    by_eta = sorted(evaluations, key=lambda evaluation: evaluation.eta)
    if not by_eta:
        raise argument_error("evaluations", "there is none", "give what evaluate_robustness returns")
    if len({evaluation.count for evaluation in by_eta}) > 1:
        raise argument_error("evaluations", "they are of different images", "evaluate the same images at each eta")
    if len({evaluation.eta for evaluation in by_eta}) < len(by_eta):
        raise argument_error(
            "evaluations", "an eta occurs twice", "give one evaluation for each eta, of one classifier"
        )
    return (
        _fgsm_pgd_gap(by_eta, thresholds[0], k),
        _not_rising(by_eta, sweep, thresholds[1], k),
        _not_reaching_one(sweep, thresholds[2], k),
        _black_box(by_eta, k),
    )


def _fgsm_pgd_gap(evaluations: Sequence[RobustnessEvaluation], threshold: float, k: float) -> MaskingFlag:
    comparisons = [
        _Comparison(
            iterated, evaluation.fgsm, {"eta": evaluation.eta, "fgsm": evaluation.fgsm.rate, "pgd": iterated.rate}
        )
        for evaluation in evaluations
        if (iterated := evaluation.iterated) is not None
    ]

    def sentence(raised: bool, at: Mapping[str, float], _: str) -> str:
        rates = f"At eta {at['eta']:g} the iterated attacks reach an error of {at['pgd']:.3f}, FGSM {at['fgsm']:.3f}"
        if raised:
            return f"{rates}: the FGSM column overstates this classifier's robustness; read the worst column instead."
        return f"{rates}: no gap beyond {threshold:g} and chance, one step shows most of what these attacks find."

    return _flag(FLAGS[0], comparisons, threshold, k, sentence, "there was no iterated attack")


def _not_rising(
    evaluations: Sequence[RobustnessEvaluation], sweep: EtaSweep | None, threshold: float, k: float
) -> MaskingFlag:
    comparisons: list[_Comparison] = []
    for i, j in combinations(range(len(sweep.etas) if sweep is not None else 0), 2):
        assert sweep is not None
        before, after = sweep.pgd[i], sweep.pgd[j]
        at = {"smaller_eta": sweep.etas[i], "larger_eta": sweep.etas[j], "before": before.rate, "after": after.rate}
        comparisons.append(_Comparison(before, after, at, f"PGD-{sweep.steps}"))
    for smaller, larger in combinations(evaluations, 2):
        columns = [("FGSM", smaller.fgsm, larger.fgsm), ("the iterated attacks", smaller.iterated, larger.iterated)]
        for name, before, after in columns:
            if before is not None and after is not None:
                at = {"smaller_eta": smaller.eta, "larger_eta": larger.eta, "before": before.rate, "after": after.rate}
                comparisons.append(_Comparison(before, after, at, name))

    def sentence(raised: bool, at: Mapping[str, float], attack: str) -> str:
        if not raised:
            return (
                "No attack's error falls as eta grows by more than chance: larger attacks are not weaker, "
                "as it has to be."
            )
        reason = (
            "the classifier has learned to answer this one step (label leaking, catastrophic overfitting)"
            if attack == "FGSM"
            else "the attack does not find what is still there, since all images of the smaller eta are allowed"
        )
        return (
            f"The error under {attack} falls from {at['before']:.3f} to {at['after']:.3f} as eta grows from "
            f"{at['smaller_eta']:g} to {at['larger_eta']:g}: {reason}, and that column is no measure of robustness."
        )

    return _flag(FLAGS[1], comparisons, threshold, k, sentence, "there is only one eta and no sweep")


def _not_reaching_one(sweep: EtaSweep | None, threshold: float, k: float) -> MaskingFlag:
    if sweep is None:
        return _unknown(FLAGS[2], "no sweep of eta was given")
    whole = sweep.bounds[1] - sweep.bounds[0]
    if sweep.etas[-1] < whole and not math.isclose(sweep.etas[-1], whole):
        return _unknown(FLAGS[2], f"the sweep ends at eta {sweep.etas[-1]:g}, the range of the pixels is {whole:g}")
    last = sweep.pgd[-1]
    everything = Errors(last.wrong.new_ones(last.count))
    at = {"eta": sweep.etas[-1], "pgd": last.rate}

    def sentence(raised: bool, at: Mapping[str, float], _: str) -> str:
        rates = f"With eta {at['eta']:g}, which allows any image, PGD-{sweep.steps} reaches an error of {at['pgd']:.3f}"
        if raised:
            return (
                f"{rates}, though 1 is possible: its gradients do not lead to the images that fool the classifier, "
                "and the columns of attacks by gradient understate its error at smaller eta too."
            )
        return f"{rates}: the gradients lead out of the right class, up to what chance explains."

    return _flag(FLAGS[2], [_Comparison(everything, last, at)], threshold, k, sentence, "")


def _black_box(evaluations: Sequence[RobustnessEvaluation], k: float) -> MaskingFlag:
    comparisons = [
        _Comparison(errors, iterated, {"eta": evaluation.eta, "transfer": errors.rate, "pgd": iterated.rate}, name)
        for evaluation in evaluations
        if (iterated := evaluation.iterated) is not None
        for name, errors in evaluation.transfer.items()
    ]

    def sentence(raised: bool, at: Mapping[str, float], source: str) -> str:
        rates = (
            f"At eta {at['eta']:g} images made against {source} reach an error of {at['transfer']:.3f}, the iterated "
            f"attacks on the classifier itself {at['pgd']:.3f}"
        )
        if raised:
            return (
                f"{rates}: who knows less succeeds more often, so its gradients are masked and the columns of "
                "attacks by gradient are not its worst case."
            )
        return f"{rates}: who knows less does not succeed more often than chance explains."

    return _flag(FLAGS[3], comparisons, 0.0, k, sentence, "there were no transferred images beside iterated attacks")


@dataclass(frozen=True, eq=False)
class _Comparison:
    """Two errors on the same images, of which the first must not be much larger, and the name of what they compare."""

    first: Errors
    second: Errors
    numbers: dict[str, float]
    name: str = ""


Sentence = Callable[[bool, Mapping[str, float], str], str]
"""``sentence(raised, numbers, name)``: the sentence of a flag, from the comparison that shows its sign most clearly."""


def _flag(
    name: str, comparisons: Sequence[_Comparison], threshold: float, k: float, sentence: Sentence, missing: str
) -> MaskingFlag:
    if not comparisons:
        return _unknown(name, missing)
    differences = [paired_difference(comparison.first, comparison.second) for comparison in comparisons]
    excesses = [difference - k * error - threshold for difference, error in differences]
    worst = max(range(len(comparisons)), key=excesses.__getitem__)
    difference, error = differences[worst]
    numbers = {**comparisons[worst].numbers, "difference": difference, "standard_error": error, "threshold": threshold}
    raised = excesses[worst] > 0
    return MaskingFlag(name, raised, numbers, sentence(raised, numbers, comparisons[worst].name))


def _unknown(name: str, reason: str) -> MaskingFlag:
    return MaskingFlag(name, None, {}, f"This could not be judged: {reason}.")
