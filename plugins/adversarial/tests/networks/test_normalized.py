"""A classifier in the unit of the pixels: the same images as attacks with one radius for each channel."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from minimaxopt.errors import ArgumentError
from minimaxopt_adversarial import NormalizedClassifier, cross_entropy, fgsm, pgd

MEAN, STD, ETA = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616), 8 / 255


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(36, 5)).eval()


def images() -> tuple[Tensor, Tensor]:
    x = torch.rand(6, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    return x, torch.arange(6) % 5


def by_hand(net: nn.Module, x: Tensor, y: Tensor, steps: int) -> Tensor:
    """PGD on normalised images, with radius, step and bounds of each channel, from the clean images."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    clean, eta, low, high = (x - mean) / std, ETA / std, -mean / std, (1 - mean) / std
    z = clean.clone()
    for _ in range(steps):
        leaf = z.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(net(leaf), y), leaf)
        z = torch.clamp(z + 2.5 * eta / steps * gradient.sign(), clean - eta, clean + eta).clamp(low, high)
    return z * std + mean


@pytest.mark.parametrize("steps", [1, 10])
def test_one_radius_in_pixels_is_a_radius_of_each_channel(steps):
    net, (x, y) = network(), images()
    z = pgd(NormalizedClassifier(net, MEAN, STD).eval(), x, y, eta=ETA, steps=steps, bounds=(0.0, 1.0),
            random_start=False, keep_clean=False)  # fmt: skip
    torch.testing.assert_close(z, by_hand(net, x, y, steps), rtol=0, atol=1e-6)


def test_one_number_is_for_all_channels_and_vectors_are_normalised_too():
    x = torch.rand(4, 3)
    linear = nn.Linear(3, 2)
    assert torch.equal(NormalizedClassifier(linear, 0.5, 0.25)(x), linear((x - 0.5) / 0.25))
    each = NormalizedClassifier(linear, torch.tensor(MEAN), torch.tensor(STD))
    assert torch.equal(each(x), linear((x - torch.tensor(MEAN)) / torch.tensor(STD)))
    assert set(each.state_dict()) == {"classifier.weight", "classifier.bias"}
    double = NormalizedClassifier(network().double(), MEAN, STD).eval()
    assert fgsm(double, images()[0].double(), images()[1], eta=ETA, bounds=(0.0, 1.0)).dtype == torch.float64


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((0.5,) * 3, (0.2,) * 2, "std: there are 2 beside 3 means"),
        (0.5, 0.0, "std: it has 0; give numbers > 0"),
        (float("nan"), 0.2, "mean: it is nan"),
        ((), (), r"mean: it is \(\)"),
    ],
)
def test_what_cannot_normalise_is_refused(mean, std, message):
    with pytest.raises(ArgumentError, match=message):
        NormalizedClassifier(network(), mean, std)
    with pytest.raises(ArgumentError, match=r"x: its shape is \(2, 4, 5, 5\), and there are 3 means"):
        NormalizedClassifier(network(), MEAN, STD)(torch.zeros(2, 4, 5, 5))
