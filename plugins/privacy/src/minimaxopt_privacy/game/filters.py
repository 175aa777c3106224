"""Filters: networks that map a person's features to the published vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimaxopt_privacy.checks import check_choice, check_components, check_count, check_number, refuse


def linear_filter(features: int, dimension: int) -> nn.Linear:
    """Return the filter ``z = W x + b``.

    Args:
        features: number of features of ``x``, ``(N, features)``.
        dimension: number of outputs of ``z``, ``(N, dimension)``; at most ``features``.

    Raises:
        ArgumentError: the dimension is not between 1 and ``features``.

    Examples:
        >>> linear_filter(64, 10)
        Linear(in_features=64, out_features=10, bias=True)

    Source: the linear filter of Hamm 2017, "Minimax filter".
    """
    return nn.Linear(features, check_components(dimension, features))


def mlp_filter(features: int, dimension: int, hidden: Sequence[int] = (20,)) -> nn.Sequential:
    """Return the filter ``z = W_L tanh(... tanh(W_1 x + b_1) ...) + b_L``.

    Args:
        features: number of features of ``x``, ``(N, features)``.
        dimension: number of outputs of ``z``, ``(N, dimension)``; at most ``features``.
        hidden: widths of the hidden layers.

    Raises:
        ArgumentError: the dimension is not between 1 and ``features``, or a width is not positive.

    Examples:
        >>> mlp_filter(64, 10)(torch.zeros(5, 64)).shape
        torch.Size([5, 10])

    Source: the network 256-20-d of Hamm 2017, "Minimax filter".
    """
    widths = [features, *(check_count("hidden", width) for width in hidden), check_components(dimension, features)]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def conv_filter(image_shape: tuple[int, int, int], dimension: int, channels: Sequence[int] = (16, 32)) -> nn.Sequential:
    """Return a filter of images: convolutions of 3x3 with stride 2 and ReLUs, then a linear layer.

    Args:
        image_shape: channels, height and width; ``x`` is ``(N, channels * height * width)``.
        dimension: number of outputs of ``z``, ``(N, dimension)``.
        channels: output channels of the convolutions, each of which halves height and width.

    Raises:
        ArgumentError: ``image_shape`` has other than three entries, or the dimension exceeds the pixels.

    Examples:
        >>> conv_filter((1, 8, 8), 10)(torch.zeros(5, 64)).shape
        torch.Size([5, 10])

    Source: this library.
    """
    shape: Any = image_shape  # from users, of any type
    if not isinstance(shape, Sequence) or len(shape) != 3:
        raise refuse("image_shape", f"it is {shape!r}", "give (channels, height, width)")
    depth, height, width = (check_count("image_shape", size) for size in image_shape)
    check_components(dimension, depth * height * width)
    layers: list[nn.Module] = [nn.Unflatten(1, (depth, height, width))]
    for after in channels:
        layers += [nn.Conv2d(depth, check_count("channels", after), 3, stride=2, padding=1), nn.ReLU()]
        depth, height, width = after, -(-height // 2), -(-width // 2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(depth * height * width, dimension))


@final
class NoisyFilter(nn.Module):
    """Filter with noise: a bounded vector plus Gaussian noise, whose scale the game may learn.

    ``z = tanh(g(x)) + s * e`` with ``e ~ N(0, I)`` and ``s = softplus(t)``, one for each output

    Without the bound the filter would outgrow any noise. Noise is drawn in evaluation mode too: it is part of the
    published vector.

    Args:
        inner: ``g``, from ``(N, features)`` to ``(N, dimension)``.
        dimension: number of outputs of ``z``.
        scale: initial standard deviation ``s``, > 0.
        learned: whether ``s`` is a parameter of the leader; otherwise it is constant.

    Raises:
        ArgumentError: the scale is not positive.

    Examples:
        >>> noisy = NoisyFilter(nn.Linear(4, 2), 2, scale=0.5)
        >>> noisy.scale
        tensor([0.5000, 0.5000], grad_fn=<SoftplusBackward0>)
        >>> torch.equal(noisy(torch.zeros(1, 4)), noisy(torch.zeros(1, 4)))
        False

    Source: the noisy filters of Hamm 2017, "Minimax filter", with a learned scale.
    """

    def __init__(self, inner: nn.Module, dimension: int, *, scale: float = 0.5, learned: bool = True) -> None:
        super().__init__()
        self.inner = inner
        start = torch.full((check_count("dimension", dimension),), check_number("scale", scale, positive=True))
        raw = start + torch.log(-torch.expm1(-start))  # the inverse of softplus
        if learned:
            self.raw_scale = nn.Parameter(raw)
        else:
            self.register_buffer("raw_scale", raw)

    @property
    def scale(self) -> Tensor:
        """The standard deviations of the noise, ``(dimension,)``."""
        return F.softplus(self.raw_scale)

    def clean(self, x: Tensor) -> Tensor:
        """Return ``tanh(g(x))``, the output without noise."""
        return torch.tanh(self.inner(x))

    def forward(self, x: Tensor) -> Tensor:
        """Return the published vector ``(N, dimension)``."""
        z = self.clean(x)
        return z + self.scale * torch.randn_like(z)


@final
class ScaledFilter(nn.Module):
    """Filter of centred and scaled inputs, ``z = g((x - mean) A + jitter e)``.

    The noise ``e ~ N(0, I)`` is added in training only, as a regulariser: for a linear filter under squared losses it
    is a ridge of ``jitter^2``, as the shrinkage of discriminant analysis is.

    Args:
        inner: the filter ``g``, of ``(N, k)``.
        mean: ``(features,)``.
        matrix: ``A``, ``(features, k)``; or ``(features,)`` for a diagonal one.
        jitter: standard deviation of the noise, >= 0.

    Raises:
        ArgumentError: ``jitter`` is negative.

    Examples:
        >>> ScaledFilter(nn.Identity(), torch.tensor([1.0, 1.0]), torch.tensor([2.0, 0.5]))(torch.tensor([[2.0, 3.0]]))
        tensor([[2., 1.]])
    """

    def __init__(self, inner: nn.Module, mean: Tensor, matrix: Tensor, jitter: float = 0.0) -> None:
        super().__init__()
        self.inner, self.jitter = inner, check_number("jitter", jitter)
        self.mean: Tensor
        self.matrix: Tensor
        self.register_buffer("mean", mean)
        self.register_buffer("matrix", matrix)

    def forward(self, x: Tensor) -> Tensor:
        """Return the published vector ``(N, dimension)``."""
        centred = x - self.mean
        scaled = centred * self.matrix if self.matrix.ndim == 1 else centred @ self.matrix
        if self.training and self.jitter:
            scaled = scaled + self.jitter * torch.randn_like(scaled)
        return self.inner(scaled)


def build_filter(
    kind: str,
    features: int,
    dimension: int,
    *,
    hidden: Sequence[int] = (20,),
    image_shape: tuple[int, int, int] | None = None,
    noise: float = 0.5,
) -> nn.Module:
    """Return a new filter by name, its weights drawn from torch's global generator.

    Args:
        kind: ``"linear"``, ``"mlp"``, ``"conv"`` or ``"noise"`` (a linear filter with learned noise).
        features: number of features of ``x``, ``(N, features)``.
        dimension: number of outputs of ``z``, ``(N, dimension)``; at most ``features``.
        hidden: widths of the hidden layers of ``"mlp"``.
        image_shape: channels, height and width, whose product is ``features``; needed by ``"conv"``.
        noise: initial standard deviation of the noise of ``"noise"``, > 0.

    Raises:
        ArgumentError: there is no such kind, or an argument does not suit it.

    Examples:
        >>> type(build_filter("conv", 64, 3, image_shape=(1, 8, 8))[-1]).__name__
        'Linear'

    Source: this library.
    """
    if kind == "conv" and (image_shape is None or torch.Size(image_shape).numel() != features):
        raise refuse(
            "image_shape",
            f"it is {image_shape!r}, of n_features={features}",
            "give (channels, height, width) whose product is the features",
        )
    kinds: dict[str, Callable[[], Any]] = {
        "linear": lambda: linear_filter(features, dimension),
        "mlp": lambda: mlp_filter(features, dimension, hidden),
        "conv": lambda: conv_filter(image_shape or (1, 1, features), dimension),
        "noise": lambda: NoisyFilter(linear_filter(features, dimension), dimension, scale=noise),
    }
    return kinds[check_choice("filter", kind, list(kinds))]()
