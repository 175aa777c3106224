"""Every solver on every game with known answers: where it ends, and after how many gradient evaluations.

``bench`` compares the solvers and writes pages and pictures; ``kbeam`` repeats a published comparison.
"""

from __future__ import annotations

from minimaxopt_bench.comparison import bench, kbeam
from minimaxopt_bench.kbeam_table import Protocol
from minimaxopt_bench.settings import QUICK, Settings

__all__ = ["QUICK", "Protocol", "Settings", "bench", "kbeam"]
