"""Games with known answers: minimax points, values, and points that only look like solutions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, final

import optree
import torch
from torch import Tensor

from minimaxopt._types import Projection, Tree
from minimaxopt.game.game import Game
from minimaxopt.game.trees import tensors_of

Kind: TypeAlias = Literal["strict local minimax", "local Nash", "not local minimax", "undecided"]
Payoff: TypeAlias = Callable[[Tree, Tree], Tensor]
Map: TypeAlias = Callable[[Tree], Tree]


@final
@dataclass(frozen=True, eq=False)
class KnownPoint:
    """A point whose local type is known.

    A point is local minimax if the follower cannot gain near ``v``, and wherever near ``u`` the leader goes, the
    follower can answer near ``v`` so that the leader does not gain either. On constrained sets the second-order
    conditions are those on the critical cone, with the curvature of the Lagrangian.

    Attributes:
        u: the leader, in the structure of the game's.
        v: the follower, likewise.
        kind: what derivatives of first and second order say: ``"strict local minimax"`` (the follower's Hessian
            negative definite, the Schur complement positive definite, the leader's own Hessian not), ``"local Nash"``
            (both players' own Hessians definite), ``"not local minimax"``, or ``"undecided"``.
        why: the reason, in words.
        local_minimax: whether the point is local minimax in truth, which an undecided one may be or not.

    Examples:
        >>> from minimaxopt.testing import known_game
        >>> (point,) = known_game("minimax-not-nash").minimax_points
        >>> point.kind, point.local_minimax
        ('strict local minimax', True)

    Source: Jin, Netrapalli and Jordan 2020, Definition 14.
    """

    u: Tree
    v: Tree
    kind: Kind
    why: str
    local_minimax: bool


@final
@dataclass(frozen=True, eq=False)
class KnownGame:
    """A game in float64 with known values, minimax points and points that only look like solutions.

    ``min_u max_v f(u, v)``

    Attributes:
        name: its name in ``GAMES``.
        formula: the risk and its domain, in words and signs.
        f: the risk ``f(u, v)``. Games of two numbers are elementwise, so that whole grids may be given.
        u: the structure of the leader, and a point to start from.
        v: the same for the follower.
        project_u: the leader's domain; ``None`` for the whole space.
        project_v: the follower's.
        box: what is worth looking at where the domain is the whole space: ``((low, high), (low, high))`` for the values
            of ``u`` and of ``v``. Where it is not, a box around the domain.
        minimax_points: global minimax points, ``f(u*, v) <= f(u*, v*) <= max_v f(u, v)`` for all ``u`` and ``v``, each
            with its *local* type; empty where none exists.
        minimax_value: ``inf_u sup_v f``, infinite where it is.
        maximin_value: ``sup_v inf_u f``, likewise.
        nash: whether a global Nash point exists.
        impostors: points that are stationary, or local minimax, and not minimax.
        answer: the follower's exact best response ``v*(u)`` (one of them, where several tie); ``None`` where some ``u``
            has none or there is no closed form.
        reply: the leader's exact best response ``u*(v)``, likewise.
        why: the derivation of the values and points.
        source: where the formula is from.
        degenerate: whether derivatives of first and second order leave a listed point undecided.
        leaders: the minimax leader nearest to ``u``, where they are not finitely many.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Sensitivity, solve
        >>> from minimaxopt.testing import known_game
        >>> known = known_game("minimax-not-nash")
        >>> known.formula
        '-3u² - v² + 4uv'
        >>> sgd = partial(torch.optim.SGD, lr=0.05)
        >>> solution = solve(known.start(seed=0), Sensitivity(gamma=0.5), steps=400, u_optimizer=sgd, v_optimizer=sgd)
        >>> known.distance(solution.u) < 1e-6
        True
    """

    name: str
    formula: str
    f: Payoff
    u: Tree
    v: Tree
    minimax_value: float
    maximin_value: float
    nash: bool
    why: str
    source: str
    project_u: Projection | None = None
    project_v: Projection | None = None
    box: tuple[tuple[float, float], tuple[float, float]] = ((-2.0, 2.0), (-2.0, 2.0))
    minimax_points: tuple[KnownPoint, ...] = ()
    impostors: tuple[KnownPoint, ...] = ()
    answer: Map | None = None
    reply: Map | None = None
    leaders: Map | None = field(default=None, repr=False)

    @property
    def degenerate(self) -> bool:
        """``True`` if derivatives of first and second order leave a listed point undecided."""
        return any(point.kind == "undecided" for point in (*self.minimax_points, *self.impostors))

    @property
    def constrained(self) -> bool:
        """``True`` if a player's domain is not the whole space."""
        return self.project_u is not None or self.project_v is not None

    @property
    def dimensions(self) -> tuple[int, int]:
        """The number of values of the leader and of the follower."""
        return flat(self.u).numel(), flat(self.v).numel()

    def game(self, u: Tree = None, v: Tree = None) -> Game:
        """Return the game, its players at ``u`` and ``v``, by default where ``self.u`` and ``self.v`` are."""
        leader, follower = (copied(player) for player in (self.u if u is None else u, self.v if v is None else v))
        return Game(self.f, leader, follower, project_u=self.project_u, project_v=self.project_v)

    def start(self, seed: int) -> Game:
        """Return the game with its players at random points of the domain, or of ``box`` where it has no bounds."""
        generator = torch.Generator().manual_seed(seed)
        u = _drawn(self.u, self.project_u, self.box[0], generator)
        return self.game(u, _drawn(self.v, self.project_v, self.box[1], generator))

    def distance(self, u: Tree) -> float:
        """Return the Euclidean distance of ``u`` from the nearest minimax leader; infinite where there is none."""
        here = flat(u)
        leaders = [point.u for point in self.minimax_points] if self.leaders is None else [self.leaders(u)]
        return min((float((here - flat(leader)).norm()) for leader in leaders), default=math.inf)


def flat(tree: Tree) -> Tensor:
    """Return the values of a player as one float64 vector."""
    return torch.cat([x.detach().to(torch.float64).reshape(-1) for x in tensors_of(tree)])


def copied(tree: Tree) -> Tree:
    """Return the tree with copies of its tensors."""

    def one(x: Tensor) -> Tensor:
        return x.detach().clone()

    return optree.tree_map(one, tree)


def _drawn(like: Tree, projection: Projection | None, box: tuple[float, float], generator: torch.Generator) -> Tree:
    draw: Any = getattr(projection, "draw", None)
    if draw is not None:
        return draw(like, generator)

    def one(x: Tensor) -> Tensor:
        return torch.empty_like(x).uniform_(*box, generator=generator)

    return optree.tree_map(one, like)


def number(value: float) -> Tensor:
    """Return a 0-d float64 tensor."""
    return torch.tensor(value, dtype=torch.float64)


def vector(*values: float) -> Tensor:
    """Return a 1-d float64 tensor."""
    return torch.tensor(values, dtype=torch.float64)


def strict(u: Tree, v: Tree, why: str) -> KnownPoint:
    """A local minimax point by second-order conditions that is not Nash by them."""
    return KnownPoint(u, v, "strict local minimax", why, True)


def nash(u: Tree, v: Tree, why: str) -> KnownPoint:
    """A local Nash point by second-order conditions."""
    return KnownPoint(u, v, "local Nash", why, True)


def excluded(u: Tree, v: Tree, why: str) -> KnownPoint:
    """A point that first and second derivatives show not to be local minimax."""
    return KnownPoint(u, v, "not local minimax", why, False)


def undecided(u: Tree, v: Tree, why: str, *, local_minimax: bool) -> KnownPoint:
    """A point whose type first and second derivatives do not decide."""
    return KnownPoint(u, v, "undecided", why, local_minimax)
