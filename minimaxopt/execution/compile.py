"""Preparation of ``solve(..., compile=True)``: steps are compiled, or refused before the first one."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from minimaxopt._types import OptimizerFactory, Player, Point, Record
from minimaxopt.calculus.gradients import FlatRisk, Gradients, PenalizedGradient, operator, penalized_gradient, placed
from minimaxopt.errors import ArgumentError, MinimaxoptError
from minimaxopt.execution.compiled_derivatives import Compiled
from minimaxopt.execution.cuda_graph import (
    CapturedStep,
    Cuda,
    Draws,
    generator_of,
    refuse_draws,
    refuse_elsewhere,
    refuse_settings,
)
from minimaxopt.execution.step_loop import StepLoop, why_no_loop
from minimaxopt.game.devices import devices_of
from minimaxopt.game.game import Game, takes_step
from minimaxopt.game.random_streams import replay, stream
from minimaxopt.solvers.context import Context
from minimaxopt.solvers.player_optimizer import default_optimizer
from minimaxopt.solvers.step_derivatives import StepDerivatives, SupportsCompile

_WITHOUT = "leave compile out"


def default_for(game: Game, device: torch.device | None) -> OptimizerFactory | None:
    """Return the default optimizer of compiled steps: on CUDA one that a graph can repeat."""
    devices = devices_of((game.u, game.v)) if device is None else [device]
    if all(place.type != "cuda" for place in devices):
        return None
    return lambda tensors: default_optimizer(tensors, capturable=True)


def prepare(ctx: Context, solver: Any) -> None:
    """Let ``ctx`` compute its steps by compiled derivatives, or by a captured graph on CUDA.

    Raises:
        ArgumentError: if the solver, its settings or the machine do not allow it.
    """
    if not isinstance(solver, SupportsCompile):
        raise ArgumentError(
            f"compile: {solver.name!r} declares no derivatives, and so has no compiled form; use one that does, such as "
            f"'sensitivity' or 'alternating-gda', or {_WITHOUT}"
        )
    if not ctx.game.zero_sum:
        raise ArgumentError(f"compile: there is no compiled form for a follower with a loss of its own; {_WITHOUT}")
    if takes_step(ctx.game.f):
        raise ArgumentError(f"compile: f takes the number of the step, which compiled code would freeze; {_WITHOUT}")
    declared = _derivatives(ctx, solver)
    kinds = {place.type for place in ctx.devices}
    if kinds <= {"cpu"}:
        _need_compiler()
        ctx.evaluation.compiled = Compiled(ctx.evaluation.functional)
    elif kinds == {"cuda"} and len(ctx.devices) == 1:
        refuse_settings(ctx, declared)
        ctx.step_form = CapturedStep(Cuda(ctx.devices[0]))
    else:
        places = ", ".join(str(place) for place in ctx.devices)
        raise ArgumentError(
            f"compile: steps are compiled on the CPU or on one CUDA device, not on {places}; {_WITHOUT}"
        )


def _derivatives(ctx: Context, solver: SupportsCompile) -> StepDerivatives:
    return solver.derivatives(responding=ctx.responding, constrained=ctx.game.project_v is not None)


def rehearse(ctx: Context, solver: Any) -> None:
    """Compile at the first batch and compare with the eager values; the run stays as it was.

    Raises:
        ArgumentError: if something cannot be compiled, or comes out differently.
        RiskError: as the first step would.
    """
    position, spent, before = ctx.source.position, ctx.gradient_evaluations, ctx.batch
    compiled, ctx.evaluation.compiled = ctx.evaluation.compiled, None
    ctx.batch = ctx.source.take()
    ctx.source.rewind(position)
    try:
        _refuse_changed_attributes(ctx)
        ctx.evaluation.compiled = compiled
        if isinstance(ctx.step_form, CapturedStep):
            _rehearse_capture(ctx, ctx.step_form, solver)
        else:
            _rehearse_derivatives(ctx, solver)
            _find_loop(ctx, solver)
    finally:
        ctx.batch, ctx.gradient_evaluations = before, spent


def _refuse_changed_attributes(ctx: Context) -> None:
    """Refuse modules that change more than their buffers: a counter would be compiled in, or never advance."""
    point, risk = ctx.point, ctx.risk()
    if ctx.responding:
        z, risk = ctx.respond()
        point = Point(ctx.point.u, z)
    with placed(risk, point, ()) as at:
        risk(at.u, at.v)
    if ctx.played.logs:
        raise ArgumentError(
            f"compile: f logs {next(iter(ctx.played.logs))!r}, and compiled steps return the risk alone; return no values "
            f"beside it, or {_WITHOUT}"
        )
    for name in ctx.evaluation.changed_attributes():
        raise ArgumentError(
            f"compile: f changes {name}, which is no buffer, and compiled code could not put it back; keep it in a buffer "
            f"(register_buffer), or {_WITHOUT}"
        )


def _need_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise ArgumentError(
            f"compile: torch finds no C++ compiler here; install g++ or clang, or name one in CXX, or {_WITHOUT}"
        ) from error


# -- compiled derivatives ----------------------------------------------------------------------------------------------


def _rehearse_derivatives(ctx: Context, solver: Any) -> None:
    point, risk = ctx.point, ctx.risk()
    if ctx.responding:
        z, risk = ctx.respond()
        point = Point(ctx.point.u, z)

    def plain(u: Any, v: Any) -> Tensor:
        return risk(u, v)

    for wanted in _derivatives(ctx, solver).wanted:
        eager = _derived(plain, point, wanted)
        with _explain_compile_errors():
            compiled = _derived(risk, point, wanted)
        _refuse_difference(
            [("risk", compiled.risk, eager.risk)]
            + [(f"the gradient of u.{n}", t, eager.u[n]) for n, t in compiled.u.items()]
            + [(f"the gradient of v.{n}", t, eager.v[n]) for n, t in compiled.v.items()]
        )


def _find_loop(ctx: Context, solver: Any) -> None:
    """Let many steps be one loop, if the game allows it and a step of the loop equals one made as usual."""
    ctx.why_stepwise = why_no_loop(ctx, scheduled=bool(_derivatives(ctx, solver).scheduled))
    if ctx.why_stepwise:
        return
    start = ctx.state_dict()
    try:
        formed, draw = ctx.gradient_evaluations, stream(ctx.seed, ctx.step, "risk")
        record = _step(ctx, solver)
        after = torch.default_generator.get_state()
        if not torch.equal(after, torch.default_generator.manual_seed(draw).get_state()):
            ctx.why_stepwise = "f draws random numbers, each evaluation from a seed of its own"
            return
        once = ctx.state_dict()
        with _explain_compile_errors():
            loop = StepLoop(ctx, solver, record, ctx.gradient_evaluations - formed)
            loop.make(ctx, 1)
        looped = {name: t.detach().clone() for name, t in ctx.checked_tensors()}
        ctx.load_state_dict(once, source=False)
        _step(ctx, solver)
        _refuse_difference((name, looped[name], t) for name, t in ctx.checked_tensors())
        ctx.many_steps = loop
    except ArgumentError as error:
        ctx.why_stepwise = str(error)
    finally:
        ctx.load_state_dict(start, source=False)


def _derived(risk: FlatRisk, point: Point, players: tuple[Player, ...] | None) -> Gradients | PenalizedGradient:
    return penalized_gradient(risk, point, 1.0) if players is None else operator(risk, point, players)


@contextmanager
def _explain_compile_errors() -> Generator[None]:
    """Turn errors of torch.compile into an ``ArgumentError`` with a remedy, and silence its warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # f's own warnings were shown when it was evaluated before
            yield
    except MinimaxoptError:
        raise
    except Exception as error:
        inner: Any = getattr(error, "inner_exception", error)
        lines = [line.strip() for line in str(inner).splitlines() if line.strip()]
        reason = f"{type(inner).__name__}: {lines[0].rstrip('.') if lines else 'no reason given'}"
        raise ArgumentError(
            f"compile: f cannot be compiled as one graph ({reason}); write it with torch operations alone, without "
            f"numbers taken out of tensors, or {_WITHOUT}"
        ) from error


