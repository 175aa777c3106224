"""Derivatives of a game's risk as compiled functions.

torch cannot differentiate through a compiled function twice (PyTorch issue 91469), so that the derivative is taken
first, by ``torch.func``, and what is compiled is a pure function from players, batch and buffers to the risk, its
derivatives and the buffers after. The seeds are set outside, before each call, as for eager evaluations.
"""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from minimaxopt._types import Buffers, Player, Point, Tensors
from minimaxopt.calculus.gradients import FlatRisk, Gradients, OwnDerivatives, PenalizedGradient
from minimaxopt.calculus.vectors import negated, squared_norm
from minimaxopt.errors import ArgumentError
from minimaxopt.execution.inductor_backend import inductor
from minimaxopt.game.trees import rebuilt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from minimaxopt.game.functional import Functional


@final
class Compiled:
    """The compiled derivatives of one game; each is compiled when it is first asked for, once for each batch shape."""

    def __init__(self, functional: Functional) -> None:
        self._functional = functional
        self._made: dict[Any, Callable[..., Any]] = {}

    def risk(
        self,
        eager: FlatRisk,
        batch: tuple[Any, ...],
        buffers: Buffers,
        seeded: Callable[[], None],
        note: Callable[[Buffers], None],
        shell: Any = None,
    ) -> CompiledRisk:
        """Return ``eager`` with compiled derivatives.

        Args:
            eager: the risk of flat tensors.
            batch: what the risk is evaluated on.
            buffers: those that go in.
            seeded: called before each evaluation.
            note: takes the buffers that an evaluation leaves.
            shell: the form of a responding follower's answer, as ``shell_of`` gives it.
        """
        return CompiledRisk(self, eager, batch, buffers, seeded, note, shell)

    def operator(
        self, players: tuple[Player, ...], shell: Any, u: Tensors, v: Tensors, batch: Any, buffers: Buffers
    ) -> tuple[Gradients, Buffers]:
        """Return the result of ``calculus.operator``, and the buffers after it."""
        function = self._function(("operator", players), shell, lambda risk: operator_of(risk, players))
        value, components, after = called(function, u, v, batch, buffers)
        by_player = dict(zip(players, components, strict=True))
        return Gradients(value, by_player.get("u", {}), by_player.get("v", {})), after

    def penalized_gradient(
        self, half: Tensor, shell: Any, u: Tensors, v: Tensors, batch: Any, buffers: Buffers
    ) -> tuple[PenalizedGradient, Buffers]:
        """Return the result of ``calculus.penalized_gradient`` for the weight ``2 half``, and the buffers after."""
        function = self._function(("penalised",), shell, penalized_gradient_of)
        value, g_u, g_v, sensitivity, after = called(function, u, v, batch, buffers, half)
        return PenalizedGradient(value, g_u, g_v, sensitivity), after

    def _function(self, kind: Any, shell: Any, derive: Callable[[Any], Any]) -> Callable[..., Any]:
        key = (*kind, None if shell is None else repr(shell))
        if key not in self._made:
            evaluate = self._functional.evaluate

            def risk(u: Tensors, v: Tensors, batch: Any, buffers: Buffers) -> tuple[Tensor, Any]:
                answer: Any = v if shell is None else rebuilt(shell, list(v.values()))
                value, after = evaluate(u, answer, batch, buffers)
                return value, (value, after)

            self._made[key] = _compiled(derive(risk))
        return self._made[key]


@final
class CompiledRisk(OwnDerivatives):
    """A risk of flat tensors whose derivatives are compiled; its value is not."""

    def __init__(
        self,
        compiled: Compiled,
        eager: FlatRisk,
        batch: tuple[Any, ...],
        buffers: Buffers,
        seeded: Callable[[], None],
        note: Callable[[Buffers], None],
        shell: Any,
    ) -> None:
        self._compiled, self._eager, self._shell = compiled, eager, shell
        self._batch, self._buffers, self._seeded, self._note = batch, buffers, seeded, note

    def __call__(self, u: Tensors, v: Tensors) -> Tensor:
        """Return the risk by the eager evaluation."""
        return self._eager(u, v)

    def operator(self, point: Point, players: Sequence[Player]) -> Gradients:
        """Return the operator's wanted components."""
        derivatives, after = self._compiled.operator(tuple(players), self._shell, *self._arguments(point))
        self._note(after)
        return derivatives

    def penalized_gradient(self, point: Point, gamma: float | Tensor) -> PenalizedGradient:
        """Return the penalised gradient."""
        if not isinstance(gamma, Tensor) and gamma == 0:
            first = self.operator(point, ("u", "v"))
            return PenalizedGradient(first.risk, first.u, first.v, squared_norm(first.v.values()))
        # A tensor, since a number would be compiled in; 0-d, so that it changes no type.
        half = gamma / 2 if isinstance(gamma, Tensor) else torch.tensor(gamma / 2, dtype=torch.float64)
        derivatives, after = self._compiled.penalized_gradient(half, self._shell, *self._arguments(point))
        self._note(after)
        return derivatives

    def _arguments(self, point: Point) -> tuple[Tensors, Tensors, Any, Buffers]:
        u, v = ({name: t.detach() for name, t in tensors.items()} for tensors in point)
        self._seeded()
        return u, v, self._batch, self._buffers


def operator_of(risk: Any, players: tuple[Player, ...]) -> Any:
    """Return the function that forms the operator's components for ``players``, the risk and the buffers after."""
    argnums = tuple("uv".index(player) for player in players)

    def derivatives(u: Tensors, v: Tensors, batch: Any, buffers: Buffers) -> Any:
        gradients, (value, after) = torch.func.grad(risk, argnums=argnums, has_aux=True)(u, v, batch, buffers)
        components = [negated(grad) if player == "v" else grad for player, grad in zip(players, gradients, strict=True)]
        return value, components, after

    return derivatives


def penalized_gradient_of(risk: Any) -> Any:
    """Return the function that forms the penalized gradient, the risk and the buffers after."""

    def derivatives(u: Tensors, v: Tensors, batch: Any, buffers: Buffers, half: Tensor) -> Any:
        def total(moving: Tensors) -> tuple[Tensor, Any]:
            grad, (value, after) = torch.func.grad(risk, argnums=1, has_aux=True)(moving, v, batch, buffers)
            sensitivity = squared_norm(grad.values())
            return value + half * sensitivity, (value, grad, sensitivity, after)

        g_u, (value, grad, sensitivity, after) = torch.func.grad(total, has_aux=True)(u)
        return value, g_u, negated(grad), sensitivity, after

    return derivatives


def with_own_code(function: Any) -> Callable[..., Any]:
    """Return a copy of a function with a code object of its own.

    torch keeps compiled forms, and counts them against a limit, by code object. With a copy of its own each solve begins
    at none and leaves none behind.
    """
    code = function.__code__.replace()
    return FunctionType(code, function.__globals__, function.__name__, None, function.__closure__)


def _compiled(function: Any) -> Callable[..., Any]:
    return torch.compile(with_own_code(function), fullgraph=True, dynamic=False, backend=inductor)


def called(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a compiled function without a graph; explain where torch has compiled it too often."""
    from torch._dynamo.exc import FailOnRecompileLimitHit

    with torch.no_grad():
        try:
            return function(*arguments)
        except FailOnRecompileLimitHit as error:
            raise ArgumentError(
                "compile: each shape of batches, and each value of a Python variable that f reads, is compiled "
                "separately, and there are too many; give batches of one shape and let f read tensors, or leave "
                "compile out"
            ) from error
