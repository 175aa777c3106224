"""Error rates with what sampling leaves open: Wilson's interval, and differences between attacks on the same images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, final

import torch
from torch import Tensor

from minimaxopt_adversarial.checks import check_count, is_number, refuse


def wilson(errors: int, count: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval in which an error rate lies that was seen as ``errors`` of ``count`` independent images.

    ``(p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)`` with ``p = errors / count``, ``n = count``
    and ``z`` the normal quantile of ``(1 + confidence) / 2``. Unlike ``p -+ z sqrt(p (1 - p) / n)`` it does not shrink
    to a point where all images or none are misclassified.

    Args:
        errors: misclassified images, 0 to ``count``.
        count: images, >= 1.
        confidence: probability with which such intervals cover the rate, in (0, 1).

    Raises:
        ArgumentError: an argument is out of range.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference" (1927).

    >>> low, high = wilson(0, 100)
    >>> round(low, 3), round(high, 3)
    (0.0, 0.037)
    """
    check_count("count", count)
    if not is_number(errors) or errors != int(errors) or not 0 <= errors <= count:
        raise refuse("errors", f"it is {errors!r} of {count}", "give an integer from 0 to count")
    if not is_number(confidence) or not 0 < confidence < 1:
        raise refuse("confidence", f"it is {confidence!r}", "give a number between 0 and 1, for instance 0.95")
    z, rate = NormalDist().inv_cdf((1 + confidence) / 2), errors / count
    middle = rate + z * z / (2 * count)
    reach = z * math.sqrt(rate * (1 - rate) / count + (z / (2 * count)) ** 2)
    low, high = ((middle + side * reach) / (1 + z * z / count) for side in (-1, 1))
    # The ends are 0 and 1 exactly where no image or every image errs; rounding would leave 1e-17.
    return (0.0 if errors == 0 else low), (1.0 if errors == count else high)


@final
@dataclass(frozen=True, eq=False)
class Errors:
    """Which of some images are misclassified, and the error rate that follows.

    Args:
        wrong: (n,) bool, one for each image; kept on the CPU.

    Raises:
        ArgumentError: there is no image, or ``wrong`` is not a bool vector.

    >>> errors = Errors(torch.tensor([True, False, False, True]))
    >>> errors.rate, [round(end, 2) for end in errors.interval]
    (0.5, [0.15, 0.85])
    """

    wrong: Tensor

    def __post_init__(self) -> None:
        wrong = self.wrong
        if wrong.dtype != torch.bool or wrong.ndim != 1 or len(wrong) == 0:
            raise refuse(
                "wrong", f"it has shape {tuple(wrong.shape)} and dtype {wrong.dtype}", "give (n,) bool, n >= 1"
            )
        object.__setattr__(self, "wrong", wrong.detach().cpu())

    @property
    def count(self) -> int:
        """The images."""
        return len(self.wrong)

    @property
    def errors(self) -> int:
        """The misclassified ones."""
        return int(self.wrong.sum())

    @property
    def rate(self) -> float:
        """The error rate ``errors / count``."""
        return self.errors / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of 95% for the rate on all images of this kind."""
        return wilson(self.errors, self.count)

    def first(self, count: int) -> Errors:
        """Return the errors on the first ``count`` images alone."""
        if check_count("count", count) > self.count:
            raise refuse("count", f"it is {count} of {self.count} images", "give at most all of them")
        return Errors(self.wrong[:count])

    def to_dict(self) -> dict[str, Any]:
        """Return what ``from_dict`` takes, of numbers alone."""
        return {"count": self.count, "wrong": self.wrong.nonzero().flatten().tolist()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Errors:
        """Return the errors of a record.

        >>> Errors.from_dict({"count": 3, "wrong": [1]}).wrong
        tensor([False,  True, False])
        """
        wrong = torch.zeros(check_count("count", record["count"]), dtype=torch.bool)
        wrong[torch.tensor(record["wrong"], dtype=torch.int64)] = True
        return cls(wrong)


def paired_difference(first: Errors, second: Errors) -> tuple[float, float]:
    """Return by how much the first error rate exceeds the second on the same images, and its standard error.

    ``d = mean(a_i - b_i)`` and ``sqrt(var(a_i - b_i) / n)``: images on which both agree tell nothing, so that the
    standard error is far below that of two independent samples.

    Raises:
        ArgumentError: they are not of equally many images.

    >>> a, b = torch.tensor([True, True, True, False]), torch.tensor([True, False, False, False])
    >>> paired_difference(Errors(a), Errors(b))
    (0.5, 0.25)
    """
    if first.count != second.count:
        raise refuse("second", f"it has {second.count} images beside {first.count}", "compare on the same images")
    difference = first.wrong.double() - second.wrong.double()
    return difference.mean().item(), (difference.var(correction=0) / first.count).sqrt().item()
