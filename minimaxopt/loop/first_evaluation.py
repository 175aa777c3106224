"""One trial evaluation before the first step, so that a risk that cannot be played fails before any work is lost."""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import optree
import torch
from torch import Tensor

from minimaxopt._types import PLAYERS, Player, Point, Tensors
from minimaxopt.calculus.double_backward import explain_backward_errors, refuse_wrong_second_derivatives
from minimaxopt.calculus.gradients import gradients, placed, scalar
from minimaxopt.calculus.vectors import of
from minimaxopt.errors import DataError, MinimaxoptError, RiskError
from minimaxopt.game.game import Flipped, takes_step
from minimaxopt.game.live_risk import refuse_changed
from minimaxopt.game.module_state import changed
from minimaxopt.game.originals import Originals
from minimaxopt.game.trees import leaves_with_names
from minimaxopt.solvers.micro_batches import micro_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from minimaxopt.solvers.context import Context


_NAMES: dict[Player, str] = {"u": "f", "v": "follower_loss"}


def probe(ctx: Context, *, second_order: bool, total: bool = False) -> None:
    """Evaluate the risk once on the first batch or micro-batch, with its gradients; raise what is wrong with it.

    Leaves the run, the batch and the players as they were.

    Args:
        ctx: the run that is about to begin.
        second_order: whether its solver differentiates the risk twice.
        total: whether it descends a total derivative of ``f`` in a game of two losses; ``f`` then depends on ``v``, and
            need not depend on ``u``.

    Raises:
        RiskError: if ``f`` fails, is not a differentiable scalar, changes its batch, runs under autocast though
            ``second_order``, or adds up over samples where batches are divided.
        ArgumentError: if ``f`` reaches the original of a player of which the solve plays a copy.
        DoubleBackwardError: if ``second_order`` and a custom function of ``f`` has no second derivative.
        DataError: if data are given to ``f(u, v)``, or missing for ``f(u, v, batch)``.
    """
    position, spent = ctx.source.position, ctx.gradient_evaluations
    batch, parts = ctx.source.take(), ctx.evaluation.micro_batches
    ctx.source.rewind(position)
    if parts > 1:  # a whole batch may be more than the memory holds
        batch = micro_batches(batch, parts)[0][1]
        ctx.evaluation.micro_batches = 1
    losses: list[Player] = ["u"] if ctx.game.zero_sum else [p for p in PLAYERS if p in ctx.optimizers]
    called: dict[Player, Any] = {
        "u": ctx.game.f.f if isinstance(ctx.game.f, Flipped) else ctx.game.f,
        "v": ctx.game.follower_loss,
    }
    for player in losses:
        _check_arguments(_NAMES[player], called[player], ("u", "v"), batch)
    if ctx.responding:
        _check_arguments("v", ctx.game.v, ("risk", "u"), batch)
    tensors = [t for p in PLAYERS for t in ctx.played.parameters[p].values()]
    values = [t.detach().clone() for t in tensors]
    own = _copied(batch)
    before, ctx.batch = ctx.batch, own
    watch = Originals(ctx.played, ctx.optimizers, autocast_is_wrong=second_order)
    ctx.played.watch = watch
    name = _NAMES["u"]
    try:
        for player in losses:
            name = _NAMES[player]
            with torch.compiler.set_stance("force_eager"):
                _evaluate(ctx, batch, watch, player, second_order=second_order, total=total)
                if parts > 1 and not ctx.responding:
                    _refuse_sum(ctx, own)
            _refuse_changed_batch(batch, own)
            watch.check(name)
    except Exception:
        watch.check(name)  # what goes wrong may come from values that only the original has
        raise
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, values, strict=True):
                if not torch.equal(tensor, value):
                    tensor.copy_(value)
        ctx.played.watch = None
        ctx.played.write_state(ctx.module_state)
        ctx.batch, ctx.gradient_evaluations, ctx.evaluation.micro_batches = before, spent, parts


