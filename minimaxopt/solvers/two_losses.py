"""The declaration by a solver that it plays games of two losses, in which the follower minimises a loss of its own."""

from __future__ import annotations

from typing import Any

from minimaxopt.errors import ArgumentError
from minimaxopt.game.game import Game


def refuse_two_losses(game: Game, solver: Any) -> None:
    """Refuse a game of two losses for a solver that does not play such games.

    A solver that does has an attribute ``two_losses = True``. Its step then follows ``ctx.gradients()``, each player's
    gradient of its own loss, or asks for ``ctx.risk_gradients()`` and for ``ctx.blocks(players=("v",))``.

    Raises:
        ArgumentError: naming the solver.
    """
    if not game.zero_sum and not getattr(solver, "two_losses", False):
        raise ArgumentError(
            f"solver: {solver.name!r} has no form for a follower with a loss of its own; use one that has, such as "
            "'alternating-gda' or 'extragradient' for the point where neither gains alone, or 'unrolled' or "
            "'stackelberg' for a leader that anticipates the answer"
        )
