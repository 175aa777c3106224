"""Gradients of a classifier's loss with respect to its images alone."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from minimaxopt.plugins import argument_error
from minimaxopt_adversarial.attacks.classifier import Classifier, logits_of
from minimaxopt_adversarial.attacks.projections import per_sample_view
from minimaxopt_adversarial.checks import check_logits
from minimaxopt_adversarial.losses import Goal, per_sample, total


def input_gradient(
    classifier: Classifier, x: Tensor, labels: Tensor, goal: Goal, *, checked: bool = False
) -> tuple[Tensor, Tensor]:
    """Return ``grad_x l(g(x_i), y_i)`` of each sample's own ``l``, and the samples of which it is finite.

    The classifier's ``.grad``, mode and ``requires_grad`` flags stay as they are; a surrounding ``torch.no_grad()`` or
    ``torch.inference_mode()`` makes no difference.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        x: (N, ...) images.
        labels: (N,) class numbers, int64: true classes, or targets.
        goal: what the attack raises.
        checked: True if labels and loss were compared with the logits before. Then no value is read, so that a device
            need not wait for the host at every step.

    Returns:
        Gradients of the shape of ``x``, zero for a sample where they are not finite; and (N,) bool.

    Raises:
        ArgumentError: the logits do not fit the labels, or cannot be differentiated.

    Examples:
        >>> from minimaxopt_adversarial.losses import cross_entropy
        >>> input_gradient(lambda x: x, torch.zeros(1, 2), torch.tensor([0]), Goal(cross_entropy))
        (tensor([[-0.5000,  0.5000]]), tensor([True]))
    """
    with torch.inference_mode(False), torch.enable_grad():
        # Clones: what was made in inference mode cannot enter a graph, and the caller's x must not become its leaf.
        x = x.detach().clone().requires_grad_()
        labels = labels.clone() if labels.is_inference() else labels
        logits = logits_of(classifier, x, labels)
        if not checked:
            goal.check(check_logits(logits, labels), labels)
        value = total(goal, logits, labels)
        if not value.requires_grad:
            raise argument_error(
                "classifier", "its loss cannot be differentiated", "remove no_grad(), detach() and rounding from it"
            )
        # The stubs do not say that allow_unused can give None.
        gradient = cast("Tensor | None", torch.autograd.grad(value, x, allow_unused=True)[0])
    if gradient is None:
        raise argument_error("classifier", "its logits do not depend on the images", "let it use its argument")
    finite = torch.isfinite(gradient).flatten(1).all(1)
    return torch.where(per_sample_view(finite, gradient), gradient, 0.0), finite


def successes_and_losses(classifier: Classifier, x: Tensor, labels: Tensor, goal: Goal) -> tuple[Tensor, Tensor]:
    """Return where the goal is reached, (N,) bool, and what it raises for each sample, (N,).

    Examples:
        >>> from minimaxopt_adversarial.losses import cross_entropy
        >>> x, y = torch.tensor([[0.0, 1.0]]), torch.tensor([0])
        >>> successes_and_losses(lambda x: x, x, y, Goal(cross_entropy))
        (tensor([True]), tensor([1.3133]))
    """
    with torch.no_grad():
        logits = check_logits(logits_of(classifier, x, labels), labels)
        goal.check(logits, labels)
        return goal.reached(logits, labels), per_sample(goal, logits, labels)
