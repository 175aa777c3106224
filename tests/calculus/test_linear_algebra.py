"""Matrix-free linear algebra against NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import LinearOperator, eigsh

from minimaxopt._types import Tensors
from minimaxopt.calculus.conjugate_gradient import conjugate_gradient
from minimaxopt.calculus.spectrum import matrix_of, random_like, smallest_eigenvalue

EXACT = 1e-9


class Matrix:
    """A symmetric matrix that acts on two tensors and counts its products."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.products = values, 0
        self.tensor = torch.from_numpy(values)

    def __call__(self, x: Tensors) -> Tensors:
        self.products += 1
        return split(self.tensor @ joined(x))


def split(x: torch.Tensor) -> Tensors:
    return {"a": x[:2], "b": x[2:].reshape(1, -1)}


def joined(x: Tensors) -> torch.Tensor:
    return torch.cat([x["a"], x["b"].reshape(-1)])


def symmetric(n: int, seed: int, *, definite: bool = False) -> np.ndarray:
    root = np.random.default_rng(seed).normal(size=(n, n))
    return root @ root.T / n + np.eye(n) / 10 if definite else (root + root.T) / 2


@settings(deadline=None, max_examples=30)
@given(n=st.integers(3, 30), seed=st.integers(0, 10_000))
def test_conjugate_gradients_solve(n: int, seed: int) -> None:
    matrix = Matrix(symmetric(n, seed, definite=True))
    b = np.random.default_rng(seed + 1).normal(size=n)
    found = conjugate_gradient(matrix, split(torch.from_numpy(b)), tolerance=1e-12, max_steps=20 * n)
    np.testing.assert_allclose(joined(found.x), np.linalg.solve(matrix.values, b), rtol=1e-7, atol=EXACT)
    assert found.negative is None
    assert matrix.products == found.steps


def test_a_warm_start_takes_fewer_steps_and_the_solution_none() -> None:
    matrix = Matrix(symmetric(30, 0, definite=True))
    b = split(torch.from_numpy(np.random.default_rng(1).normal(size=30)))
    cold = conjugate_gradient(matrix, b, tolerance=1e-8)
    near = {name: t + 1e-6 for name, t in cold.x.items()}
    assert conjugate_gradient(matrix, b, start=near, tolerance=1e-8).steps < cold.steps
    assert conjugate_gradient(matrix, b, start=cold.x, tolerance=1e-7).steps == 0


def test_conjugate_gradients_stop_at_negative_curvature_and_show_it() -> None:
    matrix = Matrix(np.diag([1.0, 2.0, -1.0, 3.0]))
    found = conjugate_gradient(matrix, split(torch.ones(4, dtype=torch.float64)), max_steps=50)
    assert found.negative is not None
    p = joined(found.negative).numpy()
    assert p @ matrix.values @ p <= 0
    assert float(found.residual) > 1e-3


def test_conjugate_gradients_say_when_the_budget_was_too_small() -> None:
    matrix = Matrix(symmetric(30, 0, definite=True))
    found = conjugate_gradient(matrix, split(torch.ones(30, dtype=torch.float64)), max_steps=3)
    assert found.steps == 3
    left = np.ones(30) - matrix.values @ joined(found.x).numpy()
    assert float(found.residual) == pytest.approx(np.linalg.norm(left) / np.sqrt(30), rel=1e-8)
    assert float(found.residual) > 1e-3


def test_of_nothing_nothing_comes() -> None:
    found = conjugate_gradient(Matrix(np.eye(4)), split(torch.zeros(4, dtype=torch.float64)))
    assert found.steps == 0
    assert float(found.residual) == 0
    assert not joined(found.x).any()


@settings(deadline=None, max_examples=30)
@given(n=st.integers(3, 60), seed=st.integers(0, 10_000))
def test_small_spectra_are_exact(n: int, seed: int) -> None:
    matrix = Matrix(symmetric(n, seed))
    pair = smallest_eigenvalue(matrix, split(torch.zeros(n, dtype=torch.float64)))
    values = np.linalg.eigvalsh(matrix.values)
    assert pair.accuracy == "exact"
    assert pair.value == pytest.approx(values[0], abs=EXACT)
    assert pair.scale == pytest.approx(np.abs(values).max(), rel=EXACT)
    x = joined(pair.vector).numpy()
    assert x @ matrix.values @ x == pytest.approx(pair.value, abs=EXACT)


