"""Lookahead and averaging: what they do to points, moments and the solver inside."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from minimaxopt import Context, Game, SimultaneousGDA, Status
from minimaxopt.solvers.wrappers import Averaged, Lookahead
from tests.solvers.test_first_order import length, run, xy
from tests.solvers.test_table import EXACT


def test_what_lookahead_keeps_stays_in_the_set() -> None:
    """Also where the set is not convex: the chord between two points of a circle leaves it."""

    def circle(v: torch.Tensor) -> torch.Tensor:
        return v / v.norm()

    u, v = torch.tensor([0.5, 0.0], dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64)
    game = Game(lambda u, v: (u * v).sum() + v[1], u, v, project_v=circle)
    solution = run(game, Lookahead(SimultaneousGDA(), period=2, alpha=0.5), 0.5, 2)
    assert float(solution.v.norm()) == pytest.approx(1.0, rel=EXACT)
    inner = run(game, SimultaneousGDA(), 0.5, 2)
    half = circle(inner.v + v)
    assert solution.v.tolist() == pytest.approx(half.tolist(), rel=EXACT)


@pytest.mark.parametrize(("moments", "fresh"), [("keep", False), ("reset", True)])
def test_what_lookahead_does_to_moments(moments: Any, fresh: bool) -> None:
    adam = partial(torch.optim.Adam, lr=0.1)
    ctx = Context(xy(), u_optimizer=adam, v_optimizer=adam)
    solver = Lookahead(SimultaneousGDA(), period=3, moments=moments)
    state = solver.init(ctx)
    for _ in range(3):
        state, _ = ctx.advance(solver, state)
    assert all(bool(m.optimizer.state) is not fresh for m in ctx.optimizers.values())


def test_averages_of_a_cycle_converge_as_one_over_the_steps() -> None:
    """Alternating steps on ``x y`` have ``v_N - v_0 = eta (u_1 + ... + u_N)``, and ``v_N`` stays on an ellipse."""
    for steps in (100, 1000):
        average, last = (run(xy(), solver, 0.1, steps) for solver in (Averaged("alternating-gda"), "alternating-gda"))
        assert average.u.item() == pytest.approx((last.v.item() - 0.5) / (0.1 * steps), rel=1e-9)
        total = (1.0 - last.u.item()) / 0.1 + last.v.item() - 0.5
        assert average.v.item() == pytest.approx(total / steps, rel=1e-9)
        assert length(average) < 33 / steps < 0.5 < length(last)
    # A spiral that goes outward takes its averages along.
    assert length(run(xy(), Averaged("simultaneous-gda"), 0.1, 1000)) > 1


def test_the_tolerance_looks_at_the_average() -> None:
    found = run(xy(), Averaged("alternating-gda"), 0.1, 5000, tolerance=1e-2)
    assert found.status is Status.CONVERGED
    assert length(found) <= 1e-2
    assert run(xy(), "alternating-gda", 0.1, 5000, tolerance=1e-2).status is Status.STEPS_USED


@pytest.mark.parametrize("wrapper", [Lookahead, Averaged])
def test_wrappers_suit_whom_their_inner_solver_suits(wrapper: Any) -> None:
    game = Game(lambda u, v: (u - v).square(), torch.tensor(1.0), lambda risk, u: u / 2)
    assert run(game, wrapper("descent"), 0.1, 8).steps == 8
    alone = Game(lambda u, v: u.square(), torch.tensor(1.0), None)
    assert run(alone, wrapper("descent"), 0.1, 8).u.item() > 0
    assert wrapper("sensitivity").second_order
    assert not wrapper("descent").second_order
    assert wrapper("descent").players == ("u",)
