"""The images that an attack may reach, boxes and balls, exactly in floating point."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from minimaxopt_adversarial.checks import Bounds

Norm = Literal["linf", "l2"]
NORMS: tuple[Norm, ...] = ("linf", "l2")
Projection = Callable[[Tensor], Tensor]


def round_down(value: float, dtype: torch.dtype) -> float:
    """Return the largest number of ``dtype`` that is not above ``value`` >= 0.

    ``float32(0.2)`` is larger than 0.2; an image at that distance would break ``|z - x| <= 0.2`` read in Python.

    Examples:
        >>> round_down(0.2, torch.float32) <= 0.2 < float(torch.tensor(0.2))
        True
        >>> round_down(0.25, torch.float32)
        0.25
    """
    nearest = torch.tensor(value, dtype=dtype)
    if float(nearest) > value:
        nearest = torch.nextafter(nearest, torch.zeros_like(nearest))
    return float(nearest)


def feasible_box(x: Tensor, eta: float, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """Return the least and the greatest image within ``eta`` of ``x`` in every pixel and within ``bounds``.

    ``lower = max(x - eta, low)`` and ``upper = min(x + eta, high)``, each moved by one unit in the last place
    towards ``x`` where rounding would have put it further than ``eta`` away. So for every ``z`` between them the
    computed ``(z - x).abs().max() <= eta`` holds with no tolerance, as does ``low <= z <= high``.

    Args:
        x: (N, ...) images within ``bounds``, float32 or float64.
        eta: radius in the l_inf norm, in the unit of the pixels.
        bounds: lowest and highest pixel.

    Returns:
        ``(lower, upper)``, both of the shape of ``x``.

    Examples:
        >>> lower, upper = feasible_box(torch.tensor([[-1.0, 0.0]]), 0.25, (-1.0, 1.0))
        >>> lower, upper
        (tensor([[-1.0000, -0.2500]]), tensor([[-0.7500,  0.2500]]))

    Source: this library.
    """
    x = x.detach()
    radius = round_down(eta, x.dtype)
    lower, upper = x - radius, x + radius
    # One step is enough: x - radius is off by at most half a unit in the last place.
    lower = torch.where(x - lower > radius, torch.nextafter(lower, x), lower)
    upper = torch.where(upper - x > radius, torch.nextafter(upper, x), upper)
    # A pixel that is outside the bounds by rounding is itself an end, so that the image is in its own box.
    return torch.minimum(lower.clamp_min(bounds[0]), x), torch.maximum(upper.clamp_max(bounds[1]), x)


def inner_box(x: Tensor, eta: float, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """Return a box inside ``feasible_box`` that is cheaper to compute and narrower by about one rounding error.

    It subtracts from ``eta`` what rounding could add anywhere within the bounds, instead of correcting pixel by pixel:
    an attack network needs the box in every training step. Unlike ``feasible_box`` it is differentiable in ``x``.
    Arguments and shapes are those of ``feasible_box``.

    Examples:
        >>> lower, upper = inner_box(torch.tensor([[-1.0, 0.3]]), 0.2, (-1.0, 1.0))
        >>> bool(((upper - torch.tensor([[-1.0, 0.3]])) <= 0.2).all())
        True
    """
    largest = max(abs(bounds[0]), abs(bounds[1])) + eta
    # Rounding x +- radius adds at most half a unit in the last place of the largest value: <= eps * largest / 2.
    radius = max(0.0, round_down(eta - torch.finfo(x.dtype).eps * largest, x.dtype)) if eta > 0 else 0.0
    return (x - radius).clamp_min(bounds[0]), (x + radius).clamp_max(bounds[1])


def ball_l2(displacement: Tensor, eta: float, bounds: Bounds) -> Tensor:
    """Project each sample's displacement on the Euclidean ball: ``d_i * min(1, eta / ||d_i||_2)``.

    The radius is reduced by what rounding can add: 1e-6 of itself for the norm, and half a unit in the last place of
    every pixel for adding the displacement to an image within ``bounds``. So the sums are within ``eta``.

    Args:
        displacement: (N, ...) differences ``z - x`` of images, float32 or float64.
        eta: radius in the l2 norm of a whole image, in the unit of the pixels.
        bounds: lowest and highest pixel.

    Examples:
        >>> ball_l2(torch.tensor([[3.0, 4.0], [0.1, 0.0]]), 1.0, (-1.0, 1.0))
        tensor([[0.6000, 0.8000],
                [0.1000, 0.0000]])
    """
    largest = max(abs(bounds[0]), abs(bounds[1])) + eta
    eps, tiny = torch.finfo(displacement.dtype).eps, torch.finfo(displacement.dtype).tiny
    radius = eta * (1 - 1e-6) - eps * largest * math.sqrt(displacement[0].numel())
    return displacement * (max(radius, 0.0) / sample_norm(displacement).clamp_min(tiny)).clamp_max(1.0)


def projection(x: Tensor, eta: float, bounds: Bounds, norm: Norm) -> Projection:
    """Return the map of images (N, ...) into the ball around ``x``, then into the bounds.

    As ``x`` lies in both, clamping to the bounds does not leave the ball.

    Args:
        x: (N, ...) images within ``bounds``, the centres of the balls.
        eta: radius in ``norm``, in the unit of the pixels.
        bounds: lowest and highest pixel.
        norm: ``"linf"`` or ``"l2"``.
    """
    x = x.detach()
    if norm == "l2":
        low, high = x.clamp_max(bounds[0]), x.clamp_min(bounds[1])
        return lambda z: (x + ball_l2(z - x, eta, bounds)).clamp(low, high)
    lower, upper = feasible_box(x, eta, bounds)
    return lambda z: torch.clamp(z, lower, upper)


def sample_norm(x: Tensor, order: float = 2) -> Tensor:
    """Return the norm of each sample of ``x`` (N, ...), Euclidean by default, as (N, 1, ..., 1).

    Examples:
        >>> sample_norm(torch.tensor([[3e-30, 4e-30]]))  # squares would be zero
        tensor([[5.0000e-30]])
    """
    scale = _power_of_two(x)
    return scale * _plain_norm(x / scale, order)


def normalised(x: Tensor, order: float = 2) -> Tensor:
    """Return each sample of ``x`` (N, ...) divided by its norm; a sample of zeros stays zero.

    Examples:
        >>> normalised(torch.tensor([[3e-30, 4e-30], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    scaled = x / _power_of_two(x)
    norm = _plain_norm(scaled, order)
    return scaled / torch.where(norm > 0, norm, 1.0)


def _plain_norm(x: Tensor, order: float) -> Tensor:
    return per_sample_view(torch.linalg.vector_norm(x.flatten(1), order, dim=1), x)


def _power_of_two(x: Tensor) -> Tensor:
    """Return the power of two below each sample's greatest entry, (N, 1, ..., 1): dividing by it changes no digit.

    So powers of the entries neither underflow nor overflow.
    """
    greatest = per_sample_view(x.detach().flatten(1).abs().amax(1), x)
    mantissa, _ = torch.frexp(greatest)  # in [0.5, 1)
    return torch.where(greatest > 0, greatest / (2 * mantissa), 1.0)


def per_sample_view(values: Tensor, x: Tensor) -> Tensor:
    """Return ``values`` (N,) as (N, 1, ..., 1), which broadcasts against ``x`` (N, ...)."""
    return values.view(-1, *([1] * (x.ndim - 1)))
