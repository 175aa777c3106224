"""Every solver on every game with known answers: where it ends, and after how many gradient evaluations.

``bench`` does it all; the parts are a declaration of what is compared (``settings``), the judgement of a run
(``outcomes``), one run (``runs``), one stored pair of solver and game (``cells``), and the pages and pictures. ``kbeam``
repeats a published comparison.
"""

from __future__ import annotations

from minimaxopt.bench.driver import bench, kbeam
from minimaxopt.bench.settings import QUICK, Settings
from minimaxopt.bench.surfaces import Protocol

__all__ = ["QUICK", "Protocol", "Settings", "bench", "kbeam"]
