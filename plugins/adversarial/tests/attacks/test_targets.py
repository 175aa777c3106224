"""Targeted attacks: the exact answer of a linear program, the goal before the loss, and what is refused."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor
from torch.nn import functional

from minimaxopt.errors import ArgumentError
from minimaxopt_adversarial import (
    attack_in_batches,
    autoattack,
    autoattack_available,
    cross_entropy,
    feasible_box,
    fgsm,
    gradient_step,
    ifgsm,
    margin_loss,
    momentum_pgd,
    pgd,
    worst_of,
)

needs_torchattacks = pytest.mark.skipif(not autoattack_available(), reason="torchattacks, an optional extra, is absent")
SINGLE = {"fgsm": fgsm, "gradient_step": gradient_step, "ifgsm": partial(ifgsm, steps=5)}
ITERATED = {"pgd": pgd, "momentum_pgd": momentum_pgd, "pgd l2": partial(pgd, norm="l2")}
KNIFE_EDGE = 1e-3


def largest_margin(weight: np.ndarray, lower: np.ndarray, upper: np.ndarray, target: int) -> float:
    """``max_z min_k (w_target - w_k) z`` over a box, by a linear program in (z, t)."""
    ahead = np.delete(weight[target] - weight, target, 0)
    objective = np.append(np.zeros(len(lower)), -1.0)
    rows = np.hstack([-ahead, np.ones((len(ahead), 1))])
    bounds = [*zip(lower, upper, strict=True), (None, None)]
    return -linprog(objective, A_ub=rows, b_ub=np.zeros(len(ahead)), bounds=bounds).fun


@pytest.fixture
def reachable(make_known):
    """A linear classifier of five classes, images, targets, and which of them an image in the box can reach."""
    case = make_known(5, (-1.0, 1.0), 0.25)
    x, y = case.x, case.y
    target = (y + 1 + torch.arange(len(y)) % 4) % 5
    weight = case.classifier.weight.detach().numpy().astype(float)
    lower, upper = (edge.flatten(1).numpy() for edge in feasible_box(x, case.eta, case.bounds))
    margins = torch.tensor([largest_margin(weight, *box) for box in zip(lower, upper, target.tolist(), strict=True)])
    clear = margins.abs() > KNIFE_EDGE
    return case.classifier, x[clear], y[clear], target[clear], case.eta, (margins > 0)[clear]


@pytest.mark.parametrize("loss", [cross_entropy, margin_loss])
@pytest.mark.parametrize("options", [{}, {"skip_fooled": True}, {"keep_clean": False}, {"restarts": 1}])
@pytest.mark.parametrize("name", ["pgd", "momentum_pgd"])
def test_targets_are_reached_where_a_linear_program_reaches_them(reachable, name, options, loss):
    classifier, x, y, target, eta, expected = reachable
    run = partial(ITERATED[name], classifier, x, y, eta=eta, steps=40, target=target, loss=loss)
    z = run(generator=torch.Generator().manual_seed(0), **{"restarts": 5, **options})
    reached = classifier(z).argmax(1) == target
    assert 0.1 < expected.float().mean() < 0.9
    assert not bool((reached & ~expected).any())
    assert int(reached.sum()) >= int(expected.sum()) - 1 - (options == {"restarts": 1})
    assert (z - x).abs().max().item() <= eta


@needs_torchattacks
def test_autoattack_reaches_the_targets_that_can_be_reached(reachable):
    classifier, x, y, target, eta, expected = (part[:12] if isinstance(part, Tensor) else part for part in reachable)
    z = autoattack(classifier, x, y, eta=eta, target=target, steps=10, queries=20, batch_size=7)
    reached = classifier(z).argmax(1) == target
    assert torch.equal(reached, expected)
    assert (z - x).abs().max().item() <= eta
    assert torch.equal(z[~expected], x[~expected])


@pytest.mark.parametrize("name", [*SINGLE, *ITERATED])
def test_a_target_is_an_ascent_of_the_negative_loss_of_the_target(reachable, name):
    classifier, x, y, target, eta, _ = reachable
    attack = {**SINGLE, **ITERATED}[name]
    options = {} if name in SINGLE else {"steps": 5, "keep_clean": False, "random_start": False}
    z = attack(classifier, x, y, eta=eta, target=target, **options)
    negative = partial(attack, loss=lambda logits, labels: -cross_entropy(logits, labels))
    torch.testing.assert_close(z, negative(classifier, x, target, eta=eta, **options), rtol=0, atol=0)
    assert not torch.equal(z, attack(classifier, x, y, eta=eta, **options))


def test_more_restarts_never_reach_fewer_targets(reachable):
    classifier, x, y, target, eta, _ = reachable

    def reached(restarts: int, skip_fooled: bool) -> Tensor:
        source = torch.Generator().manual_seed(1)
        z = pgd(classifier, x, y, eta=eta, steps=2, restarts=restarts, target=target, skip_fooled=skip_fooled,
                generator=source)  # fmt: skip
        return classifier(z).argmax(1) == target

    by_restarts = [reached(restarts, False) for restarts in (1, 2, 5)]
    assert all(bool((more | ~fewer).all()) for fewer, more in pairwise(by_restarts))
    assert torch.equal(reached(5, True), by_restarts[-1])


def test_the_example_of_the_report_reaches_its_target():
    x, y, target = torch.tensor([[0.2, 0.0, 0.1]]), torch.tensor([0]), torch.tensor([1])
    assert pgd(lambda t: t, x, y, eta=0.25, random_start=False, target=target).argmax(1).item() == 1
    # The target in the place of the label: the clean image, "misclassified" by it, would have come first.
    with pytest.raises(ArgumentError, match=r"loss: it is smaller for a wrong class .*give target="):
        pgd(lambda t: t, x, target, eta=0.25, random_start=False, loss=lambda a, b: -cross_entropy(a, b))
    # Nothing is chosen, so that the loss alone decides.
    z = pgd(
        lambda t: t, x, target, eta=0.25, random_start=False, keep_clean=False, loss=lambda a, b: -cross_entropy(a, b)
    )
    assert z.argmax(1).item() == 1


def test_worst_of_puts_the_target_before_its_loss():
    target, y = torch.tensor([2, 2]), torch.tensor([0, 0])
    first = torch.tensor([[0.0, 5.0, 0.0], [0.0, 0.0, 1.0]])
    second = torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, 2.0]])
    assert torch.equal(worst_of(lambda x: x, [first, second], y, target=target), second)
    assert torch.equal(worst_of(lambda x: x, [second, first], y, target=target), second)


@pytest.mark.parametrize("name", [*SINGLE, *ITERATED])
def test_targets_are_checked(reachable, name):
    classifier, x, y, target, eta, _ = reachable
    run = partial({**SINGLE, **ITERATED}[name], classifier, x, y, eta=eta)
    assert run(target=target).shape == x.shape
    for wrong, message in [
        (target[:2], "target: its shape is"),
        (target.float(), r"target: its dtype is torch.float32.*target\.long"),
        (target + 5, r"labels span .* where there are 5 classes"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            run(target=wrong)


@pytest.mark.parametrize("name", [*SINGLE, *ITERATED])
def test_a_loss_that_sums_is_refused(reachable, name):
    classifier, x, y, _, eta, _ = reachable
    run = partial({**SINGLE, **ITERATED}[name], classifier, x, y, eta=eta)
    with pytest.raises(ArgumentError, match="loss: it sums over the samples; return their mean or one value each"):
        run(loss=partial(functional.cross_entropy, reduction="sum"))
    for loss in (
        partial(functional.cross_entropy, reduction="none"),
        partial(functional.cross_entropy, label_smoothing=0.1),
        partial(functional.cross_entropy, weight=torch.arange(1.0, 6.0)),
    ):
        assert run(loss=loss).shape == x.shape
    # One sample alone is its own mean.
    alone = partial({**SINGLE, **ITERATED}[name], classifier, x[:1], y[:1], eta=eta)
    assert alone(loss=partial(functional.cross_entropy, reduction="sum")).shape == x[:1].shape


def test_a_loss_with_targets_of_its_own_works_on_whole_batches(reachable):
    classifier, x, y, target, eta, _ = reachable
    z = fgsm(classifier, x, y, eta=eta, loss=lambda logits, labels: -functional.cross_entropy(logits, target))
    assert torch.equal(z, fgsm(classifier, x, y, eta=eta, target=target))
    with pytest.raises(ArgumentError, match="loss: it is smaller for a wrong class"):
        attack_in_batches(partial(pgd, eta=eta, loss=lambda logits, labels: -cross_entropy(logits, labels)),
                          classifier, x, y)  # fmt: skip
