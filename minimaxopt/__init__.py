"""minimaxopt: ``min_u max_v f(u, v)`` on PyTorch.

Bring a risk, a leader and a follower; solvers aim at minimax points, and plugins bring whole problems.
"""

from __future__ import annotations

__version__ = "0.1.0"

from minimaxopt.callbacks import Checkpoint, EarlyStop, Evaluate, JSONLLog
from minimaxopt.certificate import Certificate
from minimaxopt.certify import certify
from minimaxopt.data import Batches
from minimaxopt.ensemble import solve_many
from minimaxopt.game import Game
from minimaxopt.hookspecs import hookimpl
from minimaxopt.mirror import ExponentiatedGradient
from minimaxopt.problem import Problem, load_problem
from minimaxopt.projections import Box, L1Ball, L2Ball, LInfBall, Product, Simplex
from minimaxopt.run import Run, solve
from minimaxopt.solution import History, Solution, Status
from minimaxopt.solvers import (
    AlternatingGDA,
    AnchoredExtragradient,
    Ascent,
    Averaged,
    BestResponse,
    CompetitiveGradient,
    CompleteNewton,
    Consensus,
    Context,
    Descent,
    Extragradient,
    FollowTheRidge,
    Hamiltonian,
    KBeam,
    Lookahead,
    NegativeMomentum,
    NewtonFollower,
    Optimistic,
    PastExtragradient,
    Sensitivity,
    SimultaneousGDA,
    SmoothedGDA,
    Stackelberg,
    SymplecticAdjustment,
    TwoTimescale,
    Unrolled,
)

__all__ = [
    "AlternatingGDA",
    "AnchoredExtragradient",
    "Ascent",
    "Averaged",
    "Batches",
    "BestResponse",
    "Box",
    "Certificate",
    "Checkpoint",
    "CompetitiveGradient",
    "CompleteNewton",
    "Consensus",
    "Context",
    "Descent",
    "EarlyStop",
    "Evaluate",
    "ExponentiatedGradient",
    "Extragradient",
    "FollowTheRidge",
    "Game",
    "Hamiltonian",
    "History",
    "JSONLLog",
    "KBeam",
    "L1Ball",
    "L2Ball",
    "LInfBall",
    "Lookahead",
    "NegativeMomentum",
    "NewtonFollower",
    "Optimistic",
    "PastExtragradient",
    "Problem",
    "Product",
    "Run",
    "Sensitivity",
    "Simplex",
    "SimultaneousGDA",
    "SmoothedGDA",
    "Solution",
    "Stackelberg",
    "Status",
    "SymplecticAdjustment",
    "TwoTimescale",
    "Unrolled",
    "__version__",
    "certify",
    "hookimpl",
    "load_problem",
    "solve",
    "solve_many",
]
