"""What else must hold for an idiom: in place, certified, saved, resumed, rolled back."""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from minimaxopt import Checkpoint, Game, Solution, certify
from minimaxopt.errors import MinimaxoptError, ResumeError
from tests.idioms.cells import LR, ROWS, by_hand, differences, equals_the_loop, played, quiet
from tests.idioms.games import Parts
from tests.idioms.hand import HandLoop, leaves
from tests.idioms.idioms import Idiom
from tests.idioms.second_order import Local, local

ALTERNATING = ROWS["alternating-gda"]


def outcome(play: Callable[[], list[str]], refused: str | None, *, either: bool = False) -> list[str]:
    """Return what is wrong with a cell: differences, or a refusal that is missing, foreign, late or names nobody."""
    if refused is None:
        return play()
    try:
        if said := play():
            return ["was not refused", *said]
        return [] if either else ["was not refused"]
    except MinimaxoptError as error:
        if not re.search(refused, str(error)):
            return [f"the refusal does not name {refused!r}: {error}"]
        return ["refused after a step had been made"] if hasattr(error, "solution") else []


def wrong_cells(idiom: Idiom, family: str) -> dict[str, str]:
    """Try an idiom with the solvers of a family; return what is wrong by solver."""
    said: dict[str, str] = {}
    for name, row in ROWS.items():
        if row.family == family and idiom.plays(name, family):
            try:
                differences = with_solver(idiom, name)
            except Exception as error:  # noqa: BLE001 - a foreign error is a wrong cell
                differences = [f"{type(error).__name__}: {error}"]
            said |= {name: differences[0]} if differences else {}
    return said


def with_solver(idiom: Idiom, name: str) -> list[str]:
    """Check one solver."""
    row = ROWS[name]
    return outcome(
        lambda: equals_the_loop(idiom, row), idiom.refusal(name, row.family), either=name == idiom.still_with
    )


# -- on the user's own modules -----------------------------------------------------------------------------------------


def in_place(idiom: Idiom) -> list[str]:
    """Check that ``inplace=True`` moves the given players themselves, as the loop does."""

    def play(name: str) -> list[str]:
        parts, row = idiom.build(), ROWS[name]
        solution = played(idiom, parts, row, inplace=True)
        hand = by_hand(idiom, row)
        moved = all(a is b for a, b in zip(leaves((solution.u, solution.v)), leaves((parts.u, parts.v)), strict=True))
        said = differences((parts.u, parts.v), (hand.u, hand.v))
        return said if moved else ["the solution's players are not those given", *said]

    said: list[str] = []
    for name in ("alternating-gda", "sensitivity"):
        if idiom.plays(name, ROWS[name].family):
            said += outcome(partial(play, name), idiom.refusal_in_place(name, ROWS[name].family))
    return said


# -- certificates ------------------------------------------------------------------------------------------------------

_STEPS = 2


def certified(idiom: Idiom) -> list[str]:
    """Check a certificate against risks, gradients, Hessians and trained players formed by hand."""

    def play() -> list[str]:
        parts, optimizer = idiom.build(), partial(torch.optim.SGD, lr=LR)
        data = None if parts.data is None else parts.data[:2]
        with quiet():
            certificate = certify(
                Game(parts.f, parts.u, parts.v),
                (parts.u, parts.v),
                data,
                restarts=1,
                steps=_STEPS,
                fresh_follower=lambda: idiom.build(1).v,
                u_optimizer=optimizer,
                v_optimizer=optimizer,
            )
            expected = _certificate_by_hand(idiom)
        reached = {
            "risk": certificate.risk.value,
            **{f"length of the gradient in {p}": q.value for p, q in certificate.stationarity.items()},
            **{f"eigenvalue in {p}": q.value for p, q in certificate.eigenvalues.items()},
            "fresh follower": certificate.followers["fresh follower 1"].value,
            "leader, trained on": certificate.leaders["the solution's leader, trained on"].value,
        }
        untouched = idiom.build()
        said = differences((parts.u, parts.v), (untouched.u, untouched.v))
        return said + [
            f"{name}: {reached[name]} for {value}"
            for name, value in expected.items()
            if not math.isclose(reached[name], value, rel_tol=1e-10, abs_tol=1e-10)
        ]

    return outcome(play, idiom.refusal("certify"))


def _certificate_by_hand(idiom: Idiom) -> dict[str, float]:
    parts = _evaluating(idiom.build(), "u", "v")
    here = _mean(parts, _derivatives)
    follower = _trained(_evaluating(idiom.build()._replace(v=idiom.build(1).v), "u"), "v")
    leader = _trained(_evaluating(idiom.build(), "v"), "u")
    return {
        "risk": float(_mean(parts, _value)[0]),
        "length of the gradient in u": float(here.u.norm()),
        "length of the gradient in v": float(here.v.norm()),
        "eigenvalue in u": float(torch.linalg.eigvalsh(here.uu).min()),
        "eigenvalue in v": float(torch.linalg.eigvalsh(here.vv).max()),
        "fresh follower": float(_mean(_evaluating(follower, "u", "v"), _value)[0]),
        "leader, trained on": float(_mean(_evaluating(leader, "u", "v"), _value)[0]),
    }


def _evaluating(parts: Parts, *players: str) -> Parts:
    """Put a game's players into evaluation mode, and the others into training mode."""
    for player, tree in (("u", parts.u), ("v", parts.v)):
        for leaf in leaves(tree):
            if isinstance(leaf, nn.Module):
                leaf.train(player not in players)
    return parts


