"""The form on a constraint's free directions against the Lagrangian's Hessian on the tangent space, by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from minimaxopt import Box, Simplex
from minimaxopt._types import Tensors
from minimaxopt.calculus.spectrum import smallest_eigenvalue
from minimaxopt.certificates.tangent_space import Tangent

TOLERANCE = 1e-5
CURVED = 1e-3  # the form scales a curved set's directions by 1 + O(1e-4)


def symmetric(n: int, seed: int = 0) -> np.ndarray:
    root = np.random.default_rng(seed).normal(size=(n, n))
    return (root + root.T) / 2


def flat(x: np.ndarray | list[float]) -> Tensors:
    return {"x": torch.as_tensor(x, dtype=torch.float64)}


def on(projection: Callable[[Tensor], Tensor]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {"x": projection(tensors["x"])}


def smallest(tangent: Tangent, hessian: np.ndarray, scale: float = 100.0) -> float:
    matrix = torch.from_numpy(hessian)
    form = tangent.form(lambda w: {"x": matrix @ w["x"]}, scale)
    return smallest_eigenvalue(form, flat(np.zeros(len(hessian)))).value


def ball(radius: float) -> Callable[[Tensor], Tensor]:
    return lambda x: x * torch.clamp(radius / x.norm(), max=1.0)


def test_without_a_constraint_all_directions_are_free() -> None:
    hessian = symmetric(4)
    tangent = Tangent(None, flat(np.zeros(4)), flat(np.ones(4)), TOLERANCE)
    assert not tangent.constraint.active
    assert smallest(tangent, hessian) == pytest.approx(np.linalg.eigvalsh(hessian)[0])


def test_inside_the_set_too() -> None:
    hessian = symmetric(4)
    tangent = Tangent(on(Box(-1, 1)), flat(np.full(4, 0.5)), flat(np.zeros(4)), TOLERANCE)
    assert (tangent.constraint.active, tangent.constraint.free) == (False, 4)
    assert smallest(tangent, hessian) == pytest.approx(np.linalg.eigvalsh(hessian)[0])


def test_a_face_of_a_box_leaves_its_other_coordinates() -> None:
    hessian = symmetric(5)
    x, grad = np.array([1.0, 0.3, -1.0, 0.0, 0.2]), np.array([-2.0, 0.0, 0.5, 0.0, 0.0])
    tangent = Tangent(on(Box(-1, 1)), flat(x), flat(grad), TOLERANCE)
    assert (tangent.constraint.active, tangent.constraint.free, tangent.constraint.weak) == (True, 3, False)
    free = [1, 3, 4]
    assert smallest(tangent, hessian) == pytest.approx(np.linalg.eigvalsh(hessian[np.ix_(free, free)])[0])


def test_a_slope_that_presses_the_other_way_leaves_all_free() -> None:
    tangent = Tangent(on(Box(-1, 1)), flat([1.0, 0.0]), flat([2.0, 0.0]), TOLERANCE)
    assert tangent.constraint.free == 2


def test_a_vertex_leaves_nothing() -> None:
    tangent = Tangent(on(Box(-1, 1)), flat([1.0, -1.0]), flat([-1.0, 1.0]), TOLERANCE)
    assert tangent.constraint.free == 0
    assert smallest(tangent, -np.eye(2), scale=7.0) == pytest.approx(7.0)


def test_a_simplex_leaves_the_differences_of_its_support() -> None:
    hessian = symmetric(4, 1)
    x = np.array([0.5, 0.5, 0.0, 0.0])
    grad = np.array([1.0, 1.0, 3.0, 4.0])  # minimised on the face of the first two
    tangent = Tangent(on(Simplex()), flat(x), flat(grad), TOLERANCE)
    assert tangent.constraint.free == pytest.approx(1)
    d = np.array([1.0, -1.0, 0.0, 0.0]) / np.sqrt(2)
    assert smallest(tangent, hessian) == pytest.approx(d @ hessian @ d)


@pytest.mark.parametrize("radius", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0])
def test_a_ball_adds_the_curvature_of_its_boundary(radius: float, strength: float) -> None:
    """Lagrangian h + mu (||x||^2 - r^2) / 2 with mu = ||grad h|| / r."""
    hessian = symmetric(3, 2)
    normal = np.array([1.0, 2.0, -2.0]) / 3
    x, grad = radius * normal, -strength * normal
    tangent = Tangent(on(ball(radius)), flat(x), flat(grad), TOLERANCE)
    assert tangent.constraint.free == pytest.approx(2, abs=0.01)
    basis = np.linalg.svd(normal[None])[2][1:]
    lagrangian = basis @ (hessian + strength / radius * np.eye(3)) @ basis.T
    expected = np.linalg.eigvalsh(lagrangian)[0]
    assert smallest(tangent, hessian) == pytest.approx(expected, rel=CURVED, abs=CURVED)
    assert smallest(tangent, hessian) != pytest.approx(np.linalg.eigvalsh(basis @ hessian @ basis.T)[0], rel=1e-2)


def test_touching_without_pressing_is_weak() -> None:
    tangent = Tangent(on(Box(-1, 1)), flat([1.0, 0.0]), flat([0.0, 0.0]), TOLERANCE)
    assert tangent.constraint.weak
    assert not Tangent(on(Box(-1, 1)), flat([0.9, 0.0]), flat([0.0, 0.0]), TOLERANCE).constraint.weak
    beside = Tangent(on(Box(-1, 1)), flat([1.0, 1.0]), flat([-3.0, 0.0]), TOLERANCE)
    assert beside.constraint.weak


def test_a_weak_face_of_a_simplex_is_found() -> None:
    x = flat([1.0, 0.0])
    assert Tangent(on(Simplex()), x, flat([1.0, 1.0]), TOLERANCE).constraint.weak
    pressed = Tangent(on(Simplex()), x, flat([1.0, 2.0]), TOLERANCE)
    assert (pressed.constraint.weak, pressed.constraint.free) == (False, 0)


def test_many_dimensions_are_counted_by_probes() -> None:
    n = 300
    x, grad = np.zeros(n), np.zeros(n)
    x[:100], grad[:100] = 1.0, -1.0
    tangent = Tangent(on(Box(-1, 1)), flat(x), flat(grad), TOLERANCE)
    assert tangent.constraint.accuracy == "estimate"
    assert tangent.constraint.free == pytest.approx(200)  # exact for a diagonal Jacobian
    assert "about 200 of 300" in str(tangent.constraint)


def test_a_projection_without_a_derivative_cannot_be_decided() -> None:
    def clipped(x: Tensor) -> Tensor:
        return torch.from_numpy(np.clip(x.detach().numpy(), -1, 1))

    acting = Tangent(on(clipped), flat([1.0, 0.0]), flat([-1.0, 0.0]), TOLERANCE)
    assert not acting.decidable
    assert "cannot be differentiated" in acting.why_not
    assert Tangent(on(clipped), flat([0.2, 0.0]), flat([0.0, 0.0]), TOLERANCE).decidable


def test_a_map_that_is_no_euclidean_projection_cannot_be_decided() -> None:
    def normalised(x: Tensor) -> Tensor:
        return x.clamp_min(0) / x.clamp_min(0).sum()

    tangent = Tangent(on(normalised), flat([0.9, 0.1]), flat([0.5, -0.2]), TOLERANCE)
    assert not tangent.decidable
    assert "not a Euclidean projection" in tangent.why_not