@pytest.mark.parametrize("n", [65, 200, 500])
@pytest.mark.parametrize("shift", [0.0, 5.0])
def test_lanczos_agrees_with_arpack(n: int, shift: float) -> None:
    matrix = Matrix(symmetric(n, n) + shift * np.eye(n))
    pair = smallest_eigenvalue(matrix, split(torch.zeros(n, dtype=torch.float64)), precision=1e-8)
    referee = eigsh(LinearOperator((n, n), matvec=lambda x: matrix.values @ x), 1, which="SA")[0][0]
    assert pair.accuracy == "estimate"
    assert pair.value == pytest.approx(referee, abs=1e-6)
    assert pair.value >= referee - EXACT  # a Rayleigh quotient is never below
    assert pair.products == matrix.products
    x = joined(pair.vector)
    assert float(x @ x) == pytest.approx(1.0)
    assert pair.error == pytest.approx(float((matrix.tensor @ x - pair.value * x).norm()), abs=EXACT)


def test_a_smallest_eigenvalue_near_zero_is_told_from_a_negative_one() -> None:
    values, vectors = np.linalg.eigh(symmetric(300, 3, definite=True))
    for smallest in (0.02, -0.02):
        values[0] = smallest
        pair = smallest_eigenvalue(
            Matrix(vectors @ np.diag(values) @ vectors.T), split(torch.zeros(300, dtype=torch.float64))
        )
        assert pair.value == pytest.approx(smallest, abs=1e-3)


def test_what_the_budget_does_not_settle_has_a_large_error() -> None:
    matrix = Matrix(symmetric(400, 4))
    like = split(torch.zeros(400, dtype=torch.float64))
    settled, not_settled = smallest_eigenvalue(matrix, like), smallest_eigenvalue(matrix, like, max_steps=5)
    assert settled.error < 1e-2 < 1 < not_settled.error


@pytest.mark.parametrize("n", [4, 100])
def test_nan_is_reported_and_zero_is_zero(n: int) -> None:
    like = split(torch.zeros(n, dtype=torch.float64))
    pair = smallest_eigenvalue(lambda x: {k: t * float("nan") for k, t in x.items()}, like)
    assert np.isnan(pair.value)
    assert pair.error == float("inf")
    assert smallest_eigenvalue(lambda x: {k: t * 0 for k, t in x.items()}, like).value == 0


def test_an_invariant_subspace_ends_the_recursion() -> None:
    """Two distinct eigenvalues: the Krylov space has two dimensions."""
    values = np.ones(100)
    values[:40] = -2.0
    pair = smallest_eigenvalue(Matrix(np.diag(values)), split(torch.zeros(100, dtype=torch.float64)))
    assert pair.value == pytest.approx(-2.0, abs=EXACT)
    assert pair.products <= 21  # it ends at the first look: ten steps, twice, and the image


def test_random_directions_are_unit_and_follow_the_seed() -> None:
    like = split(torch.zeros(50, dtype=torch.float64))
    a, b, c = (joined(random_like(like, seed)) for seed in (0, 0, 1))
    assert float(a @ a) == pytest.approx(1.0)
    assert torch.equal(a, b)
    assert abs(float(a @ c)) < 0.9


def test_a_matrix_is_the_same_by_columns_together() -> None:
    like = {"a": torch.zeros(3, 5, dtype=torch.float64), "b": torch.zeros(4, dtype=torch.float64)}
    matrix = torch.randn(19, 19, dtype=torch.float64)

    def shape(rows: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"a": rows[..., :15].reshape(*rows.shape[:-1], 3, 5), "b": rows[..., 15:]}

    def apply(x: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return shape(matrix @ torch.cat([x["a"].flatten(), x["b"]]))

    def together(x: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return shape(torch.cat([x["a"].flatten(1), x["b"]], 1) @ matrix.T)

    assert torch.allclose(matrix_of(apply, like), matrix)
    assert torch.allclose(matrix_of(apply, like, together), matrix)
