"""The solver contract: what a solver is, and the context in which it makes its moves."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar, final

import torch
from torch import Tensor

from minimaxopt._types import OptimizerFactory, Player, Point, Projection, Record, SchedulerFactory, Tensors
from minimaxopt.calculus.gradients import FlatRisk, Gradients
from minimaxopt.calculus.hessian import Blocks
from minimaxopt.calculus.vectors import of, projected_residual, squared_norm
from minimaxopt.errors import ArgumentError, DataError, RiskError
from minimaxopt.game.data_source import Source, source_of
from minimaxopt.game.devices import devices_of
from minimaxopt.game.game import Game
from minimaxopt.game.module_state import State as ModuleState
from minimaxopt.game.played_game import PlayedGame
from minimaxopt.game.random_streams import HostGenerators
from minimaxopt.game.trees import tensors_of
from minimaxopt.solvers.evaluation import Evaluation
from minimaxopt.solvers.hessian_engine import At, HessianEngine
from minimaxopt.solvers.player_optimizer import PlayerOptimizer, make_player_optimizer
from minimaxopt.solvers.two_losses import refuse_two_losses

State = TypeVar("State")


class Solver(Protocol[State]):
    """Decides the moves: a frozen dataclass of settings with two methods.

    Its state is any nesting of tensors and plain values, so that a checkpoint can hold it.
    """

    name: ClassVar[str]
    players: ClassVar[tuple[Player, ...]]
    """The players that it moves; the others stay frozen."""

    def init(self, ctx: Context) -> State:
        """Return the state before the first step; raise if the solver does not suit the game."""
        ...

    def step(self, ctx: Context, state: State) -> tuple[State, Record]:
        """Make one step of both players through ``ctx`` and report it."""
        ...


class StepForm(Protocol):
    """Makes steps in a solver's place, with the same outcome to rounding."""

    def step(self, ctx: Context, solver: Any, state: Any) -> tuple[Any, Record]:
        """Make one step, as ``solver.step`` does."""
        ...


class ManySteps(Protocol):
    """Makes several steps at once in a solver's place, with the same outcome to rounding."""

    def make(self, ctx: Context, count: int) -> list[Record]:
        """Make at most ``count`` steps and return their records; none where it cannot now."""
        ...


class Snapshot(NamedTuple):
    """Parameters and moments of one player or both, without learning rates."""

    parameters: dict[Player, Tensors]
    moments: dict[Player, list[dict[str, Any]]]


