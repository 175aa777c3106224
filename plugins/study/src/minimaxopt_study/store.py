"""The store: one folder a result, put in place whole or not at all.

A result is written to a temporary folder beside its final place, every file flushed to the disk, the folder renamed and
the rename flushed. A process killed at any instant leaves the result either complete or absent; leftovers of a killed
process are swept when the store is next opened for writing. Results are JSON and safetensors: nothing is unpickled.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from minimaxopt.errors import MinimaxoptError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

FORMAT = 1
_RESULT, _TENSORS, _TEMPORARY = "result.json", "tensors.safetensors", ".writing-"


class StoreError(MinimaxoptError):
    """A store that cannot be used as it is."""


@dataclass(frozen=True)
class Store:
    """The results in a folder, by key.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store(Path(folder))
    ...     store.put("abc", {"error": 0.5})
    ...     store.result("abc")["error"], "abc" in store, "abd" in store
    (0.5, True, False)
    """

    folder: Path

    @property
    def results(self) -> Path:
        """Folder of the finished results."""
        return self.folder / "store"

    def __contains__(self, key: object) -> bool:
        return (self.results / str(key) / _RESULT).is_file()

    def result(self, key: str) -> dict[str, Any]:
        """The JSON part of a result."""
        return read_json(self.results / key / _RESULT)

    def tensors(self, key: str) -> dict[str, Tensor]:
        """The tensors of a result, checked against the hash that was recorded with them."""
        path = self.results / key / _TENSORS
        try:
            if hashlib.sha256(path.read_bytes()).hexdigest() != self.result(key)["tensors_sha256"]:
                raise StoreError(_damaged(path, "its contents are not those that were recorded"))
            return load_file(path)
        except (OSError, SafetensorError, KeyError) as error:
            raise StoreError(_damaged(path, str(error))) from error

    def put(self, key: str, result: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None) -> None:
        """Store a result at once and whole; the first of two results under one key stays."""
        self.results.mkdir(parents=True, exist_ok=True)
        content = dict(result)
        draft = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=self.results))
        try:
            if tensors:
                raw = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
                content["tensors_sha256"] = hashlib.sha256(raw).hexdigest()
                _write(draft / _TENSORS, raw)
            _write(draft / _RESULT, _encode(content))
            draft.chmod(0o755)  # mkdtemp makes folders that only their owner can enter
            _flush_folder(draft)
            if key not in self:
                draft.replace(self.results / key)
                _flush_folder(self.results)
        except OSError as error:
            reason = f"store: {self.results / key} could not be written ({error}); free space on the disk and run again"
            raise StoreError(reason) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what a killed process left half written."""
        for leftover in self.results.glob(_TEMPORARY + "*"):
            shutil.rmtree(leftover, ignore_errors=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder against a second run; the system lets go of it when the process ends, however it ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreError(
                    f"out: a study is already running in {self.folder}; wait for it or choose another folder"
                ) from error
            self.sweep()
            yield

    def is_locked(self) -> bool:
        """Whether a run holds the folder now."""
        if not (self.folder / "lock").exists():
            return False
        with (self.folder / "lock").open() as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False


def write_json(path: Path, content: Any) -> None:
    """Replace a JSON file at once: a reader sees the old or the new content, never a part."""
    write_atomically(path, _encode(content))


def write_atomically(path: Path, raw: bytes) -> None:
    """Replace a file at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
    os.close(handle)
    draft = Path(name)
    try:
        _write(draft, raw)
        draft.chmod(0o644)  # mkstemp makes files that only their owner can read
        draft.replace(path)
        _flush_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Read a JSON file; a damaged one is an error that says which and what to do."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(_damaged(path, str(error))) from error


def _damaged(path: Path, reason: str) -> str:
    return f"store: {path} cannot be read ({reason}); delete {path.parent} and run again, and it is computed anew"


def _encode(content: Any) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=False, allow_nan=False) + "\n").encode()


def _write(path: Path, raw: bytes) -> None:
    with path.open("wb") as handle:
        handle.write(raw)
        handle.flush()
        os.fsync(handle.fileno())


def _flush_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
