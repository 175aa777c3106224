"""Derivatives of small networks against dense Hessians, the other engine, differences, and their identities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from minimaxopt import Context, Game
from minimaxopt._types import Player, Point, Tensors
from minimaxopt.calculus.gradients import operator, penalized_gradient
from minimaxopt.calculus.hessian import hvp
from minimaxopt.errors import RiskError
from tests.derivatives import (
    DIFFERENCES,
    ENGINES,
    FORWARD_MODE,
    HESSIAN,
    PLAYERS,
    close,
    drawn,
    in_double,
    inner,
    like,
    pure,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_double = pytest.fixture(in_double, autouse=True)


# -- small networks ---------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(3, 6), nn.Linear(2, 1)

    def forward(self, x: Tensor, backend: SDPBackend | None = SDPBackend.MATH) -> Tensor:
        q, k, v = self.into(x).chunk(3, -1)
        if backend is None:
            return self.out(F.scaled_dot_product_attention(q, k, v))
        with sdpa_kernel(backend):
            return self.out(F.scaled_dot_product_attention(q, k, v))


class Case(NamedTuple):
    game: Callable[[], Game]
    batch: tuple[Any, ...]
    smooth: bool = True
    reference: Callable[..., Tensor] | None = None
    """The same risk, written for torch.func where f itself cannot be transformed."""


def body(*layers: nn.Module) -> nn.Module:
    """Return layers with reproducible weights away from symmetric points."""
    net = nn.Sequential(*layers).double()
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(0.5 * drawn(*p.shape, seed=20 + i) + 0.1)
    return net


def shifted(u: Any, v: Any, batch: Any) -> Tensor:
    x, y = batch
    return F.cross_entropy(u(x + v), y)


def attacked(u: Any, v: Any, batch: Any) -> Tensor:
    x, y = batch
    return F.cross_entropy(u(x + torch.tanh(v(x))), y)


def penalty_inside(u: Any, v: Any, batch: Any) -> Tensor:
    x = batch[0].clone().requires_grad_()
    (slope,) = torch.autograd.grad(u(x + v).sum(), x, create_graph=True)
    return (u(x + v) ** 2).mean() + (slope.square().sum(-1) - 1).square().mean()


def penalty_inside_by_torch_func(u: Any, v: Any, batch: Any) -> Tensor:
    slope = torch.func.grad(lambda x: u(x + v).sum())(batch[0])
    return (u(batch[0] + v) ** 2).mean() + (slope.square().sum(-1) - 1).square().mean()


ROWS = (drawn(5, 3, seed=1), torch.tensor([0, 1, 1, 0, 1]))
IMAGES = (drawn(3, 1, 4, 4, seed=2), torch.tensor([0, 1, 1]))
SHIFT = 0.3 * drawn(3, seed=3)


def rows(*layers: nn.Module) -> Callable[[], Game]:
    return lambda: Game(shifted, body(*layers), SHIFT)


CASES: dict[str, Case] = {
    "linear": Case(rows(nn.Linear(3, 2)), ROWS),
    "conv": Case(
        lambda: Game(
            shifted, body(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 2)), 0.3 * drawn(1, 4, 4, seed=4)
        ),
        IMAGES,
    ),
    "relu and max-pool": Case(
        lambda: Game(
            shifted,
            body(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 2)),
            0.3 * drawn(1, 4, 4, seed=4),
        ),
        IMAGES,
        smooth=False,
    ),
    "batch norm": Case(  # a shift of all samples alike would be normalised away
        lambda: Game(
            shifted,
            body(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 2)),
            0.3 * drawn(5, 3, seed=4),
        ),
        ROWS,
    ),
    "layer norm": Case(rows(nn.Linear(3, 3), nn.LayerNorm(3), nn.Tanh(), nn.Linear(3, 2)), ROWS),
    "group norm": Case(rows(nn.Linear(3, 6), nn.GroupNorm(2, 6), nn.Tanh(), nn.Linear(6, 2)), ROWS),
    "dropout": Case(rows(nn.Linear(3, 6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 2)), ROWS),
    "two networks": Case(
        lambda: Game(attacked, body(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)), body(nn.Linear(3, 3), nn.Softplus())),
        ROWS,
    ),
    "attention": Case(
        lambda: Game(
            lambda u, v, b: (u[0](b[0] + v) ** 2).mean() + u[0](v[None] + b[0]).mean(), body(Attention()), SHIFT
        ),
        ROWS,
    ),
    "gradient penalty": Case(
        lambda: Game(penalty_inside, body(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1)), SHIFT),
        ROWS,
        reference=penalty_inside_by_torch_func,
    ),
}


def context(case: Case, *, reference: bool = False) -> Context:
    game = case.game()
    f = case.reference if reference and case.reference is not None else game.f
    ctx = Context(Game(f, game.u, game.v))
    ctx.batch = (case.batch,)
    return ctx


def flattened(point: Point) -> tuple[Tensor, Callable[[Tensor], Point], int]:
    """Return the point as one vector, the way back, and the number of u's coordinates."""
    parts = [t for player in point for t in player.values()]
    sizes = [t.numel() for t in parts]

    def back(z: Tensor) -> Point:
        pieces = iter(z.split(sizes))
        return Point(*({n: next(pieces).view(t.shape) for n, t in player.items()} for player in point))

    return torch.cat([t.detach().flatten() for t in parts]), back, sum(t.numel() for t in point.u.values())


