"""``solve_many``: several games of one kind, each as ``solve`` would play it alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from minimaxopt.errors import ArgumentError
from minimaxopt.loop.resume import read_checkpoint
from minimaxopt.loop.solve import Run, solve
from minimaxopt.results.solution import Solution, Status


def solve_many(runs: Sequence[Run]) -> list[Solution]:
    """Solve several games one after another, each exactly as ``solve`` would solve it alone.

    Each solution equals that of its own ``solve`` to the bit, whatever the other runs are. On a CPU with several cores,
    processes of one thread each are faster; for many small games of one shape, so is one ``torch.func.vmap`` over all.

    Args:
        runs: the games with their arguments.

    Returns:
        The solutions, in the order of ``runs``. An interrupt (Ctrl-C) ends the game that is being played, in order; the
        solutions of those that had not begun stand where they would have, with the status ``INTERRUPTED``.

    Raises:
        ArgumentError: if there are no runs.
        Exception: what the first of the games that failed raised, after all others have been played. Its attribute
            ``solutions`` holds the solutions in the order of ``runs``: of a failed one that up to its last step, or
            ``None`` if it made none. Notes name the failed ones.

    Examples:
        >>> import torch
        >>> from minimaxopt import Game, Run, solve_many
        >>> game = Game(lambda u, v: u**2 / 2 + 2 * u * v - v**2 / 2, torch.tensor(1.0), torch.tensor(1.0))
        >>> first, second = solve_many([Run(game, "sensitivity", steps=5), Run(game, "alternating-gda", steps=5)])
        >>> first.status, f"{first.u.item():.3f} {second.u.item():.3f}"
        (<Status.STEPS_USED: 'step budget used'>, '0.995 0.995')
    """
    if not runs:
        raise ArgumentError("runs: there is none; give at least one Run")
    solutions: list[Solution | None] = []
    failures: list[tuple[int, Exception]] = []
    interrupted = False
    for i, run in enumerate(runs):
        solution: Solution | None = None
        try:
            if not interrupted:
                with suppress(KeyboardInterrupt):  # one that comes before the game begins ends it as well
                    solution = solve(**_arguments(run), progress=False)
                interrupted = solution is None or solution.status is Status.INTERRUPTED
            if solution is None:
                solution = _not_begun(run)
        except Exception as error:  # noqa: BLE001 - the others are to be played, and it is raised then
            solution = getattr(error, "solution", None)
            failures.append((i, error))
        solutions.append(solution)
    if failures:
        first = failures[0][1]
        for i, error in failures:
            first.add_note(f"Run {i} of {len(runs)} (from 0) failed: {type(error).__name__}: {error}")
        first.add_note("The solutions of all runs are this exception's attribute 'solutions'.")
        first.solutions = solutions  # type: ignore[attr-defined] - the attribute is ours
        raise first
    return [solution for solution in solutions if solution is not None]


def _arguments(run: Run) -> dict[str, Any]:
    return {field.name: getattr(run, field.name) for field in fields(run)}


def _not_begun(run: Run) -> Solution:
    """Return where a game stands that an interrupt kept from being played."""
    at = 0 if run.resume is None else read_checkpoint(Path(run.resume))["run"]["step"]
    # Nobody is told, since nothing happened: a callback would write down an end that was none.
    arguments: dict[str, Any] = {**_arguments(run), "steps": at, "callbacks": ()}
    solution = solve(**arguments, progress=False)
    return replace(solution, status=Status.INTERRUPTED, message=f"interrupted after step {at}.")
