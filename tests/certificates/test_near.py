"""The local type where it is easily got wrong: kinks, bounds within reach, hidden eigenvalues, sizes, rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from minimaxopt import Box, Game, L2Ball, Simplex, certify
from minimaxopt.calculus.spectrum import random_like, smallest_eigenvalue
from minimaxopt.certificates.tangent_space import Tangent
from minimaxopt.results.certificate import Certificate


def local(f: Any, u: Any, v: Any, dtype: torch.dtype = torch.float64, **options: Any) -> Certificate:
    at = tuple(torch.as_tensor(x, dtype=dtype).clone() for x in (u, v))
    return certify(Game(f, *at, **options), at, restarts=0)


# -- kinks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "kind"),
    [
        # Torch's derivative of relu and abs at zero is zero, so that each looks like u^2 - v^2.
        (lambda u, v: u**2 / 2 - 3 * torch.relu(-u) - v**2, "undecided"),  # falls for u < 0
        (lambda u, v: u**2 + u.abs() - v**2, "undecided"),  # a Nash point, which derivatives do not show
        (lambda u, v: u**2 - v**2 - v.abs(), "undecided"),
        (lambda u, v: u**2 - v**2 + 3 * torch.relu(v), "not local minimax"),
        (lambda u, v: u**2 - v**2 + v.abs(), "not local minimax"),
        (lambda u, v: u**2 - v**2 + torch.relu(v - 1) + u.abs() ** 3, "local Nash"),  # a kink elsewhere; one of u''
        (lambda u, v: 1e4 * (u**2 - v**2) + torch.sin(50 * u) ** 3, "local Nash"),  # steep, and smooth
    ],
)
def test_a_kink_at_the_point_is_seen(f: Any, kind: str) -> None:
    certificate = local(f, 0.0, 0.0)
    assert certificate.kind == kind, certificate.reason
    assert ("kink" in certificate.reason) == (kind != "local Nash")
    if certificate.move is not None:
        assert certificate.move.player == "v"
        assert certificate.move.after > certificate.move.before


def test_a_kink_on_the_forbidden_side_does_not_count_and_one_on_the_allowed_side_does() -> None:
    def f(u: Tensor, v: Tensor) -> Tensor:
        return u**2 - v**2 + 3 * torch.relu(v)

    assert local(f, 0.0, 0.0, project_v=Box(-1, 0)).kind == "local Nash"
    assert local(f, 0.0, 0.0, project_v=Box(0, 1)).kind == "not local minimax"


# -- constraints -------------------------------------------------------------------------------------------------------


def test_a_player_beside_a_bound_on_which_it_presses_stands_on_it() -> None:
    """The follower presses on both bounds, hard on one; a millionth beside the other his curvature there is no escape."""

    def f(u: Tensor, v: Tensor) -> Tensor:
        return u**2 + (v[0] - 0.9) ** 2 + 0.01 * v[0] + 100 * v[1]

    for beside in (0.0, 1e-9, 1e-6):
        certificate = local(f, 0.0, [1 - beside, 1.0], project_v=Box(-1, 1))
        assert certificate.kind == "local Nash", certificate.reason
        assert certificate.constraints["v"].free == 0
    assert local(f, 0.0, [1 - 1e-3, 1.0], project_v=Box(-1, 1)).kind == "not local minimax"


@pytest.mark.parametrize("project", [Box(-1, 1), L2Ball(1.0), Simplex()], ids=["box", "ball", "simplex"])
def test_points_known_to_seven_digits_are_near(project: Any) -> None:
    """f = |u - a|^2 - |v - b|^2 / 2 + u.v / 2, a and b outside: solved by projected iteration, then shaken."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        a, b = (torch.from_numpy(rng.normal(size=4) * 2) for _ in range(2))

        def f(u: Tensor, v: Tensor, a: Tensor = a, b: Tensor = b) -> Tensor:
            return ((u - a) ** 2).sum() - ((v - b) ** 2).sum() / 2 + (u * v).sum() / 2

        u, v = project(a), project(b)
        for _ in range(300):
            u, v = project(u - 0.3 * (2 * (u - a) + v / 2)), project(v + 0.3 * (b - v + u / 2))
        near = [project(x + 1e-7 * torch.from_numpy(rng.normal(size=4))) for x in (u, v)]
        for at in ((u, v), near):
            certificate = local(f, *at, project_u=project, project_v=project)
            assert certificate.kind == "local Nash", certificate.reason


