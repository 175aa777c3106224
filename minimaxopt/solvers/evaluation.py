"""Evaluation of the risk at any point, with the buffers and random draws of the step that is being made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, final

import optree
import torch
from torch import Tensor

from minimaxopt._types import Buffers, Player, Point, Tensors
from minimaxopt.calculus.gradients import Deriving, FlatRisk, Gradients, operator
from minimaxopt.calculus.hessian import Blocks
from minimaxopt.errors import ArgumentError
from minimaxopt.game.functional import Functional
from minimaxopt.game.random_streams import HostGenerators, replay, stream
from minimaxopt.game.trees import leaves_with_names, shell_of


@final
class Evaluation:
    """The risk and its derivatives, on one batch, the step's opening buffers and a replayed random draw.

    Args:
        functional: the game as a function of flat tensors.
        seed: of every random draw.
        devices: whose generators are seeded.
        host: the generators of ``random`` and ``numpy.random``, which may be seeded too.

    Attributes:
        step: the step that is being made; its draws are those of this number.
        batch: ``()`` without data and ``(batch,)`` with.
        opening: the buffers with which every evaluation of the step begins.
        gradient_evaluations: how many gradients have been formed so far.
        compiled: compiled derivatives in place of autograd's, or ``None``.
        seeding: called with the number of a random stream before each evaluation, in place of seeding the generators;
            ``None`` seeds them.
    """

    def __init__(self, functional: Functional, seed: int, devices: list[torch.device], host: HostGenerators) -> None:
        self.functional, self.seed, self.devices, self._host = functional, seed, devices, host
        self.step = 0
        self.batch: tuple[Any, ...] = ()
        self.gradient_evaluations = 0
        self.compiled: Deriving | None = None
        self.seeding: Callable[[int], None] | None = None
        self.opening: Buffers = functional.buffers
        self._closing: Buffers | None = None
        self._latest: Buffers = self.opening

    @property
    def point(self) -> Point:
        """The present point: the live tensors, which moves change in place."""
        return Point(self.functional.parameters["u"], self.functional.parameters["v"])

    def risk(self, substep: int, batch: tuple[Any, ...], spec: Any = None) -> FlatRisk:
        """Return ``f`` as a function of flat tensors.

        Args:
            substep: every call replays the draw of this number.
            batch: what ``f`` is evaluated on.
            spec: the form of a responding follower's answer, whose leaves ``v`` then holds.
        """
        draw = stream(self.seed, self.step, "risk", substep)

        def seed_generators() -> None:
            self._seed(draw)

        def keep(buffers: Buffers) -> None:
            self._latest = buffers

        def f(u: Tensors, v: Tensors) -> Tensor:
            answer: Any = v if spec is None else optree.tree_unflatten(spec, list(v.values()))
            seed_generators()
            value, after = self.functional.evaluate(u, answer, batch, self.opening)
            keep(after)
            return value

        if self.compiled is None:
            return f
        shell = None if spec is None else shell_of(spec)
        return self.compiled.risk(f, batch, self.opening, seed_generators, keep, shell)

    def gradients(self, point: Point, players: tuple[Player, ...], substep: int, batch: tuple[Any, ...]) -> Gradients:
        """Return each player's gradient of its own loss, ``(grad_u f, -grad_v f)``."""
        if self.functional.responding:
            raise ArgumentError(
                "solver: asks for gradients of a follower that responds by a function; let it use ctx.respond(), or give "
                "the game a follower with parameters"
            )
        self._count()
        return operator(self.risk(substep, batch), point, players)

    def blocks(self, point: Point, substep: int, batch: tuple[Any, ...]) -> Blocks:
        """Return the gradients at a point, with Hessian blocks times vectors at one pass each."""
        return Blocks(self.risk(substep, batch), point, self._count)

    def respond(self) -> tuple[Tensors, FlatRisk]:
        """Return the responding follower's answer to the present ``u``, flat, and the risk as a function of it."""
        self._seed(stream(self.seed, self.step, "respond"))
        answer = self.functional.respond(self.point.u, self.batch, self.opening)
        self._count()
        spec = optree.tree_structure(answer, none_is_leaf=True)
        flat: Tensors = {}
        for name, leaf in leaves_with_names(answer):
            if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
                raise ArgumentError(
                    f"v: the responding follower returned {type(leaf).__name__} at {name!r}; return floating tensors"
                )
            flat[name or "value"] = leaf
        return flat, self.risk(0, self.batch, spec)

    # -- buffers ------------------------------------------------------------------------------------------------------

    def open(self, batch: tuple[Any, ...]) -> None:
        """Begin a step on ``batch``."""
        self.batch, self._closing = batch, None

    def note_buffers(self, players: tuple[Player, ...], moving: Iterable[Player]) -> None:
        """Keep the buffers that the latest evaluation left; the last one for ``u`` counts, if ``u`` moves."""
        if "u" in players or self._closing is None or "u" not in moving:
            self._closing = self._latest

    def close(self, moving: Iterable[Player]) -> None:
        """End the step: commit the buffers of the players that move; a frozen one keeps its running statistics."""
        if self._closing is not None:
            self.opening = {p: self._closing[p] if p in moving else self.opening[p] for p in self.opening}
        self.step += 1

    def own_buffers(self) -> None:
        """Give the buffers memory of their own, to be committed to in place."""
        self.opening = {p: {n: t.clone() for n, t in tensors.items()} for p, tensors in self.opening.items()}

    def commit_in_place(self, moving: Iterable[Player]) -> None:
        """Write the moving players' buffers, as the step leaves them, over those it opened with."""
        closing, self._closing = self._closing, None
        if closing is not None:
            for player in moving:
                for name, tensor in self.opening[player].items():
                    tensor.copy_(closing[player][name])

    def load_buffers(self, buffers: Buffers) -> None:
        """Take saved buffers in the place of the present ones."""
        self.opening = {
            p: {n: buffers[p][n].to(t.device, copy=True) for n, t in tensors.items()}
            for p, tensors in self.opening.items()
        }

    def _seed(self, draw: int) -> None:
        if self.seeding is None:
            replay(draw, self.devices, host=self._host.seeded)
        else:
            self.seeding(draw)

    def _count(self) -> None:
        self.gradient_evaluations += 1
