"""Attacks that follow the gradient of the classifier's loss.

All of them run the classifier in the mode in which it is given: call ``classifier.eval()`` first unless dropout and
batch statistics are meant to take part. They leave its parameters, gradients and mode as they were, and return
detached images. What "within eta" means in floating point is said by ``feasible_box``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import torch
from torch import Generator, Tensor

from minimaxopt_adversarial.attacks.attack import worst_of
from minimaxopt_adversarial.attacks.input_gradient import (
    Classifier,
    check_finite,
    input_gradient,
    score,
    unchecked_gradient,
)
from minimaxopt_adversarial.attacks.projections import ball_l2, feasible_box, row_norm
from minimaxopt_adversarial.checks import (
    Bounds,
    check_count,
    check_images,
    check_labels,
    check_logits,
    check_logits_shape,
    check_size,
    refuse,
)
from minimaxopt_adversarial.losses import Loss, cross_entropy

Norm = Literal["linf", "l2"]
Projection = Callable[[Tensor], Tensor]
Climb = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``climb(x, y, start)``: the last iterate of an attack on ``x`` that begins at ``start``."""


def fgsm(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    eta: float,
    bounds: Bounds = (-1.0, 1.0),
    loss: Loss = cross_entropy,
) -> Tensor:
    """Move every pixel by ``eta`` in the direction that raises the loss (the fast gradient sign method).

    ``z = clip(x + eta * sign(grad_x l(g(x), y)))`` (Eq. 1), clipped to ``bounds``; a pixel of zero gradient stays.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        x: images within ``bounds``, float32 or float64.
        y: (N,) true classes.
        eta: radius in the l_inf norm, in the units of the pixels.
        bounds: lowest and highest pixel.
        loss: ``loss(logits, y)``, the mean over the samples or one value each.

    Returns:
        Images ``z`` of the shape of ``x`` with ``(z - x).abs().max() <= eta`` and ``low <= z <= high``.

    Raises:
        ArgumentError: an argument is out of range, or the classifier's answer is not differentiable.

    Source: the paper's Eq. 1; Goodfellow, Shlens and Szegedy (2014).

    >>> fgsm(lambda x: x, torch.tensor([[0.0, 0.95]]), torch.tensor([0]), eta=0.25)
    tensor([[-0.2500,  1.0000]])
    """
    _check(x, y, eta, bounds)
    moved = x.detach() + eta * input_gradient(classifier, x, y, loss).sign()
    return _projection(x, eta, bounds, "linf")(moved)


def gradient_step(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    eta: float,
    p: float = float("inf"),
    bounds: Bounds = (-1.0, 1.0),
    loss: Loss = cross_entropy,
) -> Tensor:
    """Take one unsigned gradient step of size ``eta`` and project it onto the ball of radius ``eta``.

    ``z = proj(x + eta * grad_x l(g(x), y))`` (Eq. 3), where ``l`` is the loss of one sample and ``proj`` goes to
    ``||z - x||_p <= eta`` and then to ``bounds``.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        x: images within ``bounds``, float32 or float64.
        y: (N,) true classes.
        eta: the size of the step and the radius, in the units of the pixels.
        p: 2 or infinity, the norm of the ball.
        bounds: lowest and highest pixel.
        loss: ``loss(logits, y)``, the mean over the samples or one value each.

    Raises:
        ArgumentError: an argument is out of range, or the classifier's answer is not differentiable.

    Source: the paper's Eq. 3 with the constraints stated after Eq. 8.

    >>> gradient_step(lambda x: x, torch.zeros(1, 2), torch.tensor([0]), eta=0.25)
    tensor([[-0.1250,  0.1250]])
    """
    if p not in (2, float("inf")):
        raise refuse("p", f"it is {p!r}", "give 2 or float('inf')")
    _check(x, y, eta, bounds)
    moved = x.detach() + eta * input_gradient(classifier, x, y, loss)
    return _projection(x, eta, bounds, "l2" if p == 2 else "linf")(moved)