def dense_hessian(ctx: Context) -> Tensor:
    z, back, _ = flattened(ctx.point)
    risk = ctx.risk()
    # torch.func.hessian is jacfwd(jacrev(f)), which in torch 2.13 is wrong for layer_norm and batch_norm by as much as
    # the entries themselves; jacfwd(grad(f)) is right. Dropout needs one mask for all columns.
    return torch.func.jacfwd(torch.func.grad(lambda z: risk(*back(z))), randomness="same")(z)


def joined(tensors: Tensors) -> Tensor:
    return torch.cat([t.flatten() for t in tensors.values()])


@FORWARD_MODE
@pytest.mark.parametrize("name", CASES)
def test_hvp_and_penalised_agree_with_the_dense_hessian(name: str) -> None:
    case = CASES[name]
    functional = context(case, reference=True)
    hessian = dense_hessian(functional)
    n = flattened(functional.point)[2]
    parts = {"u": slice(0, n), "v": slice(n, None)}
    for row in PLAYERS:
        for column in PLAYERS:
            vector = like(getattr(functional.point, column), seed=40)
            found = joined(hvp(functional.risk(), functional.point, vector, row=row, column=column))
            assert not found.requires_grad  # though the live tensors of the point do
            assert close(found, hessian[parts[row], parts[column]] @ joined(vector), HESSIAN), (row, column)
    ctx = context(case)
    plain, weighted = (penalized_gradient(ctx.risk(), ctx.point, gamma) for gamma in (0, 0.8))
    expected = joined(plain.u) - 0.8 * hessian[parts["u"], parts["v"]] @ joined(plain.v)
    assert close(joined(weighted.u), expected, HESSIAN)
    assert hessian[parts["u"], parts["v"]].abs().max() > 1e-3  # so that there was something to get wrong


@FORWARD_MODE
@pytest.mark.parametrize("name", [n for n in CASES if n not in ("batch norm", "layer norm", "dropout")])
def test_the_reference_is_torch_func_hessian_where_that_is_right(name: str) -> None:
    ctx = context(CASES[name], reference=True)
    z, back, _ = flattened(ctx.point)
    risk = pure(ctx)
    assert close(torch.func.hessian(lambda z: risk(*back(z)))(z), dense_hessian(ctx), ENGINES)


@pytest.mark.parametrize("name", CASES)
def test_both_engines_agree_to_rounding(name: str) -> None:
    case = CASES[name]
    eager, functional = context(case), context(case, reference=True)
    found, point = operator(eager.risk(), eager.point), functional.point
    by_func = torch.func.grad(functional.risk(), argnums=(0, 1))(point.u, point.v)
    assert close(joined(found.u), joined(by_func[0]), ENGINES)
    assert close(joined(found.v), -joined(by_func[1]), ENGINES)
    # Alg. 1's direction from one engine, and from the other as gradient plus mixed Hessian-vector product.
    gamma = 0.6
    whole = joined(penalized_gradient(eager.risk(), eager.point, gamma).u)
    mixed = hvp(functional.risk(), point, by_func[1], row="u", column="v")
    assert close(whole, joined(by_func[0]) + gamma * joined(mixed), ENGINES)


@FORWARD_MODE
@pytest.mark.parametrize("name", CASES)
def test_forward_over_reverse_agrees(name: str) -> None:
    functional = context(CASES[name], reference=True)
    risk, point = functional.risk(), functional.point
    still = Point(*({n: t.detach() for n, t in player.items()} for player in point))
    vector = like(still.v, seed=60)
    # jvp of the gradient, as opposed to the gradient of the inner product that hvp takes.
    _, forward = torch.func.jvp(lambda v: torch.func.grad(risk)(still.u, v), (still.v,), (vector,))
    assert close(joined(hvp(risk, point, vector, row="u", column="v")), joined(forward), ENGINES)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.smooth])
def test_penalised_is_what_central_differences_measure(name: str) -> None:
    ctx = context(CASES[name])
    gamma, size = 0.5, 1e-6
    direction = like(ctx.point.u, seed=50)

    def objective(step: float) -> Tensor:
        u = {n: t.detach() + step * direction[n] for n, t in ctx.point.u.items()}
        found = operator(ctx.risk(), Point(u, ctx.point.v), ("v",))
        return found.risk + gamma / 2 * joined(found.v).square().sum()

    measured = (objective(size) - objective(-size)) / (2 * size)
    assert close(inner(penalized_gradient(ctx.risk(), ctx.point, gamma).u, direction), measured, DIFFERENCES)


def test_dropout_draws_are_replayed_between_evaluations() -> None:
    ctx = context(CASES["dropout"])
    first, second = operator(ctx.risk(), ctx.point), operator(ctx.risk(), ctx.point)
    assert torch.equal(joined(first.u), joined(second.u))
    other = operator(ctx.risk(substep=1), ctx.point)
    assert not torch.equal(joined(first.u), joined(other.u))


