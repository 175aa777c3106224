"""Iterate averaging: another solver makes the steps, and the answer is the average of where it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch

from minimaxopt._types import Player, Record
from minimaxopt.errors import ArgumentError
from minimaxopt.solvers.context import Context
from minimaxopt.solvers.wrappers import inner_solver, positions, put


@final
@dataclass(frozen=True)
class Averaged:
    """Let another solver make the steps, and answer with the average of its points.

    ``w_i = S(w_{i-1})`` for the inner solver ``S``, ``x_i = x_{i-1} + (w_i - x_{i-1}) / (i - start)`` for ``i > start``,
    with a ``decay`` ``x_i = decay x_{i-1} + (1 - decay) w_i``; ``x_i = w_i`` before

    ``x`` is what callbacks, ``tolerance`` and the solution see; the steps of ``w`` know nothing of it, and the recorded
    risk is that at ``w``. On convex-concave games averages converge where the points themselves circle: alternating
    gradient descent-ascent's on bilinear games as ``1 / i``. Averages of feasible points are feasible where the sets
    are convex. The batch statistics of modules are those of the last step of ``w``, not of the average: evaluate some
    batches in training mode before use.

    Args:
        inner: the solver that makes the steps: an instance, or the name of one of minimaxopt's for its defaults.
        decay: the weight of the old average in an exponential one, in ``[0, 1)``; ``None`` weighs all points alike.
        start: the steps before averaging begins.

    Raises:
        ArgumentError: if ``inner`` is no solver or a setting is outside its range; what the inner solver refuses.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Averaged, Game, solve
        >>> sgd = partial(torch.optim.SGD, lr=0.1)
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> for solver in ("alternating-gda", Averaged("alternating-gda")):
        ...     solution = solve(game, solver, steps=1000, u_optimizer=sgd, v_optimizer=sgd)
        ...     print(solution.u.hypot(solution.v).item() < 0.02)
        False
        True

    Source: Bruck 1977; Nemirovski and Yudin 1978; Bailey et al. 2020 (alternating steps); Yazici et al. 2019 (``decay``).
    """

    inner: Any = "alternating-gda"
    decay: float | None = None
    start: int = 0

    name: ClassVar[str] = "averaged"

    def __post_init__(self) -> None:
        inner_solver(self.inner)
        if self.decay is not None and not 0 <= self.decay < 1:
            raise ArgumentError(f"decay: {self.decay} is not in [0, 1); give the weight of the old average, or None")
        if self.start < 0:
            raise ArgumentError(f"start: {self.start} is no number of steps; give 0 or more")

    @property
    def movers(self) -> tuple[Player, ...]:
        """The players that the inner solver moves."""
        return inner_solver(self.inner).movers

    @property
    def twice(self) -> bool:
        """Whether the inner solver differentiates the risk twice."""
        return bool(getattr(inner_solver(self.inner), "twice", False))

    def init(self, ctx: Context) -> dict[str, Any]:
        """Begin the inner solver here."""
        inner = inner_solver(self.inner).init(ctx)
        return {"inner": inner, "fast": positions(ctx), "steps": 0}

    def step(self, ctx: Context, state: dict[str, Any]) -> tuple[dict[str, Any], Record]:
        """Make one step of the inner solver from its own point, then stand at the average."""
        average = positions(ctx)
        put(ctx, state["fast"])
        inner, record = inner_solver(self.inner).step(ctx, state["inner"])
        fast = positions(ctx)
        weight = self._weight(state["steps"])
        with torch.no_grad():
            for player, old in average.items():
                average[player] = {n: x + weight * (fast[player][n] - x) for n, x in old.items()}
        put(ctx, fast if weight == 1 else average)
        return {"inner": inner, "fast": fast, "steps": state["steps"] + 1}, record

    def _weight(self, steps: int) -> float:
        """Return the weight of the new point."""
        if steps < self.start:
            return 1.0
        return 1 / (steps - self.start + 1) if self.decay is None else 1 - self.decay
