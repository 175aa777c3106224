"""Phase portraits of games, and convergence curves. Importing this package does not import matplotlib."""

from __future__ import annotations

from minimaxopt.plot.pictures import convergence, phase_portrait
from minimaxopt.plot.plane import Plane
from minimaxopt.plot.trajectory import Trajectory, trajectory

__all__ = ["Plane", "Trajectory", "convergence", "phase_portrait", "trajectory"]