def test_hvp_composes_with_vmap() -> None:
    ctx = context(CASES["two networks"])
    risk = pure(ctx)
    vectors = [like(ctx.point.v, seed=s) for s in (70, 80, 90)]
    stacked = {name: torch.stack([v[name] for v in vectors]) for name in vectors[0]}
    together = torch.func.vmap(lambda vector: hvp(risk, ctx.point, vector, row="u", column="v"))(stacked)
    for i, vector in enumerate(vectors):
        apart = hvp(risk, ctx.point, vector, row="u", column="v")
        assert close(joined({n: t[i] for n, t in together.items()}), joined(apart), ENGINES)


def test_activations_that_a_transform_left_behind_do_not_hinder_a_copy() -> None:
    class Remembers(nn.Linear):
        last: Any = None

        def forward(self, x: Tensor) -> Tensor:
            self.last = super().forward(x)
            return self.last

    ctx = Context(Game(lambda u, v: (u(v) ** 2).sum(), Remembers(3, 2), SHIFT))
    hvp(ctx.risk(), ctx.point, dict(ctx.point.v), row="u", column="v")
    u, _ = ctx.played.players(ctx.played.read_state())
    assert torch.equal(u.weight, ctx.point.u["weight"])
    assert u.last.shape == (2,)


def test_hvp_says_why_it_cannot_transform_a_risk_and_what_to_do() -> None:
    ctx = context(CASES["gradient penalty"])
    with pytest.raises(RiskError, match=r"^f: cannot be transformed by torch\.func; inside f use torch\.func\.grad"):
        hvp(ctx.risk(), ctx.point, dict(ctx.point.v), row="u", column="v")
    assert penalized_gradient(ctx.risk(), ctx.point, 1.0).risk.isfinite()


# -- identities -------------------------------------------------------------------------------------------------------

numbers = st.floats(-3, 3)
seeds = st.integers(0, 2**31)


@settings(max_examples=25, deadline=None)
@given(seed=seeds, a=numbers, b=numbers, row=st.sampled_from(PLAYERS), column=st.sampled_from(PLAYERS))
def test_hvp_is_linear_in_the_vector(seed: int, a: float, b: float, row: Player, column: Player) -> None:
    ctx = context(CASES["two networks"])
    held = getattr(ctx.point, column)
    x, y = like(held, seed), like(held, seed + 100)

    def apply(w: Tensors) -> Tensor:
        return joined(hvp(ctx.risk(), ctx.point, w, row=row, column=column))

    combined = apply({n: a * x[n] + b * y[n] for n in x})
    assert close(combined, a * apply(x) + b * apply(y), ENGINES * 10)


@settings(max_examples=25, deadline=None)
@given(seed=seeds, name=st.sampled_from(["conv", "layer norm", "two networks", "dropout"]))
def test_mixed_blocks_are_each_others_transposes(seed: int, name: str) -> None:
    ctx = context(CASES[name])
    a, b = like(ctx.point.u, seed), like(ctx.point.v, seed + 100)
    left = inner(a, hvp(ctx.risk(), ctx.point, b, row="u", column="v"))
    right = inner(b, hvp(ctx.risk(), ctx.point, a, row="v", column="u"))
    assert close(left, right, ENGINES * 10)


@settings(max_examples=25, deadline=None)
@given(seed=seeds, player=st.sampled_from(PLAYERS))
def test_diagonal_blocks_are_symmetric(seed: int, player: Player) -> None:
    ctx = context(CASES["two networks"])
    held = getattr(ctx.point, player)
    a, b = like(held, seed), like(held, seed + 100)
    left = inner(a, hvp(ctx.risk(), ctx.point, b, row=player, column=player))
    right = inner(b, hvp(ctx.risk(), ctx.point, a, row=player, column=player))
    assert close(left, right, ENGINES * 10)


@settings(max_examples=25, deadline=None)
@given(gamma=st.floats(0, 10), name=st.sampled_from(["conv", "gradient penalty", "two networks", "dropout"]))
def test_penalised_is_affine_in_gamma(gamma: float, name: str) -> None:
    ctx = context(CASES[name])
    at = {g: joined(penalized_gradient(ctx.risk(), ctx.point, g).u) for g in (0.0, 1.0, gamma)}
    assert close(at[gamma], (1 - gamma) * at[0.0] + gamma * at[1.0], ENGINES * 10)


@pytest.mark.parametrize("name", ["conv", "two networks", "dropout", "gradient penalty"])
def test_flip_changes_the_sign_and_the_roles(name: str) -> None:
    ctx = context(CASES[name])
    flipped = Context(ctx.game.flip())
    flipped.batch = ctx.batch
    found, turned = operator(ctx.risk(), ctx.point), operator(flipped.risk(), flipped.point)
    assert torch.equal(turned.risk, -found.risk)
    # Each player's gradient of its own loss is the same, whoever leads.
    assert torch.equal(joined(turned.u), joined(found.v))
    assert torch.equal(joined(turned.v), joined(found.u))
