from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import minimaxopt
from minimaxopt.cli.app import application
from minimaxopt.results.solution import Solution

PLUGIN = '''
    from functools import partial
    from typing import Annotated
    import torch
    from minimaxopt import Game, Problem, Sensitivity, hookimpl
    from minimaxopt.errors import DataError

    def saddle(
        pull: Annotated[float, "strength of the coupling"] = 2.0,
        dim: Annotated[int, "dimension of each player"] = 1,
    ) -> Problem:
        """The quadratic saddle.

        A second paragraph.
        """
        sgd = partial(torch.optim.SGD, lr=0.05)
        game = Game(lambda u, v: (u * u - v * v + pull * u * v).sum(), torch.ones(dim), torch.ones(dim))
        return Problem(
            game,
            metrics={"distance": lambda u, v: float(u.norm())},
            settings={"steps": 40, "solver": Sensitivity(gamma=0.5), "u_optimizer": sgd, "v_optimizer": sgd},
        )

    def bare() -> Problem:
        """Brings no settings."""
        return Problem(saddle().game)

    def runaway() -> Problem:
        """Its risk has no lower bound, and the leader runs."""
        game = Game(lambda u, v: (-u.square() * u.abs() - v * v).sum(), torch.ones(1), torch.ones(1))
        return Problem(game, settings={"steps": 100, "u_optimizer": partial(torch.optim.SGD, lr=1.0)})

    def absent() -> Problem:
        """Its data are not there."""
        raise DataError("data: are missing; fetch them")

    def wrong() -> Problem:
        """Brings a setting that solve does not have."""
        return Problem(saddle().game, settings={"steps": 3, "stepz": 4})

    def once() -> Problem:
        """Data that cannot be read again."""
        data = (torch.ones(1) for _ in range(9))
        return Problem(Game(lambda u, v, b: (u * u - v * v + b).sum(), torch.ones(1), torch.ones(1)), data=data,
                       settings={"steps": 5})

    def stopped() -> Problem:
        """The user interrupts it."""
        def interrupt(u, v):
            raise KeyboardInterrupt
        problem = saddle()
        return Problem(problem.game, metrics={"halt": interrupt}, settings=problem.settings)

    @hookimpl
    def register_problems(register):
        for build in (saddle, bare, runaway, absent, wrong, once, stopped):
            register(build.__name__, build)

    @hookimpl
    def register_commands(cli):
        import typer
        app = typer.Typer(help="Greetings.")

        @app.command()
        def hello(name: str = "you"):
            """Say hello."""
            typer.echo(f"hello {name}")

        @app.command()
        def fail():
            """Fail."""
            raise DataError("data: are [bold]missing[/bold]; fetch them")

        cli.add_typer(app, name="greet")
'''

COMMANDS = '''
    from minimaxopt import hookimpl

    def build():
        """Nothing."""

    def unreadable(x: "Missing"):
        """A command that typer cannot read."""

    @hookimpl
    def register_problems(register):
        register("lost", build)

    @hookimpl
    def register_commands(cli):
        {body}
'''


@pytest.fixture
def run(site):
    site.install("games", PLUGIN)

    def invoke(*arguments: str, code: int = 0) -> str:
        """Run a command and return what it printed; a refusal stands on stderr, without a traceback."""
        result = CliRunner().invoke(application(), [*map(str, arguments)])
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        if code == 2:
            assert result.stdout == ""
            return result.stderr
        return result.stdout

    return invoke


def refusal(text: str) -> str:
    """The one line of a refusal."""
    assert text.startswith("Error: ")
    assert text.count("\n") == 1
    return text.removeprefix("Error: ").strip()


# -- listing -----------------------------------------------------------------------------------------------------------


