from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import nn

from minimaxopt import Sensitivity, solve
from minimaxopt.errors import ArgumentError
from minimaxopt_privacy import PredictionHead, PrivacyRisk, Task, privacy_game, privacy_risk, task_loss


def blind(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def test_risk_is_rho_times_utility_loss_minus_private_loss():
    leader = {"filter": nn.Identity(), "head": blind(2, 3)}
    batch = (torch.randn(6, 2), torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([0, 1, 0, 1, 0, 1]))
    # Heads that know nothing lose log 3 and log 2.
    risk = privacy_risk(2.0)(leader, blind(2, 2), batch).item()
    assert risk == pytest.approx(2 * math.log(3) - math.log(2), abs=1e-6)


def test_risk_falls_when_utility_is_read_and_rises_when_privacy_is():
    batch = (torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1]), torch.tensor([0, 1]))
    seeing = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        seeing.weight.copy_(5 * torch.eye(2))
    risk = privacy_risk(1.0)

    def at(head: nn.Module, adversary: nn.Module) -> float:
        return risk({"filter": nn.Identity(), "head": head}, adversary, batch).item()

    assert at(seeing, blind(2, 2)) < at(blind(2, 2), blind(2, 2)) < at(blind(2, 2), seeing)


def test_penalties_are_half_the_squared_norms_of_filter_and_head():
    leader = {"filter": nn.Linear(2, 2), "head": nn.Linear(2, 2)}
    batch, adversary = (torch.randn(4, 2), torch.tensor([0, 1, 0, 1]), torch.tensor([0, 1, 1, 0])), nn.Linear(2, 2)
    plain, risk = PrivacyRisk(1.0), PrivacyRisk(1.0, penalty=0.2, head_penalty=0.6)
    squares = {name: sum(p.square().sum().item() for p in part.parameters()) for name, part in leader.items()}
    expected = plain(leader, adversary, batch).item() + 0.1 * squares["filter"] + 0.3 * squares["head"]
    assert risk(leader, adversary, batch).item() == pytest.approx(expected, rel=1e-6)


def test_the_penalty_reaches_the_filter_that_a_solve_moves():
    game = privacy_game(nn.Linear(2, 1), nn.Linear(1, 2), nn.Linear(1, 2), rho=0.0, penalty=1e3)
    batch = (torch.zeros(4, 2), torch.tensor([0, 1, 0, 1]), torch.tensor([0, 1, 1, 0]))
    sgd = partial(torch.optim.SGD, lr=1e-3)
    solution = solve(game, Sensitivity(gamma=0.0), data=[batch], steps=1, u_optimizer=sgd, v_optimizer=sgd)
    # One step of rate 1 / penalty leads to the penalty's minimum; the weights see no other gradient of a zero batch.
    assert solution.u["filter"].weight.abs().max() < 1e-6 < game.u["filter"].weight.abs().max()


def test_a_committee_counts_by_its_mean_and_each_member_learns_for_itself():
    leader = {"filter": nn.Identity(), "head": blind(2, 2)}
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    batch = (torch.randn(8, 2), torch.arange(8) % 2, torch.arange(8) // 4)
    risk = privacy_risk(1.0)
    alone = [risk(leader, member, batch) for member in (first, second)]
    both = risk(leader, {"first": first, "second": second}, batch)
    assert both.item() == pytest.approx(sum(r.item() for r in alone) / 2, rel=1e-6)
    (slope,) = torch.autograd.grad(both, first.weight)
    (expected,) = torch.autograd.grad(alone[0], first.weight)
    assert torch.allclose(slope, expected / 2)


def test_several_tasks_count_by_their_weights():
    tasks = [Task(2, weight=3.0), Task(1, "regression")]
    loss = task_loss(tasks, [torch.zeros(2, 2), torch.ones(2, 1)], [torch.tensor([0, 1]), torch.zeros(2)])
    assert loss.item() == pytest.approx((3 * math.log(2) + 0.5) / 4, rel=1e-6)


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_a_reader_has_scores_for_each_task(hidden):
    tasks = [Task(2), Task(3), Task(1, "regression")]
    assert [tuple(s.shape) for s in PredictionHead(4, tasks, hidden)(torch.zeros(6, 4))] == [(6, 2), (6, 3), (6, 1)]
    assert PredictionHead(4, tasks[1:2], hidden)(torch.zeros(6, 4)).shape == (6, 3)


def test_the_follower_ascends_the_private_log_likelihood():
    """The sign: the follower's slope of the risk is the slope of minus its loss, the leader's that of rho times its."""
    game = privacy_game(nn.Identity(), nn.Linear(2, 2), nn.Linear(2, 2), rho=3.0)
    batch = (torch.randn(8, 2), torch.arange(8) % 2, torch.arange(8) // 4)
    risk = game.f(game.u, game.v, batch)
    for part, price, labels in ((game.v, -1.0, batch[2]), (game.u["head"], 3.0, batch[1])):
        (slope,) = torch.autograd.grad(risk, part.weight, retain_graph=True)
        (own,) = torch.autograd.grad(nn.functional.cross_entropy(part(batch[0]), labels), part.weight)
        assert torch.allclose(slope, price * own, atol=1e-6)


@pytest.mark.parametrize("rho", [-1.0, float("nan"), float("inf")])
def test_a_price_that_is_none_is_refused(rho):
    with pytest.raises(ArgumentError, match="rho: is"):
        privacy_game(nn.Identity(), nn.Linear(2, 2), nn.Linear(2, 2), rho=rho)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Task(1), "outputs: it is 1"),
        (lambda: Task(2, "ranking"), "kind: it is 'ranking'; give one of classification, regression"),
        (lambda: Task(2, weight=0.0), "weight: it is 0.0"),
        (lambda: PredictionHead(2, []), "tasks: there is none"),
        (lambda: PredictionHead(2, [Task(2)], (0,)), "hidden: it is 0"),
        (lambda: task_loss([Task(2)], [torch.zeros(1, 2)] * 2, [torch.zeros(1)]), "1 tasks stand beside 2 scores"),
        (lambda: PrivacyRisk(1.0, penalty=-1.0), "penalty: it is -1.0"),
        (lambda: PrivacyRisk(1.0, head_penalty=float("nan")), "head_penalty: it is nan"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(build, message):
    with pytest.raises(ArgumentError, match=message):
        build()
