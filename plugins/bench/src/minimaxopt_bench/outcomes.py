"""Where a run ends: minimax point, other stationary point, cycle, divergence, or still on its way."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Ending: TypeAlias = Literal["minimax", "stationary", "cycle", "slow", "divergence"]

ENDINGS: tuple[Ending, ...] = get_args(Ending)
RULES: dict[Ending, str] = {
    "minimax": "the leader is within the tolerance of a minimax leader, the follower's loss against its best answer too, "
    "and both stay so",
    "stationary": "at rest elsewhere than at a minimax point (gradients zero, or the solver halts), or within the tolerance of "
    "a listed point that only looks like a solution",
    "cycle": "bounded, and neither at rest nor coming to rest: over the last quarter of the steps the projected gradients "
    "are no shorter than over the quarter before, and the way is long against its extent",
    "slow": "none of the others: still moving when the budget ended, and coming to rest or on a long way",
    "divergence": "left the radius, or met a value that is not finite",
}
"""What each ending means, in words."""

NOT_SHORTER = 0.9
"""The ratio of the medians of the last two quarters' gradients from which on they count as no shorter."""
LONG_WAY = 1.5
"""The length of the second half of a way over its extent: 1 on a straight line, pi on a circle once round."""


class Seen(NamedTuple):
    """What is known of a run when it has ended.

    Attributes:
        points: every point of both players, one a row, the start first.
        residuals: lengths of the projected gradients, at equal distances along the run.
        there: the step since which the run has been at a minimax point without a break; ``None`` if it is not.
        rests: whether it came to rest.
        misled: whether it ended at a listed point that is not minimax.
        stay: steps for which it must be there.
    """

    points: Array
    residuals: Array
    there: int | None
    rests: bool
    misled: bool
    escaped: bool
    stay: int


def ending(seen: Seen) -> Ending:
    """Return where a run ended, by ``RULES`` in this order: divergence, minimax, stationary, cycle, slow.

    Examples:
        >>> import numpy as np
        >>> angle = np.linspace(0, 20, 500)
        >>> circle = np.column_stack([np.cos(angle), np.sin(angle)])
        >>> run = Seen(circle, np.ones(25), there=None, rests=False, misled=False, escaped=False, stay=100)
        >>> ending(run)
        'cycle'
    """
    if seen.escaped or not np.isfinite(seen.points).all():
        return "divergence"
    if seen.there is not None and (seen.rests or _stayed(seen)):
        return "minimax"
    if seen.rests or seen.misled:
        return "stationary"
    if goes_round(seen.points) and not comes_to_rest(seen.residuals):
        return "cycle"
    return "slow"


def _stayed(seen: Seen) -> bool:
    steps = len(seen.points) - 1
    # A step of many evaluations leaves few of them to a run; a quarter of its way must do then.
    return steps - (seen.there or 0) >= min(seen.stay, math.ceil(steps / 4))


def comes_to_rest(residuals: Array) -> bool:
    """Whether the projected gradients still shorten: the last quarter's median is clearly below the one before.

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
    """Whether the second half of a way is long against its extent, the largest distance from its last point.

    Examples:
        >>> import numpy as np
        >>> straight = np.column_stack([np.arange(100.0), np.zeros(100)])
        >>> there_and_back = np.abs(straight - 70)
        >>> goes_round(straight), goes_round(there_and_back)
        (False, True)
    """
    half = points[len(points) // 2 :]
    length = float(np.linalg.norm(np.diff(half, axis=0), axis=1).sum())
    extent = float(np.linalg.norm(half - half[-1], axis=1).max(initial=0.0))
    return length > LONG_WAY * extent


def escaped(point: Array, middle: Array, width: Array, radius: float) -> bool:
    """Whether a value lies farther from the middle than ``radius`` times half the width, or is not finite.

    Examples:
        >>> import numpy as np
        >>> box = np.zeros(2), np.full(2, 4.0)
        >>> [escaped(np.array([0.0, x]), *box, radius=50.0) for x in (99.0, 101.0, np.nan)]
        [False, True, True]
    """
    return not bool((np.abs(point - middle) <= radius * width / 2).all())
