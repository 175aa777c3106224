"""Attacks of one gradient step: FGSM, and the unsigned step of Eq. 3.

All of them run the classifier in its current mode: call ``classifier.eval()`` first unless dropout and batch
statistics are meant to take part. They leave its parameters, buffers, gradients and mode as they were, and return
detached images. The meaning of "within eta" in floating point is stated by ``feasible_box``.
"""

from __future__ import annotations

from torch import Tensor

from minimaxopt.plugins import argument_error
from minimaxopt_adversarial.attacks.classifier import Classifier, restored_buffers
from minimaxopt_adversarial.attacks.input_gradient import input_gradient
from minimaxopt_adversarial.attacks.projections import projection
from minimaxopt_adversarial.attacks.unattacked import report
from minimaxopt_adversarial.checks import Bounds, check_attack_arguments
from minimaxopt_adversarial.losses import Goal, Loss, cross_entropy


def fgsm(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    eta: float,
    bounds: Bounds = (-1.0, 1.0),
    loss: Loss = cross_entropy,
    target: Tensor | None = None,
) -> Tensor:
    """Move every pixel by ``eta`` in the direction that raises the loss (the fast gradient sign method).

    ``z = clip(x + eta * sign(grad_x l(g(x), y)))`` (Eq. 1), clipped to ``bounds``; a pixel of zero gradient stays.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        x: (N, ...) images within ``bounds``, float32 or float64.
        y: (N,) true classes, int64.
        eta: radius in the l_inf norm, in the unit of the pixels.
        bounds: lowest and highest pixel.
        loss: ``loss(logits, y)``, the mean over the samples or one value each.
        target: (N,) classes that the classifier should name, int64; the attack then lowers ``loss(logits, target)``.

    Returns:
        Images ``z`` of the shape of ``x`` with ``(z - x).abs().max() <= eta`` and ``low <= z <= high``.

    Raises:
        ArgumentError: an argument is out of range, or the loss of the logits is not differentiable.

    Examples:
        >>> import torch
        >>> fgsm(lambda x: x, torch.tensor([[0.0, 0.95]]), torch.tensor([0]), eta=0.25)
        tensor([[-0.2500,  1.0000]])

    Source: Hamm and Mehra 2018, Eq. 1; Goodfellow, Shlens and Szegedy (2014).
    """
    eta, bounds = check_attack_arguments(x, y, eta, bounds, target)
    moved = x.detach() + eta * _gradient(classifier, x, y, loss, target).sign()
    return projection(x, eta, bounds, "linf")(moved)


def gradient_step(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    eta: float,
    p: float = float("inf"),
    bounds: Bounds = (-1.0, 1.0),
    loss: Loss = cross_entropy,
    target: Tensor | None = None,
) -> Tensor:
    """Take one unsigned gradient step of size ``eta`` and project it onto the ball of radius ``eta``.

    ``z = proj(x + eta * grad_x l(g(x), y))`` (Eq. 3), where ``l`` is the loss of one sample and ``proj`` goes to
    ``||z - x||_p <= eta`` and then to ``bounds``.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        x: (N, ...) images within ``bounds``, float32 or float64.
        y: (N,) true classes, int64.
        eta: step size and radius, in the unit of the pixels.
        p: 2 or infinity, the norm of the ball.
        bounds: lowest and highest pixel.
        loss: ``loss(logits, y)``, the mean over the samples or one value each.
        target: (N,) classes that the classifier should name, int64; the attack then lowers ``loss(logits, target)``.

    Returns:
        Images ``z`` of the shape of ``x`` with ``||z_i - x_i||_p <= eta`` and ``low <= z <= high``.

    Raises:
        ArgumentError: an argument is out of range, or the loss of the logits is not differentiable.

    Examples:
        >>> import torch
        >>> gradient_step(lambda x: x, torch.zeros(1, 2), torch.tensor([0]), eta=0.25)
        tensor([[-0.1250,  0.1250]])

    Source: Hamm and Mehra 2018, Eq. 3 with the constraints stated after Eq. 8.
    """
    if p not in (2, float("inf")):
        raise argument_error("p", f"it is {p!r}", "give 2 or float('inf')")
    eta, bounds = check_attack_arguments(x, y, eta, bounds, target)
    moved = x.detach() + eta * _gradient(classifier, x, y, loss, target)
    return projection(x, eta, bounds, "l2" if p == 2 else "linf")(moved)


def _gradient(classifier: Classifier, x: Tensor, y: Tensor, loss: Loss, target: Tensor | None) -> Tensor:
    labels = y if target is None else target
    with restored_buffers(classifier):
        gradient, finite = input_gradient(classifier, x, labels, Goal(loss, target is not None))
    report(finite)
    return gradient
