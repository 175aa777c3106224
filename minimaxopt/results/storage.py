"""Nested values and tensors as two files, JSON and safetensors, of which a reader never sees half.

The JSON file names the tensor file that belongs to it and is replaced last: whoever is killed between the two leaves
the previous pair whole. One SHA-256 covers the content of both, so that a damaged file is never read.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from minimaxopt.errors import DiskFullError, ResumeError, StoreError
from minimaxopt.results.encoding import decode, encode

FORMAT = 2
TEMPORARY = ".writing-"
"""Prefix of what is being written; what a killed process left under it can be removed."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_RESTORE = "restore both files from a copy, or run again"


def previous(path: Path) -> Path:
    """Return where ``write`` keeps the JSON file that was at ``path`` before.

    >>> previous(Path("run/checkpoint.json")).name
    'checkpoint-previous.json'
    """
    return path.with_name(f"{path.stem}-previous{path.suffix}")


def write(folder: Path, name: str, content: Any, *, keep_previous: bool = False) -> Path:
    """Write ``content`` as ``folder/name.json`` and a tensor file beside it, atomically; return the JSON.

    Args:
        folder: where to; made if need be.
        name: of the JSON file, without its suffix.
        content: what ``encode`` takes.
        keep_previous: whether the pair that is replaced stays, as ``previous(path)``.

    Raises:
        ResumeError: a type in ``content`` cannot be brought back.
        OSError: the files cannot be written; the old ones stay.
    """
    tensors: dict[str, Tensor] = {}
    plain = json.dumps(encode(content, name, tensors), allow_nan=False)
    packed = save_tensors(tensors)
    digest = _digest(plain, packed)
    tensor_file = f"{name}-{digest[:16]}.safetensors"
    write_atomically(folder / tensor_file, packed)
    head = f'{{"format": {FORMAT}, "tensors": {json.dumps(tensor_file)}, "sha256": "{digest}", "content": {plain}}}'
    path = folder / f"{name}.json"
    before: bytes | None = None
    if keep_previous:
        with contextlib.suppress(OSError):  # where there is none, or none that can be read
            before = path.read_bytes()
    write_atomically(path, head.encode())
    if before is not None:
        # Only now: were it first, a kill between the two could leave two damaged files where one had been whole.
        write_atomically(previous(path), before)
    kept = {tensor_file, _tensor_file(before)}
    # What an earlier write left, and what one left that was killed.
    for old in [*folder.glob(f"{name}-*.safetensors"), *folder.glob(f".{name}*.partial")]:
        if old.name not in kept:
            with contextlib.suppress(FileNotFoundError):
                old.unlink()
    return path


def read(path: Path, device: torch.device | str = "cpu") -> Any:
    """Read what ``write`` wrote.

    Args:
        path: the JSON file.
        device: where the tensors are to be.

    Raises:
        ResumeError: the files are not there, were changed or damaged, or are of another format.
    """
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ResumeError(
            f"path: there is no {path.name} in {path.parent}; give the folder that save() or Checkpoint wrote"
        ) from error
    except OSError as error:
        raise ResumeError(f"path: {path} cannot be read ({error}); {_RESTORE}") from error
    try:
        head = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ResumeError(
            f"path: {path} is not JSON ({error}); it was not written by minimaxopt, or was changed since; {_RESTORE}"
        ) from error
    if not isinstance(head, dict) or not {"format", "tensors", "sha256", "content"} <= head.keys():
        raise ResumeError(f"path: {path} was not written by minimaxopt, or was changed since; {_RESTORE}")
    if head["format"] != FORMAT:
        raise ResumeError(
            f"path: {path} is not of format {FORMAT}; load it with the version of minimaxopt that wrote it"
        )
    tensor_file = head["tensors"]
    try:
        if not isinstance(tensor_file, str) or Path(tensor_file).name != tensor_file:
            raise ValueError("no name of a file beside it")
        packed = (path.parent / tensor_file).read_bytes()
    except FileNotFoundError as error:
        raise ResumeError(f"path: {tensor_file} is missing beside {path}; copy both files together") from error
    except (OSError, ValueError) as error:
        raise ResumeError(
            f"path: the tensors {tensor_file!r} that {path} names cannot be read ({error}); {_RESTORE}"
        ) from error
    if _digest(json.dumps(head["content"]), packed) != head["sha256"]:
        raise ResumeError(
            f"path: {path.name} and {tensor_file} in {path.parent} do not have the digest that {path.name} names: one of "
            f"them was changed or damaged; {_RESTORE}"
        )
    try:
        tensors = {key: tensor.to(device) for key, tensor in load_tensors(packed).items()}
    except SafetensorError as error:
        raise ResumeError(f"path: {tensor_file} in {path.parent} cannot be read ({error}); {_RESTORE}") from error
    return decode(head["content"], tensors, path.stem)


def _digest(plain: str, packed: bytes) -> str:
    total = hashlib.sha256(plain.encode())
    total.update(b"\n")  # which JSON on one line does not contain
    total.update(packed)
    return total.hexdigest()


def _tensor_file(head: bytes | None) -> str:
    """Return the tensor file that a JSON file names, or the empty string if it cannot be told."""
    try:
        return str(json.loads(head or b"{}")["tensors"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""


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
