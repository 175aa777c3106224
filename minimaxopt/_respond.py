"""Best responses: players trained against a frozen opponent by ``solve``, and scored on the data of a certificate."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, final

import optree
import torch
from torch import Tensor, nn

from minimaxopt import calculus
from minimaxopt._fresh import can_be_fresh, fresh
from minimaxopt._functional import Functional
from minimaxopt._measure import Measured
from minimaxopt._tree import add
from minimaxopt._types import OptimizerFactory, Player, Point, Tensors, Tree
from minimaxopt.certificate import How, Quantity
from minimaxopt.errors import ArgumentError, DivergenceWarning
from minimaxopt.game import Game, is_responding
from minimaxopt.run import solve
from minimaxopt.solution import Status
from minimaxopt.solvers import Ascent, Descent

_DOUBLINGS = 60  # of the distance along a ray
_GROWTH = 1.4  # by which a doubling must raise the gain: 2 for linear growth, 1 for logarithmic
_FAR_UP = 1e9  # the gain, in units of the risk, at which growth that has not slackened is called endless


@final
class Search:
    """Responses to a point of a game.

    Args:
        game: the game with the point's players.
        data: what to score on.
        fit_data: what to train on.
        steps: of each training.
        seed: of every random draw.
        device: where to compute.
        optimizers: factories by player, ``None`` for the defaults.
    """

    def __init__(
        self,
        game: Game,
        data: Any,
        fit_data: Any,
        steps: int,
        seed: int,
        device: torch.device | None,
        optimizers: Mapping[Player, OptimizerFactory | None],
    ) -> None:
        self._given = game
        # One copy in evaluation mode, for all trainings: the opponent is the player as it is used, not as it learned.
        self._game = replace(game, u=_in_mode(game.u, training=False), v=_in_mode(game.v, training=False))
        self._data, self._fit_data = data, fit_data
        self._steps, self._seed, self._device, self._optimizers = steps, seed, device, optimizers
        self._how: How = "exact" if data is None else "estimate"
        self.gradients = self.evaluations = 0

    def followers(self, restarts: int, make: Callable[[], Tree] | None) -> dict[str, Quantity]:
        """Return what the solution's own follower and fresh ones reach against the leader."""
        found = {"the solution's follower": self._score(self._game)[0]}
        if self._game.responding:
            return found
        for i in range(restarts):
            seed = self._seed + i
            v = fresh("v", self._game.v, self._game.project_v, seed) if make is None else self._made(make)
            found[f"fresh follower {i + 1}"] = self._reach("v", v, seed)
        return found

    def leaders(self, restarts: int) -> dict[str, Quantity]:
        """Return what the solution's leader, trained on, and fresh ones reach against the follower."""
        found = {"the solution's leader": self._score(self._game)[0]}
        if not restarts:
            return found
        found["the solution's leader, trained on"] = self._reach("u", self._game.u, self._seed)
        if can_be_fresh(self._game.u):
            for i in range(restarts):
                u = fresh("u", self._game.u, self._game.project_u, self._seed + i)
                found[f"fresh leader {i + 1}"] = self._reach("u", u, self._seed + i)
        return found

    def named(self, followers: Mapping[str, Any]) -> dict[str, Quantity]:
        """Return what the user's own followers reach: values, functions, or games with a risk of their own."""
        found: dict[str, Quantity] = {}
        for name, follower in followers.items():
            if isinstance(follower, Game):
                game = replace(follower, u=self._game.u, project_u=self._game.project_u)
                if not game.responding:
                    game = replace(game, v=self._train(game, "v", self._seed)[1])
            else:
                projection = None if is_responding(follower) else self._game.project_v
                game = replace(self._game, v=follower, project_v=projection)
            found[name] = self._score(game)[0]
        return found

    def exactly(self, player: Player, answer: Callable[[Tree], Tree]) -> Quantity:
        """Return the risk at the best response that the user knows."""
        opponent = _detached(self._game.u if player == "v" else self._game.v)
        found, _ = self._score(_with(self._game, player, answer(opponent)))
        return replace(found, note="exact response")

    def _made(self, make: Callable[[], Tree]) -> Tree:
        made = make()
        held = {id(leaf) for leaf in optree.tree_leaves(self._given.v, none_is_leaf=True)}
        if any(id(leaf) in held for leaf in optree.tree_leaves(made, none_is_leaf=True)):
            raise ArgumentError(
                "fresh_follower: returned the solution's own follower; return a new one, initialised anew"
            )
        return made

    # -- one training --------------------------------------------------------------------------------------------------

    def _reach(self, player: Player, start: Tree, seed: int) -> Quantity:
        """Train a player from ``start`` against the other, frozen one, and score it."""
        sign = 1.0 if player == "v" else -1.0
        status, end = self._train(_with(self._game, player, start), player, seed)
        first = Functional(_with(self._game, player, start), self._device).parameters[player]
        found, measured = self._score(_with(self._game, player, end))
        if math.isnan(found.value):
            return Quantity(-sign * math.inf, found.how, None, "the risk is not a number there")
        if self._endless(measured, player, first, found.value, sign):
            return Quantity(sign * math.inf, found.how, None, "grows without end along a ray")
        return replace(found, note="its training diverged" if status is Status.DIVERGED else "")

    def _train(self, game: Game, player: Player, seed: int) -> tuple[Status, Tree]:
        """Train one player against the other, who stays in evaluation mode; return how it ended and where."""
        chosen = self._optimizers[player] or _default_for(game.v if player == "v" else game.u)
        lowered = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=max(self._steps, 1))
        moves: dict[str, Any] = {f"{player}_optimizer": chosen, f"{player}_scheduler": lowered}
        learning = _in_mode(game.v if player == "v" else game.u, training=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DivergenceWarning)  # the certificate says it
            solution = solve(
                _with(game, player, learning),
                Ascent() if player == "v" else Descent(),
                steps=self._steps,
                data=self._fit_data,
                seed=seed,
                device=self._device,
                progress=False,
                **moves,
            )
        self.gradients += solution.gradient_evaluations
        return solution.status, solution.v if player == "v" else solution.u

    def _score(self, game: Game) -> tuple[Quantity, Measured]:
        measured = Measured(game, self._data, self._seed, self._device)
        mean = measured.risk()
        self.evaluations += 1
        return Quantity(mean.value, self._how, mean.error), measured

    def _endless(self, measured: Measured, player: Player, first: Tensors, reached: float, sign: float) -> bool:
        """Whether the risk keeps growing on the ray from where the training began through where it ended."""
        last = calculus.of(measured.point, player)
        way = add(last, first, -1.0)
        if math.isinf(reached):
            return sign * reached > 0
        before = 0.0
        for k in range(_DOUBLINGS):
            there = measured.project(player, add(last, way, 2.0**k))
            point = Point(measured.point.u, there) if player == "v" else Point(there, measured.point.v)
            value = measured.value(point)
            self.evaluations += 1
            gain = sign * (value - reached)
            if not gain > _GROWTH * before:  # NaN too
                return False
            if gain > _FAR_UP * max(1.0, abs(reached)):
                return True
            before = gain
        return False


def _with(game: Game, player: Player, tree: Tree) -> Game:
    return replace(game, v=tree) if player == "v" else replace(game, u=tree)


def _default_for(tree: Tree) -> OptimizerFactory:
    modules = any(isinstance(leaf, nn.Module) for leaf in optree.tree_leaves(tree, none_is_leaf=True))
    return partial(torch.optim.Adam, lr=1e-3 if modules else 0.05)


def _in_mode(tree: Tree, *, training: bool) -> Tree:
    """Return copies of the tree's modules in training or evaluation mode."""
    if tree is None or is_responding(tree):
        return tree

    def one(leaf: Any) -> Any:
        return copy.deepcopy(leaf).train(training) if isinstance(leaf, nn.Module) else leaf

    return optree.tree_map(one, tree, none_is_leaf=True)


def _detached(tree: Tree) -> Tree:
    def one(leaf: Any) -> Any:
        return leaf.detach().clone() if isinstance(leaf, Tensor) else leaf

    return optree.tree_map(one, tree, none_is_leaf=True)
