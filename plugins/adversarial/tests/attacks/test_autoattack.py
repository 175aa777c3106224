"""AutoAttack through torchattacks: the exact answer on linear classifiers, on every range, and nothing left behind."""

from __future__ import annotations

import sys
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from minimaxopt.errors import ArgumentError
from minimaxopt_adversarial import autoattack, autoattack_available, evaluate_robustness, misclassified, pgd

needs_torchattacks = pytest.mark.skipif(not autoattack_available(), reason="torchattacks, an optional extra, is absent")
quick = partial(autoattack, steps=20, queries=200)


@needs_torchattacks
@pytest.mark.parametrize("version", ["standard", "rand"])
@pytest.mark.parametrize("classes", [4, 7])
@pytest.mark.parametrize(("bounds", "eta"), [((-1.0, 1.0), 0.1), ((-0.1, 0.7), 0.04), ((0.0, 255.0), 13.0)])
def test_it_fools_exactly_the_images_that_can_be_fooled(make_known, classes, bounds, eta, version):
    linear = make_known(classes, bounds, eta)
    case = (linear.classifier, linear.x, linear.y)
    z = quick(*case, eta=linear.eta, bounds=linear.bounds, version=version, batch_size=30)
    wrong = misclassified(linear.classifier, z, linear.y)
    assert not bool((wrong & ~linear.fooled).any())
    # Without targets APGD may run after the wrong rival.
    assert int(wrong.sum()) >= int(linear.fooled.sum()) - (2 if version == "rand" else 0)
    assert 0 < int(linear.fooled.sum()) < len(linear.x)
    assert (z - linear.x).abs().max().item() <= linear.eta
    assert bool((z >= bounds[0]).all() and (z <= bounds[1]).all())
    # Where no attack was needed or none succeeded, the image is the clean one.
    alone = misclassified(linear.classifier, linear.x, linear.y) | ~linear.fooled
    assert torch.equal(z[alone], linear.x[alone])


@needs_torchattacks
def test_it_takes_float64_and_any_function(make_known):
    case = make_known(5, (-1.0, 1.0), 0.1)
    weight = case.classifier.weight.detach().double()
    z = quick(lambda x: x.flatten(1) @ weight.T, case.x.double(), case.y, eta=case.eta)
    assert z.dtype == torch.float64
    assert (z - case.x.double()).abs().max().item() <= case.eta
    assert torch.equal(misclassified(lambda x: x.flatten(1) @ weight.T, z, case.y), case.fooled)


@needs_torchattacks
def test_its_error_on_a_trained_classifier_is_at_least_that_of_pgd(trained):
    net, x, y = (trained[0], trained[1][:40], trained[2][:40])
    wrong = misclassified(net, autoattack(net, x, y, eta=0.12, steps=30, queries=100), y)
    by_pgd = misclassified(net, pgd(net, x, y, eta=0.12, steps=40, generator=torch.Generator().manual_seed(0)), y)
    assert 0 < int(by_pgd.sum()) <= int(wrong.sum()) < len(x)


@needs_torchattacks
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_it_is_reproducible_and_leaves_everything_as_it_was(training, context):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 5)).train(training)
    net[2].eval()  # batch statistics would depend on the batch, and be written
    net[1].weight.requires_grad_(False)
    net[4].weight.grad = torch.ones_like(net[4].weight)
    x = torch.rand(12, 1, 4, 4) * 2 - 1
    y, copy = torch.arange(12) % 5, x.clone()
    state, before = torch.get_rng_state(), {name: value.clone() for name, value in net.state_dict().items()}
    with context():
        first, second = (quick(net, x.clone(), y.clone(), eta=0.05, batch_size=5) for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in net] == [training, training, False, training, training]
    assert [p.requires_grad for p in net.parameters()] == [False] + [True] * 5
    assert torch.equal(net[4].weight.grad, torch.ones_like(net[4].weight))
    assert [p.grad is None for p in net.parameters()] == [True] * 4 + [False, True]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(x, copy)


@needs_torchattacks
def test_a_classifier_that_answers_with_its_own_storage_keeps_it():
    x = torch.eye(5, 6).view(5, 1, 2, 3)  # far from being fooled, so that all four attacks see them
    kept: list[Tensor] = []

    def views(images: Tensor) -> Tensor:
        kept.append(images)
        return images.flatten(1)

    quick(views, x, torch.arange(5), eta=0.01, bounds=(0.0, 1.0))
    assert all(bool(torch.isfinite(images).all()) for images in kept)


@needs_torchattacks
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": torch.zeros(3)}, "target: its dtype is torch.float32"),
        ({"target": torch.full((3,), 16)}, r"y: its labels span \[16, 16\] where there are 16 classes"),
        ({"version": "plus"}, "version: there is no 'plus'; Known: rand, standard"),
        ({"steps": 0}, "steps: it is 0"),
        ({"eta": -1.0}, "eta: it is -1.0"),
        ({"x": torch.full((3, 1, 4, 4), 2.0)}, "x: its pixels span"),
    ],
)
def test_what_it_cannot_use_is_refused(change, message):
    good = {"classifier": lambda x: x.flatten(1), "x": torch.zeros(3, 1, 4, 4), "y": torch.arange(3), "eta": 0.1}
    assert torch.equal(quick(**{**good, "eta": 0.0}), good["x"])
    with pytest.raises(ArgumentError, match=message):
        quick(**{**good, **change})


def test_without_torchattacks_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchattacks", None)
    assert not autoattack_available()
    x, y = torch.rand(2, 1, 4, 4), torch.tensor([0, 1])
    with pytest.raises(ArgumentError, match=r"torchattacks cannot be imported .*minimaxopt-adversarial\[autoattack\]"):
        autoattack(lambda x: x.flatten(1), x, y, eta=0.1)
    evaluate = partial(evaluate_robustness, lambda x: x.flatten(1), x, y, eta=0.1)
    with pytest.raises(ArgumentError, match="autoattack_images: torchattacks is not installed"):
        evaluate()
    assert evaluate(autoattack_images=0).autoattack is None
