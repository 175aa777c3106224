"""Derivatives of a game's risk, exact to rounding.

The sign lives here and nowhere else: ``operator`` is ``F = (grad_u f, -grad_v f)``, each player's gradient of its own
loss, and both optimizers descend it.

Gradients and the penalised gradient use ``torch.autograd.grad``, reverse over reverse, which also admits gradient
penalties and old autograd functions inside ``f``. Hessian-vector products have two engines: see ``Blocks``. Finite
differences are wrong on piecewise linear networks, and reverse over forward is wrong for normalisation layers in
present releases of torch, so that neither is used.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

from minimaxopt._types import Buffers, Player, Point, Tensors
from minimaxopt.calculus.double_backward import explain_backward_errors
from minimaxopt.calculus.vectors import negated, of, squared_norm
from minimaxopt.errors import RiskError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FlatRisk: TypeAlias = Callable[[Tensors, Tensors], Tensor]
"""The risk as a function of the flat tensors of both players."""


class Gradients(NamedTuple):
    """The risk at a point, and each player's gradient of its own loss there: the components of the operator ``F``."""

    risk: Tensor
    """``f``; NaN in a game of two losses where ``u`` is empty, since ``f`` has not been evaluated."""
    u: Tensors
    v: Tensors
    follower_loss: Tensor | None = None
    """The follower's own loss, in a game of two losses where ``v`` is not empty."""


class PenalizedGradient(NamedTuple):
    """The penalised gradient: the risk, both components of the direction, and ``||grad_v f||^2``."""

    risk: Tensor
    u: Tensors
    v: Tensors
    sensitivity: Tensor


class OwnDerivatives(ABC):
    """A risk that forms its derivatives itself, as compiled code; ``operator`` and ``penalized_gradient`` ask it for them."""

    @abstractmethod
    def __call__(self, u: Tensors, v: Tensors) -> Tensor:
        """Return the risk, a tensor that autograd can differentiate."""

    @abstractmethod
    def operator(self, point: Point, players: Sequence[Player]) -> Gradients:
        """Return what the function ``operator`` returns."""

    @abstractmethod
    def penalized_gradient(self, point: Point, gamma: float | Tensor) -> PenalizedGradient:
        """Return what the function ``penalized_gradient`` returns."""


class RiskOnModules(ABC):
    """A risk on modules as they are: elsewhere than at the live point their tensors take other values for a while."""

    @abstractmethod
    def __call__(self, u: Tensors, v: Tensors) -> Tensor:
        """Return the risk at the tensors that ``placed`` yields."""

    @abstractmethod
    def placed(self, point: Point, players: Sequence[Player], *, again: bool = False) -> AbstractContextManager[Point]:
        """Let the modules hold ``point`` while the risk is evaluated and differentiated.

        Args:
            point: the values.
            players: whose tensors are to be differentiated.
            again: whether the context will be entered again, for further derivatives of the same evaluation.
        """


def placed(
    risk: FlatRisk, point: Point, players: Sequence[Player], *, again: bool = False
) -> AbstractContextManager[Point]:
    """Yield the tensors on which to evaluate ``risk`` at ``point``; derivatives are formed inside the context."""
    if isinstance(risk, RiskOnModules):
        return risk.placed(point, players, again=again)
    return nullcontext(track(point, players))


def operator(
    risk: FlatRisk, point: Point, players: Sequence[Player] = ("u", "v"), *, unused: Sequence[Player] = ()
) -> Gradients:
    """Return the game's operator, each player's gradient of its own loss.

    ``F(u, v) = (grad_u f, -grad_v f)``

    Args:
        risk: the risk of flat tensors.
        point: where; its tensors need not require gradients.
        players: whose components are wanted; those of the others come back empty and cost nothing.
        unused: players on which the risk need not depend; their component is then zero.

    Raises:
        RiskError: if the risk is not a differentiable scalar, or does not depend on a wanted player.

    Examples:
        >>> import torch
        >>> from minimaxopt.calculus import Point
        >>> at = Point({"x": torch.tensor(2.0)}, {"y": torch.tensor(3.0)})
        >>> F = operator(lambda u, v: (u["x"] * v["y"]).sum(), at)
        >>> F.u["x"].item(), F.v["y"].item()
        (3.0, -2.0)

    Source: the vector field of a two-player zero-sum game, as in Mescheder et al. 2017.
    """
    if isinstance(risk, OwnDerivatives):
        return risk.operator(point, players)
    with placed(risk, point, players) as at:
        value = scalar(risk(at.u, at.v))
        by_player = gradients(value, {player: of(at, player) for player in players}, unused=unused)
    return Gradients(value.detach(), by_player.get("u", {}), negated(by_player["v"]) if "v" in by_player else {})


