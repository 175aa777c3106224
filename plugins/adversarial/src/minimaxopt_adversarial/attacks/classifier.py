"""Classifiers as attacks and measurements run them: their logits, their mode and their buffers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from minimaxopt.plugins import argument_error
from minimaxopt_adversarial.checks import check_logits_shape

Classifier = Callable[[Tensor], Tensor]
"""Images (N, ...) to logits (N, classes): a module, or any differentiable function."""


def logits_of(classifier: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """Return the classifier's logits of images ``x``, (N, classes) or (N, 1).

    Raises:
        ArgumentError: they have another shape, or the images are not of the type of the classifier's parameters.

    Examples:
        >>> logits_of(nn.Linear(2, 2), torch.zeros(1, 2).double(), torch.tensor([0]))
        Traceback (most recent call last):
        minimaxopt.errors.ArgumentError: x: its dtype is torch.float64 and the classifier's is torch.float32; convert
        one of them
    """
    try:
        logits = classifier(x)
    except RuntimeError as error:
        module = getattr(classifier, "__self__", classifier)  # ``measured`` passes a method
        types = {weight.dtype for weight in module.parameters()} if isinstance(module, nn.Module) else set()
        if types and x.dtype not in types:
            reason = f"its dtype is {x.dtype} and the classifier's is {' and '.join(map(str, types))}"
            raise argument_error("x", reason, "convert one of them") from error
        raise
    return check_logits_shape(logits, y)


@contextmanager
def restored_buffers(classifier: Classifier) -> Generator[None]:
    """Put the buffers of a module in training mode back: an attack must not move its running statistics.

    Examples:
        >>> net = nn.BatchNorm1d(2)
        >>> with restored_buffers(net):
        ...     _ = net(torch.rand(3, 2))
        >>> net.num_batches_tracked
        tensor(0)
    """
    modules = classifier.modules() if isinstance(classifier, nn.Module) else ()
    buffers = [buffer for module in modules if module.training for buffer in module.buffers(recurse=False)]
    with torch.no_grad():
        copies = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, copy in zip(buffers, copies, strict=True):
                buffer.copy_(copy)


@contextmanager
def measured(classifier: Classifier, *, argument: str = "classifier") -> Generator[Classifier]:
    """Yield a classifier to be measured, as a function; warn if it is in training mode, and put its buffers back.

    The function is no module, so that what is measured with it neither warns nor copies buffers again.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        argument: its name in the warning.

    Examples:
        >>> with measured(nn.Linear(2, 2).eval()) as function:
        ...     function(torch.zeros(3, 2)).shape
        torch.Size([3, 2])
    """
    if not isinstance(classifier, nn.Module):
        yield classifier
        return
    if any(module.training for module in classifier.modules()):
        warnings.warn(
            f"{argument}: it is in training mode, in which dropout and batch statistics take part; "
            "call eval() before it is measured",
            stacklevel=4,  # of the caller of the function that measures
        )
    with restored_buffers(classifier):
        yield classifier.__call__
