"""Attacks of several projected gradient steps: iterated FGSM, PGD and PGD with momentum.

All of them run the classifier in its current mode: call ``classifier.eval()`` first unless dropout and batch
statistics are meant to take part. They leave its parameters, buffers, gradients and mode as they were, and return
detached images. The meaning of "within eta" in floating point is stated by ``feasible_box``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Generator, Tensor

from minimaxopt.plugins import argument_error, check_choice, check_count, check_number
from minimaxopt_adversarial.attacks.classifier import Classifier, restored_buffers
from minimaxopt_adversarial.attacks.projected_ascent import ascend, starting_points, worst_restart
from minimaxopt_adversarial.attacks.projections import NORMS, Norm, projection
from minimaxopt_adversarial.attacks.unattacked import report
from minimaxopt_adversarial.checks import Bounds, check_attack_arguments
from minimaxopt_adversarial.losses import Goal, Loss, cross_entropy


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
    target: Tensor | None = None,
) -> Tensor:
    """Iterate signed steps from the clean images, clipping to the ball after each (iterated FGSM).

    ``z_0 = x``; ``z_{k+1} = clip(z_k + step_size * sign(grad_z l(g(z_k), y)))``. With one step it is ``fgsm``.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        x: (N, ...) images within ``bounds``, float32 or float64.
        y: (N,) true classes, int64.
        eta: radius in the l_inf norm, in the unit of the pixels.
        steps: number of steps, >= 1.
        step_size: size of a step; ``eta / steps`` by default, so that the steps just reach the ball's surface.
        bounds: lowest and highest pixel.
        loss: ``loss(logits, y)``, the mean over the samples or one value each.
        target: (N,) classes that the classifier should name, int64; the attack then lowers ``loss(logits, target)``.

    Returns:
        Detached images of the shape of ``x``, within ``eta`` and ``bounds`` with no tolerance.

    Raises:
        ArgumentError: an argument is out of range, or the loss of the logits is not differentiable.

    Examples:
        >>> import torch
        >>> ifgsm(lambda x: x, torch.zeros(1, 2), torch.tensor([0]), eta=0.25, steps=2)
        tensor([[-0.2500,  0.2500]])

    Source: Kurakin, Goodfellow and Bengio (2016).
    """
    eta, bounds = check_attack_arguments(x, y, eta, bounds, target)
    size, labels, goal = (
        _step_size(step_size, eta, steps),
        y if target is None else target,
        Goal(loss, target is not None),
    )
    with restored_buffers(classifier):
        z, finite = ascend(
            classifier, x.detach(), labels, projection(x, eta, bounds, "linf"), steps, size, "linf", goal
        )
    report(finite)
    return z


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
    target: Tensor | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Climb the loss by projected gradient steps and return each sample's worst end (PGD).

    ``z_{k+1} = proj(z_k + step_size * d(grad_z l(g(z_k), y)))`` with ``d`` the sign (``"linf"``) or the direction of
    unit length (``"l2"``), and ``proj`` the ball of radius ``eta`` around ``x``, then ``bounds``. The candidates of a
    sample are the last iterate of each restart and, with ``keep_clean``, the clean image; ``worst_of`` chooses among
    them (misclassified first, then the larger loss, then the earlier one), so the attack never helps the classifier.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        x: (N, ...) images within ``bounds``, float32 or float64.
        y: (N,) true classes, int64.
        eta: radius of the ball in ``norm``, in the unit of the pixels.
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
        target: (N,) classes that the classifier should name, int64. The attack then lowers ``loss(logits, target)``;
            of the candidates one that is classified as the target comes first, then the smaller loss.
        generator: source of the random starts; PyTorch's global generator by default.

    Returns:
        Detached images of the shape of ``x``, within ``eta`` and ``bounds`` with no tolerance.

    Raises:
        ArgumentError: an argument is out of range, or the loss of the logits is not differentiable.

    Examples:
        >>> import torch
        >>> pgd(lambda x: x, torch.zeros(1, 2), torch.tensor([0]), eta=0.25, steps=5)
        tensor([[-0.2500,  0.2500]])

    Source: Madry, Makelov, Schmidt, Tsipras and Vladu (2017).
    """
    check_choice("norm", norm, NORMS)
    _check_restarts(restarts, random_start)
    eta, bounds = check_attack_arguments(x, y, eta, bounds, target)
    size = _step_size(step_size, 2.5 * eta, steps)
    goal = Goal(loss, target is not None, chooses=keep_clean or skip_fooled or restarts > 1)

    starts = starting_points(x.detach(), eta, norm, restarts if random_start else None, generator)

    def run(images: Tensor, labels: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        return ascend(classifier, start, labels, projection(images, eta, bounds, norm), steps, size, norm, goal)

    return _best(classifier, x, y if target is None else target, run, starts, goal, keep_clean, skip_fooled)


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
    target: Tensor | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Climb the loss by signed steps along an accumulated gradient, in l_inf (MI-FGSM with random starts).

    ``m_{k+1} = decay * m_k + g_k / ||g_k||_1`` with ``g_k = grad_z l(g(z_k), y)`` and ``m_0 = 0``;
    ``z_{k+1} = proj(z_k + step_size * sign(m_{k+1}))``. The accumulated gradient carries the attack past small bumps
    of the loss, and its images fool other classifiers more often than those of plain steps. As published it starts at
    the clean image: ``steps=10, step_size=eta / 10, random_start=False, keep_clean=False``.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        x: (N, ...) images within ``bounds``, float32 or float64.
        y: (N,) true classes, int64.
        eta: radius in the l_inf norm, in the unit of the pixels.
        steps: steps of each restart, >= 1.
        step_size: size of a step; ``2.5 * eta / steps`` by default.
        decay: share of ``m_k`` that is kept, >= 0; with 0 it is ``pgd``.
        random_start: start uniformly in the ball (then clipped to ``bounds``) instead of at the clean image.
        restarts: number of starts, >= 1; more than one only with ``random_start``. Each begins with ``m_0 = 0``.
        keep_clean: let the clean image itself be a candidate, as in ``pgd``.
        skip_fooled: spend restarts only on images that are not misclassified yet, as in ``pgd``.
        bounds: lowest and highest pixel.
        loss: ``loss(logits, y)``, the mean over the samples or one value each.
        target: (N,) classes that the classifier should name, int64. The attack then lowers ``loss(logits, target)``;
            of the candidates one that is classified as the target comes first, then the smaller loss.
        generator: source of the random starts; PyTorch's global generator by default.

    Returns:
        Detached images of the shape of ``x``, within ``eta`` and ``bounds`` with no tolerance.

    Raises:
        ArgumentError: an argument is out of range, or the loss of the logits is not differentiable.

    Examples:
        >>> import torch
        >>> momentum_pgd(lambda x: x, torch.zeros(1, 2), torch.tensor([0]), eta=0.25, steps=5)
        tensor([[-0.2500,  0.2500]])

    Source: Dong, Liao, Pang, Su, Zhu, Hu and Li, "Boosting adversarial attacks with momentum" (2018).
    """
    _check_restarts(restarts, random_start)
    eta, bounds = check_attack_arguments(x, y, eta, bounds, target)
    size, decay = _step_size(step_size, 2.5 * eta, steps), check_number("decay", decay)
    goal = Goal(loss, target is not None, chooses=keep_clean or skip_fooled or restarts > 1)

    starts = starting_points(x.detach(), eta, "linf", restarts if random_start else None, generator)

    def run(images: Tensor, labels: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        project = projection(images, eta, bounds, "linf")
        return ascend(classifier, start, labels, project, steps, size, "linf", goal, decay)

    return _best(classifier, x, y if target is None else target, run, starts, goal, keep_clean, skip_fooled)


def _best(
    classifier: Classifier,
    x: Tensor,
    labels: Tensor,
    run: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
    starts: Iterable[Tensor],
    goal: Goal,
    keep_clean: bool,
    skip_fooled: bool,
) -> Tensor:
    """Return the best image of all restarts; warn of samples whose gradient was not finite."""
    with restored_buffers(classifier):
        z, finite = worst_restart(
            classifier, x.detach(), labels, run, starts, goal, keep_clean=keep_clean, skip_fooled=skip_fooled
        )
    report(finite)
    return z


def _step_size(step_size: float | None, path: float, steps: int) -> float:
    """Return the size of a step, by default such that ``steps`` of them are as long as ``path``."""
    check_count("steps", steps)
    return path / steps if step_size is None else check_number("step_size", step_size, positive=True)


def _check_restarts(restarts: int, random_start: bool) -> None:
    if check_count("restarts", restarts) > 1 and not random_start:
        reason = "without random_start they would all be the same"
        raise argument_error("restarts", reason, "set random_start=True or restarts=1")
