"""Signs that a classifier hides its gradients, so that an error rate under attack says little about its robustness."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any, final

from torch import Generator, Tensor

from minimaxopt_adversarial.attacks.attack import Attack, attack_in_batches, misclassified
from minimaxopt_adversarial.attacks.input_gradient import Classifier
from minimaxopt_adversarial.attacks.pgd import fgsm, pgd
from minimaxopt_adversarial.checks import (
    Bounds,
    check_bounds,
    check_count,
    check_images,
    check_labels,
    check_share,
    check_size,
    refuse,
)
from minimaxopt_adversarial.evaluation.error_rates import Errors, paired_difference
from minimaxopt_adversarial.evaluation.robustness import RobustnessEvaluation

FRACTIONS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
FLAGS = ("fgsm-pgd-gap", "not-rising", "not-reaching-one", "black-box")


@final
@dataclass(frozen=True, eq=False)
class EtaSweep:
    """Errors under FGSM and PGD of few steps as ``eta`` grows; what ``eta_sweep`` returns."""

    bounds: Bounds
    etas: tuple[float, ...]
    fgsm: tuple[Errors, ...]
    pgd: tuple[Errors, ...]
    steps: int

    def to_dict(self) -> dict[str, Any]:
        """Return what ``from_dict`` takes: numbers, lists and dicts alone."""
        return {
            "bounds": list(self.bounds),
            "etas": list(self.etas),
            "fgsm": [errors.to_dict() for errors in self.fgsm],
            "pgd": [errors.to_dict() for errors in self.pgd],
            "steps": self.steps,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> EtaSweep:
        """Return the sweep of a record."""
        low, high = record["bounds"]
        single, iterated = (tuple(Errors.from_dict(errors) for errors in record[key]) for key in ("fgsm", "pgd"))
        return cls((low, high), tuple(record["etas"]), single, iterated, record["steps"])


def eta_sweep(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    bounds: Bounds = (-1.0, 1.0),
    etas: Sequence[float] | None = None,
    steps: int = 10,
    images: int = 200,
    seed: int = 0,
    batch_size: int = 500,
) -> EtaSweep:
    """Attack the first images by FGSM and PGD at sizes that grow until any image is allowed.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        x: images within ``bounds``, float32 or float64.
        y: (N,) true classes.
        bounds: lowest and highest pixel.
        etas: sizes in the units of the pixels; 1/32, 1/16, ..., 1 times the range of ``bounds`` by default.
        steps: steps of PGD, of the size ``2.5 * eta / steps``, from one random start on the cross-entropy.
        images: how many of the first images to attack, at most all.
        seed: decides the random starts, which are the same for all sizes.
        batch_size: images attacked together.

    Raises:
        ArgumentError: an argument is out of range.

    >>> import torch
    >>> sweep = eta_sweep(lambda x: x, torch.tensor([[0.5, 0.0], [0.1, 0.0]]), torch.tensor([0, 0]))
    >>> [errors.rate for errors in sweep.pgd]
    [0.5, 0.5, 0.5, 1.0, 1.0, 1.0]
    """
    low, high = check_bounds(bounds)
    check_images(x, bounds)
    check_labels(y, len(x))
    x, y = x[: check_count("images", images)], y[:images]
    sizes = [part * (high - low) for part in FRACTIONS] if etas is None else [check_size("etas", eta) for eta in etas]
    if not sizes:
        raise refuse("etas", "there is none", "give at least one size, or None")
    sizes = sorted(sizes)

    def errors(attack: Attack) -> Errors:
        z = attack_in_batches(attack, classifier, x, y, batch_size=batch_size)
        return Errors(misclassified(classifier, z, y, batch_size=batch_size))

    single = [errors(partial(fgsm, eta=eta, bounds=bounds)) for eta in sizes]
    iterated = [
        errors(partial(pgd, eta=eta, bounds=bounds, steps=steps, generator=Generator().manual_seed(seed)))
        for eta in sizes
    ]
    return EtaSweep((low, high), tuple(sizes), tuple(single), tuple(iterated), steps)


@final
@dataclass(frozen=True)
class MaskingFlag:
    """One sign of hidden gradients.

    Args:
        name: one of ``fgsm-pgd-gap``, ``not-rising``, ``not-reaching-one``, ``black-box``.
        raised: whether it was seen; None if it could not be judged.
        numbers: what was compared, at the sizes where the sign is clearest.
        sentence: what was found and what it means for the table, or why it could not be judged.
    """

    name: str
    raised: bool | None
    numbers: dict[str, float]
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return what ``from_dict`` takes."""
        return {"name": self.name, "raised": self.raised, "numbers": dict(self.numbers), "sentence": self.sentence}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> MaskingFlag:
        """Return the flag of a record."""
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
    """Look for four signs that attacks by gradient fail against a classifier for another reason than its robustness.

    Each compares two error rates on the same images and is raised where their difference exceeds a threshold by more
    than ``standard_errors`` of the paired difference: ``d - k * sqrt(var(a_i - b_i) / n) > threshold``.

    - ``fgsm-pgd-gap``: the iterated attacks err by ``gap`` more than FGSM;
    - ``not-rising``: FGSM or the iterated attacks err by ``drop`` less at a larger ``eta`` than at a smaller one, or PGD
      does so in the sweep (there not FGSM, whose one step may well lead past the worst image where ``eta`` is large);
    - ``not-reaching-one``: PGD leaves a share of ``shortfall`` right where ``eta`` spans the whole range of the pixels;
    - ``black-box``: images made against another classifier err more than the iterated attacks on the classifier itself.

    Here "the iterated attacks" are their worst for each image. No flag proves robustness by staying down.

    Args:
        evaluations: of one classifier on the same images, one for each ``eta``, in any order.
        sweep: of the same classifier, up to the whole range; without it the third sign is not judged, nor the second
            from one evaluation.
        gap: threshold of the first, in [0, 1).
        drop: threshold of the second, in [0, 1).
        shortfall: threshold of the third, in [0, 1).
        standard_errors: ``k``, >= 0.

    Returns:
        Four flags, in this order.

    Raises:
        ArgumentError: there is no evaluation, they are of different images or one ``eta`` occurs twice.

    Source: Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of security" (2018), Sec. 3.1; Wong,
    Rice and Kolter, "Fast is better than free" (2020), on catastrophic overfitting.

    >>> import torch
    >>> from minimaxopt_adversarial import evaluate_robustness
    >>> x, y = torch.tensor([[0.5, 0.0], [0.1, 0.0]]), torch.tensor([0, 0])
    >>> found = [evaluate_robustness(lambda x: x, x, y, eta=eta, autoattack_images=0) for eta in (0.1, 0.2)]
    >>> [flag.raised for flag in masking_flags(found, sweep=eta_sweep(lambda x: x, x, y))]
    [False, False, False, None]
    """
    thresholds = [check_share(name, value) for name, value in (("gap", gap), ("drop", drop), ("shortfall", shortfall))]
    k = check_size("standard_errors", standard_errors)
    found = sorted(evaluations, key=lambda evaluation: evaluation.eta)
    if not found:
        raise refuse("evaluations", "there is none", "give what evaluate_robustness returns")
    if len({evaluation.count for evaluation in found}) > 1:
        raise refuse("evaluations", "they are of different images", "evaluate the same images at each eta")
    if len({evaluation.eta for evaluation in found}) < len(found):
        raise refuse("evaluations", "an eta occurs twice", "give one evaluation for each eta, of one classifier")
    return (
        _gap(found, thresholds[0], k),
        _not_rising(found, sweep, thresholds[1], k),
        _not_reaching_one(sweep, thresholds[2], k),
        _black_box(found, k),
    )


