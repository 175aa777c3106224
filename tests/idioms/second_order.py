"""Steps of the second-order solvers, by hand: Hessians are formed whole, and systems are solved densely."""

from __future__ import annotations

from typing import Any, NamedTuple

import optree
import torch
from torch import Tensor

from tests.idioms.hand import HandLoop, Step, Values, difference, plus


class Local(NamedTuple):
    """The gradient of the risk and its Hessian, flat, in blocks."""

    u: Tensor
    v: Tensor
    uu: Tensor
    uv: Tensor
    vu: Tensor
    vv: Tensor


def flat(values: Values) -> Tensor:
    return torch.cat([t.reshape(-1) for t in values])


def shaped(vector: Tensor, like: Values) -> Values:
    parts = vector.split([t.numel() for t in like])
    return [part.view(t.shape) for part, t in zip(parts, like, strict=True)]


def local(loop: HandLoop, players: tuple[str, ...] = ("u", "v"), at: dict[str, Values] | None = None) -> Local:
    """Return all first and second derivatives at a point."""
    with loop.risk(players, at) as value:
        slopes = {p: flat(loop.gradient(value, p, create_graph=True)) for p in ("u", "v")}
        rows: dict[str, Values] = {"u": [], "v": []}
        for player, slope in slopes.items():
            for entry in slope:
                if entry.requires_grad:
                    parts = [flat(loop.gradient(entry, p, retain_graph=True)) for p in ("u", "v")]
                else:
                    parts = [torch.zeros_like(slopes[p]) for p in ("u", "v")]
                rows[player].append(torch.cat(parts).detach())
    size = len(slopes["u"])
    above, below = torch.stack(rows["u"]), torch.stack(rows["v"])
    cut = (slopes["u"].detach(), slopes["v"].detach())
    return Local(*cut, above[:, :size], above[:, size:], below[:, :size], below[:, size:])


def damped(matrix: Tensor, damping: float) -> Tensor:
    """Return ``matrix + damping I``, which the settings of the tests make positive definite."""
    shifted = matrix + damping * torch.eye(len(matrix))
    assert torch.linalg.eigvalsh((shifted + shifted.T) / 2).min() > 0
    return shifted


def move(loop: HandLoop, player: str, direction: Tensor) -> None:
    loop.descend(player, shaped(direction, loop.moving[player]))


def sensitivity(gamma: float, *, alternate: bool = False) -> Step:
    def penalised(loop: HandLoop) -> tuple[Values, Values]:
        with loop.risk() as value:
            slope = loop.gradient(value, "v", create_graph=True)
            penalty = torch.stack([part.square().sum() for part in slope]).sum()
            return loop.gradient(value + gamma / 2 * penalty, "u"), [-part.detach() for part in slope]

    def step(loop: HandLoop) -> None:
        if alternate:
            loop.descend("v", loop.field(("v",))["v"])
        leader, follower = penalised(loop)
        if not alternate:
            loop.descend("v", follower)
        loop.descend("u", leader)

    return step


def split_sensitivity(gamma: float) -> Step:
    def half(batch: Any, rows: slice) -> tuple[Any]:
        return (optree.tree_map(lambda part: part[rows], batch),)

    def step(loop: HandLoop) -> None:
        (batch,) = loop.batch
        middle = len(optree.tree_leaves(batch)[0]) // 2
        with (
            loop.risk(batch=half(batch, slice(0, middle)), noted=False) as one,
            loop.risk(batch=half(batch, slice(middle, None))) as other,
        ):
            slopes = [loop.gradient(value, "v", create_graph=True) for value in (one, other)]
            along = torch.stack([(a * b).sum() for a, b in zip(*slopes, strict=True)]).sum()
            leader = loop.gradient((one + other) / 2 + gamma / 2 * along, "u")
            follower = [-(a.detach() + b.detach()) / 2 for a, b in zip(*slopes, strict=True)]
        loop.descend("v", follower)
        loop.descend("u", leader)

    return step


