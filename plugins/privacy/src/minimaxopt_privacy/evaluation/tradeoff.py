"""The trade-off between what is kept and what is told: over rho and seeds, as a table and a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from minimaxopt_privacy.checks import check_size, refuse
from minimaxopt_privacy.datasets import Part, PrivacyData
from minimaxopt_privacy.estimators.registry import MINIMAX, build_method
from minimaxopt_privacy.evaluation.evaluate import evaluate_filter
from minimaxopt_privacy.game.labels import Column, Target
from minimaxopt_privacy.game.prediction_heads import Kind
from minimaxopt_privacy.predictors import FAMILIES
from minimaxopt_privacy.result_cache import Cells

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999", "#882255", "#44AA99")


@final
@dataclass(frozen=True)
class Point:
    """A method at one rho: mean utility and leakage over the seeds, each with half the width of its 95% interval."""

    method: str
    rho: float | None
    useful: float
    useful_band: float
    leakage: float
    leakage_band: float
    families: Mapping[str, float]
    seeds: int


@final
@dataclass(frozen=True)
class Curve:
    """Evaluations of several methods, over rho and seeds, on one set of data.

    Args:
        rows: one for each method, rho and seed: ``method``, ``rho``, ``seed`` and ``evaluation``.
        labels: what is kept, and what is hidden.
        chance: what an attacker reaches who sees nothing.

    Examples:
        >>> row = {"method": "pca", "rho": None, "evaluation": {"useful": 0.9, "leakage": 0.6, "private": []}}
        >>> curve = Curve([{**row, "seed": 0}, {**row, "seed": 1}], ("digit", "parity"), 0.5)
        >>> curve.points()[0].useful, curve.points()[0].useful_band
        (0.9, 0.0)
    """

    rows: Sequence[Mapping[str, Any]]
    labels: tuple[str, str]
    chance: float

    def points(self) -> list[Point]:
        """Return the means over the seeds, in the order in which the methods were given and of growing rho."""
        groups: dict[tuple[str, float | None], list[Mapping[str, Any]]] = {}
        for row in self.rows:
            groups.setdefault((row["method"], row["rho"]), []).append(row["evaluation"])
        found = []
        for (method, rho), cells in groups.items():
            useful, leakage = ([cell[name] for cell in cells] for name in ("useful", "leakage"))
            scores: dict[str, list[float]] = {}
            for cell in cells:
                for reading in cell["private"]:
                    for score in reading["scores"]:
                        scores.setdefault(score["family"], []).append(score["value"])
            families = {name: float(np.mean(values)) for name, values in scores.items()}
            found.append(Point(method, rho, *mean_band(useful), *mean_band(leakage), families, len(cells)))
        return found

    def markdown(self) -> str:
        """Return the table: a row for each method and rho, with the mean and its 95% interval over the seeds."""
        points = self.points()
        families = list(dict.fromkeys(name for point in points for name in point.families))
        head = ["method", "rho", f"{self.labels[0]} kept", f"{self.labels[1]} told (worst)", *families, "seeds"]
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for point in points:
            cells = [
                point.method,
                "" if point.rho is None else f"{point.rho:g}",
                told(point.useful, point.useful_band),
                told(point.leakage, point.leakage_band),
                *(f"{point.families[name]:.3f}" if name in point.families else "" for name in families),
                str(point.seeds),
            ]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines) + f"\n\nWhoever sees nothing guesses the {self.labels[1]} with {self.chance:.3f}.\n"

    def plot(self, path: str | Path) -> None:
        """Draw utility against leakage: a line over rho for each minimax filter, a mark for each other one."""
        import matplotlib

        matplotlib.use("Agg", force=False)
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.5, 5.2), layout="constrained")
        axes = figure.subplots()
        points = self.points()
        for colour, method in zip(_cycle(), dict.fromkeys(point.method for point in points), strict=False):
            mine = sorted((p for p in points if p.method == method), key=lambda p: p.rho or 0.0)
            x, y = [p.leakage for p in mine], [p.useful for p in mine]
            xerr, yerr = ([_width(p.leakage_band) for p in mine], [_width(p.useful_band) for p in mine])
            style = "o-" if len(mine) > 1 else "s"
            axes.errorbar(x, y, yerr, xerr, style, color=colour, capsize=2, linewidth=1.8, label=method)
            if len(mine) > 1:
                low, high = ([v + side * w for v, w in zip(y, yerr, strict=True)] for side in (-1, 1))
                axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
                for p in (mine[0], mine[-1]):
                    axes.annotate(f"ρ = {p.rho:g}", (p.leakage, p.useful), xytext=(5, -11), textcoords="offset points")
        axes.set_xlim(_possible(axes.get_xlim(), [p.leakage for p in points]))
        axes.set_ylim(_possible(axes.get_ylim(), [p.useful for p in points]))
        axes.axvline(self.chance, color="grey", linestyle=":")
        axes.text(self.chance, 0.02, " a guess", transform=axes.get_xaxis_transform(), color="grey")
        axes.set(xlabel=f"{self.labels[1]} read by the worst fresh attacker", ylabel=f"{self.labels[0]} read")
        axes.set_title("Up and to the left is better; bars are 95% intervals over seeds", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        figure.savefig(path, dpi=150)


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
    cells: Cells | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Curve:
    """Fit every method at every rho and seed, train fresh readers on other samples, and score them on the test data.

    Args:
        data: training and test samples.
        methods: as :func:`build_method` names them; the classical ones do not depend on rho and are fitted once a seed.
        components: numbers published.
        rhos: prices of utility.
        seeds: of filters and readers.
        epsilon: of the mechanisms.
        settings: further arguments of the minimax filters.
        families: of fresh readers.
        filter_share: of the training samples, drawn anew with each seed: the filter is fitted on these, and the readers are
            trained on the others. With 1 both have all of them, which hides some of what the filter tells: on its own
            samples it hides more than on others.
        utility_target: how filters and readers read the useful label: ``"classification"``, ``"regression"``, or
            ``"auto"`` by its values.
        private_target: the same for the private label.
        cells: where results are kept.
        tell: called with a line before each fit.

    Raises:
        ArgumentError: there are no methods, rhos or seeds, or one cannot be used; or the share is not in (0, 1].

    Examples:
        >>> from minimaxopt_privacy.datasets import load_sklearn_digits
        >>> curve = tradeoff(load_sklearn_digits(), ["pca"], components=2, rhos=[1.0], seeds=[0], families=["logistic"])
        >>> 0.4 < curve.points()[0].useful < 0.8
        True
    """
    for name, values in (("methods", methods), ("rho", rhos), ("seeds", seeds)):
        if not values:
            raise refuse(name, "there is none", "give at least one")
    if not 0 < check_size("filter_share", filter_share) <= 1:
        raise refuse("filter_share", f"it is {filter_share!r}", "give a share of the training samples, in (0, 1]")
    read: dict[str, Target] = {"utility_target": utility_target, "private_target": private_target}
    useful, private = (
        Column.of(name, np.asarray(values), target)
        for name, values, target in zip(("y", "private"), data.train[1:], read.values(), strict=True)
    )
    held, rows = cells or Cells(None), []
    for method in methods:
        build_method(method, components)  # before hours are spent on the others
    planned = [
        (method, rho, seed)
        for method in methods
        for rho in (rhos if method.partition("+")[0] in MINIMAX else [None])
        for seed in seeds
    ]
    for method, rho, seed in planned:
        minimax = rho is not None
        key = {
            "data": data.fingerprint,
            "method": method,
            "components": components,
            "rho": rho,
            "seed": seed,
            "epsilon": epsilon if method.endswith(("laplace", "gaussian")) else None,
            "settings": {name: repr(value) for name, value in (settings or {}).items()} if minimax else {},
            "families": list(families),
            "filter_share": filter_share,
            **read,
        }

        def compute(method: str = method, rho: float | None = rho, seed: int = seed) -> dict[str, Any]:
            tell(f"{method}{'' if rho is None else f' at rho {rho:g}'}, seed {seed}")
            chosen = settings if rho is not None else None
            filter_ = build_method(
                method, components, rho=rho or 0.0, epsilon=epsilon, seed=seed, settings=chosen, **read
            )
            own, others = _split(data.train, filter_share, seed, (useful.kind, private.kind))
            filter_.fit(own[0], own[1], private=own[2])
            found = evaluate_filter(filter_, *others, *data.test, families=families, random_state=seed, **read)
            return found.to_dict()

        rows.append({"method": method, "rho": rho, "seed": seed, "evaluation": held.get(key, compute)})
    return Curve(rows, (data.useful, data.private), private.chance)


def _split(samples: Part, share: float, seed: int, kinds: tuple[Kind, Kind]) -> tuple[Part, Part]:
    """Return the filter's samples and the readers'; every pair of classes is in both in equal shares."""
    from sklearn.model_selection import train_test_split

    if share == 1:
        return samples, samples
    x, y, private = (np.asarray(part) for part in samples)
    classes = [labels for labels, kind in zip((y, private), kinds, strict=True) if kind == "classification"]
    pairs = None
    if classes:
        _, pairs, counts = np.unique(
            ["/".join(map(str, p)) for p in zip(*classes, strict=True)], return_inverse=True, return_counts=True
        )
        pairs[counts[pairs] < 2] = counts.argmax()  # a pair that is there once cannot be in both
    own, others = train_test_split(np.arange(len(x)), train_size=share, random_state=seed, stratify=pairs)
    return (x[own], y[own], private[own]), (x[others], y[others], private[others])


def mean_band(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean, and half the width of its 95% interval by Student's t over the seeds; NaN for a single one.

    >>> [round(number, 3) for number in mean_band([0.0, 1.0, 2.0])]
    [1.0, 2.484]
    """
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.nan
    return mean, float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))


def told(mean: float, band: float) -> str:
    """Return a mean with its interval as a table shows it.

    >>> told(0.5, 0.02), told(0.5, math.nan)
    ('0.500 ± 0.020', '0.500')
    """
    return f"{mean:.3f}" if math.isnan(band) else f"{mean:.3f} ± {band:.3f}"


def _width(band: float) -> float:
    return 0.0 if math.isnan(band) else band


def _possible(limits: tuple[float, float], scores: Sequence[float]) -> tuple[float, float]:
    """Return the limits of an axis within what a score can be: intervals of few seeds reach further.

    >>> _possible((-0.5, 1.3), [0.2, 0.9])
    (-0.02, 1.02)
    """
    return max(limits[0], min(0.0, *scores) - 0.02), min(limits[1], 1.02)


def _cycle() -> Any:
    from itertools import cycle

    return cycle(COLOURS)
