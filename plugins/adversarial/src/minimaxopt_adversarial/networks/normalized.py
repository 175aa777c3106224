"""A classifier that normalises its images, so that attacks and bounds are in the unit of the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from minimaxopt.plugins import argument_error, finite_number


@final
class NormalizedClassifier(nn.Module):
    """Run a classifier on ``(x - mean) / std``, one mean and one deviation for each channel.

    Attack this module and not the classifier itself, and give the images in the unit of their pixels: then ``eta`` and
    ``bounds`` are one number for all channels, as published radii such as 8/255 are, although each channel has radii
    and bounds of its own after the normalisation.

    Args:
        classifier: normalised images (N, C, ...) to logits (N, classes).
        mean: mean of each channel, in the unit of the pixels; one number for all.
        std: standard deviation of each channel, in the same unit, > 0; one number for all.

    Raises:
        ArgumentError: a value is not finite, a deviation is not positive, or there are not as many of both.

    Examples:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
        >>> classifier = NormalizedClassifier(network, mean=(0.49, 0.48, 0.45), std=(0.25, 0.24, 0.26)).eval()
        >>> from minimaxopt_adversarial import fgsm
        >>> x = torch.rand(5, 3, 2, 2)
        >>> z = fgsm(classifier, x, torch.zeros(5, dtype=torch.int64), eta=8 / 255, bounds=(0.0, 1.0))
        >>> bool((z - x).abs().max() <= 8 / 255)
        True
        >>> torch.allclose(classifier.pixels(classifier.normalize(x)), x)
        True

    Source: this library.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, classifier: nn.Module, mean: float | Sequence[float] | Tensor, std: float | Sequence[float] | Tensor
    ) -> None:
        super().__init__()
        means, deviations = _numbers("mean", mean), _numbers("std", std)
        if len(means) != len(deviations):
            reason = f"there are {len(deviations)} beside {len(means)} means"
            raise argument_error("std", reason, "give one of each for every channel")
        if min(deviations) <= 0:
            raise argument_error("std", f"it has {min(deviations):g}", "give numbers > 0")
        self.classifier = classifier
        self.register_buffer("mean", torch.tensor(means), persistent=False)
        self.register_buffer("std", torch.tensor(deviations), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, classes) of images ``x`` (N, C, ...) in the unit of the pixels.

        Raises:
            ArgumentError: the images have another number of channels.
        """
        return self.classifier(self.normalize(x))

    def normalize(self, x: Tensor) -> Tensor:
        """Return ``(x - mean) / std`` for images ``x`` (N, C, ...)."""
        return (x - self._by_channel(self.mean, x)) / self._by_channel(self.std, x)

    def pixels(self, x: Tensor) -> Tensor:
        """Return ``mean + std * x``, the images in the unit of their pixels, for normalised images (N, C, ...)."""
        return self._by_channel(self.mean, x) + self._by_channel(self.std, x) * x

    def _by_channel(self, values: Tensor, x: Tensor) -> Tensor:
        if x.ndim < 2 or len(values) not in (1, x.shape[1]):
            reason = f"its shape is {tuple(x.shape)}, and there are {len(values)} means"
            raise argument_error("x", reason, f"give images of {len(values)} channels")
        return values.to(x.dtype).view(1, -1, *[1] * (x.ndim - 2))


def _numbers(argument: str, values: float | Sequence[float] | Tensor) -> list[float]:
    plain = values.tolist() if isinstance(values, Tensor) else values
    checked = [finite_number(value) for value in (plain if isinstance(plain, list | tuple) else [plain])]
    numbers = [number for number in checked if number is not None]
    if len(numbers) < len(checked) or not numbers:
        raise argument_error(argument, f"it is {values!r}", "give a finite number, or one for each channel")
    return numbers
