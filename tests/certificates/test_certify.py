"""Bounds and responses: worst cases, gaps, fresh players, data, and what is refused."""

from __future__ import annotations

import json
import math
import re
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimaxopt import Batches, Box, Certificate, Game, Solution, certify, solve
from minimaxopt.certificates.fresh_players import fresh
from minimaxopt.errors import ArgumentError, DataError


def scalar(x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


def zeros() -> tuple[Tensor, Tensor]:
    return scalar(0.0), scalar(0.0)


def saddle(u: Tensor, v: Tensor) -> Tensor:
    return u**2 / 2 + 2 * u * v - v**2 / 2


# -- bounds ---------------------------------------------------------------------------------------------------------


def test_worst_and_best_approach_the_closed_forms_from_the_right_sides() -> None:
    """At (1, 0.5): max_v f = 5/2 u^2 = 2.5 and min_u f = -5/2 v^2 = -0.625."""
    certificate = certify(Game(saddle, *zeros()), (scalar(1.0), scalar(0.5)), restarts=2)
    assert certificate.risk.value == pytest.approx(0.5 + 1 - 0.125)
    assert certificate.worst.accuracy == "lower bound"
    assert certificate.worst.value <= 2.5 + 1e-12
    assert certificate.worst.value == pytest.approx(2.5, abs=1e-6)
    assert certificate.best.accuracy == "upper bound"
    assert certificate.best.value >= -0.625 - 1e-12
    assert certificate.best.value == pytest.approx(-0.625, abs=1e-6)
    assert certificate.gap.value == pytest.approx(3.125, abs=1e-5)
    assert certificate.sandwich is None


def test_a_nash_point_has_no_gap_and_a_minimax_point_that_is_none_has() -> None:
    nash = certify(Game(saddle, *zeros()), zeros(), restarts=1)
    assert nash.gap.value == pytest.approx(0, abs=1e-9)
    minimax = certify(Game(lambda u, v: -3 * u**2 - v**2 + 4 * u * v, *zeros()), zeros(), restarts=1)
    assert minimax.kind == "strict local minimax"
    assert minimax.best.value == -math.inf
    assert minimax.gap.value == math.inf
    assert minimax.worst.value == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("f", "unbounded"),
    [
        (lambda u, v: u**2 + v**2, True),
        (lambda u, v: (u - 1) * v, True),
        (lambda u, v: u**2 + v.exp(), True),
        (lambda u, v: u**2 + v**4 - v, True),
        (lambda u, v: u**2 + torch.tanh(v), False),
        (lambda u, v: u**2 + torch.log1p(v**2), False),  # endless, but too slow to tell from bounded
        (lambda u, v: u**2 - v**2, False),
        (lambda u, v: u**2 + torch.sin(v), False),
    ],
)
def test_endless_growth_is_reported_as_unbounded_and_never_as_nan(f: Any, unbounded: bool) -> None:
    certificate = certify(Game(f, *zeros()), (scalar(0.0), scalar(0.1)), restarts=2, steps=200)
    assert (certificate.worst.value == math.inf) is unbounded
    assert not any(math.isnan(q.value) for q in [*certificate.followers.values(), certificate.gap, certificate.best])
    assert ("unbounded above" in str(certificate)) is unbounded


def test_a_constraint_bounds_what_would_be_unbounded() -> None:
    certificate = certify(Game(lambda u, v: u**2 + v**2, *zeros(), project_v=Box(-2, 1)), zeros(), restarts=5)
    assert certificate.worst.value == pytest.approx(4.0)  # fresh followers start on either side of the hill's foot
    free = certify(Game(lambda u, v: u**2 + v**2, *zeros()), zeros(), restarts=1)
    assert free.worst.value == math.inf


def test_training_that_diverges_is_survived() -> None:
    certificate = certify(
        Game(lambda u, v: u**2 + v**4, *zeros()),
        zeros(),
        restarts=1,
        v_optimizer=partial(torch.optim.SGD, lr=10.0),
    )
    assert certificate.worst.value == math.inf


