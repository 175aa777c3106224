"""Published results of the minimax-filter study of GENKI: accuracies for smile and gender on 200 test faces."""

from __future__ import annotations

DIMENSIONS = (10, 20, 50, 100)

README: dict[str, tuple[float, float]] = {
    "random": (0.705, 0.705),
    "pca": (0.84, 0.665),
    "pls": (0.85, 0.685),
    "linear": (0.825, 0.52),
    "mlp": (0.88, 0.66),
}
"""Smile and gender at d = 10, from the README of the study's code."""

STORED: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "random": ((0.83, 0.85, 0.885, 0.9), (0.84, 0.865, 0.875, 0.86)),
    "pca": ((0.87, 0.89, 0.885, 0.895), (0.855, 0.9, 0.87, 0.855)),
    "pls": ((0.855, 0.875, 0.87, 0.88), (0.875, 0.885, 0.88, 0.895)),
    "lda": ((0.88, 0.865, 0.885, 0.905), (0.52, 0.51, 0.525, 0.49)),
    "ddd": ((0.875,) * 4, (0.56,) * 4),
    "minimax, first": ((0.88, 0.865, 0.885, 0.905), (0.49, 0.475, 0.475, 0.535)),
    "minimax, last": ((0.91, 0.89, 0.895, 0.905), (0.79, 0.525, 0.59, 0.46)),
}
"""Smile and gender at each of ``DIMENSIONS``, from the arrays in its genki.mat; they disagree with the README.

The minimax filter's array has five rows, whose settings the file does not state: the first and the last are listed. The
attacker there is a softmax classifier, not the worst of several families.
"""

UTILITY_GOAL, LEAKAGE_GOAL = 0.88, (0.60, 0.66)
"""The study's MLP filter: the utility to keep, and the range of leakages to stay below."""

LINEAR_GOAL = (0.825, 0.52)
"""The study's linear filter: utility and leakage to dominate."""
