"""What second-order solvers cost, how they resume and keep to constraints, and what they refuse."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import ExponentialLR

from minimaxopt import Box, Checkpoint, Context, Game, solve
from minimaxopt.calculus.conjugate_gradient import conjugate_gradient
from minimaxopt.errors import ArgumentError, DoubleBackwardError
from minimaxopt.results import storage
from minimaxopt.solvers.adjusted import Consensus, Hamiltonian, SymplecticAdjustment
from minimaxopt.solvers.competitive import CompetitiveGradient
from minimaxopt.solvers.implicit import FollowTheRidge, Stackelberg
from minimaxopt.solvers.newton import CompleteNewton, NewtonFollower
from tests.trainings import fingerprint
from tests.trainings import play as train

EXACT = 1e-12
SGD = partial(torch.optim.SGD, lr=0.1)
EVERY: list[Any] = [
    Stackelberg(),
    FollowTheRidge(),
    NewtonFollower(),
    CompleteNewton(),
    CompetitiveGradient(),
    SymplecticAdjustment(),
    Consensus(),
    Hamiltonian(),
]
IDS = [solver.name for solver in EVERY]


def number(x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


# -- what a step costs --------------------------------------------------------------------------------------------------


def large(rng: np.random.Generator, n: int = 30) -> Game:
    A, C = (torch.from_numpy(x @ x.T / n + np.eye(n) / 2) for x in rng.normal(size=(2, n, n)))
    B = torch.from_numpy(rng.normal(size=(n, n)) / 2)
    u, v = (torch.from_numpy(x) for x in rng.normal(size=(2, n)))
    return Game(lambda u, v: u @ A @ u / 2 + u @ B @ v - v @ C @ v / 2, u, v)


@pytest.mark.parametrize(("tolerance", "share"), [(1e-2, 0.75), (1e-6, 0.9)])
@pytest.mark.parametrize("kind", [Stackelberg, FollowTheRidge])
def test_a_warm_start_saves_products_and_changes_no_answer(kind: Any, tolerance: float, share: float) -> None:
    """With small steps one solution is nearly the next."""
    slow, solver = partial(torch.optim.SGD, lr=0.003), kind(cg_tolerance=tolerance)
    spent, ends = [], []
    for warm in (True, False):
        ctx = Context(large(np.random.default_rng(0)), u_optimizer=slow, v_optimizer=slow)
        state = solver.init(ctx)
        for _ in range(40):
            state, record = ctx.advance(solver, state if warm else None)
            assert float(record["linear_residual"]) <= tolerance
        spent.append(ctx.gradient_evaluations)
        ends.append(torch.cat([ctx.point.u["value"], ctx.point.v["value"]]).detach())
    assert spent[0] < share * spent[1]
    torch.testing.assert_close(ends[0], ends[1], rtol=10 * tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("solver", "first", "later"),
    [
        (Stackelberg(), 3, 4),  # gradients, one step of CG on one value, the mixed product; the warm start's residual
        (FollowTheRidge(), 3, 4),
        (NewtonFollower(), 3, 3),  # the leader's gradient, the follower's gradients, one step
        (CompleteNewton(), 7, 7),  # gradients, one step on S: three blocks and the follower's system; then as above
        (CompetitiveGradient(), 5, 5),  # gradients, the right side, one step of two products, the follower's
        (SymplecticAdjustment(), 4, 4),
        (SymplecticAdjustment(align=False), 3, 3),
        (Consensus(), 2, 2),
        (Hamiltonian(), 2, 2),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_gradient_evaluations_count_every_pass(
    solver: Any, first: int, later: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    game = Game(lambda u, v: u**2 / 2 + u * v - v**2, number(1.0), number(1.0))
    passes: list[int] = []
    backward = torch.autograd.grad

    def counted(*arguments: Any, **options: Any) -> Any:
        passes.append(1)
        return backward(*arguments, **options)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    ctx = Context(game, u_optimizer=SGD, v_optimizer=SGD)
    state, _ = ctx.advance(solver, solver.init(ctx))
    assert ctx.gradient_evaluations == first == len(passes)
    ctx.advance(solver, state)
    # In one dimension the last direction is this one's, so that the start may be exact, or worse than none.
    assert ctx.gradient_evaluations == len(passes) <= first + later


def test_a_start_worse_than_none_is_dropped() -> None:
    double, zero = (lambda x: {"a": 2 * x["a"]}), {"a": torch.zeros(2)}
    gone = conjugate_gradient(double, zero, start={"a": torch.ones(2)})
    assert (gone.x["a"].tolist(), gone.steps, float(gone.residual)) == ([0.0, 0.0], 0, 0.0)
    b = {"a": torch.tensor([4.0, 6.0])}
    assert conjugate_gradient(double, b, start={"a": torch.tensor([2.0, 3.0])}).steps == 0
    assert conjugate_gradient(double, b, start={"a": torch.tensor([-20.0, 3.0])}).steps == 1


@pytest.mark.parametrize("solver", EVERY, ids=IDS)
def test_a_stationary_point_is_kept_and_recorded_in_finite_numbers(solver: Any) -> None:
    game = Game(lambda u, v: u**2 / 2 + u * v - v**2, number(0.0), number(0.0))
    solution = solve(game, solver, steps=5, tolerance=0.0, u_optimizer=SGD, v_optimizer=SGD)
    assert (solution.ok, float(solution.u), float(solution.v)) == (True, 0.0, 0.0)
    assert all(np.isfinite(solution.history[name]).all() for name in solution.history.names)


@pytest.mark.parametrize("solver", EVERY, ids=IDS)
def test_the_committed_statistics_are_those_of_the_leaders_evaluation(solver: Any) -> None:
    """Also where the follower is evaluated after the leader has moved."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).double()
    x, shift = torch.randn(8, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    target = torch.randn(8, 4, dtype=torch.float64)
    game = Game(lambda u, v: ((u(x * (1 + v)) - target) ** 2).mean() - (v**2).sum(), net, shift)
    found = solve(game, solver, steps=1, u_optimizer=SGD, v_optimizer=SGD)
    net(x)
    assert int(found.u[1].num_batches_tracked) == 1
    assert torch.equal(found.u[1].running_mean, net[1].running_mean)
    found.u(x)
    assert not torch.equal(found.u[1].running_mean, net[1].running_mean)


# -- resuming -----------------------------------------------------------------------------------------------------------

TRAINED: dict[str, tuple[str, Any]] = {
    "stackelberg": ("sensitivity", Stackelberg(damping=1.0, cg_steps=3)),
    "ridge": ("sensitivity", FollowTheRidge(damping=1.0, cg_steps=3)),
    "competitive": ("sgd", CompetitiveGradient(cg_steps=3)),
}


@pytest.mark.parametrize("name", TRAINED)
def test_two_halves_of_a_training_equal_the_whole(name: str, tmp_path: Path) -> None:
    case, solver = TRAINED[name]
    plain = partial(torch.optim.SGD, lr=0.05)
    optimizers = {"u_optimizer": plain, "v_optimizer": plain} if case == "sgd" else {}
    whole = train(case, steps=20, solver=solver, **optimizers)
    train(case, steps=11, solver=solver, callbacks=[Checkpoint(tmp_path)], **optimizers)
    assert fingerprint(train(case, steps=20, solver=solver, resume=tmp_path, **optimizers)) == fingerprint(whole)


@pytest.mark.parametrize("solver", [Stackelberg(cg_steps=3), FollowTheRidge(cg_steps=3)], ids=lambda s: s.name)
def test_the_warm_start_is_part_of_a_checkpoint(solver: Any, tmp_path: Path) -> None:
    def part(steps: int, **options: Any) -> Any:
        slow = partial(torch.optim.SGD, lr=0.003)
        game = large(np.random.default_rng(0))
        return solve(game, solver, steps=steps, u_optimizer=slow, v_optimizer=slow, **options)

    whole = part(20)
    part(11, callbacks=[Checkpoint(tmp_path)])
    again = part(20, resume=tmp_path)
    assert (fingerprint(again), again.gradient_evaluations) == (fingerprint(whole), whole.gradient_evaluations)
    saved = storage.read(tmp_path / "checkpoint.json")
    storage.write(tmp_path, "checkpoint", {**saved, "state": None})
    assert fingerprint(part(20, resume=tmp_path)) != fingerprint(whole)


# -- constraints --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", EVERY, ids=IDS)
def test_every_step_ends_within_the_constraints(solver: Any) -> None:
    game = Game(
        lambda u, v: u * v + u - v**2 / 2, number(0.5), number(0.5), project_u=Box(0.25, 1.0), project_v=Box(-0.5, 0.6)
    )
    fast = partial(torch.optim.SGD, lr=3.0)
    ctx = Context(game, u_optimizer=fast, v_optimizer=fast)
    state, touched = solver.init(ctx), False
    for _ in range(6):
        state, _ = ctx.advance(solver, state)
        u, v = float(ctx.point.u["value"].detach()), float(ctx.point.v["value"].detach())
        assert 0.25 <= u <= 1.0
        assert -0.5 <= v <= 0.6
        touched = touched or u in (0.25, 1.0) or v in (-0.5, 0.6)
    assert touched


def test_the_ridge_is_followed_by_what_the_projection_leaves_of_the_leaders_move() -> None:
    """f = u v - v^2 / 2 from (1, 1): du = -0.1, and -0.05 within the box; the ridge v = u asks for as much."""
    f = lambda u, v: u * v - v**2 / 2  # noqa: E731 - as short as its docstring
    free = solve(Game(f, number(1.0), number(1.0)), FollowTheRidge(), steps=1, u_optimizer=SGD, v_optimizer=SGD)
    assert float(free.v) == pytest.approx(0.9, rel=EXACT)
    boxed = Game(f, number(1.0), number(1.0), project_u=Box(0.95, 2.0))
    assert float(solve(boxed, FollowTheRidge(), steps=1, u_optimizer=SGD, v_optimizer=SGD).v) == pytest.approx(
        0.95, rel=EXACT
    )


# -- refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", EVERY, ids=IDS)
def test_a_responding_follower_is_refused(solver: Any) -> None:
    game = Game(lambda u, v: u * v, number(1.0), lambda risk, u: u.sign())
    with pytest.raises(ArgumentError, match=f"solver: '{solver.name}' moves the follower"):
        solve(game, solver, steps=1, u_optimizer=SGD)


@pytest.mark.parametrize("solver", EVERY, ids=IDS)
def test_a_risk_without_second_derivatives_is_refused(solver: Any) -> None:
    game = Game(lambda u, v: torch.cdist(u, v).sum(), torch.zeros(1, 2).double(), torch.ones(1, 2).double())
    with pytest.raises(DoubleBackwardError, match=r"^f: cdist cannot be differentiated twice"):
        solve(game, solver, steps=1, u_optimizer=SGD, v_optimizer=SGD)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stackelberg(damping=-1.0), "damping: is -1.0; give a finite number that is not negative"),
        (lambda: FollowTheRidge(damping=float("nan")), "damping: is nan"),
        (lambda: NewtonFollower(damping=float("inf")), "damping: is inf"),
        (lambda: CompleteNewton(cg_steps=0), "cg_steps: 0 solves nothing; give at least 1"),
        (lambda: CompetitiveGradient(cg_steps=-1), "cg_steps: -1 solves nothing"),
        (lambda: CompetitiveGradient(cg_tolerance=1.0), "cg_tolerance: 1.0 is no relative residual"),
        (lambda: Stackelberg(cg_tolerance=float("nan")), "cg_tolerance: nan is no relative residual"),
        (lambda: SymplecticAdjustment(weight=-0.1), "weight: is -0.1; give a finite weight that is not negative"),
        (lambda: Consensus(gamma=float("inf")), "gamma: is inf"),
    ],
)
def test_bad_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()


