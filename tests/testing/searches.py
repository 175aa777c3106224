"""Values of a game, found as far as can be without its claims: by grids, by searches from many starts, by SciPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import optree
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares, minimize
from torch import Tensor

from minimaxopt import Box, Simplex
from minimaxopt.testing import KnownGame
from minimaxopt.testing.games.known_game import flat

Array = NDArray[np.float64]
Tree = Any

INFINITE = 1e5


def planar(game: KnownGame) -> bool:
    return game.dimensions == (1, 1)


def shaped(x: Tensor, like: Tree) -> Tree:
    leaves, spec = optree.tree_flatten(like)
    parts = x.split([leaf.numel() for leaf in leaves])
    return optree.tree_unflatten(spec, [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)])


def derivatives(game: KnownGame, u: Tree, v: Tree) -> tuple[Array, Array]:
    """Return the gradient and the Hessian in all values, the Hessian by central differences of gradients."""
    m = flat(u).numel()
    x = torch.cat([flat(u), flat(v)])

    def gradient(x: Tensor) -> Array:
        x = x.clone().requires_grad_()
        (grad,) = torch.autograd.grad(game.f(shaped(x[:m], u), shaped(x[m:], v)), x)
        return grad.numpy()

    step = 1e-5
    columns = [(gradient(x + step * e) - gradient(x - step * e)) / (2 * step) for e in torch.eye(len(x)).double()]
    H = np.array(columns)
    return gradient(x), (H + H.T) / 2


# -- searches ----------------------------------------------------------------------------------------------------------


def climb(
    value: Callable[[Tree], Tensor], start: Tree, project: Callable[[Tree], Tree] | None, steps: int = 300
) -> Tree:
    """Maximise by projected gradient steps of adapted length."""
    x: Tree = optree.tree_map(lambda t: t.detach().clone(), start)
    x = x if project is None else project(x)
    best, size, idle = float(value(x)), 1.0, 0
    for _ in range(steps):
        tracked = optree.tree_map(lambda t: t.detach().requires_grad_(), x)
        leaves = optree.tree_leaves(tracked)
        grads = torch.autograd.grad(value(tracked), leaves, allow_unused=True)
        grads = [torch.zeros_like(t) if g is None else g for t, g in zip(leaves, grads, strict=True)]
        before = best
        for _ in range(40):
            moved = [t.detach() + size * g for t, g in zip(leaves, grads, strict=True)]
            ahead: Tree = optree.tree_unflatten(optree.tree_structure(x), moved)
            ahead = ahead if project is None else project(ahead)
            now = float(value(ahead))
            if now > best:
                x, best, size = ahead, now, size * 2
                break
            size /= 2
        idle = idle + 1 if best - before < 1e-15 * (1 + abs(best)) else 0
        if best == before or idle == 5 or best > 1e12:
            break
    return x


def search(value: Callable[[Tree], Tensor], start: Tree, project: Callable[[Tree], Tree] | None) -> Tree:
    """Maximise by SciPy where there are no bounds, and by ``climb``."""
    if project is not None:
        return climb(value, start, project, 200)

    def fall(x: Array) -> tuple[float, Array]:
        at = torch.from_numpy(x).requires_grad_()
        loss = -value(shaped(at, start))
        return float(loss.detach()), torch.autograd.grad(loss, at)[0].numpy()

    maximiser = minimize(fall, flat(start).numpy(), jac=True, options={"gtol": 1e-10}).x
    return climb(value, shaped(torch.from_numpy(maximiser), start), None, 200)  # over kinks, at which SciPy gives up


def still(tree: Tree) -> Tree:
    return optree.tree_map(lambda t: t.detach(), tree)


def best_follower(game: KnownGame, u: Tree, seeds: int = 4) -> float:
    """Return the largest ``f(u, .)`` that a search finds."""
    if planar(game):
        return float(_inner_max(game, u.reshape(1), leader=True)[0])
    starts = [game.v, *(game.start(seed).v for seed in range(seeds))]
    return max(float(game.f(u, climb(lambda v: game.f(u, v), v, game.project_v))) for v in starts)


def best_leader(game: KnownGame, v: Tree, seeds: int = 4) -> float:
    """Return the least ``f(., v)`` that a search finds."""
    if planar(game):
        return -float(_inner_max(game, v.reshape(1), leader=False)[0])
    starts = [game.u, *(game.start(seed).u for seed in range(seeds))]
    return min(float(game.f(climb(lambda u: -game.f(u, v), u, game.project_u), v)) for u in starts)


def _line(game: KnownGame, player: str, reach: int) -> Tensor:
    """Return the points of a grid over a player's domain: fine near 0, and out to 10^reach where it has no bounds."""
    project = game.project_u if player == "u" else game.project_v
    low, high = game.box[0 if player == "u" else 1]
    if project is not None:
        return torch.linspace(low, high, 1601, dtype=torch.float64)
    far = torch.logspace(math.log10(8.0), reach, 60, dtype=torch.float64)
    return torch.cat([-far.flip(0), torch.linspace(-8, 8, 1601, dtype=torch.float64), far])


