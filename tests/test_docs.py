"""The documentation runs, and leaves nothing public out."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import re
import runpy
import subprocess
import sys
import tomllib
import typing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer.main

import minimaxopt
from minimaxopt import calculus
from minimaxopt.cli import app as cli
from minimaxopt.plugins import hookspecs

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "plugins").glob("*/README.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    return [code for kind, code in BLOCK.findall(page.read_text()) if kind == language]


def undocumented(names: list[str], text: str) -> list[str]:
    return [name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)]


@pytest.mark.parametrize(
    "page", [p for p in PAGES if blocks(p, "python")], ids=lambda page: f"{page.parent.name}-{page.name}"
)
def test_code_of_a_page_runs_from_top_to_bottom(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    script = tmp_path / f"{page.stem.replace('-', '_')}.py"
    script.write_text("\n".join(blocks(page, "python")))
    runpy.run_path(str(script))


def test_the_readmes_example_has_ten_lines_and_shows_what_it_says(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (code,) = blocks(ROOT / "README.md", "python")
    assert len([line for line in code.splitlines() if line]) <= 10
    exec(compile(code, "README.md", "exec"), {})
    away, home = capsys.readouterr().out.splitlines()
    far, near = (abs(float(re.search(r"u = (\S+),", line)[1])) for line in (away, home))  # type: ignore[index]
    assert far > 1e3
    assert near < 1e-3


def outline(printed: str) -> list[str]:
    """The lines of an output without their numbers, which differ from machine to machine in the last place."""
    return [re.sub(r"-?\d[\d.]*(e[+-]?\d+)?", "#", line).rstrip() for line in printed.splitlines()]


def test_the_certificate_shown_is_the_one_printed(capsys: pytest.CaptureFixture[str]) -> None:
    page = ROOT / "docs" / "certificates.md"
    exec(compile(blocks(page, "python")[0], "certificates.md", "exec"), {})
    printed, shown = outline(capsys.readouterr().out), outline(blocks(page, "text")[0])
    left_out = shown.index("                  ...")
    follower = "                  fresh follower #: #"
    assert printed == [*shown[:left_out], *[follower] * 4, *shown[left_out + 1 :]]
    assert outline("risk 0.1") != outline("value 0.1")


def test_public_names_are_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    names = [f"minimaxopt.{name}" for name in minimaxopt.__all__ if name != "__version__"]
    names += [f"minimaxopt.calculus.{name}" for name in calculus.__all__]
    assert undocumented(names, text) == []
    assert undocumented(["minimaxopt.Certificat"], text) == ["minimaxopt.Certificat"]


def test_hooks_are_on_the_plugin_authors_page() -> None:
    hooks = [name for name, hook in vars(hookspecs).items() if hasattr(hook, "minimaxopt_spec")]
    assert len(hooks) == 4
    assert undocumented(hooks, (ROOT / "docs" / "plugins.md").read_text()) == []


def commands(command: Any, path: str = "minimaxopt") -> dict[str, Any]:
    """Return every command by its full name."""
    found = {path: command}
    for name, child in getattr(command, "commands", {}).items():
        found |= commands(child, f"{path} {name}")
    return found


def test_commands_and_options_are_documented() -> None:
    core = (ROOT / "docs" / "command-line.md").read_text()
    study = core + (ROOT / "plugins" / "study" / "README.md").read_text()
    found = commands(typer.main.get_command(cli.application()))
    assert {"minimaxopt plugins", "minimaxopt problems show", "minimaxopt solve"} <= set(found)
    for name, command in found.items():
        text = study if name.startswith("minimaxopt study") else core
        named = [
            o for p in command.params for o in (*p.opts, *p.secondary_opts) if o.startswith("--") and o != "--help"
        ]
        assert undocumented([name, *named], text) == [], name
    assert undocumented(["minimaxopt solve", "--stepz"], core) == ["--stepz"]


def test_make_targets_that_the_readme_names_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make (\w+)", (ROOT / "README.md").read_text())) == {"demo", "test"} <= targets


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", BLOCK.sub("", page.read_text())):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def refused(line: str, names: tuple[str, ...] = ()) -> str:
    """Return what is wrong with a command line of minimaxopt: the first word or option that does not exist."""
    command: Any = typer.main.get_command(cli.application())
    words = line.partition("#")[0].split()[1:]
    while words and hasattr(command, "commands"):
        word = words.pop(0)
        if word in names:
            return ""
        if word.startswith("--") or word not in command.commands:
            return word
        command = command.commands[word]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return next((word for word in words if word.startswith("--") and word.partition("=")[0] not in known), "")


def shell_lines(page: Path) -> list[str]:
    lines = [line for code in (*blocks(page, "sh"), *blocks(page, "text")) for line in code.splitlines()]
    return [line for line in lines if line.startswith("minimaxopt ")]


def test_shell_lines_name_commands_and_options_that_exist() -> None:
    lines = [(page, line) for page in PAGES for line in shell_lines(page)]
    assert len(lines) > 5
    # The plugin author's page grows a command of its own, tried below.
    assert {line: word for _, line in lines if (word := refused(line, ("saddle-factor",)))} == {}


@pytest.mark.parametrize("wrong", ["solv", "--stepz"])
def test_a_shell_line_that_does_not_exist_is_found(wrong: str) -> None:
    assert refused(f"minimaxopt {wrong}" if wrong == "solv" else f"minimaxopt solve saddle {wrong} 3") == wrong


def lay_out(folder: Path, module: str, source: str, entry: str) -> None:
    """Write a distribution of one module as an installer would."""
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[minimaxopt]\n{entry}\n")


def minimaxopt_in(folder: Path, line: str) -> str:
    """Run a command line in a new interpreter that also sees the distributions in ``folder``."""
    run = "import sys; sys.path.insert(0, sys.argv.pop(1)); from minimaxopt.cli.app import main; main()"
    command = [sys.executable, "-c", run, str(folder), *line.split()[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_plugin_page_grows_a_plugin_that_is_found(tmp_path: Path) -> None:
    """The page's two files; every line of its shell blocks is run, beside a broken plugin that must do no harm."""
    page = ROOT / "docs" / "plugins.md"
    settings = tomllib.loads(blocks(page, "toml")[0])
    ((name, module),) = settings["project"]["entry-points"]["minimaxopt"].items()
    lay_out(tmp_path, module, "\n".join(blocks(page, "python")), f"{name} = {module}")
    lay_out(tmp_path, "minimaxopt_broken", "raise RuntimeError('out of order')\n", "broken = minimaxopt_broken")
    told = {line: minimaxopt_in(tmp_path, line) for line in shell_lines(page)}
    listed = told["minimaxopt plugins"]
    for expected in ("saddle", "saddle-optimistic", "saddle-factor", "out of order"):
        assert expected in listed
    assert "strength of the coupling" in told["minimaxopt problems show saddle"]
    (optimistic,) = (text for line, text in told.items() if "--set solver.weight" in line)
    assert "Optimistic(weight=0.5)" in optimistic
    (factor,) = (text for line, text in told.items() if "saddle-factor" in line)
    assert float(factor) == pytest.approx(0.8944, abs=1e-4)


