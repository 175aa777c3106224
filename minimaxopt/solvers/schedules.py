"""Schedules of a learning rate: what advances them, and their construction from the user's factory."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch.optim.lr_scheduler import LRScheduler

from minimaxopt._types import SchedulerFactory
from minimaxopt.errors import ArgumentError


@final
@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule that is advanced less often than once a step, or by a quantity of the history.

    Schedules follow the step's number, and so also count steps that ``skip_nonfinite`` left out. Checkpoints hold them.

    Args:
        factory: takes the optimizer and returns the scheduler, such as ``partial(StepLR, step_size=30)``.
        every: steps between advances, or ``"epoch"`` for one pass over the data, whose length must be known.
        metric: for a scheduler such as ``ReduceLROnPlateau`` the column of the history that it goes by: ``"risk"``, a
            value that ``f`` logs or one that a callback records. It gets the mean of the values since the last time; if
            there are none, it is left alone. ``solve`` does this after callbacks such as ``Evaluate``.

    Raises:
        ArgumentError: for an argument that cannot be used; by ``solve``, if the length of an epoch is not known, a
            scheduler needs a metric and has none, or the other way round, or the history has no such column.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
        >>> from minimaxopt import Batches, Game, Schedule, solve
        >>> game = Game(lambda u, v, x: (u - x).square().mean(), torch.tensor(0.0), None)
        >>> data = Batches(torch.ones(6), batch_size=2)
        >>> halved = Schedule(partial(StepLR, step_size=1, gamma=0.5), every="epoch")
        >>> solve(game, "descent", steps=6, data=data, u_scheduler=halved).ok
        True
        >>> patient = Schedule(partial(ReduceLROnPlateau, patience=2), every=3, metric="risk")
        >>> solve(game, "descent", steps=6, data=data, u_scheduler=patient).ok
        True
    """

    factory: SchedulerFactory
    every: int | Literal["epoch"] = 1
    metric: str | None = None

    def __post_init__(self) -> None:
        if not callable(self.factory):  # pyright: ignore[reportUnnecessaryComparison] - callers are not all typed
            raise ArgumentError(f"factory: {type(self.factory).__name__} is not callable; {_REMEDY}")
        number = isinstance(self.every, int) and not isinstance(self.every, bool) and self.every > 0
        if not number and self.every != "epoch":
            raise ArgumentError(f"every: {self.every!r} is neither a positive number of steps nor 'epoch'; give one")
        if self.metric is not None and not (isinstance(self.metric, str) and self.metric):  # pyright: ignore[reportUnnecessaryIsInstance] - callers are not all typed
            raise ArgumentError(f"metric: {self.metric!r} is no name of a column of the history; give one, or None")

    def __call__(self, optimizer: torch.optim.Optimizer) -> LRScheduler:
        """Return the scheduler of an optimizer."""
        return self.factory(optimizer)

    def steps(self, name: str, epoch: int | None) -> int:
        """Return the steps between advances.

        Args:
            name: what an error calls the schedule.
            epoch: the steps in one pass over the data, if known.
        """
        if self.every != "epoch":
            return self.every
        if epoch is None:
            raise ArgumentError(
                f"{name}: every='epoch', but a pass over the data has no known number of steps (data without a length, "
                "several sources of different lengths, or ascent_batches='fresh'); give every=1000 or so"
            )
        return epoch


_REMEDY = "give a factory such as partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=1000)"


def make_scheduler(name: str, factory: SchedulerFactory, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """Build the schedule of an optimizer.

    Args:
        name: of the argument, for errors.
        factory: the user's.
        optimizer: whose rate it changes.

    Raises:
        ArgumentError: if the factory returns something that cannot be advanced as it is to be.
    """
    if not callable(factory):  # pyright: ignore[reportUnnecessaryComparison] - callers are not all typed
        raise ArgumentError(f"{name}: {type(factory).__name__} is not callable; {_REMEDY}")
    scheduler = factory(optimizer)
    if not isinstance(scheduler, LRScheduler):  # pyright: ignore[reportUnnecessaryIsInstance] - factories are not all typed
        raise ArgumentError(f"{name}: the factory returned {type(scheduler).__name__}, not a scheduler; {_REMEDY}")
    kind = type(scheduler)
    waits = "metrics" in inspect.signature(kind.step).parameters
    metric = factory.metric if isinstance(factory, Schedule) else None
    if waits and metric is None:
        raise ArgumentError(
            f"{name}: {kind.__name__} waits for a metric, which a step does not have; name a column of the history by "
            f"Schedule(partial({kind.__name__}, ...), every=100, metric='risk')"
        )
    if metric is not None and not waits:
        raise ArgumentError(f"{name}: {kind.__name__} takes no metric; leave metric={metric!r} out")
    return scheduler