def _inner_max(game: KnownGame, points: Tensor, *, leader: bool) -> Tensor:
    """Return ``max_v f(u, .)`` for each ``u`` given (or, for a follower, ``max_u -f(., v)``), refined twice."""

    def f(mine: Tensor, theirs: Tensor) -> Tensor:
        return game.f(mine, theirs) if leader else -game.f(theirs, mine)

    line = _line(game, "v" if leader else "u", 4)
    maxima = torch.full_like(points, -math.inf)
    for rows in torch.arange(len(points)).split(400):
        mine = points[rows, None]
        values = f(mine, line[None, :]) + 0 * mine
        at = values.argmax(1)
        low, high = line[(at - 1).clamp(min=0)], line[(at + 1).clamp(max=len(line) - 1)]
        best = values.amax(1)
        for _ in range(3):
            share = torch.linspace(0, 1, 101, dtype=torch.float64)
            near = low[:, None] + (high - low)[:, None] * share
            values = f(mine, near) + 0 * mine
            at = values.argmax(1)
            best = torch.maximum(best, values.amax(1))
            spacing = (high - low) / 100
            centre = near.gather(1, at[:, None])[:, 0]
            low, high = (centre - spacing).clamp(min=low, max=high), (centre + spacing).clamp(min=low, max=high)
        maxima[rows] = best
    return maxima


def planar_value(game: KnownGame, *, leader: bool) -> tuple[float, float]:
    """Return ``min_u max_v f`` and where, by grids that close in (or ``max_v min_u f``, for the follower)."""
    # Who answers can go farther than who is answered.
    line = _line(game, "u" if leader else "v", 3)
    worst = _inner_max(game, line, leader=leader)
    at = int(worst.argmin())
    low, high = line[max(at - 1, 0)], line[min(at + 1, len(line) - 1)]
    value, place = float(worst[at]), float(line[at])
    for _ in range(3):
        near = torch.linspace(float(low), float(high), 101, dtype=torch.float64)
        worst = _inner_max(game, near, leader=leader)
        at = int(worst.argmin())
        if float(worst[at]) < value:
            value, place = float(worst[at]), float(near[at])
        low, high = near[max(at - 1, 0)], near[min(at + 1, 100)]
    return (value if leader else -value), place


# -- values ------------------------------------------------------------------------------------------------------------


def find_values(game: KnownGame) -> tuple[float, float, Any]:
    """Return the minimax and the maximin value and a minimax leader."""
    if planar(game):
        minimax, place = planar_value(game, leader=True)
        return minimax, planar_value(game, leader=False)[0], place
    minimax, place = _minimax(game)
    return minimax, _maximin(game), place


def _minimax(game: KnownGame) -> tuple[float, Any]:
    if game.minimax_value == math.inf or (game.answer is None and not math.isfinite(game.minimax_value)):
        return _escape(game, leader=False), None
    if game.answer is None:
        return _forced(game)
    if game.minimax_value == -math.inf:
        return _escape(game, leader=True, answer=game.answer), None
    answer = game.answer
    corners = _corners(game)
    if corners:
        return _epigraph(game, corners)
    best, place = math.inf, None
    for u in (game.u, *(game.start(seed).u for seed in range(4))):
        # Danskin: the slope of max_v f is f's own at the answer.
        leader = search(lambda x: -game.f(x, still(answer(x))), u, game.project_u)
        value = best_follower(game, leader)
        if value < best:
            best, place = value, leader.tolist()
    return best, place


def _maximin(game: KnownGame) -> float:
    if game.maximin_value == -math.inf:
        return _escape(game, leader=True)
    if game.reply is None:  # the value of a saddle, if one of the points is one; weak duality bounds it from above
        return max((best_leader(game, p.v) for p in game.minimax_points), default=-math.inf)
    reply = game.reply
    best = -math.inf
    points = [p.v for p in game.minimax_points]
    for v in (game.v, *points, *(game.start(seed).v for seed in range(3))):
        follower = search(lambda y: game.f(still(reply(y)), y), v, game.project_v)
        best = max(best, best_leader(game, follower, seeds=1))
    return best


