"""The risk of a game on a whole data set in evaluation mode, with its derivatives, for certificates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from minimaxopt._types import Player, Point, Projection, Tensors
from minimaxopt.calculus.conjugate_gradient import Operator
from minimaxopt.calculus.gradients import FlatRisk, operator, scalar
from minimaxopt.calculus.hessian import Blocks
from minimaxopt.calculus.vectors import of
from minimaxopt.errors import DataError
from minimaxopt.game.batches import Seekable
from minimaxopt.game.data_source import source_of
from minimaxopt.game.devices import devices_of
from minimaxopt.game.functional import Functional
from minimaxopt.game.game import Game
from minimaxopt.game.random_streams import replay, stream
from minimaxopt.game.trees import tensors_of
from minimaxopt.solvers.context import Context


class Mean(NamedTuple):
    """A mean over batches, weighted by their samples, and its standard error."""

    value: float
    error: float | None


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
        self.functional = Functional(game, device) if trained is None else trained.functional
        self.functional.evaluating()
        self._buffers = self.functional.buffers if trained is None else trained.buffers
        self.point = Point(
            *({n: t.detach() for n, t in self.functional.parameters[p].items()} for p in ("u", "v")),
        )
        self._data, self._seed, self._device = data, seed, device
        self._devices = [device] if device is not None else devices_of((game.u, game.v))
        source_of(data, seed, device)  # refuses what is no collection of batches
        if isinstance(data, Iterator):
            raise DataError(
                "data: an iterator can be read only once, and a certificate reads the data many times; give Batches, a "
                "list of batches or a DataLoader"
            )
        self._batches = data
        self._blocks: tuple[Point, Blocks] | None = None
        self.gradients = self.evaluations = 0

    # -- values --------------------------------------------------------------------------------------------------------

    def risk(self, point: Point | None = None) -> Mean:
        """Return the risk at ``point``, with its standard error where there are several batches."""
        at = point or self.point
        self.evaluations += 1
        values: list[float] = []
        weights: list[float] = []
        for f, weight, batch in self._each():
            v = self._answer(at.u, batch) if self.game.responding else at.v
            values.append(float(scalar(f(at.u, v)).detach()))
            weights.append(weight)
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
        for f, weight, batch in self._each():
            if self.game.responding:
                answer = self._answer(point.u, batch)
                gradients = operator(lambda u, _, f=f, z=answer: f(u, z), Point(point.u, {}), ("u",))
            else:
                gradients = operator(f, point, players)
            samples += weight
            for player in players:
                _accumulate(of(total, player), of(Point(gradients.u, gradients.v), player), weight)
        return Point(*({n: t / samples for n, t in tensors.items()} for tensors in total))

    def block(self, point: Point, row: Player, column: Player) -> Operator:
        """Return the map ``x -> (d2f / d row d column) x`` at ``point``."""

        def product(x: Tensors) -> Tensors:
            if (kept := self._kept(point)) is not None:
                return kept.product(x, row=row, column=column)
            total: Tensors = {}
            samples = 0.0
            self.gradients += 1
            for f, weight, _ in self._each():
                samples += weight
                _accumulate(total, Blocks(f, point).product(x, row=row, column=column), weight)
            return {name: tensor / samples for name, tensor in total.items()}

        return product

    def _kept(self, point: Point) -> Blocks | None:
        """Return the point's gradients with their graph where there is one batch; more graphs would fill the memory."""
        if self._several:
            return None
        if self._blocks is None or self._blocks[0] is not point:
            self._blocks = None  # frees the old graph first
            ((f, _, _),) = self._each()
            self._blocks = (point, Blocks(f, point, self._count))
        return self._blocks[1]

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

    def _each(self) -> Iterator[tuple[FlatRisk, float, tuple[Any, ...]]]:
        """Yield each batch's risk, its number of samples and the batch."""
        batches: Any = [None] if self._batches is None else self._batches
        if isinstance(self._batches, Seekable) and hasattr(self._batches, "__len__"):
            sized: Any = batches
            batches = (sized.at(i) for i in range(len(sized)))
        any_at_all = False
        replay(stream(self._seed, 0, "data"), self._devices)
        for index, item in enumerate(batches):
            any_at_all = True
            source = source_of(None if self._batches is None else [item], self._seed, self._device)
            batch = source.take()
            yield self._of_batch(batch, index), _samples(batch), batch
        if not any_at_all:
            raise DataError("data: has no batches; give at least one")

    def _of_batch(self, batch: tuple[Any, ...], index: int) -> FlatRisk:
        draw = stream(self._seed, index, "risk")

        def f(u: Tensors, v: Any) -> Tensor:
            replay(draw, self._devices)
            return self.functional.evaluate(u, v, batch, self._buffers)[0]

        return f

    def _answer(self, u: Tensors, batch: tuple[Any, ...]) -> Any:
        replay(stream(self._seed, 0, "respond"), self._devices)
        return self.functional.respond(u, batch, self._buffers)

    def project(self, player: Player, tensors: Tensors) -> Tensors:
        """Return the nearest allowed tensors."""
        return self.functional.project(player, self._projections[player], tensors)

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