def test_a_gain_beyond_a_loss_is_another_hill() -> None:
    """-s^2 - t^2 - 4 s t on s, t <= 0 is negative, its Hessian is not; further off 10 (s^4 + t^4) makes it positive."""

    def f(u: Tensor, v: Tensor) -> Tensor:
        s, t = v[0] - 1, v[1] - 1
        return u**2 - s**2 - t**2 - 4 * s * t + 10 * (s**4 + t**4)

    certificate = local(f, 0.0, [1.0, 1.0], project_v=Box(-1, 1))
    assert certificate.kind == "undecided"
    assert local(f, 0.0, [1.0, 1.0], project_v=Box(-1, 2)).kind == "not local minimax"


def test_a_leader_whom_a_bound_touches_without_pressing_may_be_at_a_nash_point() -> None:
    """s^2 + t^2 + 4 s t for s, t >= 0 is least at zero, though its Hessian has the eigenvalue -2."""

    def f(u: Tensor, v: Tensor) -> Tensor:
        return u[0] ** 2 + u[1] ** 2 + 4 * u[0] * u[1] + 6 * (u * v).sum() - (v**2).sum()

    certificate = local(f, [0.0, 0.0], [0.0, 0.0], project_u=Box(0, 1))
    assert certificate.kind == "strict local minimax"
    assert "whether Nash is open" in certificate.reason
    free = local(f, [0.0, 0.0], [0.0, 0.0])
    assert "no Nash point" in free.reason


def test_a_free_direction_of_many_values_is_not_lost() -> None:
    """On a simplex of 100 weights two share the total; the signs of the trace estimate cancel on the two chosen."""
    like = {"x": torch.zeros(100, dtype=torch.float64)}
    signs = torch.stack([random_like(like, 100 + seed)["x"].sign() for seed in range(8)])
    pairs = [(i, j) for i in range(100) for j in range(i) if bool((signs[:, i] == signs[:, j]).all())]
    assert pairs
    for i, j in pairs[:3]:
        x, grad = torch.zeros(100, dtype=torch.float64), torch.ones(100, dtype=torch.float64)
        x[[i, j]], grad[[i, j]] = 0.5, 0.0
        tangent = Tangent(lambda tree: Simplex()(tree), {"x": x}, {"x": grad}, 1e-5)
        assert tangent.constraint.free >= 1
    x, grad = torch.zeros(100, dtype=torch.float64), torch.ones(100, dtype=torch.float64)
    x[3], grad[3] = 1.0, 0.0
    assert Tangent(lambda tree: Simplex()(tree), {"x": x}, {"x": grad}, 1e-5).constraint.free == 0


def test_a_projection_may_work_in_place_or_hide_its_derivative() -> None:
    def f(u: Tensor, v: Tensor) -> Tensor:
        return u**2 - v**2 + 4 * v

    assert local(f, 0.0, 1.0, project_v=lambda v: v.clamp_(-1, 1)).kind == "local Nash"
    hidden = local(f, 0.0, 1.0, project_v=lambda v: v.detach().clamp(-1, 1))
    assert hidden.kind == "undecided"
    assert "cannot be differentiated" in hidden.reason
    assert hidden.constraints["v"].active


# -- many dimensions ---------------------------------------------------------------------------------------------------


def rotated(values: np.ndarray, seed: int) -> Tensor:
    root = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values),) * 2))[0]
    matrix = root @ np.diag(values) @ root.T
    return torch.from_numpy((matrix + matrix.T) / 2)


