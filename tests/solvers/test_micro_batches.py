"""Batches evaluated in parts: gradients, penalties, buffers, draws and logs, against loops written by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from minimaxopt import (
    AlternatingGDA,
    Averaged,
    Batches,
    Box,
    Checkpoint,
    Descent,
    Extragradient,
    Game,
    KBeam,
    Optimistic,
    Sensitivity,
    SimultaneousGDA,
    Solution,
    solve,
)
from minimaxopt.errors import ArgumentError, DataError, ResumeError, RiskError
from minimaxopt.game.random_streams import stream

RATE, GAMMA, PARTS, STEPS = 0.1, 0.5, 3, 7
SGD = partial(torch.optim.SGD, lr=RATE)
CLOSE = partial(torch.testing.assert_close, rtol=1e-12, atol=1e-12)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Batches of 16, 16 and 8: parts of 6, 5 and 5, and of 3, 3 and 2.
DATA = Batches((drawn(40, 4), drawn(40, seed=1)), batch_size=16, seed=3)


def leader(*, normalised: bool = False) -> nn.Module:
    torch.manual_seed(0)
    middle: list[nn.Module] = [nn.BatchNorm1d(5)] if normalised else []
    return nn.Sequential(nn.Linear(4, 5), *middle, nn.Tanh(), nn.Linear(5, 1)).double()


def follower() -> nn.Module:
    torch.manual_seed(1)
    return nn.Linear(4, 4).double()


def risk(u: nn.Module, v: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    x, y = batch
    return (u(x + v(x).tanh()).squeeze(1) - y).square().mean()


def answered(u: nn.Module, z: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
    return (u(z).squeeze(1) - batch[1]).square().mean()


def sign_answer(f: Callable[..., Tensor], u: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    x = batch[0].clone().requires_grad_()
    (slope,) = torch.autograd.grad(f(u, x, batch), x)
    return x + 0.1 * slope.sign()


def played(solver: Any, game: Game | None = None, parts: int = PARTS, **settings: Any) -> Solution:
    settings = {"data": DATA, "steps": STEPS, "u_optimizer": SGD, "v_optimizer": SGD, "micro_batches": parts} | settings
    return solve(game or Game(risk, leader(), follower()), solver, **settings)


def values(module: nn.Module) -> list[Tensor]:
    return [t.detach() for t in module.state_dict().values()]


def parts_of(batch: tuple[Tensor, Tensor]) -> Iterator[tuple[float, tuple[Tensor, Tensor]]]:
    x, y = batch
    for rows in torch.tensor_split(torch.arange(len(x)), PARTS):
        yield len(rows) / len(x), (x[rows], y[rows])


# -- gradients ---------------------------------------------------------------------------------------------------------


def by_hand(*, alternate: bool) -> tuple[nn.Module, nn.Module]:
    """Gradient descent-ascent as a loop over micro-batches, with ``backward`` adding up."""
    u, v = leader(), follower()
    moves = [[(u, 1.0)], [(v, -1.0)]] if alternate else [[(u, 1.0), (v, -1.0)]]
    for step in range(STEPS):
        for moving in moves:
            for module in (u, v):
                module.zero_grad()
            for share, part in parts_of(DATA.at(step)):
                (share * risk(u, v, part)).backward()
            with torch.no_grad():
                for module, sign in moving:
                    for parameter in module.parameters():
                        parameter -= sign * RATE * parameter.grad
    return u, v


@pytest.mark.parametrize("alternate", [False, True])
def test_gradients_are_those_of_a_loop_by_hand(alternate: bool) -> None:
    solution = played(AlternatingGDA() if alternate else SimultaneousGDA())
    u, v = by_hand(alternate=alternate)
    CLOSE(values(solution.u), values(u))
    CLOSE(values(solution.v), values(v))


def penalised_by_hand(u: nn.Module, v: nn.Module, batch: Any, gamma: float) -> tuple[list[Tensor], list[Tensor]]:
    value = risk(u, v, batch)
    g_v = torch.autograd.grad(value, list(v.parameters()), create_graph=True)
    penalty = gamma / 2 * sum(g.square().sum() for g in g_v)
    return list(torch.autograd.grad(value + penalty, list(u.parameters()))), [g.detach() for g in g_v]


@pytest.mark.parametrize("alternate", [False, True])
def test_the_penalty_is_that_of_the_whole_batch(alternate: bool) -> None:
    solution = played(Sensitivity(gamma=GAMMA, alternate=alternate))
    u, v = leader(), follower()
    for step in range(STEPS):
        g_u, g_v = penalised_by_hand(u, v, DATA.at(step), GAMMA)
        with torch.no_grad():
            for parameter, g in zip(v.parameters(), g_v, strict=True):
                parameter += RATE * g
        if alternate:
            g_u, _ = penalised_by_hand(u, v, DATA.at(step), GAMMA)
        with torch.no_grad():
            for parameter, g in zip(u.parameters(), g_u, strict=True):
                parameter -= RATE * g
    CLOSE(values(solution.u), values(u))
    CLOSE(values(solution.v), values(v))


@pytest.mark.parametrize("parts", [2, 3, 16, 50])
@pytest.mark.parametrize(
    "solver",
    [
        Sensitivity(gamma=0.0),
        Sensitivity(gamma=GAMMA, per_sample=True),
        Sensitivity(gamma="sigma"),
        Extragradient(),
        Optimistic(),
        KBeam(followers=1),
        Averaged(Sensitivity(gamma=GAMMA)),
    ],
    ids=repr,
)
def test_solvers_play_as_with_whole_batches(solver: Any, parts: int) -> None:
    whole, divided = played(solver, parts=1), played(solver, parts=parts)
    CLOSE(values(divided.u), values(whole.u))
    CLOSE(values(divided.v), values(whole.v))
    for column in whole.history.names:
        np.testing.assert_allclose(divided.history[column], whole.history[column], rtol=1e-11)


@pytest.mark.parametrize("solver", [Sensitivity(gamma=GAMMA), Sensitivity(gamma=GAMMA, projected=False)], ids=repr)
def test_a_constrained_follower(solver: Any) -> None:
    game = Game(risk, leader(), follower(), project_v=Box(-0.3, 0.3))
    CLOSE(values(played(solver, game).u), values(played(solver, game, parts=1).u))


@pytest.mark.parametrize("solver", [Descent(), Sensitivity(gamma=GAMMA), Sensitivity(gamma=0.0)], ids=repr)
def test_a_follower_that_answers_each_sample(solver: Any) -> None:
    game = Game(answered, leader(), sign_answer)
    whole, divided = (played(solver, game, parts=n, v_optimizer=None, tolerance=1e-9) for n in (1, PARTS))
    CLOSE(values(divided.u), values(whole.u))
    for column in whole.history.names:
        np.testing.assert_allclose(divided.history[column], whole.history[column], rtol=1e-11)
    assert divided.gradient_evaluations == whole.gradient_evaluations


def test_nested_batches_and_the_maximin_game() -> None:
    data = Batches({"x": [DATA.tensors[0]], "y": DATA.tensors[1]}, batch_size=16, seed=3)
    game = Game(lambda u, v, batch: risk(u, v, (batch["x"][0], batch["y"])), leader(), follower())
    solutions = [played("sensitivity", game, parts=n, data=data, order="maximin") for n in (1, PARTS)]
    CLOSE(values(solutions[1].v), values(solutions[0].v))


# -- buffers, draws, logs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.0, GAMMA])
def test_batch_normalisation_sees_each_part_by_itself(gamma: float) -> None:
    solution = played(Sensitivity(gamma=gamma), Game(risk, leader(normalised=True), follower()))
    u, v = leader(normalised=True), follower()
    for step in range(STEPS):
        before = copy.deepcopy(u.state_dict())
        g_v = [torch.zeros_like(p) for p in v.parameters()]
        for share, part in parts_of(DATA.at(step)):
            for total, g in zip(g_v, torch.autograd.grad(risk(u, v, part), list(v.parameters())), strict=True):
                total += share * g
        u.load_state_dict(before)
        g_u = [torch.zeros_like(p) for p in u.parameters()]
        for share, part in parts_of(DATA.at(step)):
            value = risk(u, v, part)
            slopes = torch.autograd.grad(value, list(v.parameters()), create_graph=True)
            along = sum((s * g).sum() for s, g in zip(slopes, g_v, strict=True))
            for total, g in zip(g_u, torch.autograd.grad(value + gamma * along, list(u.parameters())), strict=True):
                total += share * g
        with torch.no_grad():
            for module, direction, sign in ((u, g_u, -1), (v, g_v, 1)):
                for parameter, g in zip(module.parameters(), direction, strict=True):
                    parameter += sign * RATE * g
    CLOSE(values(solution.u), values(u))
    assert int(solution.u[1].num_batches_tracked) == STEPS * PARTS


def test_each_part_draws_numbers_of_its_own_in_both_passes_the_same() -> None:
    def noisy(u: nn.Module, v: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return risk(u, v, (batch[0] + torch.randn_like(batch[0]), batch[1]))

    solution = played(Sensitivity(gamma=GAMMA), Game(noisy, leader(), follower()), steps=1, seed=5)
    x, y = DATA.at(0)
    noise: list[Tensor] = []
    for part, rows in enumerate(torch.tensor_split(x, PARTS)):
        torch.manual_seed(stream(5, 0, "risk", 0, part))
        noise.append(torch.randn_like(rows))
    assert not torch.equal(noise[1], noise[2])
    u, v = leader(), follower()
    g_u, _ = penalised_by_hand(u, v, (x + torch.cat(noise), y), GAMMA)
    CLOSE(list(solution.u.parameters()), [p - RATE * g for p, g in zip(u.parameters(), g_u, strict=True)])


def test_logs_are_averaged_by_size() -> None:
    def logging(u: nn.Module, v: nn.Module, batch: tuple[Tensor, Tensor]) -> Any:
        rows = len(batch[0])
        return risk(u, v, batch), {"mean": batch[0].mean(), **({"of the largest": 1} if rows in (6, 3) else {})}

    solution = played(Sensitivity(gamma=GAMMA), Game(logging, leader(), follower()))
    expected = [float(DATA.at(step)[0].mean()) for step in range(STEPS)]
    np.testing.assert_allclose(solution.history["mean"], expected, rtol=1e-12)
    assert set(solution.history["of the largest"]) == {1.0}


def test_a_part_is_all_that_is_evaluated_at_once() -> None:
    rows: list[int] = []
    saved: list[int] = []

    def counting(u: nn.Module, v: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        rows.append(len(batch[0]))
        return risk(u, v, batch)

    def kept(tensor: Tensor) -> Tensor:
        saved.append(tensor.untyped_storage().nbytes())
        return tensor

    def largest(parts: int) -> tuple[int, int]:
        rows.clear()
        saved.clear()
        with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
            played("sensitivity", Game(counting, leader(), follower()), parts=parts, steps=2)
        return max(rows), sum(saved) // len(rows)

    assert largest(1)[0] == 16
    assert largest(4)[0] == 4
    assert largest(4)[1] < largest(1)[1]


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "solver",
    ["unrolled", "stackelberg", "follow-the-ridge", "competitive-gradient", "consensus", "k-beam", "complete-newton"],
)
def test_solvers_that_need_a_whole_graph_are_refused(solver: str) -> None:
    with pytest.raises(ArgumentError, match=f"micro_batches: '{solver}' needs the risk of a whole batch"):
        played(solver)


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"micro_batches": 0}, ArgumentError, "micro_batches: 0 is not a positive"),
        ({"micro_batches": True}, ArgumentError, "micro_batches: True is not a positive"),
        ({"data": None}, ArgumentError, "without data there is no batch"),
        ({"compile": True}, ArgumentError, "compiled steps evaluate whole batches"),
        ({"data": [(torch.ones(4, 4), 3)]}, DataError, "holds tensors alone"),
        ({"data": [(torch.ones(4, 4), torch.ones(3))]}, DataError, "one row a sample"),
        ({"data": [torch.tensor(1.0)]}, DataError, "one row a sample"),
        ({"data": [torch.ones(0, 4)]}, DataError, "one row a sample"),
    ],
)
def test_batches_that_cannot_be_divided(settings: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        played("sensitivity", **settings)


def test_halves_of_parts_are_refused() -> None:
    with pytest.raises(ArgumentError, match="split: halves each batch"):
        played(Sensitivity(split=True))


def test_a_part_that_is_changed_in_place_is_refused() -> None:
    def changing(u: nn.Module, v: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        batch[0].mul_(0.5)
        return risk(u, v, batch)

    with pytest.raises(RiskError, match="changes the batch in place"):
        played("sensitivity", Game(changing, leader(), follower()))


def test_a_risk_that_adds_up_is_refused() -> None:
    def total(u: nn.Module, v: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return len(batch[0]) * risk(u, v, batch)

    def penalised(u: nn.Module, v: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return risk(u, v, batch) + sum(p.square().sum() for p in u.parameters())

    with pytest.raises(RiskError, match="adds up over the samples"):
        played("sensitivity", Game(total, leader(), follower()))
    assert played("sensitivity", Game(total, leader(), follower()), parts=1).ok
    few = Batches(
        DATA.tensors, batch_size=9
    )  # halves of a part of three have one sample, which batch statistics refuse
    assert played("sensitivity", Game(risk, leader(normalised=True), follower()), data=few, steps=3).ok
    assert played("sensitivity", Game(penalised, leader(), follower())).ok
    assert played("sensitivity", Game(lambda u, v, b: 0 * risk(u, v, b), leader(), follower())).ok


def test_a_run_goes_on_in_as_many_parts(tmp_path: Any) -> None:
    whole = played("sensitivity")
    played("sensitivity", steps=3, callbacks=[Checkpoint(tmp_path)])
    rest = played("sensitivity", resume=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(values(whole.u), values(rest.u), strict=True))
    with pytest.raises(ResumeError, match="micro_batches 3, not 2"):
        played("sensitivity", parts=2, resume=tmp_path)
