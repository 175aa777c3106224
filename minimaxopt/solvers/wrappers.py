"""What solvers that wrap another one share."""

from __future__ import annotations

from typing import Any

from minimaxopt._types import Player, Tensors
from minimaxopt.errors import ArgumentError, unknown_name
from minimaxopt.solvers.context import Context, Snapshot


def inner_solver(inner: Any) -> Any:
    """Return the solver that ``inner`` is or names.

    Raises:
        ArgumentError: if it is neither a solver nor the name of one.
    """
    if isinstance(inner, str):
        # Imported here, since the table of solvers holds those that wrap.
        from minimaxopt.solvers import SOLVERS

        if inner not in SOLVERS:
            raise unknown_name("inner", inner, SOLVERS, remedy="A plugin's solver is given as an instance.")
        return SOLVERS[inner]()
    if isinstance(inner, type) or not all(hasattr(inner, part) for part in ("name", "movers", "init", "step")):
        what = f"the class {inner.__name__}" if isinstance(inner, type) else type(inner).__name__
        raise ArgumentError(f"inner: {what} is no solver; give an instance such as AlternatingGDA(), or a name")
    return inner


def put(ctx: Context, parameters: dict[Player, Tensors]) -> None:
    """Set the moving players' tensors to the bit, whatever the optimizers did; their moments stay."""
    ctx.restore(Snapshot(parameters, {}), moments=False)


def positions(ctx: Context) -> dict[Player, Tensors]:
    """Return a copy of the moving players' tensors."""
    return {p: {n: t.detach().clone() for n, t in mover.tensors.items()} for p, mover in ctx.movers.items()}
