"""Callbacks of a running solve: evaluation, early stopping, logging, checkpoints."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, final, runtime_checkable

import torch
from torch import nn

from minimaxopt._types import Tree
from minimaxopt.errors import ArgumentError
from minimaxopt.game.trees import leaves_with_names
from minimaxopt.results import storage
from minimaxopt.results.history import SKIPPED, History


class Progress(Protocol):
    """A running solve as a callback sees it. All values up to ``step`` have been checked to be finite."""

    steps: int
    """The step budget."""

    @property
    def history(self) -> History:
        """The records of the steps so far."""
        ...

    @property
    def step(self) -> int:
        """The steps made so far."""
        ...

    def players(self) -> tuple[Tree, Tree]:
        """Return copies of both players as they are now."""
        ...

    def rates(self) -> dict[str, float]:
        """Return the present learning rates."""
        ...

    def log(self, name: str, value: float) -> None:
        """Put a value into a column of the history, at the latest step."""
        ...

    def stop(self, reason: str) -> None:
        """End the solve after this call."""
        ...

    def checkpoint(self) -> dict[str, Any]:
        """Return everything that the rest of the run depends on."""
        ...


class Callback(Protocol):
    """Called after every ``every`` steps, and when the solve ends."""

    every: int

    def __call__(self, run: Progress) -> None:
        """Do the callback's work at a step at which it is due."""
        ...


@runtime_checkable
class SupportsState(Protocol):
    """A callback with a memory, which a checkpoint keeps."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the callback remembers, as plain values and tensors."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` returned."""
        ...


@runtime_checkable
class SupportsBegin(Protocol):
    """A callback that is told when a solve begins, so that it can serve several; a resumed run's memory comes after."""

    def begin(self) -> None:
        """Get ready for a solve that is about to begin."""
        ...


