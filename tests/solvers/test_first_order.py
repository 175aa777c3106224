"""The first-order solvers: their steps by hand, their known rates, and what should diverge."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from minimaxopt import AlternatingGDA, Box, Context, Game, SimultaneousGDA, solve
from minimaxopt.solvers.best_response import BestResponse
from minimaxopt.solvers.extragradient import AnchoredExtragradient, Extragradient, Optimistic, PastExtragradient
from minimaxopt.solvers.gda import TwoTimescale
from minimaxopt.solvers.momentum import NegativeMomentum
from minimaxopt.solvers.smoothed import SmoothedGDA
from minimaxopt.solvers.wrappers import Lookahead
from tests.solvers import hand
from tests.solvers.first_order import ROWS
from tests.solvers.test_table import EXACT, play


def test_the_rows_tell_settings_apart() -> None:
    """Rows whose steps are different functions end at different points, with Adam on the quadratic game."""
    ends: dict[tuple[float, ...], str] = {}
    same = {"optimistic, 0", "two timescales, ratio 1", "negative momentum, beta 0", "smoothed, p 0", "k-beam 1"}
    same |= {"lookahead, period 1", "averaged, no memory", "k-beam 4, one by one"}
    for name, solver, _ in ROWS:
        if name not in same:
            u, v = play(hand.games()[0], solver, torch.optim.Adam)
            end = tuple(np.round([*u, *v], 9))
            assert end not in ends, f"{name} ends where {ends[end]} does"
            ends[end] = name


def test_the_rows_take_every_branch() -> None:
    solvers = {name: solver for name, solver, _ in ROWS}
    game = hand.games()[0]

    def column(row: str, name: str) -> set[float]:
        tensors = torch.from_numpy(game.u0), torch.from_numpy(game.v0)
        sgd = partial(torch.optim.SGD, lr=0.03)
        solution = solve(Game(game.f, *tensors), solvers[row], steps=60, u_optimizer=sgd, v_optimizer=sgd)
        return set(solution.history[name].tolist())

    assert {0.0, 1.0, 20.0} <= column("best response, tolerance", "ascents")
    assert column("best response, 3 ascents", "ascents") == {3.0}
    assert len(column("k-beam 4", "strongest")) > 1
    assert len(column("k-beam 3, near the strongest", "strongest")) > 1


# -- rates -------------------------------------------------------------------------------------------------------------


def xy(u: float = 1.0, v: float = 0.5, **projections: Any) -> Game:
    tensors = torch.tensor(u, dtype=torch.float64), torch.tensor(v, dtype=torch.float64)
    return Game(lambda u, v: u * v, *tensors, **projections)


def run(game: Game, solver: Any, eta: float, steps: int, **options: Any) -> Any:
    sgd = partial(torch.optim.SGD, lr=eta)
    return solve(game, solver, steps=steps, u_optimizer=sgd, v_optimizer=sgd, **options)


def length(solution: Any) -> float:
    return float(torch.hypot(solution.u, solution.v))


@pytest.mark.parametrize("eta", [0.01, 0.3, 0.9, 1.2])
def test_extragradients_factor_on_xy(eta: float) -> None:
    factor = abs(1 - eta**2 + 1j * eta)
    assert (factor < 1) is (eta < 1)
    expected = np.hypot(1.0, 0.5) * factor**40
    assert length(run(xy(), Extragradient(), eta, 40)) == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize(("eta", "circles"), [(0.5, True), (1.99, True), (2.0, False), (2.01, False)])
def test_alternation_circles_below_a_rate_of_two(eta: float, circles: bool) -> None:
    farthest = max(length(run(xy(), AlternatingGDA(), eta, steps)) for steps in (399, 400))
    assert (farthest < 50) is circles


@pytest.mark.parametrize("eta", [0.1, 0.5, 0.6])
def test_optimistic_steps_on_xy(eta: float) -> None:
    """The complex number u - i v is multiplied by the recursion z_{i+1} = (1 - 2 i eta) z_i + i eta z_{i-1}, in which
    the first step is the plain one."""
    z = [1.0 - 0.5j, (1.0 - 0.5j) * (1 - 1j * eta)]
    first = run(xy(), Optimistic(), eta, 1)
    assert complex(first.u, -first.v) == pytest.approx(z[1], rel=EXACT)
    while len(z) <= 200:
        z.append((1 - 2j * eta) * z[-1] + 1j * eta * z[-2])
    last = run(xy(), Optimistic(), eta, 200)
    assert abs(complex(last.u, -last.v) - z[200]) <= 1e-10 * max(1.0, abs(z[200]))
    # The limit of the step size is 1 / sqrt(3).
    assert (abs(z[200]) < 0.5) is (eta < 3**-0.5)


def test_the_points_ahead_of_past_extragradient_are_optimistic() -> None:
    eta = 0.3
    path = [run(xy(), PastExtragradient(), eta, i) for i in range(12)]
    z = [complex(p.u, -p.v) for p in path]
    # F is linear, hence the points ahead follow from the moves: z_{i+1} = z_i - i eta z'_i.
    ahead = [(b - a) / (-1j * eta) for a, b in pairwise(z)]
    assert ahead[0] == pytest.approx(z[0], rel=EXACT)
    for i in range(1, len(ahead) - 1):
        expected = (1 - 2j * eta) * ahead[i] + 1j * eta * ahead[i - 1]
        assert ahead[i + 1] == pytest.approx(expected, rel=1e-10)
    # From the first to the second they do not: there the missing gradient counts as zero.
    assert abs(ahead[1] - (1 - 1j * eta) * ahead[0]) > 0.1


@pytest.mark.parametrize("solver", [Optimistic(), PastExtragradient()], ids=lambda s: s.name)
def test_the_first_step_is_a_plain_step(solver: Any) -> None:
    """Also with Adam: neither a double step, nor moments that took in the gradient twice."""
    adam = partial(torch.optim.Adam, lr=0.1)
    one, plain = (solve(xy(), s, steps=1, u_optimizer=adam, v_optimizer=adam) for s in (solver, SimultaneousGDA()))
    assert one.u.item() == pytest.approx(plain.u.item(), rel=EXACT)
    assert one.v.item() == pytest.approx(plain.v.item(), rel=EXACT)


@pytest.mark.parametrize(
    ("solver", "counts"),
    [
        (Extragradient(), [2, 4, 6]),
        (Extragradient(moments="step"), [1, 2, 3]),
        (PastExtragradient(), [1, 3, 5]),
        (PastExtragradient(moments="step"), [1, 2, 3]),
        (AnchoredExtragradient(), [2, 4, 6]),
        (AnchoredExtragradient(moments="step"), [1, 2, 3]),
        (Optimistic(), [1, 2, 3]),
    ],
    ids=repr,
)
def test_how_often_the_moments_advance(solver: Any, counts: list[int]) -> None:
    adam = partial(torch.optim.Adam, lr=0.1)
    ctx = Context(xy(), u_optimizer=adam, v_optimizer=adam)
    state, found = solver.init(ctx), []
    for _ in counts:
        state, _ = ctx.advance(solver, state)
        found.append([int(next(iter(m.optimizer.state.values()))["step"]) for m in ctx.optimizers.values()])
    assert found == [[n, n] for n in counts]


CONVERGENT = [
    (Extragradient(), 0.5, 400),
    (Extragradient(stretch=2.0), 0.2, 600),
    (PastExtragradient(), 0.3, 600),
    (Optimistic(), 0.3, 600),
    (NegativeMomentum(), 0.9, 600),
    (SmoothedGDA(p=1.0, beta=0.1), 0.3, 3000),
    (Lookahead(SimultaneousGDA(), period=5), 0.3, 1000),
    (Lookahead("alternating-gda", period=5), 0.3, 600),
]
DIVERGENT = [
    (SimultaneousGDA(), 0.3, 600),
    (TwoTimescale(ratio=4.0), 0.3, 600),
    (NegativeMomentum(alternate=False), 0.3, 600),
    (Optimistic(strength=0.0), 0.3, 600),
    (Optimistic(), 0.65, 600),
    (Extragradient(), 1.1, 600),
]


def bilinear_norm(solver: Any, eta: float, steps: int) -> tuple[float, float]:
    """The gradient's norm at the start and at the end, on ``u B v`` with singular values of 1 and 0.6."""
    turn = [torch.linalg.qr(torch.tensor(a, dtype=torch.float64)).Q for a in ([[1.0, 2], [3, 4]], [[2.0, 1], [-1, 3]])]
    B = turn[0] @ torch.tensor([1.0, 0.6], dtype=torch.float64).diag() @ turn[1]
    u, v = torch.tensor([1.0, -0.5], dtype=torch.float64), torch.tensor([0.3, 0.8], dtype=torch.float64)
    solution = run(Game(lambda u, v: u @ B @ v, u, v), solver, eta, steps)

    def norm(u: torch.Tensor, v: torch.Tensor) -> float:
        return float(torch.cat([B @ v, B.T @ u]).norm())

    return norm(u, v), norm(solution.u, solution.v)


