"""Lookahead: after some steps of any solver, go back a part of the way, both players at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import torch

from minimaxopt._types import Player, Record, Tensors
from minimaxopt.errors import ArgumentError
from minimaxopt.solvers.context import Context
from minimaxopt.solvers.wrappers import inner_solver, positions


@final
@dataclass(frozen=True)
class Lookahead:
    """Let another solver make ``period`` steps, then keep only a part ``alpha`` of the way that they went.

    ``x <- P(s + alpha (x - s))``, ``s <- x`` after every ``period`` steps, ``x = (u, v)``, ``s`` the point after the last
    such return

    Both players go back at once; the rotation of a game is damped by the chord that replaces an arc. Wrappers may be
    nested. The batch statistics of modules are not taken back, and neither is what the inner solver remembers of its own
    steps; of a solver that keeps followers of its own, ``KBeam``, the strongest goes back.

    Args:
        inner: the solver that makes the steps: an instance, or the name of one of minimaxopt's for its defaults.
        period: its steps between two returns.
        alpha: the part that is kept, in ``(0, 1]``; 1 is the inner solver itself.
        moments: what becomes of the optimizers' moments at a return: ``"keep"`` them, or ``"reset"`` them as if no step
            had been made. Lookahead is published with either, and reported to differ little.

    Raises:
        ArgumentError: if ``inner`` is no solver or a setting is outside its range; what the inner solver refuses.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Game, Lookahead, SimultaneousGDA, solve
        >>> sgd = partial(torch.optim.SGD, lr=0.5)
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> for solver in (SimultaneousGDA(), Lookahead(SimultaneousGDA(), period=5)):
        ...     solution = solve(game, solver, steps=100, u_optimizer=sgd, v_optimizer=sgd)
        ...     print(solution.u.hypot(solution.v).item() < 0.01)
        False
        True

    Source: Chavdarova et al. 2021 (Taming GANs with Lookahead-Minmax), Alg. 1; Zhang et al. 2019 for the moments.
    """

    inner: Any = "alternating-gda"
    period: int = 5
    alpha: float = 0.5
    moments: Literal["keep", "reset"] = "keep"

    name: ClassVar[str] = "lookahead"

    def __post_init__(self) -> None:
        inner_solver(self.inner)
        if self.period < 1:
            raise ArgumentError(f"period: {self.period} leaves no step between two returns; give at least 1")
        if not 0 < self.alpha <= 1:
            raise ArgumentError(f"alpha: {self.alpha} is not in (0, 1]; give the part of the way that is kept")
        if self.moments not in ("keep", "reset"):
            raise ArgumentError(f"moments: {self.moments!r} is neither 'keep' nor 'reset'; give one of them")

    @property
    def movers(self) -> tuple[Player, ...]:
        """The players that the inner solver moves."""
        return inner_solver(self.inner).movers

    @property
    def twice(self) -> bool:
        """Whether the inner solver differentiates the risk twice."""
        return bool(getattr(inner_solver(self.inner), "twice", False))

    def init(self, ctx: Context) -> dict[str, Any]:
        """Begin the inner solver, and the first way here."""
        inner = inner_solver(self.inner).init(ctx)
        return {"inner": inner, "slow": positions(ctx), "steps": 0}

    def step(self, ctx: Context, state: dict[str, Any]) -> tuple[dict[str, Any], Record]:
        """Make one step of the inner solver, and go back if it was the last of its period."""
        inner, record = inner_solver(self.inner).step(ctx, state["inner"])
        slow, steps = state["slow"], state["steps"] + 1
        if steps == self.period:
            self._return(ctx, slow)
            slow, steps = positions(ctx), 0
        return {"inner": inner, "slow": slow, "steps": steps}, record

    def _return(self, ctx: Context, slow: dict[Player, Tensors]) -> None:
        if self.moments == "reset":
            held = ctx.snapshot()
            ctx.restore(held._replace(moments={p: [{} for _ in states] for p, states in held.moments.items()}))
        with torch.no_grad():
            for player, mover in ctx.movers.items():
                back = {name: (1 - self.alpha) * (slow[player][name] - t) for name, t in mover.tensors.items()}
                ctx.move(player, back)
