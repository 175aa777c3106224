"""The declaration by a solver that it plays games of two losses, in which the follower minimises a loss of its own."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from minimaxopt.errors import ArgumentError
from minimaxopt.game.game import Game

TwoLosses: TypeAlias = Literal["own", "total"]
"""The derivative of ``f`` that vanishes for the leader where the solver ends: its ``"own"`` gradient, or the ``"total"``
derivative along the follower's answers."""


def refuse_two_losses(game: Game, solver: Any, tolerance: float | None = None) -> None:
    """Refuse a game of two losses for a solver that does not play such games.

    A solver that does has an attribute ``two_losses``, ``"own"`` or ``"total"``. Its step follows ``ctx.gradients()``,
    each player's gradient of its own loss, or asks for ``ctx.risk_gradients()`` and ``ctx.blocks(players=("v",))``.

    Raises:
        ArgumentError: naming the solver; or for a ``tolerance`` of the players' own gradients, where the solver ends
            elsewhere than where those vanish.
    """
    if game.zero_sum:
        return
    kind = getattr(solver, "two_losses", None)
    if kind is None:
        raise ArgumentError(
            f"solver: {solver.name!r} plays zero-sum games alone, and this game's follower has a loss of its own; use "
            "'alternating-gda' or 'extragradient' for a point where neither gains alone, or 'unrolled' or 'stackelberg' "
            "for a leader that anticipates the answer"
        )
    if kind == "total" and tolerance is not None:
        raise ArgumentError(
            f"tolerance: is of the players' own gradients, and the leader's does not vanish where {solver.name!r} ends in "
            "a game of two losses; leave it out, or stop by EarlyStop"
        )
