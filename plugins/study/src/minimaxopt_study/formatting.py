"""Numbers, times and hashes as a person reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

DASH = "\u2013"
"""Sign for a missing number."""


def clock(seconds: float) -> str:
    """Return seconds as a person reads them.

    Examples:
        >>> clock(7.31), clock(75), clock(7509)
        ('7.3 s', '1:15', '2:05:09')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def last_line(reason: str) -> str:
    r"""Return the line of a traceback that names the error.

    Examples:
        >>> last_line("Traceback:\n  File x\nValueError: eta: is negative\n")
        'ValueError: eta: is negative'
    """
    return reason.strip().splitlines()[-1] if reason.strip() else "no reason given"


def abbreviated(digest: str) -> str:
    """Return enough of a hash to distinguish it from others.

    Examples:
        >>> abbreviated("0123456789abcdef")
        '0123456789ab'
    """
    return digest[:12]


def listed(values: Sequence[float]) -> str:
    """Return numbers as a sentence lists them.

    Examples:
        >>> listed([0.2]), listed([0.1, 0.2, 0.4])
        ('0.2', '0.1, 0.2 and 0.4')
    """
    *most, last = (f"{value:g}" for value in values)
    return f"{', '.join(most)} and {last}" if most else last


def plural(word: str, count: int) -> str:
    """Return a noun in the number that a count asks for.

    Examples:
        >>> plural("seed", 1), plural("seed", 3)
        ('seed', 'seeds')
    """
    return word if count == 1 else word + "s"
