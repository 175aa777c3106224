"""What a filter tells: fresh readers, trained on filtered training data and tested on held-out filtered data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minimaxopt_privacy.checks import check_choice, check_count, refuse
from minimaxopt_privacy.game.labels import Column, Target, columns_of
from minimaxopt_privacy.game.prediction_heads import Kind
from minimaxopt_privacy.predictors import FAMILIES, advantage, balanced_accuracy, fit_reader, settings_of

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator


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
        family: ``"logistic"``, ``"rbf-svm"``, ``"random-forest"``, ``"mlp"``, or the class of an estimator that was given.
        value: balanced accuracy, the share read right with every class counting alike; of numbers the coefficient of
            determination.
        validated: the same by cross-validation on the training data, by which its settings were chosen.
        settings: the settings that were chosen.
        interval: 95%, for what the choice of the test samples leaves open; ``None`` for numbers.
        accuracy: the plain share of right answers, which a rare class hardly moves; ``None`` for numbers.
    """

    family: str
    value: float
    validated: float
    settings: Mapping[str, Any]
    interval: tuple[float, float] | None
    accuracy: float | None = None


@final
@dataclass(frozen=True)
class Reading:
    """How well fresh readers of all families infer one label from what is published.

    Args:
        label: what it is called.
        kind: ``"classification"`` or ``"regression"``.
        chance: what whoever sees nothing reaches: one in as many as there are classes; 0 for numbers.
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

    def gain(self, score: Score) -> float:
        """Return what a score gains over a guess, as a share of what can be gained: so labels are compared."""
        return advantage(score.value, self.chance)


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
        """The utility: the score of the family that cross-validation prefers, on the useful label least gained of."""
        return min(self.utility, key=lambda reading: reading.gain(reading.validated)).validated.value

    @property
    def leakage(self) -> float:
        """The leakage: the greatest held-out score of any family, on the private label most gained of."""
        return self.worst.value

    @property
    def worst(self) -> Score:
        """The attack that gives the leakage."""
        return self.most_told.best

    @property
    def most_told(self) -> Reading:
        """The private label of which an attacker gains most over a guess."""
        return max(self.private, key=lambda reading: reading.gain(reading.best))

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
    families: Sequence[str | BaseEstimator] = FAMILIES,
    utility_families: Sequence[str | BaseEstimator] | None = None,
    utility_target: Target = "auto",
    private_target: Target = "auto",
    folds: int = 3,
    random_state: int = 0,
) -> Evaluation:
    """Judge a fitted filter by fresh readers of several families, of the useful and of the private labels alike.

    Every reader is trained, and its settings chosen by cross-validation, on the filtered training data alone, and
    scored once on filtered data that neither it nor the filter has seen. Every class counts alike, however rare.

    Args:
        filter_: anything with ``transform``; ``None`` publishes X as it is.
        X: features ``(N, features)`` on which the readers are trained: best of samples that the filter was not fitted
            on, since on its own the filter hides more than on others, and a reader learns less there.
        y: their useful labels, ``(N,)`` or ``(N, k)``.
        private: their private labels, the same.
        X_test: held-out features.
        y_test: their useful labels; a class may be missing, and one that training has not seen counts as unread.
        private_test: their private labels.
        families: of readers, of ``"logistic"``, ``"rbf-svm"``, ``"random-forest"`` and ``"mlp"``, or estimators of
            your own; the worst is the leakage.
        utility_families: those of the useful labels; by default the same.
        utility_target: how ``y`` is read: ``"classification"``, ``"regression"``, or ``"auto"`` by its values.
        private_target: the same for ``private``.
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
    for argument, chosen in (("families", families), ("utility_families", readers["y"])):
        if not chosen or isinstance(chosen, str):
            raise refuse(argument, f"it is {chosen!r}", f"list some of {', '.join(FAMILIES)}")
        for family in chosen:
            if not hasattr(family, "fit"):
                check_choice(argument, family, FAMILIES)
    targets: dict[str, Target] = {"y": utility_target, "private": private_target}
    z, z_test = (np.asarray(part if filter_ is None else filter_.transform(part)) for part in (X, X_test))

    def readings(name: str, labels: Any, test: Any) -> tuple[Reading, ...]:
        seen, unseen = columns_of(name, labels, len(z)), columns_of(f"{name}_test", test, len(z_test))
        if len(seen) != len(unseen):
            raise refuse(f"{name}_test", f"has {len(unseen)} labels a sample beside {len(seen)}", "give the same ones")
        names = [name] if len(seen) == 1 else [f"{name}[{k}]" for k in range(len(seen))]
        return tuple(
            _read(z, a, z_test, b, Column.of(label, a, targets[name]), readers[name], folds, random_state)
            for label, a, b in zip(names, seen, unseen, strict=True)
        )

    return Evaluation(readings("y", y, y_test), readings("private", private, private_test))


def _read(
    z: NDArray[Any],
    labels: NDArray[Any],
    z_test: NDArray[Any],
    truth: NDArray[Any],
    column: Column,
    families: Sequence[str | BaseEstimator],
    folds: int,
    random_state: int,
) -> Reading:
    scores: list[Score] = []
    for family in families:
        reader = fit_reader(family, z, labels, column.kind, folds=folds, random_state=random_state)
        interval, accuracy = None, None
        if column.kind == "classification":
            told = reader.predict(z_test)
            value, accuracy = balanced_accuracy(truth, told), float(np.mean(told == truth))
            interval = balanced_interval(value, truth)
        else:
            value = float(reader.score(z_test, truth))
        validated = float(reader.best_score_)
        validated = validated if math.isfinite(validated) else 0.0
        name = family if isinstance(family, str) else type(family).__name__
        scores.append(Score(name, value, validated, settings_of(reader, column.kind), interval, accuracy))
    return Reading(column.name, column.kind, column.chance, tuple(scores))


def balanced_interval(value: float, labels: NDArray[Any]) -> tuple[float, float]:
    """Return the 95% interval of a balanced accuracy: Wilson's, for as many samples of equal classes as tell as much.

    Classes of ``n_c`` samples tell as much of the mean of their shares as ``k^2 / sum_c 1 / n_c`` samples in equal ones.

    >>> balanced_interval(0.88, np.array([0, 1] * 100)) == wilson(176, 200)
    True
    >>> [round(end, 2) for end in balanced_interval(0.88, np.array([0] * 190 + [1] * 10))]
    [0.73, 0.94]
    """
    counts = np.unique(labels, return_counts=True)[1]
    worth = max(1, round(float(len(counts) ** 2 / (1 / counts).sum())))
    return wilson(round(value * worth), worth)
