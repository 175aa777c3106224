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


def local(loop: HandLoop, players: tuple[str, ...] = ("u", "v")) -> Local:
    """Return all first and second derivatives where the players are."""
    everything = loop.moving["u"] + loop.moving["v"]
    with loop.risk(players) as value:
        slope = flat(loop.gradient(value, everything, create_graph=True))
        rows = [
            flat(loop.gradient(entry, everything, retain_graph=True))
            if entry.requires_grad
            else torch.zeros_like(slope)
            for entry in slope
        ]
    matrix, size = torch.stack(rows).detach(), sum(t.numel() for t in loop.moving["u"])
    above, below, slope = matrix[:size], matrix[size:], slope.detach()
    return Local(slope[:size], slope[size:], above[:, :size], above[:, size:], below[:, :size], below[:, size:])


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
            slope = loop.gradient(value, loop.moving["v"], create_graph=True)
            penalty = torch.stack([part.square().sum() for part in slope]).sum()
            return loop.gradient(value + gamma / 2 * penalty, loop.moving["u"]), [-part.detach() for part in slope]

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
            slopes = [loop.gradient(value, loop.moving["v"], create_graph=True) for value in (one, other)]
            along = torch.stack([(a * b).sum() for a, b in zip(*slopes, strict=True)]).sum()
            leader = loop.gradient((one + other) / 2 + gamma / 2 * along, loop.moving["u"])
            follower = [-(a.detach() + b.detach()) / 2 for a, b in zip(*slopes, strict=True)]
        loop.descend("v", follower)
        loop.descend("u", leader)

    return step


def unrolled(steps: int, size: float) -> Step:
    """By the adjoint recursion, backwards along the follower's path."""

    def step(loop: HandLoop) -> None:
        path, first = [loop.where("v")], loop.field(("v",))["v"]
        for _ in range(steps):
            path.append(plus(path[-1], loop.field(("v",), at={"v": path[-1]})["v"], -size))
        end = loop.field(at={"v": path[-1]})
        leader, adjoint = end["u"], [-part for part in end["v"]]
        for point in reversed(path[:-1]):
            with loop.risk(at={"v": point}, noted=False) as value:
                slope = loop.gradient(value, loop.moving["v"], create_graph=True)
                along = torch.stack([(a * b).sum() for a, b in zip(slope, adjoint, strict=True)]).sum()
                leader = plus(leader, loop.gradient(along, loop.moving["u"], retain_graph=True), size)
                adjoint = plus(adjoint, loop.gradient(along, loop.moving["v"]), size)
        loop.descend("v", first)
        loop.descend("u", leader)

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
