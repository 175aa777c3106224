"""Derivatives of a game's risk, exact to rounding.

The sign lives here and nowhere else: ``operator`` is ``F = (grad_u f, -grad_v f)``, each player's gradient of its own
loss, and both optimizers descend it.

Two engines compute on the same functional form. Gradients and the penalised gradient use ``torch.autograd.grad``,
reverse over reverse, which also admits gradient penalties and old autograd functions inside ``f``. Hessian-vector
products are transforms of ``torch.func`` and compose with ``vmap``. Finite differences are wrong on piecewise linear
networks, and reverse over forward is wrong for normalisation layers in present releases of torch, so that neither is
used.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, final

import torch
from torch import Tensor

from minimaxopt._types import Player, Point, Tensors
from minimaxopt.errors import DoubleBackwardError, RiskError
from minimaxopt.game.trees import dot, squared_norm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FlatRisk: TypeAlias = Callable[[Tensors, Tensors], Tensor]
"""The risk as a function of the flat tensors of both players."""


class Gradients(NamedTuple):
    """The risk at a point, and each player's gradient of its own loss there: the components of the operator ``F``."""

    risk: Tensor
    u: Tensors
    v: Tensors


class Penalised(NamedTuple):
    """The penalised gradient: the risk, both components of the direction, and ``||grad_v f||^2``."""

    risk: Tensor
    u: Tensors
    v: Tensors
    sensitivity: Tensor


class OwnDerivatives(ABC):
    """A risk that forms its derivatives itself, as compiled code; ``operator`` and ``penalised`` ask it for them."""

    @abstractmethod
    def __call__(self, u: Tensors, v: Tensors) -> Tensor:
        """Return the risk, a tensor that autograd can differentiate."""

    @abstractmethod
    def operator(self, point: Point, players: Sequence[Player]) -> Gradients:
        """Return what the function ``operator`` returns."""

    @abstractmethod
    def penalised(self, point: Point, gamma: float | Tensor) -> Penalised:
        """Return what the function ``penalised`` returns."""


def operator(risk: FlatRisk, point: Point, players: Sequence[Player] = ("u", "v")) -> Gradients:
    """Return the game's operator, each player's gradient of its own loss.

    ``F(u, v) = (grad_u f, -grad_v f)``

    Args:
        risk: the risk of flat tensors.
        point: where; its tensors need not require gradients.
        players: whose components are wanted; those of the others come back empty and cost nothing.

    Raises:
        RiskError: if the risk is not a differentiable scalar, or does not depend on a wanted player.

    Examples:
        >>> import torch
        >>> from minimaxopt._types import Point
        >>> at = Point({"x": torch.tensor(2.0)}, {"y": torch.tensor(3.0)})
        >>> F = operator(lambda u, v: (u["x"] * v["y"]).sum(), at)
        >>> F.u["x"].item(), F.v["y"].item()
        (3.0, -2.0)

    Source: the vector field of a two-player zero-sum game, as in Mescheder et al. 2017.
    """
    if isinstance(risk, OwnDerivatives):
        return risk.operator(point, players)
    at = track(point, players)
    value = scalar(risk(at.u, at.v))
    found = gradients(value, {player: of(at, player) for player in players})
    return Gradients(value.detach(), found.get("u", {}), negated(found.get("v", {})))


def penalised(risk: FlatRisk, point: Point, gamma: float | Tensor) -> Penalised:
    """Return the leader's gradient of the sensitivity-penalised risk, and the follower's own, from one evaluation.

    ``grad_u [f + (gamma / 2) ||grad_v f||^2] = grad_u f + gamma (d2f / du dv) grad_v f``

    Args:
        risk: the risk of flat tensors.
        point: where both gradients are formed.
        gamma: the weight of the penalty, a non-negative number.

    Raises:
        DoubleBackwardError: if an operation of ``f`` has no second derivative in torch; it is named with the remedy.
        RiskError: as for ``operator``.

    Source: Hamm and Mehra 2018, Alg. 1 and Eq. 16 (Eq. 8 for a responding follower).
    """
    if isinstance(risk, OwnDerivatives):
        return risk.penalised(point, gamma)
    at = track(point, ("u", "v"))
    value = scalar(risk(at.u, at.v))
    if not isinstance(gamma, Tensor) and gamma == 0:
        first = gradients(value, {"u": at.u, "v": at.v})
        return Penalised(value.detach(), first["u"], negated(first["v"]), squared_norm(first["v"].values()))
    g_v = gradients(value, {"v": at.v}, create_graph=True)["v"]
    sensitivity = squared_norm(g_v.values())
    g_u = gradients(value + (gamma / 2) * sensitivity, {"u": at.u}, second=True)["u"]
    return Penalised(value.detach(), g_u, negated({n: g.detach() for n, g in g_v.items()}), sensitivity.detach())


