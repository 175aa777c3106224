"""Losses of a classifier's logits: an attack raises them, a defence lowers them."""

from __future__ import annotations

from collections.abc import Callable

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
        logits: (N, classes).
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
    return functional.cross_entropy(logits, y)


def margin_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Return the mean margin by which the largest wrong logit exceeds the true one.

    ``mean_i [max_{k != y_i} logits_i[k] - logits_i[y_i]]``

    A sample's margin is positive exactly where the classifier errs. Unlike the cross-entropy's, its gradient does not
    vanish on samples that the classifier is sure of, which is where an untrained attack network starts.

    Args:
        logits: (N, classes), at least two classes.
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