def grouped(tensors: list[torch.Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": tensors[:1], "lr": 0.1}, {"params": tensors[1:], "lr": 0.2}])


@pytest.mark.parametrize("player", ["u", "v"])
@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        (torch.optim.Adam, "which Adam would make into another; give plain SGD"),
        (torch.optim.ASGD, "which ASGD would make into another"),
        (partial(torch.optim.SGD, lr=0.1, momentum=0.5), "which momentum would change; give plain SGD"),
        (
            partial(torch.optim.SGD, lr=0.1, momentum=0.5, nesterov=True, weight_decay=0.1),
            "which momentum and nesterov and weight_decay would change",
        ),
        (grouped, r"has groups of different rates \[0.1, 0.2\], .*; give one rate"),
    ],
)
def test_competitive_gradient_refuses_optimizers_that_would_change_its_step(
    player: str, optimizer: Any, reason: str
) -> None:
    pair = {"a": torch.ones(2), "b": torch.ones(2)}
    game = Game(lambda u, v: (u["a"] * v["a"] + u["b"] * v["b"]).sum(), pair, {n: t + 1 for n, t in pair.items()})
    optimizers = {"u_optimizer": SGD, "v_optimizer": SGD, f"{player}_optimizer": optimizer}
    with pytest.raises(ArgumentError, match=rf"^{player}_optimizer: .*{reason}"):
        solve(game, CompetitiveGradient(), steps=1, **optimizers)
    assert solve(game, CompetitiveGradient(), steps=1, u_optimizer=SGD, v_optimizer=SGD).ok


def test_competitive_gradient_follows_schedules() -> None:
    """On u v with rates eta each step divides the distance by sqrt(1 + eta^2)."""
    halving = partial(ExponentialLR, gamma=0.5)
    game = Game(lambda u, v: u * v, number(0.6), number(0.8))
    solution = solve(
        game,
        CompetitiveGradient(),
        steps=3,
        u_optimizer=SGD,
        v_optimizer=SGD,
        u_scheduler=halving,
        v_scheduler=halving,
    )
    expected = np.prod([1 / np.sqrt(1 + eta**2) for eta in (0.1, 0.05, 0.025)])
    assert float(torch.hypot(solution.u, solution.v)) == pytest.approx(expected, rel=EXACT)
