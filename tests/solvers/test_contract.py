"""What the context offers a solver, and that a solver of someone else's is as good as ours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from minimaxopt import AlternatingGDA, Box, Context, Descent, Game, Sensitivity, SimultaneousGDA, Unrolled, solve
from minimaxopt.errors import ArgumentError, DataError
from tests.solvers import hand

EXACT = 1e-12
SGD = partial(torch.optim.SGD, lr=0.1)
ADAM = partial(torch.optim.Adam, lr=0.1)


def quadratic(**options: Any) -> Game:
    u, v = torch.tensor([1.0, -2.0], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)
    return Game(lambda u, v: (u**2).sum() / 2 + (u * v).sum() - (v**2).sum(), u, v, **options)


def values(ctx: Context) -> tuple[list[float], list[float]]:
    return ctx.point.u["value"].tolist(), ctx.point.v["value"].tolist()


def test_gradients_are_those_of_each_players_own_loss() -> None:
    ctx = Context(quadratic(), u_optimizer=SGD, v_optimizer=SGD)
    found = ctx.gradients()
    assert found.u["value"].tolist() == [1.5, -1.5]
    assert found.v["value"].tolist() == [2.0]  # -(sum u - 2 v) = -(-1 - 1)
    assert found.risk.item() == 2.5 - 0.5 - 0.25
    elsewhere = ctx.point._replace(u={"value": torch.zeros(2, dtype=torch.float64)})
    assert ctx.gradients(elsewhere).u["value"].tolist() == [0.5, 0.5]
    assert ctx.gradient_evaluations == 2


@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_propose_restores_the_point_and_move_makes_the_step(optimizer: Any) -> None:
    ctx, reference = (Context(quadratic(), u_optimizer=optimizer, v_optimizer=optimizer) for _ in range(2))
    before = values(ctx)
    displacement = ctx.propose("u", ctx.gradients().u)
    assert values(ctx) == before
    ctx.move("u", displacement)
    reference.apply("u", reference.gradients().u)
    np.testing.assert_allclose(values(ctx)[0], values(reference)[0], rtol=EXACT)
    assert values(ctx) != before


def test_move_and_apply_project() -> None:
    ctx = Context(quadratic(project_u=Box(-0.5, 0.5)), u_optimizer=SGD, v_optimizer=SGD)
    assert values(ctx)[0] == [0.5, -0.5]  # the starting point was outside
    ctx.move("u", {"value": torch.tensor([5.0, 0.25], dtype=torch.float64)})
    assert values(ctx)[0] == [0.5, -0.25]
    ctx.apply("u", {"value": torch.tensor([-5.0, 0.0], dtype=torch.float64)})
    assert values(ctx)[0] == [0.5, -0.25]


@pytest.mark.parametrize("moments", [True, False])
def test_restore_brings_back_parameters_and_moments_but_not_rates(moments: bool) -> None:
    halving = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)
    ctx = Context(quadratic(), u_optimizer=ADAM, v_optimizer=ADAM, u_scheduler=halving)
    solver = SimultaneousGDA()
    ctx.advance(solver, None)
    then, snapshot = values(ctx), ctx.snapshot()
    ctx.advance(solver, None)
    advanced = values(ctx)
    ctx.restore(snapshot, moments=moments)
    assert values(ctx) == then
    assert ctx.rates() == {"u": 0.1 * 0.25, "v": 0.1}
    states = [
        float(ctx.optimizers[p].optimizer.state[t]["step"])
        for p in ("u", "v")
        for t in ctx.optimizers[p].tensors.values()
    ]
    assert states == ([1.0, 1.0] if moments else [2.0, 2.0])
    ctx.advance(solver, None)
    # v's rate did not change: with its moments restored it repeats its step, with newer ones it does not.
    assert (values(ctx)[1] == advanced[1]) is moments


def test_a_snapshot_is_not_changed_by_later_steps() -> None:
    ctx = Context(quadratic(), u_optimizer=ADAM, v_optimizer=ADAM)
    empty = ctx.snapshot()
    ctx.advance(SimultaneousGDA(), None)
    assert empty.moments["u"] == [{}]
    ctx.restore(empty)
    assert not ctx.optimizers["u"].optimizer.state
    assert values(ctx) == ([1.0, -2.0], [0.5])


@dataclass(frozen=True)
class Extragradient:
    """A solver from outside, written with displacements and snapshots alone."""

    name: ClassVar[str] = "their-extragradient"
    players: ClassVar[tuple[str, ...]] = ("u", "v")

    def init(self, ctx: Context) -> int:
        return 0

    def step(self, ctx: Context, state: int) -> tuple[int, dict[str, torch.Tensor]]:
        start, here = ctx.snapshot(), ctx.gradients()
        for player, direction in (("u", here.u), ("v", here.v)):
            ctx.move(player, ctx.propose(player, direction))
        ahead = ctx.gradients()
        ctx.restore(start)
        for player, direction in (("u", ahead.u), ("v", ahead.v)):
            ctx.apply(player, direction)
        return state + 1, {"risk": here.risk}


def test_a_solver_of_someone_elses_runs_in_the_loop() -> None:
    game = Game(lambda u, v: u * v, torch.tensor(1.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))
    solution = solve(game, Extragradient(), steps=50, u_optimizer=SGD, v_optimizer=SGD)
    # On x y extragradient multiplies x + i y by 1 - eta^2 + i eta (up to the sign of i).
    expected = np.sqrt(2) * np.abs(1 - 0.01 + 0.1j) ** 50
    assert float(torch.hypot(solution.u, solution.v)) == pytest.approx(expected, rel=EXACT)


def test_unrolled_steps_are_projected() -> None:
    game = Game(
        lambda u, v: u * v,
        torch.tensor(1.0, dtype=torch.float64),
        torch.tensor(0.9, dtype=torch.float64),
        project_v=Box(-1, 1),
    )
    solution = solve(game, Unrolled(steps=3, inner_lr=0.5), steps=1, u_optimizer=SGD, v_optimizer=SGD)
    assert solution.u.item() == pytest.approx(1.0 - 0.1 * 1.0, abs=EXACT)  # v_3 = 1, at the edge, not 0.9 + 1.5
    assert solution.history["unrolled_risk"].tolist() == [1.0]


def linear_data(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 2, generator=generator, dtype=torch.float64), torch.randn(
        n, generator=generator, dtype=torch.float64
    )


def regression(u: torch.Tensor, v: torch.Tensor, batch: Any) -> torch.Tensor:
    x, y = batch
    return ((x + v) @ u - y).square().mean() / 2


def test_the_split_penalty_is_unbiased_and_the_plain_one_is_not() -> None:
    """Over all splits of four samples <g_1, g_2> has the mean of distinct pairs; ||g||^2 lies above it."""
    from itertools import permutations

    from minimaxopt.calculus.gradients import operator

    x, y = linear_data(4)
    u, v = torch.tensor([1.0, -0.5], dtype=torch.float64), torch.tensor([0.2, 0.1], dtype=torch.float64)
    game = Game(regression, u, v)

    def record(solver: Sensitivity, batch: Any) -> float:
        ctx = Context(game, data=[batch], u_optimizer=SGD, v_optimizer=SGD)
        return float(ctx.advance(solver, None)[1]["sensitivity"])

    slopes = [
        operator(lambda a, b, i=i: regression(a["w"], b["w"], (x[[i]], y[[i]])), _point(u, v)).v["w"] for i in range(4)
    ]
    pairs = [float(slopes[i] @ slopes[j]) for i in range(4) for j in range(4) if i != j]
    split = [record(Sensitivity(split=True), (x[list(p)], y[list(p)])) for p in permutations(range(4))]
    # Each ordered pair of distinct samples is equally often on the two sides of a split.
    assert np.mean(split) == pytest.approx(np.mean(pairs), rel=EXACT)
    whole = record(Sensitivity(), (x, y))
    singles = [float(s @ s) for s in slopes]
    assert np.mean(singles) > whole  # the bias that split avoids


def _point(u: torch.Tensor, v: torch.Tensor) -> Any:
    from minimaxopt._types import Point

    return Point({"w": u}, {"w": v})


def test_split_equals_the_plain_penalty_on_two_equal_halves() -> None:
    x, y = linear_data(3)
    batch = (torch.cat([x, x]), torch.cat([y, y]))
    u, v = torch.tensor([1.0, -0.5], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    found = [
        solve(Game(regression, u, v), Sensitivity(split=split), steps=1, data=[batch], u_optimizer=SGD, v_optimizer=SGD)
        for split in (False, True)
    ]
    np.testing.assert_allclose(found[0].u, found[1].u, rtol=EXACT)
    np.testing.assert_allclose(found[0].v, found[1].v, rtol=EXACT)


@pytest.mark.parametrize("rows", [1, 3])
def test_split_refuses_batches_that_have_no_halves(rows: int) -> None:
    x, y = linear_data(rows)
    with pytest.raises(DataError, match="split: needs batches of an even number"):
        solve(
            Game(regression, torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)),
            Sensitivity(split=True),
            steps=1,
            data=[(x, y)],
        )


def test_per_sample_multiplies_by_the_batchs_own_size() -> None:
    x, y = linear_data(6)
    u, v = torch.tensor([1.0, -0.5], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    found = [
        solve(Game(regression, u, v), solver, steps=1, data=[(x, y)], u_optimizer=SGD, v_optimizer=SGD).u
        for solver in (Sensitivity(gamma=0.05, per_sample=True), Sensitivity(gamma=0.3), Sensitivity(gamma=0.05))
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=EXACT)
    assert not np.allclose(found[0], found[2])
    with pytest.raises(DataError, match="number of samples"):
        solve(quadratic(), Sensitivity(gamma=0.1, per_sample=True), steps=1)


# -- the design's facts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gamma", "stable"), [(0.0, False), (0.2, False), (0.3, True), (0.5, True)])
def test_the_penalty_stabilises_a_minimax_point_that_descent_ascent_leaves(gamma: float, stable: bool) -> None:
    """On -3x^2 - y^2 + 4xy the origin is minimax, and Alg. 1 finds it if and only if gamma > 1/4."""
    game = Game(
        lambda u, v: -3 * u**2 - v**2 + 4 * u * v,
        torch.tensor(0.1, dtype=torch.float64),
        torch.tensor(0.1, dtype=torch.float64),
    )
    sgd = partial(torch.optim.SGD, lr=0.01)
    solution = solve(game, Sensitivity(gamma=gamma), steps=3000, u_optimizer=sgd, v_optimizer=sgd)
    assert (abs(float(solution.u)) + abs(float(solution.v)) < 1e-6) is stable


def test_the_penalty_can_stop_at_a_point_that_is_not_minimax() -> None:
    """On 3x^2 + y^2 + 4xy, where the follower's maximum is infinite, the origin attracts Alg. 1 all the same."""
    game = Game(
        lambda u, v: 3 * u**2 + v**2 + 4 * u * v,
        torch.tensor(0.1, dtype=torch.float64),
        torch.tensor(0.1, dtype=torch.float64),
    )
    sgd = partial(torch.optim.SGD, lr=0.04)
    solution = solve(game, Sensitivity(gamma=1.0), steps=3000, u_optimizer=sgd, v_optimizer=sgd)
    assert abs(float(solution.u)) + abs(float(solution.v)) < 1e-6
    assert float(game.f(torch.zeros(()), torch.tensor(1.0))) > 0.5  # the follower only has to move


