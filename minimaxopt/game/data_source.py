"""Batches, and where a solve gets them from."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast, final

import torch
from torch import Tensor

from minimaxopt.errors import DataError, ResumeError
from minimaxopt.game.batches import Batches, Seekable, is_seekable
from minimaxopt.game.random_streams import HostGenerators, bring_to_rest, replay, stream
from minimaxopt.game.trees import tensors_of, to_device


class Source(Protocol):
    """Where the loop takes its batches from. A batch is ``()`` without data and ``(batch,)`` with.

    ``position`` counts the batches taken, and ``rewind`` goes back to an earlier one within a run; ``forget`` says that
    nobody will go back beyond a position. ``state`` and ``load`` do the same across runs, where ``exact`` says that the
    source can.
    """

    exact: bool
    why_not: str
    position: int
    limit: int
    """The most batches that a source keeps for going back."""

    @property
    def epoch(self) -> int | None:
        """The number of batches in a pass over the data, if known."""
        ...

    def take(self) -> tuple[Any, ...]:
        """Return the next batch."""
        ...

    def rewind(self, position: int) -> None:
        """Go back to an earlier position of this run."""
        ...

    def forget(self, position: int) -> None:
        """Free what is kept for positions before this one."""
        ...

    def state(self) -> dict[str, Any]:
        """Return where the source stands, for a checkpoint."""
        ...

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        ...


@final
class Exhausted(Exception):  # noqa: N818 - an event, not a failure
    """The data ended."""


@final
@dataclass
class Indexed:
    """Batches by number, so that going back is a jump; without data there is nothing to take."""

    batches: Seekable | None
    device: torch.device | None
    position: int = 0
    limit: int = 1_000_000
    exact: bool = True
    why_not: str = ""

    @property
    def epoch(self) -> int | None:
        """The number of batches in a pass over the data, if known."""
        return _length_of(self.batches)

    def take(self) -> tuple[Any, ...]:
        """Return the next batch."""
        if self.batches is None:
            return ()
        batch = self.batches.at(self.position)
        self.position += 1
        return (to_device(batch, self.device),)

    def rewind(self, position: int) -> None:
        """Go back to an earlier position of this run."""
        self.position = position

    def forget(self, position: int) -> None:
        """Free what is kept for positions before this one."""
        del position

    def state(self) -> dict[str, Any]:
        """Return where the source stands, for a checkpoint."""
        return {"position": self.position}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        self.position = int(state["position"])


@final
class Iterated:
    """Batches from any iterable, begun again when it ends.

    Within a run the latest batches are kept. Across runs, going back means beginning the epoch again and passing over
    what was taken, or asking the iterable itself (``state_dict`` / ``load_state_dict``); ``exact`` says whether the
    iterable is known to repeat itself.
    """

    def __init__(
        self,
        iterable: Iterable[Any],
        seed: int,
        device: torch.device | None,
        host: HostGenerators,
        name: str = "data",
    ) -> None:
        self._name = name
        self._iterable, self._seed, self._device = iterable, seed, device
        self._epoch = self._taken = 0
        self._iterator: Iterator[Any] | None = None
        self._kept: deque[Any] = deque()
        self._base = self.position = 0
        # The iterable can be asked for its state only where it stands, which may be beyond the position: a state is
        # kept with its position, and the batches between are drawn again.
        self._marks: deque[tuple[int, dict[str, Any]]] = deque([(0, {"epoch": 0, "taken": 0})])
        self.limit = 1
        self._host, self._draws = host, not isinstance(iterable, (list, tuple))
        self._stateful = _is_stateful(iterable)
        self.why_not = _why_not_repeatable(iterable, name, stateful=self._stateful)
        self.exact = not self.why_not

    @property
    def epoch(self) -> int | None:
        """The number of batches in a pass over the data, if known."""
        return _length_of(self._iterable)

    def take(self) -> tuple[Any, ...]:
        """Return the next batch."""
        if self.position == self._drawn:
            self._kept.append(self._draw())
        batch = self._kept[self.position - self._base]
        self.position += 1
        return (to_device(batch, self._device),)

    def rewind(self, position: int) -> None:
        """Go back to an earlier position of this run."""
        self.position = position

    def forget(self, position: int) -> None:
        """Free what is kept for positions before this one."""
        while self._base < position:
            self._kept.popleft()
            self._base += 1
        while len(self._marks) > 1 and self._marks[1][0] <= position:
            self._marks.popleft()

    def state(self) -> dict[str, Any]:
        """Return where the source stands, for a checkpoint."""
        if self.position == self._drawn > self._marks[-1][0]:
            inner: dict[str, Any] = {"loader": copy.deepcopy(self._iterable.state_dict())} if self._stateful else {}  # type: ignore[attr-defined] - asked for by hasattr
            self._marks.append((self.position, {"epoch": self._epoch, "taken": self._taken, **inner}))
        at, mark = next(pair for pair in reversed(self._marks) if pair[0] <= self.position)
        return {**mark, "further": self.position - at}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        if not self.exact:
            raise ResumeError(self.why_not)
        further = int(state["further"])
        mark = {key: value for key, value in state.items() if key != "further"}
        self._epoch, self._taken, self._iterator = int(mark["epoch"]), 0, None
        passed = int(mark["taken"]) + further
        if "loader" in mark:
            self._iterable.load_state_dict(copy.deepcopy(mark["loader"]))  # type: ignore[attr-defined] - asked for by hasattr
            self._taken, passed = int(mark["taken"]), further
        try:
            for _ in range(passed):
                self._draw()
        except Exhausted:
            raise ResumeError(
                f"{self._name}: ended before the batch at which the run stopped; give that run's data"
            ) from None
        self._kept.clear()
        self._base = self.position = 0
        self._marks = deque([(-further, mark)])

    @property
    def _drawn(self) -> int:
        return self._base + len(self._kept)

    def _draw(self) -> Any:
        if self._iterator is None:
            self._begin()
        batch = self._next()
        if batch is _END:
            if self._taken == 0 and self._epoch == 0:
                raise DataError(f"{self._name}: has no batches; give at least one")
            self._epoch, self._taken = self._epoch + 1, 0
            self._begin()
            batch = self._next()
            if batch is _END:
                raise Exhausted
        self._taken += 1
        size = sum(t.numel() * t.element_size() for t in tensors_of(batch))
        self.limit = max(1, _KEPT_BYTES // max(size, 1))
        return batch

    def _begin(self) -> None:
        # A loader draws its order, and its workers' seeds, from the global generator when iteration begins.
        draw = stream(self._seed, self._epoch, "data")
        at, mark = self._marks[-1]
        if self._stateful and at == self._drawn and "loader" not in mark:
            self._replay(draw)  # asked before it iterates, a loader may begin to
            self._marks[-1] = (at, {**mark, "loader": copy.deepcopy(self._iterable.state_dict())})  # type: ignore[attr-defined] - asked for by hasattr
        self._replay(draw)
        self._iterator = iter(self._iterable)

    def _next(self) -> Any:
        assert self._iterator is not None
        self._replay(stream(self._seed, self._epoch, "data", self._taken + 1))
        batch = next(self._iterator, _END)
        if self._draws and not self.exact and not self._host.seeded:
            bring_to_rest()  # where the loop expects to find them
        return batch

    def _replay(self, draw: int) -> None:
        # A loop that notices a draw draws the batches again, which not every iterable can.
        replay(draw, host=self._draws and (self._host.seeded or not self.exact))


@final
class Combined:
    """Several sources, of which each batch has one batch each; each begins again when it ends, whatever the others do.

    Args:
        sources: by key.
        assemble: makes the batch from the sources' batches, in order.
    """

    def __init__(self, sources: Mapping[str, Source], assemble: Callable[[list[Any]], Any]) -> None:
        self._sources, self._assemble = dict(sources), assemble
        self._begins = [source.position for source in sources.values()]
        self.position = 0
        self.limit = min(source.limit for source in sources.values())
        self.why_not = next((source.why_not for source in sources.values() if not source.exact), "")
        self.exact = not self.why_not

    @property
    def epoch(self) -> int | None:
        """The number of batches in a pass over the data, if it is the same for all sources."""
        lengths = {source.epoch for source in self._sources.values()}
        return lengths.pop() if len(lengths) == 1 else None

    def take(self) -> tuple[Any, ...]:
        """Return the next batch."""
        batch = self._assemble([source.take()[0] for source in self._sources.values()])
        self.position += 1
        self.limit = min(source.limit for source in self._sources.values())
        return (batch,)

    def rewind(self, position: int) -> None:
        """Go back to an earlier position of this run."""
        self.position = position
        for source, begin in zip(self._sources.values(), self._begins, strict=True):
            source.rewind(begin + position)

    def forget(self, position: int) -> None:
        """Free what is kept for positions before this one."""
        for source, begin in zip(self._sources.values(), self._begins, strict=True):
            source.forget(begin + position)

    def state(self) -> dict[str, Any]:
        """Return where the sources stand, for a checkpoint."""
        return {"sources": {key: source.state() for key, source in self._sources.items()}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        saved = state["sources"]
        if saved.keys() != self._sources.keys():
            raise ResumeError(f"data: has the sources {list(self._sources)}, not {list(saved)}; give that run's data")
        for key, source in self._sources.items():
            source.load(saved[key])
        self._begins = [source.position for source in self._sources.values()]
        self.position = 0


_END: Any = object()
_KEPT_BYTES = 64 * 2**20


def source_of(
    data: Any, seed: int, device: torch.device | None, host: HostGenerators | None = None, name: str = "data"
) -> Source:
    """Return the source of batches for what a user gave as ``data``; ``name`` is what an error calls it."""
    if parts := parts_of(data):
        sources: dict[str, Source] = {}
        for i, (key, part) in enumerate(parts.items()):
            where = f"{name}[{key!r}]"
            if part is None:
                raise DataError(f"{where}: is None; give Batches or an iterable of batches, or leave it out")
            # Loaders of one length would otherwise shuffle alike.
            own = stream(seed, i, "source") if i else seed
            sources[str(key)] = source_of(part, own, device, host, where)
        if isinstance(data, tuple):
            return Combined(sources, tuple)
        return Combined(sources, lambda batches: dict(zip(parts, batches, strict=True)))
    if data is None:
        return Indexed(None, device)
    if is_seekable(data):
        return Indexed(data, device)
    if isinstance(data, (Tensor, Mapping, str, bytes)):
        kind = "bare tensor" if isinstance(data, Tensor) else type(data).__name__
        raise DataError(f"{name}: a {kind} is not a collection of batches; give Batches(..., batch_size=...)")
    if isinstance(data, tuple) and data and all(isinstance(part, Tensor) for part in data):
        raise DataError(
            f"{name}: a tuple of tensors looks like one batch; give Batches(tensors, batch_size=...), or [batch] for the "
            "same batch at every step"
        )
    if not isinstance(data, Iterable):
        raise DataError(
            f"{name}: {type(data).__name__} is neither Batches nor an iterable of batches; give Batches(tensors, "
            "batch_size=...)"
        )
    if isinstance(data, Sequence) and not data:
        raise DataError(f"{name}: is empty; give at least one batch")
    return Iterated(data, seed, device, host or HostGenerators(), name)


def parts_of(data: Any) -> dict[Any, Any]:
    """Return the sources of batches that ``data`` combines, by key; none if it is one source itself."""
    if isinstance(data, Mapping):
        named = cast("Mapping[Any, Any]", data)
        return {} if all(isinstance(part, Tensor) for part in named.values()) else dict(named)
    if isinstance(data, tuple):
        listed = cast("tuple[Any, ...]", data)
        # Any other tuple is a sequence of batches.
        if any(isinstance(part, (Batches, torch.utils.data.DataLoader)) or _is_stateful(part) for part in listed):
            return dict(enumerate(listed))
    return {}


def _length_of(data: Any) -> int | None:
    try:
        return len(data) or None
    except (TypeError, NotImplementedError):  # a loader over a stream has the method, which raises
        return None


def _is_stateful(loader: Any) -> bool:
    return all(hasattr(loader, method) for method in ("__iter__", "state_dict", "load_state_dict"))


def _why_not_repeatable(iterable: Iterable[Any], name: str, *, stateful: bool) -> str:
    remedy = (
        "use Batches, a list of batches, a map-style DataLoader without a generator of its own, or a loader with "
        "state_dict()"
    )
    if stateful or isinstance(iterable, Sequence):
        return ""
    if isinstance(iterable, torch.utils.data.DataLoader):
        if isinstance(iterable.dataset, torch.utils.data.IterableDataset):
            return f"{name}: a DataLoader over an IterableDataset cannot be brought back to a batch; {remedy}"
        nested = getattr(iterable.batch_sampler, "sampler", None)
        drawing: list[Any] = [iterable, iterable.sampler, iterable.batch_sampler, nested]
        if any(getattr(part, "generator", None) is not None for part in drawing):
            return f"{name}: the DataLoader draws from a generator of its own, whose state is lost; {remedy}"
        return ""
    return f"{name}: {type(iterable).__name__} cannot be brought back to the batch at which a run stopped; {remedy}"
