"""Products from one kept graph against those of torch.func and by hand."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from minimaxopt import Context, Game
from minimaxopt._types import Player, Point
from minimaxopt.calculus.gradients import operator
from minimaxopt.calculus.hessian import Blocks, hvp
from minimaxopt.calculus.spectrum import random_like
from minimaxopt.calculus.vectors import of
from minimaxopt.errors import DoubleBackwardError
from tests.derivatives import pure

EXACT = 1e-12
BLOCKS: list[tuple[Player, Player]] = [("u", "u"), ("u", "v"), ("v", "u"), ("v", "v")]
SGD = partial(torch.optim.SGD, lr=0.1)


def networks() -> Game:
    torch.manual_seed(0)
    leader = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 1)).double()
    follower = nn.Sequential(nn.Linear(3, 4), nn.Softplus(), nn.Linear(4, 3)).double()
    x = torch.randn(6, 3, dtype=torch.float64)
    return Game(lambda u, v: u(x + v(x)).sin().mean() + u(v(x)).square().mean(), leader, follower)


@pytest.mark.parametrize(("row", "column"), BLOCKS)
def test_products_are_those_of_torch_func(row: Player, column: Player) -> None:
    ctx = Context(networks(), players=())
    risk, point = pure(ctx), ctx.point
    blocks = Blocks(risk, point)
    vector = random_like(of(point, column), 1)
    found, expected = (
        blocks.product(vector, row=row, column=column),
        hvp(risk, point, vector, row=row, column=column),
    )
    assert found.keys() == of(point, row).keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=EXACT, atol=EXACT)
        assert not value.requires_grad
    other = blocks.product(random_like(of(point, column), 2), row=row, column=column)
    assert any(not torch.allclose(other[name], expected[name]) for name in other)


def test_the_gradients_are_the_operators() -> None:
    ctx = Context(networks(), players=())
    risk, point = pure(ctx), ctx.point
    found, expected = Blocks(risk, point).gradients, operator(risk, point)
    for player in ("u", "v"):
        for name, value in getattr(found, player).items():
            torch.testing.assert_close(value, getattr(expected, player)[name], rtol=EXACT, atol=EXACT)


def test_a_block_that_vanishes_is_zero() -> None:
    at = Point({"x": torch.tensor([1.0, 2.0])}, {"y": torch.tensor([3.0])})
    blocks = Blocks(lambda u, v: u["x"].sum() * v["y"].sum(), at)
    assert blocks.product({"x": torch.ones(2)}, row="u", column="u")["x"].tolist() == [0.0, 0.0]
    assert blocks.product({"y": torch.ones(1)}, row="u", column="v")["x"].tolist() == [1.0, 1.0]
    apart = Blocks(lambda u, v: u["x"].square().sum() + v["y"].sum(), at)
    assert apart.product({"y": torch.ones(1)}, row="u", column="v")["x"].tolist() == [0.0, 0.0]
    assert apart.product({"x": torch.ones(2)}, row="u", column="u")["x"].tolist() == [2.0, 2.0]


def test_the_players_may_move_while_products_are_wanted() -> None:
    game = Game(lambda u, v: (u**2 * v).sum(), torch.tensor([2.0]), torch.tensor([3.0]))
    ctx = Context(game, u_optimizer=SGD, v_optimizer=SGD)
    blocks = ctx.blocks()
    ctx.apply("u", blocks.gradients.u)
    one: dict[str, Any] = {"value": torch.ones(1)}
    assert blocks.product(one, row="u", column="u")["value"].item() == 6.0  # 2 v, at the first point
    assert ctx.blocks().product(one, row="u", column="v")["value"].item() == pytest.approx(2 * (2 - 0.1 * 12))


def test_every_evaluation_is_counted() -> None:
    game = Game(lambda u, v: (u * v).sum(), torch.ones(1), torch.ones(1))
    ctx = Context(game, u_optimizer=SGD, v_optimizer=SGD)
    blocks = ctx.blocks()
    assert ctx.gradient_evaluations == 1
    for _ in range(3):
        blocks.product({"value": torch.ones(1)}, row="u", column="v")
    assert ctx.gradient_evaluations == 4


def test_an_operation_without_second_derivative_is_named() -> None:
    at = Point({"x": torch.ones(2, 3)}, {"y": torch.ones(2, 3)})
    blocks = Blocks(lambda u, v: torch.cdist(u["x"], v["y"] + 1).sum(), at)
    with pytest.raises(DoubleBackwardError, match="cdist"):
        blocks.product({"y": torch.ones(2, 3)}, row="u", column="v")


@pytest.mark.parametrize("engine", ["autograd", "torch.func"])
@pytest.mark.parametrize(("row", "column"), BLOCKS)
def test_several_products_are_those_one_by_one(row: Player, column: Player, engine: Any) -> None:
    ctx = Context(networks(), players=())
    counted: list[int] = []
    blocks = Blocks(pure(ctx), ctx.point, lambda: counted.append(1), engine=engine)
    vectors = [random_like(of(ctx.point, column), seed) for seed in range(3)]
    together = blocks.products({n: torch.stack([v[n] for v in vectors]) for n in vectors[0]}, row=row, column=column)
    assert len(counted) == 1 + 3
    for k, vector in enumerate(vectors):
        for name, value in blocks.product(vector, row=row, column=column).items():
            torch.testing.assert_close(together[name][k], value, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("hook", ["unlike by rows", "impossible"])
def test_a_backward_pass_that_vmap_cannot_follow_is_gone_through_one_by_one(hook: str) -> None:
    calls: list[int] = []

    def changed(gradient: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if hook == "impossible":
            return gradient * float(gradient.sum() > 0)
        return gradient * (2.0 if torch._C._functorch.is_batchedtensor(gradient) else 1.0)

    def risk(u: Any, v: Any) -> torch.Tensor:
        x = u["x"] * 1.0
        if x.requires_grad:
            x.register_hook(changed)
        return (x**3 * v["y"]).sum()

    at = Point({"x": torch.tensor([1.0, 2.0])}, {"y": torch.ones(2)})
    blocks = Blocks(risk, at)
    one_by_one = torch.stack([blocks.product({"x": row}, row="u", column="u")["x"] for row in torch.eye(2)])
    together = blocks.products({"x": torch.eye(2)}, row="u", column="u")["x"]
    assert torch.equal(together, one_by_one)
