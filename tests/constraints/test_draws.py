"""Random points of sets: allowed, reproducible, and distributed as stated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from minimaxopt.constraints import Box, L1Ball, L2Ball, LInfBall, Product, Simplex
from minimaxopt.errors import ArgumentError

N = 4000
LEVEL = 1e-3  # of the tests of distribution, on seeds that are fixed
inf = float("inf")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(dimension: int) -> Tensor:
    return torch.zeros(N, dimension, dtype=torch.float64)


def uniform(values: Tensor) -> float:
    """Return the p-value of the hypothesis that ``values`` are uniform on [0, 1]."""
    return float(stats.kstest(values.numpy(), "uniform").pvalue)


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_points_of_the_euclidean_ball_are_uniform(dimension: int) -> None:
    x = L2Ball(2.0, center=1.0, per_sample=True).draw(rows(dimension), generator()) - 1
    length = x.norm(dim=1) / 2
    assert uniform(length**dimension) > LEVEL
    assert uniform(length ** (dimension + 1)) < LEVEL
    # Any direction's cosine has the distribution of the first coordinate on the sphere.
    if dimension > 1:
        cosine = (x[:, 0] / x.norm(dim=1)).numpy()
        law = stats.beta((dimension - 1) / 2, (dimension - 1) / 2, loc=-1, scale=2)
        assert stats.kstest(cosine, law.cdf).pvalue > LEVEL


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_points_of_the_l1_ball_are_uniform(dimension: int) -> None:
    x = L1Ball(2.0, center=1.0, per_sample=True).draw(rows(dimension), generator()) - 1
    size = x.abs().sum(1) / 2
    assert uniform(size**dimension) > LEVEL
    assert uniform(size ** (dimension + 1)) < LEVEL
    # The share of one magnitude is Beta(1, n - 1), whatever the size; signs are even.
    if dimension > 1:
        share = (x[:, 0].abs() / x.abs().sum(1)).numpy()
        assert stats.kstest(share, stats.beta(1, dimension - 1).cdf).pvalue > LEVEL
    assert stats.binomtest(int((x[:, -1] > 0).sum()), N).pvalue > LEVEL


def test_points_of_boxes_are_uniform() -> None:
    low, high = torch.tensor([-1.0, 0.0], dtype=torch.float64), torch.tensor([3.0, 0.5], dtype=torch.float64)
    x = (Box(low, high).draw(rows(2), generator()) - low) / (high - low)
    y = (LInfBall(0.5, center=2.0).draw(rows(1), generator()) - 1.5)[:, 0]
    assert min(uniform(x[:, 0]), uniform(x[:, 1]), uniform(y)) > LEVEL
    assert uniform(x[:, 0] ** 2) < LEVEL


def test_points_of_the_simplex_are_dirichlet() -> None:
    x = Simplex(2.0).draw(rows(4), generator())
    assert torch.allclose(x.sum(1), torch.tensor(2.0, dtype=torch.float64))
    assert stats.kstest((x[:, 1] / 2).numpy(), stats.beta(1, 3).cdf).pvalue > LEVEL
    assert stats.kstest((x[:, 1] / 2).numpy(), stats.beta(1, 2).cdf).pvalue < LEVEL
    assert torch.equal(Simplex().draw(torch.zeros(5, 1), generator()), torch.ones(5, 1))


def test_sides_without_a_bound_are_drawn_as_documented() -> None:
    low = torch.tensor([2.0, -inf, -inf], dtype=torch.float64)
    high = torch.tensor([inf, 2.0, inf], dtype=torch.float64)
    x = Box(low, high).draw(rows(3), generator()).numpy()
    assert stats.kstest(x[:, 0] - 2, "expon").pvalue > LEVEL
    assert stats.kstest(2 - x[:, 1], "expon").pvalue > LEVEL
    assert stats.kstest(x[:, 2], "norm").pvalue > LEVEL
    assert stats.kstest(x[:, 2], "expon").pvalue < LEVEL
    assert Box(0, inf).draw(torch.zeros(3), generator()).min() >= 0


def test_joint_balls_draw_one_point_for_all_tensors() -> None:
    like = [rows(1), {"a": rows(2)}]
    for ball, order in ((L2Ball, 2), (L1Ball, 1)):
        drawn = ball(1.5, joint=True, per_sample=True).draw(like, generator())
        sizes = np.linalg.norm(torch.cat([drawn[0], drawn[1]["a"]], 1).numpy() / 1.5, order, axis=1)
        assert uniform(torch.from_numpy(sizes**3)) > LEVEL
        alone = ball(1.5, per_sample=True).draw(like, generator())
        assert uniform((torch.linalg.vector_norm(alone[1]["a"], order, dim=1) / 1.5) ** 2) > LEVEL
        whole = ball(1.5, joint=True).draw(like, generator())
        assert np.linalg.norm(torch.cat([whole[0], whole[1]["a"]], 1).flatten().numpy(), order) <= 1.5 * (1 + 1e-12)


ALL: dict[str, Any] = {
    "box": Box(-1, 2),
    "open box": Box(-inf, 0),
    "linf": LInfBall(1.0, 3.0),
    "l2": L2Ball(1.0, 3.0),
    "l1": L1Ball(1.0, 3.0),
    "l1 of samples": L1Ball(1.0, 3.0, per_sample=True),
    "simplex": Simplex(),
    "product": Product({"a": Simplex(), "b": [L2Ball(1.0), None]}),
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_draw_is_allowed_reproducible_and_like_what_it_shall_be_like(name: str, dtype: torch.dtype) -> None:
    project = ALL[name]
    like = {"a": torch.ones(2, 3, dtype=dtype, requires_grad=True), "b": [torch.zeros(4, dtype=dtype), torch.ones(1)]}
    drawn = project.draw(like, generator(1))
    leaves = [drawn["a"], *drawn["b"]]
    assert [(x.shape, x.dtype) for x in leaves] == [((2, 3), dtype), ((4,), dtype), ((1,), torch.float32)]
    assert not any(x.requires_grad for x in leaves)
    again, other = project.draw(like, generator(1)), project.draw(like, generator(2))
    assert torch.equal(again["a"], drawn["a"])
    assert not torch.equal(other["a"], drawn["a"])
    assert not torch.equal(drawn["a"].flatten()[:4], drawn["b"][0])
    back = project(drawn)
    assert all(torch.allclose(x, y, rtol=0, atol=1e-6) for x, y in zip(leaves, [back["a"], *back["b"]], strict=True))
    torch.manual_seed(5)
    first = project.draw(like)
    torch.manual_seed(5)
    assert torch.equal(project.draw(like)["a"], first["a"])


def test_a_part_that_cannot_draw_is_named() -> None:
    odd = Product({"a": Box(0, 1), "b": torch.relu})
    like = {"a": torch.ones(1), "b": -torch.ones(1)}
    assert float(odd(like)["b"]) == 0
    with pytest.raises(ArgumentError, match=r"^parts: the projection at 'b' has no method draw.*; give"):
        odd.draw(like)
