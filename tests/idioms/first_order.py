"""Steps of the first-order solvers, by hand. Each is a factory: what a step remembers begins afresh."""

from __future__ import annotations

import copy
from typing import Any

import torch

from tests.idioms.hand import HandLoop, Step, Values, difference, plus

PLAYERS = ("u", "v")


def simultaneous() -> Step:
    def step(loop: HandLoop) -> None:
        field = loop.field()
        loop.descend("u", field["u"])
        loop.descend("v", field["v"])

    return step


def one(loop: HandLoop, player: str) -> None:
    loop.descend(player, loop.field((player,))[player])


def alternating(order: str = "uv") -> Step:
    def step(loop: HandLoop) -> None:
        for player in order:
            one(loop, player)

    return step


def two_timescale(ratio: float, power: float) -> Step:
    def step(loop: HandLoop) -> None:
        field, here = loop.field(), loop.where("u")
        slowness = ratio * (1 + loop.steps) ** power
        moved = loop.proposal("u", field["u"])
        loop.put("u", plus(here, moved, 1 / slowness))
        loop.descend("v", field["v"])

    return step


def negative_momentum(beta: float, *, alternate: bool = True) -> Step:
    last: dict[str, Values] = {}

    def move(loop: HandLoop, player: str, direction: Values) -> None:
        here = loop.where(player)
        moved = loop.proposal(player, direction)
        loop.put(player, plus(plus(here, moved), last[player], beta) if player in last else plus(here, moved))
        last[player] = difference(loop.where(player), here)

    def step(loop: HandLoop) -> None:
        if alternate:
            for player in PLAYERS:
                move(loop, player, loop.field((player,))[player])
        else:
            field = loop.field()
            for player in PLAYERS:
                move(loop, player, field[player])

    return step


def smoothed(p: float, beta: float) -> Step:
    centre: dict[str, Values] = {}

    def step(loop: HandLoop) -> None:
        z = centre.setdefault("u", loop.where("u"))
        pulled = loop.field(("u",))["u"]
        loop.descend("u", plus(pulled, difference(loop.where("u"), z), p))
        one(loop, "v")
        centre["u"] = plus(z, difference(loop.where("u"), z), beta)

    return step


def extragradient() -> Step:
    def step(loop: HandLoop) -> None:
        field = loop.field()
        field = loop.field(at={p: plus(loop.where(p), loop.proposal(p, field[p])) for p in PLAYERS})
        for player in PLAYERS:
            loop.descend(player, field[player])

    return step


def past_extragradient() -> Step:
    past: dict[str, Values] = {}

    def step(loop: HandLoop) -> None:
        ahead = {p: plus(loop.where(p), loop.proposal(p, past[p])) for p in past}
        past.update(loop.field(at=ahead))
        for player in PLAYERS:
            loop.descend(player, past[player])

    return step


def optimistic(strength: float = 1.0) -> Step:
    last: dict[str, Values] = {}

    def step(loop: HandLoop) -> None:
        field = loop.field()
        for player in PLAYERS:
            here, now = loop.where(player), loop.proposal(player, field[player])
            change = difference(now, last.get(player, now))
            loop.put(player, plus(plus(here, now), change, strength))
            last[player] = now

    return step


def anchored() -> Step:
    anchor: dict[str, Values] = {}

    def step(loop: HandLoop) -> None:
        for player in PLAYERS:
            anchor.setdefault(player, loop.where(player))
        field, here = loop.field(), {p: loop.where(p) for p in PLAYERS}
        near = {p: plus(here[p], difference(anchor[p], here[p]), 1 / (loop.steps + 2)) for p in PLAYERS}
        field = loop.field(at={p: plus(near[p], loop.proposal(p, field[p])) for p in PLAYERS})
        for player in PLAYERS:
            loop.put(player, plus(near[player], loop.proposal(player, field[player])))

    return step


def lookahead(inner: Step, period: int, alpha: float) -> Step:
    slow: dict[str, Values] = {}

    def step(loop: HandLoop) -> None:
        for player in loop.optimizers:
            slow.setdefault(player, loop.where(player))
        inner(loop)
        if (loop.steps + 1) % period == 0:
            for player in loop.optimizers:
                slow[player] = plus(slow[player], difference(loop.where(player), slow[player]), alpha)
                loop.put(player, slow[player])

    return step


def averaged(inner: Step, start: int) -> Step:
    fast: dict[str, Values] = {}

    def step(loop: HandLoop) -> None:
        average = {p: loop.where(p) for p in loop.optimizers}
        for player, values in fast.items():
            loop.put(player, values)
        inner(loop)
        fast.update({p: loop.where(p) for p in loop.optimizers})
        weight = 1.0 if loop.steps < start else 1 / (loop.steps - start + 1)
        for player, old in average.items():
            loop.put(player, plus(old, difference(fast[player], old), weight))

    return step


def k_beam(shift: float) -> Step:
    """Two followers: the given one, and one that begins ``shift`` beside it."""
    beam: list[Values] = []
    memories: list[Any] = []

    def strongest(loop: HandLoop) -> int:
        risks: list[float] = []
        for follower in beam:
            with loop.risk(at={"v": follower}, noted=False) as value:
                risks.append(float(value))
        return int(torch.tensor(risks).argmax())

    def step(loop: HandLoop) -> None:
        if not beam:
            start = loop.where("v")
            beam.extend([start, [t + shift for t in start]])
            memories.extend([loop.memories()["v"]] * 2)
        answered = strongest(loop)
        loop.descend("u", loop.field(("u",), at={"v": beam[answered]})["u"])
        slopes = [loop.field(("v",), at={"v": follower}, noted=False)["v"] for follower in beam]
        for k, slope in enumerate(slopes):
            loop.put("v", beam[k])
            loop.remember({"v": memories[k]})
            loop.descend("v", slope)
            beam[k], memories[k] = loop.where("v"), copy.deepcopy(loop.memories()["v"])
        loop.put("v", beam[strongest(loop)])

    return step
