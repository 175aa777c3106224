"""``solve``: one game, from arguments to solution."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import torch

from minimaxopt._types import OptimizerFactory, SchedulerFactory
from minimaxopt.errors import ArgumentError, MinimaxoptError, ResumeError
from minimaxopt.execution.compile import default_for, prepare, rehearse
from minimaxopt.game.devices import usable_device
from minimaxopt.game.game import Game
from minimaxopt.game.random_streams import preserve_rng_state
from minimaxopt.loop.arguments import (
    callbacks_of,
    check_arguments,
    check_micro_batches,
    check_skips,
    description_of,
    solver_of,
)
from minimaxopt.loop.callbacks import Callback, Checkpoint
from minimaxopt.loop.first_evaluation import probe
from minimaxopt.loop.loop import SolveLoop
from minimaxopt.loop.progress_bar import Bar
from minimaxopt.results.solution import Solution, Status
from minimaxopt.solvers import Context
from minimaxopt.solvers.two_losses import refuse_two_losses


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
    inplace: bool = False
    micro_batches: int = 1
    skip_nonfinite: int = 0


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
    inplace: bool = False,
    micro_batches: int = 1,
    skip_nonfinite: int = 0,
) -> Solution:
    """Play a game for a number of steps and return where it got to.

    The solver decides the moves, ordinary optimizers make them; see the solver for its update equation. The game's
    players are copied first and never modified, unless ``inplace``.

    Two solves with the same arguments give the same values to the bit on
    the same machine and threads.

    Args:
        game: the game.
        solver: a solver, such as ``Sensitivity(gamma=1.0)``, or the name of one, for its defaults.
        steps: steps to make in all, those of a resumed run included.
        data: ``Batches``, or any iterable of batches, which is begun again when it ends; or a dictionary or tuple of
            these, of which each batch has one batch each, in the same form. ``None`` for an ``f(u, v)`` without
            batches.
        seed: of every random draw inside ``f`` and of the order of a loader, from torch's generators or the global ones
            of ``random`` and ``numpy.random``, which are all left as they were found. Generators of your own are not
            seeded.
        u_optimizer: factory of the leader's optimizer, such as ``partial(torch.optim.Adam, lr=1e-4)``; its rate is
            lambda. The default is Adam at 1e-3, fused where torch can.
        v_optimizer: the same for the follower; its rate is sigma.
        u_scheduler: factory of a learning-rate schedule, such as ``partial(CosineAnnealingLR, T_max=1000)``, advanced
            once a step; ``Schedule`` for one that is advanced once an epoch, or by a metric.
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
            compiler; games of bare tensors without data, schedules and constraints, moved by SGD, Adam or AdamW, are
            played as one compiled loop of many steps, as the manifest's ``steps_at_once`` says. On CUDA a whole step is
            captured as a graph, which has not yet been measured on a GPU; it wants batches on the device and optimizers
            that are SGD or have ``capturable=True``. What cannot be compiled is refused.
        inplace: play on the game's own modules and tensors, as a hand-written loop does, and return them. It is for
            players of which no faithful copy can be made: a closure over a module, a wrapped ``forward``, TorchScript.
            Where a solve fails the players are left as they were at the last finite point.
        micro_batches: the parts in which each batch is evaluated, one after the other, for less memory. Gradients are
            those of the whole batch, to rounding, for a risk that is a mean over the samples: each part counts with its
            share of them. Batch normalisation normalises each part by itself and updates its running statistics once a
            part; each part draws numbers of its own, and values that ``f`` logs are averaged. ``Sensitivity`` then
            evaluates each part twice. A solver that needs the graph of a whole batch refuses, and so does ``compile``.
        skip_nonfinite: the most steps that may be left out because the risk, a player or its buffers ceased to be finite,
            as at a damaged batch. A step that is left out changes neither players nor moments nor buffers nor the
            solver's state; its number, its batch and its turn in the schedules are used up, and the history's column
            ``"skipped"`` has a 1 there. One step more ends the solve as diverged.

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
    run = Run(
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
        inplace=inplace,
        micro_batches=micro_batches,
        skip_nonfinite=skip_nonfinite,
    )
    loop, status, message = play(run, progress)
    return loop.solution(status, message)


