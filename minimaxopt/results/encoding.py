"""Nested values as JSON with the tensors beside: tags keep the types that JSON lacks.

A tagged value is an object with one key, ``{"$deque": [5, [1, 2]]}``. What has no tag is refused when it is saved, so
that nothing comes back as another type, and nothing is pickled.
"""

from __future__ import annotations

import math
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minimaxopt.errors import ResumeError

_SEQUENCES: dict[str, type] = {"tuple": tuple, "set": set, "frozenset": frozenset, "Size": torch.Size}
_MAPPINGS: dict[str, type] = {"dict": dict, "OrderedDict": OrderedDict, "Counter": Counter}
_FACTORIES: dict[str, type] = {kind.__name__: kind for kind in (int, float, bool, str, list, dict, set, tuple)}
_STORABLE = {
    torch.bool, torch.uint8, torch.int8, torch.uint16, torch.int16, torch.uint32, torch.int32, torch.uint64,
    torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2,
}  # fmt: skip


def encode(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Return ``value`` as what JSON can hold; put its tensors into ``tensors``.

    Args:
        value: any nesting of tensors, numbers, strings, ``None`` and the containers of the standard library.
        path: where the value sits, for errors.
        tensors: gets copies on the CPU, dense and sharing no memory, by the keys that stand in the result.

    Raises:
        ResumeError: a type in ``value`` cannot be brought back; the message says where it sits.

    Examples:
        >>> from collections import Counter
        >>> encode({"milestones": Counter([30, 80]), "step": 3}, "run", {})
        {'milestones': {'$Counter': [[30, 1], [80, 1]]}, 'step': 3}
    """
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, Tensor):
        return _encode_tensor(value, path, tensors)
    if kind is list:
        return _encode_items(value, path, tensors)
    if kind is dict and all(type(key) is str and not key.startswith("$") for key in value):
        return {key: encode(item, f"{path}.{key}", tensors) for key, item in value.items()}
    tag, content = _tagged(value, path, tensors)
    return {f"${tag}": content}


def decode(value: Any, tensors: Mapping[str, Tensor], path: str) -> Any:
    """Return what ``encode`` was given, on the tensors' devices.

    Args:
        value: what ``encode`` returned.
        tensors: the tensors by key.
        path: where the value sits, for errors.

    Raises:
        ResumeError: a tag is not known, or its content not of its form.
    """
    if isinstance(value, list):
        return _decode_items(value, tensors, path)
    if not isinstance(value, dict):
        return value
    tag = next(iter(value)) if len(value) == 1 else ""
    if not tag.startswith("$"):
        return {key: decode(item, tensors, f"{path}.{key}") for key, item in value.items()}
    try:
        return _untagged(tag[1:], value[tag], tensors, path)
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ResumeError(
            f"{path}: holds {tag!r}, which this version of minimaxopt cannot read here ({reason}); load it with the "
            "version that wrote it"
        ) from error


def _encode_items(items: Iterable[Any], path: str, tensors: dict[str, Tensor]) -> list[Any]:
    return [encode(item, f"{path}.{i}", tensors) for i, item in enumerate(items)]


def _encode_pairs(mapping: Mapping[Any, Any], path: str, tensors: dict[str, Tensor]) -> list[list[Any]]:
    return [[encode(key, path, tensors), encode(x, f"{path}.{key}", tensors)] for key, x in mapping.items()]


def _decode_items(items: list[Any], tensors: Mapping[str, Tensor], path: str) -> list[Any]:
    return [decode(item, tensors, f"{path}.{i}") for i, item in enumerate(items)]


def _decode_pairs(pairs: list[Any], tensors: Mapping[str, Tensor], path: str) -> dict[Any, Any]:
    return {decode(key, tensors, path): decode(item, tensors, f"{path}.{key}") for key, item in pairs}


def _encode_tensor(value: Tensor, path: str, tensors: dict[str, Tensor]) -> dict[str, str]:
    dtype = str(value.dtype).removeprefix("torch.")
    if value.layout is not torch.strided or value.is_meta:
        raise ResumeError(
            f"{path}: a tensor of layout {value.layout} on {value.device} cannot be saved; keep dense tensors in the state"
        )
    dense = value.detach().to("cpu", copy=True).contiguous()
    tag = "tensor"
    if dense.is_complex():
        tag, dense = "complex", torch.view_as_real(dense.resolve_conj()).contiguous()
    if dense.dtype not in _STORABLE:
        raise ResumeError(f"{path}: a tensor of dtype {dtype} cannot be saved; keep another dtype in the state")
    key = str(len(tensors))
    tensors[key] = dense.resolve_neg()
    return {f"${tag}": key}


def _tagged(value: Any, path: str, tensors: dict[str, Tensor]) -> tuple[str, Any]:
    """Return the tag of a value's type, and its content."""
    kind = type(value)
    for tag, sequence in _SEQUENCES.items():
        if kind is sequence:
            return tag, _encode_items(value, path, tensors)
    for tag, mapping in _MAPPINGS.items():
        if kind is mapping:
            return tag, _encode_pairs(value, path, tensors)
    if kind is defaultdict and (value.default_factory is None or value.default_factory in _FACTORIES.values()):
        factory = None if value.default_factory is None else value.default_factory.__name__
        return "defaultdict", [factory, _encode_pairs(value, path, tensors)]
    if kind is deque:
        return "deque", [value.maxlen, _encode_items(value, path, tensors)]
    if kind is complex:
        return "number", [encode(value.real, path, tensors), encode(value.imag, path, tensors)]
    if kind is bytes:
        return "bytes", value.hex()
    if kind is np.ndarray and value.dtype.kind in "biufc":
        return "array", [value.dtype.str, list(value.shape), np.ascontiguousarray(value).tobytes().hex()]
    if kind is torch.dtype:
        return "dtype", str(value).removeprefix("torch.")
    if kind is torch.device:
        return "device", str(value)
    if isinstance(value, np.generic) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
        return "numpy", [value.dtype.name, encode(value.item(), path, tensors)]
    if isinstance(value, tuple) and _named_tuple(kind.__module__, kind.__qualname__) is kind:
        fields: tuple[str, ...] = kind._fields  # type: ignore[attr-defined] - found by _named_tuple
        return "namedtuple", [
            kind.__module__,
            kind.__qualname__,
            [[name, encode(item, f"{path}.{name}", tensors)] for name, item in zip(fields, value, strict=True)],
        ]
    raise ResumeError(
        f"{path}: {kind.__name__} cannot be saved; keep tensors, numbers, strings and plain containers (lists, tuples, "
        "sets, dictionaries, those of collections, named tuples of a module) in the state"
    )


def _untagged(tag: str, content: Any, tensors: Mapping[str, Tensor], path: str) -> Any:
    """Return the value of a tag's content."""
    if tag in _SEQUENCES:
        return _SEQUENCES[tag](_decode_items(content, tensors, path))
    if tag in _MAPPINGS:
        return _MAPPINGS[tag](_decode_pairs(content, tensors, path))
    match tag:
        case "float":
            return float(content)
        case "tensor":
            return tensors[content]
        case "complex":
            return torch.view_as_complex(tensors[content])
        case "defaultdict":
            factory = None if content[0] is None else _FACTORIES[content[0]]
            return defaultdict(factory, _decode_pairs(content[1], tensors, path))
        case "deque":
            return deque(_decode_items(content[1], tensors, path), maxlen=content[0])
        case "number":
            return complex(*_decode_items(content, tensors, path))
        case "bytes":
            return bytes.fromhex(content)
        case "array":
            return np.frombuffer(bytes.fromhex(content[2]), np.dtype(content[0])).reshape(content[1]).copy()
        case "dtype":
            return _dtype(content)
        case "device":
            return torch.device(content)
        case "numpy":
            return np.dtype(content[0]).type(decode(content[1], tensors, path))
        case "namedtuple":
            return _read_named_tuple(content[0], content[1], content[2], tensors, path)
        case _:
            raise LookupError("no such tag")


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name)
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"torch.{name} is no dtype")
    return dtype


def _named_tuple(module: str, name: str) -> type | None:
    """Return the named tuple's class if its module, which must be imported already, has it by this name."""
    kind: Any = sys.modules.get(module)
    for part in name.split("."):
        kind = getattr(kind, part, None)
    return kind if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields") else None


def _read_named_tuple(module: str, name: str, fields: Any, tensors: Mapping[str, Tensor], path: str) -> Any:
    kind: Any = _named_tuple(module, name)
    if kind is None:
        raise LookupError(f"no named tuple {module}.{name} is imported")
    values = {field: decode(item, tensors, f"{path}.{field}") for field, item in fields}
    if tuple(values) != kind._fields:
        raise TypeError(f"{module}.{name} has the fields {kind._fields}, not {tuple(values)}")
    return tuple.__new__(kind, values.values())  # as _make does, without running the class's own code
