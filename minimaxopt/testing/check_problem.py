"""``check_problem``: a conformance suite for problems."""

from __future__ import annotations

import inspect
import math
import warnings
from typing import Any, NoReturn

import torch

from minimaxopt._types import Player, Point
from minimaxopt.calculus.gradients import operator
from minimaxopt.calculus.vectors import finite
from minimaxopt.errors import DivergenceWarning
from minimaxopt.game.trees import leaves_with_names
from minimaxopt.loop.callbacks import Evaluate
from minimaxopt.loop.solve import solve
from minimaxopt.plugins.problem import Problem
from minimaxopt.solvers.context import Context
from minimaxopt.testing.check_solver import contents_of, result_of

_OWN = ("steps", "callbacks", "progress", "resume")


def check_problem(problem: Any) -> None:
    """Check that a problem meets the requirements of ``solve`` and of the command line.

    The risk and the gradients of whoever can move have to be finite on the first batch; metrics have to return
    numbers; settings have to be arguments of ``solve``; one step has to be made with them, twice alike, and the given
    players have to stay as they are.

    Args:
        problem: the problem, or the function that builds it without arguments.

    Raises:
        AssertionError: with a sentence that says what failed.

    Examples:
        >>> import torch
        >>> from minimaxopt import Game, Problem
        >>> from minimaxopt.testing import check_problem
        >>> game = Game(lambda u, v: (u * v).sum(), torch.ones(2), torch.ones(2))
        >>> check_problem(Problem(game, metrics={"size": lambda u, v: float(u.norm())}, settings={"steps": 10}))
        >>> check_problem(Problem(game, settings={"stepz": 10}))
        Traceback (most recent call last):
            ...
        AssertionError: problem: the setting 'stepz' is not an argument of solve; ...

    Source: minimaxopt's own problems pass the same suite.
    """
    made = problem if isinstance(problem, Problem) else _built(problem)
    before = contents_of(made.game)
    _check_settings(made)
    _check_evaluation(made)
    _check_metrics(made)
    _check_step(made)
    if contents_of(made.game) != before:
        _fail("the risk, a metric or a setting changed the players that the problem holds; work on what is passed in")


def _built(build: Any) -> Problem:
    if not callable(build):
        _fail(f"{type(build).__name__} is not a Problem; give Problem(game, ...) or a function that builds one")
    try:
        made: Any = build()
    except Exception as error:  # noqa: BLE001 - whatever a stranger's code raises becomes a sentence
        _fail(f"could not be built without arguments: {type(error).__name__}: {error}", error)
    if not isinstance(made, Problem):
        _fail(f"its factory returned {type(made).__name__}; return a Problem")
    return made


def _check_settings(problem: Problem) -> None:
    known = set(inspect.signature(solve).parameters) - {"game", "data"}
    for name in problem.settings:
        if name not in known:
            _fail(f"the setting {name!r} is not an argument of solve; give some of {', '.join(sorted(known))}")


def _check_evaluation(problem: Problem) -> None:
    players: tuple[Player, ...] = ("u", "v")
    try:
        ctx = Context(problem.game, players=(), data=problem.data)
        ctx.batch = ctx.source.take()
        if ctx.responding:
            answer, risk = ctx.respond()
            gradients = operator(risk, Point(ctx.point.u, answer), ("u",))
        elif not ctx.game.zero_sum:
            gradients = ctx.risk_gradients()._replace(v=ctx.gradients(players=("v",)).v)
        else:
            moving: tuple[Player, ...] = tuple(p for p in players if ctx.played.parameters[p])
            gradients = ctx.gradients(players=moving)
    except Exception as error:  # noqa: BLE001 - as above
        _fail(f"its game cannot be evaluated on the first batch: {type(error).__name__}: {error}", error)
    if not math.isfinite(float(gradients.risk)):
        _fail(f"its risk is {float(gradients.risk)} at the start; begin where it is finite")
    for player, tensors in (("u", gradients.u), ("v", gradients.v)):
        if not bool(finite(tensors.values())):
            _fail(
                f"the gradient of {player} is not finite at the start; begin elsewhere, or guard roots and logarithms"
            )


def _check_metrics(problem: Problem) -> None:
    ctx = Context(problem.game, players=())
    u, v = ctx.played.players(ctx.module_state)
    for _, leaf in [*leaves_with_names(u), *leaves_with_names(v)]:
        if isinstance(leaf, torch.nn.Module):
            leaf.eval()
    for name, metric in problem.metrics.items():
        try:
            with torch.no_grad():
                value: Any = metric(u, v)
        except Exception as error:  # noqa: BLE001 - as above
            _fail(f"the metric {name!r} failed at the start: {type(error).__name__}: {error}", error)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            _fail(f"the metric {name!r} returned {type(value).__name__}; return a float")
    try:
        Evaluate(problem.metrics)
    except ValueError as error:
        _fail(f"its metrics cannot be recorded: {error}", error)


def _check_step(problem: Problem) -> None:
    settings: dict[str, Any] = {name: value for name, value in problem.settings.items() if name not in _OWN}
    settings |= {"steps": 1, "progress": False}
    results: list[Any] = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore", DivergenceWarning)
            torch.manual_seed(seed)
            try:
                solution = solve(problem.game, data=problem.data, **settings)
            except Exception as error:  # noqa: BLE001 - as above
                _fail(f"one step with its settings failed: {type(error).__name__}: {error}", error)
        if not solution.ok:
            _fail(f"one step with its settings ended as {solution.status}: {solution.message}")
        results.append(result_of(solution))
    if results[0] != results[1]:
        _fail(
            "two first steps under one seed differ; draw random numbers inside the risk from the global generators of "
            "torch, random or numpy.random"
        )


def _fail(sentence: str, cause: BaseException | None = None) -> NoReturn:
    raise AssertionError(f"problem: {sentence}") from cause