@final
class Evaluate:
    """Record metrics of the players as columns of the history.

    The functions get copies of both players in evaluation mode, without gradients unless they enable them.

    Args:
        metrics: functions ``metric(u, v) -> float`` by name.
        every: steps between evaluations; the end of the solve is evaluated too.

    Raises:
        ArgumentError: if ``every`` is not positive, a metric is not callable, or one has the name of a column that the
            solver records, such as ``"risk"``.

    Examples:
        >>> import torch
        >>> from minimaxopt import Descent, Evaluate, Game, solve
        >>> game = Game(lambda u, v: (u - 1).square().sum(), torch.zeros(1), None)
        >>> look = Evaluate({"distance": lambda u, v: float((u - 1).abs())}, every=2)
        >>> solution = solve(game, Descent(), steps=4, callbacks=[look])
        >>> solution.history.steps("distance")
        array([1, 3])
    """

    def __init__(self, metrics: Mapping[str, Callable[[Tree, Tree], float]], *, every: int = 100) -> None:
        self.every = period(every)
        if not isinstance(metrics, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - callers are not all typed
            raise ArgumentError(f"metrics: {type(metrics).__name__} has no names; give a dictionary of functions")
        for name, metric in metrics.items():
            if name == "risk":
                raise ArgumentError("metrics: 'risk' is the column of the risk itself; give the metric another name")
            if not callable(metric):
                raise ArgumentError(
                    f"metrics: {name!r} is {type(metric).__name__}, not a function; give metric(u, v) -> float"
                )
        self._metrics = dict(metrics)

    def __call__(self, run: Progress) -> None:
        """Evaluate every metric at the present point."""
        u, v = run.players()
        for tree in (u, v):
            for _, leaf in leaves_with_names(tree):
                if isinstance(leaf, nn.Module):
                    leaf.eval()
        with torch.no_grad():
            for name, metric in self._metrics.items():
                run.log(name, float(metric(u, v)))


@final
class EarlyStop:
    """Stop when a column of the history has not improved for ``patience`` looks.

    A look counts only where the column has a new value. At the end of a solve there is no look but a due one.

    Args:
        column: the column to watch, such as one that ``Evaluate`` records (give ``Evaluate`` first).
        patience: looks without improvement that are borne.
        min_delta: what counts as an improvement, in the column's unit.
        mode: whether smaller (``"min"``) or larger (``"max"``) is better.
        every: steps between looks.

    Raises:
        ArgumentError: for a mode, patience, improvement or period that cannot be used, or at the first look if there is
            no such column.

    Examples:
        >>> import torch
        >>> from minimaxopt import Descent, EarlyStop, Game, solve
        >>> game = Game(lambda u, v: u.square().sum(), torch.zeros(1), None)
        >>> solve(game, Descent(), steps=1000, callbacks=[EarlyStop("risk", patience=2, every=10)]).steps
        30
    """

    def __init__(
        self,
        column: str,
        *,
        patience: int = 5,
        min_delta: float = 0.0,
        mode: Literal["min", "max"] = "min",
        every: int = 100,
    ) -> None:
        if mode not in ("min", "max"):
            raise ArgumentError(f"mode: {mode!r} is neither 'min' nor 'max'; say which values are better")
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:  # pyright: ignore[reportUnnecessaryIsInstance] - callers are not all typed
            raise ArgumentError(f"patience: {patience!r} is not a positive number of looks; give at least 1")
        if not 0 <= min_delta < math.inf:
            raise ArgumentError(f"min_delta: {min_delta!r} is no improvement; give a finite number, 0 or more")
        self.every = period(every)
        self._column, self._patience, self._min_delta = column, patience, min_delta
        self._sign = 1.0 if mode == "min" else -1.0
        self.begin()

    def begin(self) -> None:
        """Forget what was seen in an earlier solve."""
        self._best, self._waited, self._seen = math.inf, 0, -1

    def __call__(self, run: Progress) -> None:
        """Look at the column's latest value."""
        if run.step == 0 or run.step % self.every:
            return
        if run.history.names == [SKIPPED]:
            return
        if self._column not in run.history:
            raise ArgumentError(
                f"column: at step {run.step} the history has no {self._column!r} but {', '.join(run.history.names)}; "
                "put the Evaluate that records it before EarlyStop, and let it look at least as often"
            )
        if run.history.last_step(self._column) == self._seen:
            return
        self._seen = run.history.last_step(self._column)
        value = self._sign * run.history.last(self._column)
        if value < self._best - self._min_delta:
            self._best, self._waited = value, 0
            return
        self._waited += 1
        if self._waited >= self._patience:
            best = f"{self._sign * self._best:.6g}"
            run.stop(f"EarlyStop: {self._column!r} has not improved on {best} for {self._patience} looks.")

    def state_dict(self) -> dict[str, Any]:
        """Return what has been seen so far."""
        return {"best": self._best, "waited": self._waited, "seen": self._seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what had been seen."""
        self._best, self._waited, self._seen = float(state["best"]), int(state["waited"]), int(state["seen"])


@final
class JSONLLog:
    """Write each step's record as a line of JSON, ``{"step": 0, "risk": ..., ...}``.

    Each solve begins the file anew. A resumed run writes the steps before its checkpoint too, so that each step stands
    once. A value that is not finite, as a metric's may be, is written as ``null``.

    Args:
        path: the file.
        every: steps between writes; every step has its line all the same.

    Raises:
        ArgumentError: if ``path`` is a folder, or ``every`` is not positive.

    Examples:
        >>> import pathlib, tempfile, torch
        >>> from minimaxopt import Descent, Game, JSONLLog, solve
        >>> game = Game(lambda u, v: u.square().sum(), torch.ones(1), None)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "log.jsonl")
        ...     _ = solve(game, Descent(), steps=2, callbacks=[JSONLLog(path)])
        ...     len(path.read_text().splitlines())
        2
    """

    def __init__(self, path: str | Path, *, every: int = 50) -> None:
        self.every = period(every)
        self.path = Path(path)
        if self.path.is_dir():
            raise ArgumentError(f"path: {path} is a folder; give the file to write to")
        self.begin()

    def begin(self) -> None:
        """Forget what was written in an earlier solve."""
        self._written = 0

    def __call__(self, run: Progress) -> None:
        """Append the steps since the last write; the first write begins the file anew."""
        rows = run.history.rows(since=self._written)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a" if self._written else "w", encoding="utf-8") as file:
            file.writelines(_line(step, row) for step, row in rows)
        self._written = run.step


@final
class Checkpoint:
    """Save everything that the run depends on, so that ``solve(..., resume=folder)`` continues it to the bit.

    Written atomically, and only after the values were found finite: the last good checkpoint is never overwritten by a
    bad one. The last two of a run are kept; if the last is damaged, ``resume`` falls back to the previous one, with a
    warning.

    Args:
        path: the folder.
        every: steps between checkpoints; the end of the solve is saved too, an interrupted one included.

    Raises:
        ArgumentError: if ``path`` is a file, or ``every`` is not positive.

    Examples:
        >>> import tempfile, torch
        >>> from minimaxopt import Checkpoint, Descent, Game, solve
        >>> game = Game(lambda u, v: u.square().sum(), torch.ones(1), None)
        >>> whole = solve(game, Descent(), steps=6)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = solve(game, Descent(), steps=3, callbacks=[Checkpoint(folder)])
        ...     rest = solve(game, Descent(), steps=6, resume=Checkpoint.latest(folder))
        >>> torch.equal(whole.u, rest.u)
        True
    """

    NAME = "checkpoint"

    def __init__(self, path: str | Path, *, every: int = 1000) -> None:
        self.every = period(every)
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise ArgumentError(f"path: {path} is a file; give the folder to save into")
        self.begin()

    def begin(self) -> None:
        """Take what the folder holds for another run's; a resumed run's memory says otherwise."""
        self._own = False

    def __call__(self, run: Progress) -> None:
        """Save the run; its checkpoint before this one is kept, another run's is not."""
        path = storage.write(self.path, self.NAME, run.checkpoint(), keep_previous=self._own)
        if not self._own:
            storage.previous(path).unlink(missing_ok=True)
        self._own = True

    def state_dict(self) -> dict[str, Any]:
        """Return where the run is saved."""
        return {"path": str(self.path.absolute())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Keep the checkpoint that the run goes on from, if it lies in this folder."""
        self._own = state["path"] == str(self.path.absolute())

    @classmethod
    def latest(cls, path: str | Path) -> Path | None:
        """Return ``path`` if it holds a checkpoint, else ``None``: for ``resume`` where a run may not have begun."""
        last = Path(path) / f"{cls.NAME}.json"
        return Path(path) if last.exists() or storage.previous(last).exists() else None


def _line(step: int, row: Mapping[str, float]) -> str:
    values = {name: value if math.isfinite(value) else None for name, value in row.items()}
    return json.dumps({"step": step, **values}, allow_nan=False) + "\n"


def period(every: int) -> int:
    """Return ``every`` if it is a positive number of steps, else raise ``ArgumentError``."""
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:  # pyright: ignore[reportUnnecessaryIsInstance] - callers are not all typed
        raise ArgumentError(f"every: {every!r} is not a positive number of steps")
    return every