@pytest.mark.parametrize(("solver", "eta", "steps"), CONVERGENT, ids=repr)
def test_who_converges_on_a_bilinear_game(solver: Any, eta: float, steps: int) -> None:
    before, after = bilinear_norm(solver, eta, steps)
    assert after < 1e-4 * before


@pytest.mark.parametrize(("solver", "eta", "steps"), DIVERGENT, ids=repr)
def test_who_diverges_on_a_bilinear_game(solver: Any, eta: float, steps: int) -> None:
    before, after = bilinear_norm(solver, eta, steps)
    assert after > 10 * before


def test_the_anchored_rate() -> None:
    """``||F(x_k)||^2 <= 260 L^2 ||x_0 - x*||^2 / (k + 1)^2`` for step sizes of ``1 / (8 L)``; here ``L = 1``."""

    def excess(solver: Any, k: int) -> float:
        return length(run(xy(), solver, 1 / 8, k)) ** 2 * (k + 1) ** 2 / (260 * (1.0 + 0.25))

    for k in (1, 10, 100, 1000):
        assert excess(AnchoredExtragradient(), k) <= 1
    assert excess(AnchoredExtragradient(), 1000) > 1e-3  # the bound is near the truth
    assert excess(SimultaneousGDA(), 1000) > 1


def test_best_responses_descend_the_worst_case() -> None:
    """On ``a u^2/2 + b u v - c v^2/2`` with exact answers ``v = b u / c``: ``u <- (1 - lambda (a + b^2 / c)) u``."""
    a, b, c = -1.0, 2.0, 0.5
    one = torch.tensor(1.0, dtype=torch.float64)
    game = Game(lambda u, v: a * u**2 / 2 + b * u * v - c * v**2 / 2, one, one.clone())
    factor = 1 - 0.05 * (a + b**2 / c)
    exact = run(game, BestResponse(ascent_steps=10_000, tolerance=1e-12), 0.05, 10)
    assert exact.u.item() == pytest.approx(factor**10, rel=1e-9)
    ascents = exact.history["ascents"]
    assert 0 < ascents.min() <= ascents.max() < 10_000
    assert exact.gradient_evaluations == ascents.sum() + 2 * 10
    hasty = run(game, BestResponse(ascent_steps=1), 0.05, 10)
    assert hasty.u.item() > 3 * factor**10


