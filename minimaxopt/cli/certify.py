"""``minimaxopt certify``: the certificate of a solution that ``minimaxopt solve --out`` wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minimaxopt.certificates.certify import certify
from minimaxopt.cli.solve import NOTE
from minimaxopt.errors import ArgumentError, ResumeError
from minimaxopt.plugins.problem import Problem, load_problem
from minimaxopt.results import storage
from minimaxopt.results.certificate import Certificate
from minimaxopt.results.solution import Solution

_FILE = "certificate.json"


def certify_run(folder: Path, settings: Mapping[str, Any]) -> tuple[Certificate, Path]:
    """Certify the solution in ``folder`` and store the certificate with it; return it and the path of its file.

    Raises:
        ArgumentError: a setting of ``certify`` cannot be used.
        ResumeError: the folder holds no finished run of ``minimaxopt solve``.
    """
    problem = _problem(folder)
    solution = Solution.load(folder, problem.game)
    game, point, followers = problem.game, (solution.u, solution.v), dict(problem.followers)
    optimizers = {key: problem.settings.get(key) for key in ("u_optimizer", "v_optimizer")}
    if solution.manifest.get("order") == "maximin":
        # The problem's follower led, so the leader's answer to it is certified.
        game, point, followers = game.flip(), (solution.v, solution.u), {}
        optimizers = {"u_optimizer": optimizers["v_optimizer"], "v_optimizer": optimizers["u_optimizer"]}
    data = problem.data if problem.held_out is None else problem.held_out
    certificate = certify(game, point, data, fit_data=problem.data, followers=followers, **optimizers, **settings)
    solution.save(folder, certificate=certificate)
    path = folder / _FILE
    storage.write_atomically(path, json.dumps(certificate.to_dict(), indent=2, allow_nan=False).encode())
    return certificate, path


def _problem(folder: Path) -> Problem:
    note = folder / NOTE
    if not note.exists() or not (folder / "solution.json").exists():
        raise ResumeError(
            f"RUN: {folder} holds no finished run; give a folder that 'minimaxopt solve --out' wrote to its end"
        )
    try:
        request = json.loads(note.read_text(encoding="utf-8"))
        name, options = request["problem"], request["given"]
    except (ValueError, KeyError, TypeError) as error:
        raise ResumeError(f"RUN: {note} cannot be read ({error}); solve the problem anew") from error
    problem = load_problem(name, **options)
    if problem.game.u is None or problem.game.v is None:
        raise ArgumentError(
            f"RUN: problem {name!r} has only one player, and a certificate needs two; certify a run of a game"
        )
    return problem
