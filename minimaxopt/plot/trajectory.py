"""Trajectories: the points that a solver visits in a game."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minimaxopt.errors import unknown_name
from minimaxopt.game.random_streams import preserve_rng_state
from minimaxopt.plot.plane import Array, flattened
from minimaxopt.solvers import SOLVERS, Context

if TYPE_CHECKING:
    from minimaxopt._types import OptimizerFactory, SchedulerFactory
    from minimaxopt.game.game import Game


class Trajectory(NamedTuple):
    """The points that a solver visits, the start first, one row a step.

    Attributes:
        u: the leader: a column of numbers where it is one number, else one flat vector a row.
        v: the follower, likewise.
    """

    u: Array
    v: Array


def trajectory(
    game: Game,
    solver: Any = "sensitivity",
    *,
    steps: int,
    data: Any = None,
    seed: int = 0,
    u_optimizer: OptimizerFactory | None = None,
    v_optimizer: OptimizerFactory | None = None,
    u_scheduler: SchedulerFactory | None = None,
    v_scheduler: SchedulerFactory | None = None,
    ascent_batches: str = "same",
) -> Trajectory:
    """Let a solver play and return every point that it visits; it ends early before a value that is not finite.

    Args:
        game: the game, which is not modified.
        solver: a solver, such as ``Sensitivity(gamma=1.0)``, or the name of one of minimaxopt's, for its defaults.
        steps: steps to make.
        data: as in ``solve``, like all that follow.
        seed: of every random draw.
        u_optimizer: factory of the leader's optimizer.
        v_optimizer: factory of the follower's optimizer.
        u_scheduler: factory of a schedule of the leader's rate.
        v_scheduler: factory of a schedule of the follower's rate.
        ascent_batches: ``"same"`` or ``"fresh"``.

    Returns:
        ``steps + 1`` points at most.

    Raises:
        ArgumentError: if a setting cannot be used.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Game
        >>> sgd = partial(torch.optim.SGD, lr=0.5)
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> trajectory(game, "alternating-gda", steps=2, u_optimizer=sgd, v_optimizer=sgd).u
        array([ 1.   ,  0.5  , -0.125])
    """
    if isinstance(solver, str):
        if solver not in SOLVERS:
            raise unknown_name("solver", solver, SOLVERS)
        solver = SOLVERS[solver]()
    ctx = Context(
        game,
        players=solver.players,
        data=data,
        seed=seed,
        u_optimizer=u_optimizer,
        v_optimizer=v_optimizer,
        u_scheduler=u_scheduler,
        v_scheduler=v_scheduler,
        ascent_batches=ascent_batches,
    )
    rows: list[tuple[Array, Array]] = []

    def keep() -> bool:
        position = flattened(ctx.point.u), flattened(ctx.point.v)
        if not all(np.isfinite(vector).all() for vector in position):
            return False
        rows.append(position)
        return True

    with preserve_rng_state(ctx.devices):
        state = solver.init(ctx)
        keep()
        for _ in range(steps):
            state, _ = ctx.advance(solver, state)
            if not keep():
                break
    u, v = (np.stack([row[i] for row in rows]) for i in (0, 1))
    return Trajectory(*(x[:, 0] if x.shape[1] == 1 else x for x in (u, v)))
