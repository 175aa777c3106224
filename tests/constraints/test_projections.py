"""Projections against an independent quadratic programme and the defining properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import minimize
from torch import Tensor

from minimaxopt import Box, Game, Simplex
from minimaxopt.errors import ArgumentError
from minimaxopt.game.functional import Functional

EXACT = 1e-12  # float64 arithmetic on a handful of values
SLSQP = 1e-6  # what the reference solver reaches
SINGLE = 1e-6  # float32, relative to a sum of one

vectors = hnp.arrays(np.float64, st.integers(1, 8), elements=st.floats(-50, 50))
pairs = st.integers(1, 6).flatmap(
    lambda n: st.tuples(*[hnp.arrays(np.float64, n, elements=st.floats(-50, 50)) for _ in range(3)])
)


def feasible(x: Tensor, total: float) -> bool:
    return bool((x >= 0).all()) and bool(((x.sum(-1) - total).abs() <= EXACT * 100 * total).all())


@pytest.mark.parametrize("total", [1.0, 3.5])
@pytest.mark.parametrize("seed", range(4))
def test_simplex_is_the_solution_of_the_quadratic_programme(total: float, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=5) * 2
    reference = minimize(
        lambda z: 0.5 * ((z - x) ** 2).sum(),
        np.full(5, total / 5),
        jac=lambda z: z - x,
        bounds=[(0, None)] * 5,
        constraints={"type": "eq", "fun": lambda z: z.sum() - total, "jac": lambda z: np.ones(5)},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    assert np.abs(Simplex(total)(torch.from_numpy(x)).numpy() - reference.x).max() < SLSQP


@pytest.mark.parametrize("seed", range(3))
def test_box_is_the_solution_of_the_quadratic_programme(seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=5) * 2
    reference = minimize(
        lambda z: 0.5 * ((z - x) ** 2).sum(),
        np.zeros(5),
        jac=lambda z: z - x,
        bounds=[(-0.5, 1)] * 5,
        method="L-BFGS-B",
    )
    assert np.abs(Box(-0.5, 1)(torch.from_numpy(x)).numpy() - reference.x).max() < SLSQP


@given(x=vectors, total=st.floats(0.1, 10))
def test_simplex_is_feasible_and_idempotent(x: np.ndarray, total: float) -> None:
    project = Simplex(total)
    once = project(torch.from_numpy(x))
    assert feasible(once, total)
    assert torch.allclose(project(once), once, rtol=0, atol=EXACT * 100)


@given(xyz=pairs)
def test_projections_are_nearest_and_do_not_expand(xyz: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    x, y, other = (torch.from_numpy(a) for a in xyz)
    for project in (Simplex(), Box(-1, 2)):
        p, q, r = project(x), project(y), project(other)
        assert (p - q).norm() <= (x - y).norm() + EXACT * 100
        assert (x - p).norm() <= (x - r).norm() + EXACT * 100
        # The optimality condition of a projection on a convex set: no feasible direction makes an acute angle.
        assert torch.dot(x - p, r - p) <= EXACT * 1e4 * (1 + x.norm() * r.norm())


@given(x=vectors)
def test_box_is_feasible_and_idempotent(x: np.ndarray) -> None:
    once = Box(-1, 2)(torch.from_numpy(x))
    assert bool(((once >= -1) & (once <= 2)).all())
    assert torch.equal(Box(-1, 2)(once), once)


@settings(max_examples=30)
@given(x=hnp.arrays(np.float64, (2, 3, 4), elements=st.floats(-5, 5)))
def test_simplex_projects_each_row_of_a_batch_by_itself(x: np.ndarray) -> None:
    rows = torch.from_numpy(x)
    together = Simplex()(rows)
    apart = torch.stack([torch.stack([Simplex()(row) for row in block]) for block in rows])
    assert torch.equal(together, apart)


@pytest.mark.parametrize("shift", [0.0, 1e4, 1e10, -1e10])
def test_simplex_holds_in_float32_far_from_the_origin(shift: float) -> None:
    x = torch.tensor([0.5, 1.0, -2.0, 0.25]) + shift
    nearest = Simplex()(x)
    assert nearest.dtype == torch.float32
    assert abs(float(nearest.sum()) - 1) <= SINGLE
    exact = Simplex()(x.double())
    assert (nearest.double() - exact).abs().max() <= SINGLE


def test_simplex_passes_a_value_that_is_not_a_number_on() -> None:
    # The run reports it by name; an index error in here would hide it.
    assert bool(Simplex()(torch.tensor([float("nan"), 1.0])).isnan().any())


@given(st.integers(1, 50), st.integers(0, 2**31), st.sampled_from([torch.float32, torch.float64]))
@settings(deadline=None)
def test_weights_that_are_on_the_simplex_come_back_to_the_last_digit(n: int, seed: int, dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(seed)
    x = torch.softmax(30 * torch.randn(n, generator=random, dtype=dtype), -1) * (1 - torch.finfo(dtype).eps)
    assert torch.equal(Simplex()(x), x)
    assert torch.equal(Simplex(3.0)(3 * x), 3 * x)
    off = Simplex()(1.001 * x)
    assert abs(float(off.sum()) - 1) <= SINGLE
    assert not torch.equal(off, 1.001 * x)
    assert torch.equal(Simplex()(-x - 1) >= 0, torch.full_like(x, True, dtype=torch.bool))


def test_projections_take_nestings() -> None:
    given_tree = {"a": torch.tensor([2.0, 0.0]), "b": [torch.tensor([0.25, 0.75])]}
    assert torch.equal(Simplex()(given_tree)["a"], torch.tensor([1.0, 0.0]))
    assert torch.equal(Simplex()(given_tree)["b"][0], torch.tensor([0.25, 0.75]))
    assert torch.equal(Box(0, 1)(given_tree)["a"], torch.tensor([1.0, 0.0]))


def test_bad_bounds_are_refused_and_good_ones_are_not() -> None:
    for low, high in ((1, 0), (float("nan"), 1)):
        with pytest.raises(ArgumentError, match=r"^low: .* above high .*; the interval must not be empty"):
            Box(low, high)
    assert float(Box(2, 2)(torch.tensor(5.0))) == 2
    for total in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ArgumentError, match=r"^total: .* not a positive number; give"):
            Simplex(total)


@pytest.mark.parametrize("x", [torch.tensor(1.0), torch.zeros(2, 0)])
def test_simplex_refuses_tensors_without_weights(x: Tensor) -> None:
    with pytest.raises(
        ArgumentError, match=r"^tree: a tensor of shape .* holds no weights in its last dimension; give"
    ):
        Simplex()(x)
    assert float(Simplex()(torch.tensor([7.0]))) == 1


def test_a_module_stands_as_the_dictionary_of_its_parameters() -> None:
    functional = Functional(Game(lambda u, v: u, {"net": torch.nn.Linear(2, 1), "w": torch.ones(3)}, torch.ones(1)))
    parameters = functional.parameters["u"]
    nested = functional.tree("u", parameters, modules_as_dicts=True)
    assert set(nested["net"]) == {"weight", "bias"}
    back = functional.flat("u", Box(-0.1, 0.1)(nested))
    assert list(back) == list(parameters) or set(back) == set(parameters)
    assert all(torch.equal(back[name], parameters[name].clamp(-0.1, 0.1)) for name in parameters)
    with pytest.raises(ValueError, match=r"net\.bias"):
        functional.flat("u", {"net": {"weight": nested["net"]["weight"]}, "w": nested["w"]})
    with pytest.raises(TypeError, match="float instead of a tensor for 'w'"):
        functional.flat("u", {"net": nested["net"], "w": 1.0})