@pytest.mark.parametrize(("ratio", "converges"), [(2.5, False), (3.5, True)])
def test_a_slow_leader_finds_the_minimax_point(ratio: float, converges: bool) -> None:
    """On ``-3 u^2 - v^2 + 4 u v`` the flow of gradient descent-ascent has trace ``6 / ratio - 2``."""
    one = torch.tensor(1.0, dtype=torch.float64)
    game = Game(lambda u, v: -3 * u**2 - v**2 + 4 * u * v, one, one.clone())
    assert (length(run(game, TwoTimescale(ratio=ratio), 0.05, 1500)) < 1e-3) is converges


# -- projections, batches ----------------------------------------------------------------------------------------------


def ends(solution: Any) -> list[float]:
    return [solution.u.item(), solution.v.item()]


def test_points_ahead_are_projected() -> None:
    """From (1, 0.9) the extrapolation by 1/2 leads to (0.55, 1.4), which the set takes back to (0.55, 1)."""
    game = xy(1.0, 0.9, project_v=Box(-1, 1))
    assert ends(run(game, Extragradient(), 0.5, 1)) == pytest.approx([1 - 0.5 * 1.0, 1.0], rel=EXACT)
    assert ends(run(game, AnchoredExtragradient(), 0.5, 1)) == pytest.approx([0.5, 1.0], rel=EXACT)
    # The second step of past extragradient begins at (0.55, 1) with the gradients of (1, 0.9).
    ahead = (0.55 - 0.45, 1.0)
    expected = [0.55 - 0.5 * ahead[1], min(1.0, 1.0 + 0.5 * ahead[0])]
    assert ends(run(game, PastExtragradient(), 0.5, 2)) == pytest.approx(expected, rel=EXACT)
    free = xy(1.0, 0.9)
    assert ends(run(free, Extragradient(), 0.5, 1)) == pytest.approx([1 - 0.5 * 1.4, 0.9 + 0.5 * 0.55], rel=EXACT)


