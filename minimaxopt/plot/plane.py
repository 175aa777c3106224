"""A game seen in a plane: one axis for the leader, one for the follower."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray

from minimaxopt._types import PLAYERS, Player, Point, Tensors, Tree
from minimaxopt.calculus.vectors import add, dot, negated, of, squared_norm
from minimaxopt.errors import ArgumentError
from minimaxopt.game.random_streams import preserve_rng_state
from minimaxopt.solvers.context import Context

if TYPE_CHECKING:
    from minimaxopt.game.game import Game

Array: TypeAlias = NDArray[np.float64]

_SHORT = 0.01
"""Length of a projected step in widths of the grid: short in the picture, long against rounding."""
_ROUNDING = 1e-5
"""Relative change of an allowed value that a projection may make: a few roundings of float32."""


class Field(NamedTuple):
    """Values on a grid, one row for each value of the follower's coordinate."""

    risk: Array
    u: Array
    """The velocity along the leader's axis, were both players to descend their own loss; it does not leave the set."""
    v: Array
    """The same along the follower's axis."""


@final
class Plane:
    """Plane of the points ``(u_0 + a d_u, v_0 + b d_v)`` of a game, by their coordinates ``(a, b)``.

    Without directions each player is one number, and that is its coordinate.

    Args:
        game: the game, through whose own ``(u_0, v_0)`` the plane goes.
        directions: ``(d_u, d_v)``, each of its player's structure, in which a module stands as the dictionary of its
            parameters.
        batch: for an ``f(u, v, batch)``, the batch at which it is evaluated.

    Raises:
        ArgumentError: a player is missing, responds, or holds several numbers without a direction; or a direction does
            not fit its player, or is zero.

    Examples:
        >>> import numpy as np, torch
        >>> from minimaxopt import Box, Game
        >>> game = Game(lambda u, v: u @ v, torch.zeros(2), torch.zeros(2), project_u=Box(-1.0, 1.0))
        >>> plane = Plane(game, (torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])))
        >>> [round(end, 3) for end in plane.allowed("u", -3.0, 3.0)]
        [-0.5, 0.5]
        >>> plane.along("u", np.array([[0.0, 5.0], [1.0, 0.0]]))
        array([0. , 0.5])

    Source: two-dimensional slices of a loss, as in Li et al. 2018, Visualizing the Loss Landscape of Neural Nets.
    """

    def __init__(self, game: Game, directions: tuple[Tree, Tree] | None = None, batch: Any = None) -> None:
        for player, tree in (("u", game.u), ("v", game.v)):
            if tree is None or (player == "v" and game.responding):
                fault = "is missing" if tree is None else "is computed afresh at each step"
                raise ArgumentError(f"game: {player} {fault}; give a game whose two players hold values of their own")
        self._ctx = Context(game, players=())
        self._ctx.batch = () if batch is None else (batch,)
        self._ctx.played.step = None  # a picture is of no step
        self._base: dict[Player, Tensors] = {}
        self._axes: dict[Player, Tensors] = {}
        for place, player in enumerate(PLAYERS):
            tensors = {n: t.detach() for n, t in of(self._ctx.point, player).items()}
            if directions is None:
                if (count := sum(t.numel() for t in tensors.values())) != 1:
                    raise ArgumentError(
                        f"game: {player} holds {count} numbers, and a portrait has one axis for each player; give "
                        "directions=(d_u, d_v), each like its player, for a slice"
                    )
                self._axes[player] = {n: torch.ones_like(t) for n, t in tensors.items()}
                self._base[player] = {n: torch.zeros_like(t) for n, t in tensors.items()}
            else:
                self._axes[player] = self._direction(player, directions[place], tensors)
                self._base[player] = tensors

    def allowed(self, player: Player, low: float, high: float) -> tuple[float, float]:
        """Return the part of an interval of a player's coordinate in which its projection changes nothing."""
        grid = np.linspace(low, high, 201)
        inside = [i for i, c in enumerate(grid) if self._stays(player, float(c))]
        if len(inside) < 2:
            raise ArgumentError(
                f"{player}_range: ({low:g}, {high:g}) holds fewer than two values that project_{player} allows; give "
                "an interval that overlaps the set more widely"
            )
        ends = float(grid[inside[0]]), float(grid[inside[-1]])
        beyond = float(grid[max(inside[0] - 1, 0)]), float(grid[min(inside[-1] + 1, len(grid) - 1)])
        return self._edge(player, ends[0], beyond[0]), self._edge(player, ends[1], beyond[1])

    def field(self, us: Array, vs: Array) -> Field:
        """Return risk and velocity at every point of the grid ``us`` x ``vs``, which must be allowed."""
        values = np.full((3, len(vs), len(us)), np.nan)
        steps: dict[Player, float] = {"u": _SHORT * abs(us[1] - us[0]), "v": _SHORT * abs(vs[1] - vs[0])}
        with preserve_rng_state(self._ctx.devices):
            for i, b in enumerate(vs):
                for j, a in enumerate(us):
                    point = Point(self._at("u", float(a)), self._at("v", float(b)))
                    evaluation = self._ctx.gradients(point)
                    gradients = Point(evaluation.u, evaluation.v)
                    speeds = [self._speed(p, of(point, p), of(gradients, p), steps[p]) for p in PLAYERS]
                    values[:, i, j] = float(evaluation.risk), *speeds
        return Field(*values)

    def coordinate(self, player: Player, value: Any) -> float:
        """Return a player's coordinate: a number stands for itself, tensors are projected onto the axis."""
        if isinstance(value, (int, float, np.number)):
            return float(value)
        vector = flattened(self._read("points", player, value))
        return float(self.along(player, vector[None])[0])

    def along(self, player: Player, rows: Array) -> Array:
        """Return the coordinates of flat vectors, one a row; a player of one number may have a column of them."""
        base, axis = flattened(self._base[player]), flattened(self._axes[player])
        values = np.asarray(rows, dtype=np.float64).reshape(len(rows), -1)
        if values.shape[1] != len(axis):
            raise ArgumentError(
                f"paths: a path holds {values.shape[1]} numbers of {player} a step instead of {len(axis)}; give one of "
                "this game, as from trajectory(game, ...)"
            )
        if len(axis) == 1:
            return (values[:, 0] - base[0]) / axis[0]
        return (values - base) @ axis / (axis @ axis)

    def _at(self, player: Player, c: float) -> Tensors:
        return add(self._base[player], self._axes[player], c)

    def _stays(self, player: Player, c: float) -> bool:
        tensors = self._at(player, c)
        nearest = self._ctx.project(player, tensors)
        return all(bool((nearest[n] - t).abs().max() <= _ROUNDING * (1 + t.abs().max())) for n, t in tensors.items())

    def _edge(self, player: Player, inside: float, outside: float) -> float:
        # Sets are convex, so that the line through one leaves it once.
        for _ in range(30 if outside != inside else 0):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if self._stays(player, middle) else (inside, middle)
        return inside

    def _speed(self, player: Player, tensors: Tensors, grad: Tensors, step: float) -> float:
        axis = self._axes[player]
        square, grad_norm = squared_norm(axis.values()), squared_norm(grad.values()).sqrt()
        velocity = negated(grad)
        if float(grad_norm) > 0:
            short = step * square.sqrt() / grad_norm
            ahead = add(tensors, velocity, short)
            nearest = self._ctx.project(player, ahead)
            if any(not torch.equal(nearest[n], t) for n, t in ahead.items()):
                velocity = {n: (nearest[n] - t) / short for n, t in tensors.items()}
        return float(dot((velocity[n] for n in axis), axis.values()) / square)

    def _direction(self, player: Player, tree: Tree, tensors: Tensors) -> Tensors:
        direction = {n: t.detach().to(tensors[n]) for n, t in self._read("directions", player, tree).items()}
        if not float(squared_norm(direction.values())) > 0:
            raise ArgumentError(f"directions: that of {player} is zero; give another")
        return {name: direction[name] for name in tensors}

    def _read(self, argument: str, player: Player, tree: Tree) -> Tensors:
        remedy = f"give the structure of {player}, in which a module stands as the dictionary of its parameters"
        expected = of(self._ctx.point, player)
        try:
            flat = self._ctx.played.flat(player, tree)
        except (ValueError, TypeError, AttributeError) as error:
            raise ArgumentError(f"{argument}: does not fit {player} ({error}); {remedy}") from error
        for name, tensor in expected.items():
            if flat[name].shape != tensor.shape:
                raise ArgumentError(
                    f"{argument}: has shape {tuple(flat[name].shape)} at {name!r} of {player} instead of "
                    f"{tuple(tensor.shape)}; {remedy}"
                )
        return {name: flat[name] for name in expected}


def flattened(tensors: Tensors) -> Array:
    """Return a player's values as one vector, in the order in which a plane reads them."""
    return np.concatenate([t.detach().cpu().double().numpy().ravel() for t in tensors.values()])
