"""Mirror steps: the update by hand, the theorem on regret, matrix games, and what is refused."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linprog
from torch import Tensor

from minimaxopt import Checkpoint, Context, Extragradient, Game, Simplex, SimultaneousGDA, solve
from minimaxopt.constraints.mirror import ExponentiatedGradient
from minimaxopt.errors import ArgumentError

EXACT = 1e-14  # float64 arithmetic on weights of sum one

weights = hnp.arrays(np.float64, 4, elements=st.floats(1e-3, 1)).map(lambda w: w / w.sum())
slopes = hnp.arrays(np.float64, 4, elements=st.floats(-5, 5))


def stepped(w: Any, g: Any, lr: float = 0.5, steps: int = 1) -> Tensor:
    """Return the weights after steps along a constant gradient."""
    moving = torch.as_tensor(w).clone().requires_grad_()
    optimizer = ExponentiatedGradient([moving], lr=lr)
    for _ in range(steps):
        moving.grad = torch.as_tensor(g, dtype=moving.dtype)
        optimizer.step()
    return moving.detach()


def test_the_update_by_hand() -> None:
    stepped_weights = stepped(torch.tensor([0.25, 0.75], dtype=torch.float64), [math.log(9), 0.0])
    assert stepped_weights.tolist() == pytest.approx([0.1, 0.9], abs=EXACT)  # 1/12 to 3/4 after the factor 1/3
    added = torch.tensor([0.25 - 0.5 * math.log(9), 0.75]).clamp_min(0)
    assert (added / added.sum()).tolist() != pytest.approx([0.1, 0.9], abs=1e-2)


@given(w=weights, g=slopes, lr=st.floats(0, 2))
def test_the_update_is_the_normalised_product(w: np.ndarray, g: np.ndarray, lr: float) -> None:
    expected = w * np.exp(-lr * g)
    assert np.abs(stepped(w, g, lr).numpy() - expected / expected.sum()).max() < EXACT


@given(w=weights, g=slopes)
def test_the_update_minimises_the_mirror_step_objective(w: np.ndarray, g: np.ndarray) -> None:
    def objective(z: np.ndarray) -> float:
        return float(0.5 * g @ z + (z * np.log(z / w)).sum())

    best = stepped(w, g).numpy()
    for i in range(4):
        other = 0.99 * best + 0.01 * np.eye(4)[i]
        assert objective(best) <= objective(other) + EXACT


@given(w=weights, g=slopes, shift=st.floats(-100, 100))
def test_shifts_orders_and_scales_do_not_matter(w: np.ndarray, g: np.ndarray, shift: float) -> None:
    stepped_weights = stepped(w, g)
    assert torch.allclose(stepped(w, g + shift), stepped_weights, rtol=0, atol=1e-12)
    order = [2, 0, 3, 1]
    assert torch.allclose(stepped(w[order], g[order]), stepped_weights[order], rtol=0, atol=EXACT)
    assert torch.allclose(stepped(3 * w, g), 3 * stepped_weights, rtol=0, atol=EXACT * 10)
    assert torch.allclose(stepped(w, g, 0.25, steps=2), stepped_weights, rtol=0, atol=EXACT * 10)
    if np.ptp(g) > 1:
        assert not torch.allclose(stepped(w, 2 * g), stepped_weights, rtol=0, atol=1e-6)


def test_each_row_keeps_its_own_sum() -> None:
    rows = torch.tensor([[1.0, 1.0, 2.0], [0.1, 0.2, 0.3]])
    stepped_rows = stepped(rows, torch.randn(2, 3, generator=torch.Generator().manual_seed(0)), steps=5000)
    assert stepped_rows.sum(-1).tolist() == pytest.approx([4, 0.6], rel=1e-6)


def test_no_gradient_is_too_large_and_weights_come_back() -> None:
    w = torch.tensor([0.5, 0.5, 0.0], requires_grad=True)
    optimizer = ExponentiatedGradient([w], lr=1.0)
    for _ in range(2):
        w.grad = torch.tensor([1e6, 0.0, -1e6])
        optimizer.step()
    assert w.tolist() == [torch.finfo(torch.float32).tiny, 1, 0]
    w.grad = torch.tensor([-200.0, 0.0, 0.0])
    optimizer.step()
    assert w.tolist() == pytest.approx([1, 0, 0])
    assert float(torch.exp(torch.tensor(1e6))) == float("inf")  # what the product form would meet


def regret(gradients: np.ndarray, lr: float, played: Any = stepped) -> float:
    """Return how much more the weights paid than the best single one."""
    w = torch.full((gradients.shape[1],), 1 / gradients.shape[1], dtype=torch.float64)
    paid = 0.0
    for g in gradients:
        paid += float(w.numpy() @ g)
        w = played(w, g, lr)
    return paid - gradients.sum(0).min()


@pytest.mark.parametrize("seed", range(3))
def test_regret_is_within_the_theorem(seed: int) -> None:
    n, steps = 10, 400
    random = np.random.default_rng(seed)
    gradients = random.uniform(-1, 1, size=(steps, n)) * np.sign(random.normal(size=n))
    gradients[:, 3] -= 0.2
    gradients = gradients.clip(-1, 1)
    lr = math.sqrt(2 * math.log(n) / steps)
    bound = math.log(n) / lr + lr * steps / 2
    assert regret(gradients, lr) <= bound
    assert regret(gradients, lr, lambda w, g, lr: stepped(w, -g, lr)) > bound


def value_of(matrix: np.ndarray) -> float:
    """Return ``min_u max_v u' A v`` over simplices, by a linear programme."""
    rows, columns = matrix.shape
    program = linprog(
        np.append(np.zeros(rows), 1),
        A_ub=np.column_stack([matrix.T, -np.ones(columns)]),
        b_ub=np.zeros(columns),
        A_eq=[np.append(np.ones(rows), 0)],
        b_eq=[1],
        bounds=[(0, None)] * rows + [(None, None)],
    )
    return float(program.fun)


