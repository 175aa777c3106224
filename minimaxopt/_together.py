"""Members of ``solve_many`` that make each step together, in one pass or one graph."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Literal, Protocol, final

from minimaxopt._joint import Graphed, Recorder, Streams
from minimaxopt._loop import REMEDY
from minimaxopt._progress import Bar
from minimaxopt._random import undisturbed
from minimaxopt.callbacks import Begins, Callback, Checkpoint, JSONLLog, Stateful
from minimaxopt.errors import ArgumentError, DivergenceWarning, MinimaxoptError
from minimaxopt.run import Prepared, Run
from minimaxopt.solution import Solution, Status
from minimaxopt.solvers import Context
from minimaxopt.vectorise import Vectorised, refuse

_LOOK_SECONDS = 0.25  # how often the progress bar moves


def together(runs: Sequence[Run], form: Literal["vectorised", "graph"], progress: bool | None) -> list[Solution]:
    """Play all runs in step; see ``solve_many``.

    Raises:
        ArgumentError: if the runs cannot be played in this form; nobody has made a step then.
        Exception: as ``solve_many`` does.
    """
    asked = [replace(run, compile=True) for run in runs] if form == "graph" else list(runs)
    members: list[_Member] = []
    with ExitStack() as stack:
        for place, run in enumerate(asked):
            with _named(place):
                members.append(_Member(run))
            stack.callback(members[-1].prepared.untie)
        _refuse_shared(members)
        contexts = [member.prepared.ctx for member in members]
        make: Callable[[], _Joint]
        if form == "vectorised":
            solvers = [member.prepared.solver for member in members]
            refuse(contexts, solvers)
            make = partial(Vectorised, contexts, solvers)
        else:
            make = partial(Graphed, contexts, _recorder(contexts))
        stack.enter_context(undisturbed([device for ctx in contexts for device in ctx.devices]))
        for place, member in enumerate(members):
            with _named(place):
                member.begin()
        joint = make()
        bar = stack.enter_context(_bar(members, progress))
        try:
            _keep_step(members, joint, bar)
        except KeyboardInterrupt:
            for member in members:
                member.interrupt()
    solutions = _solutions(members)
    for place, solution in enumerate(solutions):
        if solution.status is Status.DIVERGED:
            text = f"solve_many: runs[{place}]: {solution.message} {REMEDY}"
            warnings.warn(text, DivergenceWarning, stacklevel=3)
    return solutions


@final
class _Member:
    """One of the runs, which pauses whenever its step is to be made.

    Attributes:
        prepared: the run.
        solution: where it got to, once it has ended.
        error: what its ``f``, or a callback, raised.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.prepared = run, Prepared(run)
        self.solution: Solution | None = None
        self.error: Exception | None = None

    @property
    def ended(self) -> bool:
        return self.solution is not None or self.error is not None

    @property
    def step(self) -> int:
        return self.prepared.ctx.step

    def begin(self) -> None:
        """Start, or resume, up to the first step."""
        self._turns = self.prepared.begin().turns(Bar(self.prepared.solver.name, self.run.steps, shown=False))
        next(self._turns)

    def go_on(self) -> None:
        """Finish the step that was opened, and open the next."""
        self._go_on(lambda: next(self._turns))

    def interrupt(self) -> None:
        """End where the member is, as an interrupt of its own would end it."""
        if not self.ended:
            self._go_on(lambda: self._turns.throw(KeyboardInterrupt()))

    def _go_on(self, how: Callable[[], None]) -> None:
        try:
            how()
        except StopIteration as end:
            self.solution = end.value
        except Exception as error:  # noqa: BLE001 - raised by solve_many when the others have ended
            self.error, self.solution = error, getattr(error, "solution", None)


class _Joint(Protocol):
    """Makes the steps that several members have opened."""

    def make(self, contexts: Sequence[Context], solvers: Sequence[Any]) -> None: ...


def _recorder(contexts: Sequence[Context]) -> Recorder:
    """Return what records one graph of all members, or say why there can be none."""
    devices = {device for ctx in contexts for device in ctx.devices}
    if len(devices) != 1 or next(iter(devices)).type != "cuda":
        places = ", ".join(sorted(map(str, devices)))
        raise ArgumentError(
            f"form: 'graph' captures steps on one CUDA device, and the runs are on {places}; give all device='cuda', or "
            "use form='loop'"
        )
    return Streams(next(iter(devices)), len(contexts))


def _keep_step(members: Sequence[_Member], joint: _Joint, bar: Bar) -> None:
    last = time.perf_counter()
    while playing := [member for member in members if not member.ended]:
        for member in playing:
            member.go_on()
            if member.solution is not None and member.solution.status is Status.INTERRUPTED:
                raise KeyboardInterrupt  # one interrupt ends all
        ready = [member.prepared for member in playing if not member.ended]
        joint.make([prepared.ctx for prepared in ready], [prepared.solver for prepared in ready])
        if time.perf_counter() - last > _LOOK_SECONDS or not ready:
            last = time.perf_counter()
            bar.update(sum(m.step for m in members), math.nan, {})


def _bar(members: Sequence[_Member], shown: bool | None) -> Bar:
    total, done = sum(member.run.steps for member in members), sum(member.step for member in members)
    return Bar(f"{len(members)} runs", total, done=done, shown=shown)


def _solutions(members: Sequence[_Member]) -> list[Solution]:
    failed = [(place, member.error) for place, member in enumerate(members) if member.error is not None]
    if failed:
        error = failed[0][1]
        named = ", ".join(f"runs[{place}] ({type(found).__name__})" for place, found in failed)
        error.add_note(f"Failed: {named}. What all runs came to is this exception's attribute 'solutions'.")
        error.solutions = [member.solution for member in members]  # type: ignore[attr-defined] - the attribute is ours
        raise error
    return [member.solution for member in members if member.solution is not None]


# -- what is refused ---------------------------------------------------------------------------------------------------


@contextmanager
def _named(place: int) -> Generator[None]:
    """Say whose argument an error is about."""
    try:
        yield
    except MinimaxoptError as error:
        error.add_note(f"It is an argument of runs[{place}].")
        raise


def _refuse_shared(members: Sequence[_Member]) -> None:
    """Refuse what two members would drive to different places."""
    for j, later in enumerate(members):
        for i, earlier in enumerate(members[:j]):
            data = later.run.data
            if data is earlier.run.data and _remembers(later):
                raise ArgumentError(
                    f"data: runs[{i}] and runs[{j}] read from one {type(data).__name__} that remembers where it stands; "
                    "give each its own, or Batches"
                )
            for callback in later.prepared.callbacks:
                for other in earlier.prepared.callbacks:
                    if _collide(callback, other):
                        raise ArgumentError(
                            f"callbacks: runs[{i}] and runs[{j}] share a {type(callback).__name__}; give each its own"
                        )


def _remembers(member: _Member) -> bool:
    return not member.prepared.ctx.source.exact or hasattr(member.run.data, "state_dict")


def _collide(a: Callback, b: Callback) -> bool:
    if isinstance(a, (Checkpoint, JSONLLog)) and isinstance(b, type(a)):
        return a is b or a.path.absolute() == b.path.absolute()
    return a is b and isinstance(a, (Stateful, Begins))
