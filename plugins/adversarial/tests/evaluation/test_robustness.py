"""The evaluation under strong attacks: exact on linear classifiers, and honest about what it covers."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch

from minimaxopt.errors import ArgumentError
from minimaxopt_adversarial import (
    Errors,
    RobustnessEvaluation,
    StrongAttack,
    autoattack_available,
    evaluate_robustness,
    feasible_box,
    fgsm,
    misclassified,
    momentum_pgd,
    pgd,
    strong_attacks,
)

QUICK = strong_attacks(steps=8, restarts=2)
needs_torchattacks = pytest.mark.skipif(not autoattack_available(), reason="torchattacks, an optional extra, is absent")
plain = partial(evaluate_robustness, attacks=QUICK, autoattack_images=0)


@pytest.mark.parametrize("attack", strong_attacks(steps=20, restarts=3), ids=lambda attack: attack.name)
def test_a_strong_attack_fools_exactly_the_images_that_can_be_fooled(linear, attack):
    source = torch.Generator().manual_seed(0)
    z = attack(linear.classifier, linear.x, linear.y, eta=linear.eta, bounds=linear.bounds, generator=source)
    wrong = misclassified(linear.classifier, z, linear.y)
    assert not bool((wrong & ~linear.fooled).any())
    # With two classes the gradient has one direction; with more an attack may run after the wrong rival.
    two = linear.classifier.weight.shape[0] == 2
    assert int(wrong.sum()) >= int(linear.fooled.sum()) - (0 if two else 2)


def test_the_evaluation_reaches_the_exact_worst_case(linear):
    classes = linear.classifier.weight.shape[0]
    robustness = evaluate_robustness(
        linear.classifier,
        linear.x,
        linear.y,
        eta=linear.eta,
        bounds=linear.bounds,
        attacks=strong_attacks(steps=20, restarts=5),
        autoattack_images=40 if classes >= 4 and autoattack_available() else 0,
        autoattack_steps=20,
        autoattack_queries=100,
    )
    assert torch.equal(robustness.worst.wrong, linear.fooled)
    assert robustness.clean.rate < robustness.worst.rate < 1
    if robustness.autoattack is not None:
        assert torch.equal(robustness.autoattack.wrong, linear.fooled[:40])
        assert torch.equal(robustness.worst_covered.wrong, linear.fooled[:40])


def test_the_columns_are_the_attacks_one_by_one_and_do_not_depend_on_each_other(trained):
    net, x, y = trained
    x, y = x[:60], y[:60]
    images = momentum_pgd(net, x, y, eta=0.1, steps=3, generator=torch.Generator().manual_seed(0))
    robustness = plain(net, x, y, eta=0.1, transfer={"itself": net, "given": images}, batch_size=25)
    assert torch.equal(robustness.clean.wrong, net(x).argmax(1) != y)
    assert torch.equal(robustness.fgsm.wrong, misclassified(net, fgsm(net, x, y, eta=0.1), y))
    assert torch.equal(robustness.transfer["given"].wrong, misclassified(net, images, y))
    published = momentum_pgd(net, x, y, eta=0.1, steps=10, step_size=0.01, random_start=False, keep_clean=False)
    assert torch.equal(robustness.transfer["itself"].wrong, misclassified(net, published, y))
    state = torch.get_rng_state()
    again = plain(net, x, y, eta=0.1, batch_size=25)
    assert torch.equal(torch.get_rng_state(), state)
    assert list(robustness.attacks) == ["PGD", "PGD margin", "momentum PGD"]
    for name, errors in robustness.attacks.items():
        assert torch.equal(errors.wrong, again.attacks[name].wrong)
        assert errors.rate >= robustness.clean.rate
    assert list(robustness.columns()) == [
        "clean", "FGSM", "PGD", "PGD margin", "momentum PGD", "transfer from itself", "transfer from given", "worst",
    ]  # fmt: skip
    assert set(robustness.columns()) == {*robustness.settings, "worst"}


def test_restarts_in_an_evaluation_fool_what_pgd_with_all_restarts_fools(trained):
    net, x, y = trained
    robustness = plain(net, x, y, eta=0.1, attacks=[StrongAttack("PGD", steps=5, restarts=4)], seed=3)
    z = pgd(net, x, y, eta=0.1, steps=5, restarts=4, generator=torch.Generator().manual_seed(3))
    assert torch.equal(robustness.attacks["PGD"].wrong, misclassified(net, z, y))


def test_the_seed_decides_the_random_starts():
    """Without a gradient an attack is its random start."""

    def rounded(x):
        return (4 * x).round()

    generator = torch.Generator().manual_seed(0)
    x = torch.rand(200, 5, generator=generator) * 0.2
    run = partial(plain, rounded, x, torch.zeros(200, dtype=torch.int64), eta=0.2)
    one, same, other = (run(seed=seed).attacks["PGD"].wrong for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def mask(text: str) -> Errors:
    return Errors(torch.tensor([letter == "x" for letter in text]))


def evaluation(**columns) -> RobustnessEvaluation:
    defaults = {"clean": mask("x....."), "fgsm": mask(".x...."), "attacks": {"PGD": mask("..x...")}, "transfer": {}}
    rest = {"eta": 0.1, "bounds": (-1.0, 1.0), "seed": 0, "autoattack": None, "settings": {}}
    return RobustnessEvaluation(**{**defaults, **rest, **columns})


def test_the_worst_counts_each_image_once_and_autoattack_where_it_was_run():
    assert evaluation().worst.wrong.tolist() == mask("xxx...").wrong.tolist()
    assert evaluation().worst_covered is None
    assert evaluation(transfer={"b": mask("....x.")}).worst.wrong.tolist() == mask("xxx.x.").wrong.tolist()
    both = evaluation(autoattack=mask("...x"), transfer={"b": mask("....x.")})
    assert both.worst.wrong.tolist() == mask("xxxxx.").wrong.tolist()
    assert both.worst_covered.wrong.tolist() == mask("xxxx").wrong.tolist()
    assert both.iterated.wrong.tolist() == mask("..x...").wrong.tolist()
    assert evaluation(attacks={}).iterated is None


@needs_torchattacks
def test_a_record_holds_everything(trained):
    net, x, y = trained
    robustness = evaluate_robustness(
        net, x[:30], y[:30], eta=0.05, attacks=QUICK, autoattack_images=10, autoattack_steps=5, autoattack_queries=10,
        transfer={"itself": net},
    )  # fmt: skip
    again = RobustnessEvaluation.from_dict(json.loads(json.dumps(robustness.to_dict())))
    assert again.to_dict() == robustness.to_dict()
    assert again.settings["AutoAttack"] == "standard AutoAttack on the first 10 images, 5 steps, 10 queries"
    assert (again.autoattack.count, again.worst_covered.count, again.worst.count) == (10, 10, 30)
    assert again.bounds == (-1.0, 1.0)
    assert set(robustness.columns()) == {*robustness.settings, "worst"}


def test_transferred_images_may_be_off_by_rounding_and_no_further():
    x, y = torch.zeros(3, 4), torch.tensor([0, 1, 2])
    run = partial(plain, lambda x: x, x, y, eta=0.3)
    rounded = x + torch.tensor(0.3)  # float32(0.3) is larger than 0.3
    assert rounded.max().item() > 0.3
    assert run(transfer={"a": rounded}).transfer["a"].count == 3
    lower, _ = feasible_box(x, 0.3, (-1.0, 1.0))
    assert (
        run(transfer={"a": lower}).transfer["a"].errors
        == run(transfer={"a": x - torch.tensor(0.3)}).transfer["a"].errors
    )
    for wrong in (x + 0.31, x + float("nan")):
        with pytest.raises(ArgumentError, match=r"transfer\['a'\]: some pixels are outside .* further than 0.3"):
            run(transfer={"a": wrong})
    with pytest.raises(ArgumentError, match=r"transfer\['a'\]: its shape is \(2, 4\) beside \(3, 4\)"):
        run(transfer={"a": x[:2]})


def test_an_evaluation_at_eta_zero_is_the_clean_one(trained):
    net, x, y = trained
    robustness = plain(net, x[:20], y[:20], eta=0.0, transfer={"itself": net})
    assert all(torch.equal(errors.wrong, robustness.clean.wrong) for errors in robustness.columns().values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attacks": [*QUICK, QUICK[0]]}, "attacks: the name 'PGD' is used twice"),
        ({"attacks": [StrongAttack("FGSM")]}, "attacks: the name 'FGSM' is used twice"),
        ({"autoattack_images": -1}, "autoattack_images: it is -1"),
        ({"eta": -0.1}, "eta: it is -0.1"),
        ({"x": torch.full((3, 4), 2.0)}, "x: its pixels span"),
        ({"batch_size": 0}, "batch_size: it is 0"),
    ],
)
def test_what_an_evaluation_cannot_use_is_refused(change, message):
    good = {"classifier": lambda x: x, "x": torch.zeros(3, 4), "y": torch.tensor([0, 1, 2]), "eta": 0.1}
    assert plain(**good).count == 3
    with pytest.raises(ArgumentError, match=message):
        plain(**{**good, **change})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "hinge"}, "loss: there is no 'hinge'"),
        ({"steps": 0}, "steps: it is 0"),
        ({"restarts": 0}, "restarts: it is 0"),
        ({"decay": -1.0}, "decay: it is -1.0"),
    ],
)
def test_settings_of_a_strong_attack_are_checked(settings, message):
    assert StrongAttack("PGD").describe() == "PGD on the cross-entropy, 40 steps of 2.5 eta / 40, 5 random starts"
    momentum = StrongAttack("m", decay=1.0, restarts=1)
    assert momentum.describe().startswith("momentum PGD (decay 1)")
    assert momentum.describe().endswith("1 random start")
    with pytest.raises(ArgumentError, match=message):
        StrongAttack("PGD", **settings)
