"""Loops written by hand in plain PyTorch, on the players' own modules: no copies and no functional calls.

Another point than the live one is visited by writing its values into the players' tensors, and the backward pass runs
while they are there. The conventions are the library's: every evaluation of a step begins with the step's opening
buffers, frozen parameters and attributes and replays the step's random draw; those that the last evaluation for ``u``
leaves are kept, once a step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import optree
import torch
from torch import Tensor, nn

from minimaxopt.game.random_streams import stream
from tests.idioms.modules import Meter

Values = list[Tensor]
Step = Callable[["HandLoop"], None]
MakeOptimizer = Callable[[list[Tensor]], torch.optim.Optimizer]

_OF_EVERY_MODULE = vars(nn.Module()).keys()


class Kept(NamedTuple):
    """A part of a module's state.

    Attributes:
        place: the dictionary that holds it.
        name: its key there.
        thing: the tensor or generator itself, into which the value is put back; ``None`` for what is replaced.
        value: a copy of its value.
    """

    place: dict[str, Any]
    name: str
    thing: Any
    value: Any


def leaves(tree: Any) -> list[Any]:
    return optree.tree_leaves(tree, none_is_leaf=True)


def modules_of(tree: Any) -> list[nn.Module]:
    roots = [leaf for leaf in leaves(tree) if isinstance(leaf, nn.Module)]
    return list(dict.fromkeys(part for root in roots for part in root.modules()))


def moving_tensors(tree: Any) -> Values:
    """Return what moves: bare tensors, and the parameters of modules that require gradients, each once."""
    bare = [leaf.requires_grad_() for leaf in leaves(tree) if isinstance(leaf, Tensor)]
    own = [p for part in modules_of(tree) for p in part.parameters(recurse=False) if p.requires_grad]
    return list({id(t): t for t in bare + own}.values())


def is_state(value: Any) -> bool:
    """Return whether an attribute is a plain value: what a module's own code may count or remember."""
    if isinstance(value, Tensor):
        return not isinstance(value, nn.Parameter) and not value.requires_grad
    if isinstance(value, list):
        return all(is_state(part) for part in value)
    return isinstance(value, bool | int | float | torch.Generator | Meter)


def state_of(tree: Any, moving: Sequence[Tensor]) -> list[Kept]:
    """Return what a player's modules hold beside what moves, with copies of the values."""
    storages = {t.untyped_storage().data_ptr() for t in moving}
    state: list[Kept] = []
    for part in modules_of(tree):
        frozen = {n: p for n, p in part._parameters.items() if p is not None and not p.requires_grad}
        buffers = {n: b for n, b in part._buffers.items() if b is not None}
        plain = {n: x for n, x in vars(part).items() if n not in _OF_EVERY_MODULE and is_state(x)}
        for place, values in ((part._parameters, frozen), (part._buffers, buffers), (vars(part), plain)):
            for name, value in values.items():
                if isinstance(value, torch.Generator):
                    state.append(Kept(place, name, value, value.get_state()))
                elif not isinstance(value, Tensor):
                    state.append(Kept(place, name, None, copy.deepcopy(value)))
                elif value.untyped_storage().data_ptr() not in storages:  # else it moves with the tensor that it views
                    state.append(Kept(place, name, value, value.detach().clone()))
    return state


def put_back(state: list[Kept]) -> None:
    for place, name, thing, value in state:
        if isinstance(thing, torch.Generator):
            thing.set_state(value)
        elif thing is None:
            place[name] = copy.deepcopy(value)
        else:
            place[name] = thing
            thing.data.copy_(value)


def with_own_containers(batch: tuple[Any, ...]) -> Any:
    """Return a batch of the same tensors in containers that ``f`` may empty."""
    return optree.tree_map(lambda leaf: leaf if isinstance(leaf, Tensor) else copy.copy(leaf), batch)


