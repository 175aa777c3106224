"""A whole step as one CUDA graph: captured once for each batch shape, then replayed.

A graph repeats kernels on fixed memory. So the batch is copied into tensors that stay where they are, the buffers are
committed in place, what a step reports is copied out, and graphs are dropped when the run goes back to other memory.
Generators cannot be seeded within a graph: the seed is set once before each replay, which equals the eager draws as
long as one evaluation of the step draws at all.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, final

import optree
import torch
from torch import Tensor

from minimaxopt.errors import ArgumentError
from minimaxopt.game.random_streams import stream
from minimaxopt.game.trees import tensors_of

if TYPE_CHECKING:
    from minimaxopt._types import Record
    from minimaxopt.solvers.context import Context
    from minimaxopt.solvers.step_derivatives import StepDerivatives

_CAPTURABLE = "give partial(torch.optim.Adam, lr=1e-3, capturable=True), or SGD"


class Recorder(Protocol):
    """Runs a function on a side stream, and records it for replay."""

    def warm(self, function: Callable[[], Any]) -> Any:
        """Run ``function`` as usual, where a recording would run it."""
        ...

    def record(self, function: Callable[[], Record]) -> Callable[[int], Record]:
        """Return a function that repeats ``function`` from a seed; its results lie in the same memory each time."""
        ...


@final
@dataclass
class CapturedStep:
    """Makes a solver's steps by replaying recordings; the first step of each batch shape is made as usual.

    Attributes:
        recorder: the recorder; ``Cuda`` except in tests.
    """

    recorder: Recorder
    _recordings: dict[Hashable, tuple[tuple[Any, ...], Callable[[int], Record]]] = field(
        default_factory=dict[Hashable, Any]
    )
    _costs: dict[Hashable, int] = field(default_factory=dict[Hashable, int])
    _rewinds: int = -1

    @property
    def recordings(self) -> int:
        """Number of recordings in use."""
        return len(self._recordings)

    def step(self, ctx: Context, solver: Any, state: Any) -> tuple[Any, Record]:
        """Make one step, with the outcome of ``solver.step``."""
        if self._rewinds != ctx.rewinds:
            self._recordings.clear()
            self._costs.clear()
            self._rewinds = ctx.rewinds
            ctx.evaluation.own_buffers()
        key, before = form_of(ctx.batch), ctx.gradient_evaluations
        if key not in self._costs:
            state, record = self.recorder.warm(lambda: _plain(ctx, solver, state))
            self._costs[key] = ctx.gradient_evaluations - before
            return state, record
        if key not in self._recordings:
            self._recordings[key] = self._recorded(ctx, solver, state)
        static, replay = self._recordings[key]
        for target, tensor in zip(tensors_of(static), tensors_of(ctx.batch), strict=True):
            target.copy_(tensor)
        record = replay(stream(ctx.seed, ctx.step, "risk"))
        ctx.gradient_evaluations = before + self._costs[key]
        return state, {name: tensor.clone() for name, tensor in record.items()}

    def _recorded(self, ctx: Context, solver: Any, state: Any) -> tuple[tuple[Any, ...], Callable[[int], Record]]:
        static: Any = optree.tree_map(_copied, ctx.batch)  # type: ignore[arg-type] - optree takes any object

        def function() -> Record:
            batch, ctx.batch = ctx.batch, static
            ctx.evaluation.seeding = _leave_it
            try:
                return _plain(ctx, solver, state)[1]
            finally:
                ctx.batch, ctx.evaluation.seeding = batch, None

        return static, self.recorder.record(function)


def _plain(ctx: Context, solver: Any, state: Any) -> tuple[Any, Record]:
    state, record = solver.step(ctx, state)
    ctx.evaluation.commit_in_place(ctx.optimizers)
    return state, record


def _copied(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf


def _leave_it(draw: int) -> None:
    """Seed nothing."""


@final
class Cuda:
    """Records CUDA graphs on a device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def warm(self, function: Callable[[], Any]) -> Any:
        """Run ``function`` on a side stream, as a recording does."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            record = function()
        current.wait_stream(self._stream)
        return record

    def record(self, function: Callable[[], Record]) -> Callable[[int], Record]:
        """Capture ``function``; nothing is computed before the first replay."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device), torch.cuda.graph(graph):
            record = function()
        generator = generator_of(self._device)

        def replay(seed: int) -> Record:
            generator.manual_seed(seed)
            graph.replay()
            return record

        return replay


