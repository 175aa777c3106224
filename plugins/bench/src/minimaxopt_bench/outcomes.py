"""Endings of a run: minimax point, other stationary point, cycle, divergence, or still on its way."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Ending: TypeAlias = Literal["minimax", "stationary", "cycle", "slow", "divergence"]

ENDINGS: tuple[Ending, ...] = get_args(Ending)
RULES: dict[Ending, str] = {
    "minimax": "the leader is within the tolerance of a minimax leader, the follower's loss against its best answer "
    "too, and both stay so",
    "stationary": "at rest elsewhere than at a minimax point (gradients zero, or the solver halts), or within the "
    "tolerance of a listed point that only looks like a solution",
    "cycle": "bounded, and neither at rest nor coming to rest: over the last quarter of the steps the projected "
    "gradients are no shorter than over the quarter before, and the way is long against its extent",
    "slow": "none of the others: still moving when the budget ended, and coming to rest or on a long way",
    "divergence": "left the radius, or met a value that is not finite",
}
"""Definition of each ending, in words."""

NOT_SHORTER = 0.9
"""Ratio of the medians of the last two quarters' gradients from which on they count as no shorter."""
LONG_PATH = 1.5
"""Length of the second half of a path over its extent: 1 on a straight line, pi on a circle once round."""


class Observations(NamedTuple):
    """Observations of a run that has ended.

    Attributes:
        points: every point of both players, ``(steps + 1, values)``, the start first.
        residuals: lengths of the projected gradients, at equal distances along the run.
        arrival: step since which the run has been at a minimax point without a break; ``None`` if it is not at one.
        at_rest: whether it came to rest.
        at_impostor: whether it ended at a listed point that is not minimax.
        escaped: whether it left the radius.
        stay: number of steps for which it must stay at a minimax point.
    """

    points: Array
    residuals: Array
    arrival: int | None
    at_rest: bool
    at_impostor: bool
    escaped: bool
    stay: int


def ending(run: Observations) -> Ending:
    """Return how a run ended, by ``RULES`` in this order: divergence, minimax, stationary, cycle, slow.

    Args:
        run: observations of the run.

    Examples:
        >>> import numpy as np
        >>> angle = np.linspace(0, 20, 500)
        >>> circle = np.column_stack([np.cos(angle), np.sin(angle)])
        >>> flags = {"arrival": None, "at_rest": False, "at_impostor": False, "escaped": False}
        >>> ending(Observations(circle, np.ones(25), stay=100, **flags))
        'cycle'
    """
    if run.escaped or not np.isfinite(run.points).all():
        return "divergence"
    if run.arrival is not None and (run.at_rest or _stayed(run, run.arrival)):
        return "minimax"
    if run.at_rest or run.at_impostor:
        return "stationary"
    if goes_round(run.points) and not comes_to_rest(run.residuals):
        return "cycle"
    return "slow"


def _stayed(run: Observations, arrival: int) -> bool:
    steps = len(run.points) - 1
    # A step of many evaluations leaves a run few steps; a quarter of them has to be enough then.
    return steps - arrival >= min(run.stay, math.ceil(steps / 4))


def comes_to_rest(residuals: Array) -> bool:
    """Return whether the projected gradients still shorten: the last quarter's median is clearly below the one before.

    Args:
        residuals: lengths of the projected gradients at equal distances along a run.

    Examples:
        >>> import numpy as np
        >>> comes_to_rest(0.9 ** np.arange(40.0)), comes_to_rest(np.ones(40))
        (True, False)
    """
    if len(residuals) < 4:
        return True
    quarters = np.array_split(residuals, 4)
    return bool(np.median(quarters[3]) < NOT_SHORTER * np.median(quarters[2]))


def goes_round(points: Array) -> bool:
    """Return whether the second half of a path is long against its extent, the largest distance from its last point.

    Args:
        points: the path, ``(steps + 1, values)``.

    Examples:
        >>> import numpy as np
        >>> straight = np.column_stack([np.arange(100.0), np.zeros(100)])
        >>> back_and_forth = np.abs(straight - 70)
        >>> goes_round(straight), goes_round(back_and_forth)
        (False, True)
    """
    half = points[len(points) // 2 :]
    length = float(np.linalg.norm(np.diff(half, axis=0), axis=1).sum())
    extent = float(np.linalg.norm(half - half[-1], axis=1).max(initial=0.0))
    return length > LONG_PATH * extent


def has_escaped(point: Array, middle: Array, width: Array, radius: float) -> bool:
    """Return whether a value lies farther from the middle than ``radius`` times half the width, or is not finite.

    Args:
        point: values of both players, ``(values,)``.
        middle: middle of the game's box, ``(values,)``.
        width: width of the box, ``(values,)``.
        radius: largest distance from the middle, in half widths.

    Examples:
        >>> import numpy as np
        >>> box = np.zeros(2), np.full(2, 4.0)
        >>> [has_escaped(np.array([0.0, x]), *box, radius=50.0) for x in (99.0, 101.0, np.nan)]
        [False, True, True]
    """
    return not bool((np.abs(point - middle) <= radius * width / 2).all())