def test_plugins_are_listed_with_what_they_bring_and_why_they_failed(run, site):
    site.install("broken-with-a-very-long-distribution-name", "import no_such_module", name="broken")
    lines = run("plugins").splitlines()
    good = next(line for line in lines if line.startswith("games "))
    assert good.split()[1:5] == ["games", "1.0", "loaded", "problems:"]
    assert any("commands: greet" in line for line in lines)
    bad = next(line for line in lines if line.startswith("broken "))
    assert bad.split()[1:4] == ["broken-with-a-very-long-distribution-name", "1.0", "failed"]
    assert "no_such_module" in "".join(lines)


def test_problems_are_listed_with_their_line(run, site):
    out = run("problems")
    assert "The quadratic saddle." in out
    assert "second paragraph" not in out
    assert "Not loaded" not in out
    site.install("broken", "import no_such_module")
    assert "Not loaded: broken" in run("problems")


def test_a_problem_is_shown_with_options_and_settings(run):
    out = run("problems", "show", "saddle")
    assert "A second paragraph." in out
    assert ["pull", "float", "2.0", "strength", "of", "the", "coupling"] in [line.split() for line in out.splitlines()]
    assert ["u_optimizer", "SGD(lr=0.05)"] in [line.split() for line in out.splitlines()]
    assert "It has no options." in run("problems", "show", "bare")
    assert "settings for the solve cannot be shown: data: are missing" in run("problems", "show", "absent")


def test_an_unknown_problem_is_refused_with_a_guess(run):
    assert "problem: there is no 'sadle'; did you mean 'saddle'?" in refusal(run("problems", "show", "sadle", code=2))


def test_solvers_are_listed_and_shown(run):
    assert {line.split()[0] for line in run("solvers").splitlines()} >= set(minimaxopt.solvers.SOLVERS)
    out = run("solvers", "show", "sensitivity")
    assert "grad_v f" in out
    assert "Example:" not in out
    assert any(line.split()[:1] == ["gamma"] and "'sigma'" in line for line in out.splitlines())
    assert "did you mean 'sensitivity'" in refusal(run("solvers", "show", "sensitivty", code=2))


def test_names_are_whole_on_a_narrow_terminal(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert "simultaneous-gda" in run("solvers")


def test_the_version_is_printed(run):
    assert run("--version").strip() == f"minimaxopt {minimaxopt.__version__}"


# -- commands of plugins -----------------------------------------------------------------------------------------------


def test_a_plugin_adds_commands_whose_errors_are_printed_like_ours(run):
    assert run("greet", "hello", "--name", "Ada") == "hello Ada\n"
    assert refusal(run("greet", "fail", code=2)) == "data: are [bold]missing[/bold]; fetch them"
    assert "greet" in run("--help")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise OSError('disk')", "register_commands failed: OSError: disk"),
        ("cli.command('solve')(lambda: None)", "command 'solve' is built in"),
        ("cli.command('greet')(lambda: None)", "claimed by plugin 'games' (games 1.0) and plugin 'odd'"),
        ("cli.command('odd')(build); cli.callback()(build)", "replaced the application's callback"),
        ("cli.command('odd')(unreadable)", "register_commands failed: NameError: name 'Missing' is not defined"),
    ],
)
def test_a_plugin_whose_commands_fail_is_dropped_whole(run, site, body, reason):
    site.install("odd", COMMANDS.format(body=body))
    assert reason in " ".join(run("plugins").split())
    assert " odd " not in run("--help")
    assert "'lost' is not available: plugin 'odd'" in refusal(run("problems", "show", "lost", code=2))
    assert ("saddle" in run("problems")) == ("claimed" not in reason)  # a clash refuses both


# -- solving -----------------------------------------------------------------------------------------------------------


def test_solve_uses_the_problems_settings_and_prints_the_outcome(run):
    lines = {line.split()[0]: line for line in run("solve", "saddle").splitlines()}
    assert "Sensitivity(gamma=0.5," in lines["solver"]
    assert "step budget used" in lines["status"]
    assert lines["steps"].split() == ["steps", "40"]
    assert lines["risk"].split()[:3] == ["risk", "2", "first,"]
    assert lines["distance"].split()[2::2] == ["first,", "last"]
    assert float(lines["seconds"].split()[1]) > 0


