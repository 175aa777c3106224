"""Scores of predictors, the readings of a label that they make up, and the evaluation of a filter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from minimaxopt_privacy.checks import check_count
from minimaxopt_privacy.game.prediction_heads import Kind
from minimaxopt_privacy.predictors import advantage


def wilson(successes: int, count: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson confidence interval of a proportion.

    Args:
        successes: 0 to ``count``.
        count: number of trials, >= 1.
        confidence: in (0, 1).

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> [round(end, 3) for end in wilson(176, 200)]
        [0.828, 0.918]

    Source: Wilson 1927, computed by SciPy.
    """
    from scipy.stats import binomtest

    interval = binomtest(successes, check_count("count", count)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def balanced_interval(
    value: float, labels: NDArray[Any], sample_weight: NDArray[Any] | None = None
) -> tuple[float, float]:
    """Return the 95% interval of a balanced accuracy: Wilson's, for the effective number of samples.

    ``k`` classes of ``n_c`` samples determine the mean recall as well as ``k^2 / sum_c 1 / n_c`` samples in classes of
    equal size do. With weights ``n_c = (sum w)^2 / sum w^2`` over the samples of the class (Kish).

    >>> balanced_interval(0.88, np.array([0, 1] * 100)) == wilson(176, 200)
    True
    >>> [round(end, 2) for end in balanced_interval(0.88, np.array([0] * 190 + [1] * 10))]
    [0.73, 0.94]
    """
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if sample_weight is not None:
        counts = np.bincount(classes, sample_weight) ** 2 / np.bincount(classes, sample_weight**2)
    effective = max(1, round(float(len(counts) ** 2 / (1 / counts).sum())))
    return wilson(round(value * effective), effective)


@final
@dataclass(frozen=True)
class Score:
    """Score of one family of predictors on held-out data.

    Args:
        family: ``"logistic"``, ``"rbf-svm"``, ``"random-forest"``, ``"mlp"``, or the class name of an estimator.
        value: balanced accuracy; for regression the coefficient of determination.
        validated: the same by cross-validation on the training data, by which the settings were chosen.
        settings: the chosen settings.
        interval: 95% interval over the choice of test samples; ``None`` for regression.
        accuracy: share of correct predictions, which a rare class hardly moves; ``None`` for regression.

    Examples:
        >>> score = Score("logistic", value=0.62, validated=0.6, settings={"C": 1.0}, interval=(0.55, 0.68))
        >>> score.family, score.value
        ('logistic', 0.62)

    Source: this library.
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
    """Scores of fresh predictors of all families on one label.

    Args:
        label: name of the label.
        kind: ``"classification"`` or ``"regression"``.
        chance: score of a predictor that sees nothing: one over the number of classes; 0 for regression.
        scores: one score for each family.

    Examples:
        >>> low, high = (Score(name, v, v, {}, None) for name, v in (("logistic", 0.5), ("mlp", 0.7)))
        >>> Reading("gender", "classification", 0.5, (low, high)).best.family
        'mlp'

    Source: this library.
    """

    label: str
    kind: Kind
    chance: float
    scores: tuple[Score, ...]

    @property
    def best(self) -> Score:
        """The greatest score on held-out data: the worst case of an attack."""
        return max(self.scores, key=lambda score: score.value)

    @property
    def validated(self) -> Score:
        """The score of the family with the best cross-validation score, chosen without the test data."""
        return max(self.scores, key=lambda score: score.validated)

    def gain(self, score: Score) -> float:
        """Return the advantage of a score over a guess, which makes labels comparable."""
        return advantage(score.value, self.chance)


@final
@dataclass(frozen=True)
class Evaluation:
    """Utility and leakage of a fitted filter, by predictors trained afterwards.

    Args:
        utility: scores on the useful labels.
        private: scores on the private labels.

    Examples:
        >>> score = Score("logistic", 0.6, 0.6, {}, (0.5, 0.7))
        >>> reading = Reading("gender", "classification", 0.5, (score,))
        >>> Evaluation((reading,), (reading,)).leakage
        0.6

    Source: this library.
    """

    utility: tuple[Reading, ...]
    private: tuple[Reading, ...]

    @property
    def useful(self) -> float:
        """The utility: the validated score on the useful label with the least gain over a guess."""
        return min(self.utility, key=lambda reading: reading.gain(reading.validated)).validated.value

    @property
    def leakage(self) -> float:
        """The leakage: the greatest held-out score of any family, on the label with the most gain over a guess."""
        return self.worst.value

    @property
    def worst(self) -> Score:
        """The score of the attack that gives the leakage."""
        return self.most_leaked.best

    @property
    def most_leaked(self) -> Reading:
        """The scores on the private label with the most gain over a guess."""
        return max(self.private, key=lambda reading: reading.gain(reading.best))

    def to_dict(self) -> dict[str, Any]:
        """Return the evaluation as plain values for JSON."""
        return {"useful": self.useful, "leakage": self.leakage, "worst": self.worst.family, **asdict(self)}
