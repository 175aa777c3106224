"""Evaluation of the risk at any point, with the module state and random draws of the step that is being made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar, final

import torch
from torch import Tensor

from minimaxopt._types import PLAYERS, Player, Point, Tensors
from minimaxopt.calculus.gradients import Deriving, FlatRisk, Gradients, gradients, operator, scalar
from minimaxopt.calculus.hessian import Blocks
from minimaxopt.calculus.vectors import of
from minimaxopt.errors import ArgumentError, MinimaxoptError, RiskError
from minimaxopt.game.functional import Functional
from minimaxopt.game.live_risk import GuardedBatch, LiveRisk
from minimaxopt.game.module_state import State, changed
from minimaxopt.game.played_game import PlayedGame
from minimaxopt.game.random_streams import HostGenerators, replay, stream
from minimaxopt.game.trees import shell_of, tensors_of
from minimaxopt.solvers.micro_batches import accumulated, mean_logs, micro_batches

Result = TypeVar("Result")


@final
class Evaluation:
    """The risk and its derivatives, on one batch, the step's opening state and a replayed random draw.

    Args:
        played: the game with its players.
        seed: of every random draw.
        devices: whose generators are seeded.
        host: the generators of ``random`` and ``numpy.random``, which may be seeded too.

    Attributes:
        opening: the modules' state with which every evaluation of the step begins.
        point: the present point: the live tensors, which moves change in place.
        gradient_evaluations: how many gradients have been formed so far.
        functional: the game as a pure function of tensors.
        compiled: compiled derivatives in place of autograd's, or ``None``.
        micro_batches: the parts in which a batch is evaluated.
        playing: the name of the solver that makes the steps.
        seeding: called with the number of a random stream before each evaluation, in place of seeding the generators;
            ``None`` seeds them.
    """

    def __init__(self, played: PlayedGame, seed: int, devices: list[torch.device], host: HostGenerators) -> None:
        self.played, self.seed, self.devices, self._host = played, seed, devices, host
        self._accelerators = [device for device in devices if device.type != "cpu"]
        played.step = 0
        self.gradient_evaluations = 0
        self.functional = Functional(played)
        self.compiled: Deriving | None = None
        self.micro_batches = 1
        self.playing = "this solver"
        self.seeding: Callable[[int], None] | None = None
        self.opening: dict[Player, State] = played.start
        self.point = Point(played.parameters["u"], played.parameters["v"])
        self._guarded = GuardedBatch(())
        self._closing: dict[Player, State] | None = None
        self._latest = self.opening
        self._latest_logs: Mapping[str, Any] = {}
        self._closing_logs: Mapping[str, Any] = {}
        self._why_not_functional: str | None = None

    @property
    def step(self) -> int:
        """The step that is being made; its draws are those of this number."""
        return self.played.step or 0

    @step.setter
    def step(self, step: int) -> None:
        self.played.step = step

    @property
    def batch(self) -> tuple[Any, ...]:
        """The step's batch: ``()`` without data and ``(batch,)`` with."""
        return self._guarded.batch

    @batch.setter
    def batch(self, batch: tuple[Any, ...]) -> None:
        if batch is not self._guarded.batch:
            self._guarded = GuardedBatch(batch)

    def risk(
        self,
        substep: int,
        batch: tuple[Any, ...],
        spec: Any = None,
        *,
        player: Player = "u",
        part: int = 0,
        opening: dict[Player, State] | None = None,
    ) -> FlatRisk:
        """Return ``f`` as a function of flat tensors.

        Args:
            substep: every call replays the draw of this number.
            batch: what ``f`` is evaluated on.
            spec: the form of a responding follower's answer, whose leaves ``v`` then holds.
            player: whose: ``f``, or for ``"v"`` in a game of two losses what the follower maximises, ``-follower_loss``.
            part: the number of the micro-batch, which has a draw of its own.
            opening: the modules' state with which the evaluation begins; ``None`` for that of the step.
        """
        draw = stream(self.seed, self.step, "risk", substep, part)
        guarded = self._guarded if batch is self._guarded.batch else GuardedBatch(batch)

        def seed_generators() -> None:
            self._seed(draw)

        def keep(states: dict[Player, State]) -> None:
            self._latest, self._latest_logs = states, self.played.logs

        def elsewhere(u: Tensors, v: Any) -> Tensor:
            reason = self._outside_transforms((u, v), lambda: self.why_not_functional(batch))
            if reason:
                raise RiskError(
                    f"f: is no pure function of the players' tensors ({reason}), and can be evaluated on the modules "
                    "alone; use ctx.gradients or ctx.blocks at a point instead of ctx.risk"
                )
            self._outside_transforms((u, v), lambda: self.played.write_state(self.opening))
            seed_generators()
            value, buffers = self.functional.evaluate(u, v, guarded.copy(), self.buffers)
            self._latest = {p: {**state, **buffers.get(p, {})} for p, state in self.opening.items()}
            self._latest_logs = {}
            return value

        begin = opening or self.opening
        if player == "v":
            return LiveRisk(self.played, guarded, begin, seed_generators, keep, player=player)
        f = LiveRisk(self.played, guarded, begin, seed_generators, keep, spec, elsewhere)
        if self.compiled is None:
            return f

        def keep_buffers(buffers: Mapping[Player, Tensors]) -> None:
            keep({p: {**state, **buffers.get(p, {})} for p, state in self.opening.items()})

        shell = None if spec is None else shell_of(spec)
        return self.compiled.risk(f, batch, self.buffers, seed_generators, keep_buffers, shell)

    def gradients(self, point: Point, players: tuple[Player, ...], substep: int, batch: tuple[Any, ...]) -> Gradients:
        """Return each player's gradient of its own loss, ``(grad_u f, -grad_v f)`` or ``(grad_u f, grad_v g)``."""
        if self.played.responding:
            raise ArgumentError(
                "solver: asks for gradients of a follower that responds by a function; let it use ctx.respond(), or give "
                "the game a follower with parameters"
            )
        if not self.played.game.zero_sum and "v" in players:
            # The leader's evaluation comes last, since the state that it leaves is kept.
            self.count()
            follower = _of_follower(operator(self.risk(substep, batch, player="v"), point, ("v",)))
            if "u" not in players:
                return follower
            leader = self.gradients(point, ("u",), substep, batch)
            return follower._replace(risk=leader.risk, u=leader.u)
        self.count()
        if self.micro_batches > 1:
            parts = self.parts(point, substep=substep, batch=batch)
            return accumulated((share, operator(risk, at, players)) for share, at, risk in parts)
        return operator(self.risk(substep, batch), point, players)

    def risk_gradients(self, point: Point) -> Gradients:
        """Return ``(grad_u f, -grad_v f)``; with two losses ``f`` may depend on ``u`` through the follower alone."""
        self.count()
        risk, zero_sum = self.risk(0, self.batch), self.played.game.zero_sum
        return operator(risk, point, PLAYERS, unused=() if zero_sum else ("u",))

    def parts(
        self, point: Point | None = None, *, substep: int = 0, batch: tuple[Any, ...] | None = None
    ) -> Iterator[tuple[float, Point, FlatRisk]]:
        """Yield each micro-batch's share of the samples, the point, and the risk there; a follower that responds answers.

        Each begins with the modules' state that the one before left and draws numbers of its own, as the passes of a loop
        over micro-batches do; what ``f`` logs is averaged.
        """
        point, batch = point or self.point, self.batch if batch is None else batch
        opening, logs = self.opening, list[tuple[float, Mapping[str, Tensor]]]()
        for number, (share, part) in enumerate(micro_batches(batch, self.micro_batches)):
            if self.played.responding:
                z, spec = self._answer(GuardedBatch(part), opening, number)
                yield share, Point(point.u, z), self.risk(substep, part, spec, part=number, opening=opening)
            else:
                yield share, point, self.risk(substep, part, part=number, opening=opening)
            opening = self._latest
            logs.append((share, _as_scalars(self._latest_logs)))
        self._latest_logs = mean_logs(logs)

    def blocks(self, point: Point, players: tuple[Player, ...], substep: int, batch: tuple[Any, ...]) -> Blocks:
        """Return the gradients of ``players`` at a point, with Hessian blocks times vectors at one pass each."""
        if self.played.game.zero_sum:
            return Blocks(self.risk(substep, batch), point, self.count, players)
        if "u" in players:
            raise ArgumentError(
                "solver: asks for a Hessian of both players' loss in a game of two losses; let it ask for "
                "ctx.blocks(players=('v',)), the follower's, and for ctx.risk_gradients()"
            )
        blocks = Blocks(self.risk(substep, batch, player="v"), point, self.count, players)
        blocks.gradients = _of_follower(blocks.gradients)
        return blocks

    def begun_with(
        self, substep: int, batch: tuple[Any, ...]
    ) -> tuple[GuardedBatch, dict[Player, State], Callable[[], None]]:
        """Return what an evaluation of a substep begins with: its batch, state, and the seeding of its draw."""
        guarded = self._guarded if batch is self._guarded.batch else GuardedBatch(batch)
        return (guarded, self.opening, partial(self._seed, stream(self.seed, self.step, "risk", substep)))

    def keep(self, states: dict[Player, State]) -> None:
        """Keep the state that an evaluation left, if it is the latest."""
        self._latest, self._latest_logs = states, {}

    def respond(self) -> tuple[Tensors, FlatRisk]:
        """Return the responding follower's answer to the present ``u``, flat, and the risk as a function of it."""
        self.count()
        flat, spec = self._answer(self._guarded, self.opening, 0)
        return flat, self.risk(0, self.batch, spec)

    def _answer(self, batch: GuardedBatch, opening: dict[Player, State], part: int) -> tuple[Tensors, Any]:
        live = LiveRisk(self.played, batch, opening, _nothing)
        draw = stream(self.seed, self.step, "respond", part=part)
        return live.respond(self.point.u, lambda: self._seed(draw))

    def leader_gradient(self) -> Gradients:
        """Return the leader's gradient at the responding follower's answer, which is taken as a constant."""
        self.count()
        if self.micro_batches > 1:
            self.count()  # the answers
            return accumulated((share, operator(risk, at, ("u",))) for share, at, risk in self.parts())
        z, risk = self.respond()
        return operator(risk, Point(self.point.u, z), ("u",))

    def require_whole_batches(self) -> None:
        """Refuse micro-batches for an evaluation whose graph must be that of a whole batch."""
        if self.micro_batches > 1:
            raise ArgumentError(
                f"micro_batches: {self.playing!r} needs the risk of a whole batch at once; leave micro_batches out, or use "
                "a solver of gradients alone, such as 'alternating-gda', or 'sensitivity'"
            )

    def changed_attributes(self) -> list[str]:
        """Return what the latest evaluation changed beside buffers, which compiled code cannot put back."""
        return [
            f"{player}.{name}"
            for player, state in self.opening.items()
            for name in changed(state, self._latest[player])
            if name not in self.buffers[player]
        ]

    # -- the pure function ---------------------------------------------------------------------------------------------

    @property
    def buffers(self) -> dict[Player, Tensors]:
        """The buffers as they were when the step opened."""
        return self.functional.buffers_of(self.opening)

    @staticmethod
    def _outside_transforms(tensors: Any, function: Callable[[], Result]) -> Result:
        """Call a function that works in place, which no transform of torch.func allows; they belong to a thread."""
        if all(torch.func.debug_unwrap(tensor) is tensor for tensor in tensors_of(tensors)):
            return function()
        with ThreadPoolExecutor(1) as elsewhere:
            return elsewhere.submit(function).result()

    def why_not_functional(self, batch: tuple[Any, ...]) -> str:
        """Return why the game is another one as a pure function of its players' tensors, or the empty string."""
        if self._why_not_functional is None:
            self._why_not_functional = self._compare_functional(batch)
        return self._why_not_functional

    def _compare_functional(self, batch: tuple[Any, ...]) -> str:
        """Return why the pure function differs from the modules near the present point, or the empty string."""
        generator = torch.Generator().manual_seed(0)

        def moved(tensor: Tensor) -> Tensor:
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor)
            return tensor.detach() + 1e-2 * (tensor.detach().abs().clamp(max=1.0) + 0.1) * noise

        near = Point(*({n: moved(t) for n, t in tensors.items()} for tensors in self.point))
        players: tuple[Player, ...] = tuple(p for p in PLAYERS if of(near, p))
        latest, draw = self._latest, stream(self.seed, self.step, "risk")

        def pure(u: Tensors, v: Any) -> Tensor:
            self.played.write_state(self.opening)
            self._seed(draw)
            return self.functional.evaluate(u, v, GuardedBatch(batch).copy(), self.buffers)[0]

        try:
            live = LiveRisk(self.played, GuardedBatch(batch), self.opening, lambda: self._seed(draw))
            expected = operator(live, near, players)
            tracked = Point(*({n: t.clone().requires_grad_() for n, t in tensors.items()} for tensors in near))
            value = scalar(pure(tracked.u, tracked.v))
            actual = gradients(value, {p: of(tracked, p) for p in players})
        except MinimaxoptError as error:
            return str(error)
        except (RuntimeError, TypeError, AttributeError, KeyError) as error:
            return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        finally:
            self._latest = latest
            self.played.write_state(self.opening)
        for player in players:
            sign, of_live = (1.0, expected.u) if player == "u" else (-1.0, expected.v)
            for name, gradient in actual[player].items():
                if not close(gradient, sign * of_live[name]):
                    return f"the gradient of {player}.{name} differs"
        return "" if close(value.detach(), expected.risk) else "its value differs"

    # -- state ---------------------------------------------------------------------------------------------------------

    def open(self, batch: tuple[Any, ...]) -> None:
        """Begin a step on ``batch``."""
        self.batch, self._closing, self._closing_logs = batch, None, {}

    def note_buffers(self, players: tuple[Player, ...], moving: Iterable[Player]) -> None:
        """Keep the state that the latest evaluation left; the last one for ``u`` counts, if ``u`` moves."""
        if "u" in players or self._closing is None or "u" not in moving:
            self._closing, self._closing_logs = self._latest, self._latest_logs

    def logs(self) -> dict[str, Tensor]:
        """Return what ``f`` logged in the evaluation whose state is kept, as 0-d tensors.

        Raises:
            RiskError: if a value is neither a number nor a tensor of one element.
        """
        return _as_scalars(self._closing_logs) if self._closing_logs else {}

    def close(self, moving: Iterable[Player]) -> None:
        """End the step: commit the state of the players that move; a frozen one keeps its running statistics."""
        if self._closing is not None:
            self.opening = {p: self._closing[p] if p in moving else self.opening[p] for p in self.opening}
        self.step += 1

    def own_buffers(self) -> None:
        """Give the state's tensors memory of their own, to be committed to in place."""
        self.played.distrust_versions()
        self.opening = {
            p: {n: t.clone() if isinstance(t, Tensor) else t for n, t in state.items()}
            for p, state in self.opening.items()
        }

    def commit_in_place(self, moving: Iterable[Player]) -> None:
        """Write the moving players' state, as the step leaves it, over that with which it opened."""
        closing, self._closing = self._closing, None
        if closing is not None:
            for player in moving:
                for name, value in self.opening[player].items():
                    if isinstance(value, Tensor):
                        value.copy_(closing[player][name])

    def _seed(self, draw: int) -> None:
        if self.seeding is None:
            replay(draw, self._accelerators, host=self._host.seeded)
        else:
            self.seeding(draw)

    def count(self) -> None:
        """Count one more gradient."""
        self.gradient_evaluations += 1


