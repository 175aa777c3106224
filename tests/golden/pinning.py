"""Results as flat tables of numbers, to pin in JSON files and to compare to a tolerance or to the bit."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

TOLERANCE = 1e-9  # relative and absolute; float64 on AVX2 and on AVX-512 differs by less in these short runs
SMALL = 40  # entries up to which a tensor is pinned whole


def pinned(results: Any) -> dict[str, Any]:
    """Return results as a flat mapping from path to number or text, ready for JSON.

    Tensors of more than ``SMALL`` entries are summed up by shape, sum, norm and a weighted sum that tells their order.
    """
    return {path: _number(leaf) for path, leaf in _leaves(results, _summary)}


def exact(results: Any) -> dict[str, str]:
    """Return results as a flat mapping from path to text that changes with any bit: hex floats, hashes of tensors."""
    return {path: _bits(leaf) for path, leaf in _leaves(results, _hash)}


def differences(expected: Mapping[str, Any], actual: Mapping[str, Any], tolerance: float = TOLERANCE) -> list[str]:
    """Return one line for each path whose values differ, or that only one side has.

    Args:
        expected: numbers and texts by path.
        actual: the same.
        tolerance: relative to the larger magnitude, and absolute; 0 for equality. Texts and integers must be equal.
    """
    lines = [f"{path}: only expected" for path in expected.keys() - actual.keys()]
    lines += [f"{path}: not expected" for path in actual.keys() - expected.keys()]
    for path in expected.keys() & actual.keys():
        one, other = expected[path], actual[path]
        if isinstance(one, float) and isinstance(other, float):
            same = math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
        else:
            same = type(one) is type(other) and one == other
        if not same:
            lines.append(f"{path}: {one!r} expected, {other!r} computed")
    return sorted(lines)


def read(path: Path) -> dict[str, Any]:
    """Return the pinned numbers of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write(path: Path, numbers: Mapping[str, Any]) -> None:
    """Write pinned numbers, one a line."""
    path.write_text(json.dumps(numbers, indent=0, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def perturbed(numbers: Mapping[str, Any], by: float = 1e-6) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield, for some of the numbers, its path and a copy in which it alone is changed."""
    paths = [path for path, number in numbers.items() if isinstance(number, float)]
    for path in paths[:: max(1, len(paths) // 20)]:
        yield path, {**numbers, path: numbers[path] + by * max(1.0, abs(numbers[path]))}


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make new networks of this type, and leave the caller's default as it was."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _leaves(value: Any, of_tensor: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, torch.Tensor | np.ndarray):
        value = of_tensor(np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value))
    elif isinstance(value, list) and _is_matrix(value):
        value = of_tensor(np.asarray(value))
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, of_tensor, f"{path}/{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _leaves(item, of_tensor, f"{path}/{index}")
    else:
        yield path, value.item() if isinstance(value, np.generic) else value


def _is_matrix(value: list[Any]) -> bool:
    """Return whether nested lists hold numbers alone, as many in each row: the pixels of a picture."""
    return (
        bool(value)
        and isinstance(value[0], list)
        and np.asarray(value, dtype=object).ndim > 1
        and all(isinstance(number, float) for number in np.asarray(value, dtype=object).ravel())
    )


def _summary(array: np.ndarray) -> Any:
    if array.size <= SMALL:
        return array.tolist()
    flat = array.astype(np.float64).ravel()
    weights = np.cos(np.arange(flat.size))
    return {"shape": list(array.shape), "sum": math.fsum(flat), "norm": math.sqrt(math.fsum(flat**2)),
            "weighted": math.fsum(flat * weights)}  # fmt: skip


def _hash(array: np.ndarray) -> str:
    content = np.ascontiguousarray(array)
    return f"{content.dtype.str}{content.shape} {hashlib.sha256(content.tobytes()).hexdigest()}"


def _number(leaf: Any) -> Any:
    if isinstance(leaf, float) and not math.isfinite(leaf):
        return repr(leaf)  # JSON has no infinity
    return leaf if isinstance(leaf, bool | int | float | str | None) else str(leaf)


def _bits(leaf: Any) -> str:
    return leaf.hex() if isinstance(leaf, float) else repr(_number(leaf))
