"""Problems: a game together with its data, its metrics and the settings that suit it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from minimaxopt._types import Tree
from minimaxopt.errors import ArgumentError, PluginError
from minimaxopt.game.data_source import source_of
from minimaxopt.game.game import Game
from minimaxopt.plugins.host import plugin_host
from minimaxopt.plugins.options import check_names, convert, describe_options


def _empty() -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Problem:
    """A game with its data, metrics and settings; plugins register problems, and ``minimaxopt solve`` solves them.

    Args:
        game: the game.
        data: ``Batches`` or any iterable of batches, for ``solve(data=...)``; None if the risk takes none.
        metrics: name to ``fn(u, v) -> float``, evaluated on copies of the players in eval mode.
        settings: keyword arguments of ``solve`` that suit the problem, such as ``steps`` or ``u_optimizer``; a user's
            own win.
        held_out: data that no solve has seen, of the form of ``data``, on which ``minimaxopt certify`` scores; by
            default ``data``.
        followers: further followers by name, for ``certify(followers=...)``, such as known attacks.

    Raises:
        ArgumentError: an argument is of another kind.
        DataError: the data cannot be taken from.

    Examples:
        >>> import torch
        >>> from minimaxopt import Game, Problem
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> Problem(game, settings={"steps": 100}).settings["steps"]
        100
    """

    game: Game
    data: Any = None
    metrics: Mapping[str, Callable[[Tree, Tree], float]] = field(default_factory=_empty)
    settings: Mapping[str, Any] = field(default_factory=_empty)
    held_out: Any = None
    followers: Mapping[str, Any] = field(default_factory=_empty)

    def __post_init__(self) -> None:
        """Check the arguments now, rather than in ``solve``."""
        if not isinstance(cast("object", self.game), Game):
            raise ArgumentError(f"game: {self.game!r} is not a Game; give Game(f, u, v)")
        source_of(self.data, 0, None)
        source_of(self.held_out, 0, None)
        for name, value in (("metrics", self.metrics), ("settings", self.settings), ("followers", self.followers)):
            if not isinstance(cast("object", value), Mapping):
                raise ArgumentError(f"{name}: {value!r} is not a mapping; give a dictionary with names as keys")
        for name, metric in self.metrics.items():
            if not callable(metric):
                raise ArgumentError(f"metrics[{name!r}]: {metric!r} cannot be called; give fn(u, v) -> float")


def load_problem(name: str, **options: Any) -> Problem:
    """Build the problem that a plugin registered as ``name``.

    Args:
        name: as listed by ``minimaxopt problems``.
        options: as listed by ``minimaxopt problems show NAME``; a text is read as on the command line.

    Raises:
        UnknownNameError: there is no such problem, or no such option of it.
        ArgumentError: an option's value does not fit its type.
        PluginError: the plugin that would bring the problem failed to load, or its factory returns something else.

    Example::

        problem = load_problem("mnist-attnet", eta=0.2)
        solution = solve(problem.game, data=problem.data, **problem.settings)
    """
    build = plugin_host().find("problem", name)
    described = {option.name: option for option in describe_options(build)}
    check_names(f"option of problem {name!r}", options, list(described.values()))
    problem = build(**{key: convert(described[key], value) for key, value in options.items()})
    if not isinstance(problem, Problem):
        raise PluginError(f"problem {name!r}: its factory returned {type(problem).__name__}; it must return a Problem")
    return problem