def _evaluate(
    ctx: Context, batch: tuple[Any, ...], watch: Originals, loss: Player, *, second_order: bool, total: bool
) -> None:
    risk, v = ctx.evaluation.risk(0, ctx.batch, player=loss), ctx.point.v
    if ctx.responding:
        with _explain_failure("v: the responding follower", batch):
            v, risk = ctx.respond()
    players: tuple[Player, ...] = tuple(p for p in PLAYERS if p in ctx.optimizers) or ("u",)
    unused: tuple[Player, ...] = ()
    if not ctx.game.zero_sum:  # only the follower's loss is differentiated twice
        second_order = second_order and loss == "v"
        players = PLAYERS if total and loss == "u" else (loss,)
        unused = ("u",) if total else ()
    with placed(risk, Point(ctx.point.u, v), players) as at:
        with _explain_failure(f"{_NAMES[loss]}:", batch):
            value = risk(at.u, at.v)
        scalar(value)
        graph: dict[Player, Tensors] = {p: of(at, p) for p in players if not (p == "v" and ctx.responding)}
        if second_order:
            refuse_wrong_second_derivatives(value)
        with _explain_failure(f"{_NAMES[loss]}: its backward pass", batch), explain_backward_errors():
            watch.backward(value, [t for tensors in graph.values() for t in tensors.values()])
            try:
                gradients(value, graph, unused=unused)
            except RiskError as error:
                if ctx.game.zero_sum or loss == "v" or total:
                    raise
                raise RiskError(
                    f"{error}; where u acts through the follower's answer alone, use 'unrolled' or 'stackelberg'"
                ) from error
    ctx.played.find_silent_changes()


def _refuse_sum(ctx: Context, batch: tuple[Any, ...]) -> None:
    """Refuse a risk that adds up over the samples: parts that are weighted as those of a mean would give another step."""

    def evaluated(part: tuple[Any, ...]) -> Tensor:
        risk = ctx.risk(batch=part)
        with placed(risk, ctx.point, ()) as at:
            return scalar(risk(at.u, at.v)).detach().double()

    try:
        halves = [(share, evaluated(part)) for share, part in micro_batches(batch, 2)]
    except Exception:  # noqa: BLE001 - f may not take so few samples, as batch normalisation does not
        return
    if len(halves) < 2:
        return
    whole = evaluated(batch)
    total = torch.stack([value for _, value in halves]).sum()
    mean = torch.stack([share * value for share, value in halves]).sum()
    if torch.isclose(whole, total, rtol=1e-5) and not torch.isclose(whole, mean, rtol=1e-3):
        raise RiskError(
            "f: adds up over the samples of a batch, and micro_batches weighs parts as those of a mean; return the mean, or "
            "leave micro_batches out"
        )


def _copied(batch: Any) -> Any:
    """Return a batch with values of its own, so that a risk that changes them does no harm before it is refused."""

    def one(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return leaf.clone()
        return leaf.copy() if isinstance(leaf, np.ndarray) else leaf

    return optree.tree_map(one, batch)


def _refuse_changed_batch(batch: tuple[Any, ...], own: tuple[Any, ...]) -> None:
    """Refuse a risk that changes values in place without torch noticing: through ``tensor.data``, or in NumPy arrays."""
    for (name, before), (_, after) in zip(leaves_with_names(batch), leaves_with_names(own), strict=True):
        if isinstance(before, (Tensor, np.ndarray)) and changed({name: before}, {name: after}):
            raise refuse_changed(name)


@contextlib.contextmanager
def _explain_failure(who: str, batch: tuple[Any, ...]) -> Generator[None]:
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
        signature.bind(*leading, *batch, **({"step": 0} if takes_step(f) else {}))
    except TypeError as error:
        called = f"{name} is called with ({', '.join([*leading, *('batch' for _ in batch)])})"
        if batch:
            message = f"were given, so that {called}, but it takes {signature}; add the argument or leave data out"
        else:
            message = f"are missing, so that {called}, but it takes {signature}; give data=Batches(...)"
        raise DataError(f"data: {message}") from error
