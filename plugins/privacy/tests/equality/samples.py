"""Samples with every kind of label, and their labels as scikit-learn's estimators take them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

KINDS = ("two classes", "three classes", "unequal classes", "two labels", "numbers")


class Sample(NamedTuple):
    """Features ``(300, 6)``, useful and private labels: as our filters take them."""

    X: Any
    y: Any
    private: Any


def drawn(kind: str, seed: int = 0, dtype: Any = np.float64) -> Sample:
    """Return correlated features of unequal variances, a useful label of a kind, and a private one of two classes.

    Args:
        kind: one of ``KINDS``.
        seed: of the draw; the features of all seeds have one distribution.
        dtype: of the features.
    """
    mixing = np.random.default_rng(99).normal(size=(6, 6)) * np.arange(1.0, 7)
    random = np.random.default_rng(seed)
    source, noise = random.normal(size=(300, 6)), 0.3 * random.normal(size=(300, 3))
    first, second, third = (source[:, k] + noise[:, k] for k in range(3))
    y = {
        "two classes": (first > 0).astype(int),
        "three classes": np.array(["low", "middle", "high"])[np.digitize(first, [-0.4, 0.4])],
        "unequal classes": (first > 1.2).astype(int),
        "two labels": np.c_[first > 0, np.digitize(third, [-0.5, 0.5])].astype(int),
        "numbers": first,
    }[kind]
    return Sample((source @ mixing).astype(dtype), y, (second > 0).astype(int))


def columns(labels: Any) -> list[Any]:
    """Return the columns of labels ``(N,)`` or ``(N, k)``."""
    return [labels] if labels.ndim == 1 else list(labels.T)


def targets(labels: Any) -> Any:
    """Return labels as the targets of a regression: an indicator for each class, or the standardised numbers."""
    if labels.dtype.kind == "f":
        return ((labels - labels.mean()) / labels.std())[:, None]
    return np.hstack([(column[:, None] == np.unique(column)).astype(float) for column in columns(labels)])
