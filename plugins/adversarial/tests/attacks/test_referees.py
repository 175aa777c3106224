"""The gradient attacks beside three independent libraries: the same images, and the same error to the sample."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from minimaxopt_adversarial import MnistCNN, fgsm, ifgsm, misclassified, momentum_pgd, pgd

FGSM_TOLERANCE = 1.2e-7  # the last bit may differ: here rounding is not allowed to leave the ball
PGD_TOLERANCE = 1e-6
L2_TOLERANCE = 1e-5
ETA, STEPS = 0.2, 10
PATH = 2.5 * ETA  # what pgd's steps could cross together

Referee = Callable[..., Tensor]
both_ranges = pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0.0, 1.0)], ids=["[-1, 1]", "[0, 1]"])


@pytest.fixture
def case(bounds):
    torch.manual_seed(0)
    net = MnistCNN(width=4, stride=2, hidden=16).eval()
    x = torch.rand(12, 1, 28, 28) * (bounds[1] - bounds[0]) + bounds[0]
    x[:, :, :10] = bounds[0]  # pixels on the bound, as a digit's background
    return net, x, torch.arange(12) % 10


def optional(name: str):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the referees' own imports warn
        return pytest.importorskip(name, reason=f"{name} is a referee of the extras")


def by_foolbox(name: str, net: nn.Module, x: Tensor, y: Tensor, bounds, eta: float = ETA) -> Tensor:
    foolbox = optional("foolbox")
    model = foolbox.PyTorchModel(net, bounds=bounds, device="cpu")
    still = {"steps": STEPS, "random_start": False}
    attacks = {
        "fgsm": partial(foolbox.attacks.FGSM, random_start=False),
        "ifgsm": partial(foolbox.attacks.LinfBasicIterativeAttack, abs_stepsize=eta / STEPS, **still),
        "pgd": partial(foolbox.attacks.LinfPGD, abs_stepsize=2.5 * eta / STEPS, **still),
        "pgd l2": partial(foolbox.attacks.L2PGD, abs_stepsize=2.5 * eta / STEPS, **still),
    }
    return attacks[name]()(model, x, foolbox.criteria.Misclassification(y), epsilons=eta)[1]


def by_art(name: str, net: nn.Module, x: Tensor, y: Tensor, bounds, eta: float = ETA) -> Tensor:
    evasion = optional("art.attacks.evasion")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from art.estimators.classification import PyTorchClassifier

        model = PyTorchClassifier(
            net, nn.CrossEntropyLoss(), input_shape=tuple(x.shape[1:]), nb_classes=net(x[:1]).shape[1],
            clip_values=bounds, device_type="cpu",
        )  # fmt: skip
        common = {"eps": eta, "batch_size": len(x), "max_iter": STEPS, "verbose": False}
        iterated = evasion.ProjectedGradientDescentPyTorch
        attacks = {
            "fgsm": partial(evasion.FastGradientMethod, model, eps=eta, batch_size=len(x)),
            "ifgsm": partial(iterated, model, eps_step=eta / STEPS, **common),
            "pgd": partial(iterated, model, eps_step=2.5 * eta / STEPS, **common),
            "momentum": partial(iterated, model, eps_step=2.5 * eta / STEPS, decay=0.9, **common),
        }
        return torch.from_numpy(np.asarray(attacks[name]().generate(x.numpy(), y.numpy())))


class FromZeroToOne(nn.Module):
    """The classifier as torchattacks wants it; within a tuple, since that library changes the mode of submodules."""

    def __init__(self, net: nn.Module, bounds: tuple[float, float]) -> None:
        super().__init__()
        self.net, self.low, self.span = (net,), bounds[0], bounds[1] - bounds[0]
        self.place = nn.Parameter(torch.zeros(()))

    def forward(self, t: Tensor) -> Tensor:
        return self.net[0](self.low + self.span * t)


def by_torchattacks(name: str, net: nn.Module, x: Tensor, y: Tensor, bounds, eta: float = ETA) -> Tensor:
    library = optional("torchattacks")
    model = FromZeroToOne(net, bounds)
    eps = eta / model.span
    attacks = {
        "fgsm": partial(library.FGSM, eps=eps),
        "ifgsm": partial(library.BIM, eps=eps, alpha=eps / STEPS, steps=STEPS),
        "pgd": partial(library.PGD, eps=eps, alpha=2.5 * eps / STEPS, steps=STEPS, random_start=False),
        "momentum": partial(library.MIFGSM, eps=eps, alpha=2.5 * eps / STEPS, steps=STEPS, decay=0.9),
    }
    return model.low + model.span * attacks[name](model)((x - model.low) / model.span, y)


def ours(name: str, net: nn.Module, x: Tensor, y: Tensor, bounds, eta: float = ETA) -> Tensor:
    last = {"eta": eta, "steps": STEPS, "random_start": False, "keep_clean": False}
    attacks = {
        "fgsm": partial(fgsm, eta=eta),
        "ifgsm": partial(ifgsm, eta=eta, steps=STEPS),
        "pgd": partial(pgd, **last),
        "momentum": partial(momentum_pgd, decay=0.9, **last),
    }
    return attacks[name](net, x, y, bounds=bounds)


@both_ranges
@pytest.mark.parametrize("referee", [by_foolbox, by_art, by_torchattacks])
def test_fgsm_equals_the_referee(case, bounds, referee):
    net, x, y = case
    expected = referee("fgsm", net, x, y, bounds)
    torch.testing.assert_close(fgsm(net, x, y, eta=ETA, bounds=bounds), expected, rtol=0, atol=FGSM_TOLERANCE)
    assert (expected - x).abs().max() > 0.9 * ETA


@both_ranges
@pytest.mark.parametrize("referee", [by_foolbox, by_art])
def test_pgd_without_random_start_agrees_with_the_referee(case, bounds, referee):
    net, x, y = case
    z = ours("pgd", net, x, y, bounds)
    torch.testing.assert_close(z, referee("pgd", net, x, y, bounds), rtol=0, atol=PGD_TOLERANCE)
    assert not torch.equal(z, fgsm(net, x, y, eta=ETA, bounds=bounds))


# Foolbox is no referee of momentum: its MI-FGSM accumulates the gradients without dividing them by their norm.
@both_ranges
@pytest.mark.parametrize("referee", [by_art, by_torchattacks])
def test_momentum_pgd_agrees_with_the_referee(case, bounds, referee):
    net, x, y = case
    z = ours("momentum", net, x, y, bounds)
    torch.testing.assert_close(z, referee("momentum", net, x, y, bounds), rtol=0, atol=PGD_TOLERANCE)
    assert not torch.equal(z, ours("pgd", net, x, y, bounds))


@both_ranges
def test_l2_pgd_agrees_with_foolbox(case, bounds):
    net, x, y = case
    z = pgd(net, x, y, eta=1.0, steps=STEPS, norm="l2", random_start=False, keep_clean=False, bounds=bounds)
    expected = by_foolbox("pgd l2", net, x, y, bounds, eta=1.0)
    torch.testing.assert_close(z, expected, rtol=0, atol=L2_TOLERANCE)


def pairs() -> list:
    return [
        pytest.param(name, referee, id=f"{name} {referee.__name__}")
        for name in ("fgsm", "ifgsm", "pgd", "momentum")
        for referee in (by_foolbox, by_art, by_torchattacks)
        if (name, referee) != ("momentum", by_foolbox)
    ]


@pytest.mark.parametrize(("name", "referee"), pairs())
def test_the_same_images_are_misclassified_on_a_trained_network(trained, name: str, referee: Referee):
    net, x, y = trained
    bounds, eta = (-1.0, 1.0), 0.2
    wrong, expected = (misclassified(net, run(name, net, x, y, bounds, eta), y) for run in (ours, referee))
    assert torch.equal(wrong, expected)
    assert int(misclassified(net, x, y).sum()) < int(wrong.sum()) < len(x)


@pytest.mark.parametrize(("name", "referee"), pairs())
def test_the_same_images_are_misclassified_where_the_answer_is_known(linear, name: str, referee: Referee):
    net, x, y = linear.classifier.eval(), linear.x, linear.y
    wrong, expected = (
        misclassified(net, run(name, net, x, y, linear.bounds, linear.eta), y) for run in (ours, referee)
    )
    assert torch.equal(wrong, expected)
    assert not bool((wrong & ~linear.fooled).any())
    if len(linear.classifier.weight) == 2:  # one direction alone, so that each of them finds the worst image
        assert torch.equal(wrong, linear.fooled)
