"""Games in which the follower has a loss of its own: closed forms, steps by hand, and what is refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from minimaxopt import (
    AlternatingGDA,
    Batches,
    BestResponse,
    Box,
    Checkpoint,
    Context,
    Game,
    Lookahead,
    Sensitivity,
    SimultaneousGDA,
    Solution,
    Stackelberg,
    Unrolled,
    solve,
)
from minimaxopt.errors import ArgumentError, DataError, RiskError
from minimaxopt.solvers import SOLVERS
from tests.solvers.two_losses import (
    RATE_U,
    RATE_V,
    STEPS,
    data,
    discriminator_loss,
    generator_loss,
    played_by_hand,
    players,
)
from tests.trainings import fingerprint

DECLARED = sorted(name for name, solver in SOLVERS.items() if getattr(solver(), "two_losses", None))
REFUSED = sorted(SOLVERS.keys() - set(DECLARED))


def sgd(rate: float) -> Any:
    return partial(torch.optim.SGD, lr=rate)


def optimizers(solver: Any, u: float, v: float) -> dict[str, Any]:
    return {f"{p}_optimizer": sgd(rate) for p, rate in (("u", u), ("v", v)) if p in solver.players}


# -- a quadratic bilevel problem ---------------------------------------------------------------------------------------

_RNG = np.random.default_rng(0)
A, B = np.diag([1.0, 2.0]), _RNG.normal(size=(3, 2)) / 2
C, D, T = np.diag([1.0, 1.5, 0.8]), _RNG.normal(size=(2, 3)) / 4, _RNG.normal(size=3)
E = np.array([0.3, -0.5])
A_, B_, C_, D_, T_, E_ = (torch.from_numpy(x) for x in (A, B, C, D, T, E))


def f(u: Tensor, v: Tensor) -> Tensor:
    return u @ A_ @ u / 2 + u @ E_ + u @ D_ @ v + (v - T_).square().sum() / 2


def g(u: Tensor, v: Tensor) -> Tensor:
    return v @ C_ @ v / 2 - v @ B_ @ u


def quadratic() -> Game:
    zeros = partial(torch.zeros, dtype=torch.float64)
    return Game(f, zeros(2), zeros(3), follower_loss=g)


def answer(u: Any) -> Any:
    return np.linalg.solve(C, B @ u)


def bilevel_solution() -> Any:
    """Where ``d/du f(u, v(u))`` vanishes for ``v(u) = C^-1 B u``."""
    M = np.linalg.solve(C, B)
    hessian = A + D @ M + (D @ M).T + M.T @ M
    return np.linalg.solve(hessian, M.T @ T - E)


def nash_point() -> Any:
    """Where ``grad_u f = A u + E + D v(u)`` vanishes."""
    return np.linalg.solve(A + D @ np.linalg.solve(C, B), -E)


EXACT = Stackelberg(cg_tolerance=1e-12)
ANTICIPATING = [EXACT, Unrolled(steps=30, inner_lr=0.8), Lookahead(EXACT, period=3)]
MYOPIC = [SimultaneousGDA(), AlternatingGDA(), BestResponse(20), Sensitivity(0.5), "extragradient", "optimistic"]


@pytest.mark.parametrize("solver", ANTICIPATING, ids=lambda s: s.name)
def test_leaders_that_anticipate_solve_the_bilevel_problem(solver: Any) -> None:
    solution = solve(quadratic(), solver, steps=300, u_optimizer=sgd(0.4), v_optimizer=sgd(0.8))
    assert np.allclose(solution.u.numpy(), bilevel_solution(), atol=1e-9)
    assert np.allclose(solution.v.numpy(), answer(bilevel_solution()), atol=1e-9)


@pytest.mark.parametrize("solver", MYOPIC, ids=lambda s: s if isinstance(s, str) else s.name)
def test_leaders_that_do_not_reach_the_nash_point(solver: Any) -> None:
    solution = solve(quadratic(), solver, steps=600, u_optimizer=sgd(0.2), v_optimizer=sgd(0.3), tolerance=1e-11)
    assert np.allclose(solution.u.numpy(), nash_point(), atol=1e-9)
    assert np.linalg.norm(nash_point() - bilevel_solution()) > 0.1
    assert solution.status.name == "CONVERGED"


def test_the_total_derivative_is_that_of_finite_differences() -> None:
    u, v = players()
    batch = data(1)[0]
    before = parameters_to_vector(u.parameters()).detach()
    game = Game(generator_loss, u, v, follower_loss=discriminator_loss)
    after = solve(game, Unrolled(4, 0.3), steps=1, data=[batch], u_optimizer=sgd(1.0), v_optimizer=sgd(1.0))
    gradient = before - parameters_to_vector(after.u.parameters()).detach()

    def answered(x: Tensor) -> float:
        leader, follower = players()
        torch.nn.utils.vector_to_parameters(x, leader.parameters())
        settings: dict[str, Any] = {"steps": 4, "data": [batch], "v_optimizer": sgd(0.3)}
        trained = solve(
            Game(generator_loss, leader, follower, follower_loss=discriminator_loss), "ascent", **settings
        ).v
        return generator_loss(leader, trained, batch).item()

    for i in range(len(before)):
        unit = torch.zeros_like(before)
        unit[i] = 1e-5
        slope = (answered(before + unit) - answered(before - unit)) / 2e-5
        assert slope == pytest.approx(gradient[i].item(), abs=2e-9)


# -- steps by hand -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STEPS)
def test_a_gan_is_trained_as_by_hand(name: str) -> None:
    u, v = players()
    game = Game(generator_loss, u, v, follower_loss=discriminator_loss)
    solver, batches = STEPS[name][0], data(5)
    solution = solve(game, solver, steps=5, data=batches, **optimizers(solver, RATE_U, RATE_V))
    for player, expected in zip((solution.u, solution.v), played_by_hand(name, batches), strict=True):
        assert torch.allclose(parameters_to_vector(player.parameters()), expected, rtol=0, atol=1e-12)


def test_every_solver_that_declares_it_is_played_by_hand() -> None:
    assert {solver.name for solver, _ in STEPS.values()} == set(DECLARED)


@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("name", DECLARED)
def test_minus_f_as_the_followers_loss_is_the_zero_sum_game(name: str, projected: bool) -> None:
    def risk(u: Tensor, v: Tensor) -> Tensor:
        return (u**4).sum() / 4 + (u.square() * v).sum() + (u * v).sum() - (v**4).sum() - v.square().sum() / 2

    start = torch.tensor([0.4, -0.3], dtype=torch.float64), torch.tensor([0.2, 0.5], dtype=torch.float64)
    sets: dict[str, Any] = {"project_v": Box(-0.3, 0.3)} if projected else {}
    solver = SOLVERS[name]()
    settings: dict[str, Any] = {"steps": 20, **optimizers(solver, 0.1, 0.1)}
    one = solve(Game(risk, *start, **sets), solver, **settings)
    two = solve(Game(risk, *start, **sets, follower_loss=lambda u, v: -risk(u, v)), solver, **settings)
    assert torch.allclose(one.u, two.u, rtol=0, atol=1e-14)
    assert torch.allclose(one.v, two.v, rtol=0, atol=1e-14)
    columns = set(two.history.names) - {"follower_loss"}
    assert columns == set(one.history.names) - ({"risk"} if name == "ascent" else set())
    for column in columns:
        assert np.allclose(one.history[column], two.history[column], rtol=1e-6, atol=1e-12)
    if name == "simultaneous-gda":
        assert np.allclose(two.history["follower_loss"], -two.history["risk"], rtol=0, atol=1e-15)


@pytest.mark.parametrize("solver", [AlternatingGDA(ascent_steps=3), Unrolled(3, 0.1), "extragradient"], ids=str)
def test_fresh_batches_of_inner_steps_are_those_of_the_zero_sum_game(solver: Any) -> None:
    def risk(u: Tensor, v: Tensor, batch: Tensor) -> Tensor:
        return ((u @ batch.T) * (batch @ v + torch.rand(()))).mean() - v.square().sum()

    start = torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    batches = Batches(torch.randn(12, 2, dtype=torch.float64), batch_size=3, seed=0)
    settings: dict[str, Any] = {"steps": 5, "data": batches, "u_optimizer": sgd(0.1), "v_optimizer": sgd(0.1)}
    own = Game(risk, *start, follower_loss=lambda u, v, batch: -risk(u, v, batch))
    two = solve(own, solver, ascent_batches="fresh", **settings)
    one = solve(Game(risk, *start), solver, ascent_batches="fresh", **settings)
    assert torch.allclose(one.u, two.u, rtol=0, atol=1e-14)
    assert not torch.allclose(one.u, solve(own, solver, **settings).u, rtol=0, atol=1e-6)


def test_both_losses_see_one_batch_one_draw_and_one_state() -> None:
    evaluations: dict[str, list[Any]] = {"f": [], "g": []}

    class Counted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(2))
            self.register_buffer("evaluations", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.evaluations = self.evaluations + 1
            return self.weight * x

    def loss(name: str) -> Any:
        def value(u: Counted, v: Tensor, batch: Tensor) -> Tensor:
            noise = torch.rand(())
            result = (u(batch) * v).sum() + noise * u.weight.sum()
            evaluations[name].append((batch.tolist(), noise.item(), u.evaluations.item()))
            return result if name == "f" else -result

        return value

    game = Game(loss("f"), Counted(), torch.ones(2), follower_loss=loss("g"))
    solution = solve(game, "simultaneous-gda", steps=4, data=Batches(torch.randn(8, 2), batch_size=1, seed=0))
    assert evaluations["f"][1:] == evaluations["g"][1:]  # after the first evaluation, on the first batch too
    assert [count for *_, count in evaluations["f"][1:]] == [1.0, 2.0, 3.0, 4.0]
    assert solution.u.evaluations == 4


@pytest.mark.parametrize("name", ["alternating-gda", "unrolled", "stackelberg", "sensitivity", "past-extragradient"])
def test_a_run_resumes_to_the_bit(name: str, tmp_path: Path) -> None:
    def played(steps: int, **settings: Any) -> Solution:
        u, v = players()
        u.append(torch.nn.Dropout(0.3))
        game = Game(generator_loss, u, v, follower_loss=discriminator_loss)
        noise = torch.randn(12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        batches = Batches((noise, noise + 1), batch_size=4, seed=0)
        return solve(game, name, steps=steps, data=batches, **settings)

    whole = played(9)
    played(4, callbacks=[Checkpoint(tmp_path, every=2)])
    resumed = played(9, resume=tmp_path)
    assert fingerprint(resumed) == fingerprint(whole)
    assert "follower_loss" in resumed.history
    folder = whole.save(tmp_path / "saved")
    assert "follower_loss" in Solution.load(folder, Game(generator_loss, *players())).history


def test_what_f_logs_is_recorded() -> None:
    def logging(u: Tensor, v: Tensor) -> Any:
        return f(u, v), {"size": u.norm()}

    zeros = partial(torch.zeros, dtype=torch.float64)
    game = Game(logging, zeros(2) + 3, zeros(3), follower_loss=g)
    solution = solve(game, "alternating-gda", steps=3)
    assert solution.history["size"][0] == pytest.approx(18**0.5)
    assert "size" not in solve(game, "ascent", steps=3).history


# -- a risk that depends on the leader through the answer alone --------------------------------------------------------


def validation(u: Tensor, v: Tensor) -> Tensor:
    return (v - T_).square().sum() / 2


def test_f_may_depend_on_the_leader_through_the_answer_alone() -> None:
    start = torch.zeros(2, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    game = Game(validation, *start, follower_loss=g)
    solution = solve(game, Stackelberg(), steps=2000, u_optimizer=sgd(0.5), v_optimizer=sgd(0.5))
    M = np.linalg.solve(C, B)
    assert np.allclose(solution.u.numpy(), np.linalg.lstsq(M, T, rcond=None)[0], atol=1e-8)
    with pytest.raises(
        RiskError, match=r"^f: the risk .* where u acts through the follower's answer alone, use 'unrolled'"
    ):
        solve(game, "alternating-gda", steps=1)


def test_an_anticipated_risk_has_to_depend_on_the_follower() -> None:
    start = torch.ones(2), torch.ones(3)
    game = Game(lambda u, v: u.sum(), *start, follower_loss=lambda u, v: (v - u.sum()).square().sum())
    with pytest.raises(RiskError, match=r"^f: the risk does not depend on v at all"):
        solve(game, "stackelberg", steps=1)
    assert solve(game, "simultaneous-gda", steps=1).ok


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_the_methods_for_one_risk_are_these() -> None:
    assert REFUSED == [
        "competitive-gradient", "complete-newton", "consensus", "follow-the-ridge", "hamiltonian", "k-beam",
        "newton-follower", "symplectic-adjustment",
    ]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_method_for_one_risk_is_refused_before_anything_is_evaluated(name: str) -> None:
    def never(u: Tensor, v: Tensor) -> Tensor:
        raise AssertionError

    game = Game(never, torch.ones(1), torch.ones(1), follower_loss=never)
    for solver in (SOLVERS[name](), Lookahead(SOLVERS[name]())):
        with pytest.raises(ArgumentError, match=f"^solver: '{solver.name}' plays zero-sum games alone, and this"):
            solve(game, solver, steps=1)
        with pytest.raises(ArgumentError, match=f"^solver: '{solver.name}' plays zero-sum games alone"):
            Context(game).advance(solver, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"order": "maximin"}, "^flip: the follower has a loss of its own"),
        ({"compile": True}, "^compile: there is no compiled form for a follower with a loss of its own"),
        ({"solver": Sensitivity(split=True)}, "^split: has no form for a follower with a loss of its own"),
        ({"solver": "stackelberg", "tolerance": 1e-3}, "^tolerance: is of the players' own gradients"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        solve(quadratic(), **{"solver": "alternating-gda", "steps": 1} | settings)


def test_the_hessian_of_both_losses_at_once_is_refused() -> None:
    ctx = Context(quadratic())
    assert ctx.blocks(players=("v",)).gradients.follower_loss is not None
    with pytest.raises(ArgumentError, match="^solver: asks for a Hessian of both players' loss"):
        ctx.blocks()


WEIGHT = torch.ones(2, requires_grad=True)
BAD: dict[str, tuple[Any, str]] = {
    "vector": (lambda u, v, x: v, r"^follower_loss: returned a tensor of shape \(2,\)"),
    "not a tensor": (lambda u, v, x: None, "^follower_loss: returned NoneType"),
    "not v": (
        lambda u, v, x: u.sum(),
        "^follower_loss: the loss does not depend on v at all; use the argument inside it",
    ),
    "cut": (lambda u, v, x: v.detach().sum(), "^follower_loss: the loss carries no gradient"),
    "logs": (lambda u, v, x: (v.sum(), {"a": 1.0}), "^follower_loss: returns values to be logged, as f alone may"),
    "batch": (lambda u, v, x: (x.mul_(2) * v).sum(), "^follower_loss: changes the batch in place"),
    "fails": (lambda u, v, x: v.nothing, "^follower_loss: failed on the first batch"),
    "twice": (
        lambda u, v, x: _Once.apply(v).sum() * u.sum(),
        "^follower_loss: _Once is an autograd.Function marked once",
    ),
}


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * 2


@pytest.mark.parametrize("case", BAD)
def test_a_bad_loss_is_called_by_its_name(case: str) -> None:
    loss, message = BAD[case]
    game = Game(lambda u, v, x: (u * v * x).sum(), torch.ones(2), torch.ones(2), follower_loss=loss)
    with pytest.raises(RiskError, match=message):
        solve(game, Stackelberg(), steps=1, data=[torch.ones(2)])


def test_a_loss_of_other_arguments_is_refused_as_f_is() -> None:
    game = Game(lambda u, v, x: (u * v * x).sum(), torch.ones(2), torch.ones(2), follower_loss=lambda u, v: v.sum())
    with pytest.raises(DataError, match=r"^data: were given, so that follower_loss is called with \(u, v, batch\)"):
        solve(game, "alternating-gda", steps=1, data=[torch.ones(2)])


def test_a_loss_that_reads_an_original_is_named() -> None:
    v = torch.nn.Linear(2, 1)
    game = Game(lambda u, v: v(u).sum(), torch.ones(2), v, follower_loss=lambda u, w: w(u).sum() + v(u).sum())
    with pytest.raises(ArgumentError, match=r"^follower_loss: reads the original of v\.\w+ instead of the copy"):
        solve(game, "alternating-gda", steps=1)
    assert solve(game, "alternating-gda", steps=1, inplace=True).ok