def test_each_file_of_the_first_plugin_is_about_twenty_lines() -> None:
    page = ROOT / "docs" / "plugins.md"
    for code in (blocks(page, "toml")[0], blocks(page, "python")[0]):
        assert len(code.splitlines()) <= 20


# -- docstrings of the plugins -------------------------------------------------------------------------------------------

PLUGINS = {name: importlib.import_module(f"minimaxopt_{name}") for name in ("adversarial", "bench", "privacy", "study")}
PUBLIC = [(plugin, name) for plugin, module in PLUGINS.items() for name in getattr(module, "__all__", ())]
# Records of what was computed, and functions that check nothing.
RAISE_NOTHING = {
    *("Cifar10", "Curve", "Dataset", "EtaSweep", "Evaluation", "MaskingFlag", "PrivacyData", "Reading"),
    *("RobustnessEvaluation", "Round", "Score", "autoattack_available", "feasible_box", "fingerprint"),
}


def section(document: str, title: str) -> str:
    """Return the indented lines below the title of a section."""
    return "".join(re.findall(rf"^{title}:\n((?:[ ]+.*\n|\n)+)", document + "\n", re.MULTILINE))


def described(value: Any, document: str) -> set[str]:
    """Return the parameters that a docstring describes; a problem's options have their descriptions in annotations."""
    arguments = section(document, "Args")
    if arguments or not inspect.isfunction(value):
        return set(re.findall(r"^    (\w+): ", arguments, re.MULTILINE))
    hints = typing.get_type_hints(value, include_extras=True)
    return {name for name, hint in hints.items() if isinstance(getattr(hint, "__metadata__", [None])[0], str)}


