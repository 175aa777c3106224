"""Derivatives against closed forms, and what is said where there is none."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from minimaxopt import Game, Sensitivity, solve
from minimaxopt._types import Player, Point, Tensors
from minimaxopt.calculus.gradients import gradients, operator, penalized_gradient, scalar
from minimaxopt.calculus.hessian import hvp
from minimaxopt.errors import DoubleBackwardError, RiskError
from tests.derivatives import ENGINES, PLAYERS, close, drawn, in_double

if TYPE_CHECKING:
    from collections.abc import Callable

_double = pytest.fixture(in_double, autouse=True)


# -- closed forms -----------------------------------------------------------------------------------------------------


class Cubic(NamedTuple):
    """``u'Au/2 + u'Bv - v'Cv/2 + (d'u)(e'v)^2`` with everything worked out by hand."""

    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    d: np.ndarray
    e: np.ndarray

    @classmethod
    def make(cls, seed: int, *, cubic: bool = True) -> Cubic:
        rng = np.random.default_rng(seed)
        symmetric = [m + m.T for m in (rng.normal(size=(3, 3)), rng.normal(size=(2, 2)))]
        return cls(symmetric[0], rng.normal(size=(3, 2)), symmetric[1], rng.normal(size=3) * cubic, rng.normal(size=2))

    def risk(self, u: Any, v: Any) -> Tensor:
        A, B, C, d, e = (torch.from_numpy(m) for m in self)
        x, y = u["x"], v["y"]
        return x @ A @ x / 2 + x @ B @ y - y @ C @ y / 2 + (d @ x) * (e @ y) ** 2

    def value(self, x: np.ndarray, y: np.ndarray) -> float:
        A, B, C, d, e = self
        return x @ A @ x / 2 + x @ B @ y - y @ C @ y / 2 + (d @ x) * (e @ y) ** 2

    def slopes(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        A, B, C, d, e = self
        return A @ x + B @ y + d * (e @ y) ** 2, B.T @ x - C @ y + 2 * (d @ x) * (e @ y) * e

    def block(self, row: Player, column: Player, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        A, B, C, d, e = self
        mixed = B + 2 * (e @ y) * np.outer(d, e)
        both = {"uu": A, "uv": mixed, "vu": mixed.T, "vv": -C + 2 * (d @ x) * np.outer(e, e)}
        return both[row + column]


@pytest.fixture(params=[(0, False), (1, True), (2, True)], ids=["quadratic", "cubic", "cubic 2"])
def cubic(request: pytest.FixtureRequest) -> tuple[Cubic, np.ndarray, np.ndarray, Point]:
    seed, has_cubic = request.param
    rng = np.random.default_rng(seed + 10)
    x, y = rng.normal(size=3), rng.normal(size=2)
    return Cubic.make(seed, cubic=has_cubic), x, y, Point({"x": torch.from_numpy(x)}, {"y": torch.from_numpy(y)})


def test_operator_is_each_players_gradient_of_its_own_loss(cubic: Any) -> None:
    game, x, y, point = cubic
    found = operator(game.risk, point)
    g_u, g_v = game.slopes(x, y)
    assert found.risk.item() == pytest.approx(game.value(x, y), rel=ENGINES)
    assert close(found.u["x"], torch.from_numpy(g_u), ENGINES)
    assert close(found.v["y"], torch.from_numpy(-g_v), ENGINES)
    assert not any(t.requires_grad for t in (found.risk, found.u["x"], found.v["y"], *point.u.values()))


@pytest.mark.parametrize("player", PLAYERS)
def test_operator_of_one_player_leaves_the_other_empty(cubic: Any, player: Player) -> None:
    game, _, _, point = cubic
    both, one = operator(game.risk, point), operator(game.risk, point, (player,))
    assert (one.u == {}) == (player == "v")
    assert (one.v == {}) == (player == "u")
    name = {"u": "x", "v": "y"}[player]
    assert torch.equal(getattr(one, player)[name], getattr(both, player)[name])


@pytest.mark.parametrize("gamma", [0, 0.0, 0.7, torch.tensor(0.7, dtype=torch.float64)])
def test_penalised_is_the_gradient_of_the_penalised_risk(cubic: Any, gamma: Any) -> None:
    game, x, y, point = cubic
    found = penalized_gradient(game.risk, point, gamma)
    g_u, g_v = game.slopes(x, y)
    expected = g_u + float(gamma) * game.block("u", "v", x, y) @ g_v
    assert close(found.u["x"], torch.from_numpy(expected), ENGINES)
    assert close(found.v["y"], torch.from_numpy(-g_v), ENGINES)
    assert found.sensitivity.item() == pytest.approx(g_v @ g_v, rel=ENGINES)
    assert found.risk.item() == pytest.approx(game.value(x, y), rel=ENGINES)
    assert not any(t.requires_grad for t in (found.risk, found.sensitivity, found.u["x"], found.v["y"]))


@pytest.mark.parametrize("row", PLAYERS)
@pytest.mark.parametrize("column", PLAYERS)
def test_hvp_is_the_block_times_the_vector(cubic: Any, row: Player, column: Player) -> None:
    game, x, y, point = cubic
    name = {"u": "x", "v": "y"}
    vector = drawn(len(x) if column == "u" else len(y), seed=4).requires_grad_()
    found = hvp(game.risk, point, {name[column]: vector}, row=row, column=column)[name[row]]
    expected = torch.from_numpy(game.block(row, column, x, y)) @ vector.detach()
    assert close(found, expected, ENGINES)
    assert not found.requires_grad


# -- a responding follower: Eq. 8 by hand -----------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.0, 0.3])
@pytest.mark.parametrize("samples", [1, 6])
def test_alg_1_on_a_responding_follower_is_eq_8_by_hand(eta: float, samples: int) -> None:
    rng = np.random.default_rng(samples)
    x, y = rng.normal(size=(samples, 4)), rng.integers(0, 3, samples)
    W, rate = rng.normal(size=(3, 4)), 0.05

    def risk(u: Any, z: Any, batch: Any) -> Tensor:
        return F.cross_entropy(z @ u.T, batch[1])

    def respond(f: Any, u: Any, batch: Any) -> Tensor:
        z = batch[0].clone().requires_grad_()
        (slope,) = torch.autograd.grad(f(u, z, batch), z)
        return batch[0] + eta * slope.sign()

    game = Game(risk, torch.from_numpy(W), respond)
    solution = solve(
        game,
        Sensitivity(gamma=eta, per_sample=True),
        data=[(torch.from_numpy(x), torch.from_numpy(y))],
        steps=1,
        u_optimizer=partial(torch.optim.SGD, lr=rate),
    )

    def residuals(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores = np.exp(z @ W.T - (z @ W.T).max(1, keepdims=True))
        p = scores / scores.sum(1, keepdims=True)
        return p, p - np.eye(3)[y]

    z = x + eta * np.sign(residuals(x)[1] @ W)
    p, r = residuals(z)
    expected = np.zeros_like(W)
    for i in range(samples):
        slope = W.T @ r[i]  # N times the gradient of f with respect to z_i
        jacobian = np.diag(p[i]) - np.outer(p[i], p[i])
        penalty = np.outer(r[i], slope) + np.outer(jacobian @ W @ slope, z[i])  # gradient of ||slope||^2 / 2
        expected += (np.outer(r[i], z[i]) + eta * penalty) / samples
    assert np.abs(solution.u.numpy() - (W - rate * expected)).max() < ENGINES


# -- what cannot be differentiated twice ------------------------------------------------------------------------------


def distances(u: Any, v: Any) -> Tensor:
    return (u["x"][:, None] - v["y"]).square().sum(-1).sqrt().square().sum()


def attention(u: Any, v: Any, backend: SDPBackend | None) -> Tensor:
    q, k = u["x"][None, None], v["y"][None, None]
    if backend is None:
        return F.scaled_dot_product_attention(q, k, k).square().sum()
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(q, k, k).square().sum()


def bag(u: Any, v: Any, *, whole: bool) -> Tensor:
    rows = torch.tensor([[0, 1], [2, 0]])
    mean = F.embedding_bag(rows, v["y"]) if whole else F.embedding(rows, v["y"]).mean(1)
    return (mean * u["x"][:2]).square().sum()


def alignment(u: Any, v: Any, *, whole: bool) -> Tensor:
    scores = (u["x"] * v["y"]).log_softmax(-1)[:, None]
    targets = torch.tensor([[1, 1]])
    if whole:
        return F.ctc_loss(scores, targets, torch.tensor([4]), torch.tensor([2]))
    return F.nll_loss(scores[:, 0], torch.tensor([1, 1, 2, 1]))


TWICE: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], str]] = {
    "cdist": (lambda u, v: torch.cdist(u["x"], v["y"]).square().sum(), distances, r"cdist .*broadcasting"),
    "attention": (
        lambda u, v: attention(u, v, None),
        lambda u, v: attention(u, v, SDPBackend.MATH),
        r"scaled_dot_product\w* .*sdpa_kernel\(SDPBackend\.MATH\)",
    ),
    "embedding_bag": (
        lambda u, v: bag(u, v, whole=True),
        lambda u, v: bag(u, v, whole=False),
        r"embedding_bag .*functional\.embedding",
    ),
    "ctc_loss": (
        lambda u, v: alignment(u, v, whole=True),
        lambda u, v: alignment(u, v, whole=False),
        r"ctc_loss .*choose a loss",
    ),
    "torch.compile": (
        torch.compile(lambda u, v: (u["x"] * v["y"]).square().sum(), backend="aot_eager"),
        lambda u, v: (u["x"] * v["y"]).square().sum(),
        r"torch\.compile .*as it was before torch\.compile",
    ),
}


def pair() -> Point:
    return Point({"x": drawn(4, 3, seed=1)}, {"y": drawn(4, 3, seed=2)})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.compile's own imports
@pytest.mark.parametrize("name", TWICE)
def test_an_operation_without_a_second_derivative_is_named_with_a_remedy_that_works(name: str) -> None:
    bad, good, message = TWICE[name]
    with pytest.raises(DoubleBackwardError, match=rf"^f: {message}.*first-order solver such as 'alternating-gda'"):
        penalized_gradient(bad, pair(), 1.0)
    assert operator(bad, pair()).u["x"].any()  # first-order solvers may use it
    assert penalized_gradient(bad, pair(), 0.0).u["x"].any()
    assert penalized_gradient(good, pair(), 1.0).u["x"].any()
    if name != "torch.compile":  # torch.func looks through a compiled function
        with pytest.raises(DoubleBackwardError, match=rf"^f: {message}"):
            hvp(bad, pair(), pair().v, row="u", column="v")
    assert hvp(good, pair(), pair().v, row="u", column="v")["x"].any()


def test_other_failures_keep_their_own_words() -> None:
    def broken(u: Any, v: Any) -> Tensor:
        raise RuntimeError("no disk")

    with pytest.raises(RuntimeError, match="^no disk$"):
        hvp(broken, pair(), pair().v, row="u", column="v")
    with pytest.raises(RuntimeError, match="^no disk$"):
        penalized_gradient(broken, pair(), 1.0)


# -- bad risks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.0, r"^f: returned float; return the risk as a 0-d tensor"),
        (None, r"^f: returned NoneType; return"),
        (torch.ones(2), r"^f: returned a tensor of shape \(2,\); reduce it"),
        (torch.ones(1), r"^f: returned a tensor of shape \(1,\); reduce it"),
        (torch.tensor(1), r"^f: returned a torch\.int64 tensor, which has no gradient; return a floating risk"),
        (torch.tensor(1j), r"^f: returned a torch\.complex\w+ tensor"),
    ],
)
def test_a_risk_is_a_floating_scalar(value: Any, message: str) -> None:
    with pytest.raises(RiskError, match=message):
        scalar(value)
    good = torch.tensor(2.0)
    assert scalar(good) is good


def test_gradients_say_what_is_missing() -> None:
    x, y, z = (torch.ones(2, requires_grad=True) for _ in range(3))
    groups: dict[Player, Tensors] = {"u": {"x": x, "z": z}, "v": {"y": y}}
    with pytest.raises(RiskError, match=r"^f: the risk carries no gradient: .*; return the tensor itself"):
        gradients((x * y).sum().detach(), groups)
    with pytest.raises(RiskError, match=r"^f: the risk does not depend on v at all; use the argument"):
        gradients((x * z).sum(), groups)
    found = gradients((x * y).sum(), groups)
    assert torch.equal(found["u"]["x"], torch.ones(2))
    assert torch.equal(found["u"]["z"], torch.zeros(2))