def test_gamma_one_over_c_is_the_exact_stackelberg_gradient() -> None:
    a, b, c = 0.5, 2.0, 4.0
    game = Game(
        lambda u, v: a * u**2 / 2 + b * u * v - c * v**2 / 2,
        torch.tensor(1.5, dtype=torch.float64),
        torch.tensor(-3.0, dtype=torch.float64),
    )
    solution = solve(game, Sensitivity(gamma=1 / c), steps=1, u_optimizer=SGD, v_optimizer=SGD)
    assert float(solution.u) == pytest.approx(1.5 - 0.1 * (a + b * b / c) * 1.5, rel=EXACT)


# -- bad settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sensitivity(gamma=-1.0), "gamma: is -1.0; the penalty's weight must be finite and not negative"),
        (lambda: Sensitivity(gamma=float("nan")), "gamma: is nan"),
        (lambda: Sensitivity(gamma="lambda"), "gamma: 'lambda' is no weight"),  # type: ignore[arg-type]
        (lambda: AlternatingGDA(first="w"), "first: 'w' is no player"),  # type: ignore[arg-type]
        (lambda: AlternatingGDA(ascent_steps=0), "ascent_steps: 0 leaves the follower without a move"),
        (lambda: Unrolled(steps=0), "steps: 0 unrolls nothing"),
        (lambda: Unrolled(inner_lr=0.0), "inner_lr: 0.0 is no step size"),
    ],
)
def test_bad_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()


