"""minimaxopt: ``min_u max_v f(u, v)`` on PyTorch.

Bring a risk, a leader and a follower; solvers aim at minimax points, and plugins bring whole problems.
"""

from __future__ import annotations

__version__ = "0.1.0"

from minimaxopt.certificates.certify import certify
from minimaxopt.constraints import Box, L1Ball, L2Ball, LInfBall, Product, Simplex
from minimaxopt.constraints.mirror import ExponentiatedGradient
from minimaxopt.game.batches import Batches
from minimaxopt.game.game import Game
from minimaxopt.loop.callbacks import Checkpoint, EarlyStop, Evaluate, JSONLLog
from minimaxopt.loop.exponential_average import ExponentialAverage
from minimaxopt.loop.solve import Run, solve
from minimaxopt.loop.solve_many import solve_many
from minimaxopt.plugins.hookspecs import hookimpl
from minimaxopt.plugins.problem import Problem, load_problem
from minimaxopt.results.certificate import Certificate
from minimaxopt.results.history import History
from minimaxopt.results.solution import Solution, Status
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
from minimaxopt.solvers.player_optimizer import clip_gradients
from minimaxopt.solvers.schedules import Schedule

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
    "ExponentialAverage",
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
    "Schedule",
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
    "clip_gradients",
    "hookimpl",
    "load_problem",
    "solve",
    "solve_many",
]
