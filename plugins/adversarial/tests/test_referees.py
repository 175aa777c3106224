"""FGSM and PGD beside two independent libraries, on both usual ranges of pixels."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from minimaxopt_adversarial import MnistCNN, fgsm, pgd

PGD_TOLERANCE = 1e-6
L2_TOLERANCE = 1e-5
ETA, STEPS = 0.2, 10

pytestmark = pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0.0, 1.0)], ids=["[-1, 1]", "[0, 1]"])


@pytest.fixture
def case(bounds):
    torch.manual_seed(0)
    net = MnistCNN(width=4, stride=2, hidden=16).eval()
    x = torch.rand(12, 1, 28, 28) * (bounds[1] - bounds[0]) + bounds[0]
    x[:, :, :10] = bounds[0]  # pixels on the bound, as a digit's background
    return net, x, torch.arange(12) % 10


def by_foolbox(name: str, net: nn.Module, x: torch.Tensor, y: torch.Tensor, bounds, eta: float = ETA) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the referee's own imports warn
        foolbox = pytest.importorskip("foolbox")
    model = foolbox.PyTorchModel(net, bounds=bounds, device="cpu")
    attacks = {
        "fgsm": foolbox.attacks.FGSM(random_start=False),
        "pgd": foolbox.attacks.LinfPGD(abs_stepsize=2.5 * eta / STEPS, steps=STEPS, random_start=False),
        "pgd l2": foolbox.attacks.L2PGD(abs_stepsize=2.5 * eta / STEPS, steps=STEPS, random_start=False),
    }
    return attacks[name](model, x, foolbox.criteria.Misclassification(y), epsilons=eta)[1]


def by_art(name: str, net: nn.Module, x: torch.Tensor, y: torch.Tensor, bounds) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the referee's own imports warn
        evasion = pytest.importorskip("art.attacks.evasion")
        from art.estimators.classification import PyTorchClassifier

        model = PyTorchClassifier(
            net, nn.CrossEntropyLoss(), input_shape=(1, 28, 28), nb_classes=10, clip_values=bounds, device_type="cpu"
        )
        if name == "fgsm":
            attack = evasion.FastGradientMethod(model, eps=ETA, batch_size=len(x))
        else:
            attack = evasion.ProjectedGradientDescentPyTorch(
                model, eps=ETA, eps_step=2.5 * ETA / STEPS, max_iter=STEPS, batch_size=len(x), verbose=False
            )
        return torch.from_numpy(np.asarray(attack.generate(x.numpy(), y.numpy())))


@pytest.mark.parametrize("referee", [by_foolbox, by_art])
def test_fgsm_equals_the_referee(case, bounds, referee):
    net, x, y = case
    expected = referee("fgsm", net, x, y, bounds)
    # The last bit may differ: here rounding is not allowed to leave the ball.
    torch.testing.assert_close(fgsm(net, x, y, eta=ETA, bounds=bounds), expected, rtol=0, atol=1.2e-7)
    assert (expected - x).abs().max() > 0.9 * ETA


@pytest.mark.parametrize("referee", [by_foolbox, by_art])
def test_pgd_without_random_start_agrees_with_the_referee(case, bounds, referee):
    net, x, y = case
    z = pgd(net, x, y, eta=ETA, steps=STEPS, random_start=False, keep_clean=False, bounds=bounds)
    torch.testing.assert_close(z, referee("pgd", net, x, y, bounds), rtol=0, atol=PGD_TOLERANCE)
    assert not torch.equal(z, fgsm(net, x, y, eta=ETA, bounds=bounds))


def test_l2_pgd_agrees_with_foolbox(case, bounds):
    net, x, y = case
    z = pgd(net, x, y, eta=1.0, steps=STEPS, norm="l2", random_start=False, keep_clean=False, bounds=bounds)
    expected = by_foolbox("pgd l2", net, x, y, bounds, eta=1.0)
    torch.testing.assert_close(z, expected, rtol=0, atol=L2_TOLERANCE)