def test_fresh_followers_find_what_the_solutions_own_did_not() -> None:
    """Two hills in v: the follower sits on the lower one."""

    def hills(u: Tensor, v: Tensor) -> Tensor:
        return u**2 + torch.exp(-((v + 2) ** 2)) + 2 * torch.exp(-((v - 2) ** 2))

    certificate = certify(
        Game(hills, scalar(0.0), scalar(-2.0), project_v=Box(-4, 4)), (scalar(0.0), scalar(-2.0)), restarts=6
    )
    assert certificate.risk.value == pytest.approx(1.0, abs=1e-6)
    assert certificate.worst.value == pytest.approx(2.0, abs=1e-4)
    assert certificate.worst.note.startswith("fresh follower")
    alone = certify(Game(hills, scalar(0.0), scalar(-2.0)), (scalar(0.0), scalar(-2.0)), restarts=0)
    assert alone.worst.value == alone.risk.value


# -- exact responses and Lemma 1.5 -------------------------------------------------------------------------------------


def test_the_sandwich_is_given_only_where_both_responses_are_exact() -> None:
    exact = {"v": lambda u: 2 * u, "u": lambda v: -2 * v}
    point = scalar(1.0), scalar(0.5)
    certificate = certify(Game(saddle, *point), point, restarts=1, exact=exact)
    assert certificate.sandwich == pytest.approx((-0.625, 2.5))
    assert (certificate.worst.accuracy, certificate.best.accuracy, certificate.gap.accuracy) == (
        "exact",
        "exact",
        "exact",
    )
    assert "max min f" in str(certificate)
    half = certify(Game(saddle, *point), point, restarts=1, exact={"v": exact["v"]})
    assert half.sandwich is None
    assert (half.worst.accuracy, half.best.accuracy, half.gap.accuracy) == ("exact", "upper bound", "lower bound")


def test_an_exact_response_that_is_none_is_found_out() -> None:
    point = scalar(1.0), scalar(0.5)
    certificate = certify(Game(saddle, *point), point, restarts=1, exact={"v": lambda u: 0 * u, "u": lambda v: -2 * v})
    assert certificate.worst.accuracy == "lower bound"
    assert "the exact response given is worse" in certificate.worst.note
    assert certificate.sandwich is None


# -- named followers ---------------------------------------------------------------------------------------------------


def test_named_followers_are_values_functions_and_games() -> None:
    point = scalar(1.0), scalar(0.5)
    other = Game(lambda u, v: saddle(u, v) + 10, scalar(0.0), scalar(0.0))
    certificate = certify(
        Game(saddle, *point),
        point,
        restarts=0,
        followers={"value": scalar(1.0), "function": lambda risk, u: 2 * u, "game": other},
    )
    assert certificate.followers["value"].value == pytest.approx(2.0)
    assert certificate.followers["function"].value == pytest.approx(2.5)
    assert certificate.followers["game"].value == pytest.approx(12.5, abs=1e-6)
    assert certificate.worst.note == "game"

    def strongest(risk: Any, u: Tensor) -> Tensor:
        return 2 * u

    listed = certify(Game(saddle, *point), point, restarts=0, followers=[strongest, scalar(0.0)])
    assert set(listed.followers) == {"the solution's follower", "strongest", "follower 2"}


def test_a_responding_follower_is_scored_and_its_type_left_open() -> None:
    game = Game(saddle, scalar(1.0), lambda risk, u: 2 * u)
    solution = solve(game, "sensitivity", steps=10)
    certificate = certify(game, solution, followers={"other": lambda risk, u: 0 * u}, restarts=2)
    assert certificate.kind == "undecided"
    assert "responds by a function" in certificate.reason
    assert certificate.worst.value == pytest.approx(2.5 * float(solution.u) ** 2)
    assert certificate.followers["other"].value < certificate.worst.value


# -- networks and data -------------------------------------------------------------------------------------------------


