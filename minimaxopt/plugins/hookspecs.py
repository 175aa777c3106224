"""The four hooks by which a plugin adds to minimaxopt, and the markers for them.

A plugin is a module that an entry point of the group ``minimaxopt`` names. It implements any of the functions below,
each marked with ``@hookimpl``::

    from typing import Annotated

    import torch
    from minimaxopt import Game, Problem, hookimpl

    def saddle(pull: Annotated[float, "strength of the coupling u v"] = 2.0) -> Problem:
        "The quadratic saddle u^2 - v^2 + pull u v."
        return Problem(Game(lambda u, v: u * u - v * v + pull * u * v, torch.tensor(1.0), torch.tensor(1.0)))

    @hookimpl
    def register_problems(register):
        register("saddle", saddle)

Nothing is registered by importing a module: the host calls the hooks, one plugin at a time, and drops a plugin whole if
any of them fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import pluggy

if TYPE_CHECKING:
    import typer

PROJECT = "minimaxopt"
"""Name of the entry-point group, of the hook markers and, in capitals, of the environment's prefix."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a plugin's function as the implementation of the hook of the same name."""


class Register(Protocol):
    """Registers a name; a hook receives it and calls it once for each thing that the plugin brings."""

    def __call__(self, name: str, thing: Callable[..., object], /) -> None:
        """Register ``thing`` under ``name``.

        Args:
            name: letters, digits, ``.``, ``_`` and ``-``, beginning with a letter or digit; unique over all plugins.
            thing: what the hook asks for.

        Raises:
            PluginError: the name or the thing cannot be used; the plugin is refused, even if it catches this.
        """


@hookspec
def register_problems(register: Register) -> None:
    """Register problems: ``register(name, build)`` with ``build(**options) -> Problem``.

    Every option of ``build`` is annotated ``Annotated[type, "help text"]`` and has a default, so that
    ``minimaxopt problems show NAME`` can describe it and ``--set option=value`` can read it. The first line of the
    docstring is the line that ``minimaxopt problems`` prints.
    """


@hookspec
def register_solvers(register: Register) -> None:
    """Register solvers: ``register(name, Solver)`` with a frozen dataclass that follows ``minimaxopt.Solver``.

    Its fields are the settings, each with a default; ``--set solver.field=value`` reads one. A function that returns
    such a solver is taken as well, its parameters being the settings. The names of the built-in solvers are taken.
    """


@hookspec
def register_callbacks(register: Register) -> None:
    """Register callbacks: ``register(name, build)``, for ``solve(callbacks=[build()])``.

    The parameters of ``build`` are its settings, each with a default, as with solvers.
    """


@hookspec
def register_commands(cli: typer.Typer) -> None:
    """Add commands to the command line: ``cli.add_typer(app, name="study")`` or ``@cli.command()``.

    Called by the ``minimaxopt`` command only, never by ``import minimaxopt``; a plugin therefore imports typer inside
    this function. The names of the built-in commands are taken.
    """
