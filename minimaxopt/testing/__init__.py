"""Games with known answers, and conformance suites for solvers and problems of your own.

``GAMES`` holds every game by name. ``check_solver`` and ``check_problem`` are what minimaxopt's own pass; a plugin's
tests call them in one line.
"""

from __future__ import annotations

from minimaxopt.errors import unknown_name
from minimaxopt.testing.check_problem import check_problem
from minimaxopt.testing.check_solver import check_solver
from minimaxopt.testing.games import bilinear, constrained, flat, gan, nonconvex, quadratic, surfaces
from minimaxopt.testing.games import robust_learning as data
from minimaxopt.testing.games.known_game import KnownGame, KnownPoint

_FAMILIES = (quadratic, bilinear, surfaces, nonconvex, gan, flat, constrained, data)

GAMES: dict[str, KnownGame] = {game.name: game for family in _FAMILIES for game in family.games()}
"""Every game with known answers, by name."""

__all__ = ["GAMES", "KnownGame", "KnownPoint", "check_problem", "check_solver", "known_game"]


def known_game(name: str) -> KnownGame:
    """Return the game with known answers that has this name.

    Args:
        name: a key of ``GAMES``.

    Raises:
        UnknownNameError: if there is none.

    Examples:
        >>> known = known_game("anti-saddle")
        >>> known.minimax_value, known.maximin_value, known.nash
        (0.25, -0.25, False)
        >>> [(float(point.u), float(point.v)) for point in known.minimax_points]
        [(0.0, 0.5), (0.0, -0.5)]
    """
    try:
        return GAMES[name]
    except KeyError:
        raise unknown_name("name", name, GAMES) from None
