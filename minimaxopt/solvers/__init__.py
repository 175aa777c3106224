"""The solvers, one file a family. ``SOLVERS`` names them."""

from __future__ import annotations

from typing import Any

from minimaxopt.solvers.adjusted import Consensus, Hamiltonian, SymplecticAdjustment
from minimaxopt.solvers.best_response import BestResponse
from minimaxopt.solvers.competitive import CompetitiveGradient
from minimaxopt.solvers.context import Context, Solver
from minimaxopt.solvers.extragradient import AnchoredExtragradient, Extragradient, Optimistic, PastExtragradient
from minimaxopt.solvers.gda import AlternatingGDA, SimultaneousGDA, TwoTimescale
from minimaxopt.solvers.implicit import FollowTheRidge, Stackelberg
from minimaxopt.solvers.kbeam import KBeam
from minimaxopt.solvers.momentum import NegativeMomentum
from minimaxopt.solvers.newton import CompleteNewton, NewtonFollower
from minimaxopt.solvers.one_player import Ascent, Descent
from minimaxopt.solvers.sensitivity import Sensitivity
from minimaxopt.solvers.smoothed import SmoothedGDA
from minimaxopt.solvers.unrolled import Unrolled
from minimaxopt.solvers.wrappers import Averaged, Lookahead

_FIRST_ORDER: tuple[type[Any], ...] = (
    SimultaneousGDA, AlternatingGDA, TwoTimescale, BestResponse, NegativeMomentum, SmoothedGDA,
    Extragradient, PastExtragradient, Optimistic, AnchoredExtragradient, KBeam,
)  # fmt: skip
_SECOND_ORDER: tuple[type[Any], ...] = (
    Sensitivity, Unrolled, Stackelberg, FollowTheRidge, NewtonFollower, CompleteNewton,
    CompetitiveGradient, SymplecticAdjustment, Consensus, Hamiltonian,
)  # fmt: skip
_WRAPPERS: tuple[type[Any], ...] = (Lookahead, Averaged)
_ONE_PLAYER: tuple[type[Any], ...] = (Descent, Ascent)

SOLVERS: dict[str, type[Any]] = {
    solver.name: solver for solver in (*_SECOND_ORDER, *_FIRST_ORDER, *_WRAPPERS, *_ONE_PLAYER)
}

__all__ = [
    "SOLVERS",
    "AlternatingGDA",
    "AnchoredExtragradient",
    "Ascent",
    "Averaged",
    "BestResponse",
    "CompetitiveGradient",
    "CompleteNewton",
    "Consensus",
    "Context",
    "Descent",
    "Extragradient",
    "FollowTheRidge",
    "Hamiltonian",
    "KBeam",
    "Lookahead",
    "NegativeMomentum",
    "NewtonFollower",
    "Optimistic",
    "PastExtragradient",
    "Sensitivity",
    "SimultaneousGDA",
    "SmoothedGDA",
    "Solver",
    "Stackelberg",
    "SymplecticAdjustment",
    "TwoTimescale",
    "Unrolled",
]
