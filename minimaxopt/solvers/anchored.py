"""Anchored extragradient: extragradient with a pull to the starting point that dies out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch

from minimaxopt._types import Player, Record, Tensors
from minimaxopt.calculus.vectors import add, of
from minimaxopt.solvers.context import Context, require_parametric, sensitivity_of
from minimaxopt.solvers.extragradient import Moments, check_moments, gradients_ahead, proposals, reached


@final
@dataclass(frozen=True)
class AnchoredExtragradient:
    """Extragradient whose two half steps are pulled back to the starting point, by ``1 / (i + 2)`` of the way (EAG).

    ``x' = P(x_i + (x_0 - x_i) / (i + 2) - eta F(x_i))``, ``x_{i+1} = P(x_i + (x_0 - x_i) / (i + 2) - eta F(x'))`` at
    step ``i = 0, 1, ...`` with ``x = (u, v)``

    On convex-concave games of smoothness ``L`` the last iterate has ``||F(x_k)||^2 <= 260 L^2 ||x_0 - x*||^2 /
    (k + 1)^2`` for ``eta = 1 / (8 L)``, a rate that no first-order method can better; extragradient's is ``1 / k``. In
    return it is sublinear where others are linear, and the guarantee is for SGD without projections.

    Args:
        moments: what the optimizers' moments take in, ``"both"`` half steps or the ``"step"``, as for
            ``Extragradient``.

    Raises:
        ArgumentError: if ``moments`` is neither choice, or the follower responds.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import AnchoredExtragradient, Game, solve
        >>> sgd = partial(torch.optim.SGD, lr=0.5)
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> for steps in (1, 2):  # at (0.25, 1.25) the pull is (0.25, -0.25 / 3)
        ...     solution = solve(game, AnchoredExtragradient(), steps=steps, u_optimizer=sgd, v_optimizer=sgd)
        ...     print(f"{solution.u.item():.4f} {solution.v.item():.4f}")
        0.2500 1.2500
        -0.1458 1.1042

    Source: Yoon and Ryu 2021, EAG-C.
    """

    moments: Moments = "both"

    name: ClassVar[str] = "anchored-extragradient"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")

    def __post_init__(self) -> None:
        check_moments(self.moments)

    def init(self, ctx: Context) -> dict[str, Any]:
        """Put the anchor where we are."""
        require_parametric(ctx, self.name)
        anchor = {player: {n: t.detach().clone() for n, t in of(ctx.point, player).items()} for player in self.players}
        return {"anchor": anchor, "steps": 0}

    def step(self, ctx: Context, state: dict[str, Any]) -> tuple[dict[str, Any], Record]:
        """Make one step of both players; the state is the anchor and the number of steps since."""
        here = ctx.gradients()
        pull = self._pull(ctx, state)
        proposed = proposals(ctx, here, self.moments)
        ahead = gradients_ahead(ctx, reached(ctx, {p: add(pull[p], proposed[p]) for p in self.players}))
        ctx.move("u", add(pull["u"], ctx.propose("u", ahead.u)))
        ctx.move("v", add(pull["v"], ctx.propose("v", ahead.v)))
        return {**state, "steps": state["steps"] + 1}, sensitivity_of(here)

    def _pull(self, ctx: Context, state: dict[str, Any]) -> dict[Player, Tensors]:
        with torch.no_grad():
            return {
                player: {
                    n: (state["anchor"][player][n] - t) / (state["steps"] + 2) for n, t in of(ctx.point, player).items()
                }
                for player in self.players
            }