def _loop(parts: Parts, players: tuple[str, ...] = ("u", "v")) -> HandLoop:
    data = None if parts.data is None else parts.data[:2]
    return HandLoop(
        parts.f, parts.u, parts.v, data, dict.fromkeys(("u", "v"), partial(torch.optim.SGD, lr=LR)), players
    )


def _mean(parts: Parts, form: Callable[[HandLoop], tuple[Tensor, ...]]) -> Any:
    """Return the mean over the batches of what ``form`` forms; each has the draw of its number."""
    loop, results = _loop(parts), []
    for _ in [None] if loop.batches is None else loop.batches:
        loop.open()
        results.append(form(loop))
        loop.steps += 1
    means = [torch.stack(entries).mean(0) for entries in zip(*results, strict=True)]
    return Local(*means) if len(means) > 1 else means


def _value(loop: HandLoop) -> tuple[Tensor]:
    with loop.risk() as value:
        return (value.detach(),)


def _derivatives(loop: HandLoop) -> Local:
    """Return the derivatives by what can move: two parameters of one memory are one variable."""
    here, (u, v) = local(loop), (_variables(loop.moving[player]) for player in ("u", "v"))
    return Local(u.T @ here.u, v.T @ here.v, u.T @ here.uu @ u, u.T @ here.uv @ v, v.T @ here.vu @ u, v.T @ here.vv @ v)


def _variables(tensors: list[Tensor]) -> Tensor:
    """Return the 0-1 matrix that maps the values in memory to the entries of the tensors."""
    entries: list[tuple[int, int]] = []
    for tensor in tensors:
        places = torch.zeros(tensor.shape, dtype=torch.int64) + tensor.storage_offset()
        for dimension, stride in enumerate(tensor.stride()):
            shape = [1] * tensor.dim()
            shape[dimension] = -1
            places += stride * torch.arange(tensor.shape[dimension]).view(shape)
        entries += [(tensor.untyped_storage().data_ptr(), place) for place in places.reshape(-1).tolist()]
    columns = list(dict.fromkeys(entries))
    matrix = torch.zeros(len(entries), len(columns), dtype=torch.float64)
    matrix[range(len(entries)), [columns.index(entry) for entry in entries]] = 1.0
    return matrix


def _trained(parts: Parts, player: str) -> Parts:
    """Train a player by gradient steps whose size falls along a cosine."""

    def step(loop: HandLoop) -> None:
        loop.optimizers[player].param_groups[0]["lr"] = LR * (1 + math.cos(math.pi * loop.steps / _STEPS)) / 2
        loop.descend(player, loop.field((player,))[player])

    _loop(parts, (player,)).play(step, _STEPS)
    return parts


# -- files -------------------------------------------------------------------------------------------------------------


def saved(idiom: Idiom) -> list[str]:
    """Check that a solution, loaded into players that were made anew, is the one that was saved.

    The players given to the solve must be as they were.
    """

    def play() -> list[str]:
        parts, untouched, fresh = idiom.build(), idiom.build(), idiom.build(1)
        solution = played(idiom, parts, ALTERNATING)
        with tempfile.TemporaryDirectory() as folder, quiet():
            again = Solution.load(solution.save(folder), Game(fresh.f, fresh.u, fresh.v))
        hand = by_hand(idiom, ALTERNATING)
        said = differences((again.u, again.v), (hand.u, hand.v))
        return said + [f"given: {line}" for line in differences((parts.u, parts.v), (untouched.u, untouched.v))]

    return outcome(play, idiom.refusal("save and load", "first"))


def resumed(idiom: Idiom) -> list[str]:
    """Check that 2 + 2 steps are 4, also for players that were made anew with other values, which may be refused."""

    def play() -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            played(idiom, idiom.build(), ALTERNATING, steps=2, callbacks=[Checkpoint(folder)])
            rest = played(idiom, idiom.build(), ALTERNATING, steps=4, resume=folder)
            hand = by_hand(idiom, ALTERNATING, steps=4)
            said = differences((rest.u, rest.v), (hand.u, hand.v))
            try:
                other = played(idiom, idiom.build(1), ALTERNATING, steps=4, resume=folder)
            except ResumeError:
                return said
        return said + [f"made anew: {line}" for line in differences((other.u, other.v), (hand.u, hand.v))]

    return outcome(play, idiom.refusal("resume", "first"))


def rolled_back(idiom: Idiom) -> list[str]:
    """Check that a risk that becomes NaN leads back to the whole state after the last step before it."""

    def poisoned(parts: Parts) -> Parts:
        factors = [torch.tensor(math.nan if i == 3 else 1.0, dtype=torch.float64) for i in range(5)]
        batches = [()] * 5 if parts.data is None else [(batch,) for batch in parts.data]
        data, f = list(zip(batches, factors, strict=True)), parts.f
        return parts._replace(f=lambda u, v, batch: f(u, v, *batch[0]) * batch[1], data=data)

    def play() -> list[str]:
        solution = played(idiom, poisoned(idiom.build()), ALTERNATING, steps=5)
        hand = by_hand(idiom, ALTERNATING, steps=2, parts=poisoned(idiom.build()))
        said = differences((solution.u, solution.v), (hand.u, hand.v))
        # The risk of step 3 is that of the point after step 2 as much as of the step: the point before it is finite.
        return said if solution.status == "diverged" and solution.steps == 2 else [str(solution), *said]

    return outcome(play, idiom.refusal("roll-back", "first"))


ASPECTS: dict[str, Callable[[Idiom], list[str]]] = {
    "in place": in_place,
    "certify": certified,
    "save and load": saved,
    "resume": resumed,
    "roll-back": rolled_back,
}