def test_averaged_play_finds_the_value_of_a_matrix_game() -> None:
    matrix = np.array([[0.0, -1.0, 2.0], [1.0, 0.0, -1.0], [-2.0, 1.0, 0.5]])
    payoff = torch.from_numpy(matrix)
    game = Game(
        lambda u, v: u @ payoff @ v,
        torch.tensor([0.8, 0.1, 0.1], dtype=torch.float64),
        torch.tensor([0.1, 0.1, 0.8], dtype=torch.float64),
    )
    steps, lr = 4000, 0.03
    mirror = partial(ExponentiatedGradient, lr=lr)
    ctx = Context(game, u_optimizer=mirror, v_optimizer=mirror)
    solver = SimultaneousGDA()
    state, means = solver.init(ctx), np.zeros((2, 3))
    for _ in range(steps):
        means += np.stack([ctx.point.u["value"].detach().numpy(), ctx.point.v["value"].detach().numpy()])
        state, _ = ctx.advance(solver, state)
    u, v = means / steps
    value = value_of(matrix)
    gap = float((u @ matrix).max() - (matrix @ v).min())
    # From unequal weights log(n) is to be read as log(1 / smallest start); both players' regrets add up to the gap.
    assert 0 <= gap <= 2 * (math.log(10) / (lr * steps) + lr * 4 / 2)
    assert (matrix @ v).min() - EXACT <= value <= (u @ matrix).max() + EXACT
    assert gap < 0.05
    last = ctx.point.u["value"].detach().numpy()
    assert float((last @ matrix).max()) - value > 0.2  # the play itself goes round


def test_a_follower_ascends_in_an_ordinary_solve(tmp_path: Any) -> None:
    losses = torch.tensor([1.0, 3.0, 2.0])
    game = Game(lambda u, v: v @ (losses - u), torch.tensor(0.0), torch.full((3,), 1 / 3))
    mirror, still = partial(ExponentiatedGradient, lr=0.5), partial(torch.optim.SGD, lr=0.0)
    solution = solve(game, "simultaneous-gda", steps=20, u_optimizer=still, v_optimizer=mirror)
    expected = torch.softmax(0.5 * 20 * losses, 0)
    assert torch.allclose(solution.v, expected, rtol=0, atol=1e-6)
    solve(
        game,
        "simultaneous-gda",
        steps=10,
        u_optimizer=still,
        v_optimizer=mirror,
        callbacks=[Checkpoint(tmp_path, every=10)],
    )
    resumed = solve(
        game,
        "simultaneous-gda",
        steps=20,
        u_optimizer=still,
        v_optimizer=mirror,
        callbacks=[Checkpoint(tmp_path, every=10)],
        resume=tmp_path,
    )
    assert torch.equal(resumed.v, solution.v)


