"""Mirror steps: an optimizer whose moves keep weights on their simplex."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from minimaxopt.errors import ArgumentError


@final
class ExponentiatedGradient(torch.optim.Optimizer):
    """Move weights on a simplex by factors instead of differences: mirror descent with the negative entropy.

    ``w_i <- w_i exp(-lr g_i) / Z``, with the ``Z`` for which the sum over the last dimension stays what it was

    An ordinary optimizer, which ``solve`` takes as ``u_optimizer`` or ``v_optimizer`` in place of a projection; the
    follower's gradient comes with the sign that makes it ascend. Against gradients of at most ``G`` in magnitude its
    regret after ``T`` steps from ``n`` equal weights of sum one is at most ``log(n) / lr + lr T G^2 / 2``; for projected
    steps ``n`` takes the place of its logarithm.

    A weight of zero stays zero, since no factor can change it; a positive weight stays positive, at the dtype's
    smallest normal number at least, so that it can come back. The step is computed in logarithms, so that no gradient
    is too large. The sum is that before the first step.

    ``Extragradient`` and ``PastExtragradient`` extrapolate by whole steps and stay on the simplex: with this optimizer
    they are mirror-prox and optimistic mirror descent. Moves that are formed from differences of steps, such as those of
    ``Optimistic``, may leave it; give the game ``Simplex()`` as projection there, which puts what is negative at zero, for
    good.

    Args:
        params: tensors of weights, or dictionaries with ``params`` and ``lr``; none negative, none of whose rows (along
            the last dimension) is all zero.
        lr: the step size, in units of one over the gradient's; not negative.

    Raises:
        ArgumentError: for a negative or non-finite weight, a row without a positive weight, a tensor without a
            dimension, or a step size that is negative or not finite.

    Examples:
        >>> w = torch.tensor([0.25, 0.75], requires_grad=True)
        >>> optimizer = ExponentiatedGradient([w], lr=1.0)
        >>> w.grad = torch.tensor([math.log(3), 0.0])
        >>> optimizer.step()
        >>> w.detach()
        tensor([0.1000, 0.9000])

    Source: Kivinen and Warmuth 1997; Beck and Teboulle 2003, Sec. 5.
    """

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        _check_rate(lr)
        super().__init__(params, {"lr": lr})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add weights with settings of their own, after the same checks as at construction."""
        _check_rate(param_group.get("lr", self.defaults["lr"]))
        super().add_param_group(param_group)
        for weights in self.param_groups[-1]["params"]:
            _check_weights(weights.detach())

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride] - torch declares two overloads
        """Make one step along the tensors' gradients."""
        loss: float | None = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is not None:
                    self._move(weights, weights.grad, group["lr"])
        return loss

    def _move(self, weights: Tensor, gradient: Tensor, lr: float | Tensor) -> None:
        state = self.state[weights]
        if "total" not in state:
            state["total"] = weights.sum(-1, keepdim=True)
        moved = torch.softmax(weights.log() - lr * gradient, dim=-1) * state["total"]
        # In exact arithmetic nothing positive ever becomes zero, from which it could not return.
        floor = torch.where(weights == 0, 0, torch.finfo(weights.dtype).tiny)
        weights.copy_(torch.maximum(moved, floor))


def _check_rate(lr: Any) -> None:
    if not 0 <= float(lr) < math.inf:
        raise ArgumentError(f"lr: {float(lr)} is not a step size; give a finite number >= 0")


def _check_weights(weights: Tensor) -> None:
    remedy = "give weights on a simplex, such as Simplex()(weights) or torch.full((n,), 1 / n)"
    if weights.dim() == 0:
        raise ArgumentError(f"params: a 0-d tensor is not a row of weights; {remedy}")
    if not bool((weights.isfinite() & (weights >= 0)).all()):
        raise ArgumentError(f"params: has weights that are negative or not finite; {remedy}")
    if not bool((weights.sum(-1) > 0).all()):
        raise ArgumentError(f"params: has a row without a positive weight, which no factor can change; {remedy}")
