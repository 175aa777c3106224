"""``solve``: what a solve is asked for, checked before any work is done."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import torch

from minimaxopt._types import OptimizerFactory, SchedulerFactory
from minimaxopt.errors import ArgumentError, MinimaxoptError, ResumeError
from minimaxopt.execution.compile import default_for, prepare, rehearse
from minimaxopt.game.batches import Batches
from minimaxopt.game.devices import usable_device
from minimaxopt.game.game import Game
from minimaxopt.game.random_streams import preserve_rng_state
from minimaxopt.loop.callbacks import Callback, Checkpoint
from minimaxopt.loop.first_evaluation import probe
from minimaxopt.loop.loop import SolveLoop
from minimaxopt.loop.progress_bar import Bar
from minimaxopt.results.solution import Solution
from minimaxopt.solvers import SOLVERS, Context


@final
@dataclass(frozen=True)
class Run:
    """The arguments of one ``solve``, for ``solve_many``; all are as there.

    Examples:
        >>> import torch
        >>> from minimaxopt import Game, Run, Sensitivity, solve_many
        >>> game = Game(lambda u, v: u**2 / 2 + 2 * u * v - v**2 / 2, torch.tensor(1.0), torch.tensor(1.0))
        >>> [solution.steps for solution in solve_many([Run(game, Sensitivity(gamma=g), steps=9) for g in (0.5, 1.0)])]
        [9, 9]
    """

    game: Game
    solver: Any = "sensitivity"
    steps: int = 0
    data: Any = None
    seed: int = 0
    u_optimizer: OptimizerFactory | None = None
    v_optimizer: OptimizerFactory | None = None
    u_scheduler: SchedulerFactory | None = None
    v_scheduler: SchedulerFactory | None = None
    order: Literal["minimax", "maximin"] = "minimax"
    ascent_batches: Literal["same", "fresh"] = "same"
    tolerance: float | None = None
    device: torch.device | str | None = None
    callbacks: Sequence[Callback] = ()
    resume: str | Path | None = None
    compile: bool = False


def solve(
    game: Game,
    solver: Any = "sensitivity",
    *,
    steps: int,
    data: Any = None,
    seed: int = 0,
    u_optimizer: OptimizerFactory | None = None,
    v_optimizer: OptimizerFactory | None = None,
    u_scheduler: SchedulerFactory | None = None,
    v_scheduler: SchedulerFactory | None = None,
    order: Literal["minimax", "maximin"] = "minimax",
    ascent_batches: Literal["same", "fresh"] = "same",
    tolerance: float | None = None,
    device: torch.device | str | None = None,
    callbacks: Sequence[Callback] = (),
    resume: str | Path | None = None,
    progress: bool | None = None,
    compile: bool = False,
) -> Solution:
    """Play a game for a number of steps and return where it got to.

    The solver decides the moves, ordinary optimizers make them; see the solver for its update equation. The game's
    players are copied first and never modified. Two solves with the same arguments give the same values to the bit on
    the same machine and threads.

    Args:
        game: the game.
        solver: a solver, such as ``Sensitivity(gamma=1.0)``, or the name of one, for its defaults.
        steps: steps to make in all, those of a resumed run included.
        data: ``Batches``, or any iterable of batches, which is begun again when it ends. ``None`` for an ``f(u, v)``
            without batches.
        seed: of every random draw inside ``f`` and of the order of a loader. The global random state is left as it was
            found.
        u_optimizer: factory of the leader's optimizer, such as ``partial(torch.optim.Adam, lr=1e-4)``; its rate is
            lambda. The default is Adam at 1e-3, fused where torch can.
        v_optimizer: the same for the follower; its rate is sigma.
        u_scheduler: factory of a learning-rate schedule, such as ``partial(CosineAnnealingLR, T_max=1000)``, advanced
            once a step.
        v_scheduler: the same for the follower.
        order: ``"minimax"``, or ``"maximin"`` to play the flipped game, in which ``v`` leads. Arguments and results
            keep their names.
        ascent_batches: whether inner ascent steps see the ``"same"`` batch and random draw as the step, or ``"fresh"``
            ones.
        tolerance: stop as converged when the norm of each moving player's (projected) gradient is at most this; looked
            at every 50 steps, on the batch at hand.
        device: where to play, such as ``"cuda"``; ``None`` leaves players and batches where they are.
        callbacks: what looks on, such as ``Evaluate``, ``EarlyStop``, ``JSONLLog`` and ``Checkpoint``, called in the
            order given, ``JSONLLog`` and then ``Checkpoint`` after all others, so that they hold what the others noted.
        resume: a folder that ``Checkpoint`` wrote, to continue from (``Checkpoint.latest(folder)`` where a run may not
            have begun).
        progress: whether to show a progress bar; by default where the output is a terminal.
        compile: whether to compile the steps of ``Sensitivity``, ``AlternatingGDA``, ``SimultaneousGDA``, ``Descent``
            or ``Ascent``; the values are the same to rounding. On a CPU the derivatives are compiled by
            ``torch.compile``, anew in each solve and for each batch shape, which takes some ten seconds and a C++
            compiler. On CUDA a whole step is captured as a graph, which has not yet been measured on a GPU; it wants
            batches on the device and optimizers that are SGD or have ``capturable=True``. What cannot be compiled is
            refused.

    Returns:
        A ``Solution`` whose ``status`` names how it ended. A solve that meets NaN or infinity ends at the last finite
        point, with a warning; an interrupt (Ctrl-C) ends it in order.

    Raises:
        ArgumentError: if an argument cannot be used; nothing has been computed then.
        RiskError: if ``f`` is not a differentiable scalar. An exception that ``f`` raises later carries the solution up
            to then in its attribute ``solution``.
        ResumeError: if ``resume`` holds no checkpoint of this solve.

    Examples:
        >>> import torch
        >>> from minimaxopt import Game, solve
        >>> game = Game(lambda u, v: u**2 / 2 + 2 * u * v - v**2 / 2, torch.tensor(1.0), torch.tensor(1.0))
        >>> solution = solve(game, "sensitivity", steps=3000)
        >>> print(solution.status, f"{abs(solution.u.item()):.2f} {abs(solution.v.item()):.2f}")
        step budget used 0.00 0.00

    Source: Hamm and Mehra 2018, Alg. 1, for the default solver.
    """
    prepared = Prepared(
        Run(
            game,
            solver,
            steps=steps,
            data=data,
            seed=seed,
            u_optimizer=u_optimizer,
            v_optimizer=v_optimizer,
            u_scheduler=u_scheduler,
            v_scheduler=v_scheduler,
            order=order,
            ascent_batches=ascent_batches,
            tolerance=tolerance,
            device=device,
            callbacks=callbacks,
            resume=resume,
            compile=compile,
        )
    )
    with ExitStack() as stack:
        stack.enter_context(preserve_rng_state(prepared.ctx.devices))
        stack.callback(prepared.break_reference_cycle)
        playing = prepared.begin()
        bar = stack.enter_context(Bar(prepared.solver.name, steps, done=playing.step, shown=progress))
        return playing.play(bar)


@final
class Prepared:
    """A run whose arguments were found usable; nothing has been computed yet.

    Attributes:
        ctx: the context in which it will be played.
        solver: the solver, where the run may name it.
        flipped: whether ``ctx`` plays the flipped game.
        callbacks: the run's callbacks, as a list.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.solver = _solver(run.solver)
        self.callbacks = _callbacks(run.callbacks)
        _check(run.game, run.steps, run.seed, run.order, run.tolerance)
        if not isinstance(run.compile, bool):  # pyright: ignore[reportUnnecessaryIsInstance] - callers are not all typed
            raise ArgumentError(f"compile: {run.compile!r} is neither True nor False; give one of them")
        place = usable_device(run.device)
        default = default_for(run.game, place) if run.compile else None
        self.flipped = run.order == "maximin"
        factories = (run.u_optimizer or default, run.v_optimizer or default)
        optimizers = factories[::-1] if self.flipped else factories
        schedulers = (run.v_scheduler, run.u_scheduler) if self.flipped else (run.u_scheduler, run.v_scheduler)
        with _named_as_played(self.flipped):
            self.ctx = Context(
                run.game.flip() if self.flipped else run.game,
                players=self.solver.players,
                data=run.data,
                seed=run.seed,
                u_optimizer=optimizers[0],
                v_optimizer=optimizers[1],
                u_scheduler=schedulers[0],
                v_scheduler=schedulers[1],
                ascent_batches=run.ascent_batches,
                device=place,
            )
            if run.compile:
                prepare(self.ctx, self.solver)
        if not self.ctx.source.exact and any(isinstance(c, Checkpoint) for c in self.callbacks):
            raise ResumeError(f"callbacks: a Checkpoint could not be continued exactly; {self.ctx.source.why_not}")

    def begin(self) -> SolveLoop:
        """Return the run as it begins or goes on; its risk has been evaluated once. Draws random numbers."""
        run = self._run
        playing = SolveLoop(
            self.ctx,
            self.solver,
            run.steps,
            flipped=self.flipped,
            callbacks=self.callbacks,
            tolerance=run.tolerance,
            settings={"order": run.order, "ascent_batches": run.ascent_batches, "data": _described(run.data)},
        )
        if run.resume is not None:
            playing.resume(Path(run.resume))
        elif run.steps:
            with _named_as_played(self.flipped):
                probe(self.ctx, second_order=bool(getattr(self.solver, "second_order", False)))
        if run.compile and run.steps > self.ctx.step:
            with _named_as_played(self.flipped):
                rehearse(self.ctx, self.solver)
        return playing

    def break_reference_cycle(self) -> None:
        """Open the ring of optimizer and schedule, so that moments and parameters are freed at once, not at some time.

        A schedule replaces its optimizer's ``step`` by a wrapper that holds the optimizer.
        """
        for mover in self.ctx.optimizers.values():
            if mover.scheduler is not None:
                vars(mover.optimizer).pop("step", None)


