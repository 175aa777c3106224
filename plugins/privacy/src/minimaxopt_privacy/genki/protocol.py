"""Protocol of the GENKI comparison: methods, dimensions, and the candidates for cross-validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from minimaxopt_privacy.checks import check_choice, check_count, refuse
from minimaxopt_privacy.estimators.registry import MINIMAX
from minimaxopt_privacy.genki.published import DIMENSIONS, UTILITY_GOAL
from minimaxopt_privacy.predictors import FAMILIES

METHODS = (
    "none", "random", "pca", "pls", "lda", "ddd", "linear", "mlp", "laplace", "linear+laplace", "mlp+laplace",
)  # fmt: skip
"""Methods of the study; ``"linear@10"`` is the linear filter with ``rho`` fixed at the study's 10."""

FIXED_DIMENSION = ("none", "ddd", "laplace", "gaussian")
"""Methods whose output dimension is fixed: one row of the table holds for all dimensions."""

RHOS = (0.3, 1.0, 3.0, 10.0, 30.0)

# Candidate settings by method; those of the minimax filters are combined with each rho.
_CLASSICAL: dict[str, list[dict[str, Any]]] = {
    "pls": [{"strength": strength} for strength in (1.0, 10.0, 100.0)],
    "lda": [{"strength": s, "shrinkage": h} for s in (10.0, 1000.0) for h in (0.03, 0.1, 0.3)],
    "ddd": [{"shrinkage": h} for h in (0.03, 0.1, 0.3)],
}
# The adversary stays near its best response and the features are conditioned: on standardised pixels, which are
# correlated, a game of this length ends far from its limit.
_NEAR_BEST_RESPONSE: dict[str, Any] = {
    "adversary": ["softmax", "mlp"],
    "solver": {"name": "best-response", "ascent_steps": 5},
    "max_iter": 300,
}
_UNCONDITIONED: dict[str, Any] = {"scaling": "standard", "jitter": 0.0, "normalize": False}
_MINIMAX: dict[str, list[dict[str, Any]]] = {
    "linear": [
        {"scaling": "shrunk-covariance", "jitter": 0.5, **_NEAR_BEST_RESPONSE},
        {"scaling": "shrunk-covariance", "jitter": 1.0, **_NEAR_BEST_RESPONSE},
        {"init": "lda", "adversary": "softmax", "learning_rate": 1e-3, "max_iter": 100, **_UNCONDITIONED},
    ],
    "mlp": [
        {"scaling": "shrunk-covariance", "jitter": 0.5, **_NEAR_BEST_RESPONSE},
        {"scaling": "shrunk-covariance", "jitter": 1.0, **_NEAR_BEST_RESPONSE},
        {"penalty": 0.02, "head_penalty": 0.02, **_UNCONDITIONED, **_NEAR_BEST_RESPONSE},
    ],
}


@final
@dataclass(frozen=True)
class Protocol:
    """Settings of the comparison.

    Args:
        dimensions: output dimensions of the filters, 1 to 256.
        methods: some of ``METHODS``, ``"gaussian"``, ``"linear@10"`` and ``"mlp@10"``.
        rhos: prices of utility among the candidates.
        seeds: of the fits that are scored on the test faces.
        folds: number of folds of the cross-validation over training faces, >= 2.
        target: utility that a chosen candidate must reach in cross-validation.
        epsilon: privacy loss of the mechanisms.
        families: families of predictors on the test faces.
        selecting: families of predictors in cross-validation.
        max_iter: steps of every solve in place of the candidates' own, for a trial run.

    Raises:
        ArgumentError: an argument cannot be used.

    Examples:
        >>> Protocol().folds
        5
    """

    dimensions: tuple[int, ...] = DIMENSIONS
    methods: tuple[str, ...] = (*METHODS, "linear@10", "mlp@10")
    rhos: tuple[float, ...] = RHOS
    seeds: tuple[int, ...] = tuple(range(10))
    folds: int = 5
    target: float = UTILITY_GOAL
    epsilon: float = 10.0
    families: tuple[str, ...] = FAMILIES
    selecting: tuple[str, ...] = ("logistic", "rbf-svm")
    max_iter: int | None = None

    def __post_init__(self) -> None:
        check_count("folds", self.folds, least=2)
        for name in ("dimensions", "methods", "rhos", "seeds", "families", "selecting"):
            if not getattr(self, name):
                raise refuse(name, "there is none", "give at least one")
        for method in self.methods:
            check_choice("methods", method, [*METHODS, "gaussian", "linear@10", "mlp@10"])
        for dimension in self.dimensions:
            if not 1 <= check_count("dimensions", dimension) <= 256:
                raise refuse("dimensions", f"{dimension} of 256 features", "give numbers between 1 and 256")

    def candidates(self, method: str) -> list[dict[str, Any]]:
        """Return the candidate settings of a method, with ``rho`` among those of a minimax filter.

        >>> len(Protocol(rhos=(1.0, 10.0)).candidates("linear")), len(Protocol().candidates("pca"))
        (6, 1)
        """
        base, _, fixed_rho = method.partition("+")[0].partition("@")
        if base not in MINIMAX:
            return _CLASSICAL.get(base, [{}])
        steps = {} if self.max_iter is None else {"max_iter": self.max_iter}
        rhos = (float(fixed_rho),) if fixed_rho else self.rhos
        return [{"rho": rho, **settings, **steps} for rho in rhos for settings in _MINIMAX[base]]

    def comparisons(self) -> list[tuple[str, int]]:
        """Return the pairs of method and dimension; a method of fixed dimension is paired with the first one.

        >>> Protocol(dimensions=(2, 5), methods=("pca", "none")).comparisons()
        [('pca', 2), ('none', 2), ('pca', 5)]
        """
        first = self.dimensions[0]
        return [(m, d) for d in self.dimensions for m in self.methods if d == first or m not in FIXED_DIMENSION]