def _gap(found: Sequence[RobustnessEvaluation], threshold: float, k: float) -> MaskingFlag:
    cases = [
        _Case(iterated, evaluation.fgsm, {"eta": evaluation.eta, "fgsm": evaluation.fgsm.rate, "pgd": iterated.rate})
        for evaluation in found
        if (iterated := evaluation.iterated) is not None
    ]

    def say(raised: bool, at: Mapping[str, float]) -> str:
        seen = f"At eta {at['eta']:g} the iterated attacks reach an error of {at['pgd']:.3f}, FGSM {at['fgsm']:.3f}"
        if raised:
            return f"{seen}: the FGSM column overstates this classifier's robustness; read the worst column instead."
        return f"{seen}: no gap beyond {threshold:g} and chance, one step shows most of what these attacks find."

    return _judge(FLAGS[0], cases, threshold, k, say, "there was no iterated attack")


def _not_rising(
    found: Sequence[RobustnessEvaluation], sweep: EtaSweep | None, threshold: float, k: float
) -> MaskingFlag:
    cases: list[_Case] = []
    for i, j in combinations(range(len(sweep.etas) if sweep is not None else 0), 2):
        assert sweep is not None
        before, after = sweep.pgd[i], sweep.pgd[j]
        at = {"smaller_eta": sweep.etas[i], "larger_eta": sweep.etas[j], "before": before.rate, "after": after.rate}
        cases.append(_Case(before, after, at, f"PGD-{sweep.steps}"))
    for less, more in combinations(found, 2):
        columns = [("FGSM", less.fgsm, more.fgsm), ("the iterated attacks", less.iterated, more.iterated)]
        for name, before, after in columns:
            if before is not None and after is not None:
                at = {"smaller_eta": less.eta, "larger_eta": more.eta, "before": before.rate, "after": after.rate}
                cases.append(_Case(before, after, at, name))

    def say(raised: bool, at: Mapping[str, float], who: str) -> str:
        if not raised:
            return "No attack's error falls as eta grows by more than chance: larger attacks are not weaker, as it has to be."
        why = (
            "the classifier has learned to answer this one step (label leaking, catastrophic overfitting)"
            if who == "FGSM"
            else "the attack does not find what is still there, since all images of the smaller eta are allowed"
        )
        return (
            f"The error under {who} falls from {at['before']:.3f} to {at['after']:.3f} as eta grows from "
            f"{at['smaller_eta']:g} to {at['larger_eta']:g}: {why}, and that column is no measure of robustness."
        )

    return _judge(FLAGS[1], cases, threshold, k, say, "there is only one eta and no sweep")


