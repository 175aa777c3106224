"""One cell of the table: a game in an idiom, played by the library and by hand."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import optree
import torch
from torch import Tensor

from minimaxopt import Game, Solution, solve
from minimaxopt.solvers.adjusted import Consensus, Hamiltonian, SymplecticAdjustment
from minimaxopt.solvers.best_response import BestResponse
from minimaxopt.solvers.competitive import CompetitiveGradient
from minimaxopt.solvers.extragradient import AnchoredExtragradient, Extragradient, Optimistic, PastExtragradient
from minimaxopt.solvers.gda import AlternatingGDA, SimultaneousGDA, TwoTimescale
from minimaxopt.solvers.implicit import FollowTheRidge, Stackelberg
from minimaxopt.solvers.kbeam import KBeam
from minimaxopt.solvers.momentum import NegativeMomentum
from minimaxopt.solvers.newton import CompleteNewton, NewtonFollower
from minimaxopt.solvers.one_player import Ascent, Descent
from minimaxopt.solvers.sensitivity import Sensitivity
from minimaxopt.solvers.smoothed import SmoothedGDA
from minimaxopt.solvers.unrolled import Unrolled
from minimaxopt.solvers.wrappers import Averaged, Lookahead
from tests.idioms import first_order as first
from tests.idioms import second_order as second
from tests.idioms.games import Parts
from tests.idioms.hand import HandLoop, Step, is_state, leaves
from tests.idioms.idioms import Idiom
from tests.idioms.modules import Meter

LR = 0.2
EXACT = 1e-12
"""The largest difference of a value, absolute below 1 and relative above."""

_SOLVED: dict[str, Any] = {"cg_steps": 60, "cg_tolerance": 1e-14}
_DAMPED: dict[str, Any] = {"damping": 2.0, **_SOLVED}


@dataclass(frozen=True)
class Row:
    """A solver of the library, and the same step by hand."""

    solver: Any
    by_hand: Callable[[], Step]
    family: str
    players: tuple[str, ...] = ("u", "v")
    steps: int = 2
    plain: bool = False
    """Whether the optimizers must be SGD without momentum."""


def beside(v: Any, generator: torch.Generator) -> Any:
    """Return K-beam's second follower, a fixed distance from the given one."""
    del generator
    return optree.tree_map(lambda t: t + 0.1, v)


def _first(solver: Any, by_hand: Callable[[], Step], *players: str, steps: int = 2) -> Row:
    return Row(solver, by_hand, "first", players or ("u", "v"), steps)


def _second(solver: Any, by_hand: Callable[[], Step], steps: int = 2) -> Row:
    return Row(solver, by_hand, "second", steps=steps, plain=isinstance(solver, CompetitiveGradient))


ROWS: dict[str, Row] = {
    "simultaneous-gda": _first(SimultaneousGDA(), first.simultaneous),
    "alternating-gda": _first(AlternatingGDA(), first.alternating, steps=4),
    "alternating-gda, v first": _first(AlternatingGDA(first="v", ascent_steps=2), lambda: first.alternating("vvu")),
    "two-timescale": _first(TwoTimescale(ratio=2.0, power=0.5), lambda: first.two_timescale(2.0, 0.5)),
    "best-response": _first(BestResponse(ascent_steps=3), lambda: first.alternating("vvvu")),
    "negative-momentum": _first(NegativeMomentum(beta=-0.3), lambda: first.negative_momentum(-0.3)),
    "smoothed-gda": _first(SmoothedGDA(p=0.5, beta=0.5), lambda: first.smoothed(0.5, 0.5)),
    "extragradient": _first(Extragradient(), first.extragradient),
    "past-extragradient": _first(PastExtragradient(), first.past_extragradient),
    "optimistic": _first(Optimistic(), first.optimistic),
    "anchored-extragradient": _first(AnchoredExtragradient(), first.anchored),
    "k-beam": _first(KBeam(followers=2, draw=beside), lambda: first.k_beam(0.1)),
    "k-beam, vectorised": Row(KBeam(followers=2, draw=beside, vectorise=True), lambda: first.k_beam(0.1), "vectorised"),
    "lookahead": _first(
        Lookahead(AlternatingGDA(), period=2, alpha=0.4), lambda: first.lookahead(first.alternating(), 2, 0.4)
    ),
    "averaged": _first(Averaged(SimultaneousGDA(), start=1), lambda: first.averaged(first.simultaneous(), 1)),
    "descent": _first(Descent(), lambda: first.alternating("u"), "u"),
    "ascent": _first(Ascent(), lambda: first.alternating("v"), "v"),
    "sensitivity": _second(Sensitivity(gamma=0.5), lambda: second.sensitivity(0.5), steps=4),
    "sensitivity, alternating": _second(
        Sensitivity(gamma=0.5, alternate=True), lambda: second.sensitivity(0.5, alternate=True)
    ),
    "sensitivity, split": _second(Sensitivity(gamma=0.5, split=True), lambda: second.split_sensitivity(0.5)),
    "unrolled": _second(Unrolled(steps=2, inner_lr=0.1), lambda: second.unrolled(2, 0.1)),
    "stackelberg": _second(Stackelberg(**_DAMPED), lambda: second.stackelberg(2.0)),
    "follow-the-ridge": _second(FollowTheRidge(**_DAMPED), lambda: second.follow_the_ridge(2.0)),
    "newton-follower": _second(NewtonFollower(**_DAMPED), lambda: second.newton_follower(2.0)),
    "complete-newton": _second(CompleteNewton(**_DAMPED), lambda: second.complete_newton(2.0), steps=1),
    "competitive-gradient": _second(CompetitiveGradient(**_SOLVED), lambda: second.competitive(LR)),
    "symplectic-adjustment": _second(SymplecticAdjustment(weight=0.5), lambda: second.symplectic(0.5)),
    "consensus": _second(Consensus(gamma=0.5), lambda: second.consensus(0.5)),
    "hamiltonian": _second(Hamiltonian(), second.hamiltonian),
}