@final
class Context:
    """Everything that a solver may use: gradients at any point, moves through the optimizers, snapshots, rates, the batch.

    A player's optimizer always descends, on the operator's component for that player: ``u -= lambda grad_u f`` and
    ``v -= sigma (-grad_v f)`` with SGD.

    ``solve`` drives a solver through a context; so can you, one step at a time.

    Args:
        game: the game; its players are copied.
        players: those that move; the others are frozen.
        data: as in ``solve``.
        seed: of every random draw.
        u_optimizer: factory of the leader's optimizer, as in ``solve``.
        v_optimizer: the same for the follower.
        u_scheduler: factory of a schedule, as in ``solve``.
        v_scheduler: the same for the follower.
        ascent_batches: whether the inner ascent steps of one step see the ``"same"`` batch and random draw, or
            ``"fresh"`` ones.
        device: where to play; ``None`` leaves the players where they are.
        inplace: whether to play on the players themselves instead of copies.
        micro_batches: as in ``solve``.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import AlternatingGDA, Context, Game
        >>> sgd, solver = partial(torch.optim.SGD, lr=0.5), AlternatingGDA()
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> ctx = Context(game, u_optimizer=sgd, v_optimizer=sgd)
        >>> state, record = ctx.advance(solver, solver.init(ctx))
        >>> ctx.point.u["value"].item(), ctx.point.v["value"].item()
        (0.5, 1.25)
    """

    def __init__(
        self,
        game: Game,
        *,
        players: tuple[Player, ...] = ("u", "v"),
        data: Any = None,
        seed: int = 0,
        u_optimizer: OptimizerFactory | None = None,
        v_optimizer: OptimizerFactory | None = None,
        u_scheduler: SchedulerFactory | None = None,
        v_scheduler: SchedulerFactory | None = None,
        ascent_batches: str = "same",
        device: torch.device | str | None = None,
        inplace: bool = False,
        micro_batches: int = 1,
    ) -> None:
        if ascent_batches not in ("same", "fresh"):
            raise ArgumentError(f"ascent_batches: {ascent_batches!r} is neither 'same' nor 'fresh'; give one of them")
        place = None if device is None else torch.device(device)
        self.game = game
        self.played = PlayedGame(game, place, inplace=inplace)
        self.devices = [place] if place is not None else devices_of((game.u, game.v))
        self.host = HostGenerators()
        self.evaluation = Evaluation(self.played, seed, self.devices, self.host)
        self.micro_batches = self.evaluation.micro_batches = micro_batches
        self.hessian_engine = HessianEngine(self.played, self.evaluation.functional)
        self.fresh_ascent = ascent_batches == "fresh"
        self.source: Source = source_of(data, seed, place, self.host)
        self.step_form: StepForm | None = None
        """Makes the steps in place of the solver, where ``solve`` was asked for it."""
        self.many_steps: ManySteps | None = None
        """Makes several steps at once, where ``solve`` was asked for it."""
        self.why_stepwise = ""
        """Why it was asked for it and cannot, such as a schedule."""
        self.logged: set[str] = set()
        """Names of the values that ``f`` logs."""
        self.rewinds = 0
        """Times that the run went back; references to the memory of moments and buffers are then out of date."""
        self._projections: dict[Player, Projection | None] = {"u": game.project_u, "v": game.project_v}
        factories = {"u": (u_optimizer, u_scheduler), "v": (v_optimizer, v_scheduler)}
        self.optimizers: dict[Player, PlayerOptimizer] = {
            player: make_player_optimizer(
                player,
                self.played.parameters[player],
                *factories[player],
                None if self._projections[player] is None else partial(self.project, player),
                None if self.fresh_ascent else self.source.epoch,
            )
            for player in players
            if not (player == "v" and game.responding)
        }
        for optimizer in self.optimizers.values():
            optimizer.project()

    # -- where we are -------------------------------------------------------------------------------------------------

    @property
    def step(self) -> int:
        """The number of the step that is being made, or of the next one; 0-based."""
        return self.evaluation.step

    @property
    def seed(self) -> int:
        """The seed of every random draw."""
        return self.evaluation.seed

    @property
    def batch(self) -> tuple[Any, ...]:
        """The step's batch: ``()`` without data and ``(batch,)`` with."""
        return self.evaluation.batch

    @batch.setter
    def batch(self, batch: tuple[Any, ...]) -> None:
        self.evaluation.batch = batch

    @property
    def point(self) -> Point:
        """The present point: the live tensors, which moves change in place."""
        return self.evaluation.point

    @property
    def responding(self) -> bool:
        """``True`` if the follower responds instead of being moved."""
        return self.game.responding

    @property
    def module_state(self) -> dict[Player, ModuleState]:
        """What the modules hold beside what moves, as it was when the step opened."""
        return self.evaluation.opening

    @property
    def gradient_evaluations(self) -> int:
        """Gradients formed so far; a solver that differentiates ``risk()`` itself adds what it formed."""
        return self.evaluation.gradient_evaluations

    @gradient_evaluations.setter
    def gradient_evaluations(self, count: int) -> None:
        self.evaluation.gradient_evaluations = count

    def rates(self) -> dict[Player, float]:
        """Return the present learning rate of each moving player: lambda for ``u``, sigma for ``v``.

        Raises:
            ArgumentError: if an optimizer has parameter groups of different rates.
        """
        return {player: optimizer.rate() for player, optimizer in self.optimizers.items()}

    def samples(self) -> int:
        """Return N, the number of samples in the batch: the first dimension that all its tensors share.

        Raises:
            DataError: if they share none.
        """
        lengths = {t.shape[0] if t.dim() else None for t in tensors_of(self.batch)}
        if len(lengths) != 1 or None in lengths:
            raise DataError(
                f"data: the number of samples in a batch cannot be told from first dimensions "
                f"{sorted(map(str, lengths))}; give batches whose tensors have one row a sample"
            )
        return int(next(iter(lengths)) or 0)

    # -- derivatives --------------------------------------------------------------------------------------------------

    def risk(self, *, substep: int = 0, batch: tuple[Any, ...] | None = None) -> FlatRisk:
        """Return ``f`` as a function of flat tensors, on the step's batch, buffers and random draw.

        Every call replays the draw of ``substep``, so that all evaluations of one substep see the same dropout masks.
        """
        self.evaluation.require_whole_batches()
        return self.evaluation.risk(substep, self.batch if batch is None else batch)

    def gradients(
        self,
        point: Point | None = None,
        players: tuple[Player, ...] = ("u", "v"),
        *,
        substep: int = 0,
        batch: tuple[Any, ...] | None = None,
    ) -> Gradients:
        """Return each player's gradient of its own loss, ``(grad_u f, -grad_v f)``, at ``point`` or where we are.

        With a ``follower_loss`` ``g`` they are ``(grad_u f, grad_v g)``. The buffers that the last evaluation for ``u``
        leaves become the game's when the step ends.

        Raises:
            ArgumentError: if the follower responds, and so has no gradient of its own.
        """
        evaluation = self.evaluation
        gradients = evaluation.gradients(
            point or evaluation.point, players, substep, evaluation.batch if batch is None else batch
        )
        evaluation.note_buffers(players, self.optimizers)
        return gradients

    def risk_gradients(self, point: Point | None = None) -> Gradients:
        """Return ``(grad_u f, -grad_v f)`` whatever loss the follower has; if it has one, ``f`` need not depend on ``u``."""
        gradients = self.evaluation.risk_gradients(point or self.point)
        self.note_buffers(("u", "v"))
        return gradients

    def blocks(
        self,
        point: Point | None = None,
        *,
        players: tuple[Player, ...] = ("u", "v"),
        substep: int = 0,
        batch: tuple[Any, ...] | None = None,
        products: int = 1,
    ) -> Blocks:
        """Return the gradients at ``point`` or where we are, with Hessian blocks times vectors at one pass each.

        ``players`` are those whose gradients are formed, and whose move it serves, as for ``gradients``: the state that
        the evaluation leaves is kept for ``u``. A product's column is one of them. ``products`` says how many may be
        wanted: for many of them torch.func forms the gradients, where it agrees with autograd. With two losses the Hessian
        is that of what the follower maximises, ``-g``, and ``players`` must be ``("v",)``.
        """
        evaluation, at = self.evaluation, point or self.point
        evaluation.require_whole_batches()
        batch = self.batch if batch is None else batch
        by_autograd = evaluation.compiled is not None or not self.game.zero_sum  # the pure form knows f alone
        blocks = self.hessian_engine.linearise(
            partial(evaluation.blocks, at, players, substep, batch),
            At(*evaluation.begun_with(substep, batch)),
            at,
            players,
            products=1 if by_autograd else products,
            count=evaluation.count,
            keep=evaluation.keep,
        )
        self.note_buffers(players)
        return blocks

    def note_buffers(self, players: tuple[Player, ...]) -> None:
        """Keep the buffers that the latest evaluation left, to be committed at the end of the step."""
        self.evaluation.note_buffers(players, self.optimizers)

    def respond(self) -> tuple[Tensors, FlatRisk]:
        """Return the responding follower's answer to the present ``u``, flat, and the risk as a function of it."""
        self.evaluation.require_whole_batches()
        return self.evaluation.respond()

    # -- moves --------------------------------------------------------------------------------------------------------

    def apply(self, player: Player, direction: Tensors) -> None:
        """Let the player's optimizer descend ``direction``, then project: the ordinary move."""
        self.optimizers[player].descend(direction)

    def propose(self, player: Player, direction: Tensors) -> Tensors:
        """Return the displacement that the optimizer would make along ``direction``; only its moments advance."""
        return self.optimizers[player].propose(direction)

    def move(self, player: Player, displacement: Tensors) -> None:
        """Add ``displacement`` to the player's tensors, then project."""
        self.optimizers[player].move(displacement)

    def project(self, player: Player, tensors: Tensors) -> Tensors:
        """Return the nearest allowed tensors, differentiably where the projection is."""
        return self.played.project(player, self._projections[player], tensors)

    def residual(self, gradients: Gradients, players: Iterable[Player]) -> float:
        """Return ``||x - P(x - F(x))||`` over ``players``; without projections the norm of their gradients."""
        total = 0.0
        with torch.no_grad():
            for player in players:
                x = {name: t.detach() for name, t in of(self.point, player).items()}
                gradient = gradients.u if player == "u" else gradients.v
                total += float(projected_residual(x, gradient, partial(self.project, player)))
        return math.sqrt(total)

    def snapshot(self, players: tuple[Player, ...] = ("u", "v")) -> Snapshot:
        """Return a copy of the parameters and moments of those of ``players`` who move."""
        moving: dict[Player, PlayerOptimizer] = {p: m for p, m in self.optimizers.items() if p in players}
        return Snapshot({p: m.positions() for p, m in moving.items()}, {p: m.moments() for p, m in moving.items()})

    def restore(self, snapshot: Snapshot, *, moments: bool = True) -> None:
        """Go back to ``snapshot``, for the players that it holds.

        Learning rates stay as they are, so that schedules do not rewind.
        """
        for player, positions in snapshot.parameters.items():
            self.optimizers[player].load_positions(positions)
            if moments:
                self.optimizers[player].load_moments(snapshot.moments[player])

    # -- one step after another ---------------------------------------------------------------------------------------

    def fresh_batch(self) -> tuple[Any, ...]:
        """Take the next batch for an inner step."""
        return self.source.take()

    def advance(self, solver: Solver[State], state: State, batch: Any = None) -> tuple[State, Record]:
        """Make one whole step: take a batch (or use ``batch``), let the solver move, commit buffers, advance rates."""
        refuse_two_losses(self.game, solver)
        self.evaluation.open(self.source.take() if batch is None else (batch,))
        if self.step_form is None:
            state, record = solver.step(self, state)
        else:
            state, record = self.step_form.step(self, solver, state)
        logs = self.evaluation.logs()
        if logs:
            if clash := sorted(logs.keys() & record.keys()):
                raise RiskError(f"f: logs {clash[0]!r}, which the solver records itself; give it another name")
            self.logged.update(logs)
        self.evaluation.close(self.optimizers)
        for optimizer in self.optimizers.values():
            optimizer.advance_schedule(self.step)
        return state, {**record, **logs} if logs else record

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next steps depend on, as copies: the content of a checkpoint."""
        return {
            "step": self.step,
            "source": self.source.state(),
            "parameters": {player: optimizer.positions() for player, optimizer in self.optimizers.items()},
            "module_state": self.played.state_dict(self.module_state, since_start=True),
            "optimizers": {p: copy.deepcopy(m.optimizer.state_dict()) for p, m in self.optimizers.items()},
            "schedulers": {
                p: copy.deepcopy(m.scheduler.state_dict())
                for p, m in self.optimizers.items()
                if m.scheduler is not None
            },
            "gradient_evaluations": int(self.gradient_evaluations),
            "hessian_engine": self.hessian_engine.state(),
        }

    def load_state_dict(self, saved: Mapping[str, Any], *, source: bool = True) -> None:
        """Go back to what ``state_dict`` returned, schedules included; ``source`` says whether the data go back too."""
        if source:
            self.source.load(saved["source"])
        self.rewinds += 1
        self.evaluation.step, self.evaluation.gradient_evaluations = saved["step"], saved["gradient_evaluations"]
        for player, optimizer in self.optimizers.items():
            optimizer.load_positions(saved["parameters"][player])
            optimizer.load_state(saved["optimizers"][player])
            if optimizer.scheduler is not None:
                optimizer.scheduler.load_state_dict(copy.deepcopy(saved["schedulers"][player]))
        if "hessian_engine" in saved:  # checkpoints of version 0.1 may lack it
            self.hessian_engine.load(saved["hessian_engine"])
        self.evaluation.opening = self.played.load_state_dict(saved["module_state"])

    def checked_tensors(self) -> list[tuple[str, Tensor]]:
        """Return every value that the run depends on and that might cease to be finite, by name."""
        named = [(f"{p}.{n}", t) for p, m in self.optimizers.items() for n, t in m.tensors.items()]
        states = self.module_state.items()
        return named + [(f"{p}.{n}", t) for p, state in states for n, t in state.items() if isinstance(t, Tensor)]


def sensitivity_of(gradients: Gradients) -> Record:
    """Return the record of a step: the risk, and ``||grad_v f||^2`` where the follower's gradient is at hand.

    With two losses the gradient is that of ``follower_loss``, which is recorded; the risk is, where it was evaluated.
    """
    record = {"risk": gradients.risk} if gradients.u or gradients.follower_loss is None else {}
    if gradients.v:
        record["sensitivity"] = squared_norm(gradients.v.values())
    if gradients.follower_loss is not None:
        record["follower_loss"] = gradients.follower_loss
    return record


def require_parametric(ctx: Context, solver: str) -> None:
    """Refuse a responding follower for a solver that moves the follower."""
    if ctx.responding:
        raise ArgumentError(
            f"solver: {solver!r} moves the follower, but this game's follower responds afresh at each step; use "
            "'sensitivity', which anticipates the response, or 'descent', which takes it as given"
        )
