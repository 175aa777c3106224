"""The loop of ``solve``: steps in blocks, checked, reported, and taken back where they fail.

Within a block nothing waits for the device; at its end all values are checked to be finite, the records become numbers,
and the callbacks that are due are called. A block that is broken off, by a value that is not finite, an exception or an
interrupt, is played again from the point before it, one checked step at a time, up to the step that fails. Where blocks
end has no influence on the values.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, final

import optree
import torch
from torch import Tensor

from minimaxopt._types import Player, Point, Record, Tree
from minimaxopt.calculus.gradients import operator
from minimaxopt.calculus.vectors import finite, of, squared_norm
from minimaxopt.errors import ArgumentError, DivergenceWarning, ResumeError
from minimaxopt.game.data_source import Exhausted
from minimaxopt.loop.callbacks import Callback, Checkpoint, JSONLLog, SupportsBegin, SupportsState
from minimaxopt.loop.progress_bar import Bar
from minimaxopt.results import storage
from minimaxopt.results.environment import digest, environment, without_addresses
from minimaxopt.results.history import History
from minimaxopt.results.solution import Solution, Status, check_names
from minimaxopt.solvers.context import Context

_BLOCK_SECONDS = 0.25  # how long the values may go unchecked; also how often the progress bar moves
_BLOCK_STEPS = 1000
_TOLERANCE_EVERY = 50  # steps between looks at the stationarity, fixed so that the machine's speed has no say in it

_REMEDY = "Lower the learning rates, or gamma."

_WRITERS = (JSONLLog, Checkpoint)  # they come after those whose values they write down

_Columns: TypeAlias = dict[str, tuple[list[int], Tensor]]
"""A block's records by name: the places in the block that have the value, and the values."""


class _Safe(NamedTuple):
    """A point of the run to which it can go back."""

    captured: Mapping[str, Any]
    state: Any
    position: int


@final
class _NotFinite(Exception):  # noqa: N818 - an event, not a failure
    """A value ceased to be finite; the message is the solution's."""