def docstring_lacks(value: Any, *, raises: bool = True) -> list[str]:
    """Return the parts that the docstring of a public class or function lacks."""
    document = inspect.getdoc(value) or ""
    source = document.rpartition("\nSource: ")[2] if "\nSource: " in document else ""
    parts = {
        "first sentence": re.match(r"[A-Z][^\n]*[.:](\n|$)", document),
        "Raises": bool(section(document, "Raises")) == raises,
        "Examples": ">>> " in section(document, "Examples"),
        "Source": re.search(r"\b(1[89]|20)\d\d\b|this library", source),
    }
    arguments = [name for name in inspect.signature(value).parameters if name not in described(value, document)]
    return [part for part, present in parts.items() if not present] + arguments


def documented_assignments(folder: Path) -> set[str]:
    """Return the constants and type aliases of a package that a string describes on the next line."""
    names: set[str] = set()
    for path in folder.rglob("*.py"):
        for statement, following in pairwise(ast.parse(path.read_text()).body):
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                targets = getattr(statement, "targets", [getattr(statement, "target", None)])
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize(("plugin", "name"), PUBLIC)
def test_public_names_of_plugins_are_documented(plugin: str, name: str) -> None:
    value = getattr(PLUGINS[plugin], name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert docstring_lacks(value, raises=name not in RAISE_NOTHING) == []
    else:
        assert name in documented_assignments(ROOT / "plugins" / plugin / "src")


DOCUMENT = """Return x.

Args:
    x: (N,) numbers.

Raises:
    ValueError: there is none.

Examples:
    >>> identity([1])
    [1]

Source: Hamm and Mehra 2018, Eq. 1.
"""


@pytest.mark.parametrize(
    ("old", "new", "lacking"),
    [
        ("", "", []),
        ("Hamm and Mehra 2018, Eq. 1", "this library", []),
        ("Return x.", "return x.", ["first sentence"]),
        ("    x: (N,) numbers.", "    y: (N,) numbers.", ["x"]),
        ("Raises:\n    ValueError: there is none.\n", "", ["Raises"]),
        (">>> ", "", ["Examples"]),
        ("Hamm and Mehra 2018, Eq. 1.", "a paper.", ["Source"]),
        ("Source: ", "", ["Source"]),
        (DOCUMENT, "", ["first sentence", "Raises", "Examples", "Source", "x"]),
    ],
)
def test_what_a_docstring_lacks_is_found(old: str, new: str, lacking: list[str]) -> None:
    def identity(x: object) -> object:
        return x

    identity.__doc__ = DOCUMENT.replace(old, new) if old else DOCUMENT
    assert docstring_lacks(identity) == lacking
    if not old:
        assert docstring_lacks(identity, raises=False) == ["Raises"]


def test_a_constant_without_a_description_is_found(tmp_path: Path) -> None:
    (tmp_path / "constants.py").write_text('HALF = 0.5\n"""A half."""\nTHIRD: float = 1 / 3\nONE = 1\n')
    assert documented_assignments(tmp_path) == {"HALF"}


# -- form ---------------------------------------------------------------------------------------------------------------

PROSE = [
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "plugins").glob("*/README.md"),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
]


def long_lines(text: str) -> list[str]:
    """Return the lines of prose of more than 120 characters; tables, pictures and blocks cannot be wrapped."""
    lines = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE).splitlines()
    return [line for line in lines if len(line) > 120 and not line.startswith(("|", "!["))]


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_is_wrapped(page: Path) -> None:
    assert long_lines(page.read_text()) == []


def test_long_lines_are_found() -> None:
    assert long_lines("word " * 30) == ["word " * 30]
    assert long_lines("| " + "cell " * 30 + "|\n```\n" + "code " * 30 + "\n```\n![" + "word " * 30 + "](x.png)") == []


def test_the_picture_of_the_architecture_is_up_to_date() -> None:
    from PIL import Image

    specification = importlib.util.spec_from_file_location("architecture", ROOT / "docs" / "architecture.py")
    assert specification is not None
    assert specification.loader is not None
    architecture = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(architecture)
    drawn = json.loads(Image.open(architecture.PICTURE).text["Description"])
    assert drawn == architecture.arrows(), "run python docs/architecture.py"
    assert "solvers" in drawn["loop"]
    assert "loop" not in drawn["solvers"]
    assert ("loop", "errors") not in architecture.reduced(drawn)  # it follows from others
