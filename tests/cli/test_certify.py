"""``minimaxopt certify RUN``: the certificate of a saved solution."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from minimaxopt import Certificate, Solution, load_problem
from minimaxopt.cli.app import application

PLUGIN = '''
    from functools import partial
    from typing import Annotated
    import torch
    from minimaxopt import Batches, Descent, Game, Problem, Sensitivity, hookimpl

    sgd = partial(torch.optim.SGD, lr=0.05)
    moves = {"steps": 300, "u_optimizer": sgd, "v_optimizer": sgd}

    def start():
        return torch.tensor(1.0, dtype=torch.float64)

    def saddle(bend: Annotated[float, "the leader's own curvature"] = -6.0) -> Problem:
        """A minimax point that is no Nash point, or is one."""
        game = Game(lambda u, v: bend * u**2 / 2 - v**2 + 4 * u * v, start(), start())
        return Problem(game, settings={"solver": Sensitivity(gamma=0.5), **moves})

    def noisy() -> Problem:
        """Data to train on, others to judge on, and a follower with a name."""
        game = Game(lambda u, v, x: (u**2 - v**2 + u * v + x).mean(), start(), start())
        train, test = (torch.full((4,), value, dtype=torch.float64) for value in (0.0, 5.0))
        return Problem(game, Batches(train, 2), settings=moves, held_out=[test, test + 2],
                       followers={"still": torch.zeros((), dtype=torch.float64)})

    def alone() -> Problem:
        """One player."""
        return Problem(Game(lambda u, v: u**2, start(), None), settings={"solver": Descent(), "steps": 3})

    @hookimpl
    def register_problems(register):
        for build in (saddle, noisy, alone):
            register(build.__name__, build)
'''


@pytest.fixture
def run(site: Any, tmp_path: Path) -> Any:
    site.install("games", PLUGIN)

    def invoke(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(application(), [str(a) for a in arguments])
        assert result.exit_code == code, result.output
        return result.output

    return invoke


def test_a_saved_run_is_certified_and_keeps_its_certificate(run: Any, tmp_path: Path) -> None:
    run("solve", "saddle", "--out", tmp_path / "run", "--quiet")
    printed = run("certify", tmp_path / "run", "--restarts", "1", "--steps", "20")
    assert "strict local minimax" in printed
    assert "unbounded below" in printed
    assert "certificate.json" in printed
    solution = Solution.load(tmp_path / "run", load_problem("saddle").game)
    assert solution.certificate is not None
    assert solution.certificate.kind == "strict local minimax"
    content = json.loads((tmp_path / "run" / "certificate.json").read_text())
    assert Certificate.from_dict(content) == solution.certificate


def test_the_problems_options_are_those_of_the_run(run: Any, tmp_path: Path) -> None:
    run("solve", "saddle", "--set", "bend=3", "--out", tmp_path / "run", "--quiet")
    content = json.loads(run("certify", tmp_path / "run", "--restarts", "0", "--json"))
    assert content["kind"] == "local Nash"
    assert content["eigenvalues"]["u"]["value"] == pytest.approx(3.0)


def test_it_scores_on_held_out_data_and_asks_named_followers(run: Any, tmp_path: Path) -> None:
    run("solve", "noisy", "--out", tmp_path / "run", "--quiet")
    content = json.loads(run("certify", tmp_path / "run", "--restarts", "0", "--json"))
    assert content["risk"]["value"] == pytest.approx(6.0, abs=1e-3)
    assert content["risk"]["error"] == pytest.approx(1.0, abs=1e-3)
    assert content["followers"]["still"]["value"] == pytest.approx(6.0, abs=1e-3)


def test_a_maximin_run_is_certified_as_the_flipped_game(run: Any, tmp_path: Path) -> None:
    """3u^2/2 - v^2 + 4uv is convex-concave: its origin is Nash whoever leads."""
    run("solve", "saddle", "--set", "bend=3", "--order", "maximin", "--out", tmp_path / "nash", "--quiet")
    content = json.loads(run("certify", tmp_path / "nash", "--restarts", "0", "--json"))
    assert content["kind"] == "local Nash"
    assert content["eigenvalues"]["u"]["value"] == pytest.approx(2.0)  # of -f in v, who leads


def test_settings_reach_certify(run: Any, tmp_path: Path) -> None:
    run("solve", "saddle", "--out", tmp_path / "run", "--quiet")
    options = ["--restarts", "2", "--steps", "7", "--tolerance", "0.5", "--seed", "3", "--device", "cpu", "--json"]
    settings = json.loads(run("certify", tmp_path / "run", *options))["settings"]
    assert {name: settings[name] for name in ("restarts", "steps", "tolerance", "seed")} == {
        "restarts": 2,
        "steps": 7,
        "tolerance": 0.5,
        "seed": 3,
    }


def test_what_cannot_be_certified_is_refused_in_a_line(run: Any, tmp_path: Path) -> None:
    assert "holds no finished run" in run("certify", tmp_path / "nothing", code=2)
    run("solve", "alone", "--out", tmp_path / "alone", "--quiet")
    assert "has only one player" in run("certify", tmp_path / "alone", code=2)
    run("solve", "saddle", "--out", tmp_path / "run", "--quiet")
    assert "tolerance: -1.0 is not a positive number" in run("certify", tmp_path / "run", "--tolerance", "-1", code=2)
    (tmp_path / "run" / "run.json").write_text("{}")
    assert "cannot be read" in run("certify", tmp_path / "run", code=2)