def test_the_users_own_settings_win(run):
    out = run(
        *("solve", "saddle", "--steps", "7", "--seed", "3", "--order", "maximin", "--device", "cpu"),
        *("--set", "pull=1.0", "--set", "solver.gamma=2", "--set", "solver.alternate=true"),
    )
    assert "Sensitivity(gamma=2.0, per_sample=False, alternate=True" in out
    assert "made all 7 steps" in out
    out = run("solve", "saddle", "--solver", "alternating-gda", "--set", "solver.first=v", "--set", "pull=1.0")
    assert "AlternatingGDA(first='v', ascent_steps=1)" in out


def test_the_solution_is_the_library_callers_own(run, tmp_path):
    run("solve", "saddle", "--set", "dim=2", "--set", "pull=1", "--out", tmp_path / "out")
    problem = minimaxopt.load_problem("saddle", dim=2, pull=1)
    expected = minimaxopt.solve(problem.game, progress=False, **problem.settings)
    assert torch.equal(Solution.load(tmp_path / "out", problem.game).u, expected.u)
    rows = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(40))
    assert rows[-1]["risk"] == expected.history["risk"][-1]
    assert "distance" in rows[-1]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("sadle",), "did you mean 'saddle'"),
        (("saddle", "--solver", "sensitivty"), "solver: there is no 'sensitivty'; did you mean 'sensitivity'"),
        (("saddle", "--set", "pul=1"), "option of problem 'saddle': there is no 'pul'; did you mean 'pull'"),
        (("saddle", "--set", "pull=strong"), "pull: 'strong' does not fit"),
        (("saddle", "--set", "pull"), "--set: 'pull' is not KEY=VALUE; write"),
        (
            ("saddle", "--set", "solver.gama=1"),
            "setting of solver 'sensitivity': there is no 'gama'; did you mean 'gamma'",
        ),
        (("saddle", "--set", "solver.gamma=-1"), "gamma: is -1.0"),
        (("saddle", "--set", "solver.split=maybe"), "split: 'maybe' does not fit"),
        (("bare",), "steps: problem 'bare' brings no step budget; give --steps"),
        (("absent",), "data: are missing; fetch them"),
        (("wrong",), "problem 'wrong': solve has no setting 'stepz'; use only"),
        (("saddle", "--device", "nowhere"), "--device: 'nowhere' cannot be used ("),
        (("saddle", "--resume"), "--resume: there is no folder to resume from; give --out"),
    ],
)
def test_what_cannot_be_solved_is_refused_in_one_line(run, arguments, reason):
    assert reason in refusal(run("solve", *arguments, code=2))


def test_a_usage_error_has_the_same_exit_code(run):
    assert "--steps" in run("solve", "saddle", "--steps", "0", code=2)


def test_quiet_prints_nothing(run, tmp_path):
    assert run("solve", "saddle", "--quiet", "--out", tmp_path / "out") == ""
    assert (tmp_path / "out" / "solution.json").exists()


def test_a_diverged_solve_has_its_own_exit_code_and_keeps_the_last_point(run, tmp_path):
    assert "diverged" in run("solve", "runaway", "--solver", "simultaneous-gda", "--out", tmp_path / "out", code=3)
    kept = Solution.load(tmp_path / "out", minimaxopt.load_problem("runaway").game)
    assert kept.status == "diverged"
    assert torch.isfinite(kept.u).all()


def test_an_interrupted_solve_has_its_own_exit_code(run, tmp_path):
    assert "interrupted" in run("solve", "stopped", "--out", tmp_path / "out", code=130)
    assert (tmp_path / "out" / "solution.json").exists()


# -- the folder --------------------------------------------------------------------------------------------------------


