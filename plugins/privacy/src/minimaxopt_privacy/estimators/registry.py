"""Registry of the filters by name: minimax, classical, and mechanisms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sklearn.pipeline import Pipeline

from minimaxopt_privacy.checks import check_choice
from minimaxopt_privacy.estimators.baselines import (
    DiscriminativeDirection,
    PCAFilter,
    PrivateLDA,
    PrivatePLS,
    RandomFilter,
)
from minimaxopt_privacy.estimators.mechanisms import GaussianMechanism, LaplaceMechanism
from minimaxopt_privacy.estimators.minimax_filter import MinimaxFilter
from minimaxopt_privacy.game.labels import Target

MINIMAX = ("linear", "mlp", "conv", "noise")
"""Minimax filters, which depend on ``rho``."""

METHODS = ("none", "random", "pca", "pls", "lda", "ddd", "laplace", "gaussian", *MINIMAX)
"""All methods; the suffix ``"+laplace"`` or ``"+gaussian"`` adds that noise to the output."""


def build_method(
    name: str,
    components: int,
    *,
    rho: float = 10.0,
    epsilon: float = 10.0,
    seed: int = 0,
    utility_target: Target = "auto",
    private_target: Target = "auto",
    settings: Mapping[str, Any] | None = None,
) -> Any:
    """Return an unfitted filter by name, with ``fit(X, y, private=...)`` and ``transform``.

    Args:
        name: one of ``METHODS``, or two joined by ``+``, the second a mechanism: ``"linear+laplace"``.
        components: output dimension. ``"ddd"`` always has one output; ``"none"``, ``"laplace"`` and ``"gaussian"``
            publish all features.
        rho: price of utility of the minimax filters.
        epsilon: privacy loss of the mechanisms.
        seed: of everything random.
        utility_target: ``"classification"``, ``"regression"``, or ``"auto"`` by the values of ``y``.
        private_target: the same for ``private``.
        settings: further arguments of the filter.

    Raises:
        ArgumentError: there is no such filter.

    Examples:
        >>> build_method("lda", 3)
        PrivateLDA(n_components=3)
        >>> [step for step, _ in build_method("pca+laplace", 3).steps]
        ['filter', 'noise']
    """
    first, _, second = name.partition("+")
    targets: dict[str, Any] = {"utility_target": utility_target, "private_target": private_target}
    if second:
        check_choice("methods", second, ["laplace", "gaussian"])
        built = build_method(first, components, rho=rho, seed=seed, settings=settings, **targets)
        return FilterWithNoise(
            [("filter", built), ("noise", build_method(second, components, epsilon=epsilon, seed=seed))]
        )
    arguments = dict(settings or {})
    builds: dict[str, Callable[[], Any]] = {
        "none": lambda: Unfiltered(),
        "random": lambda: RandomFilter(components, random_state=seed, **targets, **arguments),
        "pca": lambda: PCAFilter(components, **targets, **arguments),
        "pls": lambda: PrivatePLS(components, **targets, **arguments),
        "lda": lambda: PrivateLDA(components, **targets, **arguments),
        "ddd": lambda: DiscriminativeDirection(**targets, **arguments),
        "laplace": lambda: LaplaceMechanism(epsilon, random_state=seed, **arguments),
        "gaussian": lambda: GaussianMechanism(epsilon, random_state=seed, **arguments),
        **{
            kind: lambda kind=kind: MinimaxFilter(
                components, rho=rho, filter=kind, random_state=seed, **targets, **arguments
            )
            for kind in MINIMAX
        },
    }
    return builds[check_choice("methods", first, METHODS)]()


class FilterWithNoise(Pipeline):
    """Pipeline of a filter and the noise added to its output, which passes ``private`` to the filter.

    Examples:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(20, 4))
        >>> y, private = (X[:, 0] > 0).astype(int), (X[:, 1] > 0).astype(int)
        >>> filter_ = FilterWithNoise([("filter", PCAFilter(2)), ("noise", LaplaceMechanism(1.0, random_state=0))])
        >>> filter_.fit(X, y, private=private).transform(X).shape
        (20, 2)
    """

    def fit(  # pyright: ignore[reportIncompatibleMethodOverride] - the only keyword is named
        self, X: Any, y: Any = None, *, private: Any = None
    ) -> FilterWithNoise:
        """Fit the filter, then the noise on the filtered X."""
        (_, filter_), (_, noise) = self.steps
        noise.fit(filter_.fit(X, y, private=private).transform(X))
        return self


class Unfiltered:
    """Identity filter, the reference for all others."""

    def fit(self, X: Any, y: Any = None, *, private: Any = None) -> Unfiltered:
        """Return ``self``: there is nothing to learn."""
        return self

    def transform(self, X: Any) -> Any:
        """Return X."""
        return X