@final
class SolveLoop:
    """A running solve; callbacks see it as ``Progress``."""

    def __init__(
        self,
        ctx: Context,
        solver: Any,
        steps: int,
        *,
        flipped: bool,
        callbacks: Sequence[Callback],
        tolerance: float | None,
        settings: Mapping[str, Any],
    ) -> None:
        self.history = History()
        self.steps = steps
        self._ctx, self._solver, self._tolerance = ctx, solver, tolerance
        self._flipped = flipped
        self._name: dict[Player, Player] = {"u": "v", "v": "u"} if flipped else {"u": "u", "v": "v"}
        self._callbacks = sorted(callbacks, key=lambda c: 2 if isinstance(c, Checkpoint) else isinstance(c, JSONLLog))
        self._called = [-1] * len(self._callbacks)
        self._looked = 0
        for callback in self._callbacks:
            if isinstance(callback, SupportsBegin):
                callback.begin()
        self._state = solver.init(ctx)
        self._recorded: set[str] = set()
        self._stopped: tuple[Status, str] | None = None
        self._frozen = ""
        self._seconds_before, self._started = 0.0, time.perf_counter()
        self._settings = {"solver": without_addresses(solver), "seed": ctx.seed, **settings, **self._movers()}
        form = "no" if ctx.evaluation.compiled is None else "derivatives"
        form = form if ctx.step_form is None else "steps"
        self._manifest = {**self._settings, **environment(ctx.devices), "compile": form}

    # -- what callbacks see --------------------------------------------------------------------------------------------

    @property
    def step(self) -> int:
        return self._ctx.step

    def players(self) -> tuple[Tree, Tree]:
        u, v = self._ctx.functional.players(self._ctx.buffers)
        return (v, u) if self._flipped else (u, v)

    def rates(self) -> dict[str, float]:
        optimizers = {self._name[player]: optimizer for player, optimizer in self._ctx.optimizers.items()}
        return {player: float(optimizers[player].optimizer.param_groups[0]["lr"]) for player in sorted(optimizers)}

    def log(self, name: str, value: float) -> None:
        if name in self._recorded:
            raise ArgumentError(f"{name}: is a column that the solver itself records; give the metric another name")
        self.history.record(name, max(self.step - 1, 0), value)

    def stop(self, reason: str) -> None:
        self._stopped = (Status.STOPPED, reason)

    def checkpoint(self) -> dict[str, Any]:
        self._frozen = self._frozen or self._digest_of_the_frozen()
        return {
            "run": self._ctx.state_dict(),
            "frozen": self._frozen,
            "state": self._state,
            "history": self.history.to_tensors(),
            "callbacks": {name: callback.state_dict() for name, callback in self._memories()},
            "seconds": self._seconds,
            "manifest": self._manifest,
        }

    @property
    def _seconds(self) -> float:
        return self._seconds_before + time.perf_counter() - self._started

    # -- resuming ------------------------------------------------------------------------------------------------------

    def resume(self, folder: Path) -> None:
        saved = storage.read(folder / f"{Checkpoint.NAME}.json")
        captured, then, now = saved["run"], saved["manifest"], self._manifest
        for key in self._settings:
            if then.get(key) != now[key]:
                raise ResumeError(
                    f"resume: the checkpoint was made with {key} {then.get(key)}, not {now[key]}; give the same, or "
                    "start afresh"
                )
        if captured["step"] > self.steps:
            raise ResumeError(
                f"steps: the checkpoint stands at step {captured['step']} already; give at least as many steps"
            )
        for player, held in self._ctx.functional.buffers.items():
            check_names(self._name[player], held, captured["buffers"].get(player, {}))
        for player, mover in self._ctx.optimizers.items():
            check_names(self._name[player], mover.tensors, captured["parameters"].get(player, {}))
        if saved["frozen"] != self._digest_of_the_frozen():
            raise ResumeError(
                "resume: the player that stands still has other values than in the run that made the checkpoint; "
                "give the same game, or start afresh"
            )
        differing = [
            f"{key} {then.get(key)} then, {now[key]} now"
            for key in ("torch", "devices", "threads", "compile")
            if then.get(key, "no") != now[key]
        ]
        if differing:
            text = f"resume: the values will not be those of an uninterrupted run to the bit: {'; '.join(differing)}"
            warnings.warn(text, stacklevel=4)
        self._ctx.load_state_dict(captured)
        self._state = _moved(saved["state"], self._ctx.devices)
        self.history = History(saved["history"])
        self._seconds_before = float(saved["seconds"])
        self._looked = self.step  # no batch is at hand before the next step
        for name, callback in self._memories():
            if name in saved["callbacks"]:
                callback.load_state_dict(saved["callbacks"][name])

    def _movers(self) -> dict[str, str]:
        """Return what the moving players' optimizers and schedules were built as."""
        found: dict[str, str] = {}
        for player, mover in self._ctx.optimizers.items():
            options = mover.optimizer.defaults.items()
            given = ", ".join(f"{k}={without_addresses(x)}" for k, x in options if x is not None and x is not False)
            found[f"{self._name[player]}_optimizer"] = f"{type(mover.optimizer).__name__}({given})"
            schedule = "none" if mover.scheduler is None else type(mover.scheduler).__name__
            found[f"{self._name[player]}_scheduler"] = schedule
        return found

    def _memories(self) -> list[tuple[str, SupportsState]]:
        """Return the callbacks that remember, each by its type and its number among those of the type."""
        held = [c for c in self._callbacks if isinstance(c, SupportsState)]
        kinds = [type(c).__name__ for c in held]
        return [(f"{kind} {kinds[:i].count(kind)}", c) for i, (kind, c) in enumerate(zip(kinds, held, strict=True))]

    def _digest_of_the_frozen(self) -> str:
        parameters = self._ctx.functional.parameters
        return digest({self._name[p]: tensors for p, tensors in parameters.items() if p not in self._ctx.optimizers})

    # -- the loop ------------------------------------------------------------------------------------------------------

    def play(self, bar: Bar) -> Solution:
        """Make all steps and return where they led."""
        after: tuple[type, ...] = ()
        try:
            self._make_steps(bar)
            self._call_callbacks()
            status, message = self._stopped or (Status.STEPS_USED, f"made all {self.steps} steps.")
        except _NotFinite as event:
            status, message, after = Status.DIVERGED, str(event), (JSONLLog,)
        except KeyboardInterrupt:
            status, message = Status.INTERRUPTED, f"interrupted after step {self.step}."
            after = _WRITERS
        except Exception as error:
            if self.step:
                error.add_note(
                    f"The solve got to step {self.step}; the solution up to there is this exception's attribute "
                    "'solution'."
                )
                reason = f"ended by {type(error).__name__}: {error}"
                error.solution = self._finish(Status.FAILED, reason)  # type: ignore[attr-defined] - the attribute is ours
            raise
        for callback in self._callbacks:
            if isinstance(callback, after):
                callback(self)
        if status is Status.DIVERGED:
            warnings.warn(f"solve: {message} {_REMEDY}", DivergenceWarning, stacklevel=3)
        return self._finish(status, message)

    def _make_steps(self, bar: Bar) -> None:
        block = 1
        # One step older than the block, so that a risk found infinite at a block's first point leads back to a point
        # where it was not.
        safe = self._safe()
        while self.step < self.steps and self._stopped is None:
            due, first, clock = self._next_due(), self.step, time.perf_counter()
            block = min(block, due - first)
            try:
                safe_next = self._make_block(block)
            except (Exception, KeyboardInterrupt) as event:
                self.replay_block(safe, first)
                if not isinstance(event, Exhausted):
                    raise
                reason = f"the data ended after step {self.step} and cannot be read again; give Batches or a list."
                self._stopped = (Status.DATA_ENDED, reason)
                return
            safe = safe_next
            self._ctx.source.forget(safe.position)
            bar.update(self.step, self.history.last("risk") if "risk" in self.history else math.nan, self.rates())
            pace = max((time.perf_counter() - clock) / block, 1e-9)
            if self.step == due:
                self._call_callbacks()
            block = max(1, min(int(_BLOCK_SECONDS / pace), 2 * block, _BLOCK_STEPS, self._ctx.source.limit))

    def _make_block(self, size: int) -> _Safe:
        """Make steps without waiting for the device, check and report them; return the point before the last."""
        ctx, first = self._ctx, self.step
        records: list[Record] = []
        for _ in range(size - 1):
            self._state, record = ctx.advance(self._solver, self._state)
            records.append(record)
        before_the_last = self._safe()
        self._state, record = ctx.advance(self._solver, self._state)
        columns = _columns([*records, record])
        if self.first_nonfinite(columns):
            raise _NotFinite(
                f"a value ceased to be finite before step {self.step}, but not when the steps were repeated: f or the "
                "device is not deterministic."
            )
        self._report(first, columns)
        return before_the_last

    def _next_due(self) -> int:
        periods = [c.every for c in self._callbacks] + ([_TOLERANCE_EVERY] if self._tolerance is not None else [])
        return min([self.steps, *(self.step - self.step % every + every for every in periods)])

    def _call_callbacks(self) -> None:
        """Call who is due, and at the end of the solve everyone; what writes down comes last."""
        looking = [i for i, c in enumerate(self._callbacks) if not isinstance(c, _WRITERS)]
        self._call(looking, everyone=False)
        self._look_for_convergence()
        ending = self.step == self.steps or self._stopped is not None
        self._call(looking, everyone=ending)
        self._call(range(len(self._callbacks)), everyone=ending)

    def _call(self, indices: Iterable[int], *, everyone: bool) -> None:
        for i in indices:
            callback = self._callbacks[i]
            if self._called[i] != self.step and (everyone or self.step % callback.every == 0):
                self._called[i] = self.step
                callback(self)

    def _look_for_convergence(self) -> None:
        done = self._stopped is not None or self._looked == self.step
        if self._tolerance is None or self.step % _TOLERANCE_EVERY or done:
            return
        self._looked = self.step
        distance = self._stationarity()
        if distance <= self._tolerance:
            reason = f"the gradient's norm {distance:.3g} is within the tolerance {self._tolerance:.3g}."
            self._stopped = (Status.CONVERGED, reason)

    def _stationarity(self) -> float:
        """Return the norm of ``x - P(x - F(x))`` over the moving players; without projections the gradient's norm."""
        ctx = self._ctx
        if ctx.responding:
            z, risk = ctx.respond()
            found = operator(risk, Point(ctx.point.u, z), ("u",))
            ctx.gradient_evaluations += 1
        else:
            found = ctx.gradients(players=tuple(ctx.optimizers))
        total = 0.0
        for player, mover in ctx.optimizers.items():
            slope = of(Point(found.u, found.v), player)
            there = ctx.project(player, {n: t.detach() - slope[n] for n, t in mover.tensors.items()})
            total += float(squared_norm(mover.tensors[n].detach() - x for n, x in there.items()))
        return math.sqrt(total)

    def _report(self, first: int, columns: _Columns) -> None:
        for name, (places, values) in columns.items():
            sign = -1.0 if self._flipped and name.endswith("risk") else 1.0
            self._recorded.add(name)
            self.history.extend(name, [first + i for i in places], [sign * x for x in values.tolist()])

    # -- finite or stop ------------------------------------------------------------------------------------------------

    def _safe(self) -> _Safe:
        return _Safe(self._ctx.state_dict(), _moved(self._state, None), self._ctx.source.position)

    def _go_back(self, safe: _Safe) -> None:
        self._ctx.source.rewind(safe.position)
        self._ctx.load_state_dict(safe.captured, source=False)
        self._state = _moved(safe.state, None)

    def first_nonfinite(self, columns: _Columns) -> str:
        """Return the name of a value that is not finite, or the empty string; waits for the device once."""
        live = [(f"{self._name['u' if n.startswith('u.') else 'v']}{n[1:]}", t) for n, t in self._ctx.checked_tensors()]
        named = [(name, values) for name, (_, values) in columns.items()] + live
        if bool(finite(tensor for _, tensor in named)):
            return ""
        return next((name for name, tensor in named if not bool(finite([tensor]))), "")

    def replay_block(self, safe: _Safe, first: int) -> None:
        """Play the block that began at step ``first`` again from ``safe``, up to the step at which it broke off.

        Raises ``_NotFinite`` at the last point where all was finite, if a value ceases to be finite on the way: that is
        then the cause, whatever it led to afterwards.
        """
        end, bad, at = self.step, "", first
        self.history = self.history.until(first)
        before = here = safe
        whole = False
        try:
            self._go_back(safe)
            while self.step < end and not bad:
                before, here, at = here, self._safe(), self.step
                self._state, record = self._ctx.advance(self._solver, self._state)
                columns = _columns([record])
                bad = self.first_nonfinite(columns)
                if bad in record:  # formed at the step's opening point, which is then not a good place to end either
                    here = before
                elif not bad and at >= first:
                    self._report(at, columns)
            whole = not bad
        except (Exception, KeyboardInterrupt):  # noqa: BLE001 - what broke the block off is on its way already
            bad = ""
        if not whole:
            self._go_back(here)
        self.history = self.history.until(self.step)
        if bad:
            raise _NotFinite(
                f"{bad!r} ceased to be finite at step {at}; the result is the point after step {self.step}."
            )

    def _finish(self, status: Status, message: str) -> Solution:
        u, v = self.players()
        return Solution(
            u=u,
            v=v,
            status=status,
            message=message,
            history=self.history,
            steps=self.step,
            seconds=self._seconds,
            gradient_evaluations=self._ctx.gradient_evaluations,
            manifest=self._manifest,
        )


def _columns(records: Sequence[Record]) -> _Columns:
    found: _Columns = {}
    for name in dict.fromkeys(name for record in records for name in record):
        places = [i for i, record in enumerate(records) if name in record]
        found[name] = (places, torch.stack([records[i][name].detach() for i in places]))
    return found


def _moved(state: Any, devices: Sequence[torch.device] | None) -> Any:
    """Return a copy of a solver's state, on the run's device."""

    def one(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return leaf.clone() if not devices else leaf.to(devices[0], copy=True)

    return optree.tree_map(one, state, none_is_leaf=True)
