"""Finding what a function has captured.

A solve works on copies of the players. A risk that reaches ``u`` or ``v`` through its closure instead of through its
arguments would read the originals, whose values never change: the gradient would be silently zero. So such a risk is
refused by name.

What counts is what the code reads, not what lies within its reach: a method of an object that happens to hold both
players is honest as long as it uses its arguments only. So reads, ``name.attribute.attribute``, are followed in the
bytecode.
"""

from __future__ import annotations

import dis
import inspect
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor, nn

from minimaxopt.game.trees import leaves_with_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DEPTH = 4  # a risk that calls a function that calls a function; deeper nesting is not a mistake anyone has made
_NOTHING: Any = object()
_Read: TypeAlias = tuple[str, object]


def captured(f: object) -> Iterator[tuple[str, Tensor | nn.Module]]:
    """Yield ``(name, module or tensor)`` for everything that ``f`` reads other than through its arguments."""
    yield from _walk(f, "", _DEPTH, set())


def _walk(f: object, prefix: str, depth: int, seen: set[tuple[int, int]]) -> Iterator[tuple[str, Tensor | nn.Module]]:
    key = (id(f.__func__), id(f.__self__)) if isinstance(f, MethodType) else (id(f), 0)
    if depth < 0 or key in seen or _of_torch(f):
        return
    seen.add(key)
    for name, value in _reads(f):
        label = f"{prefix}{name}" if name else prefix.removesuffix(".")
        for path, leaf in _leaves(value):
            where = f"{label}.{path}" if path else label
            if isinstance(leaf, (nn.Module, Tensor)):
                yield where, leaf
            elif callable(leaf):
                yield from _walk(leaf, f"{where}." if where else "", depth - 1, seen)


def _leaves(value: object) -> list[tuple[str, object]]:
    return leaves_with_names(value) if isinstance(value, (dict, list, tuple)) else [("", value)]


def _reads(f: object) -> Iterator[_Read]:
    """Yield what ``f`` itself reads: modules, tensors, containers, and the functions that it calls."""
    if isinstance(f, partial):
        yield "", f.func
        yield from ((f"argument {i}", a) for i, a in enumerate(f.args))
        yield from f.keywords.items()
    elif isinstance(f, nn.Module):
        yield "", MethodType(type(f).forward, f)
    elif isinstance(f, MethodType):
        yield from _reads_of(f.__func__, f.__self__)
    elif isinstance(f, FunctionType):
        yield from _reads_of(f, _NOTHING)
    elif callable(f) and not isinstance(f, type):
        yield "", getattr(f, "__wrapped__", None)
        call = inspect.getattr_static(type(f), "__call__", None)
        if isinstance(call, FunctionType):
            yield "", MethodType(call, f)


def _reads_of(function: object, owner: object) -> Iterator[_Read]:
    if not isinstance(function, FunctionType) or _of_torch(function):
        yield "self", owner  # nothing can be said about what it reads of its owner
        return
    code = function.__code__
    variables: dict[str, object] = {}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            variables[name] = cell.cell_contents
        except ValueError:  # a cell that is not filled yet holds nothing
            continue
    if owner is not _NOTHING and code.co_argcount:
        variables[code.co_varnames[0]] = owner
    yield from _reads_in(code, variables, function.__globals__)
    yield from ((f"default {i}", d) for i, d in enumerate(function.__defaults__ or ()))
    yield from (function.__kwdefaults__ or {}).items()


def _reads_in(code: CodeType, variables: Mapping[str, object], global_names: Mapping[str, object]) -> Iterator[_Read]:
    label, value = "", _NOTHING
    for instruction in dis.get_instructions(code):
        operation, named = instruction.opname, instruction.argval
        if value is not _NOTHING and operation in ("LOAD_ATTR", "LOAD_METHOD"):
            further = _attribute(value, str(named))
            if further is not _NOTHING:
                label, value = f"{label}.{named}", further
                continue
        if value is not _NOTHING:
            yield label, value
        value = _NOTHING
        # Some instructions concern two variables; the second is loaded last, so that an attribute follows on it only.
        several = isinstance(named, tuple) and "LOAD_FAST" in operation
        *others, label = [str(part) for part in named] if several else [str(named)]
        if operation == "LOAD_GLOBAL":
            value = global_names.get(label, _NOTHING)
        elif operation.startswith("LOAD_") and operation.endswith("DEREF"):
            value = variables.get(label, _NOTHING)
        elif "LOAD_FAST" in operation:
            # A variable that inner functions share is read by LOAD_DEREF; here only its cell is passed on.
            plain = {name: held for name, held in variables.items() if name not in code.co_cellvars}
            loaded = others if operation.startswith("LOAD_FAST") else []  # STORE_FAST_LOAD_FAST stores the first
            yield from ((name, plain[name]) for name in loaded if name in plain)
            value = plain.get(label, _NOTHING)
    for const in code.co_consts:
        if isinstance(const, CodeType):
            inner = {name: held for name, held in variables.items() if name in const.co_freevars}
            yield from _reads_in(const, inner, global_names)


def _attribute(owner: object, name: str) -> object:
    """Look up an attribute without running any code; a method or property comes back as a method of its owner."""
    stores = [getattr(owner, "__dict__", {})]
    if isinstance(owner, nn.Module):
        stores += [stores[0].get(part, {}) for part in ("_parameters", "_buffers", "_modules")]
    for store in stores:
        if name in store:
            return store[name]
    if isinstance(owner, (ModuleType, type)):
        return _NOTHING
    found = inspect.getattr_static(type(owner), name, None)
    function = found.fget if isinstance(found, property) else found
    # What a method of torch reads of its owner, such as parameters(), is the owner as a whole.
    if isinstance(function, FunctionType) and not _of_torch(function):
        return MethodType(function, owner)
    return _NOTHING


def _of_torch(f: object) -> bool:
    return isinstance(f, FunctionType) and (f.__module__ or "").partition(".")[0] == "torch"