def _refuse_difference(values: Iterable[tuple[str, Tensor, Tensor]]) -> None:
    """Raise if values differ by more than rounding, as where ``f`` keeps state or draws numbers outside torch."""
    for name, compiled, eager in values:
        eps = torch.finfo(eager.dtype).eps
        expected = eager.detach()
        allowed = 10 * eps**0.5 * float(expected.norm()) + 1e3 * eps * max(1.0, expected.numel() ** 0.5)
        distance = float((compiled.detach() - expected).norm())
        if not distance <= allowed and bool(torch.isfinite(expected).all()):
            raise ArgumentError(
                f"compile: {name} differs when compiled (distance {distance:.3g} of {float(expected.norm()):.3g}): "
                f"f depends on more than its arguments and torch's random draws; {_WITHOUT}"
            )


# -- captured steps ----------------------------------------------------------------------------------------------------


def _rehearse_capture(ctx: Context, form: CapturedStep, solver: Any) -> None:
    device = ctx.devices[0]
    refuse_elsewhere(ctx.batch, device)
    start = ctx.state_dict()
    try:
        _watched(ctx, solver, device)
        once = ctx.state_dict()
        with _explain_compile_errors():
            _step(ctx, solver)
        captured = {name: t.detach().clone() for name, t in ctx.checked_tensors()}
        if not form.recordings:
            raise ArgumentError(f"compile: the step was not captured; {_WITHOUT}")
        ctx.load_state_dict(once, source=False)
        _step(ctx, solver)  # made as usual, since the run went back
        _refuse_difference((name, captured[name], t) for name, t in ctx.checked_tensors() if t.is_floating_point())
    finally:
        ctx.evaluation.seeding = None
        ctx.load_state_dict(start, source=False)


def _watched(ctx: Context, solver: Any, device: torch.device) -> None:
    """Make one step and refuse it if it waits for the device or draws in several evaluations."""

    def generators() -> Any:
        return generator_of(device).get_offset(), torch.default_generator.get_state().numpy().tobytes()

    draws = Draws(generators, lambda draw: replay(draw, ctx.devices))
    allowed = stream(ctx.seed, ctx.step, "risk")
    ctx.evaluation.seeding = draws
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with _explain_compile_errors():
            _step(ctx, solver)
    finally:
        torch.cuda.set_sync_debug_mode(mode)
        ctx.evaluation.seeding = None
    draws.close()
    refuse_draws(draws.spent, allowed)


def _step(ctx: Context, solver: Any) -> Record:
    return ctx.advance(solver, None, *ctx.batch)[1]  # the solvers that can be compiled carry no state
