"""The set of images that an attack may reach, in floating point."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from minimaxopt_adversarial.checks import Bounds


def round_down(value: float, dtype: torch.dtype) -> float:
    """Return the largest number of ``dtype`` that is not above ``value`` >= 0.

    ``float32(0.2)`` is larger than 0.2; an image at that distance would break ``|z - x| <= 0.2`` read in Python.

    >>> round_down(0.2, torch.float32) <= 0.2 < float(torch.tensor(0.2))
    True
    >>> round_down(0.25, torch.float32)
    0.25
    """
    near = torch.tensor(value, dtype=dtype)
    if float(near) > value:
        near = torch.nextafter(near, torch.zeros_like(near))
    return float(near)


def feasible_box(x: Tensor, eta: float, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """Return the least and the greatest image within ``eta`` of ``x`` in every pixel and within ``bounds``.

    ``lower = max(x - eta, low)`` and ``upper = min(x + eta, high)``, each moved by one unit in the last place
    towards ``x`` where rounding would have put it further than ``eta`` away. So for every ``z`` between them the
    computed ``(z - x).abs().max() <= eta`` holds with no tolerance, as does ``low <= z <= high``.

    Args:
        x: images within ``bounds``, float32 or float64.
        eta: radius in the l_inf norm, in the units of the pixels.
        bounds: lowest and highest pixel.

    >>> lower, upper = feasible_box(torch.tensor([[-1.0, 0.0]]), 0.25, (-1.0, 1.0))
    >>> lower, upper
    (tensor([[-1.0000, -0.2500]]), tensor([[-0.7500,  0.2500]]))
    """
    x = x.detach()
    radius = round_down(eta, x.dtype)
    lower, upper = x - radius, x + radius
    # One step is enough: x - radius is off by at most half a unit in the last place.
    lower = torch.where(x - lower > radius, torch.nextafter(lower, x), lower)
    upper = torch.where(upper - x > radius, torch.nextafter(upper, x), upper)
    return lower.clamp_min(bounds[0]), upper.clamp_max(bounds[1])


def inner_box(x: Tensor, eta: float, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """Return a box inside ``feasible_box`` that is cheaper to compute and narrower by about one rounding error.

    It subtracts from ``eta`` what rounding could add anywhere within the bounds, instead of correcting pixel by pixel:
    an attack network needs it in every step of a training. Unlike that one it is differentiable in ``x``.

    >>> lower, upper = inner_box(torch.tensor([[-1.0, 0.3]]), 0.2, (-1.0, 1.0))
    >>> bool(((upper - torch.tensor([[-1.0, 0.3]])) <= 0.2).all())
    True
    """
    largest = max(abs(bounds[0]), abs(bounds[1])) + eta
    # Rounding x +- radius adds at most half a unit in the last place of the largest value: <= eps * largest / 2.
    radius = max(0.0, round_down(eta - torch.finfo(x.dtype).eps * largest, x.dtype)) if eta > 0 else 0.0
    return (x - radius).clamp_min(bounds[0]), (x + radius).clamp_max(bounds[1])


def ball_l2(step: Tensor, eta: float, bounds: Bounds) -> Tensor:
    """Scale each row of ``step`` down to length ``eta`` where it is longer: ``step_i * min(1, eta / ||step_i||_2)``.

    The radius is reduced by what rounding can add: 1e-6 of itself for the norm, and half a unit in the last place of
    every pixel for adding the step to an image within ``bounds``. So the images that result are within ``eta``.

    >>> ball_l2(torch.tensor([[3.0, 4.0], [0.1, 0.0]]), 1.0, (-1.0, 1.0))
    tensor([[0.6000, 0.8000],
            [0.1000, 0.0000]])
    """
    largest = max(abs(bounds[0]), abs(bounds[1])) + eta
    radius = eta * (1 - 1e-6) - torch.finfo(step.dtype).eps * largest * math.sqrt(step[0].numel())
    length = row_norm(step)
    return step * (max(radius, 0.0) / length.clamp_min(torch.finfo(step.dtype).tiny)).clamp_max(1.0)


def row_norm(step: Tensor, order: float = 2) -> Tensor:
    """Return the norm of each sample, Euclidean by default, shaped to broadcast against ``step``."""
    length = torch.linalg.vector_norm(step.flatten(1), order, dim=1)
    return length.view(-1, *([1] * (step.ndim - 1)))