def ifgsm(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    eta: float,
    steps: int,
    step_size: float | None = None,
    bounds: Bounds = (-1.0, 1.0),
    loss: Loss = cross_entropy,
) -> Tensor:
    """Iterate signed steps from the clean images, clipping to the ball after each (iterated FGSM).

    ``z_0 = x``; ``z_{k+1} = clip(z_k + step_size * sign(grad_z l(g(z_k), y)))``. With one step it is ``fgsm``.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        x: images within ``bounds``, float32 or float64.
        y: (N,) true classes.
        eta: radius in the l_inf norm, in the units of the pixels.
        steps: number of steps, >= 1.
        step_size: size of a step; ``eta / steps`` by default, so that the steps just reach the ball's surface.
        bounds: lowest and highest pixel.
        loss: ``loss(logits, y)``, the mean over the samples or one value each.

    Raises:
        ArgumentError: an argument is out of range, or the classifier's answer is not differentiable.

    Source: Kurakin, Goodfellow and Bengio (2016).

    >>> ifgsm(lambda x: x, torch.zeros(1, 2), torch.tensor([0]), eta=0.25, steps=2)
    tensor([[-0.2500,  0.2500]])
    """
    _check(x, y, eta, bounds)
    size = _step_size(step_size, eta, steps)
    return _climb(classifier, x.detach(), y, _projection(x, eta, bounds, "linf"), steps, size, "linf", loss)


def pgd(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    eta: float,
    steps: int = 40,
    step_size: float | None = None,
    norm: Norm = "linf",
    random_start: bool = True,
    restarts: int = 1,
    keep_clean: bool = True,
    skip_fooled: bool = False,
    bounds: Bounds = (-1.0, 1.0),
    loss: Loss = cross_entropy,
    generator: Generator | None = None,
) -> Tensor:
    """Climb the loss by projected steps from random starts and keep each sample's worst end (PGD).

    ``z_{k+1} = proj(z_k + step_size * d(grad_z l(g(z_k), y)))`` with ``d`` the sign (``"linf"``) or the direction of
    unit length (``"l2"``), and ``proj`` the ball of radius ``eta`` around ``x``, then ``bounds``. The candidates of a
    sample are the last iterate of each restart and, with ``keep_clean``, the clean image; ``worst_of`` chooses among
    them (misclassified first, then the larger loss, then the earlier one), so the attack never helps the classifier.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        x: images within ``bounds``, float32 or float64.
        y: (N,) true classes.
        eta: radius of the ball in ``norm``, in the units of the pixels.
        steps: steps of each restart, >= 1.
        step_size: size of a step; ``2.5 * eta / steps`` by default, which can cross the ball.
        norm: ``"linf"`` or ``"l2"`` (each image's own Euclidean length).
        random_start: start uniformly in the ball (then clipped to ``bounds``) instead of at the clean image.
        restarts: number of starts, >= 1; more than one only with ``random_start``.
        keep_clean: let the clean image itself be a candidate. Without it and with one restart, the result is the last
            iterate as it is, which is what other libraries return.
        skip_fooled: spend restarts only on images that are not misclassified yet. The same images are misclassified in
            the end, from the same starts, if the classifier treats each image by itself (in ``eval()`` mode it does);
            of those the first candidate is kept, not the one of the largest loss.
        bounds: lowest and highest pixel.
        loss: ``loss(logits, y)``, the mean over the samples or one value each.
        generator: the source of the starts; PyTorch's global generator by default.

    Raises:
        ArgumentError: an argument is out of range, or the classifier's answer is not differentiable.

    Source: Madry, Makelov, Schmidt, Tsipras and Vladu (2017).

    >>> pgd(lambda x: x, torch.zeros(1, 2), torch.tensor([0]), eta=0.25, steps=5)
    tensor([[-0.2500,  0.2500]])
    """
    if norm not in ("linf", "l2"):
        raise refuse("norm", f"there is no {norm!r}", "give 'linf' or 'l2'")
    _check_restarts(restarts, random_start)
    _check(x, y, eta, bounds)
    size = _step_size(step_size, 2.5 * eta, steps)

    def climb(images: Tensor, labels: Tensor, start: Tensor) -> Tensor:
        return _climb(classifier, start, labels, _projection(images, eta, bounds, norm), steps, size, norm, loss)

    starts = _starts(x.detach(), eta, norm, restarts if random_start else None, generator)
    return _strongest(classifier, x.detach(), y, climb, starts, loss, keep_clean=keep_clean, skip_fooled=skip_fooled)


