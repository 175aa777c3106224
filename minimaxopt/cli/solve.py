"""``minimaxopt solve``: a problem by name, options as text, and a folder in which a later run continues."""

from __future__ import annotations

import dataclasses
import inspect
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from minimaxopt.errors import ArgumentError, DivergenceWarning, PluginError, ResumeError
from minimaxopt.game.data_source import source_of
from minimaxopt.loop.callbacks import Checkpoint, Evaluate, JSONLLog
from minimaxopt.loop.solve import solve
from minimaxopt.plugins.host import load_solver, plugin_host
from minimaxopt.plugins.options import Option, check_names, describe_options, describe_settings, from_text
from minimaxopt.plugins.problem import Problem, load_problem
from minimaxopt.results import storage
from minimaxopt.results.solution import Solution
from minimaxopt.solvers import SOLVERS

NOTE = "run.json"  # what a folder's run was asked to do
_EVALUATIONS = 10  # of the metrics in a solve
_CHECKPOINTS = 20  # checkpoints in a solve: a killed run loses a twentieth of it at most


@dataclass(frozen=True)
class Request:
    """Arguments of the command: texts as typed, ``None`` where the problem's own setting applies."""

    problem: str
    options: Mapping[str, str]
    solver: str | None
    solver_settings: Mapping[str, str]
    settings: Mapping[str, Any]
    """Keyword arguments of ``solve`` that the user gave; they win over the problem's."""
    out: Path | None
    resume: bool
    quiet: bool


@dataclass(frozen=True)
class Outcome:
    """A finished solve, and the rows of its summary."""

    solution: Solution
    rows: list[tuple[str, str]]


def launch(request: Request) -> Outcome:
    """Load the problem, solve it, and write the folder.

    Raises:
        ArgumentError: something cannot be used, ``out`` among it if it holds files and is not to be resumed.
        ResumeError: the folder holds another run, or files of no run.
    """
    _check_folder(request)
    _check_device(request.settings.get("device"))
    described = describe_options(plugin_host().find("problem", request.problem))
    options = _read(f"option of problem {request.problem!r}", request.options, described)
    problem = load_problem(request.problem, **options)
    effective = {option.name: repr(options.get(option.name, option.default)) for option in described}
    settings = {**problem.settings, **request.settings}
    accepted = inspect.signature(solve).parameters.keys() - {"game"}
    if unknown := sorted(settings.keys() - accepted):
        raise PluginError(
            f"problem {request.problem!r}: solve has no setting {unknown[0]!r}; use only {', '.join(sorted(accepted))}"
        )
    solver = _solver(request, settings.pop("solver", "sensitivity"))
    if "steps" not in settings:
        raise ArgumentError(f"steps: problem {request.problem!r} brings no step budget; give --steps")
    resume = _checkpoint(request, effective)
    callbacks = [*settings.pop("callbacks", ()), *_callbacks(request, problem, int(settings["steps"]))]
    if request.out is not None and resume is None:
        request.out.mkdir(parents=True, exist_ok=True)
        note = {"problem": request.problem, "options": effective, "given": dict(request.options)}
        storage.write_atomically(request.out / NOTE, json.dumps(note, indent=2).encode())
    settings.setdefault("progress", False if request.quiet else None)
    settings.setdefault("data", problem.data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)  # the status and the exit code say it
        solution = solve(problem.game, solver, callbacks=callbacks, resume=resume, **settings)
    if request.out is not None:
        solution.save(request.out)
    return Outcome(solution, _rows(request, problem, solver, solution))


