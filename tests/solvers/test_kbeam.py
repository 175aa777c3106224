"""K-beam: how the followers begin, what is vectorised, and which follower leads."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from minimaxopt import AlternatingGDA, Batches, Box, Context, ExponentiatedGradient, Game, Simplex, solve
from minimaxopt.errors import ArgumentError, RiskError
from minimaxopt.solvers.kbeam import KBeam
from tests.trainings import batches, fingerprint, network_game, play, samples

EXACT = 1e-12
SGD = partial(torch.optim.SGD, lr=0.05)
BOX = Box(-0.5, 0.5)


def seesaw(u: float = 0.3, v: float = 0.1, **options: Any) -> Game:
    tensors = torch.tensor(u, dtype=torch.float64), torch.tensor(v, dtype=torch.float64)
    return Game(lambda u, v: -v * torch.sin(torch.pi * u), *tensors, **options)


def started(game: Game, solver: KBeam, seed: int = 0) -> tuple[Context, dict[str, Any]]:
    ctx = Context(game, seed=seed, u_optimizer=SGD, v_optimizer=SGD)
    return ctx, solver.init(ctx)


# -- how the followers begin -------------------------------------------------------------------------------------------


def test_followers_begin_at_random_points_of_their_set() -> None:
    ctx, state = started(seesaw(project_v=BOX), KBeam(followers=400))
    held = state["followers"]["value"]
    assert held[0] == 0.1 == ctx.point.v["value"].item()
    assert bool((held.abs() <= 0.5).all())
    # Uniform on an interval of length 1: of variance 1/12, and in every tenth of it.
    assert abs(float(held.var()) - 1 / 12) < 0.01
    assert min(torch.histc(held, 10, -0.5, 0.5)) > 20


def test_simplex_followers_are_weights() -> None:
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    game = Game(lambda u, v: (u * v).sum(), weights.clone(), weights, project_v=Simplex())
    held = started(game, KBeam(followers=20))[1]["followers"]["value"]
    torch.testing.assert_close(held.sum(-1), torch.ones(20, dtype=torch.float64))
    assert bool((held >= 0).all())
    assert len({tuple(row.tolist()) for row in held}) == 20


@pytest.mark.parametrize("projection", [None, lambda tree: tree])
def test_without_a_draw_they_begin_around_the_given_one(projection: Any) -> None:
    held = started(seesaw(project_v=projection), KBeam(followers=2000, spread=3.0))[1]["followers"]["value"]
    assert held[0] == 0.1
    assert abs(float(held[1:].mean()) - 0.1) < 0.2
    assert abs(float(held[1:].std()) - 3.0) < 0.2


def test_noise_is_projected() -> None:
    held = started(seesaw(project_v=lambda v: v.clamp(-0.5, 0.5)), KBeam(followers=50, spread=3.0))[1]["followers"]
    assert held["value"].abs().max() == 0.5


def test_the_beginning_is_the_seeds() -> None:
    def beginning(seed: int, **settings: Any) -> list[float]:
        return started(seesaw(project_v=BOX), KBeam(followers=4, **settings), seed)[1]["followers"]["value"].tolist()

    torch.manual_seed(1)
    first = beginning(0)
    torch.manual_seed(2)
    assert beginning(0) == first
    assert beginning(1)[1:] != first[1:]
    assert beginning(0, keep_given=False)[:3] == first[1:]


def test_all_drawn_moves_v_to_the_first() -> None:
    ctx, state = started(seesaw(project_v=BOX), KBeam(followers=3, keep_given=False))
    assert ctx.point.v["value"] == state["followers"]["value"][0] != 0.1
    assert ctx.point.u["value"] == 0.3


def test_a_draw_of_ones_own_on_a_nesting() -> None:
    seen: list[Any] = []

    def draw(v: Any, generator: torch.Generator) -> Any:
        seen.append({name: tuple(t.shape) for name, t in v["net"].items()})
        return {
            "bias": torch.randint(5, (), generator=generator),  # of another type
            "net": {name: torch.randn(t.shape, generator=generator) for name, t in v["net"].items()},
        }

    v = {"bias": torch.tensor(0.0), "net": nn.Linear(2, 1)}
    game = Game(lambda u, v: (v["net"](u) + v["bias"]).sum() - v["net"].weight.square().sum(), torch.ones(2), v)
    ctx, state = started(game, KBeam(followers=3, draw=draw))
    assert seen == [{"weight": (1, 2), "bias": (1,)}] * 2
    assert {name: tuple(t.shape) for name, t in state["followers"].items()} == {
        "bias": (3,),
        "net.weight": (3, 1, 2),
        "net.bias": (3, 1),
    }
    assert all(t.dtype == torch.float32 for t in state["followers"].values())
    ctx.advance(KBeam(followers=3, draw=draw), state)
    assert isinstance(solve(game, KBeam(followers=3, draw=draw), steps=2).v["net"], nn.Linear)


@pytest.mark.parametrize(
    ("draw", "reason"),
    [
        (lambda v, g: {"v": v}, "did not return the structure"),
        (lambda v, g: 3.0, "did not return the structure"),
        (lambda v, g: torch.zeros(2), r"returned shape \(2,\) for 'value' of shape \(\)"),
    ],
)
def test_draws_of_another_structure_are_refused(draw: Any, reason: str) -> None:
    with pytest.raises(ArgumentError, match=f"draw: {reason}"):
        started(seesaw(), KBeam(draw=draw))
    assert started(seesaw(), KBeam(draw=lambda v, g: torch.zeros(())))


# -- which follower leads ----------------------------------------------------------------------------------------------


def test_v_is_left_at_the_strongest() -> None:
    game, solver = seesaw(project_u=BOX, project_v=BOX), KBeam(followers=6)
    ctx, state = started(game, solver)
    for _ in range(30):
        state, _ = ctx.advance(solver, state)
        u, v = ctx.point.u["value"].detach(), ctx.point.v["value"].detach()
        risks = [float(game.f(u, w)) for w in state["followers"]["value"]]
        assert float(game.f(u, v)) == max(risks)
        assert int(state["strongest"]) == int(np.argmax(risks))


def test_a_follower_that_was_moved_from_outside_has_moved() -> None:
    solver = KBeam(followers=3)
    ctx, state = started(seesaw(), solver)
    state, _ = ctx.advance(solver, state)
    k, before = int(state["strongest"]), state["followers"]["value"].clone()
    ctx.move("v", {"value": torch.tensor(-5.0, dtype=torch.float64)})
    u = ctx.point.u["value"].item()
    state, record = ctx.advance(solver, state)
    assert record["risk"].item() == pytest.approx(float((5.0 - before[k]) * np.sin(np.pi * u)), rel=EXACT)
    assert state["followers"]["value"][k] < -4
    assert bool((state["followers"]["value"] > -4).sum() == 2)


@pytest.mark.parametrize(("followers", "found"), [(1, False), (10, True)])
def test_the_minimax_point_where_the_best_answer_jumps(followers: int, found: bool) -> None:
    """``2 v^2 - (u - v)^2`` on |u|, |v| <= 1/2: max_v is ``1/4 + |u| - u^2``, least at 0, where -1/2 and 1/2 tie."""
    u, v = torch.tensor(0.3, dtype=torch.float64), torch.tensor(0.1, dtype=torch.float64)
    game = Game(lambda u, v: 2 * v**2 - (u - v) ** 2, u, v, project_u=BOX, project_v=BOX)
    schedule = partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda i: (1 + i) ** -0.5)
    solution = solve(
        game,
        KBeam(followers=followers),
        steps=500,
        u_optimizer=partial(torch.optim.SGD, lr=0.1),
        v_optimizer=partial(torch.optim.SGD, lr=0.1),
        u_scheduler=schedule,
        v_scheduler=schedule,
    )
    assert (abs(solution.u.item()) < 0.02) is found
    leaders = solution.history["strongest"]
    assert (len(set(leaders[-50:].tolist())) == 2) is found


def test_near_equals_share_the_lead() -> None:
    """At the tie of the two ends the mean gradient vanishes, and one end alone drives the leader away."""
    u = torch.tensor(0.0, dtype=torch.float64)
    starts = iter([0.5, -0.5, 0.5, -0.5])
    game = Game(lambda u, v: 2 * v**2 - (u - v) ** 2, u, u.clone(), project_u=BOX, project_v=BOX)

    def first_move(epsilon: float) -> float:
        solver = KBeam(
            followers=2, epsilon=epsilon, keep_given=False, draw=lambda v, g: torch.full_like(v, next(starts))
        )
        return solve(game, solver, steps=1, u_optimizer=SGD, v_optimizer=SGD).u.item()

    assert first_move(1e-6) == 0.0
    assert abs(first_move(0.0)) == pytest.approx(0.05, rel=EXACT)


def test_what_a_step_counts() -> None:
    options: dict[str, Any] = {"steps": 7, "u_optimizer": SGD, "v_optimizer": SGD}
    assert solve(seesaw(), KBeam(followers=4, ascent_steps=3), **options).gradient_evaluations == 7 * (1 + 4 * 3)
    assert solve(seesaw(), KBeam(followers=4, epsilon=1.0), **options).gradient_evaluations == 7 * (4 + 4)


def test_later_ascents_may_have_batches_of_their_own() -> None:
    zero, one = torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    game = Game(lambda u, v, batch: batch * u * v, one, zero)
    weights = [torch.tensor(w) for w in (1.0, 3.0, 5.0)]
    ends = [
        solve(
            game,
            KBeam(followers=2, ascent_steps=3, draw=lambda v, g: v - 1.0),
            steps=1,
            data=weights,
            ascent_batches=mode,
            u_optimizer=SGD,
            v_optimizer=partial(torch.optim.SGD, lr=0.1),
        ).v.item()
        for mode in ("same", "fresh")
    ]
    # Against v = 0, the stronger of 0 and -1, the leader stays at 1.
    assert ends == pytest.approx([0.3, 0.1 + 0.3 + 0.5], rel=EXACT)


def test_the_maximin_game_is_played_with_several_leaders_of_the_other_side() -> None:
    u, v = torch.tensor(0.3, dtype=torch.float64), torch.tensor(0.1, dtype=torch.float64)
    game = Game(lambda u, v: (u - v) ** 2 - 2 * u**2, u, v, project_u=BOX, project_v=BOX)
    solution = solve(game, KBeam(followers=10), steps=500, order="maximin", u_optimizer=SGD, v_optimizer=SGD)
    assert abs(solution.v.item()) < 0.1
    assert abs(solution.u.item()) == 0.5
    assert solution.history["risk"][-1] == pytest.approx(-0.25, abs=0.1)


# -- vectorised or one by one ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"epsilon": 0.05}, {"ascent_steps": 2}], ids=repr)
def test_one_pass_equals_one_after_the_other(changes: dict[str, Any]) -> None:
    """On networks with batch statistics and dropout, their buffers included."""
    single, (x, y) = network_game(), samples()
    game, data = Game(single.f, single.u.double(), single.v.double()), Batches((x.double(), y), batch_size=8, seed=3)
    momentum = partial(torch.optim.SGD, lr=0.05, momentum=0.5)
    ends = [
        solve(
            game,
            KBeam(followers=3, vectorise=vectorise, **changes),
            steps=12,
            data=data,
            ascent_batches="fresh",
            u_optimizer=momentum,
            v_optimizer=momentum,
        )
        for vectorise in (True, False)
    ]
    for player in ("u", "v"):
        one, other = (getattr(end, player).state_dict() for end in ends)
        assert one.keys() == other.keys()
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=1e-11, atol=1e-11)
    assert ends[0].history["strongest"].tolist() == ends[1].history["strongest"].tolist()
    assert len(set(ends[0].history["strongest"].tolist())) > 1
    assert ends[0].u.features[1].num_batches_tracked == 12


def test_one_follower_is_alternation_to_the_bit() -> None:
    one, other = (play("sgd", steps=20, solver=solver) for solver in (KBeam(followers=1), AlternatingGDA()))
    for player in ("u", "v"):
        for a, b in zip(
            getattr(one, player).state_dict().values(), getattr(other, player).state_dict().values(), strict=True
        ):
            assert torch.equal(a, b)
    for column in ("risk", "sensitivity"):
        assert one.history[column].tolist() == other.history[column].tolist()
    assert one.gradient_evaluations == other.gradient_evaluations


def test_followers_of_a_network_share_the_dropout_of_a_step() -> None:
    """Equal followers have equal risks, however they are evaluated."""
    for vectorise in (True, False):
        solver = KBeam(followers=3, draw=lambda v, g: v, vectorise=vectorise)
        ctx = Context(network_game(), data=batches(), u_optimizer=SGD, v_optimizer=SGD)
        state = solver.init(ctx)
        for _ in range(3):
            state, _ = ctx.advance(solver, state)
        for held in state["followers"].values():
            for a, b in pairwise(held):
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_risk_that_cannot_be_vectorised() -> None:
    def risk(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return u * v if float(v.detach()) > 0 else u * v / 2

    game = Game(risk, torch.tensor(1.0), torch.tensor(0.5))
    with pytest.raises(RiskError, match=r"f: cannot be vectorised over followers .*; give KBeam\(vectorise=False\)"):
        solve(game, KBeam(vectorise=True), steps=3)
    default, apart = (solve(game, KBeam(vectorise=how), steps=3) for how in (None, False))
    assert torch.equal(default.v, apart.v)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_a_risk_may_take_gradients_of_its_own(epsilon: float) -> None:
    """As a penalty on a critic's slope does, which has to work wherever the followers are only compared."""

    def penalized_gradient(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        x = torch.ones((), dtype=u.dtype, requires_grad=True)
        (slope,) = torch.autograd.grad(u * v * x**2, x, create_graph=True)
        return u * v - slope**2

    def closed(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return u * v - (2 * u * v) ** 2

    solver = KBeam(followers=3, epsilon=epsilon, vectorise=False)
    point = torch.tensor(0.7, dtype=torch.float64), torch.tensor(0.1, dtype=torch.float64)
    one, other = (
        solve(Game(f, *point), solver, steps=20, u_optimizer=SGD, v_optimizer=SGD) for f in (penalized_gradient, closed)
    )
    torch.testing.assert_close((one.u, one.v), (other.u, other.v), rtol=1e-12, atol=1e-12)


def test_noise_does_not_leave_the_simplex_of_mirror_steps() -> None:
    weights, mirror = torch.full((3,), 1 / 3), partial(ExponentiatedGradient, lr=0.1)
    for sets, solver in (({}, KBeam(draw=Simplex().draw)), ({"project_v": Simplex()}, KBeam()), ({}, KBeam(1))):
        game = Game(lambda u, v: u @ v, weights, weights.clone(), **sets)
        found = solve(game, solver, steps=5, u_optimizer=mirror, v_optimizer=mirror)
        assert found.ok
        assert float(found.v.sum()) == pytest.approx(1)
    with pytest.raises(ArgumentError, match=r"^draw: .* leaves the simplex .*; give the game project_v=Simplex\(\)"):
        solve(Game(lambda u, v: u @ v, weights, weights.clone()), KBeam(), steps=5, v_optimizer=mirror)


def test_an_error_of_the_risk_itself_stays_what_it_is() -> None:
    calls = []

    def risk(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) > 3:
            raise RuntimeError("out of patience")
        return u * v

    with pytest.raises(RuntimeError, match="out of patience"):
        solve(Game(risk, torch.tensor(1.0), torch.tensor(0.5)), KBeam(), steps=3)


def test_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    play("sgd", steps=2, solver=KBeam(followers=2))
    assert torch.equal(torch.get_rng_state(), before)
    assert fingerprint(play("sgd", steps=2, solver=KBeam(followers=2), data=[samples(8)])) != fingerprint(
        play("sgd", steps=2, solver=KBeam(followers=2), data=[samples(8)], seed=6)
    )
