"""``Status``: the named outcomes of a solve."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """The outcome of a solve."""

    CONVERGED = "converged"
    STEPS_USED = "step budget used"
    STOPPED = "stopped"
    DIVERGED = "diverged"
    INTERRUPTED = "interrupted"
    DATA_ENDED = "data ended"
    FAILED = "failed"
