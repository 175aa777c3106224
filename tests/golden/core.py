"""Numbers of the core: certificates of games with known answers, and twenty steps of every solver."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from minimaxopt import Game, certify, solve
from minimaxopt.errors import MinimaxoptError
from minimaxopt.solvers import SOLVERS
from minimaxopt.testing import known_game

# Quadratic, bilinear, constrained, flat, nonconvex and data: each at a known point, and at a random one.
GAMES = (
    "convex-concave", "minimax-not-nash", "quadratic-minimax-10", "bilinear-10", "matrix-regularised",
    "curved-leader", "linear-square", "forsaken", "ridge", "chi-square-regression",
)  # fmt: skip
OPTIMIZERS = {"SGD": partial(torch.optim.SGD, lr=0.05), "Adam": partial(torch.optim.Adam, lr=0.05)}
STEPS = 20


def numbers() -> dict[str, Any]:
    """Return all numbers of the core."""
    return {"certify": {name: _certificates(name) for name in GAMES}, "solvers": _trajectories()}


def _certificates(name: str) -> dict[str, Any]:
    known = known_game(name)
    point = (*known.minimax_points, *known.impostors)[0]
    # Where gradients vanish, Adam, the default, would make whole steps of rounding errors.
    sgd = {"u_optimizer": OPTIMIZERS["SGD"], "v_optimizer": OPTIMIZERS["SGD"]}
    at_known = _certificate(known.game(point.u, point.v), **sgd)
    del at_known["cost"]  # there rounding decides when a line search ends
    return {"known point": at_known, "random point": _certificate(known.start(seed=1))}


def _certificate(game: Game, **optimizers: Any) -> dict[str, Any]:
    certificate = certify(game, (game.u, game.v), restarts=2, steps=15, **optimizers)
    spent = {name: value for name, value in certificate.cost.items() if name != "seconds"}
    quantities = {name: getattr(certificate, name).value for name in ("risk", "worst", "best", "gap")}
    groups = {
        group: {name: quantity.value for name, quantity in getattr(certificate, group).items()}
        for group in ("followers", "leaders", "stationarity", "eigenvalues")
    }
    move = certificate.move
    proof = None if move is None else [move.player, move.length, move.before, move.after]
    free = {player: constraint.free for player, constraint in certificate.constraints.items()}
    return {"kind": certificate.kind, **quantities, **groups, "distance": certificate.distance,
            "sandwich": certificate.sandwich, "move": proof, "free": free, "cost": spent}  # fmt: skip


def _trajectories() -> dict[str, Any]:
    plays = {}
    for name in SOLVERS:
        for optimizer, factory in OPTIMIZERS.items():
            plays[f"{name}, {optimizer}"] = _play(name, factory)
        plays[f"{name}, maximin"] = _play(name, OPTIMIZERS["SGD"], order="maximin")
        plays[f"{name}, in a ball"] = _play(name, OPTIMIZERS["SGD"], project=_into_ball)
    return plays


def _play(name: str, optimizer: Any, *, order: Any = "minimax", project: Any = None) -> dict[str, Any]:
    u, v = torch.tensor([0.9, -0.4, 0.3]).double(), torch.tensor([-0.5, 0.8, 0.2]).double()
    game = Game(_risk, u, v, project_u=project, project_v=project)
    optimizers = {"u_optimizer": optimizer, "v_optimizer": optimizer}
    if name == ("descent" if order == "minimax" else "ascent"):
        del optimizers["v_optimizer"]
    if name == ("ascent" if order == "minimax" else "descent"):
        del optimizers["u_optimizer"]
    try:
        solution = solve(game, name, steps=STEPS, order=order, progress=False, **optimizers)
    except MinimaxoptError as error:
        return {"refused": type(error).__name__}
    history = {column: list(map(float, solution.history[column])) for column in solution.history.names}
    return {"u": solution.u, "v": solution.v, "status": solution.status.name, "history": history}


def _risk(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Return a strongly convex-concave quadratic with a nonconvex coupling of the players."""
    A, B, C = (torch.tensor(matrix).double() for matrix in _MATRICES)
    quadratic = u @ A @ u / 2 + u @ B @ v - v @ C @ v / 2
    return quadratic + 0.2 * torch.sin(2 * u).dot(torch.cos(v)) - 0.1 * (u * u * v).sum()


_MATRICES = (
    [[1.5, 0.3, 0.0], [0.3, 1.0, -0.2], [0.0, -0.2, 0.8]],
    [[0.7, -0.4, 0.2], [0.1, 0.9, -0.3], [-0.5, 0.2, 0.6]],
    [[1.2, -0.1, 0.3], [-0.1, 1.4, 0.0], [0.3, 0.0, 0.9]],
)


def _into_ball(x: torch.Tensor) -> torch.Tensor:
    """Project onto the ball of radius 0.9, whose border the starts lie outside of."""
    return x * (0.9 / x.norm()).clamp(max=1.0)
