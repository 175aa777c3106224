"""Numbers of privacy filters: a minimax filter and each baseline on the iris data, what they publish and what leaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_iris

import minimaxopt_privacy as privacy

from .pinning import default_dtype

BASELINES = ("RandomFilter", "PCAFilter", "PrivatePLS", "PrivateLDA", "DiscriminativeDirection")
FAMILIES = ("logistic", "rbf-svm")  # a forest's splits and a network's stopping follow the last bit


def numbers(draws: bool = False) -> dict[str, Any]:
    """Return what each filter publishes of held-out samples, and what readers find in it.

    Args:
        draws: also play filters that draw normal numbers, which are rounded otherwise without AVX2: not to be pinned.
    """
    X, y = load_iris(return_X_y=True)
    private = (X[:, 1] > np.median(X[:, 1])).astype(int)
    order = np.random.default_rng(0).permutation(len(X))
    train, test = order[:100], order[100:]
    split = (X[train], y[train], private[train], X[test], y[test], private[test])
    results: dict[str, Any] = {}
    for name, filter_ in _filters(draws).items():
        with default_dtype(torch.float64):  # filters and readers draw their weights in the default type
            filter_.fit(X[train], y[train], private=private[train])
        evaluation = privacy.evaluate_filter(filter_, *split, families=FAMILIES)
        results[name] = {"published": filter_.transform(X[test[:20]]), "evaluation": evaluation.to_dict()}
        if hasattr(filter_, "solution_"):
            history = filter_.solution_.history
            results[name]["history"] = {column: list(map(float, history[column])) for column in history.names}
            results[name]["kind"] = filter_.certify(X[test], y[test], private=private[test], restarts=1, steps=5).kind
    return results


def _filters(draws: bool) -> dict[str, Any]:
    fit: dict[str, Any] = {"max_iter": 25, "random_state": 0, "adversary": ("softmax", "mlp")}
    filters: dict[str, Any] = {
        # Under normalisation no gradient reaches the bias, of whose rounding errors Adam makes steps: small ones at this rate.
        "MinimaxFilter": privacy.MinimaxFilter(2, jitter=0.0, learning_rate=1e-3, **fit),
        "MinimaxFilter, batches": privacy.MinimaxFilter(
            1, jitter=0.0, normalize=False, batch_size=32, solver="alternating-gda", **fit
        ),
    }
    if draws:
        filters["MinimaxFilter, jitter"] = privacy.MinimaxFilter(1, filter="mlp", **fit)
        filters["MinimaxFilter, noise"] = privacy.MinimaxFilter(2, filter="noise", init="lda", **fit)
    for name in BASELINES:
        settings = {"random_state": 0} if name == "RandomFilter" else {}
        filters[name] = getattr(privacy, name)(**settings)
    return filters
