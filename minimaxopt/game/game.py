"""The game ``min_u max_v f(u, v)``: a risk, two players, and what they are allowed to be."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

from torch import Tensor

from minimaxopt.errors import ArgumentError
from minimaxopt.game.players import Ownership, is_responding

if TYPE_CHECKING:
    from minimaxopt._types import Projection, Risk, Tree


@final
@dataclass(frozen=True, eq=False)
class Game:
    """A two-player zero-sum game in which ``u`` leads and ``v`` follows.

    ``min_u max_v f(u, v)``

    Inside ``f`` the players keep their form: modules behave like modules (any method, any submodule), tensors like
    tensors. The given objects are never modified; solvers work on copies.

    Args:
        f: the risk, ``f(u, v)`` or ``f(u, v, batch)``; a 0-d floating tensor, differentiable in both players.
        u: the leader, who minimises: a module, a tensor, or any nesting of dict, list and tuple of both. ``None`` for a
            game of the follower alone; ``f`` is then called with ``None`` in its place.
        v: the follower, who maximises: the same, or a *responding* follower, ``respond(risk, u, batch) -> v``, a
            function that computes its answer to the present ``u`` afresh at each step (``respond(risk, u)`` without
            data). ``risk`` is ``f`` itself, ``u`` comes detached, and the answer is taken as a constant.
        project_u: maps the leader's tensors to the nearest allowed ones after each of its moves, such as ``Box(0, 1)``.
            It receives the structure of ``u``, in which a module stands as the dictionary of its parameters.
        project_v: the same for the follower.

    Raises:
        ArgumentError: if ``u`` and ``v`` share a tensor that moves, or if a player holds something that is neither a
            module nor a floating tensor.

    Examples:
        >>> import torch
        >>> from minimaxopt import Game
        >>> game = Game(lambda u, v: (u**2 / 2 + 2 * u * v - v**2).sum(), torch.ones(3), torch.ones(3))
        >>> game.flip().f(game.v, game.u)
        tensor(-4.5000)

    Source: Hamm and Mehra 2018, Eqs. 11 and 17.
    """

    f: Risk
    u: Tree
    v: Tree
    project_u: Projection | None = field(default=None, kw_only=True)
    project_v: Projection | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not callable(self.f):
            raise ArgumentError(
                f"f: {type(self.f).__name__} is not callable; give a function f(u, v) or f(u, v, batch)"
            )
        if is_responding(self.u):
            raise ArgumentError(
                "u: a function is a responding follower, and a leader cannot respond; give modules or "
                "tensors as u, the function as v"
            )
        if self.u is None and (self.v is None or is_responding(self.v)):
            raise ArgumentError("u: nobody is left to move; give modules or tensors as u, as v, or both")
        for name, projection in (("project_u", self.project_u), ("project_v", self.project_v)):
            if projection is not None and not callable(projection):
                raise ArgumentError(
                    f"{name}: {type(projection).__name__} is not callable; give a function such as Box(0, 1)"
                )
        if self.project_v is not None and is_responding(self.v):
            raise ArgumentError(
                "project_v: a responding follower has no tensors to project; constrain the answer inside respond"
            )
        owners = Ownership()
        owners.claim("u", self.u)
        owners.claim("v", self.v)

    @property
    def responding(self) -> bool:
        """``True`` if the follower computes its answer afresh at each step instead of being moved."""
        return is_responding(self.v)

    def flip(self) -> Game:
        """Return the maximin game ``max_v min_u f``, as a game in which ``v`` leads: roles swapped, sign changed.

        ``min_v max_u [-f(u, v)]``

        Projections follow the player. Flipping twice gives the first game back.

        Raises:
            ArgumentError: if the follower responds, since a function cannot lead.

        Source: Hamm and Mehra 2018, Sec. 4.3.
        """
        if self.responding:
            raise ArgumentError(
                "flip: the follower is a function of the leader, which cannot lead; give a follower with parameters, "
                "such as an attack network"
            )
        f = self.f.f if isinstance(self.f, Flipped) else Flipped(self.f)
        return Game(f, self.v, self.u, project_u=self.project_v, project_v=self.project_u)


def with_players(game: Game, **changes: Any) -> Game:
    """Return a game with other players, or projections, that need no check: copies, or of a form that was checked.

    Examples:
        >>> import torch
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(2.0))
        >>> with_players(game, v=torch.tensor(3.0)).v
        tensor(3.)
    """
    twin = copy.copy(game)
    for name, value in changes.items():
        object.__setattr__(twin, name, value)
    return twin


@final
@dataclass(frozen=True)
class Flipped:
    """The risk ``-f`` with its players in the other order."""

    f: Risk

    def __call__(self, u: Any, v: Any, *batch: Any) -> Tensor:
        """Return ``-f(v, u)``."""
        return -self.f(v, u, *batch)
