"""One trial evaluation before the first step, so that a risk that cannot be played fails before any work is lost."""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor
from torch.autograd import function
from torch.overrides import TorchFunctionMode

from minimaxopt.calculus.gradients import gradients, scalar
from minimaxopt.errors import DataError, DoubleBackwardError, MinimaxoptError, RiskError
from minimaxopt.game.game import Flipped
from minimaxopt.game.trees import leaves_with_names

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from minimaxopt.solvers.context import Context


def probe(ctx: Context, *, second_order: bool) -> None:
    """Evaluate the risk once on the first batch; raise what is wrong with it. Leaves the run as it was.

    Args:
        ctx: the run that is about to begin.
        second_order: whether its solver differentiates the risk twice.

    Raises:
        RiskError: if ``f`` fails, is not a differentiable scalar, or runs under autocast though ``second_order``.
        DoubleBackwardError: if ``second_order`` and a custom function of ``f`` has no second derivative.
        DataError: if data are given to ``f(u, v)``, or missing for ``f(u, v, batch)``.
    """
    position, spent = ctx.source.position, ctx.gradient_evaluations
    batch = ctx.source.take()
    ctx.source.rewind(position)
    f = ctx.game.f.f if isinstance(ctx.game.f, Flipped) else ctx.game.f
    _check_arguments("f", f, ("u", "v"), batch)
    if ctx.responding:
        _check_arguments("v", ctx.game.v, ("risk", "u"), batch)
    before, ctx.batch = ctx.batch, batch
    try:
        risk, v = ctx.risk(), ctx.point.v
        if ctx.responding:
            with _told("v: the responding follower", batch):
                v, risk = ctx.respond()
        with _told("f:", batch), _NoAutocast(active=second_order):
            value = risk(ctx.point.u, v)
    finally:
        ctx.batch, ctx.gradient_evaluations = before, spent
    scalar(value)
    if not value.requires_grad:
        gradients(value, {"u": ctx.point.u})  # raises with the reasons
    if second_order:
        _refuse_once_differentiable(value)


@contextlib.contextmanager
def _told(who: str, batch: tuple[Any, ...]) -> Generator[None]:
    try:
        yield
    except MinimaxoptError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise RiskError(f"{who} failed on the first batch, {describe(batch)}: {reason}") from error


def describe(batch: tuple[Any, ...]) -> str:
    """Return the form of a batch in words.

    >>> describe(((torch.zeros(2, 3), [torch.zeros(2)]),))
    'a batch of 0: float32 (2, 3), 1.0: float32 (2,)'
    """
    if not batch:
        return "without data"
    parts = [
        (f"{path}: " if path else "")
        + (f"{_kind(leaf)} {tuple(leaf.shape)}" if isinstance(leaf, Tensor) else type(leaf).__name__)
        for path, leaf in leaves_with_names(batch[0])
    ]
    return f"a batch of {', '.join(parts) or 'nothing'}"


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _check_arguments(name: str, f: Callable[..., Any], leading: tuple[str, ...], batch: tuple[Any, ...]) -> None:
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):  # built-in callables have none
        return
    try:
        signature.bind(*leading, *batch)
    except TypeError as error:
        called = f"{name} is called with ({', '.join([*leading, *('batch' for _ in batch)])})"
        if batch:
            message = f"were given, so that {called}, but it takes {signature}; add the argument or leave data out"
        else:
            message = f"are missing, so that {called}, but it takes {signature}; give data=Batches(...)"
        raise DataError(f"data: {message}") from error


@final
class _NoAutocast(TorchFunctionMode):
    def __init__(self, *, active: bool) -> None:
        super().__init__()
        self._active = active

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        if self._active and any(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda", "mps", "xpu")):
            raise RiskError(
                "f: runs under autocast, and its second derivatives would be wrong by several per cent; leave autocast "
                "out, or use a first-order solver such as 'alternating-gda'"
            )
        return func(*args, **(kwargs or {}))


def _refuse_once_differentiable(value: Tensor) -> None:
    """Refuse a custom function whose second derivative would be silently taken as zero."""
    visited: set[Any] = set()
    stack: list[Any] = [value.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        stack.extend(parent for parent, _ in node.next_functions)
        custom = getattr(type(node), "_forward_cls", None)
        code = getattr(getattr(custom, "backward", None), "__code__", None)
        # once_differentiable wraps the backward, and the wrapper's code lies where once_differentiable itself is.
        if custom is not None and code is not None and code.co_filename == function.__file__:
            raise DoubleBackwardError(
                f"f: {custom.__name__} is an autograd.Function marked once_differentiable, whose second "
                "derivative torch takes as zero; write its backward with differentiable operations, or use a "
                "first-order solver such as 'alternating-gda'"
            )
