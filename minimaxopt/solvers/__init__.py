"""The solvers, one file a family. ``SOLVERS`` names them."""

from __future__ import annotations

from typing import Any

from minimaxopt.solvers._base import Context, Solver
from minimaxopt.solvers.gda import AlternatingGDA, SimultaneousGDA
from minimaxopt.solvers.sensitivity import Sensitivity
from minimaxopt.solvers.single import Ascent, Descent
from minimaxopt.solvers.unrolled import Unrolled

SOLVERS: dict[str, type[Any]] = {
    solver.name: solver for solver in (Sensitivity, Unrolled, AlternatingGDA, SimultaneousGDA, Descent, Ascent)
}

__all__ = [
    "SOLVERS",
    "AlternatingGDA",
    "Ascent",
    "Context",
    "Descent",
    "Sensitivity",
    "SimultaneousGDA",
    "Solver",
    "Unrolled",
]
