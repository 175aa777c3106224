"""Who imports whom: rooms only from rooms above, no circles, plugins only public names, and nothing heavy at import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "minimaxopt"
PLUGINS = ROOT / "plugins"

# A room imports only from rooms before it; "" is minimaxopt/__init__.py.
ROOMS = [
    "errors", "_types", "calculus", "game", "constraints", "results", "solvers", "execution", "plugins", "plot", "loop",
    "certificates", "testing", "", "cli",
]  # fmt: skip
PUBLIC = {"", "calculus", "errors", "plot", "plugins", "solvers", "testing"}
"""What plugins may import from; of the rooms among them, only what their ``__init__`` names."""
# Imports inside functions that point down, with their reason.
LATE = {
    ("results", ""): "the version stands in the package itself, which imports results",
    ("solvers.wrappers", "solvers"): "a wrapper looks its inner solver up by name, and the names hold the wrappers",
}
LONGEST_CHAIN = 15


def imports(path: Path, package: str) -> set[tuple[str, str]]:
    """Return ``(module, name)`` for everything that a file imports from a package, wherever in the file."""
    names: set[tuple[str, str]] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and (node.module + ".").startswith(f"{package}."):
            names |= {(node.module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {(alias.name, "") for alias in node.names if (alias.name + ".").startswith(f"{package}.")}
    return names


def modules(root: Path) -> dict[str, Path]:
    """Return the modules of a package by dotted name, the package itself as the empty string."""
    return {
        ".".join(p.relative_to(root).with_suffix("").parts).removesuffix("__init__").removesuffix("."): p
        for p in sorted(root.rglob("*.py"))
    }


def arrows(root: Path) -> dict[str, set[str]]:
    """Return which modules of a package each of its modules imports."""
    files = modules(root)
    targets: dict[str, set[str]] = {name: set() for name in files}
    for name, path in files.items():
        for module, item in imports(path, root.name):
            target = module.removeprefix(root.name).removeprefix(".")
            nested = f"{target}.{item}".removeprefix(".")
            target = nested if nested in files else target
            if target != name:
                targets[name].add(target)
    return targets


def room(module: str) -> str:
    return module.partition(".")[0]


def violations(root: Path, order: list[str]) -> list[str]:
    """Return the imports that point from a room to one below it."""
    rank = {name: i for i, name in enumerate(order)}
    return [
        f"{name} imports {target}"
        for name, targets in arrows(root).items()
        for target in sorted(targets)
        if rank[room(target)] > rank[room(name)] and (name, target) not in LATE and (room(name), target) not in LATE
    ]


def longest_chain(root: Path) -> list[str]:
    """Return the longest chain of imports, or a circle if there is one."""
    graph = {name: {t for t in targets if (name, t) not in LATE and (room(name), t) not in LATE}
             for name, targets in arrows(root).items()}  # fmt: skip
    chains: dict[str, list[str]] = {}

    def below(name: str, path: tuple[str, ...]) -> list[str]:
        if name in path:
            raise AssertionError(f"a circle of imports: {' -> '.join([*path[path.index(name) :], name])}")
        if name not in chains:
            chains[name] = [name, *max((below(t, (*path, name)) for t in sorted(graph[name])), key=len, default=[])]
        return chains[name]

    return max((below(name, ()) for name in graph), key=len)


def test_the_order_names_every_room() -> None:
    assert set(ROOMS) == {room(name) for name in modules(CORE)}
    assert len([p for p in CORE.iterdir() if p.name != "__pycache__"]) <= 16


def test_rooms_import_only_from_above() -> None:
    assert violations(CORE, ROOMS) == []


def test_files_form_no_circle_and_no_long_chain() -> None:
    assert len(longest_chain(CORE)) <= LONGEST_CHAIN


def test_wrong_imports_are_found(tmp_path: Path) -> None:
    package = tmp_path / "minimaxopt"
    package.mkdir()
    (package / "a.py").write_text("def f():\n    from minimaxopt.b import x\n    return x\n")
    (package / "b.py").write_text("x = 1\n")
    assert violations(package, ["b", "a"]) == []
    assert violations(package, ["a", "b"]) == ["a imports b"]
    assert longest_chain(package) == ["a", "b"]
    (package / "b.py").write_text("from minimaxopt.a import f\n")
    with pytest.raises(AssertionError, match="a circle of imports: a -> b -> a"):
        longest_chain(package)


def private(module: str, name: str) -> bool:
    """Return whether a name of minimaxopt is out of bounds for plugins."""
    if module == "minimaxopt" and name in ("errors", "__version__"):
        return False
    path = module.removeprefix("minimaxopt").removeprefix(".")
    return path not in PUBLIC or name.startswith("_")


@pytest.mark.parametrize("plugin", ["adversarial", "bench", "privacy", "study"])
def test_plugins_import_public_names_only(plugin: str) -> None:
    files = list((PLUGINS / plugin / "src").rglob("*.py"))
    assert files
    assert {(m, n) for path in files for m, n in imports(path, "minimaxopt") if private(m, n)} == set()


def test_private_names_are_told_from_public_ones() -> None:
    assert private("minimaxopt.calculus.vectors", "add")
    assert private("minimaxopt.plugins.host", "Host")
    assert not private("minimaxopt.plugins", "plugin_host")
    assert not private("minimaxopt", "solve")


def test_who_may_know_whom() -> None:
    may: dict[str, set[str]] = {"adversarial": set(), "bench": set(), "privacy": set(), "study": {"adversarial"}}
    for plugin, allowed in may.items():
        for other in may.keys() - {plugin} - allowed:
            known = {
                i for path in (PLUGINS / plugin / "src").rglob("*.py") for i in imports(path, f"minimaxopt_{other}")
            }
            assert known == set(), f"{plugin} imports {other}"
    assert any(imports(p, f"minimaxopt_{'adversarial'}") for p in (PLUGINS / "study" / "src").rglob("*.py"))


def test_the_core_imports_no_plugin() -> None:
    for path in CORE.rglob("*.py"):
        for plugin in ("adversarial", "bench", "privacy", "study"):
            assert imports(path, f"minimaxopt_{plugin}") == set()


def test_importing_minimaxopt_is_light() -> None:
    heavy = (
        "matplotlib",
        "typer",
        "pandas",
        "pydantic",
        "docstring_parser",
        "minimaxopt_adversarial",
        "minimaxopt_bench",
        "minimaxopt_study",
        "minimaxopt_privacy",
    )
    probe = f"import sys, minimaxopt; print([m for m in {heavy!r} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
    both = f"import sys, minimaxopt, pydantic; print([m for m in {heavy!r} if m in sys.modules])"
    assert "pydantic" in subprocess.run([sys.executable, "-c", both], capture_output=True, text=True, check=True).stdout
