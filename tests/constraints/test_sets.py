"""Every set by the properties that define its projection, and by independent programmes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import minimize
from torch import Tensor

from minimaxopt.constraints import Box, L1Ball, L2Ball, LInfBall
from tests.constraints.projection_sets import CENTER, IMPOSTORS, RADII, SETS, SHAPE, Array

EXACT = 1e-10  # float64 arithmetic on values of at most 50
SLSQP = 1e-6  # what the reference solver reaches
SINGLE = 1e-5  # float32, on values of order one

points = hnp.arrays(np.float64, SHAPE, elements=st.floats(-50, 50))
names = st.sampled_from(sorted(SETS))


def is_nearest(x: Tensor, p: Tensor, member: Tensor) -> bool:
    """Return whether no step from ``p`` towards a member of the set leads nearer to ``x``."""
    return float(((x - p) * (member - p)).sum()) <= EXACT * (1 + float(x.norm() * member.norm()))


@settings(max_examples=300)
@given(name=names, x=points)
def test_a_projection_is_feasible_and_idempotent(name: str, x: Array) -> None:
    once = SETS[name].project(torch.from_numpy(x))
    assert SETS[name].violation(once.numpy()) <= EXACT
    assert torch.allclose(SETS[name].project(once), once, rtol=0, atol=EXACT)


@settings(max_examples=300)
@given(name=names, x=points, y=points, z=points)
def test_a_projection_does_not_expand_and_is_nearest(name: str, x: Array, y: Array, z: Array) -> None:
    project = SETS[name].project
    first, second = torch.from_numpy(x), torch.from_numpy(y)
    p, q, member = project(first), project(second), project(torch.from_numpy(z))
    assert float((p - q).norm()) <= float((first - second).norm()) + EXACT
    assert is_nearest(first, p, member)


@pytest.mark.parametrize("impostor", IMPOSTORS)
def test_a_map_into_the_set_that_is_no_projection_is_found_out(impostor: str) -> None:
    name, wrong = IMPOSTORS[impostor]
    random = np.random.default_rng(0)
    verdicts: dict[str, list[bool]] = {"wrong": [], "right": []}
    for _ in range(50):
        x, z = (torch.from_numpy(random.normal(size=SHAPE) * 2) for _ in range(2))
        assert SETS[name].violation(wrong(x).numpy()) <= EXACT
        member = SETS[name].project(z)
        verdicts["wrong"].append(is_nearest(x, wrong(x), member) and is_nearest(x, wrong(x), SETS[name].project(x)))
        verdicts["right"].append(is_nearest(x, SETS[name].project(x), member))
    assert all(verdicts["right"])
    assert not all(verdicts["wrong"])


@pytest.mark.parametrize("name", ["box", "linf", "l2", "l1", "joint l2", "joint l1", "l2 a sample", "l1 a sample"])
def test_what_is_allowed_already_comes_back_to_the_bit(name: str) -> None:
    # Digits that would be lost if the center were subtracted and added again.
    inside = torch.from_numpy(CENTER) / (1 if name in ("linf", "l2") else 9) + 1e-3 + (name == "l1") * 0.25
    assert SETS[name].violation(inside.numpy()) < 0
    assert torch.equal(SETS[name].project(inside), inside)
    assert not torch.equal(SETS[name].project(inside + 9), inside + 9)


def quadratic_programme(x: Array, radius: float, norm: str) -> Array:
    """Return the nearest point of a ball around zero by SLSQP, on a smooth form of the constraint."""
    n = x.size
    common = {"method": "SLSQP", "options": {"ftol": 1e-15, "maxiter": 1000}}
    if norm == "l2":
        inside = {"type": "ineq", "fun": lambda z: radius**2 - z @ z, "jac": lambda z: -2 * z}
        return minimize(
            lambda z: 0.5 * ((z - x) ** 2).sum(), np.zeros(n), jac=lambda z: z - x, constraints=inside, **common
        ).x
    if norm == "linf":
        return minimize(
            lambda z: 0.5 * ((z - x) ** 2).sum(),
            np.zeros(n),
            jac=lambda z: z - x,
            bounds=[(-radius, radius)] * n,
            **common,
        ).x
    # The sum of magnitudes is linear in the positive and negative parts.
    inside = {"type": "ineq", "fun": lambda z: radius - z.sum(), "jac": lambda z: -np.ones(2 * n)}
    both = minimize(
        lambda z: 0.5 * ((z[:n] - z[n:] - x) ** 2).sum(),
        np.full(2 * n, radius / (4 * n)),
        jac=lambda z: np.concatenate([z[:n] - z[n:] - x, x - z[:n] + z[n:]]),
        bounds=[(0, None)] * (2 * n),
        constraints=inside,
        **common,
    ).x
    return both[:n] - both[n:]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("norm", "ball"), [("l1", L1Ball), ("l2", L2Ball), ("linf", LInfBall)])
def test_a_ball_is_the_solution_of_the_quadratic_programme(norm: str, ball: type, seed: int) -> None:
    random = np.random.default_rng(seed)
    x, radius = random.normal(size=6), 0.3 + random.uniform()
    reference = quadratic_programme(x, radius, norm)
    assert np.abs(ball(radius)(torch.from_numpy(x)).numpy() - reference).max() < SLSQP
    other = {"l1": L2Ball, "l2": LInfBall, "linf": L1Ball}[norm]
    assert np.abs(other(radius)(torch.from_numpy(x)).numpy() - reference).max() > 1e-3


@pytest.mark.parametrize(("ball", "order"), [(L1Ball, 1), (L2Ball, 2), (LInfBall, np.inf)])
def test_each_sample_has_a_ball_of_its_own(ball: type, order: float) -> None:
    x = torch.randn(3, 2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    center = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    together = ball(torch.from_numpy(RADII), center, per_sample=True)(x)
    apart = torch.stack([ball(float(r), center)(row) for r, row in zip(RADII, x, strict=True)])
    assert torch.allclose(together, apart, rtol=0, atol=1e-14)
    lengths = [np.linalg.norm((row - center).flatten().numpy(), order) for row in together]
    assert lengths == pytest.approx(RADII)
    assert torch.allclose(ball(1.0, per_sample=True)(x), ball(torch.ones(3), per_sample=True)(x), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("ball", "order"), [(L1Ball, 1), (L2Ball, 2)])
def test_a_joint_ball_is_the_ball_of_the_joined_vector(ball: type, order: float) -> None:
    random = torch.Generator().manual_seed(0)
    tree = {"a": torch.randn(2, 3, generator=random), "b": [torch.tensor(-2.0), torch.zeros(0)]}
    vector = torch.cat([tree["a"].flatten(), tree["b"][0][None]])
    projected = ball(0.5, joint=True)(tree)
    assert torch.allclose(
        torch.cat([projected["a"].flatten(), projected["b"][0][None]]), ball(0.5)(vector), rtol=0, atol=1e-6
    )
    alone = ball(0.5)(tree)
    assert torch.allclose(alone["a"], ball(0.5)(tree["a"]), rtol=0, atol=0)
    assert float(torch.linalg.vector_norm(projected["a"], order)) < 0.49
    assert float(torch.linalg.vector_norm(alone["a"], order)) == pytest.approx(0.5)


def test_an_intersection_of_boxes_is_a_box() -> None:
    pixels = torch.tensor([0.5, 0.03, 0.98, 0.5])
    both = Box((pixels - 0.1).clamp(min=0), (pixels + 0.1).clamp(max=1))
    far = torch.tensor([9.0, -9.0, 9.0, 0.55])
    assert both(far).tolist() == pytest.approx([0.6, 0, 1, 0.55])
    assert LInfBall(0.1, pixels)(far).tolist() == pytest.approx([0.6, -0.07, 1.08, 0.55])


@pytest.mark.parametrize("name", sorted(SETS))
def test_single_precision_holds(name: str) -> None:
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3)) * 2
    single = SETS[name].project(x)
    assert single.dtype == torch.float32
    assert (single.double() - SETS[name].project(x.double())).abs().max() < SINGLE


def test_a_long_sum_keeps_its_digits_in_single_precision() -> None:
    x = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    projected = L1Ball(1e4)(x)
    assert float(projected.double().abs().sum()) == pytest.approx(1e4, rel=1e-6)
    assert (projected.double() - L1Ball(1e4)(x.double())).abs().max() < 1e-6


def test_the_euclidean_norm_neither_overflows_nor_underflows() -> None:
    assert L2Ball(1.0)(torch.tensor([3e30, 4e30])).tolist() == pytest.approx([0.6, 0.8])
    assert L2Ball(1e-30)(torch.tensor([3e-28, 4e-28])).tolist() == pytest.approx([6e-31, 8e-31])
    assert float(torch.tensor([3e30, 4e30]).norm()) == float("inf")


@pytest.mark.parametrize("project", [L1Ball(1.0), L2Ball(1.0), LInfBall(1.0), Box(0, 1)])
def test_a_value_that_is_not_a_number_is_passed_on(project: Box) -> None:
    # The run reports it by name; an answer that looks allowed would hide it.
    assert bool(project(torch.tensor([float("nan"), 3.0])).isnan().any())
    assert not bool(project(torch.tensor([2.0, 3.0])).isnan().any())


@pytest.mark.parametrize("project", [L1Ball(1.0), L2Ball(1.0), LInfBall(1.0), L2Ball(1.0, per_sample=True), Box(0, 1)])
@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 2)])
def test_a_tensor_without_values_stays(project: Box, shape: tuple[int, ...]) -> None:
    assert project(torch.zeros(shape)).shape == shape


@pytest.mark.parametrize("ball", [L1Ball, L2Ball, LInfBall])
def test_a_ball_of_radius_zero_is_its_center(ball: type) -> None:
    assert ball(0, center=torch.tensor([1.0, 2.0]))(torch.tensor([5.0, -5.0])).tolist() == [1, 2]
