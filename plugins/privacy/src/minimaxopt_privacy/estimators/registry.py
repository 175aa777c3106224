"""The filters by name, minimax and classical, as the command line and the studies build them."""

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
"""Those that play the game, and so depend on rho."""

METHODS = ("none", "random", "pca", "pls", "lda", "ddd", "laplace", "gaussian", *MINIMAX)
"""All of them; ``"+laplace"`` or ``"+gaussian"`` after a name publishes its output with that noise."""


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
        components: numbers published; more than one is not possible with ``"ddd"``, and ``"none"``, ``"laplace"`` and
            ``"gaussian"`` publish all features.
        rho: of the minimax filters.
        epsilon: of the mechanisms.
        seed: of all that is random.
        utility_target: how the filters that learn from labels read ``y``.
        private_target: the same of ``private``.
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
    read: dict[str, Target] = {"utility_target": utility_target, "private_target": private_target}
    if second:
        check_choice("methods", second, ["laplace", "gaussian"])
        built = build_method(first, components, rho=rho, seed=seed, settings=settings, **read)
        return PublishedWith(
            [("filter", built), ("noise", build_method(second, components, epsilon=epsilon, seed=seed))]
        )
    given = dict(settings or {})
    builds: dict[str, Callable[[], Any]] = {
        "none": lambda: Unfiltered(),
        "random": lambda: RandomFilter(components, random_state=seed, **read, **given),
        "pca": lambda: PCAFilter(components, **read, **given),
        "pls": lambda: PrivatePLS(components, **read, **given),
        "lda": lambda: PrivateLDA(components, **read, **given),
        "ddd": lambda: DiscriminativeDirection(**read, **given),
        "laplace": lambda: LaplaceMechanism(epsilon, random_state=seed, **given),
        "gaussian": lambda: GaussianMechanism(epsilon, random_state=seed, **given),
        **{
            kind: lambda kind=kind: MinimaxFilter(components, rho=rho, filter=kind, random_state=seed, **read, **given)
            for kind in MINIMAX
        },
    }
    return builds[check_choice("methods", first, METHODS)]()


class PublishedWith(Pipeline):
    """A filter and the noise with which its output is published: a Pipeline that passes ``private`` to the filter.

    Examples:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(20, 4))
        >>> y, private = (X[:, 0] > 0).astype(int), (X[:, 1] > 0).astype(int)
        >>> filter_ = PublishedWith([("filter", PCAFilter(2)), ("noise", LaplaceMechanism(1.0, random_state=0))])
        >>> filter_.fit(X, y, private=private).transform(X).shape
        (20, 2)
    """

    def fit(self, X: Any, y: Any = None, *, private: Any = None) -> PublishedWith:  # noqa: N803
        """Fit the filter, then the noise on what the filter makes of X."""
        (_, filter_), (_, noise) = self.steps
        noise.fit(filter_.fit(X, y, private=private).transform(X))
        return self


class Unfiltered:
    """Publishes X as it is: what all filters are compared with."""

    def fit(self, X: Any, y: Any = None, *, private: Any = None) -> Unfiltered:  # noqa: N803
        """Learn nothing."""
        return self

    def transform(self, X: Any) -> Any:  # noqa: N803
        """Return X."""
        return X
