"""A risk that cannot be played fails before the first step, with the argument, the reason and the remedy."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from minimaxopt import AlternatingGDA, Batches, Context, Descent, Game, Sensitivity, SimultaneousGDA, Unrolled, solve
from minimaxopt.errors import DataError, DoubleBackwardError, RiskError
from minimaxopt.loop.first_evaluation import describe, probe

SGD = partial(torch.optim.SGD, lr=0.1)
BATCHES = Batches((torch.randn(8, 3), torch.zeros(8, dtype=torch.int64)), 4)


def play(f: Any, *, solver: Any = None, u: Any = None, v: Any = None, data: Any = None, **settings: Any) -> Any:
    """Play one step."""
    game = Game(f, torch.ones(3) if u is None else u, torch.ones(3) if v is None else v)
    return solve(game, solver or Sensitivity(0.5), steps=1, data=data, u_optimizer=SGD, v_optimizer=SGD, **settings)


def good(u: Any, v: Any) -> Tensor:
    return (u**2 * v).sum()


def without_gradients(u: Any, v: Any) -> Tensor:
    with torch.no_grad():
        return good(u, v)


BAD: dict[str, tuple[Any, str]] = {
    "a vector": (lambda u, v: u * v, r"^f: returned a tensor of shape \(3,\); reduce it to a 0-d tensor"),
    "one element": (lambda u, v: good(u, v)[None], r"^f: returned a tensor of shape \(1,\); reduce"),
    "a number": (lambda u, v: good(u, v).item(), r"^f: returned float; return the risk as a 0-d tensor"),
    "nothing": (lambda u, v: None, r"^f: returned NoneType; return"),
    "a pair": (lambda u, v: (good(u, v), good(u, v)), r"^f: returned tuple; return"),
    "an integer": (lambda u, v: (u > v).sum(), r"^f: returned a torch\.int64 tensor, which has no gradient; return"),
    "detached": (lambda u, v: good(u, v).detach(), r"^f: the risk carries no gradient: .*detached.*; return"),
    "no_grad": (without_gradients, r"^f: the risk carries no gradient: .*no_grad"),
    "made anew": (lambda u, v: torch.tensor(good(u, v).item()), r"^f: the risk carries no gradient: .*a number"),
    "neither player": (
        lambda u, v: torch.ones(3).sum(),
        r"^f: the risk carries no gradient: .*does not use the players",
    ),
    "not v": (lambda u, v: (u**2).sum(), r"^f: the risk does not depend on v at all; use the argument inside f"),
    "not u": (lambda u, v: (v**2).sum(), r"^f: the risk does not depend on u at all; use the argument inside f"),
    "v detached": (lambda u, v: good(u, v.detach()), r"^f: the risk does not depend on v at all"),
    "an exception": (
        lambda u, v: u @ torch.ones(4),
        r"^f: failed on the first batch, without data: RuntimeError: .*size",
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("solver", [Sensitivity(0.5), SimultaneousGDA(), Unrolled(2, 0.1)], ids=lambda s: s.name)
def test_a_bad_risk_is_told_what_is_wrong(case: str, solver: Any) -> None:
    f, message = BAD[case]
    with pytest.raises(RiskError, match=message):
        play(f, solver=solver)
    assert play(good, solver=solver).steps == 1


def test_a_risk_that_misses_one_player_suits_a_solver_that_leaves_it_alone() -> None:
    assert play(lambda u, v: (u**2).sum(), solver=Descent()).u.tolist() == pytest.approx([0.8] * 3)
    with pytest.raises(RiskError, match="does not depend on u at all"):
        play(lambda u, v: (v**2).sum(), solver=Descent())


def test_a_captured_network_that_requires_gradients_does_not_hide_a_missing_player() -> None:
    judge = nn.Linear(3, 1)
    with pytest.raises(RiskError, match="does not depend on v at all"):
        play(lambda u, v: judge(u).sum())
    assert play(lambda u, v: judge(u * v).sum()).steps == 1
    assert judge.weight.grad is None


# -- data -------------------------------------------------------------------------------------------------------------


def with_batch(u: Any, v: Any, batch: Any) -> Tensor:
    return F.cross_entropy((batch[0] * u + v)[:, :2], batch[1])


@pytest.mark.parametrize("order", ["minimax", "maximin"])
def test_data_and_the_arguments_of_f_must_agree(order: Any) -> None:
    with pytest.raises(
        DataError, match=r"^data: are missing, so that f is called with \(u, v\), .*batch.*; give data="
    ):
        play(with_batch, order=order)
    with pytest.raises(DataError, match=r"^data: were given, so that f is called with \(u, v, batch\), .*; add the"):
        play(good, data=BATCHES, order=order)
    assert play(with_batch, data=BATCHES, order=order).steps == 1
    assert play(good, order=order).steps == 1


def test_a_risk_may_leave_the_batch_open() -> None:
    def optional(u: Any, v: Any, batch: Any = None) -> Tensor:
        return good(u, v) if batch is None else with_batch(u, v, batch)

    def variadic(*arguments: Any) -> Tensor:
        return optional(*arguments)

    for f in (optional, variadic, partial(optional)):
        assert play(f).steps == 1
        assert play(f, data=BATCHES).steps == 1


def test_data_and_the_arguments_of_a_responding_follower_must_agree() -> None:
    def answers(risk: Any, u: Any, batch: Any) -> Tensor:
        return torch.ones(3)

    def answers_without(risk: Any, u: Any) -> Tensor:
        return torch.ones(3)

    with pytest.raises(DataError, match=r"^data: were given, so that v is called with \(risk, u, batch\), .*; add"):
        play(with_batch, v=answers_without, data=BATCHES)
    with pytest.raises(DataError, match=r"^data: are missing, so that v is called with \(risk, u\), .*; give data="):
        play(good, v=answers)
    assert play(with_batch, v=answers, data=BATCHES).steps == 1
    assert play(good, v=answers_without).steps == 1


def test_a_failing_response_is_not_blamed_on_f() -> None:
    def fails(risk: Any, u: Any) -> Tensor:
        raise ZeroDivisionError("no step size")

    with pytest.raises(
        RiskError, match=r"^v: the responding follower failed on the first batch, without data: ZeroDiv"
    ):
        play(good, v=fails)


@pytest.mark.parametrize(
    ("data", "form"),
    [
        ([(torch.zeros(4, 5), torch.zeros(4, dtype=torch.int64))], r"0: float32 \(4, 5\), 1: int64 \(4,\)"),
        ([{"x": torch.zeros(4, 3), "name": "y"}], r"name: str, x: float32 \(4, 3\)"),
        ([[torch.zeros(4, 3)]], r"0: float32 \(4, 3\)"),
        ([torch.zeros(4)], r"float32 \(4,\)"),
        ([()], "nothing"),
        ([7], "int"),
        ([None], "NoneType"),
    ],
)
def test_a_batch_of_the_wrong_form_is_described(data: Any, form: str) -> None:
    with pytest.raises(RiskError, match=rf"^f: failed on the first batch, a batch of {form}: \w+Error: "):
        play(with_batch, data=data)


def test_describe_names_the_form() -> None:
    assert describe(()) == "without data"
    assert describe((torch.zeros(2, dtype=torch.bfloat16),)) == "a batch of bfloat16 (2,)"


# -- what differentiating twice needs ---------------------------------------------------------------------------------


class Once(torch.autograd.Function):
    """The square, whose backward torch does not differentiate."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return 2 * slope * ctx.saved_tensors[0]


