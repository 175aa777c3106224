"""Derivatives of projections: closed forms, symmetry, finite differences, and no NaN where a norm vanishes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from minimaxopt.constraints import Box, L1Ball, L2Ball, LInfBall, Product, Simplex
from tests.constraints.projection_sets import SETS, SHAPE

EXACT = 1e-12


def jacobian(project: Any, x: Tensor) -> Tensor:
    return torch.func.jacrev(lambda z: project(z.reshape(x.shape)).flatten())(x.flatten())


def points() -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    return [torch.randn(SHAPE, dtype=torch.float64, generator=random) * scale for scale in (0.1, 1, 3, 3, 10)]


@pytest.mark.parametrize("name", sorted(SETS))
def test_a_jacobian_is_symmetric_with_eigenvalues_from_zero_to_one(name: str) -> None:
    ranks: set[int] = set()
    for x in points():
        matrix = jacobian(SETS[name].project, x)
        assert (matrix - matrix.T).abs().max() < EXACT
        values = torch.linalg.eigvalsh(matrix)
        assert float(values.min()) > -EXACT
        assert float(values.max()) < 1 + EXACT
        ranks.add(int((values > 1e-6).sum()))
    assert len(ranks) > 1  # the points lie on several pieces of the set


@pytest.mark.parametrize("name", sorted(SETS))
def test_autograd_agrees_with_finite_differences_twice(name: str) -> None:
    for x in points():
        moved = x.clone().requires_grad_()
        assert torch.autograd.gradcheck(SETS[name].project, moved)
        assert torch.autograd.gradgradcheck(SETS[name].project, moved)


def test_jacobians_are_those_of_the_closed_forms() -> None:
    x = torch.tensor([3.0, -4.0, 0.5], dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    n = x.norm()
    assert torch.allclose(jacobian(L2Ball(2.0), x), 2 / n * (eye - torch.outer(x, x) / n**2), rtol=0, atol=EXACT)
    signs = torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64)
    assert torch.allclose(jacobian(L1Ball(2.0), x), torch.diag(signs**2) - torch.outer(signs, signs) / 2)
    on = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    assert torch.equal(jacobian(Simplex(), x), torch.diag(on) - torch.outer(on, on))
    assert torch.equal(jacobian(Box(-1, 2), x), torch.diag(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)))
    for wide in (L1Ball(9.0), L2Ball(9.0), LInfBall(9.0), Box(-9, 9)):
        assert torch.equal(jacobian(wide, x), eye)


@pytest.mark.parametrize("ball", [L1Ball, L2Ball, LInfBall])
@pytest.mark.parametrize("per_sample", [False, True])
def test_the_center_has_finite_derivatives(ball: type, per_sample: bool) -> None:
    x = torch.zeros(2, 3, requires_grad=True)
    weights = torch.arange(6.0).reshape(2, 3)
    (first,) = torch.autograd.grad((ball(1.0, per_sample=per_sample)(x) * weights).sum(), x, create_graph=True)
    assert torch.equal(first, weights)
    # One row at the center beside one far out: neither spoils the other.
    y = torch.tensor([[0.0, 0.0, 0.0], [3.0, 4.0, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad((ball(1.0, per_sample=True)(y) * weights).sum(), y, create_graph=True)
    assert bool(gradient.isfinite().all())
    assert torch.equal(gradient[0], weights[0])
    assert not torch.equal(gradient[1], weights[1])
    if ball is L2Ball:
        (second,) = torch.autograd.grad(gradient.square().sum(), y)
        assert bool(second.isfinite().all())
        assert second[1].abs().sum() > 0
        plain = y / y.norm(dim=1, keepdim=True).clamp_min(1)
        (naive,) = torch.autograd.grad((y * (1 / y.square().sum(1, keepdim=True).sqrt()).clamp(max=1)).sum(), y)
        assert bool(plain.isfinite().all())
        assert bool(naive.isnan().any())


def test_radius_and_center_may_be_learned() -> None:
    x = torch.tensor([3.0, 4.0], dtype=torch.float64)

    def of(radius: Tensor, center: Tensor) -> Tensor:
        return L2Ball(radius, center)(x)

    settings = (torch.tensor(1.5, dtype=torch.float64), torch.tensor([0.5, -1.0], dtype=torch.float64))
    assert torch.autograd.gradcheck(of, tuple(t.requires_grad_() for t in settings))


def test_projections_are_transformed_by_vmap() -> None:
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)) * 3
    for ball in (L1Ball, L2Ball, LInfBall):
        assert torch.allclose(torch.vmap(ball(1.0))(x), ball(1.0, per_sample=True)(x), rtol=0, atol=1e-6)
    assert torch.equal(torch.vmap(Simplex())(x), Simplex()(x))
    assert torch.equal(torch.vmap(Product({"x": Box(0, 1)}))({"x": x})["x"], x.clamp(0, 1))


def test_what_is_on_the_simplex_comes_back_with_the_derivative_of_the_projection() -> None:
    inside = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    flat = torch.eye(3, dtype=torch.float64) - 1 / 3
    assert torch.equal(Simplex()(inside), inside)
    assert torch.allclose(jacobian(Simplex(), inside), flat, rtol=0, atol=EXACT)
    assert torch.allclose(jacobian(Simplex(), inside + 1e-3), flat, rtol=0, atol=EXACT)
