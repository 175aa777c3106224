"""Each sign of hidden gradients: up on a classifier built to show it, down on one that hides nothing."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from minimaxopt.errors import ArgumentError
from minimaxopt_adversarial import (
    Errors,
    EtaSweep,
    MaskingFlag,
    eta_sweep,
    evaluate_robustness,
    masking_flags,
    strong_attacks,
)

ETA = 0.1
QUICK = strong_attacks(steps=10, restarts=2)


def evaluate(classifier, x, y, etas, **options):
    run = partial(evaluate_robustness, classifier, x, y, autoattack_images=0, attacks=QUICK)
    return [run(eta=eta, **options) for eta in etas]


def raised(flags) -> dict[str, bool | None]:
    return {flag.name: flag.raised for flag in flags}


@pytest.fixture
def plane(make_known):
    return make_known(2, (-1.0, 1.0), 0.2, count=150)


def quantised(plane):
    """The linear classifier on pixels rounded to steps of 0.25: nearly the same errors, no gradient."""

    def classifier(x: Tensor) -> Tensor:
        return plane.classifier((x * 4).round() / 4)

    return classifier


def saturated(plane):
    """The linear classifier with logits so large that the cross-entropy is exactly flat where it is right."""
    return lambda x: 1e5 * plane.classifier(x)


def wavy(x: Tensor) -> Tensor:
    """Right at the images and one step of ETA away, wrong in between: what single-step training can end in."""
    margin = 0.5 + torch.cos(2 * math.pi * x.flatten(1).mean(1) / ETA + 0.5)
    return torch.stack([margin, torch.zeros_like(margin)], 1)


def flat_images(count: int = 100) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    noise = 0.3 * torch.rand(count, 16, generator=generator, dtype=torch.float64)
    return noise - noise.mean(1, keepdim=True), torch.zeros(count, dtype=torch.int64)


def test_a_linear_classifier_raises_no_flag(plane):
    sweep = eta_sweep(plane.classifier, plane.x, plane.y)
    other = torch.nn.functional.linear
    noisy = plane.classifier.weight.detach() + 0.3 * torch.randn(2, 16, generator=torch.Generator().manual_seed(1))
    evaluations = evaluate(
        plane.classifier, plane.x, plane.y, (0.05, 0.1, 0.2), transfer={"noisy": lambda x: other(x.flatten(1), noisy)}
    )
    flags = masking_flags(evaluations, sweep=sweep)
    assert raised(flags) == dict.fromkeys(["fgsm-pgd-gap", "not-rising", "not-reaching-one", "black-box"], False)
    assert sweep.pgd[-1].rate == 1.0


def test_of_a_trained_network_it_is_said_that_one_step_is_weak_and_nothing_else(trained):
    net, x, y = trained
    evaluations = evaluate(net, x, y, (0.1, 0.3))
    flags = masking_flags(evaluations, sweep=eta_sweep(net, x, y))
    assert raised(flags) == {
        "fgsm-pgd-gap": True, "not-rising": False, "not-reaching-one": False, "black-box": None,
    }  # fmt: skip
    assert flags[0].numbers["eta"] == 0.3
    assert raised(masking_flags(evaluations[:1]))["fgsm-pgd-gap"] is False


def test_a_classifier_that_answers_one_step_raises_the_gap_and_falls_as_eta_grows():
    x, y = flat_images()
    flags = masking_flags(evaluate(wavy, x, y, (ETA / 2, ETA)))
    assert raised(flags) == {
        "fgsm-pgd-gap": True, "not-rising": True, "not-reaching-one": None, "black-box": None,
    }  # fmt: skip
    gap, falling = flags[:2]
    assert (gap.numbers["eta"], gap.numbers["fgsm"], gap.numbers["pgd"]) == (ETA, 0.0, 1.0)
    assert "the FGSM column overstates this classifier's robustness" in gap.sentence
    assert (falling.numbers["before"], falling.numbers["after"]) == (1.0, 0.0)
    assert "catastrophic overfitting" in falling.sentence
    swept = masking_flags(evaluate(wavy, x, y, (ETA / 2,)), sweep=eta_sweep(wavy, x, y))
    assert raised(swept)["not-rising"] is not None
    only = masking_flags(evaluate(wavy, x, y, (ETA / 2,)))
    assert raised(only)["fgsm-pgd-gap"] is False  # at half of it one step fools all
    assert raised(only)["not-rising"] is None


def test_a_classifier_without_gradients_does_not_reach_one_and_is_beaten_by_a_black_box(plane):
    masked = quantised(plane)
    evaluations = evaluate(masked, plane.x, plane.y, (0.2,), transfer={"the linear one": plane.classifier})
    flags = masking_flags(evaluations, sweep=eta_sweep(masked, plane.x, plane.y))
    assert raised(flags)["not-reaching-one"] is True
    assert raised(flags)["black-box"] is True
    assert "though 1 is possible" in flags[2].sentence
    assert "made against the linear one" in flags[3].sentence
    assert flags[3].numbers["transfer"] > flags[3].numbers["pgd"]


def test_an_iterated_attack_that_loses_as_eta_grows_is_seen_in_the_sweep(plane):
    evaluations = evaluate(plane.classifier, plane.x, plane.y, (0.2,))
    sweep = eta_sweep(plane.classifier, plane.x, plane.y)
    assert raised(masking_flags(evaluations, sweep=sweep))["not-rising"] is False
    fooled = sweep.pgd[-1].wrong
    falling = replace(sweep, pgd=(*sweep.pgd[:-1], Errors(fooled & (torch.arange(len(fooled)) % 2 == 0))))
    flag = masking_flags(evaluations, sweep=falling)[1]
    assert flag.raised is True
    assert flag.numbers["larger_eta"] == sweep.etas[-1]
    assert "the attack does not find what is still there" in flag.sentence
    assert "under PGD-10 falls from 1.000" in flag.sentence


def test_saturated_logits_do_not_reach_one_and_the_margin_sees_through_them(plane):
    masked = saturated(plane)
    flags = masking_flags(
        evaluate(masked, plane.x, plane.y, (0.2,), transfer={"the linear one": plane.classifier}),
        sweep=eta_sweep(masked, plane.x, plane.y),
    )
    assert raised(flags)["not-reaching-one"] is True
    assert raised(flags)["black-box"] is False  # the margin's gradient is not flat
    by_entropy = evaluate_robustness(
        masked, plane.x, plane.y, eta=0.2, autoattack_images=0, attacks=QUICK[:1],
        transfer={"the linear one": plane.classifier},
    )  # fmt: skip
    assert raised(masking_flags([by_entropy]))["black-box"] is True


def mask(errors: int, count: int = 400) -> Errors:
    return Errors(torch.arange(count) < errors)


@pytest.mark.parametrize(
    ("more", "expected"), [(0, False), (2, False), (40, False), (48, False), (56, True), (200, True)]
)
def test_a_gap_must_exceed_the_threshold_by_more_than_chance(more, expected):
    """With 400 images, 40 are the threshold of 0.1; 2 standard errors of a paired difference of 0.13 are 0.03."""
    x, y = flat_images(1)
    (form,) = evaluate(wavy, x, y, (ETA,))
    evaluation = replace(form, clean=mask(0), fgsm=mask(40), attacks={"PGD": mask(40 + more)}, transfer={})
    (flag, *_) = masking_flags([evaluation])
    assert flag.raised is expected
    assert flag.numbers["difference"] == pytest.approx(more / 400)
    share = more / 400
    assert flag.numbers["standard_error"] == pytest.approx(math.sqrt(share * (1 - share) / 400))
    strict = masking_flags([evaluation], gap=0.0, standard_errors=0.0)[0]
    assert strict.raised is (more > 0)


@pytest.mark.parametrize(("fewer", "expected"), [(0, False), (3, False), (20, True)])
def test_a_fall_must_exceed_the_threshold_by_more_than_chance(fewer, expected):
    x, y = flat_images(1)
    (form,) = evaluate(wavy, x, y, (ETA,))
    pair = [
        replace(form, eta=eta, clean=mask(0), fgsm=mask(300), attacks={"PGD": mask(errors)}, transfer={})
        for eta, errors in ((0.4, 350 - fewer), (0.1, 320), (0.2, 350))  # in any order
    ]
    flag = masking_flags(pair)[1]
    assert flag.raised is expected
    if expected:
        assert (flag.numbers["smaller_eta"], flag.numbers["larger_eta"]) == (0.2, 0.4)
        assert "under the iterated attacks falls" in flag.sentence


def test_records_and_sweeps_survive_json(plane):
    sweep = eta_sweep(plane.classifier, plane.x, plane.y, etas=(0.4, 0.1), images=20, steps=3)
    assert sweep.etas == (0.1, 0.4)
    assert {errors.count for errors in (*sweep.fgsm, *sweep.pgd)} == {20}
    again = EtaSweep.from_dict(json.loads(json.dumps(sweep.to_dict())))
    assert again.to_dict() == sweep.to_dict()
    evaluations = evaluate(plane.classifier, plane.x[:20], plane.y[:20], (0.1, 0.2))
    flags = masking_flags(evaluations, sweep=again)
    assert [MaskingFlag.from_dict(json.loads(json.dumps(flag.to_dict()))) for flag in flags] == list(flags)
    assert flags[2].raised is None
    assert "the sweep ends at eta 0.4, the range of the pixels is 2" in flags[2].sentence


def test_what_cannot_be_compared_is_refused(plane):
    pair = evaluate(plane.classifier, plane.x[:20], plane.y[:20], (0.1, 0.2))
    other = evaluate(plane.classifier, plane.x[:10], plane.y[:10], (0.3,))
    for evaluations, message in [
        ([], "evaluations: there is none"),
        ([*pair, *other], "evaluations: they are of different images"),
        ([*pair, pair[0]], "evaluations: an eta occurs twice"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            masking_flags(evaluations)
    with pytest.raises(ArgumentError, match="gap: it is 1.5"):
        masking_flags(pair, gap=1.5)
    with pytest.raises(ArgumentError, match="etas: there is none"):
        eta_sweep(plane.classifier, plane.x, plane.y, etas=())
    with pytest.raises(ArgumentError, match="images: it is 0"):
        eta_sweep(plane.classifier, plane.x, plane.y, images=0)
