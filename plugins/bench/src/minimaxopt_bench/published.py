"""Published figures to which the results of the bench are compared."""

from __future__ import annotations

from collections.abc import Mapping

KBEAM_SOURCE = "Hamm and Noh 2018, repository k-beam-minimax, README"
KBEAM_COLUMNS = ("GD", "alternating GD", "K=1", "K=2", "K=5", "K=10")
KBEAM: Mapping[str, tuple[tuple[float, float], ...]] = {
    "saddle": ((0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)),
    "rotated-saddle": ((0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)),
    "seesaw": ((0.235, 0.127), (0.220, 0.119), (0.208, 0.113), (0.016, 0.060), (0.002, 0.001), (0.002, 0.001)),
    "monkey-saddle": ((0.242, 0.012), (0.242, 0.012), (0.242, 0.012), (0.113, 0.117), (0.038, 0.083), (0.003, 0.023)),
    "anti-saddle": ((0.5, 0), (0.5, 0), (0.5, 0), (0.301, 0.244), (0.046, 0.143), (0.006, 0.050)),
    "weapons": ((0.138, 0.041), (0.138, 0.041), (0.137, 0.043), (0.027, 0.055), (0.001, 0), (0.001, 0)),
}  # fmt: skip
"""Mean and standard deviation of ``|u - u*|`` after 1,000 iterations, over 100 trials, to three digits."""
