"""The suite for problems: it passes those that can be solved, and names what each other lacks."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from minimaxopt import Batches, Game, Problem
from minimaxopt.testing import GAMES, check_problem


def game(**options: Any) -> Game:
    return Game(lambda u, v: (u * v).sum() + u.square().sum(), torch.ones(2), torch.ones(2), **options)


def network(**changes: Any) -> Problem:
    """A regression against shifts of its inputs, with batch statistics, dropout, data and a metric."""
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    data = Batches((torch.randn(12, 3), torch.randn(12, 1)), batch_size=4, seed=0)
    x, y = data.tensors if hasattr(data, "tensors") else (torch.randn(5, 3), torch.randn(5, 1))

    def risk(net: nn.Module, shift: torch.Tensor, batch: Any) -> torch.Tensor:
        x, y = batch
        return (net(x + shift) - y).square().mean()

    def error(net: nn.Module, shift: torch.Tensor) -> float:
        assert not net.training
        return float((net(x) - y).square().mean())

    parts: dict[str, Any] = {
        "game": Game(risk, net, torch.zeros(3)),
        "data": data,
        "metrics": {"error": error},
        "settings": {"steps": 100, "solver": "alternating-gda", "u_optimizer": partial(torch.optim.SGD, lr=0.1)},
    }
    return Problem(**{**parts, **changes})


def test_problems_that_can_be_solved_pass() -> None:
    check_problem(Problem(game()))
    check_problem(network())
    check_problem(network)
    check_problem(dicing(random))
    check_problem(dicing(np.random))
    check_problem(Problem(Game(lambda u, v: u.square().sum(), torch.ones(2), None), settings={"solver": "descent"}))
    check_problem(Problem(Game(lambda u, v: (u * v).sum(), torch.ones(2), lambda risk, u: u.sign())))
    two_losses = Game(
        lambda u, v: v.square().sum(), torch.ones(2), torch.ones(2), follower_loss=lambda u, v: (v - u).square().sum()
    )
    check_problem(Problem(two_losses, settings={"solver": "unrolled"}))


@pytest.mark.parametrize("name", ["dirac-gan", "robust-dual", "matrix-5x7", "covariance-gan"])
def test_games_with_known_answers_are_problems(name: str) -> None:
    known = GAMES[name]
    check_problem(Problem(known.game(), metrics={"distance": lambda u, v: known.distance(u)}))


def broken_game() -> Game:
    return Game(lambda u, v: torch.log(-u.abs()).sum() * v.sum(), torch.ones(2), torch.ones(2))


def steep_game() -> Game:
    return Game(lambda u, v: u.sqrt().sum() + v.sum(), torch.zeros(2), torch.ones(2))


def raising_game() -> Game:
    def f(u: Any, v: Any) -> Any:
        raise KeyError("x")

    return Game(f, torch.ones(2), torch.ones(2))


def meddling() -> Problem:
    """The metric changes the leader through a reference of its own."""
    modified = game()
    return Problem(modified, metrics={"m": lambda u, v: float(modified.u.add_(1).sum())})


def dicing(random: Any) -> Problem:
    return Problem(Game(lambda u, v: (u * v).sum() * random.random(), torch.ones(2), torch.ones(2)))


def needy(dim: int) -> Problem:
    return Problem(game())


BREACHES: list[tuple[str, Any, str]] = [
    ("no problem", 3, "int is not a Problem; give Problem"),
    ("no problem made", lambda: game(), "its factory returned Game; return a Problem"),
    ("arguments needed", needy, "could not be built without arguments: TypeError: .*'dim'"),
    ("misspelled setting", Problem(game(), settings={"stepz": 3}), "the setting 'stepz' is not an argument of solve"),
    ("data as a setting", Problem(game(), settings={"data": []}), "the setting 'data' is not an argument of solve"),
    ("unknown solver", Problem(game(), settings={"solver": "sgda"}), "one step with its settings failed: UnknownName"),
    ("bad value", Problem(game(), settings={"tolerance": -1}), "one step .* failed: ArgumentError: tolerance"),
    ("not finite", Problem(broken_game()), "its risk is nan at the start"),
    ("steep", Problem(steep_game()), "the gradient of u is not finite at the start"),
    ("raising", Problem(raising_game()), "cannot be evaluated on the first batch: RiskError|KeyError"),
    ("no batch taken", network(game=game()), "cannot be evaluated on the first batch: .*positional argument"),
    ("tensor metric", Problem(game(), metrics={"m": lambda u, v: u.sum()}), "'m' returned Tensor; return a float"),
    ("boolean metric", Problem(game(), metrics={"m": lambda u, v: True}), "'m' returned bool; return a float"),
    ("raising metric", Problem(game(), metrics={"m": lambda u, v: {}["x"]}), "'m' failed at the start: KeyError: 'x'"),
    ("name of a metric", Problem(game(), metrics={"risk": lambda u, v: 1.0}), "its metrics cannot be recorded: .*'risk'"),
    ("meddling", meddling(), "changed the players that the problem holds"),
    ("dicing", dicing(random.SystemRandom()), "two first steps under one seed differ"),
]  # fmt: skip


@pytest.mark.parametrize(("problem", "sentence"), [row[1:] for row in BREACHES], ids=[row[0] for row in BREACHES])
def test_a_breach_is_named(problem: Any, sentence: str) -> None:
    with pytest.raises(AssertionError, match=rf"^problem: .*({sentence})"):
        check_problem(problem)


def test_a_first_step_that_diverges_is_named() -> None:
    steep = partial(torch.optim.SGD, lr=1e38)
    with pytest.raises(AssertionError, match="^problem: one step with its settings ended as diverged"):
        check_problem(Problem(game(), settings={"u_optimizer": steep, "v_optimizer": steep}))
