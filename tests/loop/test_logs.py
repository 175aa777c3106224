"""Values that the risk returns beside itself become columns of the history, as the leader's last evaluation gives them."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from minimaxopt import Box, Game, Solution, certify, solve
from minimaxopt.errors import ArgumentError, RiskError

SGD = partial(torch.optim.SGD, lr=0.25)
SOLVERS = [
    "simultaneous-gda",
    "alternating-gda",
    "sensitivity",
    "unrolled",
    "extragradient",
    "consensus",
    "k-beam",
    "descent",
]


def plain(u: Tensor, v: Tensor) -> Tensor:
    return u**2 / 2 + u * v - v**2


def logging(u: Tensor, v: Tensor) -> tuple[Tensor, dict[str, Any]]:
    return plain(u, v), {"square": u**2, "three": 3}


def played(f: Any, solver: str, **settings: Any) -> Solution:
    one = torch.tensor(1.0, dtype=torch.float64)
    return solve(Game(f, one, one.clone()), solver, steps=3, **{"u_optimizer": SGD, "v_optimizer": SGD} | settings)


@pytest.mark.parametrize("solver", SOLVERS)
def test_logging_changes_nothing_else(solver: str) -> None:
    settings = {"v_optimizer": None} if solver == "descent" else {}
    logged, silent = played(logging, solver, **settings), played(plain, solver, **settings)
    assert torch.equal(logged.u, silent.u)
    assert np.array_equal(logged.history["risk"], silent.history["risk"])
    assert list(logged.history["three"]) == [3.0, 3.0, 3.0]
    assert len(logged.history["square"]) == 3
    assert "square" not in silent.history


def test_a_player_that_is_logged_has_the_value_of_the_evaluation() -> None:
    solution = played(lambda u, v: (plain(u, v), {"u": u, "view": v[None]}), "alternating-gda")
    u, v, logged = 1.0, 1.0, []
    for _ in range(3):
        logged.append((u, v))
        u -= 0.25 * (u + v)
        v += 0.25 * (u - 2 * v)
    np.testing.assert_allclose(list(zip(solution.history["u"], solution.history["view"], strict=True)), logged)


def test_the_values_are_those_at_the_leaders_evaluation() -> None:
    solution = played(logging, "simultaneous-gda")
    u, v, squares = 1.0, 1.0, []
    for _ in range(3):
        squares.append(u**2)
        u, v = u - 0.25 * (u + v), v + 0.25 * (u - 2 * v)
    np.testing.assert_allclose(solution.history["square"], squares, rtol=1e-15)


def test_a_logged_risk_keeps_its_sign_under_maximin() -> None:
    solution = played(lambda u, v: (plain(u, v), {"clean risk": plain(u, v)}), "simultaneous-gda", order="maximin")
    assert np.array_equal(solution.history["clean risk"], solution.history["risk"])


def test_a_logged_value_that_is_not_finite_ends_nothing() -> None:
    solution = played(lambda u, v: (plain(u, v), {"odd": math.nan}), "simultaneous-gda")
    assert solution.steps == 3
    assert np.isnan(solution.history["odd"]).all()


def test_a_responding_follower_and_a_certificate_get_the_risk_alone() -> None:
    def respond(risk: Any, u: Tensor) -> Tensor:
        v = torch.zeros((), dtype=u.dtype, requires_grad=True)
        (gradient,) = torch.autograd.grad(risk(u, v), v)
        return gradient.sign()

    one = torch.tensor(1.0, dtype=torch.float64)
    assert len(solve(Game(logging, one, respond), "sensitivity", steps=2).history["square"]) == 2
    game = Game(logging, one * 0, one * 0, project_v=Box(-1.0, 1.0))
    assert certify(game, (game.u, game.v), restarts=0, steps=5).risk.value == 0.0


@pytest.mark.parametrize("logs", [{"square": torch.ones(2)}, {"square": "large"}, {3: 1.0}])
def test_what_is_no_value_is_refused_by_name(logs: Any) -> None:
    with pytest.raises(RiskError, match=r"f: logs ('square'|3) as"):
        played(lambda u, v: (plain(u, v), logs), "simultaneous-gda")


def test_a_name_of_the_solvers_own_is_refused() -> None:
    with pytest.raises(RiskError, match="f: logs 'risk', which the solver records itself"):
        played(lambda u, v: (plain(u, v), {"risk": 1.0}), "simultaneous-gda")


def test_compiled_steps_log_nothing_and_say_so() -> None:
    with pytest.raises(ArgumentError, match="compile: f logs 'square'"):
        played(logging, "simultaneous-gda", compile=True)


def test_another_tuple_is_told_what_to_return() -> None:
    with pytest.raises(
        RiskError, match=r"f: returned tuple; return the risk as a 0-d tensor, or \(risk, \{name: value\}\)"
    ):
        played(lambda u, v: (plain(u, v), 1.0), "simultaneous-gda")
