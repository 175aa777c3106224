"""What a filter tells: fresh readers, trained on filtered training data and tested on held-out filtered data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minimaxopt_privacy._check import check_choice, check_count, refuse
from minimaxopt_privacy.attackers import FAMILIES, fit_reader
from minimaxopt_privacy.labels import Column, columns_of
from minimaxopt_privacy.tasks import Kind


def wilson(right: int, count: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval in which a share lies that was seen as ``right`` of ``count``.

    Args:
        right: 0 to ``count``.
        count: >= 1.
        confidence: in (0, 1).

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> [round(end, 3) for end in wilson(176, 200)]
        [0.828, 0.918]

    Source: Wilson 1927; the computation is scipy's.
    """
    from scipy.stats import binomtest

    interval = binomtest(right, check_count("count", count)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


@final
@dataclass(frozen=True)
class Score:
    """How well one family of readers does on held-out data.

    Args:
        family: of ``FAMILIES``.
        value: share of right answers; of numbers the coefficient of determination.
        validated: the same by cross-validation on the training data, by which its settings were chosen.
        settings: the settings that were chosen.
        interval: 95%, for what the choice of the test samples leaves open; ``None`` for numbers.
    """

    family: str
    value: float
    validated: float
    settings: Mapping[str, Any]
    interval: tuple[float, float] | None


@final
@dataclass(frozen=True)
class Reading:
    """How well fresh readers of all families infer one label from what is published.

    Args:
        label: what it is called.
        kind: ``"classification"`` or ``"regression"``.
        chance: what whoever sees nothing reaches: the share of the commonest training class; 0 for numbers.
        scores: one for each family.

    Examples:
        >>> low, high = (Score(name, v, v, {}, None) for name, v in (("logistic", 0.5), ("mlp", 0.7)))
        >>> Reading("gender", "classification", 0.5, (low, high)).best.family
        'mlp'
    """

    label: str
    kind: Kind
    chance: float
    scores: tuple[Score, ...]

    @property
    def best(self) -> Score:
        """The greatest score on held-out data: of an attack the worst case, never flattered by a choice."""
        return max(self.scores, key=lambda score: score.value)

    @property
    def validated(self) -> Score:
        """The score of the family that cross-validation on the training data prefers: chosen without the test data."""
        return max(self.scores, key=lambda score: score.validated)


@final
@dataclass(frozen=True)
class Evaluation:
    """What a fitted filter is worth, judged by readers that it has not met.

    Args:
        utility: readings of the useful labels.
        private: readings of the private labels.

    Examples:
        >>> score = Score("logistic", 0.6, 0.6, {}, (0.5, 0.7))
        >>> reading = Reading("gender", "classification", 0.5, (score,))
        >>> Evaluation((reading,), (reading,)).leakage
        0.6
    """

    utility: tuple[Reading, ...]
    private: tuple[Reading, ...]

    @property
    def useful(self) -> float:
        """The utility: the score of the family that cross-validation prefers, the least over the useful labels."""
        return min(reading.validated.value for reading in self.utility)

    @property
    def leakage(self) -> float:
        """The leakage: the greatest held-out score of any family on any private label."""
        return max(reading.best.value for reading in self.private)

    @property
    def worst(self) -> Score:
        """The attack that gives the leakage."""
        return max((reading.best for reading in self.private), key=lambda score: score.value)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and texts, for JSON."""
        return {"useful": self.useful, "leakage": self.leakage, "worst": self.worst.family, **asdict(self)}


def evaluate_filter(
    filter_: Any,
    X: ArrayLike,  # noqa: N803
    y: ArrayLike,
    private: Any,
    X_test: ArrayLike,  # noqa: N803
    y_test: ArrayLike,
    private_test: Any,
    *,
    families: Sequence[str] = FAMILIES,
    utility_families: Sequence[str] | None = None,
    folds: int = 3,
    random_state: int = 0,
) -> Evaluation:
    """Judge a fitted filter by fresh readers of several families, of the useful and of the private labels alike.

    Every reader is trained, and its settings chosen by cross-validation, on the filtered training data alone, and
    scored once on filtered data that neither it nor the filter has seen.

    Args:
        filter_: anything with ``transform``; ``None`` publishes X as it is.
        X: training features ``(N, features)``, such as those of the filter.
        y: their useful labels, ``(N,)`` or ``(N, k)``.
        private: their private labels, the same.
        X_test: held-out features.
        y_test: their useful labels; a class may be missing, and one that training has not seen counts as unread.
        private_test: their private labels.
        families: of readers; the worst is the leakage.
        utility_families: those of the useful labels; by default the same.
        folds: of the cross-validation.
        random_state: of readers and folds.

    Raises:
        ArgumentError: labels do not fit the samples, are constant, or there is no such family.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(300, 2))
        >>> y, private = X[:, 0] > 0, X[:, 1] > 0
        >>> split = (slice(0, 200), slice(200, 300))
        >>> (train, test) = (tuple(part[rows] for part in (X, y, private)) for rows in split)
        >>> evaluate_filter(None, *train, *test, families=["logistic"]).leakage > 0.95
        True
    """
    readers = {"private": families, "y": families if utility_families is None else utility_families}
    for chosen in readers.values():
        if not chosen:
            raise refuse("families", "there is none", f"name some of {', '.join(FAMILIES)}")
        for family in chosen:
            check_choice("families", family, FAMILIES)
    z, z_test = (np.asarray(part if filter_ is None else filter_.transform(part)) for part in (X, X_test))

    def readings(name: str, labels: Any, test: Any) -> tuple[Reading, ...]:
        seen, unseen = columns_of(name, labels, len(z)), columns_of(name, test, len(z_test))
        if len(seen) != len(unseen):
            raise refuse(f"{name}_test", f"has {len(unseen)} labels a sample beside {len(seen)}", "give the same ones")
        names = [name] if len(seen) == 1 else [f"{name}[{k}]" for k in range(len(seen))]
        return tuple(
            _read(z, a, z_test, b, Column.of(label, a), readers[name], folds, random_state)
            for label, a, b in zip(names, seen, unseen, strict=True)
        )

    return Evaluation(readings("y", y, y_test), readings("private", private, private_test))


def _read(
    z: NDArray[Any],
    labels: NDArray[Any],
    z_test: NDArray[Any],
    truth: NDArray[Any],
    column: Column,
    families: Sequence[str],
    folds: int,
    random_state: int,
) -> Reading:
    scores = []
    for family in families:
        reader = fit_reader(family, z, labels, column.kind, folds=folds, random_state=random_state)
        value, interval = float(reader.score(z_test, truth)), None
        if column.kind == "classification":
            interval = wilson(round(value * len(truth)), len(truth))
        validated = float(reader.best_score_)
        settings = {name.removeprefix("read__"): setting for name, setting in reader.best_params_.items()}
        scores.append(Score(family, value, validated if math.isfinite(validated) else 0.0, settings, interval))
    chance = float(np.unique(labels, return_counts=True)[1].max() / len(labels))
    return Reading(column.name, column.kind, chance if column.kind == "classification" else 0.0, tuple(scores))
