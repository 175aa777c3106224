"""minimaxopt: ``min_u max_v f(u, v)`` on PyTorch.

Bring a risk, a leader and a follower; solvers aim at minimax points, and plugins bring whole problems.
"""

from __future__ import annotations

__version__ = "0.1.0"

from minimaxopt.callbacks import Checkpoint, EarlyStop, Evaluate, JSONLLog
from minimaxopt.data import Batches
from minimaxopt.game import Game
from minimaxopt.hookspecs import hookimpl
from minimaxopt.problem import Problem, load_problem
from minimaxopt.projections import Box, Simplex
from minimaxopt.run import solve
from minimaxopt.solution import History, Solution, Status
from minimaxopt.solvers import AlternatingGDA, Ascent, Context, Descent, Sensitivity, SimultaneousGDA, Unrolled

__all__ = [
    "AlternatingGDA",
    "Ascent",
    "Batches",
    "Box",
    "Checkpoint",
    "Context",
    "Descent",
    "EarlyStop",
    "Evaluate",
    "Game",
    "History",
    "JSONLLog",
    "Problem",
    "Sensitivity",
    "Simplex",
    "SimultaneousGDA",
    "Solution",
    "Status",
    "Unrolled",
    "__version__",
    "hookimpl",
    "load_problem",
    "solve",
]
