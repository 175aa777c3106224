"""Judges what a known game claims; each judge returns what it finds wrong, in words, of a true game nothing.

Values are found by searches and grids, local types by dense Hessians in NumPy on tangent spaces laid out by hand, and
by trying out the definition at points nearby.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optree
import torch

from minimaxopt.testing import KnownGame
from minimaxopt.testing.games.known_game import flat
from tests.testing.searches import (
    INFINITE,
    Array,
    Tree,
    best_follower,
    best_leader,
    climb,
    derivatives,
    planar,
    shaped,
)

VALUE = 1e-6  # of a value found by a search
PLACE = 1e-3  # of a place found by a search: the square root of the above
BEYOND = 1e-9  # what a search may exceed an optimum by


# -- values ------------------------------------------------------------------------------------------------------------


def judge_values(game: KnownGame, searched: tuple[float, float, Any]) -> list[str]:
    """Compare the minimax and maximin values, and the leader, with those that a search finds."""
    wrong: list[str] = []
    minimax, maximin, leader = searched
    for name, claimed, value in (("minimax", game.minimax_value, minimax), ("maximin", game.maximin_value, maximin)):
        if not _same(claimed, value):
            wrong.append(f"{name}: claimed {claimed}, found {value}")
    if game.minimax_points:
        here = torch.tensor(leader, dtype=torch.float64).reshape(game.u.shape)
        if game.distance(here) > PLACE:
            wrong.append(f"leader: found {leader}, {game.distance(here)} away from those claimed")
    elif math.isfinite(game.minimax_value):
        wrong.append("minimax: finite, but no point is listed")
    return wrong


def _same(claimed: float, searched: float) -> bool:
    if math.isinf(claimed):
        return searched * math.copysign(1, claimed) > INFINITE
    return abs(claimed - searched) <= VALUE * (1 + abs(claimed))


# -- points and responses ----------------------------------------------------------------------------------------------


def judge_points(game: KnownGame) -> list[str]:
    """Minimax points have the minimax value and a best answer; impostors are stationary and not minimax."""
    wrong: list[str] = []
    for i, point in enumerate(game.minimax_points):
        here, best = float(game.f(point.u, point.v)), best_follower(game, point.u)
        if abs(here - game.minimax_value) > BEYOND * (1 + abs(here)):
            wrong.append(f"point {i}: has the value {here}, not {game.minimax_value}")
        if best > here + BEYOND * (1 + abs(here)):
            wrong.append(f"point {i}: the follower finds {best}, more than {here}")
        if game.distance(point.u) > BEYOND:
            wrong.append(f"point {i}: its leader is {game.distance(point.u)} away from the nearest")
        wrong += _outside(game, point.u, point.v, f"point {i}")
        if point.kind != "not local minimax" and residual(game, point.u, point.v) > 1e-7:
            wrong.append(f"point {i}: {point.kind}, but not stationary")
    for i, point in enumerate(game.impostors):
        wrong += _outside(game, point.u, point.v, f"impostor {i}")
        if (off := residual(game, point.u, point.v)) > 1e-7:
            wrong.append(f"impostor {i}: misses being stationary by {off}")
        here, best = float(game.f(point.u, point.v)), best_follower(game, point.u)
        if best <= here + VALUE and best <= game.minimax_value + VALUE:
            wrong.append(f"impostor {i}: is minimax")
    return wrong


def _outside(game: KnownGame, u: Tree, v: Tree, name: str) -> list[str]:
    violations: list[str] = []
    for player, at, project in (("u", u, game.project_u), ("v", v, game.project_v)):
        if project is not None and float((flat(project(at)) - flat(at)).norm()) > 1e-12:
            violations.append(f"{name}: {player} is outside the domain")
    return violations


def residual(game: KnownGame, u: Tree, v: Tree) -> float:
    """Return ``||x - P(x - F(x))||``."""
    tracked_u, tracked_v = (optree.tree_map(lambda t: t.detach().clone().requires_grad_(), x) for x in (u, v))
    leaves_u, leaves_v = optree.tree_leaves(tracked_u), optree.tree_leaves(tracked_v)
    grads = torch.autograd.grad(game.f(tracked_u, tracked_v), [*leaves_u, *leaves_v])
    total = 0.0
    for sign, at, leaves, part, project in (
        (-1.0, u, leaves_u, grads[: len(leaves_u)], game.project_u),
        (1.0, v, leaves_v, grads[len(leaves_u) :], game.project_v),
    ):
        moved = [t.detach() + sign * g for t, g in zip(leaves, part, strict=True)]
        projected: Tree = optree.tree_unflatten(optree.tree_structure(at), moved)
        projected = projected if project is None else project(projected)
        total += float((flat(projected) - flat(at)).square().sum())
    return math.sqrt(total)


def judge_responses(game: KnownGame) -> list[str]:
    """``answer`` and ``reply`` are allowed, and no search from random starts beats them."""
    wrong: list[str] = []
    for seed in range(4):
        start = game.start(100 + seed)
        if game.answer is not None:
            wrong += _outside(game, start.u, game.answer(start.u), "answer")
            claimed, searched = float(game.f(start.u, game.answer(start.u))), best_follower(game, start.u, seeds=3)
            if searched > claimed + 1e-8 * (1 + abs(claimed)):
                wrong.append(f"answer: has {claimed}, a search {searched}")
        if game.reply is not None:
            wrong += _outside(game, game.reply(start.v), start.v, "reply")
            claimed, searched = float(game.f(game.reply(start.v), start.v)), best_leader(game, start.v, seeds=3)
            if searched < claimed - 1e-8 * (1 + abs(claimed)):
                wrong.append(f"reply: has {claimed}, a search {searched}")
    return wrong


def judge_nash(game: KnownGame) -> list[str]:
    """A Nash point among the minimax points if one is claimed, else a gap between the two values."""
    if not game.nash:
        return [] if game.maximin_value < game.minimax_value or math.isinf(game.minimax_value) else ["nash: no gap"]
    saddles = [
        p
        for p in game.minimax_points
        if best_leader(game, p.v) >= game.minimax_value - BEYOND * (1 + abs(game.minimax_value))
        and best_follower(game, p.u) <= game.minimax_value + BEYOND * (1 + abs(game.minimax_value))
    ]
    return [] if saddles else ["nash: no listed point is a saddle"]


# -- local types -------------------------------------------------------------------------------------------------------


def tangent(project: Any, x: Array, loss: Array) -> tuple[Array, list[Array], float]:
    """Return free directions, half-lines with a zero multiplier, and the boundary's curvature for a player's loss."""
    n, near = len(x), 1e-9
    kind = type(project).__name__
    if kind in ("Box", "LInfBall"):
        low, high = (project.low, project.high) if kind == "Box" else (-project.radius, project.radius)
        at_low, at_high = x <= low + near, x >= high - near
        flat_ = np.abs(loss) < 1e-7
        halves = [e for i, e in enumerate(np.eye(n)) if at_low[i] and flat_[i]]
        halves += [-e for i, e in enumerate(np.eye(n)) if at_high[i] and flat_[i]]
        return np.eye(n)[:, ~(at_low | at_high)], halves, 0.0
    if kind == "Simplex":
        positive = x > near
        level = loss[positive].mean()
        assert np.all(loss[~positive] - level > 1e-7), "a weight of zero with a zero multiplier"
        k = int(positive.sum())
        basis = np.linalg.qr(np.c_[np.ones(k), np.eye(k)[:, : k - 1]])[0][:, 1:]
        full = np.zeros((n, k - 1))
        full[positive] = basis
        return full, [], 0.0
    if kind == "L2Ball":
        radius, length = float(project.radius), float(np.linalg.norm(x))
        if length < radius - near:
            return np.eye(n), [], 0.0
        normal = x / length
        multiplier = -float(loss @ normal)
        halves = [-normal] if abs(multiplier) < 1e-7 else []
        return np.linalg.qr(np.c_[normal, np.eye(n)])[0][:, 1:n], halves, multiplier / radius
    assert project is None
    return np.eye(n), [], 0.0


def dense_kind(game: KnownGame, u: Tree, v: Tree, tolerance: float = 1e-6) -> str:
    """Return the local type by second-order conditions on the tangent spaces, with the boundaries' curvature."""
    if residual(game, u, v) > tolerance:
        return "not local minimax"
    g, H = derivatives(game, u, v)
    parts: list[tuple[Array, list[Array], Array]] = []
    offset = 0
    for player, project, sign in ((u, game.project_u, 1.0), (v, game.project_v, -1.0)):
        bases, halves, bends = [], [], []
        for leaf in optree.tree_leaves(player):
            rows = slice(offset, offset + leaf.numel())
            basis, half, bend = tangent(project, leaf.detach().numpy().ravel(), sign * g[rows])
            place = np.zeros((len(g), leaf.numel()))
            place[rows] = np.eye(leaf.numel())
            bases.append(place @ basis)
            halves += [place @ direction for direction in half]
            bends += [sign * bend] * leaf.numel()
            offset = rows.stop
        parts.append((np.hstack(bases), halves, np.array(bends)))
    (T_u, half_u, bend_u), (T_v, half_v, bend_v) = parts
    L = H + np.diag(np.r_[bend_u, bend_v])
    if any(d @ L @ d > tolerance for d in half_v):
        return "not local minimax"
    vv = T_v.T @ L @ T_v
    top = np.linalg.eigvalsh(vv).max() if T_v.shape[1] else -math.inf
    if top > tolerance:
        return "not local minimax"
    if top >= -tolerance or half_v:
        return "undecided"
    schur = L - L @ T_v @ np.linalg.solve(vv, T_v.T @ L) if T_v.shape[1] else L
    own, after = (np.linalg.eigvalsh(T_u.T @ M @ T_u) if T_u.shape[1] else np.array([math.inf]) for M in (L, schur))
    if after.min() < -tolerance or any(d @ schur @ d < -tolerance for d in half_u):
        return "not local minimax"
    if after.min() <= tolerance or half_u:
        return "undecided"
    return "local Nash" if own.min() > tolerance else "strict local minimax"


