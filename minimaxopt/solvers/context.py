"""The solver contract: what a solver is, and the context in which it makes its moves."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar, final

import optree
import torch
from torch import Tensor

from minimaxopt._types import OptimizerFactory, Player, Point, Projection, Record, SchedulerFactory, Tensors
from minimaxopt.calculus.gradients import Deriving, FlatRisk, Gradients, operator
from minimaxopt.calculus.hessian import Blocks
from minimaxopt.calculus.vectors import squared_norm
from minimaxopt.errors import ArgumentError, DataError
from minimaxopt.game.data_source import Source, source_of
from minimaxopt.game.devices import devices_of
from minimaxopt.game.functional import Functional
from minimaxopt.game.game import Game
from minimaxopt.game.random_streams import replay, stream
from minimaxopt.game.trees import leaves_with_names, shell_of, tensors_of
from minimaxopt.solvers.player_optimizer import PlayerOptimizer, make_player_optimizer

State = TypeVar("State")


class Solver(Protocol[State]):
    """What decides the moves: a frozen dataclass of settings with two methods.

    Its state is any nesting of tensors and plain values, so that a checkpoint can hold it.
    """

    name: ClassVar[str]
    movers: ClassVar[tuple[Player, ...]]
    """The players that it moves; the others stay frozen."""

    def init(self, ctx: Context) -> State:
        """Return the state before the first step; raise if the solver does not suit the game."""
        ...

    def step(self, ctx: Context, state: State) -> tuple[State, Record]:
        """Make one step of both players through ``ctx`` and report it."""
        ...


class StepForm(Protocol):
    """Makes steps in a solver's place, with the same outcome to rounding."""

    def step(self, ctx: Context, solver: Any, state: Any) -> tuple[Any, Record]: ...


class Snapshot(NamedTuple):
    """Parameters and moments of one player or both, without learning rates."""

    parameters: dict[Player, Tensors]
    moments: dict[Player, list[dict[str, Any]]]