class Twice(Once):
    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return 2 * slope * ctx.saved_tensors[0]


def autocast(u: Any, v: Any) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return (torch.outer(u, u) @ v).sum().float()


TWICE = [Sensitivity(0.5), Sensitivity("sigma"), Unrolled(2, 0.1)]
FIRST_ORDER = [Descent(), SimultaneousGDA(), AlternatingGDA(), Sensitivity(0.0)]


def test_torch_takes_the_second_derivative_as_zero() -> None:
    # Why it has to be refused: no error, and a wrong number. It should be 6 x = 6.
    x = torch.ones((), requires_grad=True)
    (slope,) = torch.autograd.grad(x * Once.apply(x), x, create_graph=True)
    (wrong,) = torch.autograd.grad(slope, x, allow_unused=True)
    assert wrong.item() != 6
    (slope,) = torch.autograd.grad(x * Twice.apply(x), x, create_graph=True)
    assert torch.autograd.grad(slope, x)[0].item() == 6


@pytest.mark.parametrize("solver", TWICE, ids=repr)
def test_a_function_marked_once_differentiable_is_refused_where_it_would_be_wrong(solver: Any) -> None:
    with pytest.raises(
        DoubleBackwardError, match=r"^f: Once is an autograd\.Function marked once_differentiable, .*; write"
    ):
        play(lambda u, v: (Once.apply(u) * v).sum(), solver=solver)
    assert play(lambda u, v: (Twice.apply(u) * v).sum(), solver=solver).steps == 1


