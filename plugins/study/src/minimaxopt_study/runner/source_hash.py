"""Which sources a task uses, and a hash of what they say.

A stored result belongs to the code that made it. The hash is taken over syntax trees without docstrings, so that
comments, line breaks and documentation may change without recomputing anything, and over only those modules that the
starting modules really import, so that a change to the report does not retrain a network.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

FAMILY = "minimaxopt"  # packages whose names start so are ours; all else is covered by the recorded versions


@cache
def digest(modules: tuple[str, ...]) -> str:
    """SHA-256 of the meaning of `modules` and of every module of ours that they import.

    >>> digest(("minimaxopt_study.plan.task",)) == digest(("minimaxopt_study.plan.task",))
    True
    """
    total = hashlib.sha256()
    for name in sorted(closure(modules)):
        total.update(name.encode() + b"\0" + meaning(_tree(name)).encode() + b"\0")
    return total.hexdigest()


def closure(modules: tuple[str, ...]) -> set[str]:
    """Names of `modules` and of all modules of ours that they reach by imports at run time."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found and _path(name) is not None:
            found.add(name)
            waiting += _imports(name)
    return found


def meaning(tree: ast.Module) -> str:
    """The tree as text, without docstrings and positions.

    >>> meaning(ast.parse("x = 1  # why")) == meaning(ast.parse("'''Doc.'''\\nx = 1"))
    True
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return ast.dump(tree)


def _path(name: str) -> Path | None:
    if not name.startswith(FAMILY):
        return None
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None


def _tree(name: str) -> ast.Module:
    path = _path(name)
    assert path is not None
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(name: str) -> list[str]:
    names: list[str] = []
    package = name if _is_package(name) else name.rpartition(".")[0]
    for node in _running(_tree(name)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            for alias in node.names:
                names += _providers(base, alias.name)
    return [name for name in names if name.startswith(FAMILY)]


def _providers(module: str, attribute: str) -> list[str]:
    """Where `from module import attribute` comes from: a package's own `__init__` only passes names on."""
    if attribute.startswith("__"):
        return []  # a version number is no code
    if _path(f"{module}.{attribute}") is not None:
        return [f"{module}.{attribute}"]
    if not _is_package(module):
        return [module]
    for node in _running(_tree(module)):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == attribute:
                    return _providers(_absolute(node, module), alias.name)
    return [module]


def _is_package(name: str) -> bool:
    path = _path(name)
    return path is not None and path.name == "__init__.py"


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if node.level == 0:
        return node.module or ""
    base = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
    return f"{base}.{node.module}" if node.module else base


def _running(tree: ast.Module) -> list[ast.AST]:
    """All nodes but those that only a type checker reads."""
    nodes: list[ast.AST] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        nodes.append(node)
        checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        waiting += node.orelse if checking and isinstance(node, ast.If) else list(ast.iter_child_nodes(node))
    return nodes
