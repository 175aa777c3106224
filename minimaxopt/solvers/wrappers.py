"""Solvers that wrap another one: lookahead and iterate averaging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import torch

from minimaxopt._types import Player, Record, Tensors
from minimaxopt.errors import ArgumentError, unknown_name
from minimaxopt.solvers.context import Context, Snapshot
from minimaxopt.solvers.two_losses import TwoLosses


def inner_solver(inner: Any) -> Any:
    """Return the solver that ``inner`` is or names.

    Raises:
        ArgumentError: if it is neither a solver nor the name of one.
    """
    if isinstance(inner, str):
        # Imported here, since the table of solvers holds those that wrap.
        from minimaxopt.solvers import SOLVERS

        if inner not in SOLVERS:
            raise unknown_name("inner", inner, SOLVERS, remedy="A plugin's solver is given as an instance.")
        return SOLVERS[inner]()
    if isinstance(inner, type) or not all(hasattr(inner, part) for part in ("name", "players", "init", "step")):
        what = f"the class {inner.__name__}" if isinstance(inner, type) else type(inner).__name__
        raise ArgumentError(f"inner: {what} is no solver; give an instance such as AlternatingGDA(), or a name")
    return inner


def put(ctx: Context, parameters: dict[Player, Tensors]) -> None:
    """Set the moving players' tensors to the bit, whatever the optimizers did; their moments stay."""
    ctx.restore(Snapshot(parameters, {}), moments=False)


def positions(ctx: Context) -> dict[Player, Tensors]:
    """Return a copy of the moving players' tensors."""
    return {p: {n: t.detach().clone() for n, t in mover.tensors.items()} for p, mover in ctx.optimizers.items()}


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
    def players(self) -> tuple[Player, ...]:
        """The players that the inner solver moves."""
        return inner_solver(self.inner).players

    @property
    def second_order(self) -> bool:
        """``True`` if the inner solver differentiates the risk twice."""
        return bool(getattr(inner_solver(self.inner), "second_order", False))

    @property
    def two_losses(self) -> TwoLosses | None:
        """What the inner solver declares of games in which the follower has a loss of its own."""
        return getattr(inner_solver(self.inner), "two_losses", None)

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
            snapshot = ctx.snapshot()
            ctx.restore(snapshot._replace(moments={p: [{} for _ in states] for p, states in snapshot.moments.items()}))
        with torch.no_grad():
            for player, mover in ctx.optimizers.items():
                back = {name: (1 - self.alpha) * (slow[player][name] - t) for name, t in mover.tensors.items()}
                ctx.move(player, back)


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
    def players(self) -> tuple[Player, ...]:
        """The players that the inner solver moves."""
        return inner_solver(self.inner).players

    @property
    def second_order(self) -> bool:
        """``True`` if the inner solver differentiates the risk twice."""
        return bool(getattr(inner_solver(self.inner), "second_order", False))

    @property
    def two_losses(self) -> TwoLosses | None:
        """What the inner solver declares of games in which the follower has a loss of its own."""
        return getattr(inner_solver(self.inner), "two_losses", None)

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
