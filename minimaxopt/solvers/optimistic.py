"""Optimistic gradient descent-ascent: each step corrects the one before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from minimaxopt._types import Player, Record, Tensors
from minimaxopt.errors import ArgumentError
from minimaxopt.solvers.context import Context, require_parametric, sensitivity_of


@final
@dataclass(frozen=True)
class Optimistic:
    """Move by the present displacement plus its change since the step before (OGDA).

    ``x_{i+1} = P(x_i + d_i + strength (d_i - d_{i-1}))`` with ``x = (u, v)``; with SGD ``d_i = -eta F(x_i)``, hence
    ``x_{i+1} = x_i - 2 eta F(x_i) + eta F(x_{i-1})``

    ``d_i`` is what the player's own optimizer proposes: with Adam this is optimistic Adam, whose moments take in each
    gradient once. Before the first step there is no displacement; the missing one is taken to be the present one, so
    that the first step is a plain step, not a double one. With projections it is the forward-reflected-backward
    method. On a bilinear game it converges for ``eta`` below ``1 / (sqrt(3) s)``, ``s`` the largest singular value.

    Args:
        strength: the weight of the change; 0 is simultaneous gradient descent-ascent.

    Raises:
        ArgumentError: if ``strength`` is negative or not finite, or the follower responds.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Game, Optimistic, solve
        >>> sgd = partial(torch.optim.SGD, lr=0.5)
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> for steps in (1, 2):
        ...     solution = solve(game, Optimistic(), steps=steps, u_optimizer=sgd, v_optimizer=sgd)
        ...     print(solution.u.item(), solution.v.item())
        0.5 1.5
        -0.5 1.5

    Source: Daskalakis et al. 2018, Alg. 1; Malitsky and Tam 2020 for projections; Mokhtari et al. 2020 for ``strength``.
    """

    strength: float = 1.0

    name: ClassVar[str] = "optimistic"
    movers: ClassVar[tuple[Player, ...]] = ("u", "v")

    def __post_init__(self) -> None:
        if not 0 <= self.strength < float("inf"):
            raise ArgumentError(f"strength: {self.strength} is no weight; give a number that is not negative")

    def init(self, ctx: Context) -> dict[Player, Tensors] | None:
        """Begin without a past displacement."""
        require_parametric(ctx, self.name)
        return None

    def step(self, ctx: Context, state: dict[Player, Tensors] | None) -> tuple[dict[Player, Tensors], Record]:
        """Make one step of both players; the state is the displacements proposed last."""
        found = ctx.gradients()
        proposed: dict[Player, Tensors] = {"u": ctx.propose("u", found.u), "v": ctx.propose("v", found.v)}
        for player, now in proposed.items():
            ctx.move(player, now if state is None else self._corrected(now, state[player]))
        return proposed, sensitivity_of(found)

    def _corrected(self, now: Tensors, before: Tensors) -> Tensors:
        with torch.no_grad():
            return {name: d + self.strength * (d - before[name]) for name, d in now.items()}
