"""Losses of a classifier's logits that an attack raises and a defence lowers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from minimaxopt_adversarial.checks import refuse

Loss = Callable[[Tensor, Tensor], Tensor]
"""``loss(logits, y)``: the 0-d mean over the samples, or one value for each sample."""


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Average the negative log-likelihood of the true class: ``mean_i -log softmax(logits_i)[y_i]``.

    Args:
        logits: (N, classes).
        y: (N,) class numbers.

    >>> cross_entropy(torch.zeros(1, 4), torch.tensor([2]))
    tensor(1.3863)
    """
    return functional.cross_entropy(logits, y)


def margin_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Average the logit margin, ``mean_i [max_{k != y_i} logits_i[k] - logits_i[y_i]]``.

    It is positive exactly where the classifier errs. Unlike the cross-entropy, its gradient does not vanish on samples
    that the classifier is sure of, which is where an untrained attack network starts.

    Args:
        logits: (N, classes), at least two classes.
        y: (N,) class numbers.

    Source: Carlini and Wagner, "Towards evaluating the robustness of neural networks" (2017), f_6 without its cut.

    >>> margin_loss(torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]]), torch.tensor([0, 2]))
    tensor(1.5000)
    """
    true = functional.one_hot(y, logits.shape[1]).bool()
    rival = logits.masked_fill(true, float("-inf")).amax(1)
    return (rival - logits.gather(1, y[:, None]).squeeze(1)).mean()


LOSSES: dict[str, Loss] = {"cross-entropy": cross_entropy, "margin": margin_loss}
"""The losses by name, for settings and command lines."""


def loss_by_name(name: str) -> Loss:
    """Return the loss called ``name``.

    Raises:
        ArgumentError: there is none of that name.

    >>> loss_by_name("margin") is margin_loss
    True
    """
    if name not in LOSSES:
        raise refuse("loss", f"there is no {name!r}", f"choose one of {', '.join(LOSSES)}")
    return LOSSES[name]


def per_sample(loss: Loss, logits: Tensor, y: Tensor) -> Tensor:
    """Return the loss of each sample, shape (N,), from a loss that may average over them.

    >>> per_sample(margin_loss, torch.tensor([[3.0, 1.0], [0.0, 5.0]]), torch.tensor([0, 0]))
    tensor([-2.,  5.])
    """
    value = loss(logits, y)
    if value.shape == y.shape:
        return value
    _check_scalar(value, y)

    def alone(row: Tensor, label: Tensor) -> Tensor:
        return loss(row[None], label[None])

    # The loss of a batch of one is that sample's own, whatever the reduction; vmap makes it one pass over the logits.
    return torch.func.vmap(alone)(logits, y)


def total(loss: Loss, logits: Tensor, y: Tensor) -> Tensor:
    """Return the sum of the samples' losses, whose gradient is each sample's own (Eq. 3 has the loss of ONE sample).

    >>> total(margin_loss, torch.tensor([[3.0, 1.0], [0.0, 5.0]]), torch.tensor([0, 0]))
    tensor(3.)
    """
    value = loss(logits, y)
    if value.shape == y.shape:
        return value.sum()
    return _check_scalar(value, y) * len(y)


def _check_scalar(value: Tensor, y: Tensor) -> Tensor:
    if value.ndim != 0:
        raise refuse(
            "loss",
            f"it returned shape {tuple(value.shape)} for {len(y)} samples",
            "return the 0-d mean or one value for each sample",
        )
    return value
