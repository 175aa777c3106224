"""Extragradient methods: the gradient is taken at a point ahead, the step is made from where we are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, final

import torch

from minimaxopt._types import Player, Point, Record, Tensors
from minimaxopt.calculus.gradients import Gradients
from minimaxopt.calculus.vectors import add, of
from minimaxopt.errors import ArgumentError
from minimaxopt.solvers.context import Context, require_parametric, sensitivity_of
from minimaxopt.solvers.two_losses import TwoLosses

Moments: TypeAlias = Literal["both", "step"]
"""Where the optimizers' moments advance: in extrapolation and step, or in the step alone."""


@final
@dataclass(frozen=True)
class Extragradient:
    """Extrapolate, take the gradients there, and make the step with them from the point before (EG).

    ``x' = P(x - eta F(x))``, ``x <- P(x - eta F(x'))`` with ``x = (u, v)`` and ``F = (grad_u f, -grad_v f)``

    Each player extrapolates by the displacement that its own optimizer proposes: with Adam this is ExtraAdam. The
    gradients are formed twice a step; with ``solve(ascent_batches="fresh")`` the second time on a batch and random draw
    of their own. On ``f = u v`` with rates ``eta`` each step multiplies the distance from the solution by
    ``|1 - eta^2 + i eta| = sqrt(1 - eta^2 + eta^4)``: it converges for ``eta < 1``.

    Args:
        moments: ``"both"``: the optimizers' moments take in the gradients of the extrapolation and those of the step,
            as ExtraAdam is published. ``"step"``: they forget the extrapolation, so that one step advances them once.
        stretch: the extrapolation's length in units of the proposed displacement. Above 1 it is EG+, which allows some
            games whose operator is not monotone.

    Raises:
        ArgumentError: if ``moments`` is neither choice, ``stretch`` is not positive, or the follower responds.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Extragradient, Game, solve
        >>> sgd = partial(torch.optim.SGD, lr=0.5)
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> solution = solve(game, Extragradient(), steps=1, u_optimizer=sgd, v_optimizer=sgd)
        >>> solution.u.item(), solution.v.item()  # the gradients of (0.5, 1.5)
        (0.25, 1.25)

    Source: Korpelevich 1976; Gidel et al. 2019, Alg. 4 (ExtraAdam); Diakonikolas et al. 2021 (EG+).
    """

    moments: Moments = "both"
    stretch: float = 1.0

    name: ClassVar[str] = "extragradient"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")
    two_losses: ClassVar[TwoLosses] = "own"

    def __post_init__(self) -> None:
        check_moments(self.moments)
        _check_stretch(self.stretch)

    def init(self, ctx: Context) -> None:
        """Check that the follower can move."""
        require_parametric(ctx, self.name)

    def step(self, ctx: Context, state: None) -> tuple[None, Record]:
        """Make one step of both players."""
        here = ctx.gradients()
        ahead = gradients_ahead(ctx, reached(ctx, proposals(ctx, here, self.moments), self.stretch))
        ctx.apply("u", ahead.u)
        ctx.apply("v", ahead.v)
        return None, sensitivity_of(here)


@final
@dataclass(frozen=True)
class PastExtragradient:
    """Extrapolate along the past gradient, which saves half of extragradient's evaluations (Popov's method).

    ``x'_i = P(x_i - eta F(x'_{i-1}))``, ``x_{i+1} = P(x_i - eta F(x'_i))`` with ``x'_0 = x_0``

    There is no past gradient before the first step, which is therefore made without extrapolation. With constant rates
    of SGD and without projections the points ahead, ``x'``, are those of ``Optimistic`` from the second on. The recorded
    risk is that of the point ahead.

    Args:
        moments: ``"both"``: the optimizers' moments take in the past gradient again as they extrapolate, then the new
            one, as ExtraAdam with extrapolation from the past is published. ``"step"``: they take in the new one only.
        stretch: the extrapolation's length in units of the proposed displacement.

    Raises:
        ArgumentError: as for ``Extragradient``.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Game, PastExtragradient, solve
        >>> sgd = partial(torch.optim.SGD, lr=0.5)
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> solution = solve(game, PastExtragradient(), steps=2, u_optimizer=sgd, v_optimizer=sgd)
        >>> solution.u.item(), solution.v.item()  # (0.5, 1.5), then the gradients of (0, 2)
        (-0.5, 1.5)

    Source: Popov 1980; Gidel et al. 2019, Alg. 4, option 2.
    """

    moments: Moments = "both"
    stretch: float = 1.0

    name: ClassVar[str] = "past-extragradient"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")
    two_losses: ClassVar[TwoLosses] = "own"

    def __post_init__(self) -> None:
        check_moments(self.moments)
        _check_stretch(self.stretch)

    def init(self, ctx: Context) -> dict[Player, Tensors] | None:
        """Begin without a past gradient."""
        require_parametric(ctx, self.name)
        return None

    def step(self, ctx: Context, state: dict[Player, Tensors] | None) -> tuple[dict[Player, Tensors], Record]:
        """Make one step of both players; the state is the gradients at the last point ahead."""
        if state is None:
            gradients = ctx.gradients()
        else:
            past = Gradients(torch.empty(()), state["u"], state["v"])
            gradients = ctx.gradients(reached(ctx, proposals(ctx, past, self.moments), self.stretch))
        ctx.apply("u", gradients.u)
        ctx.apply("v", gradients.v)
        return {"u": gradients.u, "v": gradients.v}, sensitivity_of(gradients)


