"""The trade-off between utility and leakage: fits over ``rho`` and seeds, each evaluated on other samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minimaxopt_privacy.checks import check_number, refuse
from minimaxopt_privacy.datasets import Part, PrivacyData
from minimaxopt_privacy.estimators.registry import MINIMAX, build_method
from minimaxopt_privacy.evaluation.curve import Curve
from minimaxopt_privacy.evaluation.evaluate import evaluate_filter
from minimaxopt_privacy.game.labels import Column, Target, label_columns
from minimaxopt_privacy.game.prediction_heads import Kind
from minimaxopt_privacy.predictors import FAMILIES
from minimaxopt_privacy.result_cache import ResultCache


def tradeoff(
    data: PrivacyData,
    methods: Sequence[str],
    *,
    components: int,
    rhos: Sequence[float],
    seeds: Sequence[int],
    epsilon: float = 10.0,
    settings: Mapping[str, Any] | None = None,
    families: Sequence[str] = FAMILIES,
    filter_share: float = 0.5,
    utility_target: Target = "auto",
    private_target: Target = "auto",
    cache: ResultCache | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Curve:
    """Fit every method at every ``rho`` and seed, train fresh predictors on other samples, and score on the test data.

    Args:
        data: training and test samples.
        methods: names as in ``build_method``; methods without ``rho`` are fitted once a seed.
        components: output dimension of the filters.
        rhos: prices of a nat of utility loss, in nats of private loss.
        seeds: seeds of the filters, the predictors and the split by ``filter_share``.
        epsilon: privacy loss of the mechanisms.
        settings: further arguments of the minimax filters.
        families: families of fresh predictors.
        filter_share: share of the training samples, drawn anew with each seed, that the filter is fitted on; the
            predictors are trained on the others. With 1 both get all of them, which underestimates the leakage: a
            filter hides more on its own samples than on others.
        utility_target: ``"classification"``, ``"regression"``, or ``"auto"`` by the values of the useful label.
        private_target: the same for the private label.
        cache: where results are stored; by default nowhere.
        log: called with a line before each fit.

    Returns:
        The curve, with a row for each method, ``rho`` and seed.

    Raises:
        ArgumentError: there are no methods, rhos or seeds, one of them cannot be used, or the share is not in (0, 1].

    Examples:
        >>> from minimaxopt_privacy.datasets import load_sklearn_digits
        >>> curve = tradeoff(load_sklearn_digits(), ["pca"], components=2, rhos=[1.0], seeds=[0], families=["logistic"])
        >>> 0.4 < curve.points()[0].useful < 0.8
        True

    Source: Hamm 2017, "Minimax filter", whose figures plot the two against each other.
    """
    for name, values in (("methods", methods), ("rho", rhos), ("seeds", seeds)):
        if not values:
            raise refuse(name, "there is none", "give at least one")
    if not 0 < check_number("filter_share", filter_share) <= 1:
        raise refuse("filter_share", f"it is {filter_share!r}", "give a share of the training samples, in (0, 1]")
    targets: dict[str, Target] = {"utility_target": utility_target, "private_target": private_target}
    useful, private = (
        Column.of(name, label_columns(name, values, len(data.train[0]))[0], target)
        for name, values, target in zip(("y", "private"), data.train[1:], targets.values(), strict=True)
    )
    for method in methods:
        build_method(method, components)  # refuses a wrong name before hours are spent on the others

    def evaluation(method: str, rho: float | None, seed: int) -> dict[str, Any]:
        log(f"{method}{'' if rho is None else f' at rho {rho:g}'}, seed {seed}")
        filter_ = build_method(
            method,
            components,
            rho=rho or 0.0,
            epsilon=epsilon,
            seed=seed,
            settings=None if rho is None else settings,
            utility_target=utility_target,
            private_target=private_target,
        )
        own, others = _split(data.train, filter_share, seed, (useful.kind, private.kind))
        filter_.fit(own[0], own[1], private=own[2])
        return evaluate_filter(
            filter_,
            *others,
            *data.test,
            families=families,
            random_state=seed,
            utility_target=utility_target,
            private_target=private_target,
        ).to_dict()

    cache, rows = cache or ResultCache(None), list[dict[str, Any]]()
    for method in methods:
        for rho in rhos if method.partition("+")[0] in MINIMAX else [None]:
            for seed in seeds:
                key = {
                    "data": data.fingerprint,
                    "method": method,
                    "components": components,
                    "rho": rho,
                    "seed": seed,
                    "epsilon": epsilon if method.endswith(("laplace", "gaussian")) else None,
                    "settings": {} if rho is None else {name: repr(value) for name, value in (settings or {}).items()},
                    "families": list(families),
                    "filter_share": filter_share,
                    **targets,
                }
                result = cache.get(key, lambda fit=(method, rho, seed): evaluation(*fit))
                rows.append({"method": method, "rho": rho, "seed": seed, "evaluation": result})
    return Curve(rows, (data.useful, data.private), private.chance)


def _split(samples: Part, share: float, seed: int, kinds: tuple[Kind, Kind]) -> tuple[Part, Part]:
    """Return the filter's samples and the predictors', stratified by every pair of classes."""
    from sklearn.model_selection import train_test_split

    if share == 1:
        return samples, samples
    x, y, private = (np.asarray(part) for part in samples)
    classes = [labels for labels, kind in zip((y, private), kinds, strict=True) if kind == "classification"]
    pairs = None
    if classes:
        _, pairs, counts = np.unique(
            ["/".join(map(str, pair)) for pair in zip(*classes, strict=True)], return_inverse=True, return_counts=True
        )
        pairs[counts[pairs] < 2] = counts.argmax()  # a pair that occurs once cannot be in both parts
    own, others = train_test_split(np.arange(len(x)), train_size=share, random_state=seed, stratify=pairs)
    return (x[own], y[own], private[own]), (x[others], y[others], private[others])
