"""``check_solver``: the solver contract as a conformance suite for any solver."""

from __future__ import annotations

import dataclasses
import re
import tempfile
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NoReturn, final

import optree
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimaxopt._types import OptimizerFactory, Player
from minimaxopt.constraints import Box
from minimaxopt.errors import ArgumentError, DivergenceWarning, RiskError
from minimaxopt.game.batches import Batches
from minimaxopt.game.game import Game
from minimaxopt.game.trees import is_responding, leaves_with_names
from minimaxopt.loop.callbacks import Checkpoint
from minimaxopt.loop.solve import solve
from minimaxopt.results.solution import Solution, Status
from minimaxopt.solvers.context import Context

_STEPS = 20


def check_solver(solver: Any, *, optimizer: OptimizerFactory | None = None) -> None:
    """Check that a solver keeps the solver contract.

    It has to be a frozen dataclass with a kebab-case ``name``, ``players``, ``init`` and ``step``; to record the risk
    as a 0-d tensor; to move its players and nobody else; to leave the given game alone; to repeat itself under a seed;
    to continue from a checkpoint to the bit; to stay, and to look, inside the players' domains; to play modules with
    batch statistics and dropout; to say by ``second_order`` if it differentiates the risk twice; to play with, or to
    refuse, a follower that responds; and, where it declares ``two_losses``, to play the zero-sum game as it does without
    a ``follower_loss`` where that is ``-f``. What it decides is not judged.

    Args:
        solver: the solver, or its class or a function that makes one without arguments.
        optimizer: factory of both players' optimizers; SGD at 0.05 by default.

    Raises:
        AssertionError: with a sentence that says what failed.

    Examples:
        >>> from minimaxopt import Sensitivity
        >>> from minimaxopt.testing import check_solver
        >>> check_solver(Sensitivity(gamma=0.5))
        >>> check_solver("sensitivity")
        Traceback (most recent call last):
            ...
        AssertionError: str: is not a solver; give an instance, its class, or a function that makes one

    Source: minimaxopt's own solvers pass the same suite.
    """
    made = _made(solver)
    _check_form(made)
    play = _Play(made, optimizer or partial(torch.optim.SGD, lr=0.05))
    for check in (
        _check_record,
        _check_moves,
        _check_seed,
        _check_resume,
        _check_projections,
        _check_modules,
        _check_twice,
        _check_responding,
        _check_two_losses,
    ):
        check(play)


def _made(solver: Any) -> Any:
    if hasattr(solver, "step") and not isinstance(solver, type):
        return solver
    if not callable(solver):
        raise AssertionError(
            f"{type(solver).__name__}: is not a solver; give an instance, its class, or a function that makes one"
        )
    try:
        return solver()
    except TypeError as error:
        raise AssertionError(
            f"{_named(solver)}: cannot be made without arguments ({error}); give an instance"
        ) from error


def _named(solver: Any) -> str:
    return str(getattr(solver, "name", None) or getattr(solver, "__name__", None) or type(solver).__name__)


def _fail(solver: Any, sentence: str, cause: BaseException | None = None) -> NoReturn:
    raise AssertionError(f"{_named(solver)}: {sentence}") from cause


def _check_form(solver: Any) -> None:
    name, players = getattr(solver, "name", None), getattr(solver, "players", None)
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        _fail(solver, f"its name is {name!r}; give a class variable 'name' in kebab-case, such as 'my-solver'")
    if players not in (("u",), ("v",), ("u", "v")):
        _fail(solver, f"its players are {players!r}; give ('u', 'v'), ('u',) or ('v',)")
    for method in ("init", "step"):
        if not callable(getattr(solver, method, None)):
            _fail(solver, f"has no method {method!r}")
    frozen = getattr(getattr(type(solver), "__dataclass_params__", None), "frozen", False)
    if not dataclasses.is_dataclass(solver) or not frozen:
        _fail(solver, "is not a frozen dataclass; its settings would not show in a result's record, or might change")


# -- games -------------------------------------------------------------------------------------------------------------


def _nested() -> Game:
    """A quadratic of players that are nestings of tensors."""

    def f(u: Any, v: Any) -> Tensor:
        x, y, z = u["x"], u["rest"][0], v[0]
        return x @ x + 0.5 * y**2 + (x @ z) + 0.3 * y * z.sum() - z @ z

    def number(*values: float) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)

    return Game(f, {"x": number(1.0, -0.5), "rest": [number(0.7).reshape(())]}, (number(0.4, -0.8),))


def _fenced() -> Game:
    """A game that drives both players against their bounds, with a risk that is NaN beyond them."""

    def f(u: Tensor, v: Tensor) -> Tensor:
        fence = (1.0001 - u**2).sqrt().sum() + (1.0001 - v**2).sqrt().sum()
        return 4 * v.sum() - 4 * u.sum() + u @ v - v @ v / 4 + 0 * fence

    start = torch.tensor([0.95, 0.5], dtype=torch.float64)
    return Game(f, start.clone(), start.clone(), project_u=Box(-1.0, 1.0), project_v=Box(-1.0, 1.0))