def unrolled(steps: int, size: float) -> Step:
    """By the adjoint recursion, backwards along the follower's path."""

    def step(loop: HandLoop) -> None:
        path, points = [loop.where("v")], []
        for _ in range(steps):
            points.append(local(loop, at={"v": path[-1]}))
            path.append(plus(path[-1], shaped(points[-1].v, path[-1]), size))
        end = local(loop, at={"v": path[-1]})
        adjoint, leader = end.v, end.u
        for point in reversed(points):
            leader = leader + size * point.uv @ adjoint
            adjoint = adjoint + size * point.vv @ adjoint
        move(loop, "v", -points[0].v)
        move(loop, "u", leader)

    return step


def stackelberg(damping: float) -> Step:
    def step(loop: HandLoop) -> None:
        here = local(loop)
        answer = torch.linalg.solve(damped(-here.vv, damping), here.v)
        move(loop, "u", here.u + here.uv @ answer)
        move(loop, "v", -here.v)

    return step


def follow_the_ridge(damping: float) -> Step:
    def step(loop: HandLoop) -> None:
        here, before, follower = local(loop), loop.where("u"), loop.where("v")
        move(loop, "u", here.u)
        moved = flat(difference(loop.where("u"), before))
        shift = torch.linalg.solve(damped(-here.vv, damping), here.vu @ moved)
        climbed = loop.proposal("v", shaped(-here.v, follower))
        loop.put("v", plus(plus(follower, climbed), shaped(shift, follower)))

    return step


def climb(loop: HandLoop, damping: float) -> None:
    """Move the follower by a Newton step."""
    here = local(loop, ("v",))
    move(loop, "v", -torch.linalg.solve(damped(-here.vv, damping), here.v))


def newton_follower(damping: float) -> Step:
    def step(loop: HandLoop) -> None:
        loop.descend("u", loop.field(("u",))["u"])
        climb(loop, damping)

    return step


def complete_newton(damping: float) -> Step:
    def step(loop: HandLoop) -> None:
        here = local(loop)
        schur = here.uu + here.uv @ torch.linalg.solve(damped(-here.vv, damping), here.vu)
        move(loop, "u", torch.linalg.solve(damped(schur, damping), here.u))
        climb(loop, damping)

    return step


def competitive(lr: float) -> Step:
    def step(loop: HandLoop) -> None:
        here = local(loop)
        answer = torch.linalg.solve(damped(lr * lr * here.uv @ here.vu, 1.0), here.u + lr * here.uv @ here.v)
        move(loop, "u", answer)
        move(loop, "v", -here.v + lr * here.vu @ answer)

    return step


def descent_of_norm(here: Local) -> tuple[Tensor, Tensor]:
    """Return the gradient of half the squared norm of the operator."""
    return here.uu @ here.u + here.uv @ here.v, here.vu @ here.u + here.vv @ here.v


def symplectic(weight: float) -> Step:
    def step(loop: HandLoop) -> None:
        here = local(loop)
        turn = torch.cat([here.uv @ here.v, here.vu @ here.u])
        steepest, operator = torch.cat(descent_of_norm(here)), torch.cat([here.u, -here.v])
        aligned = (operator @ steepest) * (turn @ steepest) / len(operator) + 0.1
        adjusted = operator + weight * aligned.sign() * turn
        move(loop, "u", adjusted[: len(here.u)])
        move(loop, "v", adjusted[len(here.u) :])

    return step


def consensus(gamma: float) -> Step:
    def step(loop: HandLoop) -> None:
        here = local(loop)
        u, v = descent_of_norm(here)
        move(loop, "u", here.u + gamma * u)
        move(loop, "v", -here.v + gamma * v)

    return step


def hamiltonian() -> Step:
    def step(loop: HandLoop) -> None:
        u, v = descent_of_norm(local(loop))
        move(loop, "u", u)
        move(loop, "v", v)

    return step
