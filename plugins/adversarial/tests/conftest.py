"""Classifiers whose worst case is known, and one that was trained."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from minimaxopt import Batches, Descent, solve
from minimaxopt_adversarial import classifier_game, feasible_box, load_mnist, small_cnn

KNIFE_EDGE = 1e-3


class Linear(nn.Module):
    """Logits that are linear in the pixels, so that the worst image for each rival class is a corner of the box."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x.flatten(1), self.weight)

    def least_margin(self, x: Tensor, y: Tensor, eta: float, bounds: tuple[float, float]) -> Tensor:
        """``min_k min_z (w_y - w_k) z`` over the images within ``eta`` and the bounds: negative where one fools it."""
        lower, upper = (edge.flatten(1)[:, None] for edge in feasible_box(x, eta, bounds))
        weight = self.weight.detach()
        ahead = weight[y][:, None] - weight[None]
        least = torch.minimum(ahead * lower, ahead * upper).sum(2)
        return least.scatter(1, y[:, None], float("inf")).amin(1)


@dataclass(frozen=True, eq=False)
class Known:
    """A linear classifier, images of which none lies on the edge of being fooled, and which of them can be."""

    classifier: Linear
    x: Tensor
    y: Tensor
    eta: float
    bounds: tuple[float, float]
    fooled: Tensor


def known(classes: int, bounds: tuple[float, float], eta: float, count: int = 80) -> Known:
    generator = torch.Generator().manual_seed(classes)
    weight = torch.randn(classes, 16, generator=generator)
    low, high = bounds
    x = torch.rand(count, 1, 4, 4, generator=generator) * (high - low) + low
    classifier = Linear(weight * 2 / (high - low)).eval()
    y = (classifier(x) + torch.randn(count, classes, generator=generator)).argmax(1)  # some clean errors
    least = classifier.least_margin(x, y, eta, bounds)
    clear = least.abs() > KNIFE_EDGE
    return Known(classifier, x[clear], y[clear], eta, bounds, least[clear] < 0)


@pytest.fixture(
    params=[(2, (-1.0, 1.0), 0.2), (5, (-1.0, 1.0), 0.1), (5, (0.0, 1.0), 0.05), (4, (0.0, 255.0), 20.0)],
    ids=lambda case: "{} classes on {}".format(*case),
)
def linear(request: pytest.FixtureRequest) -> Known:
    return known(*request.param)


@pytest.fixture
def make_known():
    return known


@pytest.fixture(scope="session")
def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """A small convolutional classifier of digits, trained for some seconds, and 200 digits that it has not seen."""
    data = load_mnist()
    torch.manual_seed(0)
    batches = Batches((data.x_train, data.y_train), 64, seed=0)
    adam = partial(torch.optim.Adam, lr=1e-3)
    solution = solve(classifier_game(small_cnn()), Descent(), data=batches, steps=150, u_optimizer=adam, seed=0)
    return solution.u.eval(), data.x_test[:200], data.y_test[:200]
