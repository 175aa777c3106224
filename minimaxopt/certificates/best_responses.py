"""Best responses: players trained against a frozen opponent by ``solve``, and scored on the data of a certificate."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, final

import optree
import torch
from torch import Tensor, nn

from minimaxopt._types import OptimizerFactory, Player, Point, Tensors, Tree
from minimaxopt.calculus.vectors import add, of, squared_norm
from minimaxopt.certificates.dataset_risk import DatasetRisk
from minimaxopt.certificates.fresh_players import can_be_fresh, fresh
from minimaxopt.certificates.given_players import allowed, flat_parameters, require_form, same_architecture
from minimaxopt.errors import ArgumentError, DivergenceWarning
from minimaxopt.game.copying import copy_modules
from minimaxopt.game.game import Game, with_players
from minimaxopt.game.trees import is_responding, to_device
from minimaxopt.loop.solve import Run, play
from minimaxopt.results.certificate import Accuracy, Quantity
from minimaxopt.results.solution import Status
from minimaxopt.solvers import Ascent, Context, Descent

OWN = "the solution's follower"

_DOUBLINGS = 60  # of the distance along a ray
_GROWTH = 1.4  # by which a doubling must raise the gain: 2 for linear growth, 1 for logarithmic
_FAR_UP = 1e9  # the gain, in units of the risk, at which growth that has not slackened is called endless


@final
class BestResponses:
    """Responses to a point of a game.

    Args:
        game: the game with the point's players.
        data: what to score on.
        fit_data: what to train on.
        steps: of each training.
        seed: of every random draw.
        device: where to compute.
        optimizers: factories by player, ``None`` for the defaults.
        tolerance: how far from the set of a projection a player may lie.

    Attributes:
        foreign: names of the followers whose risk is no lower bound of ``max_v f(u, v)``: games with a risk of their
            own, modules of another architecture, functions that answer each of several batches by itself.
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
        tolerance: float,
    ) -> None:
        self._original = game
        # One copy in evaluation mode, for all trainings: the opponent is the player as it is used, not as it learned.
        self._game = with_players(game, u=_in_evaluation("u", game.u), v=_in_evaluation("v", game.v))
        self._own: DatasetRisk | None = None
        self._data, self._fit_data = data, fit_data
        self._steps, self._seed, self._device, self._optimizers = steps, seed, device, optimizers
        self._accuracy: Accuracy = "exact" if data is None else "estimate"
        self._tolerance = tolerance
        self.foreign: set[str] = set()
        self.gradients = self.evaluations = 0

    @property
    def own(self) -> DatasetRisk:
        """The risk of the point itself."""
        if self._own is None:
            self._own = DatasetRisk(self._game, self._data, self._seed, self._device)
        return self._own

    def followers(self, restarts: int, make: Callable[[], Tree] | None) -> dict[str, Quantity]:
        """Return the risks that the solution's own follower and fresh ones reach against the leader.

        With two losses they are trained on their own, whose value is noted.
        """
        reached = {OWN: _numbered(self._score(self.own), 1.0)}
        if not self._game.zero_sum:
            reached[OWN] = _with_own_loss(reached[OWN], self.own)
        if self._game.responding:
            return reached
        for i in range(restarts):
            seed = self._seed + i
            v = fresh("v", self._game.v, self._game.project_v, seed) if make is None else self._made(make)
            reached[f"fresh follower {i + 1}"] = self._reach("v", v, seed)
        return reached

    def leaders(self, restarts: int) -> dict[str, Quantity]:
        """Return the risks that the solution's leader, as it is and trained further, and fresh leaders reach.

        With two losses none: a frozen follower's risk says nothing of a leader whom it would answer by its own loss.
        """
        if not self._game.zero_sum:
            return {}
        reached = {"the solution's leader": _numbered(self._score(self.own), -1.0)}
        if not restarts:
            return reached
        reached["the solution's leader, trained on"] = self._reach("u", self._game.u, self._seed)
        if can_be_fresh(self._game.u):
            for i in range(restarts):
                u = fresh("u", self._game.u, self._game.project_u, self._seed + i)
                reached[f"fresh leader {i + 1}"] = self._reach("u", u, self._seed + i)
        return reached

    def named(self, followers: Mapping[str, Any]) -> dict[str, Quantity]:
        """Return the risks of the user's own followers: values, functions, or games with a risk of their own."""
        reached: dict[str, Quantity] = {}
        for name, follower in followers.items():
            if isinstance(follower, Game):
                self.foreign.add(name)
                require_form(f"followers: {name!r}: its u", self._game.u, follower.u)
                game = replace(follower, u=self._game.u, project_u=self._game.project_u)
                trained = None if game.responding else self._train(game, "v", self._seed)[1]
                reached[name] = _numbered(self._score(self._risk_of(game, trained)), 1.0)
                continue
            if is_responding(follower):
                if self._data is not None and not self._game.responding:
                    self.foreign.add(name)
                game = replace(self._game, v=follower, project_v=None)  # a function of the user's: checked
            else:
                game = self._valued(f"followers: {name!r}", name, follower)
            reached[name] = _numbered(self._score(self._risk_of(game)), 1.0)
        return reached

    def _valued(self, subject: str, name: str, follower: Tree) -> Game:
        """Return the game with ``v`` replaced by the user's value, which is checked and projected."""
        if self._game.responding:
            return replace(self._game, v=follower)
        require_form(subject, follower, self._game.v)
        if same_architecture(follower, self._game.v):
            game = allowed(subject, replace(self._game, v=follower), self._tolerance, self._device)
        else:
            self.foreign.add(name)
            game = replace(self._game, v=follower, project_v=None)
        return with_players(game, v=_in_evaluation("v", game.v))

    def exactly(self, player: Player, answer: Callable[[Tree], Tree]) -> Quantity:
        """Return the risk at the best response that the user knows."""
        mine, other = (self._game.v, self._game.u) if player == "v" else (self._game.u, self._game.v)
        response = answer(_detached("u" if player == "v" else "v", other))
        subject = f"exact: the response of {player}"  # the other player has been looked at
        require_form(subject, response, mine)
        game = allowed(subject, replace(self._game, **{player: response}), self._tolerance, self._device)
        quantity = replace(self._score(self._risk_of(game)), note="exact response")
        return _numbered(quantity, 1.0 if player == "v" else -1.0)

    def _made(self, make: Callable[[], Tree]) -> Tree:
        made = make()
        require_form("fresh_follower: what it returned", made, self._game.v)
        own = {id(leaf) for leaf in optree.tree_leaves(self._original.v, none_is_leaf=True)}
        if any(id(leaf) in own for leaf in optree.tree_leaves(made, none_is_leaf=True)):
            raise ArgumentError(
                "fresh_follower: returned the solution's own follower; return a new one, initialised anew"
            )
        return made

    # -- one training --------------------------------------------------------------------------------------------------

    def _reach(self, player: Player, start: Tree, seed: int) -> Quantity:
        """Train a player from ``start`` against the other, frozen one, and score it."""
        sign = 1.0 if player == "v" else -1.0
        first = {n: to_device(t, self._device) for n, t in flat_parameters(start).items()}
        status, ctx = self._train(with_players(self._game, **{player: start}), player, seed)
        measured = self._risk_of(ctx.game, ctx)
        quantity = self._score(measured)
        if math.isnan(quantity.value):
            return _numbered(quantity, sign)
        if not self._game.zero_sum:
            return _with_own_loss(quantity, measured)
        if self._endless(measured, player, first, quantity.value, sign):
            return Quantity(sign * math.inf, quantity.accuracy, None, "grows without end along a ray")
        return replace(quantity, note="its training diverged" if status is Status.DIVERGED else "")

    def _train(self, game: Game, player: Player, seed: int) -> tuple[Status, Context]:
        """Train one player against the other, which is in evaluation mode; return status and trained context."""
        learning = game.v if player == "v" else game.u
        lowered = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=max(self._steps, 1))
        moves: dict[str, Any] = {
            f"{player}_optimizer": self._optimizers[player] or _default_for(learning),
            f"{player}_scheduler": lowered,
        }
        solver = Ascent() if player == "v" else Descent()
        run = Run(game, solver, self._steps, self._fit_data, seed, device=self._device, **moves)
        with warnings.catch_warnings(), _in_training(learning):
            warnings.simplefilter("ignore", DivergenceWarning)  # the certificate says it
            loop, status, _ = play(run, progress=False)
        if status is Status.INTERRUPTED:  # a solve ends in order; a certificate of half its parts is none
            raise KeyboardInterrupt
        self.gradients += loop.ctx.gradient_evaluations
        return status, loop.ctx

    def _risk_of(self, game: Game, trained: Context | None = None) -> DatasetRisk:
        return DatasetRisk(game, self._data, self._seed, self._device, trained)

    def _score(self, measured: DatasetRisk) -> Quantity:
        mean = measured.risk()
        self.evaluations += 1
        return Quantity(mean.value, self._accuracy, mean.error)

    def _endless(self, measured: DatasetRisk, player: Player, first: Tensors, reached: float, sign: float) -> bool:
        """Return whether the risk keeps growing on a ray from the end of the training: onwards, or along the gradient."""
        if math.isinf(reached):
            return sign * reached > 0
        last = of(measured.point, player)
        onwards = {n: t.detach() for n, t in add(last, first, -1.0).items()}
        if self._grows(measured, player, onwards, reached, sign):
            return True
        gradient = of(measured.own_gradients(measured.point, (player,)), player)
        self.gradients += 1
        gradient_norm = float(squared_norm([t.detach() for t in gradient.values()]).sqrt())
        if not 0 < gradient_norm < math.inf:
            return False
        # Where the start was far off in directions that the training then settled, the way onwards unsettles them.
        far = max(1.0, float(squared_norm(onwards.values()).sqrt()))
        uphill = {n: -far / gradient_norm * t for n, t in gradient.items()}
        return self._grows(measured, player, uphill, reached, sign)

    def _grows(self, measured: DatasetRisk, player: Player, direction: Tensors, reached: float, sign: float) -> bool:
        last = of(measured.point, player)
        before = 0.0
        for k in range(_DOUBLINGS):
            ahead = measured.project(player, add(last, direction, 2.0**k))
            point = Point(measured.point.u, ahead) if player == "v" else Point(ahead, measured.point.v)
            value = measured.value(point)
            self.evaluations += 1
            gain = sign * (value - reached)
            if not gain > _GROWTH * before:  # NaN too
                return False
            if gain > _FAR_UP * max(1.0, abs(reached)):
                return True
            before = gain
        return False