class Attacker(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.5 * torch.tanh(self.net(x))


def digits(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=generator)
    return x, (x[:, 0] + x[:, 1] > 0).long()


def attack_risk(u: nn.Module, v: nn.Module, batch: Any) -> Tensor:
    x, y = batch
    return F.cross_entropy(u(v(x)), y)


def attack_game() -> Game:
    torch.manual_seed(0)
    return Game(attack_risk, nn.Linear(4, 2), Attacker())


def test_networks_are_certified_on_held_out_data() -> None:
    game = attack_game()
    train, held_out = Batches(digits(128, 0), 32), Batches(digits(100, 1), 40, shuffle=False)
    solution = solve(game, "alternating-gda", data=train, steps=50)
    before = [p.detach().clone() for p in solution.u.parameters()]
    mode = solution.u.training
    options: dict[str, Any] = {"restarts": 2, "steps": 200, "v_optimizer": partial(torch.optim.Adam, lr=0.02)}
    certificate = certify(game, solution, held_out, fit_data=train, **options)
    assert certificate.risk.accuracy == "estimate"
    values = [
        float(attack_risk(solution.u.eval(), solution.v.eval(), (x, y)).detach())
        for x, y in [held_out.at(i) for i in range(3)]
    ]
    weights = np.array([40, 40, 20]) / 100
    assert certificate.risk.value == pytest.approx(float(weights @ values), rel=1e-5)
    assert certificate.risk.error is not None
    assert certificate.risk.error > 0
    assert certificate.worst.value > certificate.risk.value
    assert certificate.kind == "not local minimax"
    for then, now in zip(before, solution.u.parameters(), strict=True):
        assert torch.equal(then, now)
    assert mode
    again = certify(game, solution, held_out, fit_data=train, **options)
    assert again.followers == certificate.followers


def test_batches_are_weighted_and_split_makes_no_difference() -> None:
    game = attack_game()
    x, y = digits(60, 2)
    whole = certify(game, (game.u, game.v), [(x, y)], restarts=0)
    parts = certify(game, (game.u, game.v), Batches((x, y), 25), restarts=0)
    assert parts.risk.value == pytest.approx(whole.risk.value, rel=1e-5)
    for name in ("u", "v"):
        assert parts.stationarity[name].value == pytest.approx(whole.stationarity[name].value, rel=1e-4)
        assert parts.eigenvalues[name].value == pytest.approx(whole.eigenvalues[name].value, rel=1e-2, abs=1e-4)


def test_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    game = attack_game()
    torch.manual_seed(5)
    certify(game, (game.u, game.v), [digits(20, 0)], restarts=1, steps=3)
    assert torch.equal(torch.rand(3), expected)


# -- fresh players -----------------------------------------------------------------------------------------------------


def test_fresh_modules_share_no_value_and_follow_the_seed() -> None:
    attacker = Attacker()
    one, same, other = (fresh("v", attacker, None, seed) for seed in (0, 0, 1))
    for (name, a), b, c, d in zip(
        attacker.named_parameters(), one.parameters(), same.parameters(), other.parameters(), strict=True
    ):
        assert a.data_ptr() != b.data_ptr()
        assert torch.equal(b, c)
        if "1." not in name:  # batch normalisation begins with ones and zeros, always
            assert not torch.equal(a, b)
            assert not torch.equal(b, d)


def test_fresh_modules_forget_running_statistics_and_keep_frozen_parameters() -> None:
    attacker = Attacker()
    attacker(torch.randn(50, 4) + 3)
    attacker.net[0].requires_grad_(False)
    made = fresh("v", attacker, None, 0)
    assert not made.net[1].running_mean.any()
    assert attacker.net[1].running_mean.any()
    assert torch.equal(made.net[0].weight, attacker.net[0].weight)
    assert not torch.equal(made.net[4].weight, attacker.net[4].weight)


def test_fresh_tensors_are_drawn_from_the_domain() -> None:
    follower = {"a": torch.full((200,), 7.0), "b": torch.zeros(3)}
    made = fresh("v", follower, Box(-0.5, 0.25), 0)
    assert made["a"].shape == (200,)
    assert -0.5 <= float(made["a"].min()) < -0.4
    assert 0.15 < float(made["a"].max()) <= 0.25
    free = fresh("v", follower, None, 0)
    assert float(free["a"].std()) == pytest.approx(7, rel=0.2)  # as wide as the tensor's own values
    assert float(free["a"].mean()) == pytest.approx(0, abs=2)


class Stubborn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight * x).sum()


def test_a_module_that_cannot_be_initialised_is_named_with_the_remedy() -> None:
    game = Game(lambda u, v: (u * v(u)).sum() - v.weight.square().sum(), torch.ones(2), Stubborn())
    with pytest.raises(
        ArgumentError, match=r"v: its module Stubborn has parameters of its own and no reset_parameters"
    ):
        certify(game, (game.u, game.v), restarts=1)
    certificate = certify(game, (game.u, game.v), restarts=1, fresh_follower=Stubborn, steps=300)
    assert "fresh follower 1" in certificate.followers
    with pytest.raises(ArgumentError, match="fresh_follower: returned the solution's own follower"):
        certify(game, (game.u, game.v), restarts=1, fresh_follower=lambda: game.v)