def hvp(risk: FlatRisk, point: Point, vector: Tensors, *, row: Player, column: Player) -> Tensors:
    """Return a block of the Hessian times a vector, by reverse over reverse in torch.func.

    ``(d2f / d row d column) vector``

    The product carries no graph of its own.

    Args:
        risk: the risk of flat tensors.
        point: where.
        vector: tensors of the form of player ``column``.
        row: the player whose form the product has. ``row="u", column="v"`` is the mixed product of Eq. 15.
        column: the player with whose form the vector is contracted.

    Raises:
        DoubleBackwardError: as for ``penalised``.
        RiskError: if ``f`` itself calls ``torch.autograd.grad`` or an old-style ``autograd.Function``, which
            ``torch.func`` cannot transform.

    Examples:
        >>> import torch
        >>> from minimaxopt._types import Point
        >>> at = Point({"x": torch.tensor(2.0)}, {"y": torch.tensor(3.0)})
        >>> hvp(lambda u, v: u["x"] ** 2 * v["y"], at, {"y": torch.tensor(1.0)}, row="u", column="v")["x"].item()
        4.0

    Source: Pearlmutter 1994.
    """
    index = {"u": 0, "v": 1}
    # Live tensors require gradients, and ordinary autograd would record both passes for a third that nobody makes.
    still = track(point, ())

    def along(moving: Tensors) -> Tensor:
        at = still._replace(**{row: moving})
        slope = torch.func.grad(risk, argnums=index[column])(at.u, at.v)
        return dot(slope.values(), [vector[name].detach() for name in slope])

    with _second_derivatives():
        return torch.func.grad(along)(of(still, row))


@final
class Blocks:
    """The gradients at a point with their graph kept, and blocks of the Hessian times vectors from that graph.

    ``(d2f / d row d column) vector = d / d row <grad_column f, vector>``, one backward pass each

    The point is copied, so that the players may move while products are still wanted.

    Args:
        risk: the risk of flat tensors.
        point: where.
        count: called at each evaluation, the first and every product, by whoever counts them.

    Attributes:
        gradients: the operator at the point, as ``operator`` returns it.

    Raises:
        DoubleBackwardError: by ``product``, as ``penalised`` does.
        RiskError: as ``operator`` does.

    Examples:
        >>> import torch
        >>> from minimaxopt._types import Point
        >>> at = Point({"x": torch.tensor(2.0)}, {"y": torch.tensor(3.0)})
        >>> blocks = Blocks(lambda u, v: u["x"] ** 2 * v["y"], at)
        >>> blocks.gradients.v["y"].item(), blocks.product({"y": torch.tensor(1.0)}, row="u", column="v")["x"].item()
        (-4.0, 4.0)

    Source: Pearlmutter 1994.
    """

    def __init__(self, risk: FlatRisk, point: Point, count: Callable[[], None] = lambda: None) -> None:
        self._count = count
        self._count()
        self._at = Point(*({n: t.detach().clone().requires_grad_() for n, t in held.items()} for held in point))
        value = scalar(risk(self._at.u, self._at.v))
        self._slopes = gradients(value, {"u": self._at.u, "v": self._at.v}, create_graph=True)
        cut = {p: {n: g.detach() for n, g in slope.items()} for p, slope in self._slopes.items()}
        self.gradients = Gradients(value.detach(), cut["u"], negated(cut["v"]))

    def product(self, vector: Tensors, *, row: Player, column: Player) -> Tensors:
        """Return ``(d2f / d row d column) vector``, of the form of player ``row``, without a graph of its own."""
        return self._pull({column: vector}, (row,))[row]

    def whole(self, vector: Point) -> Point:
        """Return the whole Hessian of ``f`` times a vector of both players' forms, in one pass."""
        found = self._pull({"u": vector.u, "v": vector.v}, ("u", "v"))
        return Point(found["u"], found["v"])

    def _pull(self, vectors: dict[Player, Tensors], rows: tuple[Player, ...]) -> dict[Player, Tensors]:
        self._count()
        slopes = [g for column in vectors for g in self._slopes[column].values()]
        along = dot(slopes, [vector[n].detach() for c, vector in vectors.items() for n in self._slopes[c]])
        at: dict[Player, Tensors] = {row: of(self._at, row) for row in rows}
        if not along.requires_grad:  # linear in the columns' players, with a constant slope
            return {row: {n: torch.zeros_like(t) for n, t in held.items()} for row, held in at.items()}
        flat = [t for held in at.values() for t in held.values()]
        with _second_derivatives():
            found: Iterator[Tensor | None] = iter(
                torch.autograd.grad(along, flat, retain_graph=True, allow_unused=True)
            )
        result: dict[Player, Tensors] = {}
        for row, held in at.items():
            parts: dict[str, Any] = {name: next(found) for name in held}
            result[row] = {name: torch.zeros_like(held[name]) if g is None else g for name, g in parts.items()}
        return result