def _of_follower(gradients: Gradients) -> Gradients:
    """Return the follower's component of the operator, formed from what it maximises, with the loss by its name."""
    unknown = torch.full_like(gradients.risk, float("nan"))
    return Gradients(unknown, {}, gradients.v, follower_loss=-gradients.risk)


def _as_scalars(logs: Mapping[str, Any]) -> dict[str, Tensor]:
    scalars: dict[str, Tensor] = {}
    for name, value in logs.items():
        number = isinstance(value, (int, float)) or (isinstance(value, Tensor) and value.numel() == 1)
        if not isinstance(name, str) or not number:  # pyright: ignore[reportUnnecessaryIsInstance] - f is the user's
            raise RiskError(
                f"f: logs {name!r} as {type(value).__name__}; give a name, and a number or a tensor of one element"
            )
        scalars[name] = torch.as_tensor(value).detach().reshape(())
    return scalars


def _nothing() -> None:
    """Seed nothing."""


def close(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors agree but for rounding in some other order of operations."""
    a, b = (t.to_dense() if t.is_sparse else t for t in (a.detach(), b.detach()))
    if torch.equal(a.isnan(), b.isnan()):  # where the risk has no value, such as beyond a constraint, both have none
        a, b = a.nan_to_num(), b.nan_to_num()
    allowed = 10 * torch.finfo(a.dtype).eps ** 0.5
    return bool(torch.linalg.vector_norm(a - b) <= allowed * (torch.linalg.vector_norm(b) + 1e-3))
