"""Deciding a claim from numbers with errors.

Each condition of a claim is a margin: a linear combination of test errors that is positive if the condition is met.
With its standard error s a margin m *holds* if m > 2 s, *fails* if m < -2 s, and is *undecided* between. A claim holds
if all its conditions hold, fails if one fails, and is undecided otherwise.

Standard errors. An error rate of k errors on N test images has sqrt(q (1 - q) / N) with q = (k + 1) / (N + 2), since
none among N does not mean none ever; terms are taken as independent, which overstates the error of differences on the
same images. With several seeds the standard error of the mean over
seeds is taken if it is larger.

Two verdicts. *Over seeds* asks whether another training would say the same, and so needs three seeds; *at this scale*
judges the networks that were trained in this run, whatever the number of seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import sqrt
from statistics import fmean, stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SEEDS_NEEDED = 3
STANDARD_ERRORS = 2.0


class Verdict(StrEnum):
    """A verdict on a claim or on one of its conditions."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Quantity:
    """A number known from each seed, with the variance that counting on finitely many images gives it.

    Examples:
        >>> difference = measured({0: 0.9}, 1000, "FGSM") - measured({0: 0.1}, 1000, "clean") - 0.3
        >>> round(difference.mean, 3), difference.numbers
        (0.5, (('FGSM', 0.9), ('clean', 0.1)))
    """

    by_seed: Mapping[int, float]
    variance: float = 0.0
    numbers: tuple[tuple[str, float], ...] = ()

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return fmean(self.by_seed.values())

    @property
    def standard_error(self) -> float:
        """Standard error of counting, or of the mean over seeds if that is larger."""
        values = list(self.by_seed.values())
        between = stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0
        return max(sqrt(self.variance), between)

    def __add__(self, other: Quantity | float) -> Quantity:
        if not isinstance(other, Quantity):
            return Quantity({seed: value + other for seed, value in self.by_seed.items()}, self.variance, self.numbers)
        both = self.by_seed.keys() & other.by_seed.keys()
        return Quantity(
            {seed: self.by_seed[seed] + other.by_seed[seed] for seed in sorted(both)},
            self.variance + other.variance,
            self.numbers + tuple(number for number in other.numbers if number not in self.numbers),
        )

    def __mul__(self, factor: float) -> Quantity:
        scaled = {seed: factor * value for seed, value in self.by_seed.items()}
        return Quantity(scaled, factor**2 * self.variance, self.numbers)

    __rmul__ = __mul__

    def __sub__(self, other: Quantity | float) -> Quantity:
        return self + other * -1.0

    def __rsub__(self, other: float) -> Quantity:
        return self * -1.0 + other

    def __abs__(self) -> Quantity:
        return self if self.by_seed and self.mean >= 0 else self * -1.0


def measured(by_seed: Mapping[int, float], images: int, label: str) -> Quantity:
    """Return an error rate that was counted on ``images`` images.

    The rate in the variance is drawn towards a half by two counts, since none seen of N does not mean none ever.
    """
    if not by_seed:
        return Quantity({})
    mean = fmean(by_seed.values())
    drawn = (mean * images + 1) / (images + 2)
    return Quantity(dict(by_seed), drawn * (1 - drawn) / images, ((label, mean),))


def average(quantities: Sequence[Quantity]) -> Quantity:
    """Return the mean of several quantities, seed by seed."""
    total = quantities[0]
    for quantity in quantities[1:]:
        total = total + quantity
    return total * (1 / len(quantities))


@dataclass(frozen=True)
class Margin:
    """One condition of a claim: ``quantity`` is positive where ``says`` is true."""

    says: str
    quantity: Quantity

    @property
    def known(self) -> bool:
        """True if there is a number from any seed."""
        return bool(self.quantity.by_seed)

    @property
    def verdict(self) -> Verdict:
        """Verdict on this condition alone."""
        if not self.known:
            return Verdict.UNDECIDED
        if self.quantity.mean > STANDARD_ERRORS * self.quantity.standard_error:
            return Verdict.HOLDS
        if self.quantity.mean < -STANDARD_ERRORS * self.quantity.standard_error:
            return Verdict.FAILS
        return Verdict.UNDECIDED


def at_this_scale(margins: Sequence[Margin]) -> Verdict:
    """Return the verdict on the networks of this run."""
    verdicts = {margin.verdict for margin in margins}
    if Verdict.FAILS in verdicts:
        return Verdict.FAILS
    return Verdict.HOLDS if verdicts == {Verdict.HOLDS} else Verdict.UNDECIDED


def over_seeds(margins: Sequence[Margin]) -> Verdict:
    """Return the verdict on trainings from other seeds: undecided below three."""
    enough = all(len(margin.quantity.by_seed) >= SEEDS_NEEDED for margin in margins)
    return at_this_scale(margins) if enough else Verdict.UNDECIDED
