"""The classifier as an attack sees it: its logits, and its loss's gradient with respect to the input alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from minimaxopt_adversarial.checks import check_logits, check_logits_shape, refuse
from minimaxopt_adversarial.losses import Loss, per_sample, total

if TYPE_CHECKING:
    from minimaxopt.errors import ArgumentError

Classifier = Callable[[Tensor], Tensor]
"""Images (N, ...) to logits (N, classes): a module, or any differentiable function."""


def input_gradient(classifier: Classifier, x: Tensor, y: Tensor, loss: Loss) -> Tensor:
    """Return ``grad_x l(g(x_i), y_i)`` of each sample's own loss ``l``, of the shape of ``x``.

    Neither the classifier's ``.grad``, nor its mode, nor its ``requires_grad`` flags are touched; the surrounding
    ``torch.no_grad()`` or ``torch.inference_mode()`` makes no difference.

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
    """Return the same without looking at a value, so that a device need not wait for the host at every step.

    The labels must have been compared with the classes once, and the result's finiteness must be checked in the end.
    """
    with torch.inference_mode(False), torch.enable_grad():
        # Clones: what was made in inference mode cannot enter a graph, and the caller's x must not become its leaf.
        x = x.detach().clone().requires_grad_()
        y = y.clone() if y.is_inference() else y
        value = total(loss, check(classifier(x), y), y)
        if not value.requires_grad:
            raise _blind("its loss cannot be differentiated", "remove no_grad(), detach() and rounding from it")
        # The stubs do not say that allow_unused can give None.
        gradient = cast("Tensor | None", torch.autograd.grad(value, x, allow_unused=True)[0])
    if gradient is None:
        raise _blind("its logits do not depend on the images", "let it use its argument")
    return gradient


def check_finite(finite: Tensor) -> None:
    """Refuse a classifier of whose gradients some were not finite; ``finite`` is a 0-d bool."""
    if not bool(finite):
        raise _blind("its loss has a gradient that is not finite", "check its weights for NaN and overflow")


def score(classifier: Classifier, x: Tensor, y: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """Return for each sample whether the classifier errs (bool) and its loss, both of shape (N,).

    >>> score(lambda x: x, torch.tensor([[0.0, 1.0]]), torch.tensor([0]), torch.nn.functional.cross_entropy)
    (tensor([True]), tensor([1.3133]))
    """
    with torch.no_grad():
        logits = check_logits(classifier(x), y)
        return logits.argmax(1) != y, per_sample(loss, logits, y)


def _blind(reason: str, remedy: str) -> ArgumentError:
    return refuse("classifier", reason, remedy)
