"""Every solver on every game with known answers: where it ends, and after how many gradient evaluations.

``bench`` does it all; the parts are a declaration of what is compared (``settings``), the judgement of a run
(``outcomes``), one run (``runs``), one stored pair of solver and game (``cells``), and the pages and pictures. ``kbeam``
repeats a published comparison.
"""

from __future__ import annotations

from minimaxopt_bench.comparison import bench, kbeam
from minimaxopt_bench.kbeam_table import Protocol
from minimaxopt_bench.settings import QUICK, Settings

__all__ = ["QUICK", "Protocol", "Settings", "bench", "kbeam"]
