"""The classifiers: the cited architectures, the reduced form, and refused settings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from minimaxopt.errors import ArgumentError
from minimaxopt_adversarial import CifarCNN, MnistCNN, small_cnn


def test_the_default_is_the_cited_network_to_the_parameter():
    shapes = [tuple(p.shape) for p in MnistCNN().parameters()]
    assert shapes == [(32, 1, 5, 5), (32,), (64, 32, 5, 5), (64,), (512, 3136), (512,), (10, 512), (10,)]
    kinds = [type(m).__name__ for m in MnistCNN().modules() if not list(m.children())]
    assert kinds == ["Conv2d", "ReLU", "MaxPool2d"] * 2 + ["Flatten", "Linear", "ReLU", "Dropout", "Linear"]


def test_tutorial_weights_are_a_normal_of_deviation_a_tenth_cut_at_two_deviations():
    torch.manual_seed(0)
    layers = [m for m in MnistCNN().modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer in layers:
        assert layer.weight.abs().max() <= 0.2
        assert layer.weight.std().item() == pytest.approx(0.088, abs=0.006)  # 0.88 of the uncut deviation
    assert [layer.bias.detach().unique().item() for layer in layers] == pytest.approx([0.0, 0.1, 0.1, 0.1])


def test_torch_weights_are_pytorchs_own():
    torch.manual_seed(0)
    ours = MnistCNN(init="torch").features[0]
    torch.manual_seed(0)
    theirs = nn.Conv2d(1, 32, 5, padding=2)
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)


@pytest.mark.parametrize("stride", [1, 2])
def test_both_ways_to_halve_give_logits_and_second_derivatives(stride):
    torch.manual_seed(0)
    net = MnistCNN(width=4, stride=stride, hidden=8, classes=7).double()
    x = torch.rand(3, 1, 28, 28, dtype=torch.float64, requires_grad=True)
    logits = net(x)
    assert logits.shape == (3, 7)
    (gradient,) = torch.autograd.grad(logits.logsumexp(1).sum(), x, create_graph=True)
    mixed = torch.autograd.grad(gradient.pow(2).sum(), net.features[0].weight)[0]
    assert torch.isfinite(mixed).all()
    assert mixed.abs().max() > 0


def test_dropout_acts_in_training_only_and_can_be_switched_off():
    torch.manual_seed(0)
    x = torch.rand(4, 1, 28, 28)
    net = small_cnn()
    assert not torch.equal(net(x), net(x))
    assert torch.equal(net.eval()(x), net(x))
    sure = small_cnn(dropout=0.0)
    assert torch.equal(sure(x), sure(x))


def test_the_small_network_is_the_reduced_one():
    same = MnistCNN(width=8, stride=2, hidden=128)
    assert [p.shape for p in small_cnn().parameters()] == [p.shape for p in same.parameters()]
    assert sum(p.numel() for p in small_cnn().parameters()) < sum(p.numel() for p in MnistCNN().parameters()) / 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "width: it is 0; give an integer >= 1"),
        ({"hidden": 2.5}, "hidden: it is 2.5"),
        ({"classes": -1}, "classes: it is -1"),
        ({"stride": 3}, "stride: it is 3; give 1"),
        ({"dropout": 1.0}, r"dropout: it is 1.0; give a share in \[0, 1\)"),
        ({"init": "xavier"}, "init: there is no 'xavier'; Known: torch, tutorial"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ArgumentError, match=message):
        MnistCNN(**settings)


def test_images_of_another_shape_are_refused():
    with pytest.raises(ArgumentError, match=r"x: its shape is \(2, 3, 32, 32\); give images of shape"):
        small_cnn()(torch.zeros(2, 3, 32, 32))


@pytest.mark.parametrize("init", ["tutorial", "torch"])
def test_reset_parameters_initialises_as_when_built(init: Any) -> None:
    torch.manual_seed(3)
    network = small_cnn(init=init)
    built = [p.detach().clone() for p in network.parameters()]
    network.reset_parameters()
    for then, now in zip(built, network.parameters(), strict=True):
        if init == "tutorial" and then.dim() == 1:
            assert torch.equal(then, now)  # biases are constants there
        else:
            assert not torch.equal(then, now)
            assert float(now.detach().std()) == pytest.approx(float(then.std()), rel=0.5)


def test_the_cifar_network_is_the_one_cited() -> None:
    torch.manual_seed(0)
    network = CifarCNN()
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in convolutions] == [(64, 3, 5, 5), (64, 64, 5, 5)]
    assert [tuple(layer.weight.shape) for layer in linear] == [(384, 4096), (192, 384), (10, 192)]
    for layer, deviation in zip([*convolutions, *linear], (0.05, 0.05, 0.04, 0.04, 1 / 192), strict=True):
        assert layer.weight.abs().max() <= 2 * deviation
        # Cutting a normal at two deviations leaves 0.8796 of its deviation.
        assert float(layer.weight.detach().std()) == pytest.approx(0.8796 * deviation, rel=0.05)
    assert [float(layer.bias.detach().mean()) for layer in (*convolutions, *linear)] == pytest.approx(
        [0, 0.1, 0.1, 0.1, 0]
    )


def test_the_cifar_network_halves_by_same_padding_over_windows_of_three() -> None:
    """At the far edge the window of 3 x 3 holds two rows and columns, as where one of nothing is padded there."""
    network = CifarCNN(width=2, hidden=(4, 4))
    x = torch.randn(2, 3, 32, 32)
    first, activation, halve = network.features[0], network.features[1], network.features[2]
    inner = activation(first(x))
    padded = functional.max_pool2d(functional.pad(inner, (0, 1, 0, 1), value=float("-inf")), 3, 2)
    assert torch.equal(halve(inner), padded)
    assert network(x).shape == (2, 10)


def test_the_cifar_network_starts_anew_and_refuses() -> None:
    network = CifarCNN(width=2, hidden=(4, 4))
    before = [p.clone() for p in network.parameters()]
    network.reset_parameters()
    assert not torch.equal(before[0], next(network.parameters()))
    plain = CifarCNN(width=2, hidden=(4, 4), init="torch", dropout=0.5)
    assert plain.features[0].bias.abs().max() > 0
    for wrong in ({"hidden": (4,)}, {"init": "he"}, {"width": 0}, {"dropout": 1.0}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            CifarCNN(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="x: its shape"):
        network(torch.zeros(2, 1, 28, 28))
