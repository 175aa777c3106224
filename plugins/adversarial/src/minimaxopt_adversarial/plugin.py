"""The hooks of this plugin."""

from __future__ import annotations

from collections.abc import Callable

from minimaxopt import Problem, hookimpl
from minimaxopt_adversarial.problems import PROBLEMS


@hookimpl
def register_problems(register: Callable[[str, Callable[..., Problem]], None]) -> None:
    """Register the defences on MNIST."""
    for name, build in PROBLEMS.items():
        register(name, build)