def test_a_folder_in_use_is_refused_and_resumed_on_request(run, tmp_path):
    out = tmp_path / "out"
    run("solve", "saddle", "--steps", "30", "--out", out)
    assert "is not empty" in (line := refusal(run("solve", "saddle", "--steps", "60", "--out", out, code=2)))
    assert "give --resume to go on from there, or another folder" in line
    assert "made all 60 steps" in run("solve", "saddle", "--steps", "60", "--out", out, "--resume")
    game = minimaxopt.load_problem("saddle").game
    run("solve", "saddle", "--steps", "60", "--out", tmp_path / "whole")
    resumed, whole = (Solution.load(folder, game) for folder in (out, tmp_path / "whole"))
    assert torch.equal(resumed.u, whole.u)
    assert list(resumed.history["risk"]) == list(whole.history["risk"])


def test_resuming_another_problem_is_refused(run, tmp_path):
    out = tmp_path / "out"
    run("solve", "saddle", "--out", out)
    line = refusal(run("solve", "saddle", "--set", "pull=3", "--out", out, "--resume", code=2))
    assert "holds a run with pull = 2.0, not 3.0; give the same, or another folder" in line
    assert "made all 40" in run("solve", "saddle", "--set", "pull=2.0", "--out", out, "--resume")
    assert "checkpoint was made with seed 0" in refusal(
        run("solve", "saddle", "--seed", "1", "--out", out, "--resume", code=2)
    )


def test_a_folder_of_something_else_is_refused(run, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert "holds thesis.tex but no run" in refusal(run("solve", "saddle", "--out", tmp_path, "--resume", code=2))
    assert "is a file; give a folder" in refusal(
        run("solve", "saddle", "--out", tmp_path / "thesis.tex", "--resume", code=2)
    )
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_resume_begins_where_nothing_has_begun(run, tmp_path):
    out = tmp_path / "out"
    assert "made all 40" in run("solve", "saddle", "--out", out, "--resume")
    shutil.rmtree(out / "checkpoint")  # as if it had been killed before its first checkpoint
    assert "made all 40" in run("solve", "saddle", "--out", out, "--resume")


def test_a_refused_solve_leaves_the_folder_free(run, tmp_path):
    out = tmp_path / "out"
    assert "split: " in refusal(run("solve", "saddle", "--set", "solver.split=true", "--out", out, code=2))
    assert [path.name for path in out.iterdir()] == ["run.json"]
    assert "made all 40" in run("solve", "saddle", "--out", out)


def test_data_that_cannot_be_repeated_are_solved_without_checkpoints(run, tmp_path):
    assert "made all 5" in run("solve", "once", "--out", tmp_path / "out")
    assert not (tmp_path / "out" / "checkpoint").exists()


# -- as a process ------------------------------------------------------------------------------------------------------


def test_the_module_and_the_script_run(site):
    site.install("games", PLUGIN)
    environment = {"PATH": "", "PYTHONPATH": str(site.root / "games"), "MINIMAXOPT_LOAD_PLUGINS": "games"}
    script = Path(sys.executable).with_name("minimaxopt")
    starts = [[sys.executable, "-m", "minimaxopt.cli.app"], *([[str(script)]] if script.exists() else [])]
    for start in starts:
        done = subprocess.run([*start, "problems"], capture_output=True, text=True, env=environment, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert "saddle" in done.stdout
    done = subprocess.run([*start, "solve", "sadle"], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert "did you mean 'saddle'" in refusal(done.stderr)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_console_without_a_character_shows_another_one(tmp_path, encoding):
    code = (
        "import typer, minimaxopt.cli.app as app\n"
        "cli = typer.Typer()\n"
        "@cli.command()\n"
        "def show():\n"
        "    from rich.console import Console\n"
        "    Console().print('a ± b, η')\n"
        "    typer.echo('ρ', err=True)\n"
        "app.application = lambda: cli\n"
        "app.main()\n"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True)
    expected = {"ascii": "a ? b, ?", "cp1252": "a ± b, ?", "utf-8": "a ± b, η"}[encoding]
    assert done.stdout.decode(encoding).strip() == expected