def proposals(ctx: Context, gradients: Gradients, moments: Moments) -> dict[Player, Tensors]:
    """Return the displacements that the optimizers propose along ``gradients``, which moments of ``"step"`` forget."""
    before = ctx.snapshot() if moments == "step" else None
    proposed: dict[Player, Tensors] = {"u": ctx.propose("u", gradients.u), "v": ctx.propose("v", gradients.v)}
    if before is not None:
        ctx.restore(before)
    return proposed


def reached(ctx: Context, displacements: dict[Player, Tensors], stretch: float = 1.0) -> Point:
    """Return the allowed point nearest to the present one plus displacements, without moving there."""

    def one(player: Player) -> Tensors:
        return ctx.project(player, add(of(ctx.point, player), displacements[player], stretch))

    with torch.no_grad():
        return Point(one("u"), one("v"))


def gradients_ahead(ctx: Context, point: Point) -> Gradients:
    """Return the second gradients of a step, on a fresh batch and draw if those are wanted."""
    if ctx.fresh_ascent:
        return ctx.gradients(point, substep=1, batch=ctx.fresh_batch())
    return ctx.gradients(point)


def check_moments(moments: str) -> None:
    """Refuse what is no way to treat moments."""
    if moments not in ("both", "step"):
        raise ArgumentError(f"moments: {moments!r} is neither 'both' nor 'step'; give one of them")


def _check_stretch(stretch: float) -> None:
    if not 0 < stretch < float("inf"):
        raise ArgumentError(f"stretch: {stretch} is no length; give a positive number, 1 for the plain method")


@final
@dataclass(frozen=True)
class Optimistic:
    """Move by the present displacement plus its change since the step before (OGDA).

    ``x_{i+1} = P(x_i + d_i + strength (d_i - d_{i-1}))`` with ``x = (u, v)``; with SGD ``d_i = -eta F(x_i)``, hence
    ``x_{i+1} = x_i - 2 eta F(x_i) + eta F(x_{i-1})``

    ``d_i`` is what the player's own optimizer proposes: with Adam this is optimistic Adam, whose moments take in each
    gradient once. Before the first step there is no displacement; the missing one is taken to be the present one, so
    that the first step is a plain step, not a double one. With projections it is the forward-reflected-backward
    method. On a bilinear game it converges for ``eta`` below ``1 / (sqrt(3) s)``, ``s`` the largest singular value.

    Args:
        strength: the weight of the change; 0 is simultaneous gradient descent-ascent.

    Raises:
        ArgumentError: if ``strength`` is negative or not finite, or the follower responds.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Game, Optimistic, solve
        >>> sgd = partial(torch.optim.SGD, lr=0.5)
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> for steps in (1, 2):
        ...     solution = solve(game, Optimistic(), steps=steps, u_optimizer=sgd, v_optimizer=sgd)
        ...     print(solution.u.item(), solution.v.item())
        0.5 1.5
        -0.5 1.5

    Source: Daskalakis et al. 2018, Alg. 1; Malitsky and Tam 2020 for projections; Mokhtari et al. 2020 for ``strength``.
    """

    strength: float = 1.0

    name: ClassVar[str] = "optimistic"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")
    two_losses: ClassVar[TwoLosses] = "own"

    def __post_init__(self) -> None:
        if not 0 <= self.strength < float("inf"):
            raise ArgumentError(f"strength: {self.strength} is no weight; give a number that is not negative")

    def init(self, ctx: Context) -> dict[Player, Tensors] | None:
        """Begin without a past displacement."""
        require_parametric(ctx, self.name)
        return None

    def step(self, ctx: Context, state: dict[Player, Tensors] | None) -> tuple[dict[Player, Tensors], Record]:
        """Make one step of both players; the state is the displacements proposed last."""
        gradients = ctx.gradients()
        proposed: dict[Player, Tensors] = {"u": ctx.propose("u", gradients.u), "v": ctx.propose("v", gradients.v)}
        for player, now in proposed.items():
            ctx.move(player, now if state is None else self._corrected(now, state[player]))
        return proposed, sensitivity_of(gradients)

    def _corrected(self, now: Tensors, before: Tensors) -> Tensors:
        with torch.no_grad():
            return {name: d + self.strength * (d - before[name]) for name, d in now.items()}


