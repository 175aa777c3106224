"""The risk on the players as they are played.

``f`` is called on the modules themselves, with whatever hooks, ties and closures they have. Elsewhere than at the live
point their tensors take the other values until the derivatives are formed, so that code which runs in the backward pass,
such as a checkpointed activation, sees the same players as the forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, final

import optree
import torch
from torch import Tensor

from minimaxopt._types import Player, Point, Tensors
from minimaxopt.calculus.gradients import RiskOnModules, scalar, track
from minimaxopt.errors import ArgumentError, RiskError
from minimaxopt.game.module_state import State
from minimaxopt.game.played_game import PlayedGame
from minimaxopt.game.trees import leaves_with_names, tensors_of, with_own_containers


@final
class GuardedBatch:
    """A batch that every evaluation gets in containers of its own, and whose tensors none may change.

    Args:
        batch: ``()`` without data and ``(batch,)`` with.
    """

    def __init__(self, batch: tuple[Any, ...]) -> None:
        self.batch = batch
        self._simple = all(map(_is_simple, batch))
        tensors = _flat(batch) if self._simple else tensors_of(batch)
        self._tensors = [t for t in tensors if not t.is_inference()]
        self._versions = _versions(self._tensors)

    def copy(self) -> tuple[Any, ...]:
        """Return the batch in containers of its own."""
        return self.batch if self._simple else with_own_containers(self.batch)

    def check(self) -> None:
        """Raise if a tensor was changed in place.

        Raises:
            RiskError: naming it.
        """
        versions = _versions(self._tensors)
        if versions != self._versions:
            pairs = zip(self._tensors, versions, self._versions, strict=True)
            culprit = next(tensor for tensor, now, before in pairs if now != before)
            raise refuse_changed(next(name for name, leaf in leaves_with_names(self.batch) if leaf is culprit))


def refuse_changed(name: str) -> RiskError:
    """Return the error about a tensor of the batch, by its path in ``(batch,)``, that was changed in place."""
    path = name.partition(".")[2]
    where = f"its tensor {path!r}" if path else "it"
    return RiskError(
        f"f: changes the batch in place ({where}), so that the next evaluation would see other data; make a new tensor, "
        "such as y = y * 0.5 instead of y.mul_(0.5)"
    )


def _flat(batch: tuple[Any, ...]) -> list[Tensor]:
    return [t for part in batch for t in (part if isinstance(part, tuple) else (part,))]


def _is_simple(part: Any) -> bool:
    """Return whether a part of a batch is a tensor or a tuple of tensors, whose containers nobody can change."""
    if isinstance(part, Tensor):
        return True
    return type(part) is tuple and all(isinstance(x, Tensor) for x in part)  # pyright: ignore[reportUnknownVariableType] - a batch may hold anything


@final
class LiveRisk(RiskOnModules):
    """The risk of one batch, on the players as they are played.

    Args:
        played: the players.
        batch: what ``f`` is evaluated on.
        opening: the state with which the evaluation begins.
        seed: sets the generators to the evaluation's random draw.
        keep: takes the state that the evaluation leaves; ``None`` forgets it.
        spec: the form of a responding follower's answer, whose leaves ``v`` then holds.
        elsewhere: the risk as a pure function, for tensors that are not the players'.
        player: whose: ``f``, or for ``"v"`` in a game of two losses what the follower maximises, ``-follower_loss``.
    """

    def __init__(
        self,
        played: PlayedGame,
        batch: GuardedBatch,
        opening: Mapping[Player, State],
        seed: Callable[[], None],
        keep: Callable[[dict[Player, State]], None] | None = None,
        spec: Any = None,
        elsewhere: Callable[[Tensors, Any], Tensor] | None = None,
        player: Player = "u",
    ) -> None:
        self._played, self._batch, self._opening = played, batch, opening
        self._seed, self._keep, self._spec, self._elsewhere = seed, keep, spec, elsewhere
        self._player: Player = player
        self.inside = 0
        """How many placements are open: derivatives will be formed before the evaluation ends."""

    def __call__(self, u: Tensors, v: Tensors) -> Tensor:
        """Return the risk; outside of ``placed`` at the live tensors, or as a pure function of others."""
        answer: Any = v if self._spec is None else optree.tree_unflatten(self._spec, list(v.values()))
        if not self.inside and not self._is_live(u, v):
            if self._elsewhere is None:
                raise RiskError("f: can be evaluated here on the players' own tensors only; give those of the context")
            return self._elsewhere(u, answer)
        self._played.write_state(self._opening)
        self._seed()
        value = self._played.evaluate(self._batch.copy(), answer, self._player)
        if self._player == "v":
            value = -scalar(value)
        if not self.inside:
            self.leave()
        return value

    def respond(self, u: Tensors, seed: Callable[[], None]) -> tuple[Tensors, Any]:
        """Return the responding follower's answer to ``u``: its tensors by name, and its form.

        Args:
            u: the leader's tensors.
            seed: sets the generators to the answer's random draw.

        Raises:
            ArgumentError: if the answer holds something else than floating tensors.
        """
        with self.placed(Point(u, {}), ()):
            self._played.write_state(self._opening)
            seed()
            answer = self._played.respond(self._batch.copy())
        flat: Tensors = {}
        for name, leaf in leaves_with_names(answer):
            if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
                raise ArgumentError(
                    f"v: the responding follower returned {type(leaf).__name__} at {name!r}; return floating tensors"
                )
            flat[name or "value"] = leaf
        return flat, optree.tree_structure(answer, none_is_leaf=True)

    def placed(self, point: Point, players: Sequence[Player], *, again: bool = False) -> Placement | _LivePlacement:
        """Let the players hold ``point`` until the context ends."""
        live, answered = self._played.parameters, self._played.responding
        if not again and point.u is live["u"] and (answered or point.v is live["v"]):
            return _LivePlacement(self, Point(live["u"], track(point, players).v if answered else live["v"]))
        return Placement(self, live, point, players, again=again, answered=answered)

    def _is_live(self, u: Tensors, v: Tensors) -> bool:
        live = self._played.parameters
        pairs = [(u, live["u"])] + ([(v, live["v"])] if not self._played.responding else [])
        return all(_same(values[n], own) for values, tensors in pairs for n, own in tensors.items())

    def leave(self) -> None:
        """End the evaluation: its batch must be as it was, and its state is kept."""
        try:
            self._batch.check()
        except RiskError as error:
            self.explain(error)
            raise
        if self._keep is not None:
            self._keep(self._played.read_state())

    def explain(self, error: BaseException) -> None:
        """Raise an error about the follower's loss by its own name, since the calculus calls every risk ``f``."""
        if self._player == "v" and isinstance(error, RiskError) and str(error).startswith("f: "):
            text = str(error).removeprefix("f: ").replace("the risk ", "the loss ").replace("inside f ", "inside it ")
            raise type(error)(f"follower_loss: {text}") from error

    def changed_state(self) -> list[Tensor]:
        """Return the tensors of the modules' state that the evaluation has changed."""
        return self._played.changed_tensors(self._opening)


