"""The derivatives that a solver declares, for its steps to be compiled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

from minimaxopt._types import Player


@final
@dataclass(frozen=True)
class StepDerivatives:
    """Derivatives that a solver evaluates in one step: what compilation needs to know of it.

    Attributes:
        wanted: for each evaluation the players whose component of the operator is formed, or ``None`` for the penalized
            gradient.
        scheduled: a setting that changes from step to step, by name.
        batches: the most batches that a step takes.
    """

    wanted: tuple[tuple[Player, ...] | None, ...]
    scheduled: str = ""
    batches: int = 1


@runtime_checkable
class SupportsCompile(Protocol):
    """A solver without state whose steps can be compiled, since it declares the derivatives that they evaluate."""

    def derivatives(self, *, responding: bool, constrained: bool = False) -> StepDerivatives:
        """Return what a step evaluates; raise ``ArgumentError`` if a setting has no compiled form.

        Args:
            responding: whether the follower responds by a function.
            constrained: whether the game projects the follower.
        """
        ...
