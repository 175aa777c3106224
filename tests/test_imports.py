"""Who imports whom: modules only from above, plugins only public names, and nothing heavy at import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "minimaxopt"
PLUGINS = ROOT / "plugins"

# A module imports only from modules before it.
ORDER = [
    "_types", "errors", "certificate", "_tree", "_random", "_capture", "game", "_functional", "calculus", "linear",
    "projections._common", "projections.box", "projections.simplex", "projections.balls", "projections.product",
    "projections", "mirror", "_draws", "_compile", "data", "solvers._movers", "solvers._base", "solvers.single",
    "solvers.gda", "solvers.best_response", "solvers.momentum", "solvers.smoothed", "solvers.extragradient",
    "solvers.optimistic", "solvers.anchored", "solvers.kbeam", "solvers.sensitivity", "solvers.unrolled",
    "solvers._answer", "solvers.stackelberg", "solvers.ridge", "solvers.newton", "solvers.competitive",
    "solvers.adjusted", "solvers._wrapping", "solvers.lookahead", "solvers.averaged", "solvers", "_bundle", "solution",
    "_plane", "_trajectory", "plot", "callbacks", "_graph", "_prepare", "_probe", "_progress", "_options", "hookspecs",
    "_discovery", "plugins", "problem", "_loop", "run", "ensemble",
    "testing._game", "testing.quadratic",
    "testing.bilinear", "testing.surfaces", "testing.nonconvex", "testing.gan", "testing.flat", "testing.constrained",
    "testing.data", "testing._solvers", "testing._problems", "testing", "_measure", "_tangent", "_form", "_moves",
    "_kink", "_local", "_fresh", "_respond", "certify", "", "bench.outcomes", "bench.published", "bench.settings",
    "bench.runs", "bench.schedule", "bench.cells", "bench.surfaces", "bench.summary", "bench.pictures", "bench.report",
    "bench.driver", "bench", "_bench_command", "_launch", "_judge", "cli",
]  # fmt: skip
# `__version__` is read by the manifest; imports inside functions are listed with their reason.
LATE = {
    ("solution", ""): "the version stands in the package itself, which imports solution",
    ("solvers._wrapping", "solvers"): "a wrapper looks its inner solver up by name, and the names hold the wrappers",
}


def imports(path: Path, package: str) -> set[tuple[str, str]]:
    """Return ``(module, name)`` for everything that a file imports from a package, wherever in the file."""
    found: set[tuple[str, str]] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and (node.module + ".").startswith(f"{package}."):
            found |= {(node.module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names if (alias.name + ".").startswith(f"{package}.")}
    return found


def modules(root: Path) -> dict[str, Path]:
    return {
        ".".join(p.relative_to(root).with_suffix("").parts).removesuffix("__init__").removesuffix("."): p
        for p in sorted(root.rglob("*.py"))
    }


def violations(root: Path, order: list[str]) -> list[str]:
    """Return the imports that point downwards."""
    here = modules(root)
    rank = {name: i for i, name in enumerate(order)}
    wrong: list[str] = []
    for name, path in here.items():
        for module, item in imports(path, root.name):
            target = module.removeprefix(root.name).removeprefix(".")
            nested = f"{target}.{item}".removeprefix(".")
            target = nested if nested in here else target
            if rank[target] >= rank[name] and target != name and (name, target) not in LATE:
                wrong.append(f"{name} imports {target}")
    return wrong


def test_the_order_names_every_module() -> None:
    assert set(ORDER) == set(modules(CORE))
    assert len(ORDER) == len(set(ORDER))


def test_modules_import_only_from_above() -> None:
    assert violations(CORE, ORDER) == []


def test_an_import_from_below_is_found(tmp_path: Path) -> None:
    package = tmp_path / "minimaxopt"
    package.mkdir()
    (package / "a.py").write_text("def f():\n    from minimaxopt.b import x\n    return x\n")
    (package / "b.py").write_text("x = 1\n")
    assert violations(package, ["b", "a"]) == []
    assert violations(package, ["a", "b"]) == ["a imports b"]


def private(module: str, name: str) -> bool:
    return any(part.startswith("_") and part != "__version__" for part in (*module.split("."), name))


@pytest.mark.parametrize("plugin", ["adversarial", "privacy", "study"])
def test_plugins_import_public_names_only(plugin: str) -> None:
    files = list((PLUGINS / plugin / "src").rglob("*.py"))
    assert files
    wrong = {(m, n) for path in files for m, n in imports(path, "minimaxopt") if private(m, n)}
    assert wrong == set()
    assert private("minimaxopt._tree", "add")


def test_who_may_know_whom() -> None:
    may: dict[str, set[str]] = {"adversarial": set(), "privacy": set(), "study": {"adversarial"}}
    for plugin, allowed in may.items():
        for other in may.keys() - {plugin} - allowed:
            known = {
                i for path in (PLUGINS / plugin / "src").rglob("*.py") for i in imports(path, f"minimaxopt_{other}")
            }
            assert known == set(), f"{plugin} imports {other}"
    assert any(imports(p, f"minimaxopt_{'adversarial'}") for p in (PLUGINS / "study" / "src").rglob("*.py"))


def test_the_core_imports_no_plugin() -> None:
    for path in CORE.rglob("*.py"):
        for plugin in ("adversarial", "privacy", "study"):
            assert imports(path, f"minimaxopt_{plugin}") == set()


def test_importing_minimaxopt_is_light() -> None:
    heavy = (
        "matplotlib",
        "typer",
        "pandas",
        "pydantic",
        "minimaxopt_adversarial",
        "minimaxopt_study",
        "minimaxopt_privacy",
    )
    probe = f"import sys, minimaxopt; print([m for m in {heavy!r} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
    both = f"import sys, minimaxopt, pydantic; print([m for m in {heavy!r} if m in sys.modules])"
    assert "pydantic" in subprocess.run([sys.executable, "-c", both], capture_output=True, text=True, check=True).stdout
