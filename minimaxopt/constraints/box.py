"""Clipping: boxes and balls of the maximum norm."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from minimaxopt.constraints.trees import noise_for, numbers_in, rebuilt, spread, tensors_in
from minimaxopt.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from minimaxopt._types import Tree


@final
@dataclass(frozen=True, eq=False)
class Box:
    """Clip every value to an interval.

    ``P(x) = min(max(x, low), high)``

    Bounds that are tensors make every value's interval its own. The intersection of two boxes is a box again: pixels
    within ``eps`` of an image ``x`` and in [0, 1] are ``Box((x - eps).clamp(min=0), (x + eps).clamp(max=1))``.

    Args:
        low: the lower bound, in the unit of the values: a number, a tensor that broadcasts to each of the player's, or
            a nesting of these like the player's; ``-inf`` for none.
        high: the upper bound, likewise.

    Raises:
        ArgumentError: if ``low > high`` anywhere.

    Examples:
        >>> Box(-1, 1)(torch.tensor([-3.0, 0.5]))
        tensor([-1.0000,  0.5000])
        >>> Box(torch.tensor([0.0, 1.0]), float("inf"))({"w": torch.tensor([-3.0, 0.5])})
        {'w': tensor([0., 1.])}

    Source: the Euclidean projection on a box.
    """

    low: Tree
    high: Tree

    def __post_init__(self) -> None:
        lows, highs = numbers_in("low", self.low), numbers_in("high", self.high)
        paired = zip(lows, highs, strict=True) if len(lows) == len(highs) else product(lows, highs)
        for low, high in paired:
            if not _ordered(low, high):
                raise ArgumentError(f"low: {low} is above high {high}; the interval must not be empty")

    def __call__(self, tree: Tree) -> Tree:
        """Return the nearest point of the box."""
        return _each(tree, self.low, self.high, clipped)

    def draw(self, like: Tree, generator: torch.Generator | None = None) -> Tree:
        """Return a random point of the box, uniform where it is bounded.

        An infinite interval has no uniform distribution: from a half-line the distance to its end is drawn from the
        exponential distribution of mean 1, from the whole line the value from the standard normal one.

        Args:
            like: template of the point: its structure, shapes, dtypes and devices.
            generator: the random stream; ``None`` for torch's own.
        """

        def one(x: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
            return drawn_between(x, low, high, generator)

        return _each(like, self.low, self.high, one)


@final
@dataclass(frozen=True, eq=False)
class LInfBall:
    """Clip every value to within ``radius`` of the center's.

    ``P(x) = min(max(x, center - radius), center + radius)``

    The ball of the maximum norm is the product of its parts' balls, whether these are samples or tensors; its
    intersection with other bounds is a ``Box``.

    Args:
        radius: the radius, not negative, in the unit of the values: a number, or with ``per_sample`` also a tensor with
            one number a row.
        center: a number, a tensor that broadcasts to each of the player's, or a nesting of these like the player's.
        per_sample: whether ``radius`` has one number for each row of the first dimension.

    Raises:
        ArgumentError: for a radius that is negative, not finite, or of a shape that does not fit.

    Examples:
        >>> LInfBall(0.5, center=torch.tensor([1.0, 0.0]))(torch.tensor([3.0, 0.25]))
        tensor([1.5000, 0.2500])

    Source: the Euclidean projection on a box; the threat model of Goodfellow et al. 2015.
    """

    radius: float | Tensor
    center: Tree = 0.0
    per_sample: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_radius(self.radius, self.per_sample)
        numbers_in("center", self.center)

    def __call__(self, tree: Tree) -> Tree:
        """Return the nearest point of the ball."""
        return self._each(tree, clipped)

    def draw(self, like: Tree, generator: torch.Generator | None = None) -> Tree:
        """Return a random point, uniform in the ball.

        Args:
            like: template of the point: its structure, shapes, dtypes and devices.
            generator: the random stream; ``None`` for torch's own.
        """

        def one(x: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
            return drawn_between(x, low, high, generator)

        return self._each(like, one)

    def _each(self, tree: Tree, one: Callable[[Tensor, float | Tensor, float | Tensor], Tensor]) -> Tree:
        tensors = tensors_in(tree)
        values: list[Tensor] = []
        for x, center in zip(tensors, spread("center", self.center, tree, tensors), strict=True):
            radius = radius_like(self.radius, x, x.dim(), self.per_sample)
            values.append(one(x, center - radius, center + radius))
        return rebuilt(tree, values)


def check_radius(radius: float | Tensor, per_sample: bool) -> None:
    """Refuse a radius that is negative or not finite, or a tensor of more numbers than there are balls."""
    if isinstance(radius, Tensor):
        if radius.dim() > int(per_sample):
            remedy = "give one number per sample" if per_sample else "give one number, or per_sample=True"
            raise ArgumentError(f"radius: is a tensor of shape {tuple(radius.shape)}; {remedy}")
        good = bool(((radius >= 0) & (radius < float("inf"))).all())
    else:
        number = isinstance(radius, (int, float)) and not isinstance(radius, bool)  # pyright: ignore[reportUnnecessaryIsInstance] - callers are not all typed
        good = number and 0 <= radius < float("inf")
    if not good:
        raise ArgumentError(f"radius: {radius} is not a finite number >= 0; give one")


def radius_like(radius: float | Tensor, x: Tensor, dimensions: int, per_sample: bool) -> float | Tensor:
    """Return the radius so that it broadcasts to ``x`` laid out in so many dimensions, samples first."""
    if per_sample and x.dim() == 0:
        raise ArgumentError("per_sample: a 0-d tensor has no samples; give one row per sample")
    if not isinstance(radius, Tensor):
        return radius
    if radius.dim() and radius.shape[0] not in (1, x.shape[0]):
        raise ArgumentError(
            f"radius: has {radius.shape[0]} numbers for {x.shape[0]} samples; give one number per sample, or one "
            "for all"
        )
    return radius.to(x).reshape(radius.shape + (1,) * (dimensions - 1 if radius.dim() else 0))


def clipped(x: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """Return ``x`` clamped to numbers or tensors of bounds."""
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        return x.clamp(_tensor(low, x), _tensor(high, x))
    return x.clamp(low, high)


def drawn_between(x: Tensor, low: float | Tensor, high: float | Tensor, generator: torch.Generator | None) -> Tensor:
    """Return a random tensor like ``x``: uniform between finite bounds, exponential or normal beyond the others."""
    noise = noise_for(x, generator).uniform_(generator=generator).to(x.device)
    low, high = (_tensor(bound, x).detach() for bound in (low, high))
    length = -torch.log1p(-noise)
    normal = torch.special.ndtri(noise.clamp_min(torch.finfo(x.dtype).tiny))
    one_sided = torch.where(low.isfinite(), low + length, torch.where(high.isfinite(), high - length, normal))
    both = low.isfinite() & high.isfinite()
    return torch.where(both, low + (high - low) * noise, one_sided).clamp(low, high)


def _each(tree: Tree, low: Tree, high: Tree, one: Callable[[Tensor, float | Tensor, float | Tensor], Tensor]) -> Tree:
    tensors = tensors_in(tree)
    bounds = spread("low", low, tree, tensors), spread("high", high, tree, tensors)
    return rebuilt(tree, [one(x, *ends) for x, *ends in zip(tensors, *bounds, strict=True)])


def _tensor(bound: float | Tensor, x: Tensor) -> Tensor:
    return bound if isinstance(bound, Tensor) else x.new_full((), bound)


def _ordered(low: float | Tensor, high: float | Tensor) -> bool:
    try:
        return bool((torch.as_tensor(low) <= torch.as_tensor(high)).all())
    except RuntimeError as error:  # shapes without a common one, or tensors on two devices
        raise ArgumentError(f"low: does not fit high ({error}); give bounds of fitting shapes") from error
