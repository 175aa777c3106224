"""Best-response dynamics: the follower answers as well as it can before the leader moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from minimaxopt._types import Player, Record
from minimaxopt.errors import ArgumentError
from minimaxopt.solvers.context import Context, require_parametric, sensitivity_of
from minimaxopt.solvers.two_losses import TwoLosses


@final
@dataclass(frozen=True)
class BestResponse:
    """Let the follower ascend until it has nearly its best answer, then descend with the leader (GDmax).

    ``v <- P(v + sigma grad_v f(u, v))`` up to ``ascent_steps`` times, while ``||v - P(v + grad_v f(u, v))|| >
    tolerance``; then ``u <- P(u - lambda grad_u f(u, v))``

    Without projections the residual is the norm of ``grad_v f``. The follower sets out from its last answer, and its
    moments carry on. The record has ``ascents``, the steps that it made; each look at the residual waits for the
    device. With ``solve(ascent_batches="fresh")`` each ascent step after the first has a batch of its own. Without a
    tolerance this is ``AlternatingGDA(first="v", ascent_steps=...)``.

    Args:
        ascent_steps: the most ascent steps for one step of the leader.
        tolerance: the residual at which the answer is good enough, in the unit of ``v``; ``None`` makes all
            ``ascent_steps``.

    Raises:
        ArgumentError: for ``ascent_steps < 1``, a negative ``tolerance``, or if the follower responds.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import BestResponse, Game, solve
        >>> sgd = partial(torch.optim.SGD, lr=0.5)
        >>> game = Game(lambda u, v: u * v - v**2 / 2, torch.tensor(1.0), torch.tensor(0.0))
        >>> solver = BestResponse(ascent_steps=100, tolerance=1e-6)
        >>> solution = solve(game, solver, steps=1, u_optimizer=sgd, v_optimizer=sgd)
        >>> solution.history["ascents"].tolist(), round(solution.u.item(), 6)  # the answer to u = 1 is v = 1
        ([20.0], 0.5)

    Source: Lin, Jin and Jordan 2020 (GDmax); Jin, Netrapalli and Jordan 2020 (gradient descent with a max-oracle).
    """

    ascent_steps: int = 10
    tolerance: float | None = None

    name: ClassVar[str] = "best-response"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")
    two_losses: ClassVar[TwoLosses] = "own"

    def __post_init__(self) -> None:
        if self.ascent_steps < 1:
            raise ArgumentError(f"ascent_steps: {self.ascent_steps} leaves the follower without a move; give 1 or more")
        if self.tolerance is not None and not self.tolerance >= 0:
            raise ArgumentError(f"tolerance: {self.tolerance} can never be met; give a number that is not negative")

    def init(self, ctx: Context) -> None:
        """Check that the follower can move."""
        require_parametric(ctx, self.name)

    def step(self, ctx: Context, state: None) -> tuple[None, Record]:
        """Make the follower's ascent and one step of the leader."""
        record: dict[str, Tensor] = {}
        ascents = 0
        for substep in range(self.ascent_steps):
            fresh = ctx.fresh_ascent and substep > 0
            batch = ctx.fresh_batch() if fresh else None
            gradients = ctx.gradients(players=("v",), substep=substep if fresh else 0, batch=batch)
            record.update(sensitivity_of(gradients))
            if self.tolerance is not None and ctx.residual(gradients, ("v",)) <= self.tolerance:
                break
            ctx.apply("v", gradients.v)
            ascents += 1
        leader = ctx.gradients(players=("u",))
        ctx.apply("u", leader.u)
        return None, {**record, "risk": leader.risk, "ascents": torch.tensor(float(ascents), device=leader.risk.device)}