def test_a_leader_that_cannot_be_initialised_is_trained_on_only() -> None:
    game = Game(lambda u, v: u(v) ** 2 - v.square().sum(), Stubborn(), torch.ones(2))
    certificate = certify(game, (game.u, game.v), restarts=1, steps=20)
    assert set(certificate.leaders) == {"the solution's leader", "the solution's leader, trained on"}


# -- what it leaves behind ---------------------------------------------------------------------------------------------


def certificates() -> list[Certificate]:
    point = scalar(1.0), scalar(0.5)
    return [
        certify(Game(saddle, *point), point, restarts=1, steps=20),
        certify(Game(lambda u, v: -3 * u**2 - v**2 + 4 * u * v, *zeros()), zeros(), restarts=1),
        certify(
            Game(saddle, *point, project_v=Box(-1, 1)),
            point,
            restarts=0,
            exact={"v": lambda u: (2 * u).clamp(-1, 1), "u": lambda v: -2 * v},
        ),
    ]


def test_a_certificate_survives_json() -> None:
    for certificate in certificates():
        assert Certificate.from_dict(json.loads(json.dumps(certificate.to_dict(), allow_nan=False))) == certificate


def test_a_certificate_is_saved_with_its_solution(tmp_path: Any) -> None:
    game = Game(saddle, scalar(1.0), scalar(0.5))
    solution = solve(game, steps=20)
    certificate = certify(game, solution, restarts=1, steps=20)
    solution.save(tmp_path / "with", certificate=certificate)
    loaded = Solution.load(tmp_path / "with", game)
    assert loaded.certificate == certificate
    loaded.save(tmp_path / "again")
    assert Solution.load(tmp_path / "again", game).certificate == certificate
    solution.save(tmp_path / "without")
    assert Solution.load(tmp_path / "without", game).certificate is None


def test_the_text_is_a_block_of_labelled_lines() -> None:
    for certificate in certificates():
        lines = str(certificate).splitlines()
        assert lines[0].startswith("kind ")
        column = re.match(r"kind +", lines[0]).end()  # type: ignore[union-attr]
        assert all(line[column - 2 : column] == "  " for line in lines)
        for label in ("risk", "worst case", "best answer of u", "gap", "stationarity u", "stationarity v", "cost"):
            assert any(line.startswith(f"{label} ") for line in lines), label


def test_the_cost_is_counted() -> None:
    calls = [0]

    def f(u: Tensor, v: Tensor) -> Tensor:
        calls[0] += 1
        return saddle(u, v)

    certificate = certify(Game(f, *zeros()), zeros(), restarts=2, steps=7)
    # Five players are trained for seven steps each, and look uphill from where they end; the rest is the local type's.
    assert certificate.cost["gradient_evaluations"] > 5 * 7
    local = certify(Game(f, *zeros()), zeros(), restarts=0)
    assert certificate.cost["gradient_evaluations"] == 5 * (7 + 1) + local.cost["gradient_evaluations"]
    assert calls[0] > 0


# -- refused -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"restarts": -1}, "restarts: -1 is not a number of restarts"),
        ({"steps": 1.5}, "steps: 1.5 is not a number of steps"),
        ({"tolerance": 0.0}, "tolerance: 0.0 is not a positive number"),
        ({"tolerance": float("nan")}, "tolerance: nan is not a positive number"),
        ({"exact": {"w": None}}, r"exact: has \['w'\]"),
        ({"followers": torch.ones(1)}, "followers: Tensor is neither a mapping of names nor a list"),
        ({"solution": torch.ones(1)}, "solution: Tensor is neither a Solution nor a pair"),
        ({"game": 3}, "game: int is not a Game"),
        ({"game": Game(lambda u, v: u.sum(), torch.ones(1), None)}, "game: has only one player"),
    ],
)
def test_bad_arguments_are_refused(change: dict[str, Any], message: str) -> None:
    point = scalar(1.0), scalar(0.5)
    arguments: dict[str, Any] = {"game": Game(saddle, *point), "solution": point, "restarts": 0} | change
    with pytest.raises(ArgumentError, match=message):
        certify(arguments.pop("game"), arguments.pop("solution"), **arguments)


def test_data_that_can_be_read_once_only_are_refused() -> None:
    game = attack_game()
    with pytest.raises(DataError, match="an iterator can be read only once"):
        certify(game, (game.u, game.v), iter([digits(4, 0)]), restarts=0)
    with pytest.raises(DataError, match="looks like one batch"):
        certify(game, (game.u, game.v), digits(4, 0), restarts=0)
