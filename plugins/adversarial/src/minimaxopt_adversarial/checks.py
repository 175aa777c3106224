"""Checks of images, labels, logits and bounds; a failure names the argument, the reason and the remedy."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from minimaxopt.plugins import argument_error, check_number, finite_number

Bounds = tuple[float, float]
"""The lowest and the highest value that a pixel may take."""


def check_share(argument: str, value: object) -> float:
    """Return ``value`` as a ``float`` if it is a number in [0, 1).

    Raises:
        ArgumentError: it is not.
    """
    share = finite_number(value)
    if share is None or not 0 <= share < 1:
        raise argument_error(argument, f"it is {value!r}", "give a share in [0, 1)")
    return share


def check_bounds(bounds: object) -> Bounds:
    """Return ``bounds`` if it is a pair ``(low, high)`` of numbers or 0-d tensors with ``low < high``.

    Raises:
        ArgumentError: it is not.
    """
    if not isinstance(bounds, tuple | list):
        raise argument_error("bounds", f"it is {bounds!r}", "give a pair (low, high), for instance (-1.0, 1.0)")
    plain = [_one_number("bounds", end) for end in bounds]
    ends = [number for number in map(finite_number, plain) if number is not None]
    if len(bounds) != 2 or len(ends) != 2 or not ends[0] < ends[1]:
        raise argument_error(
            "bounds", f"it is {bounds!r}", "give two finite numbers low < high, for instance (-1.0, 1.0)"
        )
    return ends[0], ends[1]


def check_eta(eta: object) -> float:
    """Return ``eta`` as a ``float`` if it is a finite number or 0-d tensor >= 0.

    Raises:
        ArgumentError: it is not.
    """
    return check_number("eta", _one_number("eta", eta))


def _one_number(argument: str, value: object) -> object:
    """Return a 0-d tensor as a number, and refuse several values: they would be one for each channel."""
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.item()
    if isinstance(value, Tensor | tuple | list):
        raise argument_error(
            argument,
            "it holds several values",
            "attack NormalizedClassifier(classifier, mean, std) in the unit of the pixels, where one is enough",
        )
    return value


def check_images(x: Tensor, bounds: Bounds, *, argument: str = "x") -> Tensor:
    """Return ``x`` if it is a batch of images whose pixels lie within ``bounds``.

    Args:
        x: (N, ...) images, float32 or float64, N >= 1.
        bounds: lowest and highest pixel. A pixel may be outside by the rounding of a normalisation, four units in the
            last place of the larger bound; an attack then takes the pixel itself as the end.
        argument: name of the tensor in the message.

    Raises:
        ArgumentError: ``x`` has another type or shape, or a pixel is outside the bounds or not a number.

    Examples:
        >>> check_images(torch.zeros(2, 3), (0.0, 1.0)).shape
        torch.Size([2, 3])
        >>> check_images(torch.full((2, 3), 255.0), (0.0, 1.0))
        Traceback (most recent call last):
        minimaxopt.errors.ArgumentError: x: its pixels span [255, 255], outside the bounds [0, 1]; rescale the images
        or give their range as bounds=(low, high)

    Source: this library.
    """
    check_batch(x, argument=argument)
    low, high = check_bounds(bounds)
    least, most = (float(pixel) for pixel in torch.aminmax(x.detach()))
    if not (math.isfinite(least) and math.isfinite(most)):
        raise argument_error(argument, "some of its pixels are not finite", "replace NaN and infinite values")
    # (p - mean) / std in the tensor's precision and in Python's differ by three roundings of at most the larger bound.
    rounding = 4 * torch.finfo(x.dtype).eps * max(abs(low), abs(high))
    if least < low - rounding or most > high + rounding:
        raise argument_error(
            argument,
            f"its pixels span [{least:.4g}, {most:.4g}], outside the bounds [{low:.4g}, {high:.4g}]",
            "rescale the images or give their range as bounds=(low, high)",
        )
    return x


def check_attack_arguments(
    x: Tensor, y: Tensor, eta: float, bounds: Bounds, target: Tensor | None = None
) -> tuple[float, Bounds]:
    """Check the arguments of every attack: images within ``bounds``, their labels and targets, and a radius >= 0.

    Returns:
        ``eta`` and ``bounds`` as floats.

    Raises:
        ArgumentError: one of them cannot be used.
    """
    eta, bounds = check_eta(eta), check_bounds(bounds)
    check_images(x, bounds)
    check_labels(y, len(x))
    if target is not None:
        check_labels(target, len(x), argument="target")
    return eta, bounds


def check_batch(x: object, *, argument: str = "x") -> Tensor:
    """Return ``x`` if it is a non-empty batch (N, ...), float32 or float64.

    Raises:
        ArgumentError: it is not.
    """
    if not isinstance(x, Tensor):
        raise argument_error(argument, f"it is a {type(x).__name__}", "give a torch.Tensor of images")
    if x.dtype not in (torch.float32, torch.float64):
        raise argument_error(argument, f"its dtype is {x.dtype}", "convert it with x.float()")
    if x.ndim < 2 or x.numel() == 0:
        remedy = "give a batch of shape (N, ...) with at least one image"
        raise argument_error(argument, f"its shape is {tuple(x.shape)}", remedy)
    return x


def check_shape(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return ``x`` if each of its images has the shape ``shape``.

    Raises:
        ArgumentError: they have another shape.
    """
    if tuple(x.shape[1:]) != shape:
        remedy = f"give images of shape (N, {', '.join(map(str, shape))})"
        raise argument_error("x", f"its shape is {tuple(x.shape)}", remedy)
    return x


