"""The loop of ``solve``: blocks of steps, callbacks when they are due, and the endings.

Within a block nothing waits for the device; at its end all values are checked to be finite, the records become numbers,
and the callbacks that are due are called.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from minimaxopt._types import Player, Tree
from minimaxopt.errors import ArgumentError, DivergenceWarning
from minimaxopt.game.data_source import Exhausted
from minimaxopt.game.random_streams import seed_host, stream
from minimaxopt.loop.callbacks import Callback, Checkpoint, JSONLLog, SupportsBegin
from minimaxopt.loop.exponential_average import ExponentialAverage
from minimaxopt.loop.progress_bar import Bar
from minimaxopt.loop.resume import (
    checkpoint,
    digest_of_frozen,
    load_checkpoint,
    optimization_as_built,
    optimizer_settings,
)
from minimaxopt.loop.rollback import NotFiniteError, RepeatBlockError, StepBlocks
from minimaxopt.results.environment import environment, without_addresses
from minimaxopt.results.history import History
from minimaxopt.results.solution import Solution, Status
from minimaxopt.solvers.context import Context

_BLOCK_SECONDS = 0.25  # how long the values may go unchecked; also how often the progress bar moves
_BLOCK_STEPS = 1000
_TOLERANCE_EVERY = 50  # steps between checks of stationarity, fixed so that the machine's speed has no influence
_REMEDY = "Lower the learning rates, or gamma."

_WRITERS = (JSONLLog, Checkpoint)  # they come after those whose values they write down
_AT_LAST = (ExponentialAverage, JSONLLog)  # called however a solve ends, since it may have gone back


@final
class SolveLoop:
    """A running solve; callbacks see it as ``Progress``.

    Args:
        ctx: where the steps are made.
        solver: makes them.
        steps: the budget.
        flipped: whether ``ctx`` plays the flipped game, so that its ``u`` is the user's ``v``.
        callbacks: called when they are due; those that write come last.
        tolerance: the length of the projected gradient at which the solve has converged; ``None`` never checks.
        settings: what a checkpoint must have been made with, beside solver, seed and optimizers.
        skip_nonfinite: the most steps that are left out since a value ceased to be finite.

    Attributes:
        ctx: the context, with the players as they move.
    """

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
        skip_nonfinite: int = 0,
    ) -> None:
        self.steps = steps
        self.ctx, self._tolerance = ctx, tolerance
        ctx.evaluation.playing = solver.name
        self._names: dict[Player, Player] = {"u": "v", "v": "u"} if flipped else {"u": "u", "v": "v"}
        self._callbacks = sorted(callbacks, key=lambda c: 2 if isinstance(c, Checkpoint) else isinstance(c, JSONLLog))
        self._called = [-1] * len(self._callbacks)
        self._convergence_checked = self._schedules_advanced = 0
        for callback in self._callbacks:
            if isinstance(callback, SupportsBegin):
                callback.begin()
        self._blocks = StepBlocks(ctx, solver, self._names, skip_nonfinite)
        self._stopped: tuple[Status, str] | None = None
        self._frozen = ""
        self._seconds_before, self._started = 0.0, time.perf_counter()
        optimizers = optimizer_settings(ctx, self._names)
        self._optimization = optimization_as_built(ctx, self._names)
        self._settings = {"solver": without_addresses(solver), "seed": ctx.seed, **settings, **optimizers}
        form = "no" if ctx.evaluation.compiled is None else "derivatives"
        form = form if ctx.step_form is None else "steps"
        self._made = {**self._settings, **environment(ctx.devices), "compile": form, "skip_nonfinite": skip_nonfinite}

    @property
    def _manifest(self) -> dict[str, Any]:
        # Whether steps are made many at once is known only after a rehearsal.
        at_once = {"steps_at_once": self.ctx.many_steps is not None}
        reason = {"why_stepwise": self.ctx.why_stepwise} if self.ctx.why_stepwise else {}
        return {**self._made, **at_once, **reason}

    # -- what callbacks see --------------------------------------------------------------------------------------------

    @property
    def step(self) -> int:
        """The number of steps made so far."""
        return self.ctx.step

    @property
    def history(self) -> History:
        """The records of the steps so far."""
        return self._blocks.history

    def players(self) -> tuple[Tree, Tree]:
        """Return copies of both players as they are now, as the user's ``(u, v)``."""
        u, v = self.ctx.played.players(self.ctx.module_state)
        return (v, u) if self._names["u"] == "v" else (u, v)

    def rates(self) -> dict[str, float]:
        """Return the present learning rates by player, of each optimizer's first parameter group."""
        optimizers = {self._names[player]: moving.optimizer for player, moving in self.ctx.optimizers.items()}
        return {player: float(optimizers[player].param_groups[0]["lr"]) for player in sorted(optimizers)}

    def log(self, name: str, value: float) -> None:
        """Record a value of the last step.

        Raises:
            ArgumentError: the solver itself records a column of this name.
        """
        if name in self._blocks.recorded:
            raise ArgumentError(f"{name}: is a column that the solver itself records; give the metric another name")
        self.history.record(name, max(self.step - 1, 0), value)

    def stop(self, reason: str) -> None:
        """End the solve after this step, with the status ``STOPPED``."""
        self._stopped = (Status.STOPPED, reason)

    def checkpoint(self) -> dict[str, Any]:
        """Return everything that the solve needs to go on."""
        self._frozen = self._frozen or digest_of_frozen(self.ctx, self._names)
        return checkpoint(
            self.ctx,
            self._blocks,
            self._callbacks,
            frozen=self._frozen,
            optimization=self._optimization,
            seconds=self._seconds,
            manifest=self._manifest,
        )

    @property
    def _seconds(self) -> float:
        return self._seconds_before + time.perf_counter() - self._started

    def resume(self, folder: Path) -> None:
        """Go on from the checkpoint in a folder.

        Raises:
            ResumeError: it is damaged, or of another run.
        """
        self._seconds_before = load_checkpoint(
            folder,
            self.ctx,
            self._blocks,
            self._callbacks,
            names=self._names,
            steps=self.steps,
            settings=self._settings,
            manifest=self._manifest,
        )
        self._convergence_checked = self._schedules_advanced = self.step  # no batch is at hand before the next step

    # -- the loop ------------------------------------------------------------------------------------------------------

    def play(self, bar: Bar) -> tuple[Status, str]:
        """Make all steps; return how they ended, with a sentence."""
        after: tuple[type, ...] = ()
        try:
            self._make_steps(bar)
            self._call_callbacks()
            left_out = f", {self._blocks.skipped} of them skipped" if self._blocks.skipped else ""
            status, message = self._stopped or (Status.STEPS_USED, f"made all {self.steps} steps{left_out}.")
        except NotFiniteError as event:
            status, message, after = Status.DIVERGED, str(event), _AT_LAST
        except KeyboardInterrupt:
            status, message = Status.INTERRUPTED, f"interrupted after step {self.step}."
            after = (*_AT_LAST, Checkpoint)
        except Exception as error:
            if self.step:
                error.add_note(
                    f"The solve got to step {self.step}; the solution up to there is this exception's attribute "
                    "'solution'."
                )
                reason = f"ended by {type(error).__name__}: {error}"
                error.solution = self.solution(Status.FAILED, reason)  # type: ignore[attr-defined] - the attribute is ours
            raise
        for callback in self._callbacks:
            if isinstance(callback, after):
                callback(self)
        if status is Status.DIVERGED:
            warnings.warn(f"solve: {message} {_REMEDY}", DivergenceWarning, stacklevel=4)  # of the caller of solve
        return status, message

    def _make_steps(self, bar: Bar) -> None:
        size = 1
        # One step older than the block, so that a risk found infinite at a block's first point leads back to a point
        # where it was not.
        safe = self._blocks.snapshot()
        while self.step < self.steps and self._stopped is None:
            due, first, clock = self._next_due(), self.step, time.perf_counter()
            skipped = self._blocks.skipped
            size = min(size, due - first)
            try:
                safe_next = self._blocks.make(size)
            except (Exception, KeyboardInterrupt) as event:
                again = isinstance(event, RepeatBlockError)
                safe_next = self._blocks.replay_block(safe, first, broken=not again)
                if isinstance(event, Exhausted):
                    reason = f"the data ended after step {self.step} and cannot be read again; give Batches or a list."
                    self._stopped = (Status.DATA_ENDED, reason)
                    return
                interrupted = isinstance(event, KeyboardInterrupt)
                if not again and (interrupted or self._blocks.skipped == skipped):
                    raise
            safe = safe_next
            self.ctx.source.forget(safe.position)
            bar.update(self.step, self.history.last("risk") if "risk" in self.history else math.nan, self.rates())
            pace = max((time.perf_counter() - clock) / size, 1e-9)
            if self.step == due:
                self._call_callbacks()
            size = max(1, min(int(_BLOCK_SECONDS / pace), 2 * size, _BLOCK_STEPS, self.ctx.source.limit))

    def _next_due(self) -> int:
        periods = [c.every for c in self._callbacks] + ([_TOLERANCE_EVERY] if self._tolerance is not None else [])
        periods += [moving.period for moving in self.ctx.optimizers.values() if moving.metric is not None]
        return min([self.steps, *(self.step - self.step % every + every for every in periods)])

    def _call_callbacks(self) -> None:
        """Call the callbacks that are due, and at the end of the solve all of them; writers come last."""
        readers = [i for i, c in enumerate(self._callbacks) if not isinstance(c, _WRITERS)]
        self._call(readers, everyone=False)
        if self._schedules_advanced != self.step:
            self._schedules_advanced = self.step
            self._blocks.advance_by_metrics()
        self._check_convergence()
        ending = self.step == self.steps or self._stopped is not None
        self._call(readers, everyone=ending)
        self._call(range(len(self._callbacks)), everyone=ending)

    def _call(self, indices: Iterable[int], *, everyone: bool) -> None:
        for i in indices:
            callback = self._callbacks[i]
            if self._called[i] != self.step and (everyone or self.step % callback.every == 0):
                self._called[i] = self.step
                seed_host(stream(self.ctx.seed, self.step, "callback", i))  # whether f uses it or not
                callback(self)

    def _check_convergence(self) -> None:
        done = self._stopped is not None or self._convergence_checked == self.step
        if self._tolerance is None or self.step % _TOLERANCE_EVERY or done:
            return
        self._convergence_checked = self.step
        distance = self._stationarity()
        if distance <= self._tolerance:
            reason = f"the gradient's norm {distance:.3g} is within the tolerance {self._tolerance:.3g}."
            self._stopped = (Status.CONVERGED, reason)

    def _stationarity(self) -> float:
        """Return the norm of ``x - P(x - F(x))`` over the moving players; without projections the gradient's norm."""
        ctx = self.ctx
        if ctx.responding:
            gradients = ctx.evaluation.leader_gradient()
        else:
            gradients = ctx.gradients(players=tuple(ctx.optimizers))
        return ctx.residual(gradients, ctx.optimizers)

    def solution(self, status: Status, message: str) -> Solution:
        """Return where the steps led, with copies of the players."""
        u, v = self.players()
        return Solution(
            u=u,
            v=v,
            status=status,
            message=message,
            history=self.history,
            steps=self.step,
            seconds=self._seconds,
            gradient_evaluations=self.ctx.gradient_evaluations,
            manifest={**self._manifest, **self.ctx.hessian_engine.record()},
        )