def test_optimistic_steps_are_projected_and_remember_what_was_proposed() -> None:
    game = xy(1.0, 0.9, project_v=Box(-1, 1))
    # (0.55, 1), then d = (-0.5, 0.275) after d = (-0.45, 0.5): v - 1 moves by 0.05, less than d.
    expected = [0.55 - 2 * 0.5 + 0.45, min(1.0, 1.0 + 2 * 0.275 - 0.5)]
    assert ends(run(game, Optimistic(), 0.5, 2)) == pytest.approx(expected, rel=EXACT)


def test_negative_momentum_takes_back_what_was_really_moved() -> None:
    def path(*, projected: bool) -> list[float]:
        u, v, moved_u, moved_v = 1.0, 0.9, 0.0, 0.0
        for _ in range(4):
            moved_u = -0.5 * v - 0.9 * moved_u
            u += moved_u
            wish = 0.5 * u - 0.9 * moved_v
            there = min(1.0, v + wish)
            moved_v, v = (there - v if projected else wish), there
        return [u, v]

    solution = run(xy(1.0, 0.9, project_v=Box(-1, 1)), NegativeMomentum(beta=-0.9), 0.5, 4)
    assert ends(solution) == pytest.approx(path(projected=True), rel=EXACT)
    assert abs(path(projected=True)[1] - path(projected=False)[1]) > 0.03


def test_the_residual_of_a_best_response_is_projected() -> None:
    """At the end of the interval nothing remains to be gained, however steep the risk is there."""
    game = xy(1.0, 1.0, project_v=Box(-1, 1))
    stopped = run(game, BestResponse(ascent_steps=5, tolerance=1e-9), 0.5, 1)
    assert stopped.history["ascents"].tolist() == [0.0]
    assert run(xy(1.0, 1.0), BestResponse(ascent_steps=5, tolerance=1e-9), 0.5, 1).history["ascents"].tolist() == [5.0]


@pytest.mark.parametrize("solver", [Extragradient(), AnchoredExtragradient()], ids=lambda s: s.name)
def test_the_second_gradients_may_have_a_batch_of_their_own(solver: Any) -> None:
    one = torch.tensor(1.0, dtype=torch.float64)
    game = Game(lambda u, v, batch: batch * u * v, one, one.clone())
    weights = [torch.tensor(1.0), torch.tensor(3.0)]
    same, fresh = (run(game, solver, 0.1, 1, data=weights, ascent_batches=mode) for mode in ("same", "fresh"))
    ahead = (0.9, 1.1)
    assert ends(same) == pytest.approx([1 - 0.1 * ahead[1], 1 + 0.1 * ahead[0]], rel=EXACT)
    assert ends(fresh) == pytest.approx([1 - 0.3 * ahead[1], 1 + 0.3 * ahead[0]], rel=EXACT)


def test_best_responses_may_ascend_on_fresh_batches() -> None:
    zero, one = torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    game = Game(lambda u, v, batch: batch * u * v, one, zero)
    weights = [torch.tensor(w) for w in (1.0, 3.0, 5.0)]
    solver = BestResponse(ascent_steps=3)
    assert run(game, solver, 0.1, 1, data=weights, ascent_batches="fresh").v.item() == pytest.approx(0.9, rel=EXACT)
    assert run(game, solver, 0.1, 1, data=weights).v.item() == pytest.approx(0.3, rel=EXACT)