def check_same_shape(candidate: Tensor, x: Tensor, *, argument: str) -> Tensor:
    """Return ``candidate`` if it is a batch of the shape of ``x``.

    Raises:
        ArgumentError: it is not.
    """
    if check_batch(candidate, argument=argument).shape != x.shape:
        reason = f"its shape is {tuple(candidate.shape)} beside {tuple(x.shape)}"
        raise argument_error(argument, reason, "give attacked copies of the same images")
    return candidate


def check_labels(y: object, count: int, *, classes: int | None = None, argument: str = "y") -> Tensor:
    """Return ``y`` if it holds ``count`` int64 class numbers, in [0, ``classes``) where that is given.

    Raises:
        ArgumentError: it does not.
    """
    if not isinstance(y, Tensor) or y.dtype != torch.int64:
        reason = f"its dtype is {y.dtype}" if isinstance(y, Tensor) else f"it is a {type(y).__name__}"
        raise argument_error(
            argument, reason, f"give a torch.int64 tensor of class numbers, for instance {argument}.long()"
        )
    if tuple(y.shape) != (count,):
        reason = f"its shape is {tuple(y.shape)} beside {count} images"
        raise argument_error(argument, reason, f"give one label per image, ({count},)")
    if classes is not None:
        least, most = (int(label) for label in torch.aminmax(y))
        if least < 0 or most >= classes:
            reason = f"its labels span [{least}, {most}] where there are {classes} classes"
            raise argument_error(argument, reason, "renumber them from 0")
    return y


def check_logits(logits: object, y: Tensor) -> Tensor:
    """Return ``logits`` if they are (N, classes), or (N, 1) for two classes, and ``y`` numbers these classes.

    Raises:
        ArgumentError: they are not.
    """
    logits = check_logits_shape(logits, y)
    check_labels(y, len(y), classes=max(2, logits.shape[1]))
    return logits


def check_logits_shape(logits: object, y: Tensor) -> Tensor:
    """Check as ``check_logits`` does, without comparing labels with classes, which would make a device wait.

    Raises:
        ArgumentError: ``logits`` are not (N, classes), or (N, 1), for the N labels of ``y``.
    """
    if not isinstance(logits, Tensor):
        reason = f"it returned a {type(logits).__name__}"
        raise argument_error("classifier", reason, "return a tensor of logits (N, classes)")
    if logits.ndim != 2 or logits.shape[0] != len(y) or logits.shape[1] < 1:
        reason = f"it returned shape {tuple(logits.shape)} for {len(y)} images"
        remedy = f"return logits of shape ({len(y)}, classes), or ({len(y)}, 1) for the logit of class 1 of two"
        raise argument_error("classifier", reason, remedy)
    return logits
