from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from minimaxopt import load_problem, solve
from minimaxopt.errors import ArgumentError
from minimaxopt_privacy import digits_privacy_filter, privacy_game, privacy_risk
from minimaxopt_privacy.digits import digits

STEPS = 500
GUESS = 0.5


def test_risk_is_rho_times_utility_loss_minus_private_loss():
    leader = {"filter": nn.Identity(), "head": nn.Linear(2, 3)}
    adversary = nn.Linear(2, 2)
    for layer in (leader["head"], adversary):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    batch = (torch.randn(6, 2), torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([0, 1, 0, 1, 0, 1]))
    # Heads that know nothing lose log 3 and log 2.
    assert privacy_risk(2.0)(leader, adversary, batch).item() == pytest.approx(2 * math.log(3) - math.log(2), abs=1e-6)


def test_risk_falls_when_utility_is_read_and_rises_when_privacy_is():
    batch = (torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1]), torch.tensor([0, 1]))
    blind, seeing = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    nn.init.zeros_(blind.weight)
    with torch.no_grad():
        seeing.weight.copy_(5 * torch.eye(2))
    risk = privacy_risk(1.0)

    def at(head: nn.Module, adversary: nn.Module) -> float:
        return risk({"filter": nn.Identity(), "head": head}, adversary, batch).item()

    assert at(seeing, blind) < at(blind, blind) < at(blind, seeing)


@pytest.mark.parametrize("rho", [-1.0, float("nan"), float("inf")])
def test_a_price_that_is_none_is_refused(rho):
    with pytest.raises(ArgumentError, match="rho: is"):
        privacy_game(nn.Identity(), nn.Linear(2, 2), nn.Linear(2, 2), rho=rho)


@pytest.mark.parametrize("dimension", [0, 65])
def test_a_dimension_that_cannot_be_published_is_refused(dimension):
    with pytest.raises(ArgumentError, match=f"dimension: is {dimension}"):
        digits_privacy_filter(dimension=dimension)


def test_the_data_are_apart_and_the_private_label_is_the_parity():
    (x, y, s), (x_test, y_test, s_test) = digits()
    assert x.abs().max() == 1
    assert torch.equal(s, y % 2)
    assert torch.equal(s_test, y_test % 2)
    seen = {tuple(row.tolist()) for row in x}
    assert sum(tuple(row.tolist()) in seen for row in x_test) == 0


def test_the_filter_hides_the_parity_and_keeps_the_digit():
    def judged(rho: float) -> dict[str, float]:
        problem = load_problem("digits-privacy-filter", rho=rho, rate=5e-3)
        solution = solve(problem.game, data=problem.data, **{**problem.settings, "steps": STEPS})
        return {name: metric(solution.u, solution.v) for name, metric in problem.metrics.items()}

    open_, private = judged(rho=1000.0), judged(rho=1.0)
    assert open_["utility_error"] < 0.08
    assert private["utility_error"] < 0.15
    # A fresh softmax adversary reads the parity from a filter that does not care, and much worse from the minimax one.
    assert open_["fresh_linear_error"] < 0.16
    assert private["fresh_linear_error"] > open_["fresh_linear_error"] + 0.1
    # The parity is a function of the digit, so that an adversary of another kind reads it nearly as well as the digit.
    assert private["fresh_neighbour_error"] < private["utility_error"] + 0.05 < GUESS


def test_one_seed_gives_one_problem_and_leaves_the_random_state():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first, second = digits_privacy_filter(seed=3).game, digits_privacy_filter(seed=3).game
    assert torch.equal(first.v.weight, second.v.weight)
    assert not torch.equal(first.v.weight, digits_privacy_filter(seed=4).game.v.weight)
    assert torch.equal(torch.rand(1), expected)
