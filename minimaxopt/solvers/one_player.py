"""One player moves, the other stays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from minimaxopt._types import Player, Record
from minimaxopt.solvers.context import Context, require_parametric, sensitivity_of
from minimaxopt.solvers.step_derivatives import StepDerivatives
from minimaxopt.solvers.two_losses import TwoLosses


@final
@dataclass(frozen=True)
class Descent:
    """Descend the risk with the leader, the follower frozen or responding.

    ``u <- u - lambda grad_u f(u, v)``

    With a responding follower the answer ``Z`` is computed afresh at each step and taken as a constant: ``u <- u -
    lambda grad_u f(u, Z)``, learning with an adversary (LWA).

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Descent, Game, solve
        >>> game = Game(lambda u, v: (u - v).square().sum(), torch.zeros(2), torch.ones(2))
        >>> solve(game, Descent(), steps=1, u_optimizer=partial(torch.optim.SGD, lr=0.25)).u
        tensor([0.5000, 0.5000])

    Source: Hamm and Mehra 2018, Sec. 3.4 (LWA).
    """

    name: ClassVar[str] = "descent"
    players: ClassVar[tuple[Player, ...]] = ("u",)
    two_losses: ClassVar[TwoLosses] = "own"

    def init(self, ctx: Context) -> None:
        """Nothing is carried from step to step."""

    def derivatives(self, *, responding: bool, constrained: bool = False) -> StepDerivatives:
        """Return the derivatives that a step evaluates, for its compilation."""
        del responding, constrained
        return StepDerivatives((self.players,))

    def step(self, ctx: Context, state: None) -> tuple[None, Record]:
        """Make one step of ``u``."""
        if ctx.responding:
            gradients = ctx.evaluation.leader_gradient()
            ctx.note_buffers(("u",))
        else:
            gradients = ctx.gradients(players=("u",))
        ctx.apply("u", gradients.u)
        return None, sensitivity_of(gradients)


@final
@dataclass(frozen=True)
class Ascent:
    """Ascend the risk with the follower, the leader frozen: the search for a best response.

    ``v <- v + sigma grad_v f(u, v)``

    Raises:
        ArgumentError: if the follower responds, since it has nothing to move.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Ascent, Game, solve
        >>> game = Game(lambda u, v: (u * v).sum(), torch.ones(2), torch.zeros(2))
        >>> solve(game, Ascent(), steps=1, v_optimizer=partial(torch.optim.SGD, lr=0.25)).v
        tensor([0.2500, 0.2500])

    Source: Hamm and Mehra 2018, Eq. 9.
    """

    name: ClassVar[str] = "ascent"
    players: ClassVar[tuple[Player, ...]] = ("v",)
    two_losses: ClassVar[TwoLosses] = "own"

    def init(self, ctx: Context) -> None:
        """Check that the follower can move."""
        require_parametric(ctx, self.name)

    def derivatives(self, *, responding: bool, constrained: bool = False) -> StepDerivatives:
        """Return the derivatives that a step evaluates, for its compilation."""
        del responding, constrained
        return StepDerivatives((self.players,))

    def step(self, ctx: Context, state: None) -> tuple[None, Record]:
        """Make one step of ``v``."""
        gradients = ctx.gradients(players=("v",))
        ctx.apply("v", gradients.v)
        return None, sensitivity_of(gradients)
