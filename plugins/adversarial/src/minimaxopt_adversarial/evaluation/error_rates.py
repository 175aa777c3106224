"""Error rates, their confidence intervals, and differences between error rates on the same images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from minimaxopt.plugins import argument_error, check_count, finite_number
from minimaxopt_adversarial.attacks.classifier import Classifier, logits_of, measured
from minimaxopt_adversarial.checks import check_batch, check_labels, check_logits
from minimaxopt_adversarial.losses import errs


def error_rate(classifier: Classifier, x: Tensor, y: Tensor, *, batch_size: int = 1000) -> float:
    """Return the share of images that the classifier puts into the wrong class: ``mean_i [argmax g(x_i) != y_i]``.

    An image of which a logit is NaN counts as misclassified. The classifier runs in its current mode: a warning says if
    that is training mode, and its buffers stay as they were.

    Args:
        classifier: images (N, ...) to logits (N, classes), or (N, 1) for the logit of class 1 of two.
        x: (N, ...) images.
        y: (N,) true classes, int64.
        batch_size: images in one pass.

    Raises:
        ArgumentError: there is no image, or shapes do not fit.

    Examples:
        >>> error_rate(lambda x: x, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
        0.5

    Source: this library.
    """
    with measured(classifier) as function:
        return misclassified(function, x, y, batch_size=batch_size).float().mean(dtype=torch.float64).item()


def misclassified(classifier: Classifier, x: Tensor, y: Tensor, *, batch_size: int = 1000) -> Tensor:
    """Return for each image whether the classifier puts it into the wrong class: ``argmax g(x_i) != y_i``, (N,) bool.

    ``error_rate`` is the mean of the result, and says what else holds.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        x: (N, ...) images.
        y: (N,) true classes, int64.
        batch_size: images in one pass.

    Raises:
        ArgumentError: there is no image, or shapes do not fit.

    Examples:
        >>> misclassified(lambda x: x, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
        tensor([False,  True])

    Source: this library.
    """
    check_batch(x)
    check_labels(y, len(x))
    check_count("batch_size", batch_size)
    with measured(classifier) as function, torch.no_grad():
        return torch.cat(
            [
                errs(check_logits(logits_of(function, images, labels), labels), labels)
                for images, labels in zip(x.split(batch_size), y.split(batch_size), strict=True)
            ]
        )


def wilson(errors: int, count: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's confidence interval for the error rate, given ``errors`` among ``count`` independent images.

    Unlike ``p -+ z sqrt(p (1 - p) / n)`` it does not shrink to a point where all images or none are misclassified.

    Args:
        errors: misclassified images, 0 to ``count``.
        count: images, >= 1.
        confidence: probability with which such intervals cover the rate, in (0, 1).

    Returns:
        Lower and upper end, in [0, 1].

    Raises:
        ArgumentError: an argument is out of range.

    Examples:
        >>> low, high = wilson(0, 100)
        >>> round(low, 3), round(high, 3)
        (0.0, 0.037)

    Source: Wilson, "Probable inference, the law of succession, and statistical inference" (1927), by SciPy.
    """
    check_count("count", count)
    number, level = finite_number(errors), finite_number(confidence)
    if number is None or number != int(number) or not 0 <= number <= count:
        raise argument_error("errors", f"it is {errors!r} of {count}", "give an integer from 0 to count")
    if level is None or not 0 < level < 1:
        remedy = "give a number between 0 and 1, for instance 0.95"
        raise argument_error("confidence", f"it is {confidence!r}", remedy)
    from scipy.stats import binomtest  # imported late: scipy.stats takes as long to import as torch

    interval = binomtest(int(number), count).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


@final
@dataclass(frozen=True, eq=False)
class Errors:
    """The misclassified among some images, and their error rate.

    Args:
        wrong: (N,) bool, True for a misclassified image; kept on the CPU.

    Raises:
        ArgumentError: there is no image, or ``wrong`` is not a bool vector.

    Examples:
        >>> errors = Errors(torch.tensor([True, False, False, True]))
        >>> errors.rate, [round(end, 2) for end in errors.interval]
        (0.5, [0.15, 0.85])

    Source: this library; its interval is that of Wilson 1927.
    """

    wrong: Tensor

    def __post_init__(self) -> None:
        wrong = self.wrong
        if wrong.dtype != torch.bool or wrong.ndim != 1 or len(wrong) == 0:
            reason = f"it has shape {tuple(wrong.shape)} and dtype {wrong.dtype}"
            raise argument_error("wrong", reason, "give (N,) bool, N >= 1")
        object.__setattr__(self, "wrong", wrong.detach().cpu())

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.wrong)

    @property
    def errors(self) -> int:
        """Number of misclassified images."""
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
        """Return the errors among the first ``count`` images.

        Raises:
            ArgumentError: there are fewer images.
        """
        if check_count("count", count) > self.count:
            raise argument_error("count", f"it is {count} of {self.count} images", "give at most all of them")
        return Errors(self.wrong[:count])

    def to_dict(self) -> dict[str, Any]:
        """Return a record for ``from_dict``, made of numbers."""
        return {"count": self.count, "wrong": self.wrong.nonzero().flatten().tolist()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Errors:
        """Return the errors in a record of ``to_dict``.

        Examples:
            >>> Errors.from_dict({"count": 3, "wrong": [1]}).wrong
            tensor([False,  True, False])
        """
        wrong = torch.zeros(check_count("count", record["count"]), dtype=torch.bool)
        wrong[torch.tensor(record["wrong"], dtype=torch.int64)] = True
        return cls(wrong)


def paired_difference(first: Errors, second: Errors) -> tuple[float, float]:
    """Return the first error rate less the second on the same images, and the standard error of this difference.

    ``d = mean(a_i - b_i)`` and ``sqrt(var(a_i - b_i) / n)``: images on which both agree add no variance, so that the
    standard error is far below that of two independent samples.

    Raises:
        ArgumentError: the numbers of images differ.

    Examples:
        >>> a, b = torch.tensor([True, True, True, False]), torch.tensor([True, False, False, False])
        >>> paired_difference(Errors(a), Errors(b))
        (0.5, 0.25)
    """
    if first.count != second.count:
        raise argument_error(
            "second", f"it has {second.count} images beside {first.count}", "compare on the same images"
        )
    difference = first.wrong.double() - second.wrong.double()
    return difference.mean().item(), (difference.var(correction=0) / first.count).sqrt().item()
