"""What an attack achieves: error rates, the worst of several attacks, and attacks over whole data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from minimaxopt_adversarial.attacks.input_gradient import Classifier, score
from minimaxopt_adversarial.checks import check_batch, check_count, check_labels, check_logits, refuse
from minimaxopt_adversarial.losses import Loss, cross_entropy

Attack = Callable[[Classifier, Tensor, Tensor], Tensor]
"""``attack(classifier, x, y) -> z``; ``functools.partial(fgsm, eta=0.2)`` is one."""


def error_rate(classifier: Classifier, x: Tensor, y: Tensor, *, batch_size: int = 1000) -> float:
    """Return the share of images that the classifier puts into the wrong class: ``mean_i [argmax g(x_i) != y_i]``.

    The classifier runs in the mode in which it is given; call ``classifier.eval()`` first.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        x: images.
        y: (N,) true classes.
        batch_size: images in one pass.

    Raises:
        ArgumentError: there is no image, or shapes do not fit.

    >>> error_rate(lambda x: x, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
    0.5
    """
    return misclassified(classifier, x, y, batch_size=batch_size).float().mean(dtype=torch.float64).item()


def misclassified(classifier: Classifier, x: Tensor, y: Tensor, *, batch_size: int = 1000) -> Tensor:
    """Say for each image whether the classifier puts it into the wrong class: ``argmax g(x_i) != y_i``, (N,) bool.

    The arguments and what is refused are those of ``error_rate``, which is the share.

    >>> misclassified(lambda x: x, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
    tensor([False,  True])
    """
    check_batch(x)
    check_labels(y, len(x))
    check_count("batch_size", batch_size)
    with torch.no_grad():
        return torch.cat(
            [
                check_logits(classifier(images), labels).argmax(1) != labels
                for images, labels in zip(x.split(batch_size), y.split(batch_size), strict=True)
            ]
        )


def attack_in_batches(attack: Attack, classifier: Classifier, x: Tensor, y: Tensor, *, batch_size: int = 500) -> Tensor:
    """Attack a whole data set, some images at a time.

    Args:
        attack: ``attack(classifier, x, y) -> z``, for instance ``functools.partial(fgsm, eta=0.2)``.
        classifier: images (N, ...) to logits (N, classes).
        x: images.
        y: (N,) true classes.
        batch_size: images in one call of ``attack``.

    Returns:
        Detached images of the shape of ``x``.

    Raises:
        ArgumentError: there is no image, shapes do not fit, or the attack changes the shape.

    >>> from functools import partial
    >>> from minimaxopt_adversarial.attacks.pgd import fgsm
    >>> x, y = torch.zeros(3, 2), torch.tensor([0, 1, 0])
    >>> attack_in_batches(partial(fgsm, eta=0.25), lambda x: x, x, y, batch_size=2)
    tensor([[-0.2500,  0.2500],
            [ 0.2500, -0.2500],
            [-0.2500,  0.2500]])
    """
    check_batch(x)
    check_labels(y, len(x))
    check_count("batch_size", batch_size)
    parts: list[Tensor] = []
    for images, labels in zip(x.split(batch_size), y.split(batch_size), strict=True):
        part = attack(classifier, images, labels)
        if part.shape != images.shape:
            raise refuse("attack", f"it turned {tuple(images.shape)} into {tuple(part.shape)}", "return images like x")
        parts.append(part.detach())
    return torch.cat(parts)


def worst_of(classifier: Classifier, candidates: Sequence[Tensor], y: Tensor, *, loss: Loss = cross_entropy) -> Tensor:
    """Choose each sample's worst candidate: misclassified first, then the larger loss, then the earlier.

    The error rate on the result is the per-sample worst case over the attacks that made the candidates, which is at
    least the largest of their own error rates.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        candidates: one or more attacked copies of the same images, each of shape (N, ...).
        y: (N,) true classes.
        loss: ``loss(logits, y)``, the mean over the samples or one value each.

    Raises:
        ArgumentError: there is no candidate, or their shapes differ.

    >>> weak, strong = torch.tensor([[0.1, 0.0]]), torch.tensor([[0.0, 0.1]])
    >>> worst_of(lambda x: x, [weak, strong], torch.tensor([0]))
    tensor([[0.0000, 0.1000]])
    """
    if not candidates:
        raise refuse("candidates", "there is none", "give at least one attacked copy of the images")
    worst = check_batch(candidates[0], name="candidates[0]").detach()
    check_labels(y, len(worst))
    wrong, value = score(classifier, worst, y, loss)
    for index, candidate in enumerate(candidates[1:], start=1):
        if check_batch(candidate, name=f"candidates[{index}]").shape != worst.shape:
            raise refuse(
                f"candidates[{index}]",
                f"its shape is {tuple(candidate.shape)} beside {tuple(worst.shape)}",
                "give attacked copies of the same images",
            )
        candidate_wrong, candidate_value = score(classifier, candidate, y, loss)
        better = (candidate_wrong & ~wrong) | ((candidate_wrong == wrong) & (candidate_value > value))
        worst = torch.where(better.view(-1, *([1] * (worst.ndim - 1))), candidate.detach(), worst)
        wrong, value = wrong | candidate_wrong, torch.where(better, candidate_value, value)
    return worst
