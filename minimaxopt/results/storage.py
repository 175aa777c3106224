"""Nestings of tensors and plain values as two files, safetensors and JSON, of which a reader never sees half.

The JSON file names the tensor file that belongs to it and its digest, and is replaced last: whoever is killed between
the two leaves the previous pair whole. Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import errno
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

from minimaxopt.errors import DiskFullError, ResumeError, StoreError

FORMAT = 1
TEMPORARY = ".writing-"
"""Prefix of what is being written; what a killed process left under it can be removed."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write(folder: Path, name: str, content: Any) -> Path:
    """Write ``content`` as ``folder/name.json`` and a tensor file beside it, atomically; return the JSON."""
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
    """Replace a file at once: after a crash at any moment its old or its new content is there, never a part.

    Args:
        path: the file; its folder is made if need be.
        content: the whole new content.

    Raises:
        OSError: it cannot be written; the old content stays.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(Path(folder) / "a.txt", b"new")
        ...     (Path(folder) / "a.txt").read_bytes()
        b'new'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write_flushed(partial, content)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Replace a JSON file at once, as ``write_atomically`` does.

    Raises:
        StoreError: it cannot be written (``DiskFullError`` where there is no room); the old content stays.
        ValueError: a number is not finite, which JSON cannot hold.
    """
    encoded = encode_json(content)
    try:
        write_atomically(path, encoded)
    except OSError as error:
        raise unwritable(path, error) from error


def encode_json(content: Any) -> bytes:
    """Return JSON of one value a line, which shows its changes line by line."""
    return (json.dumps(content, indent=1, sort_keys=False, allow_nan=False) + "\n").encode()


def write_flushed(path: Path, content: bytes) -> None:
    """Write a file and flush it to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Flush a folder's entries to the disk, where the file system can."""
    with contextlib.suppress(OSError):  # some file systems cannot open a folder to flush it
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def unwritable(path: Path, error: OSError) -> StoreError:
    """Return the error for what could not be written, with the remedy that fits its cause."""
    if error.errno in _NO_ROOM:
        return DiskFullError(
            f"store: {path} could not be written ({error}); free space on the disk and run again: what is stored is kept"
        )
    return StoreError(f"store: {path} could not be written ({error}); see that it can be written to and run again")


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