def generator_of(device: torch.device) -> torch.Generator:
    """Return the default generator of a CUDA device."""
    index: Any = device.index  # torch's stubs leave its None out
    return torch.cuda.default_generators[torch.cuda.current_device() if index is None else index]


def form_of(batch: tuple[Any, ...]) -> Hashable:
    """Return the key of a recording: structure, shapes and types of the batch, and its values that are not tensors."""
    leaves, spec = optree.tree_flatten(batch, none_is_leaf=True)  # type: ignore[arg-type] - optree takes any object
    parts = [(tuple(x.shape), x.stride(), x.dtype) if isinstance(x, Tensor) else x for x in leaves]
    for part in parts:
        if not isinstance(part, Hashable):
            raise ArgumentError(
                f"compile: a batch holds a {type(part).__name__}, whose value the graph would freeze; give tensors, "
                "or leave compile out"
            )
    return spec, tuple(parts)


@final
@dataclass
class Draws:
    """Record of the evaluations that draw random numbers, by comparing the generators' state between them.

    Attributes:
        state: returns the state of all generators that an evaluation may draw from.
        seed: sets them.
        spent: the streams that were drawn from, in order.
    """

    state: Callable[[], Any]
    seed: Callable[[int], None]
    spent: list[int] = field(default_factory=list[int])
    _open: tuple[int, Any] | None = None

    def __call__(self, draw: int) -> None:
        """Note whether the evaluation before drew, and begin the next."""
        self.close()
        self.seed(draw)
        self._open = (draw, self.state())

    def close(self) -> None:
        """Note whether the last evaluation drew."""
        if self._open is not None and self._open[1] != self.state():
            self.spent.append(self._open[0])
        self._open = None


def refuse_draws(spent: list[int], allowed: int) -> None:
    """Raise if a step draws random numbers elsewhere than in one evaluation of the risk."""
    if spent and spent != [allowed]:
        raise ArgumentError(
            f"compile: random numbers are drawn in {len(spent)} evaluations of a step, or outside the risk, and "
            "a CUDA graph cannot reset a generator between them; use a solver that evaluates the risk once a step, "
            "such as 'simultaneous-gda' or 'sensitivity', or leave compile out"
        )


def refuse_settings(ctx: Context, declared: StepDerivatives) -> None:
    """Raise for settings whose value a capture would freeze, or that make the host wait for the device."""
    for player, mover in ctx.optimizers.items():
        if mover.scheduler is not None:
            raise ArgumentError(
                f"{player}_scheduler: a CUDA graph keeps the learning rate of the step at which it was captured; leave "
                "the schedule out, or compile"
            )
        kind = type(mover.optimizer)
        if kind is not torch.optim.SGD and not all(g.get("capturable") for g in mover.optimizer.param_groups):
            raise ArgumentError(
                f"{player}_optimizer: {kind.__name__} counts its steps outside the device, which a CUDA graph cannot "
                f"repeat; {_CAPTURABLE}"
            )
    if declared.scheduled:
        raise ArgumentError(
            f"{declared.scheduled}: a CUDA graph keeps its value of the step at which it was captured; give a number, or "
            "leave compile out"
        )
    if ctx.fresh_ascent and declared.batches > 1:
        raise ArgumentError(
            "ascent_batches: a CUDA graph cannot take batches within a step; give 'same', or leave compile out"
        )


def refuse_elsewhere(batch: tuple[Any, ...], device: torch.device) -> None:
    """Refuse a batch that does not lie on the device."""
    for tensor in tensors_of(batch):
        if tensor.device.type != device.type or device.index not in (None, tensor.device.index):
            raise ArgumentError(
                f"data: a batch lies on {tensor.device}, and a CUDA graph reads from {device}; give "
                f"Batches(...).to({str(device)!r}), or device={str(device)!r}"
            )
