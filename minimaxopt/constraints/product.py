"""Products of sets: a projection for each part of a player."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import optree
import torch

from minimaxopt.constraints.trees import mismatch, noise_for, rebuilt, tensors_in
from minimaxopt.errors import ArgumentError
from minimaxopt.game.trees import leaves_with_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from minimaxopt._types import Tree


@final
@dataclass(frozen=True, eq=False)
class Product:
    """Project each part of a player by a projection of its own.

    ``P(x_1, ..., x_n) = (P_1(x_1), ..., P_n(x_n))``

    Args:
        parts: the projections, nested like the player or like the upper levels of its nesting; ``None`` leaves a part
            free. A module stands as the dictionary of its parameters, and one projection may stand for all of it.

    Raises:
        ArgumentError: if there is no part, or one is neither a projection nor ``None``.

    Examples:
        >>> from minimaxopt import Box, Simplex
        >>> project = Product({"shift": Box(-1, 1), "weights": Simplex(), "net": None})
        >>> player = {"shift": torch.tensor(3.0), "weights": torch.ones(2), "net": {"bias": torch.tensor(9.0)}}
        >>> nearest = project(player)
        >>> nearest["shift"], nearest["weights"], nearest["net"]["bias"]
        (tensor(1.), tensor([0.5000, 0.5000]), tensor(9.))

    Source: the Euclidean projection on a product of sets.
    """

    parts: Tree

    def __post_init__(self) -> None:
        leaves = leaves_with_names(self.parts)
        if not leaves:
            raise ArgumentError("parts: is empty; give a projection for each part of the player, None for a free one")
        for path, part in leaves:
            if part is not None and (isinstance(part, type) or not callable(part)):
                description = f"the class {part.__name__}" if isinstance(part, type) else type(part).__name__
                raise ArgumentError(
                    f"parts: {description}{f' at {path!r}' if path else ''} is not a projection; give one such as "
                    "Box(0, 1), or None"
                )

    def __call__(self, tree: Tree) -> Tree:
        """Return the nearest point of the product.

        Raises:
            ArgumentError: if ``tree`` is not nested like the parts.
        """

        def one(part: Any, below: Tree, path: str) -> Tree:
            del path
            return below if part is None else part(below)

        return self._each(tree, one)

    def draw(self, like: Tree, generator: torch.Generator | None = None) -> Tree:
        """Return a random point, each part drawn by its own projection; free values are standard normal.

        Args:
            like: template of the point: its structure, shapes, dtypes and devices.
            generator: the random stream; ``None`` for torch's own.

        Raises:
            ArgumentError: if ``like`` is not nested like the parts, or a part cannot draw.
        """

        def one(part: Any, below: Tree, path: str) -> Tree:
            if part is None:
                tensors = tensors_in(below, "like")
                normal = [noise_for(x, generator).normal_(generator=generator).to(x.device) for x in tensors]
                return rebuilt(below, normal)
            draw = getattr(part, "draw", None)
            if draw is None:
                raise ArgumentError(
                    f"parts: the projection{f' at {path!r}' if path else ''} has no method draw, so that no random "
                    "point is known; give one of minimaxopt's projections, or a method draw(like, generator)"
                )
            return draw(below, generator)

        return self._each(like, one)

    def _each(self, tree: Tree, one: Callable[[Any, Tree, str], Tree]) -> Tree:
        spec: Any = optree.tree_structure(self.parts, none_is_leaf=True)
        try:
            below: list[Tree] = spec.flatten_up_to(tree)
        except ValueError as error:
            raise ArgumentError(
                f"tree: is not nested like the parts ({mismatch(error)}); name every part, None for a free one"
            ) from error
        named = zip(leaves_with_names(self.parts), below, strict=True)
        return optree.tree_unflatten(spec, [one(part, part_values, path) for (path, part), part_values in named])