@contextmanager
def _named_as_played(flipped: bool) -> Generator[None]:
    """Say whom an error means by ``u`` and ``v`` where the game was flipped."""
    try:
        yield
    except MinimaxoptError as error:
        if flipped:
            error.add_note("order='maximin' plays the flipped game: here u is the game's v, and v its u.")
        raise


def _solver(solver: Any) -> Any:
    if isinstance(solver, str):
        if solver in SOLVERS:
            return SOLVERS[solver]()
        from minimaxopt.plugins.host import load_solver

        return load_solver(solver)
    if isinstance(solver, type):
        raise ArgumentError(f"solver: {solver.__name__} is a class; give an instance, {solver.__name__}()")
    if not all(hasattr(solver, part) for part in ("name", "players", "init", "step")):
        raise ArgumentError(
            f"solver: {type(solver).__name__} is no solver; give one such as Sensitivity(), or a name among "
            f"{sorted(SOLVERS)}"
        )
    return solver


def _callbacks(callbacks: Any) -> list[Callback]:
    if not isinstance(callbacks, Iterable):
        raise ArgumentError(f"callbacks: {type(callbacks).__name__} is no list of callbacks; give [...] around it")
    found = list(callbacks)
    for callback in found:
        if isinstance(callback, type):
            raise ArgumentError(
                f"callbacks: {callback.__name__} is a class; give an instance, {callback.__name__}(...)"
            )
        if not callable(callback) or not hasattr(callback, "every"):
            raise ArgumentError(
                f"callbacks: {type(callback).__name__} is no callback; give objects with 'every' that can be called"
            )
        every: Any = getattr(callback, "every")  # noqa: B009 - of an object that may be anything
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ArgumentError(
                f"callbacks: {type(callback).__name__} has every={every!r}; give it a positive number of steps"
            )
    return found


def _check(game: Any, steps: Any, seed: Any, order: Any, tolerance: Any) -> None:
    if not isinstance(game, Game):
        raise ArgumentError(f"game: {type(game).__name__} is not a Game; give Game(f, u, v)")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise ArgumentError(f"steps: {steps!r} is not a number of steps; give a non-negative integer")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ArgumentError(f"seed: {seed!r} is not an integer; give one")
    if order not in ("minimax", "maximin"):
        raise ArgumentError(f"order: {order!r} is neither 'minimax' nor 'maximin'; say who leads")
    number = isinstance(tolerance, (int, float)) and not isinstance(tolerance, bool)
    if tolerance is not None and not (number and tolerance >= 0):
        raise ArgumentError(f"tolerance: {tolerance!r} can never be met; give a non-negative number")


def _described(data: Any) -> str:
    return repr(data) if isinstance(data, Batches) else type(data).__name__
