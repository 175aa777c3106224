"""What this plugin brings to minimaxopt."""

from __future__ import annotations

from collections.abc import Callable

from minimaxopt import Problem, hookimpl
from minimaxopt_privacy.digits import digits_privacy_filter


@hookimpl
def register_problems(register: Callable[[str, Callable[..., Problem]], None]) -> None:
    """Register the privacy filters."""
    register("digits-privacy-filter", digits_privacy_filter)