def _networks() -> tuple[Game, Batches]:
    """A classifier and its attacker, both with batch statistics and dropout, and their data."""

    def f(classifier: nn.Module, attacker: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        return F.cross_entropy(classifier(x + 0.1 * attacker(x).tanh()), y)

    def net(out: int) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, out)).double()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        samples = torch.randn(30, 4, dtype=torch.float64), torch.randint(0, 3, (30,))
        return Game(f, net(3), net(4)), Batches(samples, batch_size=6, seed=1)


def _once() -> Game:
    """A game with an operation that torch can differentiate only once."""

    def f(u: Tensor, v: Tensor) -> Tensor:
        return torch.cdist(u[:, None], v[:, None]).square().sum() + u.sum()

    return Game(f, torch.tensor([0.3, 1.2], dtype=torch.float64), torch.tensor([-0.7, 0.1], dtype=torch.float64))


@final
@dataclasses.dataclass(frozen=True)
class _Play:
    """Solves a game with the solver that is judged."""

    solver: Any
    optimizer: OptimizerFactory

    def __call__(self, game_title: str, game: Game, **settings: Any) -> Solution:
        chosen: dict[str, Any] = {
            "steps": _STEPS,
            "progress": False,
            "u_optimizer": self.optimizer,
            "v_optimizer": self.optimizer,
            **settings,
        }
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DivergenceWarning)
                return solve(game, self.solver, **chosen)
        except Exception as error:  # noqa: BLE001 - whatever a stranger's code raises becomes a sentence
            _fail(self.solver, f"failed on {game_title}: {type(error).__name__}: {error}", error)


# -- checks ------------------------------------------------------------------------------------------------------------


def _check_record(play: _Play) -> None:
    solver = play.solver
    ctx = Context(_nested(), players=solver.players, u_optimizer=play.optimizer, v_optimizer=play.optimizer)
    try:
        ctx.batch = ctx.source.take()
        made: Any = solver.step(ctx, solver.init(ctx))
    except Exception as error:  # noqa: BLE001 - as above
        _fail(solver, f"failed on its first step: {type(error).__name__}: {error}", error)
    if not isinstance(made, tuple) or len(made) != 2:  # pyright: ignore[reportUnknownArgumentType] - of a stranger's code
        _fail(solver, f"its step returns {type(made).__name__}; return (state, record)")
    record: Any = made[1]
    if not isinstance(record, Mapping):
        _fail(solver, f"its record is {type(record).__name__}; return a dictionary of 0-d tensors")
    for key, value in record.items():
        if not isinstance(key, str) or not isinstance(value, Tensor) or value.dim() != 0:
            _fail(solver, f"records {key!r} as {_described(value)}; record 0-d tensors by name")
    if "risk" not in record:
        _fail(solver, f"does not record 'risk' but {sorted(record)}; record it, so that histories can be compared")
    if ctx.gradient_evaluations < 1:
        _fail(solver, "counts no gradient evaluation; add those made through ctx.risk to ctx.gradient_evaluations")


def _check_moves(play: _Play) -> None:
    game = _nested()
    before = contents_of(game)
    solution = play("a quadratic of nested tensors", game)
    if contents_of(game) != before:
        _fail(play.solver, "changed the players that it was given; move copies, through ctx.apply or ctx.move")
    if not solution.ok:
        _fail(play.solver, f"did not complete {_STEPS} steps of a well-behaved quadratic: {solution.message}")
    ended = contents_of(Game(game.f, solution.u, solution.v))
    players: tuple[Player, ...] = ("u", "v")
    for player in players:
        moved = ended[player] != before[player]
        if moved and player not in play.solver.players:
            _fail(play.solver, f"moved {player}, which is not among its players {play.solver.players!r}")
        if not moved and player in play.solver.players:
            _fail(play.solver, f"did not move {player}, though it is among its players")


def _check_seed(play: _Play) -> None:
    game, data = _networks()
    first, second = (result_of(play("modules", game, data=data, seed=5)) for _ in range(2))
    if first != second:
        _fail(
            play.solver,
            "does not repeat itself under one seed; draw random numbers from a generator seeded by ctx.seed and "
            "ctx.step, and keep nothing in the solver itself",
        )


