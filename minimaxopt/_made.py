"""A member's step as it was made together with the others' steps."""

from __future__ import annotations

from typing import Any, final

from minimaxopt._types import Record
from minimaxopt.solvers import Context


@final
class Made:
    """Hands out a step that was made elsewhere, or lets the solver make it where none was."""

    def __init__(self) -> None:
        self._made: tuple[int, Record] | None = None

    def put(self, ctx: Context, record: Record) -> None:
        """Take what the step that is open reports."""
        self._made = (ctx.reinstated, record)

    def step(self, ctx: Context, solver: Any, state: Any) -> tuple[Any, Record]:
        """Return what was made, once."""
        made, self._made = self._made, None
        if made is None or made[0] != ctx.reinstated:  # the run went back to before the step that was made
            return solver.step(ctx, state)
        return state, made[1]