class HandLoop:
    """A loop over batches; steps are functions of it.

    Args:
        f: the risk.
        u: the leader, which is moved itself.
        v: the follower, likewise.
        batches: played in order, again and again; ``None`` for an ``f(u, v)``.
        make: of each player's optimizer.
        players: who moves.
        seed: of the random draws.
    """

    def __init__(
        self,
        f: Callable[..., Tensor],
        u: Any,
        v: Any,
        batches: Sequence[Any] | None,
        make: dict[str, MakeOptimizer],
        players: Sequence[str] = ("u", "v"),
        seed: int = 0,
    ) -> None:
        self.f, self.trees, self.batches, self.seed = f, {"u": u, "v": v}, batches, seed
        self.moving = {player: moving_tensors(tree) for player, tree in self.trees.items()}
        self.optimizers = {player: make[player](self.moving[player]) for player in players}
        self.steps = 0
        self.batch: tuple[Any, ...] = ()
        self._opening: dict[str, list[Kept]] = {}
        self._closing: dict[str, list[Kept]] | None = None

    def play(self, step: Step, steps: int) -> None:
        with torch.random.fork_rng(devices=[]):
            for _ in range(steps):
                self.open()
                step(self)
                self.close()

    def open(self) -> None:
        if self.batches is not None:
            self.batch = (self.batches[self.steps % len(self.batches)],)
        self._opening, self._closing = self._states(), None

    def close(self) -> None:
        for player in self.optimizers:
            if self._closing is not None:
                put_back(self._closing[player])
        self.steps += 1

    def _states(self) -> dict[str, list[Kept]]:
        return {player: state_of(tree, self.moving[player]) for player, tree in self.trees.items()}

    # -- evaluation --------------------------------------------------------------------------------------------------------

    @contextmanager
    def risk(
        self,
        players: Sequence[str] = ("u", "v"),
        at: dict[str, Values] | None = None,
        batch: tuple[Any, ...] | None = None,
        *,
        noted: bool = True,
    ) -> Iterator[Tensor]:
        """Yield ``f``, evaluated at a point that stays installed until its derivatives have been formed."""
        live = {player: self.where(player) for player in at or {}}
        for player, values in (at or {}).items():
            self.put(player, values)
        self._begin_again()
        torch.default_generator.manual_seed(stream(self.seed, self.steps, "risk"))
        yield self.f(self.trees["u"], self.trees["v"], *with_own_containers(self.batch if batch is None else batch))
        if noted and ("u" in players or self._closing is None or "u" not in self.optimizers):
            self._closing = self._states()
        for player, values in live.items():
            self.put(player, values)
        self._begin_again()

    def _begin_again(self) -> None:
        for state in self._opening.values():
            put_back(state)

    def gradient(self, value: Tensor, tensors: Values, **options: Any) -> Values:
        """Return the gradient: zeros where the value does not depend on a tensor, and never sparse."""
        parts = torch.autograd.grad(value, tensors, allow_unused=True, **options)
        dense = [g.to_dense() if g is not None and g.is_sparse else g for g in parts]
        return [torch.zeros_like(t) if g is None else g for g, t in zip(dense, tensors, strict=True)]

    def field(
        self, players: Sequence[str] = ("u", "v"), at: dict[str, Values] | None = None, *, noted: bool = True
    ) -> dict[str, Values]:
        """Return each player's gradient of its own loss."""
        with self.risk(players, at, noted=noted) as value:
            gradients = {p: self.gradient(value, self.moving[p], retain_graph=True) for p in players}
        return {p: g if p == "u" else [-part for part in g] for p, g in gradients.items()}

    # -- moves -------------------------------------------------------------------------------------------------------------

    def where(self, player: str) -> Values:
        return [t.detach().clone() for t in self.moving[player]]

    def put(self, player: str, values: Values) -> None:
        # Values and not increments: two parameters of one memory would be moved twice.
        for tensor, value in zip(self.moving[player], values, strict=True):
            tensor.data.copy_(value)

    def descend(self, player: str, direction: Values) -> None:
        for tensor, part in zip(self.moving[player], direction, strict=True):
            tensor.grad = part.detach().clone()
        self.optimizers[player].step()
        self.optimizers[player].zero_grad(set_to_none=True)

    def proposal(self, player: str, direction: Values) -> Values:
        """Return how far the optimizer would go, and stay."""
        before = self.where(player)
        self.descend(player, direction)
        moved = difference(self.where(player), before)
        self.put(player, before)
        return moved

    def memories(self) -> dict[str, Any]:
        return {player: copy.deepcopy(optimizer.state_dict()) for player, optimizer in self.optimizers.items()}

    def remember(self, memories: dict[str, Any]) -> None:
        for player, memory in memories.items():
            self.optimizers[player].load_state_dict(copy.deepcopy(memory))


def difference(a: Values, b: Values) -> Values:
    return [x - y for x, y in zip(a, b, strict=True)]


def plus(a: Values, b: Values, weight: float = 1.0) -> Values:
    return [x + weight * y for x, y in zip(a, b, strict=True)]
