"""A hash of the sources that compute a task, as provenance of its result.

The hash is taken over syntax trees without docstrings, so that comments, line breaks and documentation do not matter,
and over only those modules that the task's own really imports.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

FAMILY = "minimaxopt"  # packages whose names start so are ours; all else is covered by the recorded versions


@cache
def source_hash(module: str) -> str:
    """Return the SHA-256 of the meaning of a module and of every module of ours that it imports.

    Examples:
        >>> source_hash("minimaxopt_study.plan.task")[:12] == source_hash("minimaxopt_study.plan.plan")[:12]
        False
    """
    total = hashlib.sha256()
    for name in sorted(closure(module)):
        total.update(name.encode() + b"\0" + meaning(_tree(name)).encode() + b"\0")
    return total.hexdigest()


def closure(module: str) -> set[str]:
    """Return the names of a module and of all modules of ours that it reaches by imports at run time."""
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in reached and _path(name) is not None:
            reached.add(name)
            waiting += _imports(name)
    return reached


def meaning(tree: ast.Module) -> str:
    r"""Return the tree as text, without docstrings and positions.

    Examples:
        >>> meaning(ast.parse("x = 1  # why")) == meaning(ast.parse("'''Doc.'''\nx = 1"))
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
    """Return the modules behind ``from module import attribute``: a package's own ``__init__`` only passes names on."""
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
    """Return all nodes but those that only a type checker reads."""
    nodes: list[ast.AST] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        nodes.append(node)
        checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        waiting += node.orelse if checking and isinstance(node, ast.If) else list(ast.iter_child_nodes(node))
    return nodes