def momentum_pgd(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    eta: float,
    steps: int = 40,
    step_size: float | None = None,
    decay: float = 1.0,
    random_start: bool = True,
    restarts: int = 1,
    keep_clean: bool = True,
    skip_fooled: bool = False,
    bounds: Bounds = (-1.0, 1.0),
    loss: Loss = cross_entropy,
    generator: Generator | None = None,
) -> Tensor:
    """Climb the loss by signed steps along an accumulated gradient, in l_inf (MI-FGSM with random starts).

    ``m_{k+1} = decay * m_k + g_k / ||g_k||_1`` with ``g_k = grad_z l(g(z_k), y)`` and ``m_0 = 0``;
    ``z_{k+1} = proj(z_k + step_size * sign(m_{k+1}))``. What is accumulated over the steps carries the attack past small
    bumps of the loss, and its images fool other classifiers more often than those of plain steps. As published it
    starts at the clean image: ``steps=10, step_size=eta / 10, random_start=False, keep_clean=False``.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        x: images within ``bounds``, float32 or float64.
        y: (N,) true classes.
        eta: radius in the l_inf norm, in the units of the pixels.
        steps: steps of each restart, >= 1.
        step_size: size of a step; ``2.5 * eta / steps`` by default.
        decay: share of ``m_k`` that is kept, >= 0; with 0 it is ``pgd``.
        random_start: start uniformly in the ball (then clipped to ``bounds``) instead of at the clean image.
        restarts: number of starts, >= 1; more than one only with ``random_start``. Each begins with ``m_0 = 0``.
        keep_clean: let the clean image itself be a candidate, as in ``pgd``.
        skip_fooled: spend restarts only on images that are not misclassified yet, as in ``pgd``.
        bounds: lowest and highest pixel.
        loss: ``loss(logits, y)``, the mean over the samples or one value each.
        generator: the source of the starts; PyTorch's global generator by default.

    Raises:
        ArgumentError: an argument is out of range, or the classifier's answer is not differentiable.

    Source: Dong, Liao, Pang, Su, Zhu, Hu and Li, "Boosting adversarial attacks with momentum" (2018).

    >>> momentum_pgd(lambda x: x, torch.zeros(1, 2), torch.tensor([0]), eta=0.25, steps=5)
    tensor([[-0.2500,  0.2500]])
    """
    _check_restarts(restarts, random_start)
    _check(x, y, eta, bounds)
    size, decay = _step_size(step_size, 2.5 * eta, steps), check_size("decay", decay)

    def climb(images: Tensor, labels: Tensor, start: Tensor) -> Tensor:
        project = _projection(images, eta, bounds, "linf")
        return _climb(classifier, start, labels, project, steps, size, "linf", loss, decay)

    starts = _starts(x.detach(), eta, "linf", restarts if random_start else None, generator)
    return _strongest(classifier, x.detach(), y, climb, starts, loss, keep_clean=keep_clean, skip_fooled=skip_fooled)


