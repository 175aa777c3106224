"""``solve_many``: several games of one kind, each as ``solve`` would play it alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, final

import torch

from minimaxopt._types import OptimizerFactory, SchedulerFactory
from minimaxopt.callbacks import Callback
from minimaxopt.errors import ArgumentError
from minimaxopt.game import Game
from minimaxopt.run import solve
from minimaxopt.solution import Solution


@final
@dataclass(frozen=True, kw_only=False)
class Run:
    """The arguments of one ``solve``, for ``solve_many``; all are as there.

    Examples:
        >>> import torch
        >>> from minimaxopt import Game, Run, Sensitivity, solve_many
        >>> game = Game(lambda u, v: u**2 / 2 + 2 * u * v - v**2 / 2, torch.tensor(1.0), torch.tensor(1.0))
        >>> [solution.steps for solution in solve_many([Run(game, Sensitivity(gamma=g), steps=9) for g in (0.5, 1.0)])]
        [9, 9]
    """

    game: Game
    solver: Any = "sensitivity"
    steps: int = 0
    data: Any = None
    seed: int = 0
    u_optimizer: OptimizerFactory | None = None
    v_optimizer: OptimizerFactory | None = None
    u_scheduler: SchedulerFactory | None = None
    v_scheduler: SchedulerFactory | None = None
    order: Literal["minimax", "maximin"] = "minimax"
    ascent_batches: Literal["same", "fresh"] = "same"
    tolerance: float | None = None
    device: torch.device | str | None = None
    callbacks: Sequence[Callback] = ()
    resume: str | Path | None = None


def solve_many(runs: Sequence[Run]) -> list[Solution]:
    """Play several games, each as ``solve`` would play it alone.

    Args:
        runs: the games with their arguments.

    Returns:
        The solutions, in the order of ``runs``.
    """
    if not runs:
        raise ArgumentError("runs: there is none; give at least one Run")
    return [solve(**{field.name: getattr(run, field.name) for field in fields(run)}, progress=False) for run in runs]
