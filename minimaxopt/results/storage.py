"""A nesting of tensors and plain values as two files, safetensors and JSON, written so that a reader never sees half of
it.

The JSON file names the tensor file that belongs to it and its digest, and is replaced last: whoever is killed between
the two leaves the previous pair whole. Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from minimaxopt.errors import ResumeError

FORMAT = 1


def write(folder: Path, name: str, content: Any) -> Path:
    """Write ``content`` as ``folder/name.json`` and a tensor file beside it, atomically; return the JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    plain = _encode(content, name, tensors)
    packed = save_tensors(tensors)
    digest = hashlib.sha256(packed).hexdigest()
    tensor_file = f"{name}-{digest[:16]}.safetensors"
    write_atomically(folder / tensor_file, packed)
    head = {"format": FORMAT, "tensors": tensor_file, "sha256": digest, "content": plain}
    path = folder / f"{name}.json"
    write_atomically(path, json.dumps(head, allow_nan=False).encode())
    # What an earlier write left, and what one left that was killed.
    for old in [*folder.glob(f"{name}-*.safetensors"), *folder.glob(f".{name}*.partial")]:
        if old.name != tensor_file:
            with contextlib.suppress(FileNotFoundError):
                old.unlink()
    return path


def read(path: Path, device: torch.device | str = "cpu") -> Any:
    """Read what ``write`` wrote; raise if it is not there, was changed, or is of another format."""
    try:
        head = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ResumeError(
            f"path: there is no {path.name} in {path.parent}; give the folder that save() or Checkpoint wrote"
        ) from error
    except ValueError as error:
        raise ResumeError(
            f"path: {path} is not JSON ({error}); it was not written by minimaxopt, or was changed since"
        ) from error
    if not isinstance(head, dict) or not {"format", "tensors", "sha256", "content"} <= head.keys():
        raise ResumeError(f"path: {path} was not written by minimaxopt, or was changed since")
    if head["format"] != FORMAT:
        raise ResumeError(
            f"path: {path} is not of format {FORMAT}; load it with the version of minimaxopt that wrote it"
        )
    try:
        packed = (path.parent / head["tensors"]).read_bytes()
    except FileNotFoundError as error:
        raise ResumeError(f"path: {head['tensors']} is missing beside {path}; copy both files together") from error
    if hashlib.sha256(packed).hexdigest() != head["sha256"]:
        raise ResumeError(
            f"path: {head['tensors']} does not have the digest that {path.name} names; the file was changed or damaged"
        )
    tensors = {key: tensor.to(device) for key, tensor in load_tensors(packed).items()}
    return _decode(head["content"], tensors)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that its old or its new content is there after a crash at any moment."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # some file systems cannot open a folder to flush it
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _encode(value: Any, where: str, tensors: dict[str, Tensor]) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Tensor):
        key = str(len(tensors))
        # safetensors wants dense tensors that share nothing.
        tensors[key] = value.detach().to("cpu", copy=True).contiguous()
        return {"$tensor": key}
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return number if math.isfinite(number) else {"$float": repr(number)}
    if type(value) is tuple:  # a named one would come back as another type
        return {"$tuple": [_encode(item, f"{where}.{i}", tensors) for i, item in enumerate(value)]}
    if isinstance(value, list):
        return [_encode(item, f"{where}.{i}", tensors) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _encode(item, f"{where}.{key}", tensors) for key, item in value.items()}
        return {
            "$items": [
                [_encode(k, where, tensors), _encode(item, f"{where}.{k}", tensors)] for k, item in value.items()
            ]
        }
    raise ResumeError(
        f"{where}: {type(value).__name__} cannot be saved; keep tensors, numbers, strings, lists, plain tuples and "
        "dictionaries in the state"
    )


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return tensors[value["$tensor"]]
    if "$float" in value:
        return float(value["$float"])
    if "$tuple" in value:
        return tuple(_decode(item, tensors) for item in value["$tuple"])
    if "$items" in value:
        return {_decode(key, tensors): _decode(item, tensors) for key, item in value["$items"]}
    return {key: _decode(item, tensors) for key, item in value.items()}
