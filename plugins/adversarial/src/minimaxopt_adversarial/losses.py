"""Losses of a classifier's logits: an attack raises them, a defence lowers them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from minimaxopt.plugins import argument_error, check_choice

Loss = Callable[[Tensor, Tensor], Tensor]
"""``loss(logits, y)``: the 0-d mean over the samples, or one value for each sample."""


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of the true classes, in nats.

    ``mean_i -log softmax(logits_i)[y_i]``

    Args:
        logits: (N, classes), or (N, 1) for the logit of class 1 beside a logit of 0 for class 0.
        y: (N,) class numbers, int64.

    Returns:
        A 0-d tensor.

    Raises:
        IndexError: a class number is not below the number of classes.

    Examples:
        >>> cross_entropy(torch.zeros(1, 4), torch.tensor([2]))
        tensor(1.3863)

    Source: this library, by ``torch.nn.functional.cross_entropy``.
    """
    return functional.cross_entropy(class_logits(logits), y)


def margin_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Return the mean margin by which the largest wrong logit exceeds the true one.

    ``mean_i [max_{k != y_i} logits_i[k] - logits_i[y_i]]``

    A sample's margin is positive exactly where the classifier errs. Unlike the cross-entropy's, its gradient does not
    vanish on samples that the classifier is sure of, which is where an untrained attack network starts.

    Args:
        logits: (N, classes), or (N, 1) for the logit of class 1 beside a logit of 0 for class 0.
        y: (N,) class numbers, int64.

    Returns:
        A 0-d tensor.

    Raises:
        RuntimeError: a class number is not below the number of classes.

    Examples:
        >>> margin_loss(torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]]), torch.tensor([0, 2]))
        tensor(1.5000)

    Source: Carlini and Wagner, "Towards evaluating the robustness of neural networks" (2017), f_6 without its cut.
    """
    logits = class_logits(logits)
    true_class = functional.one_hot(y, logits.shape[1]).bool()
    largest_wrong = logits.masked_fill(true_class, float("-inf")).amax(1)
    return (largest_wrong - logits.gather(1, y[:, None]).squeeze(1)).mean()


LOSSES: dict[str, Loss] = {"cross-entropy": cross_entropy, "margin": margin_loss}
"""The losses by name, for settings and command lines."""


def loss_by_name(name: str) -> Loss:
    """Return the loss called ``name``, one of ``LOSSES``.

    Args:
        name: ``"cross-entropy"`` or ``"margin"``.

    Raises:
        UnknownNameError: no loss has that name.

    Examples:
        >>> loss_by_name("margin") is margin_loss
        True

    Source: this library.
    """
    return LOSSES[check_choice("loss", name, LOSSES)]


def class_logits(logits: Tensor) -> Tensor:
    """Return one logit for each class: a single logit (N, 1) is that of class 1, and class 0 has a logit of 0.

    Examples:
        >>> class_logits(torch.tensor([[3.0], [-1.0]]))
        tensor([[ 0.,  3.],
                [ 0., -1.]])
    """
    return torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits


def errs(logits: Tensor, y: Tensor) -> Tensor:
    """Return (N,) bool: the class of the largest logit is not the true one, or a logit is NaN and names no class.

    Examples:
        >>> errs(torch.tensor([[1.0, 0.0], [0.0, 1.0], [float("nan"), 0.0]]), torch.tensor([0, 0, 0]))
        tensor([False,  True,  True])
    """
    return (class_logits(logits).argmax(1) != y) | logits.isnan().any(1)


@final
@dataclass(frozen=True)
class Goal:
    """The goal of an attack: the loss that it raises, and where it has succeeded.

    Without a target the labels are the true classes and the attack raises their loss until the classifier errs. With
    one they are the classes that the classifier should name, and the attack lowers their loss until it does.

    Args:
        loss: ``loss(logits, labels)``, the mean over the samples or one value each.
        targeted: True if the labels are targets.
        chooses: True if the attack chooses among candidates by their loss.
    """

    loss: Loss
    targeted: bool = False
    chooses: bool = False

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return what the attack raises: the loss, or its negative for targets."""
        value = self.loss(logits, labels)
        return -value if self.targeted else value

    def reached(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (N,) bool: the attack has succeeded."""
        if self.targeted:
            return ~errs(logits, labels)
        return errs(logits, labels)

    def check(self, logits: Tensor, labels: Tensor) -> None:
        """Refuse a loss that sums over the samples, or that is larger where the labels are right.

        The loss is evaluated on logits that name a right and a wrong class.

        Raises:
            ArgumentError: the loss is a sum; or candidates are chosen by it, and it has another goal.
        """
        if self.loss in (cross_entropy, margin_loss, functional.cross_entropy):
            return
        classes = max(2, logits.shape[1])
        right, wrong = (
            functional.one_hot(named, classes).to(logits.dtype) for named in (labels, (labels + 1) % classes)
        )
        if logits.shape[1] == 1:
            right, wrong = (2 * named[:, 1:] - 1 for named in (right, wrong))
        with torch.no_grad():
            lowest, highest = self.loss(right, labels), self.loss(wrong, labels)
            if self.chooses and float(highest.mean()) < float(lowest.mean()):
                raise argument_error(
                    "loss",
                    "it is smaller for a wrong class than for the right one",
                    "give target= and a loss to be lowered if the classifier should name a class, or a loss to be raised",
                )
            if highest.ndim == 0 and len(labels) > 1:
                self._check_mean(wrong, labels, float(highest))

    def _check_mean(self, logits: Tensor, labels: Tensor, value: float) -> None:
        try:
            alone = float(self.loss(logits[:1], labels[:1]))
        except (IndexError, RuntimeError, ValueError):
            return  # a loss with tensors of its own, one row for each sample of this batch
        # All samples have the same logits up to the order of the classes.
        if abs(value - len(labels) * alone) < abs(value - alone) / 2:
            raise argument_error(
                "loss", "it sums over the samples", "return their mean or one value each (reduction='none')"
            )


def per_sample(loss: Loss, logits: Tensor, y: Tensor) -> Tensor:
    """Return the loss of each sample, (N,), from a loss that may average over them.

    Raises:
        ArgumentError: the loss returns neither a 0-d tensor nor one value for each sample.

    Examples:
        >>> per_sample(margin_loss, torch.tensor([[3.0, 1.0], [0.0, 5.0]]), torch.tensor([0, 0]))
        tensor([-2.,  5.])
    """
    value = loss(logits, y)
    if value.shape == y.shape:
        return value
    _check_scalar(value, y)

    def single(row: Tensor, label: Tensor) -> Tensor:
        return loss(row[None], label[None])

    # The loss of a batch of one is that sample's own, whatever the reduction; vmap makes it one pass over the logits.
    return torch.func.vmap(single)(logits, y)


def total(loss: Loss, logits: Tensor, y: Tensor) -> Tensor:
    """Return the sum of the samples' losses, whose gradient is each sample's own (Eq. 3 has the loss of ONE sample).

    Raises:
        ArgumentError: the loss returns neither a 0-d tensor nor one value for each sample.

    Examples:
        >>> total(margin_loss, torch.tensor([[3.0, 1.0], [0.0, 5.0]]), torch.tensor([0, 0]))
        tensor(3.)
    """
    value = loss(logits, y)
    if value.shape == y.shape:
        return value.sum()
    return _check_scalar(value, y) * len(y)


def _check_scalar(value: Tensor, y: Tensor) -> Tensor:
    if value.ndim != 0:
        reason = f"it returned shape {tuple(value.shape)} for {len(y)} samples"
        raise argument_error("loss", reason, "return the 0-d mean or one value for each sample")
    return value
