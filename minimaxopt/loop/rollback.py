"""Blocks of steps: made without waiting for the device, then checked, and replayed where one breaks off.

A block that is broken off, by a value that is not finite, an exception or an interrupt, is played again from the
snapshot before it, one checked step at a time, up to the step that fails. Where blocks end has no influence on the
values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, final

import optree
import torch
from torch import Tensor

from minimaxopt._types import Player, Record
from minimaxopt.calculus.vectors import finite
from minimaxopt.results.history import History
from minimaxopt.solvers.context import Context

Columns: TypeAlias = dict[str, tuple[list[int], Tensor]]
"""A block's records by name: the places in the block that have the value, and the values."""


class Snapshot(NamedTuple):
    """Snapshot for rolling back: the context, the solver's state, and where the data stood."""

    context: Mapping[str, Any]
    state: Any
    position: int


@final
class NotFiniteError(Exception):
    """A value ceased to be finite; the message is the solution's."""


@final
class RepeatBlockError(Exception):
    """A block must be made again, knowing what it was the first to do.

    It drew from ``random`` or ``numpy.random``, and so without a seed; or it changed a tensor of the modules' state without
    its version, and so without being put back.
    """


@final
class StepBlocks:
    """A solver's steps, block by block, with their history.

    Args:
        ctx: where the steps are made.
        solver: makes them.
        names: what the user calls each player of the context; a maximin solve plays the flipped game.

    Attributes:
        state: the solver's state after the last step.
        history: the records of the steps so far.
        recorded: the columns that the solver itself records.
    """

    def __init__(self, ctx: Context, solver: Any, names: Mapping[Player, Player]) -> None:
        self.state = solver.init(ctx)
        self.history = History()
        self.recorded: set[str] = set()
        self._ctx, self._solver, self._names = ctx, solver, names
        self._first: dict[str, tuple[Tensor, Tensor | None]] = {}
        self._checked()

    def snapshot(self) -> Snapshot:
        """Return a copy of everything that the next steps depend on."""
        return Snapshot(self._ctx.state_dict(), copied_to(self.state, None), self._ctx.source.position)

    def make(self, size: int) -> Snapshot:
        """Make steps without waiting for the device, check and record them; return the snapshot before the last.

        Raises:
            NotFiniteError: a value is not finite.
            RepeatBlockError: the block has to be replayed.
        """
        first = self._ctx.step
        self._ctx.host.watch()
        records = self._steps(size - 1)
        before_the_last = self.snapshot()
        records += self._steps(1)
        if self._ctx.played.find_silent_changes(sampled=True) | self._ctx.host.drew_unseeded():
            raise RepeatBlockError
        columns = _columns(records)
        if self.first_nonfinite(columns):
            raise NotFiniteError(
                f"a value ceased to be finite before step {self._ctx.step}, but not when the steps were repeated: f or "
                "the device is not deterministic."
            )
        self._record(first, columns)
        return before_the_last

    def replay_block(self, snapshot: Snapshot, first: int, *, broken: bool = True) -> Snapshot:
        """Play the block that began at step ``first`` again from ``snapshot``, up to the step at which it broke off.

        Args:
            snapshot: from before the block.
            first: the number of the block's first step.
            broken: whether an exception broke it off, which is already being raised; else one of the replay is raised.

        Returns:
            A snapshot from before the last step.

        Raises:
            NotFiniteError: at the last point where all was finite, if a value ceases to be finite in the replay: that is
                then the cause, whatever it led to afterwards.
        """
        redraw = self._ctx.host.drew_unseeded() or not broken
        end, culprit, at = self._ctx.step, "", first
        self.history = self.history.until(first)
        before = here = snapshot
        whole, failure = False, None
        try:
            self._roll_back(snapshot)
            if redraw and self._ctx.source.exact:
                self._ctx.source.load(snapshot.context["source"])
                before = here = self.snapshot()
            while self._ctx.step < end and not culprit:
                before, here, at = here, self.snapshot(), self._ctx.step
                (record,) = self._steps(1)
                columns = _columns([record])
                culprit = self.first_nonfinite(columns)
                if (
                    culprit in record
                ):  # formed at the step's opening point, which is then not a good place to end either
                    here = before
                elif not culprit and at >= first:
                    self._record(at, columns)
            whole = not culprit
        except (Exception, KeyboardInterrupt) as event:  # noqa: BLE001 - raised below, unless that would hide the first
            culprit, failure = "", event
        if not whole:
            self._roll_back(here)
        self.history = self.history.until(self._ctx.step)
        if culprit:
            raise NotFiniteError(
                f"{culprit!r} ceased to be finite at step {at}; the result is the point after step {self._ctx.step}."
            )
        if failure is not None and not broken:
            raise failure from None
        return here

    def first_nonfinite(self, columns: Columns) -> str:
        """Return the name of a value that is not finite, or the empty string; waits for the device once."""
        tensors = [(f"{self._names['u' if n.startswith('u.') else 'v']}{n[1:]}", t) for n, t in self._checked()]
        # What f logs may be anything; a solver's own values tell that something went wrong.
        own = [(name, values) for name, (_, values) in columns.items() if name not in self._ctx.logged]
        named = own + tensors
        if bool(finite(tensor for _, tensor in named)):
            return ""
        return next((name for name, tensor in named if not bool(finite([tensor]))), "")

    def _checked(self) -> list[tuple[str, Tensor]]:
        """Return the values that must be finite: what was not when it first appeared, such as a mask, need not be."""
        named: list[tuple[str, Tensor]] = []
        for name, tensor in self._ctx.checked_tensors():
            first, never_finite = self._first.get(name, (None, None))
            if first is None or first.shape != tensor.shape:
                flags = ~torch.isfinite(tensor.detach())
                self._first[name] = (tensor, flags if bool(flags.any()) else None)
            elif never_finite is not None:
                named.append((name, tensor.detach().masked_fill(never_finite, 0.0)))
            elif tensor is not first or tensor.requires_grad:  # a state's tensors are replaced, never changed
                named.append((name, tensor))
        return named

    def _steps(self, count: int) -> list[Record]:
        """Make steps, several at once where the context can."""
        records: list[Record] = []
        many = self._ctx.many_steps
        while len(records) < count:
            made = [] if many is None else many.make(self._ctx, count - len(records))
            if not made:
                self.state, record = self._ctx.advance(self._solver, self.state)
                made = [record]
            records += made
        return records

    def _record(self, first: int, columns: Columns) -> None:
        for name, (places, values) in columns.items():
            flipped = self._names["u"] == "v" and name.endswith("risk") and name not in self._ctx.logged
            sign = -1.0 if flipped else 1.0
            self.recorded.add(name)
            self.history.extend(name, [first + i for i in places], [sign * x for x in values.tolist()])

    def _roll_back(self, snapshot: Snapshot) -> None:
        self._ctx.source.rewind(snapshot.position)
        self._ctx.load_state_dict(snapshot.context, source=False)
        self.state = copied_to(snapshot.state, None)


def copied_to(state: Any, devices: Sequence[torch.device] | None) -> Any:
    """Return a copy of a solver's state, on the first of ``devices`` or where it is."""

    def one(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return leaf.clone() if not devices else leaf.to(devices[0], copy=True)

    return optree.tree_map(one, state, none_is_leaf=True)


def _columns(records: Sequence[Record]) -> Columns:
    columns: Columns = {}
    for name in dict.fromkeys(name for record in records for name in record):
        places = [i for i, record in enumerate(records) if name in record]
        with torch.no_grad():
            columns[name] = (places, torch.stack([records[i][name] for i in places]))
    return columns