def _strongest(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    climb: Climb,
    starts: Iterable[Tensor],
    loss: Loss,
    *,
    keep_clean: bool,
    skip_fooled: bool,
) -> Tensor:
    if not skip_fooled:
        candidates = [x] if keep_clean else []
        candidates += [climb(x, y, start) for start in starts]
        return candidates[0] if len(candidates) == 1 else worst_of(classifier, candidates, y, loss=loss)
    z, left = x, torch.arange(len(x), device=x.device)
    if keep_clean:
        left = left[~score(classifier, x, y, loss)[0]]
    for index, start in enumerate(starts):
        if len(left) == 0:
            continue  # not break: the starts that remain are drawn all the same, so that what is drawn later is the same
        end = climb(x[left], y[left], start[left])
        if keep_clean or index > 0:
            end = worst_of(classifier, [z[left], end], y[left], loss=loss)
        z = z.index_copy(0, left, end)
        left = left[~score(classifier, end, y[left], loss)[0]]
    return z


def _climb(
    classifier: Classifier,
    z: Tensor,
    y: Tensor,
    project: Projection,
    steps: int,
    size: float,
    norm: Norm,
    loss: Loss,
    decay: float | None = None,
) -> Tensor:
    z = project(z)
    # What needs the host is looked at once, labels before the first step and finiteness after the last.
    check, finite = check_logits, torch.ones((), dtype=torch.bool, device=z.device)
    momentum = torch.zeros_like(z)
    for _ in range(steps):
        gradient = unchecked_gradient(classifier, z, y, loss, check)
        check, finite = check_logits_shape, finite & torch.isfinite(gradient).all()
        if decay is not None:
            momentum = gradient = decay * momentum + gradient / row_norm(gradient, 1).clamp_min(_tiny(z))
        # A gradient of zero gives no direction: the sample stays where it is.
        direction = gradient.sign() if norm == "linf" else gradient / row_norm(gradient).clamp_min(_tiny(z))
        z = project(z + size * direction)
    check_finite(finite)
    return z


def _projection(x: Tensor, eta: float, bounds: Bounds, norm: Norm) -> Projection:
    """Return the map into the ball around ``x``, then into the bounds (x is in both: it stays in the ball)."""
    x = x.detach()
    if norm == "l2":
        return lambda z: (x + ball_l2(z - x, eta, bounds)).clamp(*bounds)
    lower, upper = feasible_box(x, eta, bounds)
    return lambda z: torch.clamp(z, lower, upper)


def _starts(x: Tensor, eta: float, norm: Norm, restarts: int | None, generator: Generator | None) -> Iterator[Tensor]:
    """Yield the starts of all images, also of those that need none: an image's start must not depend on the others."""
    if restarts is None:
        yield x
    for _ in range(restarts or 0):
        yield x + _random_step(x, eta, norm, generator)


def _random_step(x: Tensor, eta: float, norm: Norm, generator: Generator | None) -> Tensor:
    device = x.device if generator is None else generator.device
    if norm == "linf":
        uniform = torch.rand(x.shape, dtype=x.dtype, device=device, generator=generator)
        return (eta * (2 * uniform - 1)).to(x.device)
    step = torch.randn(x.shape, dtype=x.dtype, device=device, generator=generator)
    radius = torch.rand(len(x), dtype=x.dtype, device=device, generator=generator) ** (1 / x[0].numel())
    length = row_norm(step).clamp_min(_tiny(x))
    return (eta * step / length * radius.view(-1, *([1] * (x.ndim - 1)))).to(x.device)


def _step_size(step_size: float | None, path: float, steps: int) -> float:
    check_count("steps", steps)
    return path / steps if step_size is None else check_size("step_size", step_size, positive=True)


def _tiny(x: Tensor) -> float:
    return torch.finfo(x.dtype).tiny


def _check_restarts(restarts: int, random_start: bool) -> None:
    if check_count("restarts", restarts) > 1 and not random_start:
        raise refuse(
            "restarts", "without random_start they would all be the same", "set random_start=True or restarts=1"
        )


def _check(x: Tensor, y: Tensor, eta: float, bounds: Bounds) -> None:
    check_size("eta", eta)
    check_images(x, bounds)
    check_labels(y, len(x))