def gradients(
    value: Tensor, groups: dict[Player, Tensors], *, create_graph: bool = False, second: bool = False
) -> dict[Player, Tensors]:
    """Return ``d value / d tensors`` by player and name, with zeros where the value does not depend on a tensor."""
    if not value.requires_grad:
        raise RiskError(
            "f: the risk carries no gradient: it was computed under no_grad, detached, turned into a number, or does "
            "not use the players that are to move; return the tensor itself"
        )
    flat = [tensor for tensors in groups.values() for tensor in tensors.values()]
    with _second_derivatives(second):
        # torch's stubs leave the None of unused tensors out.
        found: Iterator[Tensor | None] = iter(
            torch.autograd.grad(value, flat, create_graph=create_graph, allow_unused=True)
        )
    result: dict[Player, Tensors] = {}
    for player, tensors in groups.items():
        parts: dict[str, Any] = {name: next(found) for name in tensors}
        if all(g is None for g in parts.values()):
            raise RiskError(
                f"f: the risk does not depend on {player} at all; use the argument inside f and do not detach it"
            )
        result[player] = {n: torch.zeros_like(tensors[n]) if g is None else g for n, g in parts.items()}
    return result


def scalar(value: Any) -> Tensor:
    """Return ``value`` if it is a 0-d floating tensor, else raise with the remedy."""
    if not isinstance(value, Tensor):
        raise RiskError(f"f: returned {type(value).__name__}; return the risk as a 0-d tensor, not as a number")
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


def negated(tensors: Tensors) -> Tensors:
    return {name: -tensor for name, tensor in tensors.items()}


def of(point: Point, player: Player) -> Tensors:
    return point.u if player == "u" else point.v


_DERIVATIVE = re.compile(r"derivative for '?(?:aten::)?(\w+?)'? is not implemented")
_REMEDIES = {
    "scaled_dot_product": "wrap it in torch.nn.attention.sdpa_kernel(SDPBackend.MATH)",
    "embedding_bag": "use torch.nn.functional.embedding and reduce its output",
    "dist": "write the distances by broadcasting, (x[:, None] - y).square().sum(-1).sqrt()",
    "ctc_loss": "choose a loss with a second derivative",
    "rnn": "turn the fused layer off, with torch.backends.cudnn.flags(False) or torch.backends.mkldnn.flags(False)",
}


class _second_derivatives:  # noqa: N801 - reads as a statement
    """Turn torch's report of a missing second derivative into one that names the operation and the remedy."""

    def __init__(self, active: bool = True) -> None:
        self._active = active

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not self._active or not isinstance(error, RuntimeError):
            return
        text = str(error)
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
        elif "does not currently support double backward" in text:
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
