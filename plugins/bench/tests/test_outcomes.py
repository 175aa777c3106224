"""Endings of runs: the rules on hand-made paths, and on dynamics whose end is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimaxopt.testing import GAMES, known_game
from minimaxopt_bench.one_run import CHECK_INTERVAL, play
from minimaxopt_bench.outcomes import (
    ENDINGS,
    RULES,
    Array,
    Observations,
    comes_to_rest,
    ending,
    goes_round,
    has_escaped,
)
from minimaxopt_bench.settings import RATES, Rate, Settings

STEPS = 400
TIME = np.arange(STEPS + 1.0)


def spiral(decay: float, turns: float = 8.0) -> Array:
    angle = 2 * np.pi * turns * TIME / STEPS
    return np.column_stack([np.cos(angle), np.sin(angle)]) * (decay**TIME)[:, None]


def observed(points: Array, residuals: Array | None = None, **known: Any) -> Observations:
    lengths = np.linalg.norm(points[::20], axis=1) if residuals is None else residuals
    base: dict[str, Any] = {"arrival": None, "at_rest": False, "at_impostor": False, "escaped": False, "stay": 50}
    return Observations(points, lengths, **{**base, **known})


LINE = np.column_stack([TIME, -TIME]) / STEPS
RNG = np.random.default_rng(0)
HOVER = np.concatenate([LINE, LINE[-1] + 0.01 * RNG.normal(size=(STEPS, 2))])


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (observed(spiral(1.0)), "cycle"),
        (observed(spiral(1.002)), "cycle"),  # bounded so far, and not approaching
        (observed(spiral(0.98)), "slow"),
        (observed(LINE, np.ones(20)), "slow"),  # towards a far bound at a steady pace
        (observed(HOVER, np.ones(40)), "cycle"),  # around a point with slopes
        (observed(spiral(1.0), escaped=True), "divergence"),
        (observed(np.where(TIME[:, None] > 300, np.nan, spiral(1.0))), "divergence"),
        (observed(spiral(0.98), arrival=300), "minimax"),
        (observed(spiral(0.98), arrival=360), "slow"),  # not long enough
        (observed(spiral(0.98), arrival=399, at_rest=True), "minimax"),
        (observed(spiral(0.98)[:41], arrival=30), "minimax"),  # a run of few steps: a quarter of them
        (observed(spiral(0.98)[:41], arrival=31), "slow"),
        (observed(spiral(0.98), at_rest=True), "stationary"),
        (observed(spiral(0.98), at_impostor=True), "stationary"),
        (observed(spiral(0.98), arrival=300, escaped=True), "divergence"),
    ],
)
def test_hand_made_ways_end_where_they_do(run: Observations, expected: str) -> None:
    assert ending(run) == expected


def test_every_ending_has_its_rule() -> None:
    assert set(RULES) == set(ENDINGS)


@given(st.floats(0.1, 100), st.floats(-10, 10), st.floats(0, 2 * math.pi), st.sampled_from([spiral(1.0), LINE, HOVER]))
def test_going_round_does_not_depend_on_place_size_and_direction(
    scale: float, shift: float, angle: float, points: Array
) -> None:
    turned = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    assert goes_round(scale * points @ turned + shift) == goes_round(points)


def test_going_round_needs_more_than_half_a_circle() -> None:
    assert not goes_round(spiral(1.0, turns=0.9))  # the second half is 0.45 of a circle
    assert goes_round(spiral(1.0, turns=1.2))
    assert not goes_round(np.zeros((10, 2)))


def test_coming_to_rest_compares_the_last_two_quarters() -> None:
    assert comes_to_rest(np.array([1.0] * 30 + [0.89] * 10))
    assert not comes_to_rest(np.array([1.0] * 30 + [0.91] * 10))
    assert not comes_to_rest(np.array([1.0] * 10 + [0.1] * 30))


def test_escaping_is_by_each_value_and_its_own_width() -> None:
    middle, width = np.array([1.0, 0.0]), np.array([2.0, 20.0])
    assert not has_escaped(np.array([50.9, 499.0]), middle, width, 50.0)
    assert has_escaped(np.array([51.1, 0.0]), middle, width, 50.0)
    assert has_escaped(np.array([0.0, -np.inf]), middle, width, 50.0)


# -- known dynamics ----------------------------------------------------------------------------------------------------


def test_simultaneous_steps_on_a_bilinear_game_leave_when_they_must() -> None:
    """Each step multiplies the distance from 0 by sqrt(1 + eta^2); the radius is 50 half widths of 2."""
    run = play(known_game("bilinear"), "simultaneous-gda", {}, Rate(0.5), 0, Settings())
    start = known_game("bilinear").start(0)
    distance = math.hypot(float(start.u), float(start.v))
    # One of the two values has passed 100 at the latest when the distance is sqrt(2) times that.
    first, last = (math.log(far / distance) / math.log(math.sqrt(1.25)) for far in (100, 100 * math.sqrt(2)))
    assert run.ending == "divergence"
    assert math.floor(first / CHECK_INTERVAL) <= run.steps / CHECK_INTERVAL <= math.ceil(last / CHECK_INTERVAL) + 1
    assert run.to_steps is None
    assert run.distance == math.inf


@pytest.mark.parametrize(("rate", "expected"), [(0.5, "cycle"), (0.1, "cycle")])
def test_alternating_steps_on_a_bilinear_game_cycle(rate: float, expected: str) -> None:
    run = play(known_game("bilinear"), "alternating-gda", {}, Rate(rate), 0, Settings())
    assert (run.ending, run.steps, run.evaluations) == (expected, 800, 1600)


def test_extragradient_on_a_bilinear_game_converges_as_fast_as_it_must() -> None:
    """Each step multiplies the distance from 0 by sqrt((1 - eta^2)^2 + eta^2)."""
    run = play(known_game("bilinear"), "extragradient", {}, Rate(0.5), 0, Settings())
    start = known_game("bilinear").start(0)
    distance = math.hypot(float(start.u), float(start.v))
    enough = math.log(0.01 / distance) / math.log(math.hypot(0.75, 0.5))
    assert run.ending == "minimax"
    assert run.to_steps is not None
    assert run.to_steps <= math.ceil(enough)
    assert run.to_evaluations == 2 * run.to_steps
    assert run.distance < 0.01


def test_arrival_is_exact_to_the_step() -> None:
    """On 5 (u^2 - v^2) each step multiplies both values by 1 - 10 eta; the follower loses 5 v^2."""
    run = play(known_game("saddle"), "simultaneous-gda", {}, Rate(0.02), 3, Settings())
    start = known_game("saddle").start(3)
    u, v = abs(float(start.u)), abs(float(start.v))
    expected = max(math.ceil(math.log(end / x) / math.log(0.8)) for x, end in ((u, 0.01), (v, math.sqrt(0.002))))
    assert (run.to_steps, run.to_evaluations) == (expected, expected)
    assert run.steps - expected in range(50, 50 + 2 * CHECK_INTERVAL)


def test_a_point_that_only_looks_like_a_solution_is_told_with_its_type() -> None:
    run = play(known_game("anti-saddle"), "alternating-gda", {}, Rate(0.1), 0, Settings())
    assert (run.ending, run.kind) == ("stationary", "not local minimax")
    assert run.distance == 0.5


def test_the_leaders_place_alone_is_no_success() -> None:
    """0 is the minimax leader of the almost-bilinear game, and (0, 0) a stationary point; the follower loses 1/40."""
    known = known_game("almost-bilinear")
    run = play(known, "hamiltonian", {}, Rate(0.5), 0, Settings())
    assert (run.ending, run.kind) == ("stationary", "not local minimax")
    assert run.distance < 0.01


def test_a_solver_that_halts_where_gradients_do_not_vanish_is_at_rest() -> None:
    run = play(known_game("weapons"), "sensitivity", {"projected": False}, Rate(0.1), 0, Settings())
    assert run.ending == "stationary"
    assert run.residual > 1e-3
    assert run.kind == "not local minimax"


def test_without_a_minimax_point_nothing_is_a_success() -> None:
    for name in ("unbounded-leader", "unbounded-follower"):
        assert {play(GAMES[name], "alternating-gda", {}, rate, 0, Settings()).ending for rate in RATES} <= {
            "divergence",
            "stationary",
        }


def test_a_run_ends_with_its_budget() -> None:
    settings = Settings(steps=45, evaluations=33)
    run = play(known_game("bilinear"), "alternating-gda", {}, Rate(0.1), 0, settings)
    assert (run.steps, run.evaluations) == (17, 34)