def penalized_gradient(risk: FlatRisk, point: Point, gamma: float | Tensor) -> PenalizedGradient:
    """Return the leader's gradient of the sensitivity-penalised risk, and the follower's own, from one evaluation.

    ``grad_u [f + (gamma / 2) ||grad_v f||^2] = grad_u f + gamma (d2f / du dv) grad_v f``

    Args:
        risk: the risk of flat tensors.
        point: where both gradients are formed.
        gamma: the weight of the penalty, a non-negative number.

    Raises:
        DoubleBackwardError: if an operation of ``f`` has no second derivative in torch; it is named with the remedy.
        RiskError: as for ``operator``.

    Examples:
        >>> import torch
        >>> from minimaxopt.calculus import Point
        >>> at = Point({"x": torch.tensor(2.0)}, {"y": torch.tensor(3.0)})
        >>> penalized = penalized_gradient(lambda u, v: (u["x"] * v["y"]).sum(), at, gamma=0.5)
        >>> penalized.u["x"].item(), penalized.sensitivity.item()  # y + gamma x, and x squared
        (4.0, 4.0)

    Source: Hamm and Mehra 2018, Alg. 1 and Eq. 16 (Eq. 8 for a responding follower).
    """
    if isinstance(risk, OwnDerivatives):
        return risk.penalized_gradient(point, gamma)
    with placed(risk, point, ("u", "v")) as at:
        value = scalar(risk(at.u, at.v))
        if not isinstance(gamma, Tensor) and gamma == 0:
            first = gradients(value, {"u": at.u, "v": at.v})
            return PenalizedGradient(value.detach(), first["u"], negated(first["v"]), squared_norm(first["v"].values()))
        g_v = gradients(value, {"v": at.v}, create_graph=True)["v"]
        sensitivity = squared_norm(g_v.values())
        g_u = gradients(value + (gamma / 2) * sensitivity, {"u": at.u}, second=True)["u"]
    return PenalizedGradient(
        value.detach(), g_u, negated({n: g.detach() for n, g in g_v.items()}), sensitivity.detach()
    )


def gradients(
    value: Tensor,
    groups: dict[Player, Tensors],
    *,
    create_graph: bool = False,
    second: bool = False,
    unused: Sequence[Player] = (),
) -> dict[Player, Tensors]:
    """Return ``d value / d tensors`` by player and name, with zeros where the value does not depend on a tensor.

    Raises:
        RiskError: if the value depends on no tensor of a player, other than those of ``unused``.
    """
    if not value.requires_grad:
        raise RiskError(
            "f: the risk carries no gradient: it was computed under no_grad, detached, turned into a number, or does "
            "not use the players that are to move; return the tensor itself"
        )
    flat = [tensor for tensors in groups.values() for tensor in tensors.values()]
    with explain_backward_errors(second):
        # torch's stubs leave the None of unused tensors out.
        derivatives: Iterator[Any] = iter(
            torch.autograd.grad(value, flat, create_graph=create_graph, allow_unused=True)
        )
    result: dict[Player, Tensors] = {}
    for player, tensors in groups.items():
        parts: Tensors = {}
        used = player in unused
        for (name, tensor), g in zip(tensors.items(), derivatives, strict=False):  # the next player's follow
            if g is None:
                parts[name] = torch.zeros_like(tensor)
            else:
                used = True
                # The gradient of a sparse embedding would be sparse, which most arithmetic and optimizers refuse.
                parts[name] = g.to_dense() if g.is_sparse else g
        if not used:
            raise RiskError(
                f"f: the risk does not depend on {player} at all; use the argument inside f and do not detach it"
            )
        result[player] = parts
    return result


def scalar(value: Any) -> Tensor:
    """Return ``value`` if it is a 0-d floating tensor, else raise with the remedy."""
    if not isinstance(value, Tensor):
        raise RiskError(
            f"f: returned {type(value).__name__}; return the risk as a 0-d tensor, or (risk, {{name: value}}) to log values"
        )
    if value.dim() != 0:
        raise RiskError(
            f"f: returned a tensor of shape {tuple(value.shape)}; reduce it to a 0-d tensor, for example with .mean()"
        )
    if not value.is_floating_point():
        raise RiskError(f"f: returned a {value.dtype} tensor, which has no gradient; return a floating risk")
    return value


def track(point: Point, players: Sequence[Player]) -> Point:
    """Return the point with gradients tracked for ``players`` and cut off for the others."""

    def one(player: Player, tensors: Tensors) -> Tensors:
        if player not in players:
            return {n: t.detach() for n, t in tensors.items()}
        return {n: t if t.requires_grad else t.detach().requires_grad_() for n, t in tensors.items()}

    return Point(one("u", point.u), one("v", point.v))


class Deriving(Protocol):
    """Forms a risk's derivatives in autograd's place."""

    def risk(
        self,
        eager: FlatRisk,
        batch: tuple[Any, ...],
        buffers: Buffers,
        seeded: Callable[[], None],
        note: Callable[[Buffers], None],
        shell: Any = None,
    ) -> OwnDerivatives:
        """Return ``eager`` with derivatives of its own."""
        ...
