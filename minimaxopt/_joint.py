"""A step of every member as one CUDA graph, each on a stream of its own, so that small kernels of several overlap.

As for a single captured step, batches are copied into tensors that stay where they are, buffers are committed in place,
and what a step reports is copied out. One graph has one seed, so that a risk that draws random numbers is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias, final

import optree
import torch
from torch import Tensor

from minimaxopt._graph import Draws, form_of, generator_of
from minimaxopt._made import Made
from minimaxopt._random import replay
from minimaxopt._tree import tensors_of
from minimaxopt._types import Record
from minimaxopt.errors import ArgumentError
from minimaxopt.solvers import Context

_LOOP = "use form='loop'"
_Step: TypeAlias = Callable[[], Record]
_Recording: TypeAlias = tuple[list[Any], Callable[[], list[Record]]]
"""The members' batches where the recording reads them, and what repeats it."""


class Recorder(Protocol):
    """What can run functions side by side, and record them to be repeated together."""

    def warm(self, functions: Sequence[_Step]) -> list[Record]:
        """Run each function as usual, where a recording would run it."""
        ...

    def record(self, functions: Sequence[_Step]) -> Callable[[], list[Record]]:
        """Return what repeats all functions; their results lie in the same memory each time."""
        ...


@final
class Graphed:
    """Makes a step of several members at once, by replaying one recording of all.

    Args:
        contexts: the members' contexts, each of a run that has rehearsed a captured step of its own.
        recorder: what records; ``Streams`` but for tests.
    """

    def __init__(self, contexts: Sequence[Context], recorder: Recorder) -> None:
        self._recorder = recorder
        self._forms = {id(ctx): Made() for ctx in contexts}
        self._together: list[int] = []
        self._recordings: dict[Hashable, _Recording] = {}
        self._costs: dict[Hashable, list[int]] = {}
        for ctx in contexts:
            _refuse_draws(ctx)
            ctx.captured = self._forms[id(ctx)]
            ctx.own_buffers()

    def make(self, contexts: Sequence[Context], solvers: Sequence[Any]) -> None:
        """Make the step that each of ``contexts`` has opened; what it reports is taken when the step is closed."""
        held = list(contexts)
        if not held:
            return
        if [id(ctx) for ctx in held] != self._together:
            self._together = [id(ctx) for ctx in held]
            self._recordings.clear()
            self._costs.clear()
        key = tuple(form_of(ctx.batch) for ctx in held)
        before = [ctx.gradient_evaluations for ctx in held]
        if key not in self._costs:
            found = self._recorder.warm([partial(_plain, c, s) for c, s in zip(held, solvers, strict=True)])
            self._costs[key] = [ctx.gradient_evaluations - n for ctx, n in zip(held, before, strict=True)]
        else:
            if key not in self._recordings:
                self._recordings[key] = self._recorded(held, solvers)
            batches, again = self._recordings[key]
            for ctx, batch in zip(held, batches, strict=True):
                for there, tensor in zip(tensors_of(batch), tensors_of(ctx.batch), strict=True):
                    there.copy_(tensor)
            found = [{name: t.clone() for name, t in record.items()} for record in again()]
            for ctx, n, cost in zip(held, before, self._costs[key], strict=True):
                ctx.gradient_evaluations = n + cost
        for ctx, record in zip(held, found, strict=True):
            self._forms[id(ctx)].put(ctx, record)

    def _recorded(self, contexts: list[Context], solvers: Sequence[Any]) -> _Recording:
        batches: list[Any] = [optree.tree_map(_copied, ctx.batch) for ctx in contexts]  # type: ignore[arg-type] - optree takes any object
        steps = [partial(_fixed, c, s, b) for c, s, b in zip(contexts, solvers, batches, strict=True)]
        return batches, self._recorder.record(steps)


def _plain(ctx: Context, solver: Any) -> Record:
    record = solver.step(ctx, None)[1]
    ctx.commit_in_place()
    return record


def _fixed(ctx: Context, solver: Any, batch: Any) -> Record:
    taken, ctx.batch = ctx.batch, batch
    ctx.seeding = _leave_it
    try:
        return _plain(ctx, solver)
    finally:
        ctx.batch, ctx.seeding = taken, None


def _leave_it(draw: int) -> None:
    """Seed nothing, which a recording cannot."""


def _copied(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf


def _refuse_draws(ctx: Context) -> None:
    """Refuse a risk that draws random numbers: evaluate it once on the next batch, and look at the generators."""
    devices = [device for device in ctx.devices if device.type == "cuda"]

    def generators() -> Any:
        return [generator_of(device).get_offset() for device in devices], torch.get_rng_state().numpy().tobytes()

    draws = Draws(generators, lambda draw: replay(draw, ctx.devices))
    position, spent, before = ctx.source.position, ctx.gradient_evaluations, ctx.batch
    ctx.batch = ctx.source.take()
    ctx.source.rewind(position)
    ctx.seeding = draws
    try:
        risk, v = ctx.risk(), ctx.point.v
        if ctx.responding:
            v, risk = ctx.respond()
        risk(ctx.point.u, v)
    finally:
        ctx.seeding, ctx.batch, ctx.gradient_evaluations = None, before, spent
    draws.close()
    if draws.spent:
        raise ArgumentError(
            f"form: f draws random numbers, such as dropout's, and one graph has one seed for all members; {_LOOP}"
        )


@final
class Streams:
    """Records CUDA graphs on a device, with a stream for each member."""

    def __init__(self, device: torch.device, members: int) -> None:
        self._device = device
        self._streams = [torch.cuda.Stream(device) for _ in range(members)]

    def warm(self, functions: Sequence[_Step]) -> list[Record]:
        """Run each function on its stream."""
        return self._side_by_side(functions)

    def record(self, functions: Sequence[_Step]) -> Callable[[], list[Record]]:
        """Capture all functions; nothing is computed before the first replay."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device), torch.cuda.graph(graph):
            found = self._side_by_side(functions)

        def again() -> list[Record]:
            graph.replay()
            return found

        return again

    def _side_by_side(self, functions: Sequence[_Step]) -> list[Record]:
        current = torch.cuda.current_stream(self._device)
        found: list[Record] = []
        for stream, function in zip(self._streams, functions, strict=False):
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                found.append(function())
        for stream in self._streams[: len(functions)]:
            current.wait_stream(stream)
        return found