def sgd(idiom: Idiom, row: Row) -> Callable[[list[Tensor]], torch.optim.Optimizer]:
    return partial(torch.optim.SGD, lr=LR, momentum=0.5 if idiom.momentum and not row.plain else 0.0)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what torch says of its own older forms while it runs them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def played(idiom: Idiom, parts: Parts, row: Row, *, steps: int = 0, **options: Any) -> Solution:
    """Return the library's solution."""
    optimizers = {f"{player}_optimizer": sgd(idiom, row) for player in row.players}
    with quiet():
        return solve(
            Game(parts.f, parts.u, parts.v),
            row.solver,
            steps=steps or row.steps,
            data=parts.data,
            **optimizers,
            **options,
        )


def by_hand(idiom: Idiom, row: Row, *, steps: int = 0, parts: Parts | None = None) -> Parts:
    """Return the game after steps made by hand."""
    parts = idiom.build() if parts is None else parts
    make = dict.fromkeys(("u", "v"), sgd(idiom, row))
    with quiet():
        HandLoop(parts.f, parts.u, parts.v, parts.data, make, row.players).play(row.by_hand(), steps or row.steps)
    return parts


# -- comparison --------------------------------------------------------------------------------------------------------


def observed(player: str, tree: Any) -> dict[str, Any]:
    """Return everything that a player is, by name: parameters, buffers, plain attributes."""
    things: dict[str, Any] = {}
    for place, leaf in enumerate(leaves(tree)):
        if isinstance(leaf, Tensor):
            things[f"{player}.{place}"] = leaf.detach()
            continue
        for name, part in leaf.named_modules():
            values = {
                n: x for n, x in vars(part).items() if not n.startswith(("training", "_torchdynamo")) and is_state(x)
            }
            for kind in (part._parameters, part._buffers, values):
                for key, value in kind.items():
                    if value is not None:
                        kept = value.detach() if isinstance(value, Tensor) else value
                        things[".".join([player, str(place), *filter(None, [name]), key])] = kept
    return things


def shared(things: dict[str, Any]) -> set[frozenset[str]]:
    """Return the groups of names that lie in one memory."""
    groups: dict[int, set[str]] = {}
    for name, thing in things.items():
        if isinstance(thing, Tensor) and thing.numel():
            groups.setdefault(thing.untyped_storage().data_ptr(), set()).add(name)
    return {frozenset(names) for names in groups.values() if len(names) > 1}


def differences(ours: tuple[Any, Any], theirs: tuple[Any, Any]) -> list[str]:
    """Return in words where two pairs of players differ."""
    here, there = ({**observed("u", u), **observed("v", v)} for u, v in (ours, theirs))
    said = [f"{name} is missing" for name in there if name not in here]
    said += [
        f"{name}: {here[name]} for {there[name]}"
        for name in there
        if name in here and not same(here[name], there[name])
    ]
    if (memory := shared({n: here[n] for n in there if n in here})) != shared(there):
        said.append(f"one memory: {sorted(map(sorted, memory))} for {sorted(map(sorted, shared(there)))}")
    return said


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return (
            a.shape == b.shape and a.dtype == b.dtype and torch.allclose(a, b, rtol=EXACT, atol=EXACT, equal_nan=True)
        )
    if isinstance(a, torch.Generator) and isinstance(b, torch.Generator):
        return torch.equal(a.get_state(), b.get_state())
    if isinstance(a, Meter) and isinstance(b, Meter):
        return a.count == b.count and same(a.total, b.total)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and (a == b or abs(a - b) <= EXACT)


def equals_the_loop(idiom: Idiom, row: Row) -> list[str]:
    """Play a cell; return where the library's values differ from the loop's."""
    solution = played(idiom, idiom.build(), row)
    hand = by_hand(idiom, row)
    said = differences((solution.u, solution.v), (hand.u, hand.v))
    return said if solution.status == "step budget used" else [f"{solution.status}: {solution.message}", *said]
