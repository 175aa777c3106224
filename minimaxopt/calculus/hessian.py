"""Blocks of the Hessian times vectors, by reverse over reverse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, final

import torch
from torch import Tensor

from minimaxopt._types import PLAYERS, Player, Point, Tensors
from minimaxopt.calculus.double_backward import explain_backward_errors
from minimaxopt.calculus.gradients import FlatRisk, Gradients, RiskOnModules, gradients, placed, scalar, track
from minimaxopt.calculus.vectors import dense, dot, negated, of


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
        DoubleBackwardError: as for ``penalized_gradient``.
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

    with explain_backward_errors():
        return torch.func.grad(along)(of(still, row))


@final
class Blocks:
    """The gradients at a point with their graph kept, and blocks of the Hessian times vectors from that graph.

    ``(d2f / d row d column) vector = d / d row <grad_column f, vector>``, one backward pass each

    The point is kept, so that the players may move while products are still wanted.

    Args:
        risk: the risk of flat tensors.
        point: where.
        count: called at each evaluation, the first and every product, by whoever counts them.
        columns: the players whose gradients are formed, and by which products can be contracted.

    Attributes:
        gradients: the operator at the point, as ``operator`` returns it.

    Raises:
        DoubleBackwardError: by ``product``, as ``penalized_gradient`` does.
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

    def __init__(
        self,
        risk: FlatRisk,
        point: Point,
        count: Callable[[], None] = lambda: None,
        columns: tuple[Player, ...] = PLAYERS,
    ) -> None:
        self._count = count
        self._count()
        if not isinstance(risk, RiskOnModules):
            point = Point(*({n: t.detach().clone().requires_grad_() for n, t in tensors.items()} for tensors in point))
        self._place = placed(risk, point, PLAYERS, again=True)
        with self._place as at:
            self._at = at
            value = scalar(risk(at.u, at.v))
            self._with_graph = gradients(value, {p: of(at, p) for p in columns}, create_graph=True)
        cut = {p: {n: g.detach() for n, g in tensors.items()} for p, tensors in self._with_graph.items()}
        self.gradients = Gradients(value.detach(), cut.get("u", {}), negated(cut.get("v", {})))

    def product(self, vector: Tensors, *, row: Player, column: Player) -> Tensors:
        """Return ``(d2f / d row d column) vector``, of the form of player ``row``, without a graph of its own."""
        return self._pull({column: vector}, (row,))[row]

    def whole(self, vector: Point) -> Point:
        """Return the whole Hessian of ``f`` times a vector of both players' forms, in one pass."""
        rows = self._pull({"u": vector.u, "v": vector.v}, ("u", "v"))
        return Point(rows["u"], rows["v"])

    def column(self, vector: Tensors, *, column: Player) -> Point:
        """Return the Hessian of ``f`` times a vector of one player's form, in one pass: both rows of the product."""
        rows = self._pull({column: vector}, ("u", "v"))
        return Point(rows["u"], rows["v"])

    def _pull(self, vectors: dict[Player, Tensors], rows: tuple[Player, ...]) -> dict[Player, Tensors]:
        self._count()
        columns = [g for column in vectors for g in self._with_graph[column].values()]
        along = dot(columns, [vector[n].detach() for c, vector in vectors.items() for n in self._with_graph[c]])
        at: dict[Player, Tensors] = {row: of(self._at, row) for row in rows}
        if not along.requires_grad:  # linear in the columns' players, with a constant slope
            return {row: {n: torch.zeros_like(t) for n, t in tensors.items()} for row, tensors in at.items()}
        flat = [t for tensors in at.values() for t in tensors.values()]
        with self._place, explain_backward_errors():
            products: Iterator[Tensor | None] = iter(
                torch.autograd.grad(along, flat, retain_graph=True, allow_unused=True)
            )
        result: dict[Player, Tensors] = {}
        for row, tensors in at.items():
            parts: dict[str, Any] = {name: next(products) for name in tensors}
            result[row] = {
                name: torch.zeros_like(tensors[name]) if g is None else dense(g) for name, g in parts.items()
            }
        return result
