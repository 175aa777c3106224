"""Blocks of the Hessian times vectors, by reverse over reverse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, Literal, TypeAlias, final

import torch
from torch import Tensor

from minimaxopt._types import PLAYERS, Player, Point, Tensors
from minimaxopt.calculus.double_backward import explain_backward_errors
from minimaxopt.calculus.gradients import FlatRisk, Gradients, RiskOnModules, gradients, placed, scalar, track
from minimaxopt.calculus.vectors import agree, dense, dot, negated, of
from minimaxopt.errors import DoubleBackwardError

Engine: TypeAlias = Literal["autograd", "torch.func"]
"""Forms the gradients whose graph is pulled back: autograd on the tensors as they are, or ``torch.func.grad``."""


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
        >>> from minimaxopt.calculus import Point
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
    """The gradients at a point, linearised once, and blocks of the Hessian times vectors from that linearisation.

    ``(d2f / d row d column) vector = d / d row <grad_column f, vector>``, one backward pass each

    The point is kept, so that the players may move while products are still wanted. Both engines keep the graph of the
    gradients and pull vectors back through it; they differ in who forms the gradients.

    Args:
        risk: the risk of flat tensors; for ``"torch.func"`` a pure function.
        point: where.
        count: called at each evaluation, the first and every product, by whoever counts them.
        columns: the players whose gradients are formed, and by which products can be contracted.
        engine: forms the gradients.

    Attributes:
        gradients: the operator at the point, as ``operator`` returns it.
        count: as given.

    Raises:
        DoubleBackwardError: by ``product``, as ``penalized_gradient`` does.
        RiskError: as ``operator`` does.

    Examples:
        >>> import torch
        >>> from minimaxopt.calculus import Blocks, Point
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
        engine: Engine = "autograd",
    ) -> None:
        self.count = count
        self._vectorised: bool | None = None
        self.count()
        if not isinstance(risk, RiskOnModules):
            point = Point(*({n: t.detach().clone().requires_grad_() for n, t in tensors.items()} for tensors in point))
        transformed = engine == "torch.func"
        self._place = nullcontext(point) if transformed else placed(risk, point, PLAYERS, again=True)
        with self._place as at:
            self._at = at
            if transformed:
                value, self._with_graph = _transformed(risk, at, columns)
            else:
                value = scalar(risk(at.u, at.v))
                self._with_graph = gradients(value, {p: of(at, p) for p in columns}, create_graph=True)
        cut = {p: {n: g.detach() for n, g in tensors.items()} for p, tensors in self._with_graph.items()}
        self.gradients = Gradients(value.detach(), cut.get("u", {}), negated(cut.get("v", {})))

    def product(self, vector: Tensors, *, row: Player, column: Player) -> Tensors:
        """Return ``(d2f / d row d column) vector``, of the form of player ``row``, without a graph of its own."""
        return self._pull({column: vector}, (row,))[row]

    def products(self, vectors: Tensors, *, row: Player, column: Player) -> Tensors:
        """Return the products with several vectors at once, by ``torch.vmap`` over the backward pass.

        Where that cannot be transformed, or gives another first product than ``product``, they are formed one by one.

        Args:
            vectors: stacked along a first dimension, shapes ``(K, ...)``.
            row: the player whose form each product has.
            column: the player whose form each vector has.

        Returns:
            The products, stacked likewise.

        Examples:
            >>> import torch
            >>> from minimaxopt.calculus import Blocks, Point
            >>> at = Point({"x": torch.tensor([2.0, 1.0])}, {"y": torch.tensor(3.0)})
            >>> blocks = Blocks(lambda u, v: (u["x"] ** 2).sum() * v["y"], at)
            >>> blocks.products({"x": torch.eye(2)}, row="u", column="u")["x"]
            tensor([[6., 0.],
                    [0., 6.]])
        """
        number = len(next(iter(vectors.values())))
        if self._vectorised is not False:
            try:
                together = self._pull({column: vectors}, (row,), batched=True)[row]
            except (RuntimeError, DoubleBackwardError):  # one by one, what cannot be differentiated is named
                self._vectorised = False
            else:
                for _ in range(number - 1):
                    self.count()
                if self._vectorised is None:
                    first = self._pull({column: {n: t[0] for n, t in vectors.items()}}, (row,), counted=False)[row]
                    self._vectorised = all(agree(together[n][0], t) for n, t in first.items())
                if self._vectorised:
                    return together
        each = [self.product({n: t[k] for n, t in vectors.items()}, row=row, column=column) for k in range(number)]
        return {n: torch.stack([product[n] for product in each]) for n in each[0]}

    def whole(self, vector: Point) -> Point:
        """Return the whole Hessian of ``f`` times a vector of both players' forms, in one pass."""
        rows = self._pull({"u": vector.u, "v": vector.v}, ("u", "v"))
        return Point(rows["u"], rows["v"])

    def column(self, vector: Tensors, *, column: Player) -> Point:
        """Return the Hessian of ``f`` times a vector of one player's form, in one pass: both rows of the product."""
        rows = self._pull({column: vector}, ("u", "v"))
        return Point(rows["u"], rows["v"])

    def _pull(
        self,
        vectors: dict[Player, Tensors],
        rows: tuple[Player, ...],
        *,
        batched: bool = False,
        counted: bool = True,
    ) -> dict[Player, Tensors]:
        if counted:
            self.count()
        slopes = [(g, vector[n].detach()) for c, vector in vectors.items() for n, g in self._with_graph[c].items()]
        slopes = [(g, x) for g, x in slopes if g.requires_grad]  # the others are constant
        at: dict[Player, Tensors] = {row: of(self._at, row) for row in rows}
        flat = [t for tensors in at.values() for t in tensors.values()]
        products: Iterator[Tensor | None] = iter([None] * len(flat))
        if slopes:
            with self._place, explain_backward_errors():
                products = iter(
                    torch.autograd.grad(
                        [g for g, _ in slopes],
                        flat,
                        [x for _, x in slopes],
                        retain_graph=True,
                        allow_unused=True,
                        is_grads_batched=batched,
                    )
                )
        lead = next(iter(vectors.values())) if batched else {}
        shape = next(iter(lead.values())).shape[:1] if lead else ()
        result: dict[Player, Tensors] = {}
        for row, tensors in at.items():
            parts: dict[str, Any] = {name: next(products) for name in tensors}
            result[row] = {
                name: tensors[name].new_zeros((*shape, *tensors[name].shape)) if g is None else dense(g)
                for name, g in parts.items()
            }
        return result


def _transformed(risk: FlatRisk, at: Point, columns: tuple[Player, ...]) -> tuple[Tensor, dict[Player, Tensors]]:
    """Return the risk and the gradients of ``columns`` by ``torch.func``, with the graph of ``at``."""

    def checked(u: Tensors, v: Tensors) -> Tensor:
        return scalar(risk(u, v))

    argnums = tuple(PLAYERS.index(player) for player in columns)
    with explain_backward_errors():
        slopes, value = torch.func.grad_and_value(checked, argnums=argnums)(at.u, at.v)
    dense_slopes = [{name: dense(g) for name, g in slope.items()} for slope in slopes]
    return value, dict(zip(columns, dense_slopes, strict=True))