@final
class Context:
    """What a solver may use: gradients at any point, moves through the optimizers, snapshots, rates, the batch.

    A player's optimizer always descends, on the operator's component for that player: ``u -= lambda grad_u f`` and
    ``v -= sigma (-grad_v f)`` with SGD.

    ``solve`` drives a solver through a context; so can you, one step at a time.

    Args:
        game: the game; its players are copied.
        movers: the players that move; the others are frozen.
        data: as in ``solve``.
        seed: of every random draw.
        u_optimizer: factory of the leader's optimizer, as in ``solve``.
        v_optimizer: the same for the follower.
        u_scheduler: factory of a schedule, as in ``solve``.
        v_scheduler: the same for the follower.
        ascent_batches: whether the inner ascent steps of one step see the ``"same"`` batch and random draw, or
            ``"fresh"`` ones.
        device: where to play; ``None`` leaves the players where they are.

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
        movers: tuple[Player, ...] = ("u", "v"),
        data: Any = None,
        seed: int = 0,
        u_optimizer: OptimizerFactory | None = None,
        v_optimizer: OptimizerFactory | None = None,
        u_scheduler: SchedulerFactory | None = None,
        v_scheduler: SchedulerFactory | None = None,
        ascent_batches: str = "same",
        device: torch.device | str | None = None,
    ) -> None:
        if ascent_batches not in ("same", "fresh"):
            raise ArgumentError(f"ascent_batches: {ascent_batches!r} is neither 'same' nor 'fresh'; give one of them")
        place = None if device is None else torch.device(device)
        self.functional = Functional(game, place)
        self.game = game
        self.seed = seed
        self.step = 0
        self.batch: tuple[Any, ...] = ()
        self.gradient_evaluations = 0
        self.fresh_ascent = ascent_batches == "fresh"
        self.devices = [place] if place is not None else devices_of((game.u, game.v))
        self.source: Source = source_of(data, seed, place)
        self.compiled: Deriving | None = None
        """Compiled derivatives for those of the risk, where ``solve`` was asked for them."""
        self.captured: StepForm | None = None
        """What makes the steps in place of the solver, where ``solve`` was asked for it."""
        self.seeding: Callable[[int], None] | None = None
        """Called with the number of a random stream before each evaluation, in place of starting that stream."""
        self.reinstated = 0
        """How often the run went back; what refers to moments and buffers by their memory is then out of date."""
        self._projections: dict[Player, Projection | None] = {"u": game.project_u, "v": game.project_v}
        self._opening: dict[Player, Tensors] = self.functional.buffers
        self._closing: dict[Player, Tensors] | None = None
        self._last_buffers: dict[Player, Tensors] = self._opening
        factories = {"u": (u_optimizer, u_scheduler), "v": (v_optimizer, v_scheduler)}
        self.movers: dict[Player, PlayerOptimizer] = {
            player: make_player_optimizer(player, self.functional.parameters[player], *factories[player])
            for player in movers
            if not (player == "v" and game.responding)
        }
        for player in self.movers:
            self._project(player)

    # -- where we are -------------------------------------------------------------------------------------------------

    @property
    def point(self) -> Point:
        """The present point: the live tensors, which moves change in place."""
        return Point(self.functional.parameters["u"], self.functional.parameters["v"])

    @property
    def responding(self) -> bool:
        """Whether the follower responds instead of being moved."""
        return self.game.responding

    @property
    def buffers(self) -> dict[Player, Tensors]:
        """The buffers as they were when the step opened."""
        return self._opening

    def rates(self) -> dict[Player, float]:
        """Return the present learning rate of each moving player: lambda for ``u``, sigma for ``v``."""
        return {player: self._rate(player) for player in self.movers}

    def samples(self) -> int:
        """Return N, the number of samples in the batch: the first dimension that all its tensors share."""
        lengths = {t.shape[0] if t.dim() else None for t in tensors_of(self.batch)}
        if len(lengths) != 1 or None in lengths:
            raise DataError(
                f"data: the number of samples in a batch cannot be told from first dimensions "
                f"{sorted(map(str, lengths))}; "
                "give batches whose tensors have one row a sample"
            )
        return int(next(iter(lengths)) or 0)

    def _seed(self, draw: int) -> None:
        if self.seeding is None:
            replay(draw, self.devices)
        else:
            self.seeding(draw)

    def _rate(self, player: Player) -> float:
        rates = {float(group["lr"]) for group in self.movers[player].optimizer.param_groups}
        if len(rates) != 1:
            raise ArgumentError(
                f"{player}_optimizer: has parameter groups of different rates {sorted(rates)}; give gamma as a number"
            )
        return rates.pop()

    # -- derivatives --------------------------------------------------------------------------------------------------

    def risk(self, *, substep: int = 0, batch: tuple[Any, ...] | None = None) -> FlatRisk:
        """Return ``f`` as a function of flat tensors, on the step's batch, buffers and random draw.

        Every call replays the draw of ``substep``, so that all evaluations of one substep see the same dropout masks.
        """
        return self._risk(self.batch if batch is None else batch, substep)

    def _risk(self, batch: tuple[Any, ...], substep: int, spec: Any = None) -> FlatRisk:
        """Return the risk; ``spec`` is the form of a responding follower's answer, whose leaves it then takes."""
        draw = stream(self.seed, self.step, "risk", substep)

        def seeded() -> None:
            self._seed(draw)

        def note(buffers: dict[Player, Tensors]) -> None:
            self._last_buffers = buffers

        def f(u: Tensors, v: Tensors) -> Tensor:
            answer: Any = v if spec is None else optree.tree_unflatten(spec, list(v.values()))
            seeded()
            value, after = self.functional.evaluate(u, answer, batch, self._opening)
            note(after)
            return value

        if self.compiled is None:
            return f
        shell = None if spec is None else shell_of(spec)
        return self.compiled.risk(f, batch, self._opening, seeded, note, shell)

    def gradients(
        self,
        point: Point | None = None,
        players: tuple[Player, ...] = ("u", "v"),
        *,
        substep: int = 0,
        batch: tuple[Any, ...] | None = None,
    ) -> Gradients:
        """Return each player's gradient of its own loss, ``(grad_u f, -grad_v f)``, at ``point`` or where we are.

        The buffers that the last evaluation for ``u`` leaves become the game's when the step ends.
        """
        if self.responding:
            raise ArgumentError(
                "solver: asks for gradients of a follower that responds by a function; let it use ctx.respond(), or give "
                "the game a follower with parameters"
            )
        self.gradient_evaluations += 1
        found = operator(self.risk(substep=substep, batch=batch), point or self.point, players)
        self.note_buffers(players)
        return found

    def blocks(
        self,
        point: Point | None = None,
        *,
        players: tuple[Player, ...] = ("u", "v"),
        substep: int = 0,
        batch: tuple[Any, ...] | None = None,
    ) -> Blocks:
        """Return the gradients at ``point`` or where we are, with Hessian blocks times vectors at one pass each.

        ``players`` are those whose move it serves, as for ``gradients``: the evaluation's buffers are kept for ``u``.
        """
        found = Blocks(self.risk(substep=substep, batch=batch), point or self.point, self._count)
        self.note_buffers(players)
        return found

    def note_buffers(self, players: tuple[Player, ...]) -> None:
        """Keep the buffers that the latest evaluation left, to be committed at the end of the step."""
        if "u" in players or self._closing is None or "u" not in self.movers:
            self._closing = self._last_buffers

    def _count(self) -> None:
        self.gradient_evaluations += 1

    def respond(self) -> tuple[Tensors, FlatRisk]:
        """Return the responding follower's answer to the present ``u``, flat, and the risk as a function of it."""
        self._seed(stream(self.seed, self.step, "respond"))
        answer = self.functional.respond(self.point.u, self.batch, self._opening)
        self.gradient_evaluations += 1
        spec = optree.tree_structure(answer, none_is_leaf=True)
        flat: Tensors = {}
        for name, leaf in leaves_with_names(answer):
            if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
                raise ArgumentError(
                    f"v: the responding follower returned {type(leaf).__name__} at {name!r}; return floating tensors"
                )
            flat[name or "value"] = leaf
        return flat, self._risk(self.batch, 0, spec)

    # -- moves --------------------------------------------------------------------------------------------------------

    def apply(self, player: Player, direction: Tensors) -> None:
        """Let the player's optimizer descend ``direction``, then project: the ordinary move."""
        self._optimize(player, direction)
        self._project(player)

    def propose(self, player: Player, direction: Tensors) -> Tensors:
        """Return the displacement that the optimizer would make along ``direction``; only its moments advance."""
        tensors = self.movers[player].tensors
        before = {name: t.detach().clone() for name, t in tensors.items()}
        self._optimize(player, direction)
        with torch.no_grad():
            displacement = {name: t - before[name] for name, t in tensors.items()}
            for name, tensor in tensors.items():
                tensor.copy_(before[name])
        return displacement

    def move(self, player: Player, displacement: Tensors) -> None:
        """Add ``displacement`` to the player's tensors, then project."""
        with torch.no_grad():
            for name, tensor in self.movers[player].tensors.items():
                tensor.add_(displacement[name])
        self._project(player)

    def project(self, player: Player, tensors: Tensors) -> Tensors:
        """Return the nearest allowed tensors, differentiably where the projection is."""
        return self.functional.project(player, self._projections[player], tensors)

    def snapshot(self, players: tuple[Player, ...] = ("u", "v")) -> Snapshot:
        """Return a copy of the parameters and moments of those of ``players`` who move."""
        movers: dict[Player, PlayerOptimizer] = {p: m for p, m in self.movers.items() if p in players}
        parameters: dict[Player, Tensors] = {
            p: {n: t.detach().clone() for n, t in m.tensors.items()} for p, m in movers.items()
        }
        moments: dict[Player, list[dict[str, Any]]] = {
            p: [copy.deepcopy(dict(m.optimizer.state.get(t, {}))) for t in m.tensors.values()]
            for p, m in movers.items()
        }
        return Snapshot(parameters, moments)

    def restore(self, snapshot: Snapshot, *, moments: bool = True) -> None:
        """Go back to ``snapshot``, for the players that it holds.

        Learning rates stay as they are, so that schedules do not rewind.
        """
        with torch.no_grad():
            for player, parameters in snapshot.parameters.items():
                mover = self.movers[player]
                for name, tensor in mover.tensors.items():
                    tensor.copy_(parameters[name])
                if moments:
                    mover.optimizer.state.clear()
                    for tensor, state in zip(mover.tensors.values(), snapshot.moments[player], strict=True):
                        if state:
                            mover.optimizer.state[tensor] = copy.deepcopy(state)

    def _optimize(self, player: Player, direction: Tensors) -> None:
        mover = self.movers[player]
        mover.give(direction)
        mover.optimizer.step()
        for tensor in mover.tensors.values():
            tensor.grad = None

    def _project(self, player: Player) -> None:
        if self._projections[player] is None:
            return
        tensors = self.movers[player].tensors
        with torch.no_grad():
            for name, value in self.project(player, {n: t.detach() for n, t in tensors.items()}).items():
                tensors[name].copy_(value)

    # -- one step after another ---------------------------------------------------------------------------------------

    def fresh_batch(self) -> tuple[Any, ...]:
        """Take the next batch for an inner step."""
        return self.source.take()

    def advance(self, solver: Solver[State], state: State, batch: Any = None) -> tuple[State, Record]:
        """Make one whole step: take a batch (or use ``batch``), let the solver move, commit buffers, advance rates."""
        self.batch = self.source.take() if batch is None else (batch,)
        self._closing = None
        if self.captured is None:
            state, record = solver.step(self, state)
        else:
            state, record = self.captured.step(self, solver, state)
        if self._closing is not None:
            # A frozen player keeps its running statistics.
            self._opening = {p: self._closing[p] if p in self.movers else self._opening[p] for p in self._opening}
        for mover in self.movers.values():
            if mover.scheduler is not None:
                mover.scheduler.step()
        self.step += 1
        return state, record

    def own_buffers(self) -> None:
        """Give the buffers memory of their own, to be committed to in place."""
        self._opening = {p: {n: t.clone() for n, t in held.items()} for p, held in self._opening.items()}

    def commit_in_place(self) -> None:
        """Write the moving players' buffers, as the step leaves them, over those it opened with."""
        closing, self._closing = self._closing, None
        if closing is not None:
            for player in self.movers:
                for name, tensor in self._opening[player].items():
                    tensor.copy_(closing[player][name])

    def capture(self) -> dict[str, Any]:
        """Return everything that the next steps depend on, as copies: the content of a checkpoint."""
        return {
            "step": self.step,
            "source": self.source.state(),
            "parameters": {
                p: {n: t.detach().clone() for n, t in self.functional.parameters[p].items()} for p in self.movers
            },
            "buffers": {p: {n: t.clone() for n, t in held.items()} for p, held in self._opening.items()},
            "optimizers": {p: copy.deepcopy(m.optimizer.state_dict()) for p, m in self.movers.items()},
            "schedulers": {
                p: copy.deepcopy(m.scheduler.state_dict()) for p, m in self.movers.items() if m.scheduler is not None
            },
            "gradient_evaluations": self.gradient_evaluations,
        }

    def reinstate(self, captured: Mapping[str, Any], *, source: bool = True) -> None:
        """Go back to what ``capture`` returned, schedules included; ``source`` says whether the data go back too."""
        if source:
            self.source.load(captured["source"])
        self.reinstated += 1
        self.step, self.gradient_evaluations = captured["step"], captured["gradient_evaluations"]
        with torch.no_grad():
            for player, mover in self.movers.items():
                for name, tensor in mover.tensors.items():
                    tensor.copy_(captured["parameters"][player][name])
                mover.optimizer.load_state_dict(copy.deepcopy(captured["optimizers"][player]))
                if mover.scheduler is not None:
                    mover.scheduler.load_state_dict(copy.deepcopy(captured["schedulers"][player]))
        self._opening = {
            p: {n: captured["buffers"][p][n].to(t.device, copy=True) for n, t in held.items()}
            for p, held in self._opening.items()
        }

    def live(self) -> list[tuple[str, Tensor]]:
        """Return every value that the run depends on and that might cease to be finite, by name."""
        named = [(f"{p}.{n}", t) for p, m in self.movers.items() for n, t in m.tensors.items()]
        return named + [(f"{p}.{n}", t) for p, held in self._opening.items() for n, t in held.items()]


def sensitivity_of(gradients: Gradients) -> Record:
    """Return the record of a step: the risk, and ``||grad_v f||^2`` where the follower's gradient is at hand."""
    record = {"risk": gradients.risk}
    return {**record, "sensitivity": squared_norm(gradients.v.values())} if gradients.v else record


def require_parametric(ctx: Context, solver: str) -> None:
    """Refuse a responding follower for a solver that moves the follower."""
    if ctx.responding:
        raise ArgumentError(
            f"solver: {solver!r} moves the follower, but this game's follower responds afresh at each step; use "
            "'sensitivity', which anticipates the response, or 'descent', which takes it as given"
        )