def play(run: Run, progress: bool | None) -> tuple[SolveLoop, Status, str]:
    """Check the arguments of a run and play it; return the loop, and how it ended.

    Raises:
        Exception: as ``solve`` does.
    """
    solver, callbacks = solver_of(run.solver), callbacks_of(run.callbacks)
    check_arguments(run.game, run.steps, run.seed, run.order, run.tolerance, run.compile)
    refuse_two_losses(run.game, solver, run.tolerance)
    check_micro_batches(run.micro_batches, run.data, compiled=run.compile, zero_sum=run.game.zero_sum)
    check_skips(run.skip_nonfinite)
    ctx = _context(run, solver)
    if not ctx.source.exact and any(isinstance(c, Checkpoint) for c in callbacks):
        raise ResumeError(f"callbacks: a Checkpoint could not be continued exactly; {ctx.source.why_not}")
    with ExitStack() as stack:
        stack.enter_context(preserve_rng_state(ctx.devices))
        stack.callback(_break_reference_cycles, ctx)
        stack.callback(ctx.played.release)
        loop = _begin(run, solver, callbacks, ctx)
        bar = stack.enter_context(Bar(solver.name, run.steps, done=loop.step, shown=progress))
        return loop, *loop.play(bar)


def _context(run: Run, solver: Any) -> Context:
    """Return the context in which a run is played, which is that of the flipped game for a maximin solve."""
    place = usable_device(run.device)
    default = default_for(run.game, place) if run.compile else None
    flipped = run.order == "maximin"
    optimizers = (run.u_optimizer or default, run.v_optimizer or default)
    schedulers = (run.u_scheduler, run.v_scheduler)
    if flipped:
        optimizers, schedulers = optimizers[::-1], schedulers[::-1]
    with _named_as_played(flipped):
        ctx = Context(
            run.game.flip() if flipped else run.game,
            players=solver.players,
            data=run.data,
            seed=run.seed,
            u_optimizer=optimizers[0],
            v_optimizer=optimizers[1],
            u_scheduler=schedulers[0],
            v_scheduler=schedulers[1],
            ascent_batches=run.ascent_batches,
            device=place,
            inplace=run.inplace,
            micro_batches=run.micro_batches,
        )
        if run.compile:
            prepare(ctx, solver)
    return ctx


def _begin(run: Run, solver: Any, callbacks: Sequence[Callback], ctx: Context) -> SolveLoop:
    """Return the loop of a run as it begins or goes on; its risk has been evaluated once. Draws random numbers."""
    flipped = run.order == "maximin"
    loop = SolveLoop(
        ctx,
        solver,
        run.steps,
        flipped=flipped,
        callbacks=callbacks,
        tolerance=run.tolerance,
        settings={
            "order": run.order,
            "ascent_batches": run.ascent_batches,
            "data": description_of(run.data),
            "micro_batches": run.micro_batches,
        },
        skip_nonfinite=run.skip_nonfinite,
    )
    if run.resume is not None:
        loop.resume(Path(run.resume))
    ctx.host.watch()
    if run.steps > ctx.step:
        with _named_as_played(flipped):
            try:
                twice, total = (
                    bool(getattr(solver, "second_order", False)),
                    getattr(solver, "two_losses", None) == "total",
                )
                probe(ctx, second_order=twice, total=total)
            except ArgumentError as error:
                if run.resume is None:
                    raise
                raise ResumeError(f"resume: in the game as it was saved, {error}") from error
    if run.compile and run.steps > ctx.step:
        with _named_as_played(flipped):
            rehearse(ctx, solver)
    if ctx.host.drew_unseeded() and ctx.source.exact:
        ctx.source.load(ctx.source.state())  # the first batch is drawn anew
    return loop


def _break_reference_cycles(ctx: Context) -> None:
    """Break the optimizer-scheduler reference cycles so that memory is freed immediately.

    A schedule replaces its optimizer's ``step`` by a wrapper that holds the optimizer.
    """
    for moving in ctx.optimizers.values():
        if moving.scheduler is not None:
            vars(moving.optimizer).pop("step", None)


@contextmanager
def _named_as_played(flipped: bool) -> Generator[None]:
    """Say whom an error means by ``u`` and ``v`` where the game was flipped."""
    try:
        yield
    except MinimaxoptError as error:
        if flipped:
            error.add_note("order='maximin' plays the flipped game: here u is the game's v, and v its u.")
        raise