@pytest.mark.parametrize("hidden", [-0.01, 0.05])
def test_a_small_eigenvalue_beside_a_crowd_of_others_is_found(hidden: float) -> None:
    """Most eigenvalues are one, a few reach a thousand, and one is small: a residual alone stops too early."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        crowd = np.where(rng.random(120) < 0.7, 1.0, 10 ** rng.uniform(0, 3.5, 120))
        crowd[7] = hidden
        A = rotated(crowd, seed)
        certificate = local(lambda u, v, A=A: u @ A @ u / 2 - (v**2).sum(), np.zeros(120), np.zeros(2))
        assert certificate.kind == ("local Nash" if hidden > 0 else "not local minimax"), (seed, certificate.reason)
        assert certificate.eigenvalues["u"].value == pytest.approx(hidden, abs=1e-3)


def test_lanczos_says_how_much_lower_the_smallest_eigenvalue_may_be() -> None:
    """Over random spectra the smallest eigenvalue is never below ``value - below``, but often below ``value - 2 error``."""
    surprises = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        crowd = torch.from_numpy(np.where(rng.random(600) < 0.8, 1.0, 10 ** rng.uniform(0, 4, 600)))
        crowd[0] = 0.02
        pair = smallest_eigenvalue(lambda x, c=crowd: {"x": c * x["x"]}, {"x": crowd}, seed=seed)
        assert pair.value - pair.below <= 0.02
        surprises += pair.value - 2 * pair.error > 0.02
    assert surprises > 0
    sure = smallest_eigenvalue(lambda x: {"x": crowd.clamp(max=50) * x["x"]}, {"x": crowd}, sure=True, max_steps=2000)
    assert sure.value == pytest.approx(0.02, abs=1e-3)


# -- sizes and rounding ------------------------------------------------------------------------------------------------


def test_players_of_any_size_are_seen_to_leave() -> None:
    """Beside a point of size 1e4 a step of a hundredth is too long."""
    certificate = local(lambda u, v: u**2 - torch.sin(v - 1e4) ** 2 * 1e4, 0.0, 1e4 + 1e-3)
    assert certificate.kind == "not local minimax"
    assert local(lambda u, v: (u - 1e6) ** 2 - v**2, 1e6 + 1e-3, 0.0).kind == "not local minimax"


@pytest.mark.parametrize("c", [1.37, 2.61, 3.3])
def test_a_risk_that_is_a_small_difference_of_large_terms_proves_nothing_by_its_rounding(c: float) -> None:
    """In single precision 1e5 (u^2 - 2 c u + c^2) has an error of a tenth, which is no gain of the leader's."""

    def f(u: Tensor, v: Tensor) -> Tensor:
        return 1e5 * (u**2 - 2 * c * u + c**2) - 1e5 * v**2

    for digits in range(-4, 5):
        certificate = local(f, c * (1 + digits * 1.2e-7), 0.0, torch.float32)
        assert certificate.kind in ("local Nash", "undecided"), (digits, certificate.reason)


def test_single_precision_points_that_are_as_near_as_rounding_allows_are_decided() -> None:
    rng = np.random.default_rng(1)
    for scale in (1.0, 30.0, 300.0):
        for _ in range(10):
            u0, v0 = rng.normal(size=8) * 3, rng.normal(size=8) * 3
            A, B = rng.normal(size=(8, 8)), rng.normal(size=(8, 8))
            A, C = A @ A.T / 8 + np.eye(8), np.eye(8)
            tA, tB, tC, tu, tv = (torch.from_numpy(x).float() for x in (A, B, C, u0, v0))

            def f(u: Tensor, v: Tensor, parts: Any = (tA, tB, tC, tu, tv), scale: float = scale) -> Tensor:
                A, B, C, u0, v0 = parts
                x, y = u - u0, v - v0
                return scale * (x @ A @ x / 2 + x @ B @ y - y @ C @ y / 2)

            certificate = local(f, u0 * (1 + 1e-7), v0 * (1 - 1e-7), torch.float32)
            assert certificate.kind == "local Nash", certificate.reason
