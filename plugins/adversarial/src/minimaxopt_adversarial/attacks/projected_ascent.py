"""Projected gradient ascent on a classifier's loss, its random starts, and the worst end of several starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Generator, Tensor

from minimaxopt_adversarial.attacks.attack import worst_of
from minimaxopt_adversarial.attacks.input_gradient import (
    Classifier,
    check_finite,
    errors_and_losses,
    unchecked_gradient,
)
from minimaxopt_adversarial.attacks.projections import Norm, Projection, per_sample_view, sample_norm
from minimaxopt_adversarial.checks import check_logits, check_logits_shape
from minimaxopt_adversarial.losses import Loss

Ascent = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``run(x, y, start)``: the last iterate of an attack on ``x`` that begins at ``start``."""


def ascend(
    classifier: Classifier,
    z: Tensor,
    y: Tensor,
    project: Projection,
    steps: int,
    step_size: float,
    norm: Norm,
    loss: Loss,
    decay: float | None = None,
) -> Tensor:
    """Return the last iterate of projected steps from ``z``, along the gradient or its running sum.

    ``z <- project(z + step_size * d(m))`` with ``d`` the sign (``"linf"``) or the direction of unit length (``"l2"``),
    and ``m`` the gradient ``g``, or ``m <- decay * m + g / ||g||_1`` where a ``decay`` is given.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        z: (N, ...) images to start from; they are projected first.
        y: (N,) class numbers, int64.
        project: map of images into the allowed set.
        steps: number of steps.
        step_size: length of a step in ``norm``, in the unit of the pixels.
        norm: ``"linf"`` or ``"l2"``.
        loss: ``loss(logits, y)``, the mean over the samples or one value each.
        decay: share of the running sum that is kept, or None for plain gradients.

    Raises:
        ArgumentError: the classifier returns something else, or a gradient is not finite.
    """
    z = project(z)
    # Values are read on the host only once each: labels before the first step, finiteness after the last.
    check, finite = check_logits, torch.ones((), dtype=torch.bool, device=z.device)
    momentum = torch.zeros_like(z)
    for _ in range(steps):
        gradient = unchecked_gradient(classifier, z, y, loss, check)
        check, finite = check_logits_shape, finite & torch.isfinite(gradient).all()
        if decay is not None:
            momentum = gradient = decay * momentum + gradient / sample_norm(gradient, 1).clamp_min(_tiny(z))
        # A gradient of zero gives no direction: the sample stays where it is.
        direction = gradient.sign() if norm == "linf" else gradient / sample_norm(gradient).clamp_min(_tiny(z))
        z = project(z + step_size * direction)
    check_finite(finite)
    return z


def worst_restart(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    run: Ascent,
    starts: Iterable[Tensor],
    loss: Loss,
    *,
    keep_clean: bool,
    skip_fooled: bool,
) -> Tensor:
    """Run an attack from each start and return each sample's worst end, as ``worst_of`` chooses it.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        x: (N, ...) clean images.
        y: (N,) class numbers, int64.
        run: the attack, ``run(x, y, start)``.
        starts: the starts of all images, each (N, ...).
        loss: ``loss(logits, y)``, the mean over the samples or one value each.
        keep_clean: let the clean image be a candidate.
        skip_fooled: attack only images that are not misclassified yet, and keep their first candidate.
    """
    if not skip_fooled:
        candidates = [x] if keep_clean else []
        candidates += [run(x, y, start) for start in starts]
        return candidates[0] if len(candidates) == 1 else worst_of(classifier, candidates, y, loss=loss)
    z, unfooled = x, torch.arange(len(x), device=x.device)
    if keep_clean:
        unfooled = unfooled[~errors_and_losses(classifier, x, y, loss)[0]]
    for index, start in enumerate(starts):
        if len(unfooled) == 0:
            continue  # not break: later starts are drawn all the same, so that what is drawn after them is the same
        end = run(x[unfooled], y[unfooled], start[unfooled])
        if keep_clean or index > 0:
            end = worst_of(classifier, [z[unfooled], end], y[unfooled], loss=loss)
        z = z.index_copy(0, unfooled, end)
        unfooled = unfooled[~errors_and_losses(classifier, end, y[unfooled], loss)[0]]
    return z


def starting_points(
    x: Tensor, eta: float, norm: Norm, restarts: int | None, generator: Generator | None
) -> Iterator[Tensor]:
    """Yield starts (N, ...), uniform in the balls around ``x``; with ``restarts=None`` one, ``x`` itself.

    Images that need no start get one too: the start of an image must not depend on the other images.
    """
    if restarts is None:
        yield x
    for _ in range(restarts or 0):
        yield x + _random_displacement(x, eta, norm, generator)


def _random_displacement(x: Tensor, eta: float, norm: Norm, generator: Generator | None) -> Tensor:
    device = x.device if generator is None else generator.device
    if norm == "linf":
        uniform = torch.rand(x.shape, dtype=x.dtype, device=device, generator=generator)
        return (eta * (2 * uniform - 1)).to(x.device)
    normal = torch.randn(x.shape, dtype=x.dtype, device=device, generator=generator)
    # The d-th root of a uniform number is the length of a uniform point of the unit ball in d dimensions.
    length = torch.rand(len(x), dtype=x.dtype, device=device, generator=generator) ** (1 / x[0].numel())
    return (eta * normal / sample_norm(normal).clamp_min(_tiny(x)) * per_sample_view(length, x)).to(x.device)


def _tiny(x: Tensor) -> float:
    return torch.finfo(x.dtype).tiny
