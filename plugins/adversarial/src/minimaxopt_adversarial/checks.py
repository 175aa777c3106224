"""Checks of the arguments that all attacks share; each failure names the argument, the reason and the remedy."""

from __future__ import annotations

import math
from typing import TypeGuard

import torch
from torch import Tensor

from minimaxopt.errors import ArgumentError

Bounds = tuple[float, float]
"""The lowest and the highest value that a pixel may take."""


def refuse(argument: str, reason: str, remedy: str) -> ArgumentError:
    """Build the error for an argument that cannot be used.

    >>> print(refuse("eta", "it is -1", "give a number >= 0"))
    eta: it is -1; give a number >= 0
    """
    return ArgumentError(f"{argument}: {reason}; {remedy}")


def is_number(value: object) -> TypeGuard[float]:
    """Say whether ``value`` is a finite real number (a bool is none)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check_size(name: str, value: object, *, positive: bool = False) -> float:
    """Return ``value`` if it is a finite number >= 0 (or > 0), and refuse it otherwise.

    >>> check_size("eta", 0.2)
    0.2
    >>> check_size("eta", -0.2)
    Traceback (most recent call last):
    minimaxopt.errors.ArgumentError: eta: it is -0.2; give a finite number >= 0
    """
    if not is_number(value) or value < 0 or (positive and value == 0):
        raise refuse(name, f"it is {value!r}", f"give a finite number {'> 0' if positive else '>= 0'}")
    return float(value)


def check_count(name: str, value: object) -> int:
    """Return ``value`` if it is an integer >= 1, and refuse it otherwise."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise refuse(name, f"it is {value!r}", "give an integer >= 1")
    return value


def check_share(name: str, value: object) -> float:
    """Return ``value`` if it is a number in [0, 1), and refuse it otherwise."""
    if not is_number(value) or not 0 <= value < 1:
        raise refuse(name, f"it is {value!r}", "give a share in [0, 1)")
    return float(value)


def check_bounds(bounds: object) -> Bounds:
    """Return ``bounds`` if it is a pair ``(low, high)`` with ``low < high``, and refuse it otherwise."""
    if not isinstance(bounds, tuple | list):
        raise refuse("bounds", f"it is {bounds!r}", "give a pair (low, high), for instance (-1.0, 1.0)")
    values = [float(value) for value in bounds if is_number(value)]
    if len(bounds) != 2 or len(values) != 2 or not values[0] < values[1]:
        raise refuse("bounds", f"it is {bounds!r}", "give two finite numbers low < high, for instance (-1.0, 1.0)")
    return values[0], values[1]


def check_images(x: Tensor, bounds: Bounds, *, name: str = "x") -> Tensor:
    """Return ``x`` if it is a batch of images whose pixels lie within ``bounds``, and refuse it otherwise.

    Args:
        x: float32 or float64 tensor of shape (N, ...), N >= 1.
        bounds: lowest and highest pixel, compared in the precision of ``x``.
        name: what the message calls the tensor.

    Raises:
        ArgumentError: ``x`` is of another type or shape, or a pixel is outside the bounds or not a number.

    >>> check_images(torch.zeros(2, 3), (0.0, 1.0)).shape
    torch.Size([2, 3])
    >>> check_images(torch.full((2, 3), 255.0), (0.0, 1.0))
    Traceback (most recent call last):
    minimaxopt.errors.ArgumentError: x: its pixels span [255, 255], outside the bounds [0, 1]; rescale the images or
    give their range as bounds=(low, high)
    """
    check_batch(x, name=name)
    low, high = check_bounds(bounds)
    least, most = (float(value) for value in torch.aminmax(x.detach()))
    if not (math.isfinite(least) and math.isfinite(most)):
        raise refuse(name, "some of its pixels are not finite", "replace NaN and infinite values")
    # In the tensor's own precision: float32(0.9) < 0.9 < float32(0.6) + 0.3 must not depend on which side rounds up.
    edges = torch.tensor([low, high], dtype=x.dtype)
    if least < float(edges[0]) or most > float(edges[1]):
        raise refuse(
            name,
            f"its pixels span [{least:.4g}, {most:.4g}], outside the bounds [{low:.4g}, {high:.4g}]",
            "rescale the images or give their range as bounds=(low, high)",
        )
    return x


def check_batch(x: object, *, name: str = "x") -> Tensor:
    """Return ``x`` if it is a non-empty float32 or float64 batch of shape (N, ...), and refuse it otherwise."""
    if not isinstance(x, Tensor):
        raise refuse(name, f"it is a {type(x).__name__}", "give a torch.Tensor of images")
    if x.dtype not in (torch.float32, torch.float64):
        raise refuse(name, f"its dtype is {x.dtype}", "convert it with x.float()")
    if x.ndim < 2 or x.numel() == 0:
        raise refuse(name, f"its shape is {tuple(x.shape)}", "give a batch of shape (N, ...) with at least one image")
    return x


def check_labels(y: object, count: int, *, classes: int | None = None) -> Tensor:
    """Return ``y`` if it holds ``count`` integer labels in ``[0, classes)``, and refuse it otherwise."""
    if not isinstance(y, Tensor) or y.dtype != torch.int64:
        what = f"its dtype is {y.dtype}" if isinstance(y, Tensor) else f"it is a {type(y).__name__}"
        raise refuse("y", what, "give a torch.int64 tensor of class numbers, for instance y.long()")
    if tuple(y.shape) != (count,):
        raise refuse(
            "y", f"its shape is {tuple(y.shape)} beside {count} images", f"give one label an image, ({count},)"
        )
    if classes is not None:
        least, most = (int(value) for value in torch.aminmax(y))
        if least < 0 or most >= classes:
            raise refuse(
                "y", f"its labels span [{least}, {most}] where there are {classes} classes", "renumber them from 0"
            )
    return y


def check_logits(logits: object, y: Tensor) -> Tensor:
    """Return ``logits`` if it is one row of at least two class scores for each label, and refuse it otherwise."""
    logits = check_logits_shape(logits, y)
    check_labels(y, len(y), classes=logits.shape[1])
    return logits


def check_logits_shape(logits: object, y: Tensor) -> Tensor:
    """Do as ``check_logits`` without comparing the labels with the classes, which makes a device wait."""
    if not isinstance(logits, Tensor):
        raise refuse("classifier", f"it returned a {type(logits).__name__}", "return a tensor of logits (N, classes)")
    if logits.ndim != 2 or logits.shape[0] != len(y) or logits.shape[1] < 2:
        raise refuse(
            "classifier",
            f"it returned shape {tuple(logits.shape)} for {len(y)} images",
            f"return logits of shape ({len(y)}, classes)",
        )
    return logits