def test_a_schedule_that_turns_negative_is_refused_at_its_step() -> None:
    with pytest.raises(ArgumentError, match=r"gamma: is -1.0 at step 2"):
        solve(quadratic(), Sensitivity(gamma=lambda i: 1.0 - i), steps=5, u_optimizer=SGD, v_optimizer=SGD)


@pytest.mark.parametrize("solver", ["alternating-gda", "simultaneous-gda", "unrolled", "ascent"])
def test_solvers_that_move_the_follower_refuse_one_that_responds(solver: str) -> None:
    game = Game(lambda u, v: u * v, torch.tensor(1.0), lambda risk, u: u.sign())
    with pytest.raises(ArgumentError, match="responds afresh at each step"):
        solve(game, solver, steps=1)
    assert solve(game, "descent", steps=1).steps == 1
    with pytest.raises(ArgumentError, match="gamma: 'sigma' is the follower's learning rate"):
        solve(game, Sensitivity(gamma="sigma"), steps=1)


def test_hand_games_have_the_derivatives_they_claim() -> None:
    for game in hand.games():
        u, v = torch.from_numpy(game.u0).requires_grad_(), torch.from_numpy(game.v0).requires_grad_()
        g_u, g_v = torch.autograd.grad(game.f(u, v), (u, v))
        np.testing.assert_allclose(g_u, game.grad_u(game.u0, game.v0), rtol=EXACT, atol=EXACT)
        np.testing.assert_allclose(g_v, game.grad_v(game.u0, game.v0), rtol=EXACT, atol=EXACT)


def test_descent_takes_the_response_as_given() -> None:
    """f = u v with v = 2 u: Descent sees 2 u, the penalty of weight 1 adds the derivative of u^2 / 2."""
    game = Game(lambda u, v: u * v, torch.tensor(1.0), lambda risk, u: 2 * u)
    assert solve(game, Descent(), steps=1, u_optimizer=SGD).u.item() == pytest.approx(1 - 0.1 * 2)
    assert solve(game, Sensitivity(gamma=1.0), steps=1, u_optimizer=SGD).u.item() == pytest.approx(1 - 0.1 * 3)


def test_gradients_of_a_responding_follower_are_refused_with_the_remedy() -> None:
    game = Game(lambda u, v: u * v, torch.tensor(1.0), lambda risk, u: u.sign())
    ctx = Context(game, u_optimizer=SGD)
    with pytest.raises(ArgumentError, match=r"let it use ctx.respond\(\)"):
        ctx.gradients()
    answer, risk = ctx.respond()
    assert float(risk(ctx.point.u, answer).detach()) == 1.0