@final
@dataclass(frozen=True)
class AnchoredExtragradient:
    """Extragradient whose two half steps are pulled back to the starting point, by ``1 / (i + 2)`` of the way (EAG).

    ``x' = P(x_i + (x_0 - x_i) / (i + 2) - eta F(x_i))``, ``x_{i+1} = P(x_i + (x_0 - x_i) / (i + 2) - eta F(x'))`` at
    step ``i = 0, 1, ...`` with ``x = (u, v)``

    On convex-concave games of smoothness ``L`` the last iterate has ``||F(x_k)||^2 <= 260 L^2 ||x_0 - x*||^2 /
    (k + 1)^2`` for ``eta = 1 / (8 L)``, a rate that no first-order method can better; extragradient's is ``1 / k``. In
    return it is sublinear where others are linear, and the guarantee is for SGD without projections.

    Args:
        moments: what the optimizers' moments take in, ``"both"`` half steps or the ``"step"``, as for
            ``Extragradient``.

    Raises:
        ArgumentError: if ``moments`` is neither choice, or the follower responds.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import AnchoredExtragradient, Game, solve
        >>> sgd = partial(torch.optim.SGD, lr=0.5)
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> for steps in (1, 2):  # at (0.25, 1.25) the pull is (0.25, -0.25 / 3)
        ...     solution = solve(game, AnchoredExtragradient(), steps=steps, u_optimizer=sgd, v_optimizer=sgd)
        ...     print(f"{solution.u.item():.4f} {solution.v.item():.4f}")
        0.2500 1.2500
        -0.1458 1.1042

    Source: Yoon and Ryu 2021, EAG-C.
    """

    moments: Moments = "both"

    name: ClassVar[str] = "anchored-extragradient"
    players: ClassVar[tuple[Player, ...]] = ("u", "v")
    two_losses: ClassVar[TwoLosses] = "own"

    def __post_init__(self) -> None:
        check_moments(self.moments)

    def init(self, ctx: Context) -> dict[str, Any]:
        """Put the anchor where we are."""
        require_parametric(ctx, self.name)
        anchor = {player: {n: t.detach().clone() for n, t in of(ctx.point, player).items()} for player in self.players}
        return {"anchor": anchor, "steps": 0}

    def step(self, ctx: Context, state: dict[str, Any]) -> tuple[dict[str, Any], Record]:
        """Make one step of both players; the state is the anchor and the number of steps since."""
        here = ctx.gradients()
        pull = self._pull(ctx, state)
        proposed = proposals(ctx, here, self.moments)
        ahead = gradients_ahead(ctx, reached(ctx, {p: add(pull[p], proposed[p]) for p in self.players}))
        ctx.move("u", add(pull["u"], ctx.propose("u", ahead.u)))
        ctx.move("v", add(pull["v"], ctx.propose("v", ahead.v)))
        return {**state, "steps": state["steps"] + 1}, sensitivity_of(here)

    def _pull(self, ctx: Context, state: dict[str, Any]) -> dict[Player, Tensors]:
        with torch.no_grad():
            return {
                player: {
                    n: (state["anchor"][player][n] - t) / (state["steps"] + 2) for n, t in of(ctx.point, player).items()
                }
                for player in self.players
            }
