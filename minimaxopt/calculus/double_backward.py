"""Errors that explain why a risk cannot be differentiated twice."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor
from torch.autograd import function

from minimaxopt.errors import DoubleBackwardError, RiskError

_DERIVATIVE = re.compile(r"derivative for '?(?:aten::)?(\w+?)'? is not implemented")


_REMEDIES = {
    "scaled_dot_product": "wrap it in torch.nn.attention.sdpa_kernel(SDPBackend.MATH)",
    "embedding_bag": "use torch.nn.functional.embedding and reduce its output",
    "dist": "write the distances by broadcasting, (x[:, None] - y).square().sum(-1).sqrt()",
    "ctc_loss": "choose a loss with a second derivative",
    "rnn": "turn the fused layer off, with torch.backends.cudnn.flags(False) or torch.backends.mkldnn.flags(False)",
}


class explain_backward_errors:  # noqa: N801 - reads as a statement
    """Turn torch's report of a missing second derivative into one that names the operation and the remedy."""

    def __init__(self, second: bool = True) -> None:
        self._second = second

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, RuntimeError):
            return
        text = str(error)
        if "use_reentrant=True" in text and "grad()" in text:
            raise RiskError(
                "f: uses reentrant checkpointing, which can only be differentiated by .backward(); give checkpoint(..., "
                "use_reentrant=False)"
            ) from error
        if not self._second:
            return
        if "functorch transform" in text:
            raise RiskError(
                "f: cannot be transformed by torch.func; inside f use torch.func.grad instead of torch.autograd.grad "
                "and requires_grad_, and give an autograd.Function a setup_context"
            ) from error
        named = _DERIVATIVE.search(text)
        if named:
            operation = named.group(1).strip("_").removesuffix("_backward")
            remedy = next(
                (r for part, r in _REMEDIES.items() if part in operation), "replace it by differentiable operations"
            )
        elif "does not currently support double backward" in text or "donated buffer" in text:
            operation, remedy = "torch.compile", "give the module as it was before torch.compile"
        elif "once_differentiable" in text:
            operation = "an autograd.Function marked once_differentiable"
            remedy = "write its backward with differentiable operations"
        else:
            return
        raise DoubleBackwardError(
            f"f: {operation} cannot be differentiated twice, as this solver needs; {remedy}, or use a first-order "
            "solver such as 'alternating-gda'"
        ) from error


def refuse_wrong_second_derivatives(value: Tensor) -> None:
    """Refuse operations whose second derivative torch gets wrong without a word.

    Raises:
        DoubleBackwardError: naming the operation: an ``autograd.Function`` marked ``once_differentiable``, whose second
            derivative is taken as zero, or ``weight_norm``, whose fused form fails ``torch.autograd.gradgradcheck``.
    """
    visited: set[Any] = set()
    stack: list[Any] = [value.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        stack.extend(parent for parent, _ in node.next_functions)
        if node.name().startswith("WeightNormInterfaceBackward"):
            raise DoubleBackwardError(
                "f: torch's second derivative of weight_norm is wrong; give the layer without it, or use a first-order "
                "solver such as 'alternating-gda'"
            )
        custom = getattr(type(node), "_forward_cls", None)
        code = getattr(getattr(custom, "backward", None), "__code__", None)
        # once_differentiable wraps the backward, and the wrapper's code lies where once_differentiable itself is.
        if custom is not None and code is not None and code.co_filename == function.__file__:
            raise DoubleBackwardError(
                f"f: {custom.__name__} is an autograd.Function marked once_differentiable, whose second "
                "derivative torch takes as zero; write its backward with differentiable operations, or use a "
                "first-order solver such as 'alternating-gda'"
            )
