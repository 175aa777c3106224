"""The local type against cases decided by hand: solutions, impostors, kinks, and what cannot be decided."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minimaxopt import Box, Game, certify
from minimaxopt.results.certificate import Certificate

TOLERANCE = 1e-5


def local(f: Any, u: Any, v: Any, **options: Any) -> Certificate:
    """Certify a point without training anybody."""
    at = tuple(torch.as_tensor(x, dtype=torch.float64) for x in (u, v))
    tolerance = options.pop("tolerance", TOLERANCE)
    return certify(Game(f, *at, **options), at, restarts=0, tolerance=tolerance)


def quadratic(A: np.ndarray, B: np.ndarray, C: np.ndarray) -> Any:
    tA, tB, tC = (torch.from_numpy(x) for x in (A, B, C))
    return lambda u, v: u @ tA @ u / 2 + u @ tB @ v + v @ tC @ v / 2


@pytest.mark.parametrize(
    ("f", "kind"),
    [
        (lambda u, v: u**2 - v**2, "local Nash"),
        (lambda u, v: -3 * u**2 - v**2 + 4 * u * v, "strict local minimax"),
        (lambda u, v: 3 * u**2 + v**2 + 4 * u * v, "not local minimax"),  # the follower's curvature is upward
        (lambda u, v: -3 * u**2 - v**2 + 3 * u * v, "not local minimax"),  # Schur: -6 + 9/2 < 0
        (lambda u, v: -(u**2) - v**2, "not local minimax"),
        (lambda u, v: u * v, "undecided"),
        (lambda u, v: u**2 - v**4, "undecided"),
        (lambda u, v: u**4 - v**2, "undecided"),
        (lambda u, v: -2 * u**2 - v**2 + 8**0.5 * u * v, "undecided"),  # Schur: -4 + 8/2 = 0
    ],
)
def test_the_origin_of_planar_games(f: Any, kind: str) -> None:
    certificate = local(f, 0.0, 0.0)
    assert certificate.kind == kind, certificate.reason
    assert (certificate.move is not None) == (kind == "not local minimax")
    assert certificate.minimax == (kind in ("local Nash", "strict local minimax"))


@settings(deadline=None, max_examples=60)
@given(m=st.integers(1, 6), n=st.integers(1, 6), seed=st.integers(0, 100_000))
def test_random_quadratics_are_classified_as_by_dense_linear_algebra(m: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    A, C = (rng.normal(size=(k, k)) for k in (m, n))
    A, C = (A + A.T) / 2 + rng.normal() * 2 * np.eye(m), (C + C.T) / 2 - abs(rng.normal()) * 3 * np.eye(n)
    B = rng.normal(size=(m, n)) * rng.uniform(0, 3)
    certificate = local(quadratic(A, B, C), np.zeros(m), np.zeros(n))
    down, up = np.linalg.eigvalsh(C)[-1], np.linalg.eigvalsh(A)[0]
    assert certificate.eigenvalues["v"].value == pytest.approx(down, abs=1e-9)
    assert certificate.eigenvalues["u"].value == pytest.approx(up, abs=1e-9)
    schur = np.linalg.eigvalsh(A - B @ np.linalg.inv(C) @ B.T)[0]
    if "schur" in certificate.eigenvalues:
        assert certificate.eigenvalues["schur"].value == pytest.approx(schur, rel=1e-6, abs=1e-6)
    if min(abs(down), abs(schur), abs(up)) < 10 * TOLERANCE:
        return
    expected = "not local minimax" if down > 0 or schur < 0 else ("local Nash" if up > 0 else "strict local minimax")
    assert certificate.kind == expected, certificate.reason


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 100_000))
def test_points_that_are_not_stationary_are_not_minimax_and_a_move_shows_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    A, B, C = rng.normal(size=(3, 3)), rng.normal(size=(3, 2)), rng.normal(size=(2, 2))
    f = quadratic(A + A.T, B, C + C.T)
    u, v = rng.normal(size=3), rng.normal(size=2)
    certificate = local(f, u, v)
    assert certificate.kind == "not local minimax"
    assert certificate.move is not None
    better = (
        certificate.move.after > certificate.move.before
        if certificate.move.player == "v"
        else certificate.move.after < certificate.move.before
    )
    assert better


def test_the_leader_leaves_where_only_he_can() -> None:
    """f = u v - v^2/2 + u: at (1, 1) the follower rests and the leader descends."""
    certificate = local(lambda u, v: u * v - v**2 / 2 + u, 1.0, 1.0)
    assert certificate.kind == "not local minimax"
    assert certificate.move is not None
    assert certificate.move.player == "u"
    # phi(u) = u^2/2 + u falls from 1.5 by 2 a unit.
    assert certificate.move.before - certificate.move.after == pytest.approx(2 * certificate.move.length, rel=0.1)


def test_a_leader_may_leave_a_follower_that_is_flat() -> None:
    assert local(lambda u, v: u * v, 0.0, 1.0).kind == "not local minimax"
    assert local(lambda u, v: u * v, 1.0, 0.0).kind == "not local minimax"  # the follower climbs


def test_the_follower_at_a_bound_leaves_the_leader_to_decide() -> None:
    """f = u^2 - u v + 2 v on v <= 1: the follower is held at 1, and the leader answers 1/2."""
    certificate = local(lambda u, v: u**2 - u * v + 2 * v, 0.5, 1.0, project_v=Box(-1, 1))
    assert certificate.kind == "local Nash"
    assert certificate.constraints["v"].free == 0
    assert "no direction free to the follower" in certificate.reason
    assert "v" not in certificate.eigenvalues
    assert local(lambda u, v: u**2 - u * v + 2 * v, 0.3, 1.0, project_v=Box(-1, 1)).kind == "not local minimax"
    concave = local(lambda u, v: -(u**2) + u * v + 2 * v, 0.5, 1.0, project_v=Box(-1, 1))
    assert concave.kind == "not local minimax"  # the bound takes the answer away that could have saved it


def test_where_two_followers_tie_a_global_minimax_point_is_not_a_local_one() -> None:
    """2 v^2 - (u - v)^2 on the square: max_v is -u^2 + |u| + 1/4, least at 0, but at (0, 1/2) the leader leaves."""
    box = {"project_u": Box(-0.5, 0.5), "project_v": Box(-0.5, 0.5)}
    certificate = local(lambda u, v: 2 * v**2 - (u - v) ** 2, 0.0, 0.5, **box)
    assert certificate.kind == "not local minimax"
    assert certificate.move is not None
    assert certificate.move.player == "u"


def on_ball(x: Tensor) -> Tensor:
    return x * torch.clamp(1 / x.norm().clamp_min(1e-300), max=1.0)


def test_the_curvature_of_a_ball_counts() -> None:
    """f = c v_1 + v_2^2/2 at v = e_1: on the circle c cos t + sin^2 t / 2 has the curvature 1 - c."""
    for c, kind in ((2.0, "local Nash"), (0.5, "not local minimax"), (1.0, "undecided")):
        certificate = local(lambda u, v, c=c: u**2 + c * v[0] + v[1] ** 2 / 2, 0.0, [1.0, 0.0], project_v=on_ball)
        assert certificate.kind == kind, certificate.reason
        assert certificate.eigenvalues["v"].value == pytest.approx(1 - c, abs=1e-3)


def test_the_schur_complement_lives_on_free_directions() -> None:
    """f = -u^2/2 + 2 u v_1 + 9 u v_2 - v_1^2/2 + 5 v_2 with v_2 <= 0 held: only v_1 answers, -1 + 4 > 0."""

    def f(u: Tensor, v: Tensor) -> Tensor:
        return -(u**2) / 2 + 2 * u * v[0] + 9 * u * v[1] - v[0] ** 2 / 2 + 5 * v[1]

    certificate = local(f, 0.0, [0.0, 0.0], project_v=lambda v: torch.stack([v[0], v[1].clamp(max=0)]))
    assert certificate.kind == "strict local minimax"
    assert certificate.eigenvalues["schur"].value == pytest.approx(3)
    weaker = local(
        lambda u, v: f(u, v) - 4 * u**2, 0.0, [0.0, 0.0], project_v=lambda v: torch.stack([v[0], v[1].clamp(max=0)])
    )
    assert weaker.kind == "not local minimax"  # -9 + 4 < 0, though with v_2 free it would be -9 + 4 + infinity
    assert weaker.move is not None
    assert weaker.move.player == "u"


def test_weak_constraints_decide_only_where_all_directions_agree() -> None:
    touching = local(lambda u, v: u**2 - (v - 1) ** 2, 0.0, 1.0, project_v=Box(-1, 1))
    assert touching.constraints["v"].weak
    assert touching.kind == "local Nash"
    inwards = local(lambda u, v: u**2 + (v - 1) ** 2, 0.0, 1.0, project_v=Box(-1, 1))
    assert inwards.kind == "not local minimax"
    one_sided = local(lambda u, v: -3 * u**2 - (v - 1) ** 2 + 4 * u * (v - 1), 0.0, 1.0, project_v=Box(-1, 1))
    assert one_sided.kind == "undecided"  # for u > 0 the follower cannot answer, and f falls
    assert "one-sided" in one_sided.reason


def test_near_is_near_and_not_at() -> None:
    def f(u: Tensor, v: Tensor) -> Tensor:
        return -3 * u**2 - v**2 + 4 * u * v

    near = local(f, 1e-6, 0.0)
    assert near.kind == "strict local minimax"
    assert near.distance == pytest.approx(1e-6, rel=0.1)
    assert local(f, 1e-3, 0.0).kind == "not local minimax"
    assert local(f, 1e-3, 0.0, tolerance=0.1).kind == "strict local minimax"


def test_a_small_gradient_on_a_flat_slope_is_not_taken_for_a_point_near() -> None:
    """u^4/4 at 0.02 has the gradient 8e-6 and the curvature 1.2e-3, but its minimum is 0.02 away."""
    certificate = local(lambda u, v: u**4 / 4 - v**2, 0.02, 0.0)
    assert certificate.kind == "undecided"
    assert "does not settle" in certificate.reason


def test_saddles_of_higher_order_are_left_open_or_proved() -> None:
    assert local(lambda u, v: u**2 + v**3, 0.0, 0.0).kind in ("undecided", "not local minimax")
    assert local(lambda u, v: u**2 - v**2 + 0 * u, 0.0, 0.0).kind == "local Nash"


def test_values_that_are_not_finite_are_undecided() -> None:
    certificate = local(lambda u, v: u**2 + torch.log(v), 0.0, -1.0)
    assert certificate.kind == "undecided"
    assert "not finite" in certificate.reason


def test_single_precision_decides_at_its_own_tolerance() -> None:
    at = torch.tensor(0.0), torch.tensor(0.0)
    certificate = certify(Game(lambda u, v: -3 * u**2 - v**2 + 4 * u * v, *at), at, restarts=0)
    assert (certificate.kind, certificate.settings["tolerance"]) == ("strict local minimax", 1e-3)


def test_large_games_are_classified_without_a_matrix() -> None:
    """Diagonal blocks of 700 and 600 values with one odd direction each."""
    rng = np.random.default_rng(0)
    a, c = rng.uniform(0.5, 2, 700), rng.uniform(0.5, 2, 600)
    B = rng.normal(size=(700, 600)) / 40

    def game(a: np.ndarray, c: np.ndarray) -> Certificate:
        return local(quadratic(np.diag(a), B, -np.diag(c)), np.zeros(700), np.zeros(600))

    assert game(a, c).kind == "local Nash"
    assert game(a, c).eigenvalues["u"].accuracy == "estimate"
    odd = a.copy()
    odd[17] = -0.1
    schur = np.linalg.eigvalsh(np.diag(odd) + B @ np.diag(1 / c) @ B.T)[0]
    assert schur > 0
    certificate = game(odd, c)
    assert certificate.kind == "strict local minimax"
    assert certificate.eigenvalues["schur"].value == pytest.approx(schur, abs=1e-3)
    odd[17] = -3.0
    assert game(odd, c).kind == "not local minimax"
    c[3] = -0.2
    assert game(a, c).kind == "not local minimax"