def _same(tensor: Tensor, own: Tensor) -> bool:
    if tensor is own:
        return True
    if torch.func.debug_unwrap(tensor) is not tensor:  # under a transform of torch.func
        return False
    # Without a graph a view of a player's tensor is as good as the tensor: no gradient can be asked for it.
    alias = not tensor.requires_grad and tensor.shape == own.shape and tensor.dtype == own.dtype
    return alias and tensor.data_ptr() == own.data_ptr() and tensor.stride() == own.stride()


@final
class _LivePlacement:
    """Players that stay where they are."""

    __slots__ = ("_at", "_risk")

    def __init__(self, risk: LiveRisk, at: Point) -> None:
        self._risk, self._at = risk, at

    def __enter__(self) -> Point:
        self._risk.inside += 1
        return self._at

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._risk.inside -= 1
        if error is None:
            self._risk.leave()
        else:
            self._risk.explain(error)


@final
class Placement:
    """Players that hold the values of a point for as long as a context lasts; it may be entered again.

    When it is entered again, the tensors get the values and the versions that they had, so that the graph of the first
    evaluation stays valid although the players have moved since. The values are equal to the bit, which is all that a
    version stands for.

    Args:
        risk: what is evaluated.
        live: the players' tensors.
        point: the values.
        players: whose tensors are to be differentiated.
        again: whether the context will be entered again.
        answered: whether ``v`` is a responding follower's answer instead of a player's values.
    """

    def __init__(
        self,
        risk: LiveRisk,
        live: Mapping[Player, Tensors],
        point: Point,
        players: Sequence[Player],
        *,
        again: bool,
        answered: bool,
    ) -> None:
        self._risk, self._again = risk, again
        self._at = Point(live["u"], track(point, players).v if answered else live["v"])
        pairs = [(live["u"], point.u)] if answered else [(live["u"], point.u), (live["v"], point.v)]
        self._elsewhere = [
            (own, values[name].detach())
            for tensors, values in pairs
            if values is not tensors
            for name, own in tensors.items()
            if not _same(values[name], own)
        ]
        self._tensors = [own for tensors, _ in pairs for own in tensors.values()]
        self._values: list[Tensor] | None = None
        self._versions: list[int] = []
        self._before: list[tuple[Tensor, Tensor]] = []
        self._versions_before: list[int] = []

    def __enter__(self) -> Point:
        if self._values is None:
            self._write(self._elsewhere)
        else:
            self._versions_before = _versions(self._tensors)
            if self._versions_before != self._versions:
                self._write(list(zip(self._tensors, self._values, strict=True)))
                _set_versions(self._tensors, self._versions)
        self._risk.inside += 1
        return self._at

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._risk.inside -= 1
        try:
            if error is not None:
                self._risk.explain(error)
            elif self._values is None:
                self._risk.leave()
                if self._again:
                    self._tensors += self._risk.changed_state()
                    self._values = [t.detach().clone() for t in self._tensors]
                    self._versions = _versions(self._tensors)
        finally:
            _copy_into(self._before)
            self._before = []
            if self._versions_before:
                _set_versions(self._tensors, self._versions_before)
                self._versions_before = []

    def _write(self, values: list[tuple[Tensor, Tensor]]) -> None:
        self._before = [(own, own.detach().clone()) for own, _ in values]
        _copy_into(values)


def _copy_into(values: list[tuple[Tensor, Tensor]]) -> None:
    if values:
        with torch.no_grad():
            for own, value in values:
                own.copy_(value)


def _versions(tensors: Iterable[Tensor]) -> list[int]:
    return [t._version for t in tensors]


def _set_versions(tensors: Sequence[Tensor], versions: Sequence[int]) -> None:
    torch._C._autograd._unsafe_set_version_counter(tuple(tensors), tuple(versions))  # pyright: ignore - torch does not type its private names
