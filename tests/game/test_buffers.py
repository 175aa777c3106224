"""Buffers and random draws are values of the step: replayed within it, committed once."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from minimaxopt import (
    AlternatingGDA,
    Ascent,
    Batches,
    Context,
    Descent,
    Game,
    Sensitivity,
    SimultaneousGDA,
    Unrolled,
    solve,
)
from minimaxopt.game.functional import Functional
from minimaxopt.game.played_game import PlayedGame
from tests.derivatives import in_double

_double = pytest.fixture(in_double, autouse=True)
SGD = partial(torch.optim.SGD, lr=0.1)
ROUNDING = 1e-12  # float64; a step made in another order of operations


# -- buffers ----------------------------------------------------------------------------------------------------------


def normalised() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def statistics(net: nn.Module) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in net.named_buffers()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


DATA = Batches((torch.randn(24, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)),), 8)


def shifted(u: Any, v: Any, batch: Any) -> Tensor:
    return u(batch[0] + v).square().mean()


ORDINARY = [Descent(), SimultaneousGDA(), AlternatingGDA(), Sensitivity(0.5), Sensitivity(0.0)]


@pytest.mark.parametrize("solver", ORDINARY, ids=repr)
def test_running_statistics_are_those_of_ordinary_training(solver: Any) -> None:
    net, shift = normalised(), torch.zeros(3)
    solution = solve(Game(shifted, net, shift), solver, data=DATA, steps=1, u_optimizer=SGD, v_optimizer=SGD)
    net(DATA.at(0)[0] + shift)  # the one forward pass of an ordinary step
    assert equal(statistics(solution.u), statistics(net))
    assert solution.u[1].num_batches_tracked == 1


@pytest.mark.parametrize("solver", [*ORDINARY, Unrolled(3, 0.1), AlternatingGDA(first="v", ascent_steps=3)], ids=repr)
def test_statistics_are_committed_once_a_step(solver: Any) -> None:
    solution = solve(
        Game(shifted, normalised(), torch.zeros(3)), solver, data=DATA, steps=4, u_optimizer=SGD, v_optimizer=SGD
    )
    assert solution.u[1].num_batches_tracked == 4


def test_descent_with_batch_norm_is_ordinary_training() -> None:
    net = normalised()
    solution = solve(Game(shifted, net, torch.zeros(3)), Descent(), data=DATA, steps=7, u_optimizer=SGD)
    by_hand = torch.optim.SGD(net.parameters(), lr=0.1)
    for i in range(7):
        by_hand.zero_grad()
        net(DATA.at(i)[0]).square().mean().backward()
        by_hand.step()
    for name, value in net.state_dict().items():
        assert torch.allclose(solution.u.state_dict()[name], value, rtol=0, atol=ROUNDING), name


def test_the_committed_statistics_are_those_of_the_leaders_last_evaluation() -> None:
    # With the follower first, the leader sees the follower's new point, and so do the statistics.
    net, shift = normalised(), torch.zeros(3)
    solution = solve(
        Game(shifted, net, shift), AlternatingGDA(first="v"), data=DATA, steps=1, u_optimizer=SGD, v_optimizer=SGD
    )
    net(DATA.at(0)[0] + solution.v)
    assert equal(statistics(solution.u), statistics(net))


def test_a_frozen_players_statistics_do_not_move() -> None:
    leader, follower = normalised(), nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))

    def risk(u: Any, v: Any, batch: Any) -> Tensor:
        return u(v(batch[0])).square().mean()

    for solver in (Ascent(), Descent()):
        solution = solve(Game(risk, leader, follower), solver, data=DATA, steps=3, u_optimizer=SGD, v_optimizer=SGD)
        moves_u = isinstance(solver, Descent)
        assert equal(statistics(solution.u), statistics(leader)) != moves_u
        assert equal(statistics(solution.v), statistics(follower)) == moves_u


def test_a_response_commits_nothing() -> None:
    net = normalised()

    def respond(risk: Any, u: Any, batch: Any) -> Tensor:
        for _ in range(3):
            z = torch.zeros(3, requires_grad=True)
            (slope,) = torch.autograd.grad(risk(u, z, batch), z)
        return 0.1 * slope.sign()

    for solver in (Descent(), Sensitivity(0.5)):
        solution = solve(Game(shifted, net, respond), solver, data=DATA, steps=2, u_optimizer=SGD)
        assert solution.u[1].num_batches_tracked == 2


def test_a_response_sees_the_leader_detached_and_comes_back_detached() -> None:
    net = normalised()
    seen: list[bool] = []

    def respond(risk: Any, u: Any, batch: Any) -> Any:
        seen.append(any(p.requires_grad for p in u.parameters()))
        z = torch.zeros(3, requires_grad=True)
        return {"z": z * 2, "parts": [z + 1]}

    ctx = Context(Game(lambda u, v, b: shifted(u, v["z"] + v["parts"][0], b), net, respond), players=("u",), data=DATA)
    ctx.batch = ctx.source.take()
    answer, risk = ctx.respond()
    assert seen == [False]
    assert set(answer) == {"z", "parts.0"}
    assert not any(t.requires_grad for t in answer.values())
    assert risk(ctx.point.u, answer).requires_grad


def test_evaluating_touches_no_given_buffer() -> None:
    played = PlayedGame(Game(shifted, normalised(), torch.zeros(3)))
    functional = Functional(played)
    opening = functional.buffers_of(played.start)
    before = {name: t.clone() for name, t in opening["u"].items()}
    point = played.parameters
    _, once = functional.evaluate(point["u"], point["v"], (DATA.at(0),), opening)
    _, twice = functional.evaluate(point["u"], point["v"], (DATA.at(0),), opening)
    assert equal(opening["u"], before)
    assert equal(once["u"], twice["u"])
    assert not equal(once["u"], before)


def test_buffers_that_are_assigned_are_values_too() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(3))
            self.register_buffer("mean", torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            self.mean = 0.5 * self.mean + 0.5 * (x * self.w).mean(0)  # carries a graph, as a careless module's does
            return x * self.w - self.mean

    net = Counts()
    solution = solve(Game(lambda u, v, b: u(b[0]).square().mean(), net, None), Descent(), data=DATA, steps=2)
    assert torch.equal(net.mean, torch.zeros(3))
    assert not torch.equal(solution.u.mean, net.mean)
    assert not solution.u.mean.requires_grad


# -- randomness -------------------------------------------------------------------------------------------------------


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(64))

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.functional.dropout(torch.ones(64))
        MASKS.append(mask)
        return x * self.w * mask


MASKS: list[Tensor] = []


def masks_of(solver: Any, *, steps: int, seed: int = 0, ascent_batches: Any = "same") -> list[Tensor]:
    MASKS.clear()
    ctx = Context(
        Game(lambda u, v: (u(v) ** 2).sum(), Masked(), torch.ones(64)),
        seed=seed,
        u_optimizer=SGD,
        v_optimizer=SGD,
        players=solver.players,
        ascent_batches=ascent_batches,
    )
    state = solver.init(ctx)
    for _ in range(steps):
        state, _ = ctx.advance(solver, state)
    return list(MASKS)


def test_one_substep_sees_one_draw_and_other_steps_and_seeds_others() -> None:
    a, b, c, d = masks_of(AlternatingGDA(), steps=2)
    assert torch.equal(a, b)
    assert torch.equal(c, d)
    assert not torch.equal(a, c)
    assert torch.equal(masks_of(AlternatingGDA(), steps=1)[0], a)
    assert not torch.equal(masks_of(AlternatingGDA(), steps=1, seed=1)[0], a)


def test_ascent_steps_replay_the_draw_or_take_fresh_ones() -> None:
    same = masks_of(AlternatingGDA(ascent_steps=3), steps=1)
    fresh = masks_of(AlternatingGDA(ascent_steps=3), steps=1, ascent_batches="fresh")
    assert all(torch.equal(mask, same[0]) for mask in same)
    assert [torch.equal(mask, fresh[0]) for mask in fresh] == [True, True, False, False]


def test_a_response_has_a_stream_of_its_own() -> None:
    MASKS.clear()

    def respond(risk: Any, u: Any) -> Tensor:
        u(torch.ones(64))
        return torch.ones(64)

    solve(Game(lambda u, v: u(v).sum(), Masked(), respond), Descent(), steps=1, u_optimizer=SGD)
    responses, evaluations = MASKS[::2], MASKS[1::2]
    assert all(torch.equal(mask, responses[0]) for mask in responses)
    assert all(torch.equal(mask, evaluations[0]) for mask in evaluations)
    assert not torch.equal(responses[0], evaluations[0])


def test_a_solve_leaves_the_global_state_as_found_also_after_an_exception() -> None:
    calls: list[int] = []

    def failing(u: Tensor, v: Tensor) -> Tensor:
        calls.append(0)
        if len(calls) > 5:
            raise ZeroDivisionError
        return nn.functional.dropout(u * v).sum()

    before = torch.get_rng_state()
    game = Game(failing, torch.ones(3), torch.ones(3))
    assert solve(game, Descent(), steps=2).steps == 2
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ZeroDivisionError):
        solve(game, Descent(), steps=20)
    assert torch.equal(torch.get_rng_state(), before)
