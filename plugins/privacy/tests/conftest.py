from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest


class Sample(NamedTuple):
    X: Any
    y: Any
    private: Any


def drawn(seed: int, samples: int) -> Sample:
    """Two informative features, of which the useful and the private label see one each, and two of noise."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(samples, 4))
    noise = 0.3 * random.normal(size=(samples, 2))
    return Sample(X, (X[:, 0] + noise[:, 0] > 0).astype(int), (X[:, 1] + noise[:, 1] > 0).astype(int))


@pytest.fixture(scope="session")
def train() -> Sample:
    return drawn(0, 400)


@pytest.fixture(scope="session")
def test() -> Sample:
    return drawn(1, 400)


class LinearGaussian(NamedTuple):
    """Numbers ``y = a x`` and ``s = b x`` of exactly white ``x``, where all is known in closed form."""

    X: Any
    y: Any
    s: Any
    a: Any
    b: Any

    def optimum(self, rho: float) -> tuple[Any, float]:
        """The best direction and its risk: ``rho (1 - (a u)^2) / 2 - (1 - (b u)^2) / 2`` over unit ``u``."""
        values, vectors = np.linalg.eigh(rho * np.outer(self.a, self.a) - np.outer(self.b, self.b))
        return vectors[:, -1], float((rho - 1 - values[-1]) / 2)


@pytest.fixture(scope="session")
def linear_gaussian() -> LinearGaussian:
    X = np.random.default_rng(0).normal(size=(200, 2))
    X -= X.mean(0)
    X = X @ np.linalg.inv(np.linalg.cholesky(X.T @ X / len(X)).T)
    a, b = np.array([1.0, 0.0]), np.array([np.cos(0.9), np.sin(0.9)])
    return LinearGaussian(X, X @ a, X @ b, a, b)
