"""Gradients of a classifier's loss with respect to its images alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from minimaxopt.plugins import argument_error
from minimaxopt_adversarial.checks import check_logits, check_logits_shape
from minimaxopt_adversarial.losses import Loss, per_sample, total

Classifier = Callable[[Tensor], Tensor]
"""Images (N, ...) to logits (N, classes): a module, or any differentiable function."""


def input_gradient(classifier: Classifier, x: Tensor, y: Tensor, loss: Loss) -> Tensor:
    """Return ``grad_x l(g(x_i), y_i)`` of each sample's own loss ``l``.

    The classifier's ``.grad``, mode and ``requires_grad`` flags stay as they are; a surrounding ``torch.no_grad()`` or
    ``torch.inference_mode()`` makes no difference.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        x: (N, ...) images.
        y: (N,) class numbers, int64.
        loss: ``loss(logits, y)``, the mean over the samples or one value each.

    Returns:
        Gradients of the shape of ``x``.

    Raises:
        ArgumentError: the logits do not fit ``y``, cannot be differentiated, or have a gradient that is not finite.

    Examples:
        >>> input_gradient(lambda x: x, torch.zeros(1, 2), torch.tensor([0]), torch.nn.functional.cross_entropy)
        tensor([[-0.5000,  0.5000]])
    """
    gradient = unchecked_gradient(classifier, x, y, loss, check_logits)
    check_finite(torch.isfinite(gradient).all())
    return gradient


def unchecked_gradient(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    loss: Loss,
    check: Callable[[object, Tensor], Tensor] = check_logits_shape,
) -> Tensor:
    """Return the ``input_gradient`` without reading a value, so that a device need not wait for the host at every step.

    The labels must have been compared with the classes once, and the gradients' finiteness must be checked in the end.
    """
    with torch.inference_mode(False), torch.enable_grad():
        # Clones: what was made in inference mode cannot enter a graph, and the caller's x must not become its leaf.
        x = x.detach().clone().requires_grad_()
        y = y.clone() if y.is_inference() else y
        value = total(loss, check(classifier(x), y), y)
        if not value.requires_grad:
            raise argument_error(
                "classifier", "its loss cannot be differentiated", "remove no_grad(), detach() and rounding from it"
            )
        # The stubs do not say that allow_unused can give None.
        gradient = cast("Tensor | None", torch.autograd.grad(value, x, allow_unused=True)[0])
    if gradient is None:
        raise argument_error("classifier", "its logits do not depend on the images", "let it use its argument")
    return gradient


def check_finite(finite: Tensor) -> None:
    """Raise an error about the classifier unless ``finite``, a 0-d bool, is true."""
    if not bool(finite):
        reason = "its loss has a gradient that is not finite"
        raise argument_error("classifier", reason, "check its weights for NaN and overflow")


def errors_and_losses(classifier: Classifier, x: Tensor, y: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """Return which samples are misclassified, (N,) bool, and each sample's loss, (N,).

    Examples:
        >>> x, y = torch.tensor([[0.0, 1.0]]), torch.tensor([0])
        >>> errors_and_losses(lambda x: x, x, y, torch.nn.functional.cross_entropy)
        (tensor([True]), tensor([1.3133]))
    """
    with torch.no_grad():
        logits = check_logits(classifier(x), y)
        return logits.argmax(1) != y, per_sample(loss, logits, y)