def _escape(game: KnownGame, *, leader: bool, answer: Any = None) -> float:
    """Return how far ``f`` goes along the direction of a player's Hessian that lets it go farthest.

    With ``answer`` the leader goes along that of the Schur complement, and the follower answers.
    """
    values = []
    for seed in range(3):
        start = game.start(seed)
        _, H = derivatives(game, start.u, start.v)
        m = flat(game.u).numel()
        block = -H[:m, :m] if leader else H[m:, m:]
        if answer is not None:
            block = -(H[:m, :m] - H[:m, m:] @ np.linalg.solve(H[m:, m:], H[m:, :m]))
        direction = torch.from_numpy(np.linalg.eigh(block)[1][:, -1])
        if leader:
            u = start.u + 1e4 * direction.reshape(start.u.shape)
            values.append(float(game.f(u, start.v if answer is None else answer(u))))
        else:
            values.append(float(game.f(start.u, start.v + 1e4 * direction.reshape(start.v.shape))))
    return max(values) if leader else min(values)


def _forced(game: KnownGame) -> tuple[float, Any]:
    """A follower without bounds, linear in ``f``: it has a finite maximum only where its slope vanishes."""
    for seed in range(5):
        start = game.start(seed)
        v = start.v.clone().requires_grad_()
        (grad,) = torch.autograd.grad(game.f(start.u, v), v)
        if float(game.f(start.u, start.v + 1e8 * grad)) < INFINITE:
            return -math.inf, start.u.tolist()

    # Newton's method on the squared slope leads to the leaders at which it does vanish.
    def missed(u: Array) -> Array:
        v = game.v.clone().requires_grad_()
        (grad,) = torch.autograd.grad(game.f(torch.from_numpy(u).reshape(game.u.shape), v), v)
        return grad.numpy().ravel()

    u = least_squares(missed, flat(game.start(1).u).numpy(), xtol=1e-15, ftol=1e-15, gtol=1e-15).x
    leader = torch.from_numpy(u).reshape(game.u.shape)
    return max(float(game.f(leader, game.start(seed).v)) for seed in range(5)), leader.tolist()


def _corners(game: KnownGame) -> list[Tensor]:
    """Return the corners of the follower's domain where it is a polytope of few, on which ``f`` is linear."""
    n = flat(game.v).numel()
    _, H = derivatives(game, *(lambda g: (g.u, g.v))(game.start(0)))
    if np.abs(H[-n:, -n:]).max() > 1e-7:
        return []
    if isinstance(game.project_v, Simplex):
        return list(torch.eye(n, dtype=torch.float64))
    if isinstance(game.project_v, Box) and n <= 5:
        grid = torch.cartesian_prod(*[torch.tensor(game.box[1], dtype=torch.float64)] * n)
        return list(grid.reshape(-1, *game.v.shape))
    return []


def _epigraph(game: KnownGame, corners: list[Tensor]) -> tuple[float, Any]:
    """Minimise ``t`` subject to ``f(u, corner) <= t`` by SciPy, ``u`` in its domain."""
    m, shape = flat(game.u).numel(), game.u.shape

    def payoffs(x: Array) -> Array:
        u = torch.from_numpy(x[:m]).reshape(shape)
        return np.array([x[m] - float(game.f(u, corner)) for corner in corners])

    def payoff_jacobian(x: Array) -> Array:
        rows = []
        for corner in corners:
            u = torch.from_numpy(x[:m]).reshape(shape).requires_grad_()
            (g,) = torch.autograd.grad(game.f(u, corner), u)
            rows.append(np.r_[-g.numpy().ravel(), 1.0])
        return np.array(rows)

    constraints: list[Any] = [{"type": "ineq", "fun": payoffs, "jac": payoff_jacobian}]
    bounds = [(None, None)] * (m + 1)
    if isinstance(game.project_u, Simplex):
        constraints.append({"type": "eq", "fun": lambda x: x[:m].sum() - 1, "jac": lambda x: np.r_[np.ones(m), 0.0]})
        bounds = [(0.0, 1.0)] * m + [(None, None)]
    elif isinstance(game.project_u, Box):
        bounds = [game.box[0]] * m + [(None, None)]
    optimum = minimize(
        lambda x: x[m], np.r_[flat(game.start(2).u).numpy(), 10.0], jac=lambda x: np.eye(m + 1)[m], bounds=bounds,
        constraints=constraints, method="SLSQP", options={"maxiter": 500, "ftol": 1e-13},
    )  # fmt: skip
    u = torch.from_numpy(optimum.x[:m]).reshape(shape)
    return max(float(game.f(u, corner)) for corner in corners), u.tolist()