def _check_folder(request: Request) -> None:
    """Refuse a folder that cannot be written to, before any work is done."""
    if request.out is None:
        if request.resume:
            raise ArgumentError("--resume: there is no folder to resume from; give --out")
        return
    if request.out.exists() and not request.out.is_dir():
        raise ArgumentError(f"--out: {request.out} is a file; give a folder")
    # A run that was refused before its first step leaves its note only.
    contents = sorted(path.name for path in request.out.glob("*") if path.name != NOTE)
    if contents and not request.resume:
        raise ArgumentError(
            f"--out: {request.out} is not empty ({contents[0]}); give --resume to go on from there, or another folder"
        )
    if contents and not (request.out / NOTE).exists():
        raise ResumeError(
            f"--resume: {request.out} holds {contents[0]} but no run of minimaxopt solve; give another folder"
        )


def _check_device(device: str | None) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without the device
        reason = str(error).splitlines()[0].rstrip(".")
        raise ArgumentError(
            f"--device: {device!r} cannot be used ({reason}); give cpu or a device of this machine"
        ) from error


def _checkpoint(request: Request, effective: Mapping[str, str]) -> Path | None:
    """Return the checkpoint to go on from, if there is one, after a check that it is of this problem."""
    if request.out is None or not request.resume:
        return None
    path = Checkpoint.latest(request.out / "checkpoint")
    if path is None:
        return None
    try:
        note = json.loads((request.out / NOTE).read_text(encoding="utf-8"))
        recorded = {"problem": note["problem"], **note["options"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ResumeError(f"--resume: {request.out / NOTE} cannot be read ({error}); give another folder") from error
    requested = {"problem": request.problem, **effective}
    for key in sorted(recorded.keys() | requested.keys()):
        if recorded.get(key) != requested.get(key):
            raise ResumeError(
                f"--resume: {request.out} holds a run with {key} = {recorded.get(key)}, not {requested.get(key)}; "
                "give the same, or another folder"
            )
    return path


def _callbacks(request: Request, problem: Problem, steps: int) -> list[Any]:
    callbacks: list[Any] = []
    if problem.metrics:
        callbacks.append(Evaluate(problem.metrics, every=max(1, steps // _EVALUATIONS)))
    if request.out is not None:
        callbacks.append(JSONLLog(request.out / "log.jsonl"))
        # A problem whose data cannot be brought back to a batch is solved all the same, without checkpoints.
        if source_of(problem.data, 0, None).exact:
            callbacks.append(Checkpoint(request.out / "checkpoint", every=max(1, steps // _CHECKPOINTS)))
    return callbacks


def _solver(request: Request, own: Any) -> Any:
    """Build the solver: the user's, else the problem's, with the settings that the user gave."""
    chosen = own if request.solver is None else request.solver
    if isinstance(chosen, str):
        build: Callable[..., Any] = SOLVERS[chosen] if chosen in SOLVERS else plugin_host().find("solver", chosen)
        settings = _read(f"setting of solver {chosen!r}", request.solver_settings, describe_settings(build))
        return load_solver(chosen, **settings)
    if not request.solver_settings:
        return chosen
    name = getattr(chosen, "name", type(chosen).__name__)
    settings = _read(f"setting of solver {name!r}", request.solver_settings, describe_settings(type(chosen)))
    return dataclasses.replace(chosen, **settings)


def _read(argument: str, texts: Mapping[str, str], options: Sequence[Option]) -> dict[str, Any]:
    check_names(argument, texts, options)
    by_name = {option.name: option for option in options}
    return {name: from_text(by_name[name], text) for name, text in texts.items()}


def _rows(request: Request, problem: Problem, solver: Any, solution: Solution) -> list[tuple[str, str]]:
    rows = [
        ("problem", request.problem),
        ("solver", repr(solver)),
        ("status", f"{solution.status}: {solution.message}"),
        ("steps", str(solution.steps)),
        ("seconds", f"{solution.seconds:.2f}"),
    ]
    for name in ("risk", *problem.metrics):
        if name in solution.history:
            column = solution.history[name]
            rows.append((name, f"{column[0]:.6g} first, {column[-1]:.6g} last"))
    return [*rows, ("written to", str(request.out))] if request.out is not None else rows
