"""Settings and games that the first-order solvers refuse, with the reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from minimaxopt import Game, SimultaneousGDA, solve
from minimaxopt.errors import ArgumentError
from minimaxopt.solvers.best_response import BestResponse
from minimaxopt.solvers.extragradient import AnchoredExtragradient, Extragradient, Optimistic, PastExtragradient
from minimaxopt.solvers.gda import TwoTimescale
from minimaxopt.solvers.kbeam import KBeam
from minimaxopt.solvers.momentum import NegativeMomentum
from minimaxopt.solvers.smoothed import SmoothedGDA
from minimaxopt.solvers.wrappers import Averaged, Lookahead


@pytest.mark.parametrize(
    ("solver", "settings", "reason"),
    [
        (Extragradient, {"moments": "none"}, "moments: 'none' is neither"),
        (Extragradient, {"stretch": 0.0}, "stretch: 0.0"),
        (PastExtragradient, {"moments": "all"}, "moments: 'all' is neither"),
        (PastExtragradient, {"stretch": float("nan")}, "stretch: nan"),
        (AnchoredExtragradient, {"moments": ""}, "moments: '' is neither"),
        (Optimistic, {"strength": -1.0}, "strength: -1.0"),
        (Optimistic, {"strength": float("inf")}, "strength: inf"),
        (BestResponse, {"ascent_steps": 0}, "ascent_steps: 0"),
        (BestResponse, {"tolerance": -1e-3}, "tolerance: -0.001"),
        (BestResponse, {"tolerance": float("nan")}, "tolerance: nan"),
        (TwoTimescale, {"ratio": 0.0}, "ratio: 0.0"),
        (TwoTimescale, {"power": -0.5}, "power: -0.5"),
        (NegativeMomentum, {"beta": 0.5}, "beta: 0.5 .*partial"),
        (NegativeMomentum, {"beta": -1.0}, "beta: -1.0"),
        (SmoothedGDA, {"p": -1.0}, "p: -1.0"),
        (SmoothedGDA, {"beta": 0.0}, "beta: 0.0"),
        (SmoothedGDA, {"beta": 1.5}, "beta: 1.5"),
        (Lookahead, {"period": 0}, "period: 0"),
        (Lookahead, {"alpha": 0.0}, "alpha: 0.0"),
        (Lookahead, {"alpha": 1.5}, "alpha: 1.5"),
        (Lookahead, {"moments": "both"}, "moments: 'both' is neither"),
        (Lookahead, {"inner": "alternating-gd"}, "inner: there is no 'alternating-gd'; did you mean"),
        (Lookahead, {"inner": SimultaneousGDA}, "inner: the class SimultaneousGDA is no solver"),
        (Averaged, {"inner": 3}, "inner: int is no solver"),
        (Averaged, {"decay": 1.0}, "decay: 1.0"),
        (Averaged, {"start": -1}, "start: -1"),
        (KBeam, {"followers": 0}, "followers: 0"),
        (KBeam, {"epsilon": -0.1}, "epsilon: -0.1"),
        (KBeam, {"ascent_steps": 0}, "ascent_steps: 0"),
        (KBeam, {"spread": 0.0}, "spread: 0.0"),
    ],
)
def test_settings_that_are_refused(solver: Any, settings: dict[str, Any], reason: str) -> None:
    assert solver()
    with pytest.raises(ArgumentError, match=reason):
        solver(**settings)


@pytest.mark.parametrize(
    "solver",
    [
        Extragradient(),
        PastExtragradient(),
        AnchoredExtragradient(),
        Optimistic(),
        BestResponse(),
        TwoTimescale(),
        NegativeMomentum(),
        SmoothedGDA(),
        KBeam(),
        Lookahead(),
        Averaged(),
    ],
    ids=lambda s: s.name,
)
def test_responding_followers_are_refused(solver: Any) -> None:
    one = torch.tensor(1.0)
    with pytest.raises(ArgumentError, match="moves the follower, but this game's follower responds"):
        solve(Game(lambda u, v: u * v, one, lambda risk, u: u), solver, steps=1)
    assert solve(Game(lambda u, v: u * v, one, one.clone()), solver, steps=1).steps == 1