def test_schedules_closures_and_groups_work_as_for_any_optimizer() -> None:
    a, b = (torch.full((2,), 0.5, requires_grad=True) for _ in range(2))
    optimizer = ExponentiatedGradient([{"params": [a]}, {"params": [b], "lr": 0.0}], lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.0)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = a[0] + b[0]
        loss.backward()
        return loss

    assert float(optimizer.step(closure).detach()) == 1
    moved = a.detach().clone()
    assert moved.tolist() == pytest.approx([1 / (1 + math.e), math.e / (1 + math.e)])
    assert b.tolist() == [0.5, 0.5]
    schedule.step()
    optimizer.step(closure)
    assert torch.allclose(a.detach(), moved)
    a.grad = None
    optimizer.step()


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ([0.5, -0.1], r"params: has weights that are negative or not finite; give weights on a simplex"),
        ([0.5, float("nan")], r"params: has weights that are negative or not finite; give"),
        ([[0.5, 0.5], [0.0, 0.0]], r"params: has a row without a positive weight, .*; give"),
        (1.0, r"params: a 0-d tensor is not a row of weights; give"),
    ],
)
def test_starts_off_the_simplex_are_refused(start: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{message}"):
        ExponentiatedGradient([torch.tensor(start, requires_grad=True)])
    good = ExponentiatedGradient([torch.tensor([0.0, 7.0], requires_grad=True)])
    with pytest.raises(ArgumentError, match=f"^{message}"):
        good.add_param_group({"params": [torch.tensor(start, requires_grad=True)]})


@pytest.mark.parametrize("lr", [-1.0, float("nan"), float("inf")])
def test_steps_that_are_none_are_refused(lr: float) -> None:
    w = torch.full((2,), 0.5, requires_grad=True)
    with pytest.raises(ArgumentError, match=r"^lr: .* is not a step size; give"):
        ExponentiatedGradient([w], lr=lr)
    with pytest.raises(ArgumentError, match=r"^lr: .* is not a step size; give"):
        ExponentiatedGradient([{"params": [w], "lr": lr}])
    assert ExponentiatedGradient([w], lr=0).param_groups[0]["lr"] == 0


def test_weights_pushed_off_the_simplex_are_reported() -> None:
    w = torch.full((2,), 0.5, requires_grad=True)
    optimizer = ExponentiatedGradient([w])
    with torch.no_grad():
        w[0] = -0.5
    w.grad = torch.ones(2)
    optimizer.step()
    assert bool(w.isnan().any())  # which a solve reports as diverged, by name


def test_a_simplex_as_projection_leaves_mirror_steps_alone() -> None:
    """Rock, paper, scissors by simultaneous steps: weights fall below a rounding of one, and come back."""
    wins = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    mirror = partial(ExponentiatedGradient, lr=0.5)
    start = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.1, 0.2, 0.7])

    def play(**sets: Any) -> tuple[Tensor, Tensor]:
        ctx = Context(Game(lambda u, v: u @ wins @ v, *start, **sets), u_optimizer=mirror, v_optimizer=mirror)
        solver, path = SimultaneousGDA(), []
        for _ in range(1500):
            ctx.advance(solver, None)
            path.append(torch.stack([ctx.point.u["value"], ctx.point.v["value"]]).detach())
        return torch.stack(path).amin((0, 1, 2)), path[-1]

    (least, free), (_, projected) = play(), play(project_u=Simplex(), project_v=Simplex())
    assert 0 < least < 1e-9
    assert torch.equal(projected, free)
    assert float(Simplex()(free[0] + torch.tensor([0.01, 0.0, 0.0])).sum()) == pytest.approx(1)


def test_extrapolations_of_mirror_steps_stay_on_the_simplex() -> None:
    """Extragradient is mirror-prox: the step is the mirror step from the old point with the slope ahead."""
    payoff = torch.tensor([[2.0, -1.0], [-3.0, 4.0]], dtype=torch.float64)
    start = torch.tensor([0.9, 0.1], dtype=torch.float64), torch.tensor([0.4, 0.6], dtype=torch.float64)
    mirror = partial(ExponentiatedGradient, lr=0.3)
    game = Game(lambda u, v: u @ payoff @ v, *start)
    solution = solve(game, Extragradient(), steps=1, u_optimizer=mirror, v_optimizer=mirror)
    ahead = stepped(start[0], payoff @ start[1], 0.3), stepped(start[1], -payoff.T @ start[0], 0.3)
    assert torch.allclose(solution.u, stepped(start[0], payoff @ ahead[1], 0.3), rtol=0, atol=EXACT)
    assert torch.allclose(solution.v, stepped(start[1], -payoff.T @ ahead[0], 0.3), rtol=0, atol=EXACT)
    assert not torch.allclose(solution.u, stepped(start[0], payoff @ start[1], 0.3))