def _check_resume(play: _Play) -> None:
    game, data = _networks()
    whole = result_of(play("modules", game, data=data))
    with tempfile.TemporaryDirectory() as folder:
        play("a checkpoint", game, data=data, steps=_STEPS // 2, callbacks=[Checkpoint(folder)])
        rest = result_of(play("the continuation from a checkpoint", game, data=data, resume=folder))
    if rest != whole:
        differing = [name for name, value in whole.items() if rest.get(name) != value]
        _fail(
            play.solver,
            f"differs in {', '.join(differing)} when continued from a checkpoint; keep whatever one step leaves to the "
            "next in the state that step returns, and draw random numbers from a generator seeded by ctx.seed and "
            "ctx.step",
        )


def _check_projections(play: _Play) -> None:
    game = _fenced()
    outside: list[int] = []

    def look(run: Any) -> None:
        if any(bool((x.abs() > 1).any()) for x in run.players()):
            outside.append(run.step)

    solution = play("players with bounds", game, callbacks=[_Look(look)])
    if outside:
        _fail(play.solver, f"left the players' domain in step {outside[0] - 1}; move through ctx.apply or ctx.move")
    if solution.status is Status.DIVERGED:
        _fail(
            play.solver,
            "evaluates the risk outside the players' domain; pass points that are only looked at through ctx.project",
        )


def _check_modules(play: _Play) -> None:
    game, data = _networks()
    before = contents_of(game)
    solution = play("modules with batch statistics and dropout", game, data=data)
    if not solution.ok:
        _fail(play.solver, f"did not complete {_STEPS} steps with modules: {solution.message}")
    if contents_of(game) != before:
        _fail(play.solver, "changed the modules that it was given, or their buffers")
    for player in play.solver.players:
        module: nn.Module = solution.u if player == "u" else solution.v
        counted = int(dict(module.named_buffers())["1.num_batches_tracked"])
        if counted != _STEPS:
            _fail(
                play.solver,
                f"left {player}'s batch statistics counting {counted} batches in {_STEPS} steps; evaluate "
                "through ctx.gradients, or call ctx.note_buffers after ctx.risk",
            )


def _check_twice(play: _Play) -> None:
    if getattr(play.solver, "second_order", False):
        return
    try:
        play("a risk that can be differentiated once only", _once(), steps=2)
    except AssertionError as error:
        if isinstance(error.__cause__, RiskError):
            _fail(
                play.solver,
                "differentiates the risk twice and does not say so; set second_order = True, so that unsuitable risks "
                "are refused before the first step",
                error.__cause__,
            )
        raise


def _check_responding(play: _Play) -> None:
    def respond(risk: Any, u: Tensor) -> Tensor:
        return u / 2

    def f(u: Tensor, v: Tensor) -> Tensor:
        return u @ u + u @ v - v @ v

    game = Game(f, torch.tensor([0.6, -0.4], dtype=torch.float64), respond)
    try:
        solution = play("a follower that responds", game)
    except AssertionError as error:
        if isinstance(error.__cause__, ArgumentError):
            return
        _fail(
            play.solver,
            f"neither plays with a follower that responds nor refuses it ({type(error.__cause__).__name__}: "
            f"{error.__cause__}); raise an ArgumentError in init where ctx.responding",
            error,
        )
    if not solution.ok:
        _fail(play.solver, f"did not complete {_STEPS} steps with a follower that responds: {solution.message}")


def _check_two_losses(play: _Play) -> None:
    kind = getattr(play.solver, "two_losses", None)
    if kind is None:
        return
    if kind not in ("own", "total"):
        _fail(play.solver, f"its two_losses is {kind!r}; give 'own' or 'total', or leave it out")
    game = _nested()

    def minus(u: Any, v: Any) -> Tensor:
        return -game.f(u, v)

    own = dataclasses.replace(game, follower_loss=minus)
    one, two = play("a quadratic", game), play("a quadratic with -f as the follower's loss", own)
    ends: list[Any] = [optree.tree_leaves((solution.u, solution.v)) for solution in (one, two)]  # type: ignore[arg-type] - optree takes any object
    if not all(torch.allclose(a, b, rtol=1e-6, atol=1e-9) for a, b in zip(*ends, strict=True)):
        _fail(
            play.solver,
            "plays another game where the follower's own loss is -f; descend ctx.gradients(), or form the follower's "
            "derivatives from ctx.blocks(players=('v',)) and those of f from ctx.risk_gradients()",
        )


# -- comparisons -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Look:
    look: Callable[[Any], None]
    every: int = 1

    def __call__(self, run: Any) -> None:
        self.look(run)


def contents_of(game: Game) -> dict[str, Any]:
    """Return the values of both players, by name and to the bit."""
    return {"u": values_of(game.u), "v": values_of(game.v)}


def values_of(tree: Any) -> dict[str, Any]:
    """Return a player's values by name; an absent player or a function has none."""
    values: dict[str, Any] = {}
    if tree is None or is_responding(tree):
        return values
    for path, leaf in leaves_with_names(tree):
        tensors: dict[str, Any] = leaf.state_dict() if isinstance(leaf, nn.Module) else {"": leaf}
        for name, tensor in tensors.items():
            values[f"{path}.{name}"] = (tensor.dtype, tuple(tensor.shape), tensor.detach().cpu().numpy().tobytes())
    return values


def result_of(solution: Solution) -> dict[str, Any]:
    """Return everything that must be equal in two runs that should be identical."""
    history = {name: solution.history[name].tobytes() for name in solution.history.names}
    counts = {"steps": solution.steps, "gradient_evaluations": solution.gradient_evaluations}
    players = {p: values_of(x) for p, x in (("u", solution.u), ("v", solution.v))}
    return {**players, **counts, **history}


def _described(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
