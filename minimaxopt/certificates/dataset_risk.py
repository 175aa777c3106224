"""The risk of a game on a whole data set in evaluation mode, with its derivatives, for certificates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple, final

import torch

from minimaxopt._types import PLAYERS, Player, Point, Projection, Tensors
from minimaxopt.calculus.conjugate_gradient import Operator
from minimaxopt.calculus.double_backward import explain_backward_errors, refuse_wrong_second_derivatives
from minimaxopt.calculus.gradients import Gradients, operator, scalar
from minimaxopt.calculus.hessian import Blocks
from minimaxopt.calculus.vectors import of
from minimaxopt.errors import DataError
from minimaxopt.game.batches import is_seekable
from minimaxopt.game.copying import NamedTensor
from minimaxopt.game.data_source import parts_of, source_of
from minimaxopt.game.devices import devices_of
from minimaxopt.game.functional import Functional
from minimaxopt.game.game import Game
from minimaxopt.game.live_risk import GuardedBatch, LiveRisk
from minimaxopt.game.originals import Originals
from minimaxopt.game.played_game import PlayedGame
from minimaxopt.game.random_streams import replay, stream
from minimaxopt.game.shared_memory import SharedMemory
from minimaxopt.game.trees import tensors_of
from minimaxopt.solvers.context import Context
from minimaxopt.solvers.hessian_engine import MANY, At, HessianEngine


class Mean(NamedTuple):
    """A mean over batches, weighted by their samples, and its standard error."""

    value: float
    error: float | None


class _Batch(NamedTuple):
    """One batch of the data."""

    risk: Callable[..., LiveRisk]
    """Returns the risk on it, for the ``spec`` of an answer, or of a ``player``."""
    samples: float
    batch: GuardedBatch
    seed: Callable[[], None]
    """Sets the generators to its random draw."""


@final
class DatasetRisk:
    """A game's risk as a function of flat tensors, the mean over all batches of ``data``.

    Every evaluation of a batch replays one random draw, so that the risk is a function and not a random variable.

    Args:
        game: the game; its players are copied.
        data: all batches, or ``None``.
        seed: of every random draw.
        device: where to compute; ``None`` leaves the players where they are.
        trained: the game as it was played, in the place of a copy; it is put into evaluation mode.

    Attributes:
        gradients: evaluations of a gradient so far; a product with a block of the Hessian counts one.
        evaluations: evaluations of the risk alone.
        hessian_engine: linearises the gradients for products with the Hessian.
    """

    def __init__(
        self,
        game: Game,
        data: Any,
        seed: int,
        device: torch.device | None = None,
        trained: Context | None = None,
    ) -> None:
        self.game = game
        self._projections: dict[Player, Projection | None] = {"u": game.project_u, "v": game.project_v}
        self._played = PlayedGame(game, device) if trained is None else trained.played
        self._state = self._played.evaluating(None if trained is None else trained.module_state)
        parameters = self._played.parameters
        self._shared: dict[Player, SharedMemory] = {p: SharedMemory(p, parameters[p]) for p in PLAYERS}
        values = ({n: t.detach() for n, t in parameters[p].items()} for p in PLAYERS)
        self.point = Point(*(self._shared[p].reduced(tensors) for p, tensors in zip(PLAYERS, values, strict=True)))
        self._data, self._seed, self._device = data, seed, device
        self._devices = [device] if device is not None else devices_of((game.u, game.v))
        source_of(data, seed, device)  # refuses what is no collection of batches
        if parts_of(data):
            raise DataError(
                "data: a certificate weighs the batches of one source by their size; give a list of such batches as f takes, "
                "each with a batch of every source"
            )
        if isinstance(data, Iterator):
            raise DataError(
                "data: an iterator can be read only once, and a certificate reads the data many times; give Batches, a "
                "list of batches or a DataLoader"
            )
        self._batches = data
        self._blocks: tuple[Point, Blocks] | None = None
        self.hessian_engine = HessianEngine(self._played, Functional(self._played))
        self.gradients = self.evaluations = 0

    def refuse_originals(self, originals: Iterable[NamedTensor]) -> None:
        """Evaluate the risk once and raise if it reads another player than those that it is given.

        Args:
            originals: the user's tensors, of which copies are evaluated here.

        Raises:
            ArgumentError: naming the tensor.
        """
        watch = Originals(self._played, PLAYERS, further=originals)
        each = next(self._each())
        self._played.watch = watch
        name = "f"
        try:
            with torch.compiler.set_stance("force_eager"):
                self._watched(*self._answered(each, self.point), watch)
                if not self.game.zero_sum:
                    watch.check(name)
                    name = "follower_loss"
                    self._watched(each.risk(player="v"), self._expanded(self.point), watch)
        finally:
            self._played.watch = None
            self._played.write_state(self._state)
            watch.check(name)

    def _watched(self, f: LiveRisk, point: Point, watch: Originals) -> None:
        with f.placed(point, PLAYERS) as at:
            value = scalar(f(at.u, at.v))
            if self.game.zero_sum:  # with two losses nothing is differentiated twice
                refuse_wrong_second_derivatives(value)
            with explain_backward_errors():
                watch.backward(value, [t for named in at for t in named.values() if t.requires_grad])

    # -- values --------------------------------------------------------------------------------------------------------

    def follower_loss(self) -> float:
        """Return the follower's own loss, in a game of two losses."""
        return -self.risk(player="v").value

    def risk(self, point: Point | None = None, player: Player = "u") -> Mean:
        """Return the risk at ``point``, with its standard error where there are several batches.

        Args:
            point: where; by default at the players' own values.
            player: whose: ``f``, or for ``"v"`` in a game of two losses what the follower maximises, ``-follower_loss``.
        """
        at = point or self.point
        self.evaluations += 1
        values: list[float] = []
        weights: list[float] = []
        for each in self._each():
            f, answered = self._answered(each, at)
            f = f if player == "u" else each.risk(player=player)
            with f.placed(answered, ()) as tensors:
                values.append(float(scalar(f(tensors.u, tensors.v)).detach()))
            weights.append(each.samples)
        total = sum(weights)
        mean = sum(w * x for w, x in zip(weights, values, strict=True)) / total
        if len(values) < 2:
            return Mean(mean, None)
        # The variance of a batch's mean falls with its weight; without bias for batches of any sizes.
        spread = sum((w * (x - mean)) ** 2 for w, x in zip(weights, values, strict=True))
        return Mean(mean, math.sqrt(spread / (total**2 - sum(w**2 for w in weights))))

    def value(self, point: Point) -> float:
        """Return the risk at ``point``; infinite or NaN where it has no value there."""
        return self.risk(point).value

    # -- derivatives ---------------------------------------------------------------------------------------------------

    def own_gradients(self, point: Point, players: tuple[Player, ...] = ("u", "v")) -> Point:
        """Return each player's gradient of its own loss."""
        self.gradients += 1
        total = Point({}, {})
        samples = 0.0
        for each in self._each():
            gradients = self._operator(each, point, players)
            samples += each.samples
            for player in players:
                gradient = self._shared[player].merged(gradients.u if player == "u" else gradients.v)
                _accumulate(of(total, player), gradient, each.samples)
        return Point(*({n: t / samples for n, t in tensors.items()} for tensors in total))

    def _operator(self, each: _Batch, point: Point, players: tuple[Player, ...]) -> Gradients:
        f, at = self._answered(each, point)
        if self.game.zero_sum:
            return operator(f, at, players)
        # f may depend on u through the follower alone; of both derivatives one is there.
        leader = operator(f, at, PLAYERS, unused=PLAYERS).u if "u" in players else {}
        follower = operator(each.risk(player="v"), at, ("v",)) if "v" in players else None
        return Gradients(torch.empty(()), leader, {} if follower is None else follower.v)

    def block(self, point: Point, row: Player, column: Player) -> Operator:
        """Return the map ``x -> (d2f / d row d column) x`` at ``point``."""

        def product(reduced: Tensors) -> Tensors:
            x = self._shared[column].expanded(reduced)
            if (kept := self._kept(point)) is not None:
                return self._shared[row].merged(kept.product(x, row=row, column=column))
            self.gradients += 1
            return self._mean_over_batches(
                lambda blocks: self._shared[row].merged(blocks.product(x, row=row, column=column)), point
            )

        return product

    def block_of_several(self, point: Point, row: Player, column: Player) -> Operator | None:
        """Return the map of vectors stacked along a first dimension; none where values share memory."""
        if any(shared.any for shared in self._shared.values()):
            return None

        def products(stacked: Tensors) -> Tensors:
            if (kept := self._kept(point)) is not None:
                return kept.products(stacked, row=row, column=column)
            self.gradients += len(next(iter(stacked.values())))
            return self._mean_over_batches(lambda blocks: blocks.products(stacked, row=row, column=column), point)

        return products

    def _mean_over_batches(self, product: Callable[[Blocks], Tensors], point: Point) -> Tensors:
        """Return the mean of a product over the batches; each is evaluated anew, since graphs would fill the memory."""
        total: Tensors = {}
        samples = 0.0
        for each in self._each():
            samples += each.samples
            _accumulate(total, product(Blocks(each.risk(), self._expanded(point))), each.samples)
        return {name: tensor / samples for name, tensor in total.items()}

    def _kept(self, point: Point) -> Blocks | None:
        """Return the point's gradients with their graph where there is one batch; more graphs would fill the memory."""
        if self._several:
            return None
        if self._blocks is None or self._blocks[0] is not point:
            self._blocks = None  # frees the old graph first
            (each,) = self._each()
            self._blocks = (point, self._linearised(each, self._expanded(point)))
        return self._blocks[1]

    def _linearised(self, each: _Batch, point: Point) -> Blocks:
        at = At(each.batch, self._state, each.seed)
        return self.hessian_engine.linearise(
            lambda: Blocks(each.risk(), point, self._count), at, point, products=MANY, count=self._count
        )

    def forget(self) -> None:
        """Free the graph that is kept between products; it is as large as a training."""
        self._blocks = None

    def _count(self) -> None:
        self.gradients += 1

    # -- batches -------------------------------------------------------------------------------------------------------

    @property
    def _several(self) -> bool:
        try:
            return self._batches is not None and len(self._batches) > 1
        except TypeError:  # an iterable of unknown length
            return True

    def _each(self) -> Iterator[_Batch]:
        batches: Any = [None] if self._batches is None else self._batches
        if is_seekable(self._batches) and hasattr(self._batches, "__len__"):
            sized: Any = batches
            batches = (sized.at(i) for i in range(len(sized)))
        any_at_all = False
        replay(stream(self._seed, 0, "data"), self._devices)
        for index, item in enumerate(batches):
            any_at_all = True
            source = source_of(None if self._batches is None else [item], self._seed, self._device)
            batch = source.take()
            guarded = GuardedBatch(batch)
            seed = partial(replay, stream(self._seed, index, "risk"), self._devices)
            yield _Batch(partial(self._risk_of, guarded, seed), _samples(batch), guarded, seed)
        if not any_at_all:
            raise DataError("data: has no batches; give at least one")

    def _risk_of(
        self, batch: GuardedBatch, seed: Callable[[], None], spec: Any = None, player: Player = "u"
    ) -> LiveRisk:
        return LiveRisk(self._played, batch, self._state, seed, spec=spec, player=player)

    def _answered(self, each: _Batch, point: Point) -> tuple[LiveRisk, Point]:
        """Return a batch's risk, and the point with the follower's answer in the place of ``v`` where it responds."""
        point = self._expanded(point)
        if not self.game.responding:
            return each.risk(), point
        seed = partial(replay, stream(self._seed, 0, "respond"), self._devices)
        flat, spec = each.risk().respond(point.u, seed)
        return each.risk(spec=spec), Point(point.u, flat)

    def project(self, player: Player, tensors: Tensors) -> Tensors:
        """Return the nearest allowed tensors."""
        shared = self._shared[player]
        return shared.reduced(self._played.project(player, self._projections[player], shared.expanded(tensors)))

    def _expanded(self, point: Point) -> Point:
        u = self._shared["u"].expanded(point.u)
        return Point(u, point.v if self.game.responding else self._shared["v"].expanded(point.v))

    def constrained(self, player: Player) -> bool:
        """Return whether the player has a projection."""
        return self._projections[player] is not None


def _accumulate(total: Tensors, part: Tensors, weight: float) -> None:
    for name, tensor in part.items():
        total[name] = total[name] + weight * tensor if name in total else weight * tensor


def _samples(batch: tuple[Any, ...]) -> float:
    lengths = {t.shape[0] if t.dim() else None for t in tensors_of(batch)}
    one = next(iter(lengths)) if len(lengths) == 1 else None
    return float(one) if one else 1.0