@pytest.mark.parametrize("solver", FIRST_ORDER, ids=repr)
def test_first_order_solvers_take_such_functions_and_autocast(solver: Any) -> None:
    plain = play(lambda u, v: (u**2 * v).sum(), solver=solver)
    assert torch.allclose(play(lambda u, v: (Once.apply(u) * v).sum(), solver=solver).u, plain.u)
    assert bool(torch.isfinite(play(autocast, solver=solver).u).all())


@pytest.mark.parametrize("solver", TWICE, ids=repr)
def test_autocast_is_refused_where_second_derivatives_would_be_off(solver: Any) -> None:
    with pytest.raises(
        RiskError, match=r"^f: runs under autocast, .*; leave autocast out, or use a first-order solver"
    ):
        play(autocast, solver=solver)
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(RiskError, match="^f: runs under autocast"):
        play(good, solver=solver)
    assert play(good, solver=solver).steps == 1


def test_an_operation_without_a_second_derivative_is_named_by_a_solve() -> None:
    with pytest.raises(DoubleBackwardError, match=r"^f: cdist cannot be differentiated twice.*broadcasting"):
        play(lambda u, v: torch.cdist(u[:, None], v[:, None]).square().sum() + u.sum(), v=torch.zeros(3))
    assert (
        play(
            lambda u, v: torch.cdist(u[:, None], v[:, None]).square().sum(), v=torch.zeros(3), solver=SimultaneousGDA()
        ).steps
        == 1
    )


# -- a probe is only that ---------------------------------------------------------------------------------------------


def test_a_probe_leaves_the_run_as_it_was() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))

    def respond(risk: Any, u: Any, batch: Any) -> Tensor:
        return torch.zeros(3)

    game = Game(lambda u, v, batch: F.cross_entropy(u(batch[0] + v), batch[1]), net, respond)
    loader = list(BATCHES)
    ctx = Context(game, players=("u",), data=iter_once(loader), u_optimizer=SGD)
    opening = {name: t.clone() for name, t in ctx.module_state["u"].items() if isinstance(t, Tensor)}
    for _ in range(2):
        probe(ctx, second_order=True)
    assert (ctx.step, ctx.source.position, ctx.gradient_evaluations, ctx.batch) == (0, 0, 0, ())
    assert all(torch.equal(ctx.module_state["u"][name], value) for name, value in opening.items())
    assert all(torch.equal(t, net.get_parameter(name)) for name, t in ctx.point.u.items())
    # The first step sees the batch that the probe saw.
    assert torch.equal(ctx.source.take()[0][0], loader[0][0])


def iter_once(batches: list[Any]) -> Any:
    """Return data that can be read once only."""
    return (batch for batch in batches)
