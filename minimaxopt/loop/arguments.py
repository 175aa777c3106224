"""Checks of the arguments of ``solve``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minimaxopt.errors import ArgumentError
from minimaxopt.game.batches import Batches
from minimaxopt.game.data_source import parts_of
from minimaxopt.game.game import Game
from minimaxopt.loop.callbacks import Callback
from minimaxopt.solvers import SOLVERS


def solver_of(solver: Any) -> Any:
    """Return the solver that an argument is or names.

    Raises:
        ArgumentError: it is neither a solver nor the name of one.
        PluginError: the plugin that brings it failed.
    """
    if isinstance(solver, str):
        if solver in SOLVERS:
            return SOLVERS[solver]()
        from minimaxopt.plugins.host import load_solver

        return load_solver(solver)
    if isinstance(solver, type):
        raise ArgumentError(f"solver: {solver.__name__} is a class; give an instance, {solver.__name__}()")
    if not all(hasattr(solver, part) for part in ("name", "players", "init", "step")):
        raise ArgumentError(
            f"solver: {type(solver).__name__} is no solver; give one such as Sensitivity(), or a name among "
            f"{sorted(SOLVERS)}"
        )
    return solver


def callbacks_of(callbacks: Any) -> list[Callback]:
    """Return callbacks as a list.

    Raises:
        ArgumentError: something in it is no callback.
    """
    if not isinstance(callbacks, Iterable):
        raise ArgumentError(f"callbacks: {type(callbacks).__name__} is no list of callbacks; give [...] around it")
    listed = list(callbacks)
    for callback in listed:
        if isinstance(callback, type):
            raise ArgumentError(
                f"callbacks: {callback.__name__} is a class; give an instance, {callback.__name__}(...)"
            )
        if not callable(callback) or not hasattr(callback, "every"):
            raise ArgumentError(
                f"callbacks: {type(callback).__name__} is no callback; give objects with 'every' that can be called"
            )
        every: Any = getattr(callback, "every")  # noqa: B009 - of an object that may be anything
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ArgumentError(
                f"callbacks: {type(callback).__name__} has every={every!r}; give it a positive number of steps"
            )
    return listed


def check_arguments(game: Any, steps: Any, seed: Any, order: Any, tolerance: Any, compile: Any) -> None:
    """Raise ``ArgumentError`` for the first argument that cannot be used."""
    if not isinstance(game, Game):
        raise ArgumentError(f"game: {type(game).__name__} is not a Game; give Game(f, u, v)")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise ArgumentError(f"steps: {steps!r} is not a number of steps; give a non-negative integer")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ArgumentError(f"seed: {seed!r} is not an integer; give one")
    if order not in ("minimax", "maximin"):
        raise ArgumentError(f"order: {order!r} is neither 'minimax' nor 'maximin'; say who leads")
    number = isinstance(tolerance, (int, float)) and not isinstance(tolerance, bool)
    if tolerance is not None and not (number and tolerance >= 0):
        raise ArgumentError(f"tolerance: {tolerance!r} can never be met; give a non-negative number")
    if not isinstance(compile, bool):
        raise ArgumentError(f"compile: {compile!r} is neither True nor False; give one of them")


def check_micro_batches(count: Any, data: Any, *, compiled: bool, zero_sum: bool) -> None:
    """Raise ``ArgumentError`` if batches cannot be evaluated in ``count`` parts."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ArgumentError(f"micro_batches: {count!r} is not a positive number of parts; give 1 or more")
    if count > 1 and data is None:
        raise ArgumentError("micro_batches: without data there is no batch to divide; leave it out")
    if count > 1 and compiled:
        raise ArgumentError("micro_batches: compiled steps evaluate whole batches; leave it out, or compile")
    if count > 1 and not zero_sum:
        raise ArgumentError(
            "micro_batches: the follower's own loss is evaluated on whole batches; leave one of them out"
        )


def check_skips(skip_nonfinite: Any) -> None:
    """Raise ``ArgumentError`` unless ``skip_nonfinite`` is a number of steps."""
    if isinstance(skip_nonfinite, bool) or not isinstance(skip_nonfinite, int) or skip_nonfinite < 0:
        raise ArgumentError(f"skip_nonfinite: {skip_nonfinite!r} is not a number of steps; give 0 or more")


def description_of(data: Any) -> str:
    """Return what the manifest says of the data."""
    if parts := parts_of(data):
        return f"{type(data).__name__}({', '.join(f'{key}: {description_of(part)}' for key, part in parts.items())})"
    return repr(data) if isinstance(data, Batches) else type(data).__name__