def _with_own_loss(quantity: Quantity, measured: DatasetRisk) -> Quantity:
    return replace(quantity, note=f"its own loss is {measured.follower_loss():.6g}")


def _numbered(quantity: Quantity, sign: float) -> Quantity:
    """Replace a risk that is NaN by the infinite bound, which always holds."""
    if not math.isnan(quantity.value):
        return quantity
    return Quantity(
        -sign * math.inf, "lower bound" if sign > 0 else "upper bound", None, "the risk is not a number there"
    )


def _default_for(tree: Tree) -> OptimizerFactory:
    modules = any(isinstance(leaf, nn.Module) for leaf in optree.tree_leaves(tree, none_is_leaf=True))
    return partial(torch.optim.Adam, lr=1e-3 if modules else 0.05)


def _in_evaluation(player: Player, tree: Tree) -> Tree:
    """Return the tree with copies of its modules, in evaluation mode."""
    if tree is None or is_responding(tree):
        return tree
    copied = copy_modules(player, tree)
    for leaf in optree.tree_leaves(copied, none_is_leaf=True):
        if isinstance(leaf, nn.Module):
            leaf.eval()
    return copied


@contextmanager
def _in_training(tree: Tree) -> Generator[None]:
    """Keep the tree's modules in training mode while a solve copies and trains them; restore each part's mode."""
    modules = [leaf for leaf in optree.tree_leaves(tree, none_is_leaf=True) if isinstance(leaf, nn.Module)]
    modes = {part: part.training for module in modules for part in module.modules()}
    for module in modules:
        module.train()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def _detached(player: Player, tree: Tree) -> Tree:
    def one(leaf: Any) -> Any:
        return leaf.detach().clone() if isinstance(leaf, Tensor) else leaf

    return optree.tree_map(one, copy_modules(player, tree), none_is_leaf=True)
