"""Adjusted gradients: the game's operator turned or damped by its own Jacobian, without a system to solve.

With ``F = (grad_u f, -grad_v f)`` the Jacobian is ``J = [[d2f/du2, d2f/du dv], [-d2f/dv du, -d2f/dv2]]``. Its
antisymmetric part ``A = (J - J^T) / 2`` has the mixed blocks alone, so that ``A^T F = ((d2f/du dv) grad_v f, (d2f/dv du)
grad_u f)``; and ``J^T F``, the gradient of ``||F||^2 / 2``, is the Hessian of ``f`` times ``(grad_u f, grad_v f)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from minimaxopt._types import Player, Point, Record
from minimaxopt.calculus.gradients import Gradients
from minimaxopt.calculus.hessian import Blocks
from minimaxopt.calculus.vectors import add, dot, negated
from minimaxopt.errors import ArgumentError
from minimaxopt.solvers.context import Context, require_parametric, sensitivity_of

_ALIGNED_ENOUGH = 0.1  # epsilon of the published rule: in doubt the adjustment is added


@final
@dataclass(frozen=True)
class SymplecticAdjustment:
    """Add to both gradients what turns the rotating part of the game towards its solution (SGA).

    ``u <- u - lambda [grad_u f + weight (d2f/du dv) grad_v f]``,
    ``v <- v + sigma [grad_v f - weight (d2f/dv du) grad_u f]``, that is ``F + weight A^T F``

    With ``align`` the weight's sign is that of ``<F, H> <A^T F, H> / d + 0.1``, where ``H`` is the gradient of
    ``||F||^2 / 2`` and ``d`` the number of values: towards stable points and away from unstable ones. Without it, and
    with the rate of both players' SGD as ``weight``, this is learning with opponent-learning awareness (LOLA).

    On ``f = u v`` with rates ``eta`` each step multiplies the distance from the solution by
    ``sqrt((1 - weight eta)^2 + eta^2)``. The operator has no leader: a stationary point that is not minimax, such as 0 of
    ``3 x^2 + y^2 + 4 x y``, may attract.

    Both moves are projected where the game says so; the adjustment knows nothing of constraints.

    Args:
        weight: of the adjustment, not negative; a step size beside those of the optimizers.
        align: whether to choose the sign, at one pass more.

    Raises:
        ArgumentError: for a weight out of range, or if the follower responds.
        DoubleBackwardError: if an operation of ``f`` has no second derivative in torch.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Game, SymplecticAdjustment, solve
        >>> sgd = partial(torch.optim.SGD, lr=0.5)
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> solution = solve(game, SymplecticAdjustment(), steps=1, u_optimizer=sgd, v_optimizer=sgd)
        >>> solution.u.item(), solution.v.item()
        (0.0, 1.0)

    Source: Balduzzi, Racaniere, Martens, Foerster, Tuyls and Graepel 2018, Alg. 1; Foerster et al. 2018 (LOLA).
    """

    weight: float = 1.0
    align: bool = True

    name: ClassVar[str] = "symplectic-adjustment"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")
    second_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_weight("weight", self.weight)

    def init(self, ctx: Context) -> None:
        """Check that the follower can move."""
        require_parametric(ctx, self.name)

    def step(self, ctx: Context, state: None) -> tuple[None, Record]:
        """Make one step of both players."""
        blocks = ctx.blocks()
        gradients = blocks.gradients
        turn = Point(
            blocks.product(negated(gradients.v), row="u", column="v"), blocks.product(gradients.u, row="v", column="u")
        )
        weight = self.weight
        if self.align:
            ascent = _descent_of_norm(blocks)
            size = sum(t.numel() for tensors in ascent for t in tensors.values())
            aligned = _inner(Point(gradients.u, gradients.v), ascent) * _inner(turn, ascent) / size
            weight = self.weight * (aligned + _ALIGNED_ENOUGH).sign()
        ctx.apply("u", add(gradients.u, turn.u, weight))
        ctx.apply("v", add(gradients.v, turn.v, weight))
        return None, sensitivity_of(gradients)


@final
@dataclass(frozen=True)
class Consensus:
    """Follow both gradients and, by a weight, descend what is left of them (ConOpt).

    ``(u, v) <- (u, v) - (lambda, sigma) [F + gamma grad ||F||^2 / 2]`` with ``F = (grad_u f, -grad_v f)``

    The players agree to end where both gradients vanish, so that a large ``gamma`` finds stationary points of any kind.
    The second term is the Hessian of ``f`` times ``(grad_u f, grad_v f)``, one pass for both players.

    On ``f = u v`` with rates ``eta`` each step multiplies the distance from the solution by
    ``sqrt((1 - gamma eta)^2 + eta^2)``.

    Both moves are projected where the game says so. The second term counts the whole of each gradient, also what a
    constraint blocks, and so moves a solution that lies on the boundary.

    Args:
        gamma: the weight of the second term, not negative.

    Raises:
        ArgumentError: for a weight out of range, or if the follower responds.
        DoubleBackwardError: if an operation of ``f`` has no second derivative in torch.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Consensus, Game, solve
        >>> sgd = partial(torch.optim.SGD, lr=0.5)
        >>> game = Game(lambda u, v: u**2 / 2 + u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> solution = solve(game, Consensus(gamma=1.0), steps=1, u_optimizer=sgd, v_optimizer=sgd)
        >>> solution.u.item(), solution.v.item()  # F = (2, -1), and the second term is (3, 2)
        (-1.5, 0.5)

    Source: Mescheder, Nowozin and Geiger 2017, Alg. 2.
    """

    gamma: float = 1.0

    name: ClassVar[str] = "consensus"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")
    second_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_weight("gamma", self.gamma)

    def init(self, ctx: Context) -> None:
        """Check that the follower can move."""
        require_parametric(ctx, self.name)

    def step(self, ctx: Context, state: None) -> tuple[None, Record]:
        """Make one step of both players."""
        blocks = ctx.blocks()
        gradients, ascent = blocks.gradients, _descent_of_norm(blocks)
        ctx.apply("u", add(gradients.u, ascent.u, self.gamma))
        ctx.apply("v", add(gradients.v, ascent.v, self.gamma))
        return None, sensitivity_of(gradients)


@final
@dataclass(frozen=True)
class Hamiltonian:
    """Let both players descend the squared norm of the game's operator (HGD).

    ``(u, v) <- (u, v) - (lambda, sigma) grad ||F||^2 / 2`` with ``F = (grad_u f, -grad_v f)``

    It converges wherever descent on ``||F||^2`` does, on bilinear games linearly, but knows no player's aim: minimax
    points, saddle points and the worst points of both players attract alike. Certify what it finds. The step's
    ``hamiltonian`` is ``||F||^2 / 2``.

    Both moves are projected where the game says so, but the norm is that of the whole gradients: a solution on the
    boundary, where they do not vanish, is not what it looks for.

    Raises:
        ArgumentError: if the follower responds.
        DoubleBackwardError: if an operation of ``f`` has no second derivative in torch.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Game, Hamiltonian, solve
        >>> sgd = partial(torch.optim.SGD, lr=0.5)
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> solution = solve(game, Hamiltonian(), steps=1, u_optimizer=sgd, v_optimizer=sgd)
        >>> solution.u.item(), solution.v.item()
        (0.5, 0.5)

    Source: Abernethy, Lai and Wibisono 2019; Loizou et al. 2020.
    """

    name: ClassVar[str] = "hamiltonian"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")
    second_order: ClassVar[bool] = True

    def init(self, ctx: Context) -> None:
        """Check that the follower can move."""
        require_parametric(ctx, self.name)

    def step(self, ctx: Context, state: None) -> tuple[None, Record]:
        """Make one step of both players."""
        blocks = ctx.blocks()
        gradients, ascent = blocks.gradients, _descent_of_norm(blocks)
        ctx.apply("u", ascent.u)
        ctx.apply("v", ascent.v)
        operator = Point(gradients.u, gradients.v)
        return None, {**sensitivity_of(gradients), "hamiltonian": _inner(operator, operator) / 2}


def _descent_of_norm(blocks: Blocks) -> Point:
    """Return the gradient of ``||F||^2 / 2``, which is the same whatever the signs in ``F``."""
    gradients: Gradients = blocks.gradients
    return blocks.whole(Point(gradients.u, negated(gradients.v)))


def _inner(a: Point, b: Point) -> Tensor:
    return dot([*a.u.values(), *a.v.values()], [*b.u.values(), *b.v.values()])


def _check_weight(argument: str, weight: float) -> None:
    if not 0 <= weight < float("inf"):
        raise ArgumentError(f"{argument}: is {weight}; give a finite weight that is not negative")
