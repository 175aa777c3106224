"""Nestings: products of sets, settings that differ from part to part, and what is refused."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from minimaxopt import Game, solve
from minimaxopt.constraints import Box, L1Ball, L2Ball, LInfBall, Product, Simplex
from minimaxopt.errors import ArgumentError

SGD = partial(torch.optim.SGD, lr=0.5)


def test_a_product_projects_part_by_part_and_leaves_the_free_ones() -> None:
    tree = {"w": torch.tensor([2.0, 0.0]), "net": {"weight": torch.ones(2), "bias": torch.ones(1)}, "z": [9.0, 9.0]}
    tree["z"] = [torch.tensor(9.0), torch.tensor(-9.0)]
    projected = Product({"w": Simplex(), "net": Box(-0.5, 0.5), "z": [None, LInfBall(1)]})(tree)
    assert projected["w"].tolist() == [1, 0]
    assert projected["net"]["weight"].tolist() == [0.5, 0.5]
    assert projected["net"]["bias"].tolist() == [0.5]
    assert projected["z"][0] is tree["z"][0]
    assert float(projected["z"][1]) == -1


def test_products_nest_and_stand_for_a_whole_player() -> None:
    inner = Product((Box(0, 1), None))
    tree = {"a": (torch.tensor(3.0), torch.tensor(3.0)), "b": torch.tensor(3.0)}
    projected = Product({"a": inner, "b": None})(tree)
    assert [float(x) for x in (*projected["a"], projected["b"])] == [1, 3, 3]
    assert float(Product(Box(0, 1))(torch.tensor(3.0))) == 1


def test_a_joint_ball_within_a_product_joins_its_own_part_only() -> None:
    tree = {"a": [torch.tensor(3.0), torch.tensor(4.0)], "b": torch.tensor(5.0)}
    projected = Product({"a": L2Ball(1.0, joint=True), "b": L2Ball(1.0)})(tree)
    assert [float(x) for x in (*projected["a"], projected["b"])] == pytest.approx([0.6, 0.8, 1.0])


def test_a_product_constrains_a_solve() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(1.0))

    def risk(u: Any, v: Any) -> torch.Tensor:
        return (u["net"].factor - 5) ** 2 + u["shift"] * v["w"] @ torch.tensor([1.0, 2.0]) - v["free"] ** 2

    u = {"net": Scale(), "shift": torch.tensor(1.0)}
    v = {"w": torch.tensor([0.5, 0.5]), "free": torch.tensor(1.0)}
    game = Game(
        risk,
        u,
        v,
        project_u=Product({"net": Box(0, 2), "shift": Box(0.5, 1)}),
        project_v=Product({"w": Simplex(), "free": None}),
    )
    solution = solve(game, "simultaneous-gda", steps=20, u_optimizer=SGD, v_optimizer=SGD)
    assert solution.u["net"].factor.item() == 2
    assert float(solution.u["shift"]) == 0.5
    assert solution.v["w"].tolist() == [0, 1]
    assert abs(float(solution.v["free"])) < 1e-6


def test_centers_and_bounds_may_be_nested_like_the_player() -> None:
    start = {"a": torch.tensor([1.0, 1.0]), "b": torch.tensor(2.0)}
    tree = {"a": torch.tensor([1.0, 4.0]), "b": torch.tensor(6.0)}
    projected = L2Ball(2.5, start, joint=True)(tree)
    assert projected["a"].tolist() == pytest.approx([1.0, 2.5])
    assert float(projected["b"]) == pytest.approx(4.0)
    assert L1Ball(1.0, {"a": 1.0, "b": 2.0})(tree)["a"].tolist() == [1, 2]
    assert LInfBall(1.0, start)(tree)["a"].tolist() == [1, 2]
    boxed = Box({"a": 0.0, "b": torch.tensor(-1.0)}, {"a": torch.tensor([0.5, 9.0]), "b": 3})(tree)
    assert boxed["a"].tolist() == [0.5, 4]
    assert float(boxed["b"]) == 3
    assert float(Box({"a": 2.0, "b": 7.0}, 8.0)(tree)["b"]) == 7


REFUSED: list[tuple[Any, str]] = [
    (lambda: Box(1, 0), "low: 1 is above high 0; the interval must not be empty"),
    (lambda: Box(torch.tensor([0.0, 2.0]), 1), "low: .* is above high 1"),
    (lambda: Box({"a": 0, "b": 2}, {"a": 1, "b": 1}), "low: 2 is above high 1"),
    (lambda: Box(torch.zeros(2), torch.ones(3)), "low: does not fit high .*; give bounds of fitting shapes"),
    (lambda: Box("0", 1), "low: str is not a number; give numbers or tensors"),
    (lambda: Box(0, {"a": True}), "high: bool at 'a' is not a number; give"),
    (lambda: Box(np.zeros(2), 1), "low: ndarray is not a number; give"),
    (lambda: L2Ball(-1.0), "radius: -1.0 is not a finite number >= 0; give one"),
    (lambda: L1Ball(float("inf")), "radius: inf is not a finite number"),
    (lambda: LInfBall(float("nan")), "radius: nan is not a finite number"),
    (lambda: L2Ball("1"), "radius: 1 is not a finite number"),
    (lambda: L2Ball(torch.tensor(-1.0)), "radius: -1.0 is not a finite number"),
    (lambda: L2Ball(torch.ones(2)), r"radius: is a tensor of shape \(2,\); give one number, or per_sample=True"),
    (
        lambda: LInfBall(torch.ones(2, 2), per_sample=True),
        r"radius: is a tensor of shape \(2, 2\); give one number per sample",
    ),
    (lambda: L1Ball(1.0, "zero"), "center: str is not a number; give"),
    (lambda: Product({}), "parts: is empty; give a projection"),
    (lambda: Product({"a": 3}), "parts: int at 'a' is not a projection; give one such as"),
    (lambda: Product([Simplex]), "parts: the class Simplex at '0' is not a projection; give one such as"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_settings_that_cannot_be_used_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{message}"):
        make()


def test_settings_at_the_edge_are_taken() -> None:
    assert float(Box(2, 2)(torch.tensor(5.0))) == 2
    assert float(L2Ball(torch.tensor(0.0))(torch.tensor(5.0))) == 0
    assert L2Ball(torch.ones(1), per_sample=True)(torch.full((3, 1), 5.0)).tolist() == [[1], [1], [1]]
    assert float(L2Ball(1, per_sample=True)(torch.tensor([[9.0]]))) == 1
    assert Product([None]).parts == [None]


MISFITS: list[tuple[Any, Any, str]] = [
    (Box(torch.zeros(2), 1), torch.zeros(3), r"low: shape (2,) does not broadcast to the tensor's (3,); give a number"),
    (Box(torch.zeros(2, 3), 1), torch.zeros(3), "low: shape (2, 3) does not broadcast to the tensor's (3,)"),
    (L2Ball(1.0, {"a": 0.0}), {"b": torch.zeros(1)}, "center: has another structure than the tensors"),
    (
        L1Ball(torch.ones(2), per_sample=True),
        torch.zeros(3, 2),
        "radius: has 2 numbers for 3 samples; give one number per sample",
    ),
    (LInfBall(torch.ones(2), per_sample=True), torch.zeros(3, 2), "radius: has 2 numbers for 3 samples; give"),
    (L2Ball(1.0, per_sample=True), torch.tensor(1.0), "per_sample: a 0-d tensor has no samples; give"),
    (LInfBall(1.0, per_sample=True), torch.tensor(1.0), "per_sample: a 0-d tensor has no samples; give"),
    (
        L2Ball(1.0, joint=True, per_sample=True),
        [torch.zeros(2, 1), torch.zeros(3, 1)],
        "joint: tensors of different numbers of samples (2, 3) do not form one vector; leave joint out",
    ),
    (
        L1Ball(1.0, joint=True),
        [torch.zeros(2), torch.zeros(2, dtype=torch.float64)],
        "joint: tensors of different dtypes (torch.float32, torch.float64) do not form one vector; leave joint out",
    ),
    (Simplex(), {"a": 1.0}, "tree: holds float at 'a'; give floating tensors"),
    (Box(0, 1), torch.tensor([1, 2]), "tree: holds int64 values; give floating tensors"),
    (Product({"a": None}), {"a": torch.ones(1), "b": torch.ones(1)}, "tree: is not nested like the parts"),
    (Product({"a": None}), [torch.ones(1)], "tree: is not nested like the parts"),
]


@pytest.mark.parametrize(("project", "tree", "message"), MISFITS, ids=[message[:40] for *_, message in MISFITS])
def test_tensors_that_do_not_fit_are_refused(project: Any, tree: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{re.escape(message)}"):
        project(tree)
    if not isinstance(project, Product):
        with pytest.raises(ArgumentError, match="; give|; leave"):
            project.draw(tree)


@pytest.mark.parametrize(
    ("parts", "player", "message"),
    [
        ({"w": Simplex()}, {"w": 0, "z": 0}, r"dictionary key mismatch; .* extra key\(s\): \['z'\]"),
        ([Box(0, 1), None], [0, 0, 0], "list arity mismatch; expected: 2, got: 3"),
        ([Box(0, 1)], {"w": 0}, "expected a list"),
    ],
)
def test_refusals_of_structures_do_not_print_the_tensors(parts: Any, player: Any, message: str) -> None:
    tree = torch.utils._pytree.tree_map(lambda _: torch.ones(3), player)
    with pytest.raises(
        ArgumentError, match=rf"^tree: is not nested like the parts \({message}\); name every"
    ) as refusal:
        Product(parts)(tree)
    assert "tensor" not in str(refusal.value)
    with pytest.raises(ArgumentError, match=rf"^low: has another structure than the tensors \({message}\)") as refusal:
        Box(torch.utils._pytree.tree_map(lambda _: 0.0, parts), 1.0)(tree)
    assert "tensor(" not in str(refusal.value)


def test_a_refusal_during_a_solve_names_the_player() -> None:
    game = Game(lambda u, v: (u * v).sum(), torch.ones(3), torch.ones(3), project_u=Box(torch.zeros(2), 1))
    with pytest.raises(ArgumentError, match=r"^project_u: .*does not broadcast"):
        solve(game, "simultaneous-gda", steps=1, u_optimizer=SGD, v_optimizer=SGD)