def _not_reaching_one(sweep: EtaSweep | None, threshold: float, k: float) -> MaskingFlag:
    if sweep is None:
        return _unknown(FLAGS[2], "no sweep of eta was given")
    whole = sweep.bounds[1] - sweep.bounds[0]
    if sweep.etas[-1] < whole and not math.isclose(sweep.etas[-1], whole):
        return _unknown(FLAGS[2], f"the sweep ends at eta {sweep.etas[-1]:g}, the range of the pixels is {whole:g}")
    last = sweep.pgd[-1]
    everything = Errors(last.wrong.new_ones(last.count))
    at = {"eta": sweep.etas[-1], "pgd": last.rate}

    def say(raised: bool, at: Mapping[str, float]) -> str:
        seen = f"With eta {at['eta']:g}, which allows any image, PGD-{sweep.steps} reaches an error of {at['pgd']:.3f}"
        if raised:
            return (
                f"{seen}, though 1 is possible: its gradients do not lead to the images that fool the classifier, "
                "and the columns of attacks by gradient understate its error at smaller eta too."
            )
        return f"{seen}: the gradients lead out of the right class, up to what chance explains."

    return _judge(FLAGS[2], [_Case(everything, last, at)], threshold, k, say, "")


def _black_box(found: Sequence[RobustnessEvaluation], k: float) -> MaskingFlag:
    cases = [
        _Case(errors, iterated, {"eta": evaluation.eta, "transfer": errors.rate, "pgd": iterated.rate}, name)
        for evaluation in found
        if (iterated := evaluation.iterated) is not None
        for name, errors in evaluation.transfer.items()
    ]

    def say(raised: bool, at: Mapping[str, float], who: str) -> str:
        seen = (
            f"At eta {at['eta']:g} images made against {who} reach an error of {at['transfer']:.3f}, the iterated "
            f"attacks on the classifier itself {at['pgd']:.3f}"
        )
        if raised:
            return (
                f"{seen}: who knows less succeeds more often, so its gradients are masked and the columns of attacks "
                "by gradient are not its worst case."
            )
        return f"{seen}: who knows less does not succeed more often than chance explains."

    return _judge(FLAGS[3], cases, 0.0, k, say, "there were no transferred images beside iterated attacks")


@dataclass(frozen=True, eq=False)
class _Case:
    """Two errors on the same images of which the first must not be much larger."""

    first: Errors
    second: Errors
    numbers: dict[str, float]
    who: str | None = None


def _judge(
    name: str, cases: Sequence[_Case], threshold: float, k: float, say: Callable[..., str], missing: str
) -> MaskingFlag:
    if not cases:
        return _unknown(name, missing)
    differences = [paired_difference(case.first, case.second) for case in cases]
    excesses = [difference - k * error - threshold for difference, error in differences]
    worst = max(range(len(cases)), key=excesses.__getitem__)
    difference, error = differences[worst]
    numbers = {**cases[worst].numbers, "difference": difference, "standard_error": error, "threshold": threshold}
    raised = excesses[worst] > 0
    who = cases[worst].who
    return MaskingFlag(name, raised, numbers, say(raised, numbers) if who is None else say(raised, numbers, who))


def _unknown(name: str, why: str) -> MaskingFlag:
    return MaskingFlag(name, None, {}, f"This could not be judged: {why}.")
