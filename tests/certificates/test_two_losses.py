"""Certificates of games in which the follower has a loss of its own: nothing is given that is of ``f`` alone."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from minimaxopt import Box, Certificate, Game, Solution, certify, solve
from minimaxopt.errors import ArgumentError, RiskError

SGD = partial(torch.optim.SGD, lr=0.3)


def number(x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


def f(u: Tensor, v: Tensor) -> Tensor:
    return (v - 3) ** 2 / 2 + u**2 / 4


def g(u: Tensor, v: Tensor) -> Tensor:
    return (v - 2 * u) ** 2 / 2


def game(u: float, v: float, **changes: Any) -> Game:
    return Game(f, number(u), number(v), **{"follower_loss": g} | changes)


def test_the_risk_is_that_of_followers_trained_on_their_own_loss() -> None:
    at = game(1.0, 0.5)
    certificate = certify(at, (at.u, at.v), restarts=3, steps=300, v_optimizer=SGD)
    assert certificate.risk.value == pytest.approx(2.5**2 / 2 + 1 / 4)
    fresh = [q for name, q in certificate.followers.items() if name.startswith("fresh")]
    assert len(fresh) == 3
    for quantity in fresh:  # v = 2 u
        assert quantity.value == pytest.approx(0.75, abs=1e-9)
        assert float(quantity.note.removeprefix("its own loss is ")) == pytest.approx(0.0, abs=1e-12)
    assert certificate.followers["the solution's follower"].note == "its own loss is 1.125"
    assert certificate.worst.value == certificate.risk.value
    assert certificate.worst.accuracy == "estimate"
    assert certificate.worst.note == "the solution's follower, among followers trained on their own loss"


def test_what_is_of_f_alone_is_left_out() -> None:
    at = game(1.0, 0.5)
    certificate = certify(at, (at.u, at.v), restarts=1, steps=5)
    assert (certificate.best, certificate.gap, certificate.sandwich, certificate.move) == (None, None, None, None)
    assert (certificate.leaders, certificate.eigenvalues, certificate.constraints) == ({}, {}, {})
    assert certificate.kind == "undecided"
    assert "the follower minimises a loss of its own" in certificate.reason
    text = str(certificate)
    assert not any(word in text for word in ("best answer", "gap  ", "eigenvalue", "unbounded"))
    assert Certificate.from_dict(certificate.to_dict()) == certificate
    zero_sum = certify(Game(f, at.u, at.v), (at.u, at.v), restarts=1, steps=5)
    assert zero_sum.gap is not None
    assert zero_sum.best is not None
    assert zero_sum.worst.value == np.inf


def test_stationarity_is_of_each_players_own_loss() -> None:
    at = game(1.0, 0.5, project_v=Box(-1.0, 1.0), project_u=Box(-2.0, 2.0))
    certificate = certify(at, (at.u, at.v), restarts=0)
    assert certificate.stationarity["u"].value == pytest.approx(0.5)  # not the total derivative
    assert certificate.stationarity["v"].value == pytest.approx(0.5)  # of the step by 1.5 to the bound


def test_a_risk_that_depends_on_the_leader_through_the_answer_alone() -> None:
    own = Game(lambda u, v: (v - 3) ** 2 / 2, number(1.5), number(3.0), follower_loss=g)
    certificate = certify(own, (own.u, own.v), restarts=1, steps=300, v_optimizer=SGD)
    assert certificate.worst.value == pytest.approx(0.0, abs=1e-9)
    assert [q.value for q in certificate.stationarity.values()] == [0.0, 0.0]


def test_data_modules_and_saving(tmp_path: Any) -> None:
    def loss(sign: float) -> Any:
        def value(u: torch.nn.Module, v: torch.nn.Module, batch: Tensor) -> Tensor:
            return torch.nn.functional.softplus(sign * v(u(batch))).mean() + sum(
                p.square().sum() for p in v.parameters()
            )

        return value

    torch.manual_seed(0)
    u, v = torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    batches = [torch.randn(4, 2) for _ in range(3)]
    own = Game(loss(-1.0), u, v, follower_loss=loss(1.0))
    solution = solve(own, "alternating-gda", steps=20, data=batches)
    certificate = certify(own, solution, batches, restarts=2, steps=20)
    assert certificate.risk.error is not None
    expected = np.mean([loss(-1.0)(solution.u, solution.v, b).item() for b in batches])
    assert certificate.risk.value == pytest.approx(expected, rel=1e-5)
    noted = float(certificate.followers["the solution's follower"].note.removeprefix("its own loss is "))
    assert noted == pytest.approx(np.mean([loss(1.0)(solution.u, solution.v, b).item() for b in batches]), rel=1e-5)
    gradients = [
        torch.autograd.grad(loss(1.0)(solution.u, solution.v, b), list(solution.v.parameters())) for b in batches
    ]
    length = sum((sum(parts) / 3).square().sum() for parts in zip(*gradients, strict=True)).sqrt()
    assert certificate.stationarity["v"].value == pytest.approx(length.item(), rel=1e-4)
    folder = solution.save(tmp_path / "saved", certificate=certificate)
    assert Solution.load(folder, own).certificate == certificate


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"followers": {"mine": number(1.0)}},
            "^followers: are answers to f, and this game's follower has a loss of its",
        ),
        ({"exact": {"v": lambda u: 2 * u}}, "^exact: are answers to f"),
    ],
)
def test_answers_to_f_are_refused(settings: dict[str, Any], message: str) -> None:
    at = game(1.0, 0.5)
    with pytest.raises(ArgumentError, match=message):
        certify(at, (at.u, at.v), restarts=0, **settings)
    assert certify(Game(f, at.u, at.v), (at.u, at.v), restarts=0, **settings).worst.value > 0


def test_errors_call_the_loss_by_its_name() -> None:
    broken = game(1.0, 0.5, follower_loss=lambda u, v: v.expand(2))
    with pytest.raises(RiskError, match=r"^follower_loss: returned a tensor of shape \(2,\)"):
        certify(broken, (broken.u, broken.v), restarts=0)
    v = torch.nn.Linear(1, 1)
    reading = Game(lambda u, w: w(u).sum(), torch.ones(1), v, follower_loss=lambda u, w: (w(u) - v(u)).sum())
    with pytest.raises(ArgumentError, match=r"^follower_loss: reads the original of v\."):
        certify(reading, (torch.ones(1), torch.nn.Linear(1, 1)), restarts=0)