def judge_kinds(game: KnownGame) -> list[str]:
    return [
        f"{point.kind!r} claimed, {kind!r} found at ({point.u}, {point.v})"
        for point in (*game.minimax_points, *game.impostors)
        if (kind := dense_kind(game, point.u, point.v)) != point.kind
    ]


def judge_local(game: KnownGame) -> list[str]:
    """The definition itself, tried out by points nearby."""
    return [
        f"local minimax {point.local_minimax} claimed, {not point.local_minimax} found at ({point.u}, {point.v})"
        for point in (*game.minimax_points, *game.impostors)
        if survives(game, point.u, point.v) != point.local_minimax
    ]


def survives(game: KnownGame, u: Tree, v: Tree) -> bool:
    """Return whether no point near ``(u, v)`` refutes that it is local minimax, with answers within ``delta^(1/4)``."""
    here = float(game.f(u, v))
    slack = 1e-13 * (1 + abs(here))
    for delta in (1e-2, 1e-3, 1e-4):
        if any(float(game.f(u, y)) > here + slack for y in _around(game, u, v, delta, follower=True)):
            return False
        reach = delta**0.25
        if any(_answer_near(game, x, v, reach, here - slack) < here - slack for x in _around(game, u, v, delta)):
            return False
    return True


def _around(game: KnownGame, u: Tree, v: Tree, delta: float, *, follower: bool = False) -> list[Tree]:
    """Return allowed points within ``delta`` of a player: along axes, gradients, eigenvectors and at random."""
    g, H = derivatives(game, u, v)
    m = flat(u).numel()
    player, project = (v, game.project_v) if follower else (u, game.project_u)
    rows = slice(m, None) if follower else slice(0, m)
    directions = [g[rows], *np.eye(len(g[rows]))[:5], *np.linalg.eigh(H[rows, rows])[1].T[[0, -1]]]
    if not follower:
        w = H[m:, m:]
        schur = H[:m, :m] - H[:m, m:] @ np.linalg.pinv(w) @ H[m:, :m]
        directions += list(np.linalg.eigh(schur)[1].T[[0, -1]])
    rng = np.random.default_rng(0)
    directions += list(rng.normal(size=(6, len(g[rows]))))
    neighbours = []
    for d in directions:
        length = np.linalg.norm(d)
        if length > 1e-12:
            for sign in (-1.0, 1.0):
                moved = shaped(flat(player) + torch.from_numpy(sign * delta * d / length), player)
                neighbours.append(moved if project is None else project(moved))
    return neighbours


def _answer_near(game: KnownGame, x: Tree, v: Tree, reach: float, enough: float) -> float:
    """Return the largest ``f(x, .)`` found within ``reach`` of ``v``, or one that is enough."""
    if planar(game):
        grid = v + torch.linspace(-reach, reach, 4001, dtype=torch.float64)
        grid = torch.cat([v.reshape(1), grid if game.project_v is None else game.project_v(grid)])
        if game.answer is not None and abs(float(game.answer(x) - v)) <= reach:
            grid = torch.cat([grid, game.answer(x).reshape(1)])
        return float((game.f(x, grid)).max())

    def within(y: Tree) -> Tree:
        y = y if game.project_v is None else game.project_v(y)
        offset = flat(y) - flat(v)
        share = min(1.0, reach / max(float(offset.norm()), 1e-300))
        return shaped(flat(v) + share * offset, v)  # convex sets hold what lies between two of their points

    candidates = [v] if game.answer is None else [v, within(game.answer(x))]
    best = max(float(game.f(x, y)) for y in candidates)
    return best if best >= enough else float(game.f(x, climb(lambda y: game.f(x, y), v, within, 100)))
