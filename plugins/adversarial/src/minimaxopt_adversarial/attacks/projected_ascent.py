"""Projected gradient ascent on a classifier's loss, its random starts, and the worst end of several starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Generator, Tensor

from minimaxopt_adversarial.attacks.attack import worst_candidate
from minimaxopt_adversarial.attacks.classifier import Classifier
from minimaxopt_adversarial.attacks.input_gradient import input_gradient, successes_and_losses
from minimaxopt_adversarial.attacks.projections import (
    Norm,
    Projection,
    normalised,
    per_sample_view,
    sample_norm,
)
from minimaxopt_adversarial.losses import Goal

Ascent = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""``run(x, labels, start)``: the last iterate of an attack on ``x`` that begins at ``start``, and the samples (N,) of
which every gradient was finite."""


def ascend(
    classifier: Classifier,
    z: Tensor,
    labels: Tensor,
    project: Projection,
    steps: int,
    step_size: float,
    norm: Norm,
    goal: Goal,
    decay: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the last iterate of projected steps from ``z``, along the gradient or its running sum.

    ``z <- project(z + step_size * d(m))`` with ``d`` the sign (``"linf"``) or the direction of unit length (``"l2"``),
    and ``m`` the gradient ``g``, or ``m <- decay * m + g / ||g||_1`` where a ``decay`` is given. A sample whose gradient
    is not finite stays where it is.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        z: (N, ...) images to start from; they are projected first.
        labels: (N,) class numbers, int64: true classes, or targets.
        project: map of images into the allowed set.
        steps: number of steps.
        step_size: length of a step in ``norm``, in the unit of the pixels.
        norm: ``"linf"`` or ``"l2"``.
        goal: what the attack raises.
        decay: share of the running sum that is kept, or None for plain gradients.

    Returns:
        The images, and (N,) bool: the samples of which every gradient was finite.

    Raises:
        ArgumentError: the classifier returns something else.
    """
    z = project(z)
    everywhere = torch.ones(len(z), dtype=torch.bool, device=z.device)
    momentum = torch.zeros_like(z)
    for step in range(steps):
        # Labels and loss are compared with the logits, for which a device waits, before the first step alone.
        gradient, finite = input_gradient(classifier, z, labels, goal, checked=step > 0)
        everywhere = everywhere & finite
        if decay is not None:
            momentum = gradient = decay * momentum + normalised(gradient, 1)
        # A gradient of zero gives no direction: the sample stays where it is.
        direction = gradient.sign() if norm == "linf" else normalised(gradient)
        z = torch.where(per_sample_view(finite, z), project(z + step_size * direction), z)
    return z, everywhere


def worst_restart(
    classifier: Classifier,
    x: Tensor,
    labels: Tensor,
    run: Ascent,
    starts: Iterable[Tensor],
    goal: Goal,
    *,
    keep_clean: bool,
    skip_fooled: bool,
) -> tuple[Tensor, Tensor]:
    """Run an attack from each start and return each sample's worst end, as ``worst_of`` chooses it.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        x: (N, ...) clean images.
        labels: (N,) class numbers, int64: true classes, or targets.
        run: the attack, ``run(x, labels, start)``.
        starts: the starts of all images, each (N, ...).
        goal: what the attack raises, and where it has succeeded.
        keep_clean: let the clean image be a candidate.
        skip_fooled: attack only images on which the goal is not reached yet, and keep their first candidate.

    Returns:
        The images, and (N,) bool: the samples of which every gradient was finite.
    """
    everywhere = torch.ones(len(x), dtype=torch.bool, device=x.device)
    if not skip_fooled:
        candidates = [x] if keep_clean else []
        for start in starts:
            end, finite = run(x, labels, start)
            candidates.append(end)
            everywhere = everywhere & finite
        worst = candidates[0] if len(candidates) == 1 else worst_candidate(classifier, candidates, labels, goal)
        return worst, everywhere
    z, unfooled = x, torch.arange(len(x), device=x.device)
    if keep_clean:
        unfooled = unfooled[~successes_and_losses(classifier, x, labels, goal)[0]]
    for index, start in enumerate(starts):
        if len(unfooled) == 0:
            continue  # not break: later starts are drawn all the same, so that what is drawn after them is the same
        end, finite = run(x[unfooled], labels[unfooled], start[unfooled])
        everywhere = everywhere.index_copy(0, unfooled, everywhere[unfooled] & finite)
        if keep_clean or index > 0:
            end = worst_candidate(classifier, [z[unfooled], end], labels[unfooled], goal)
        z = z.index_copy(0, unfooled, end)
        unfooled = unfooled[~successes_and_losses(classifier, end, labels[unfooled], goal)[0]]
    return z, everywhere


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
