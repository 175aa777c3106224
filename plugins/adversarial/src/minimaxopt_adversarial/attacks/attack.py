"""Attacks as functions: applied to whole data sets, and the worst of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from minimaxopt.plugins import argument_error, check_count
from minimaxopt_adversarial.attacks.classifier import Classifier, measured, restored_buffers
from minimaxopt_adversarial.attacks.input_gradient import successes_and_losses
from minimaxopt_adversarial.attacks.projections import per_sample_view
from minimaxopt_adversarial.attacks.unattacked import all_finite, collected, report
from minimaxopt_adversarial.checks import check_batch, check_labels, check_same_shape
from minimaxopt_adversarial.losses import Goal, Loss, cross_entropy

Attack = Callable[[Classifier, Tensor, Tensor], Tensor]
"""``attack(classifier, x, y) -> z``; ``functools.partial(fgsm, eta=0.2)`` is one."""


def attack_in_batches(attack: Attack, classifier: Classifier, x: Tensor, y: Tensor, *, batch_size: int = 500) -> Tensor:
    """Attack a whole data set, some images at a time.

    A warning says if the classifier is in training mode, and names the images without a finite gradient.

    Args:
        attack: ``attack(classifier, x, y) -> z``, for instance ``functools.partial(fgsm, eta=0.2)``.
        classifier: images (N, ...) to logits (N, classes).
        x: (N, ...) images.
        y: (N,) true classes, int64.
        batch_size: images in one call of ``attack``.

    Returns:
        Detached images of the shape of ``x``.

    Raises:
        ArgumentError: there is no image, shapes do not fit, or the attack changes the shape.

    Examples:
        >>> from functools import partial
        >>> from minimaxopt_adversarial import fgsm
        >>> x, y = torch.zeros(3, 2), torch.tensor([0, 1, 0])
        >>> attack_in_batches(partial(fgsm, eta=0.25), lambda x: x, x, y, batch_size=2)
        tensor([[-0.2500,  0.2500],
                [ 0.2500, -0.2500],
                [-0.2500,  0.2500]])

    Source: this library.
    """
    check_batch(x)
    check_labels(y, len(x))
    check_count("batch_size", batch_size)
    attacked_batches: list[Tensor] = []
    finite: list[Tensor] = []
    with measured(classifier) as function:
        for images, labels in zip(x.split(batch_size), y.split(batch_size), strict=True):
            with collected(len(images)) as masks:
                attacked = attack(function, images, labels)
            if attacked.shape != images.shape:
                reason = f"it turned {tuple(images.shape)} into {tuple(attacked.shape)}"
                raise argument_error("attack", reason, "return images like x")
            attacked_batches.append(attacked.detach())
            finite.append(all_finite(masks, labels))
    report(torch.cat(finite))
    return torch.cat(attacked_batches)


def worst_of(
    classifier: Classifier,
    candidates: Sequence[Tensor],
    y: Tensor,
    *,
    loss: Loss = cross_entropy,
    target: Tensor | None = None,
) -> Tensor:
    """Choose each sample's worst candidate: misclassified first, then the larger loss, then the earlier.

    The error rate on the chosen images is the per-sample worst case over the attacks that made the candidates. It is at
    least the largest of their own error rates. With ``target`` the order is: classified as the target first, then the
    smaller loss of the target, then the earlier.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        candidates: one or more attacked copies of the same images, each (N, ...).
        y: (N,) true classes, int64.
        loss: ``loss(logits, y)``, the mean over the samples or one value each.
        target: (N,) classes that the classifier should name, int64, or None.

    Returns:
        Detached images, (N, ...).

    Raises:
        ArgumentError: there is no candidate, or their shapes differ.

    Examples:
        >>> weak, strong = torch.tensor([[0.1, 0.0]]), torch.tensor([[0.0, 0.1]])
        >>> worst_of(lambda x: x, [weak, strong], torch.tensor([0]))
        tensor([[0.0000, 0.1000]])

    Source: this library, after the per-example worst case of Carlini et al., "On evaluating adversarial robustness"
    (2019).
    """
    if not candidates:
        raise argument_error("candidates", "there is none", "give at least one attacked copy of the images")
    worst = check_batch(candidates[0], argument="candidates[0]").detach()
    check_labels(y, len(worst))
    if target is not None:
        check_labels(target, len(worst), argument="target")
    labels = y if target is None else target
    with restored_buffers(classifier):
        return worst_candidate(classifier, candidates, labels, Goal(loss, target is not None))


def worst_candidate(classifier: Classifier, candidates: Sequence[Tensor], labels: Tensor, goal: Goal) -> Tensor:
    """Choose each sample's worst candidate, as ``worst_of`` does."""
    worst = candidates[0].detach()
    reached, losses = successes_and_losses(classifier, worst, labels, goal)
    for index, candidate in enumerate(candidates[1:], start=1):
        check_same_shape(candidate, worst, argument=f"candidates[{index}]")
        candidate_reached, candidate_losses = successes_and_losses(classifier, candidate, labels, goal)
        worse = (candidate_reached & ~reached) | ((candidate_reached == reached) & (candidate_losses > losses))
        worst = torch.where(per_sample_view(worse, worst), candidate.detach(), worst)
        reached, losses = reached | candidate_reached, torch.where(worse, candidate_losses, losses)
    return worst
