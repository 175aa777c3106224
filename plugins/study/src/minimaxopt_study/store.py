"""The store: one folder a result, put in place whole or not at all.

A result is written to a temporary folder beside its final place, every file flushed to the disk, the folder renamed and
the rename flushed. A process killed at any instant leaves the result either complete or absent; leftovers of a killed
process are swept when the store is next opened for writing. Results are JSON and safetensors: nothing is unpickled.

A record of a study keeps the JSON alone; weights that a later run needs are computed again and must be the same.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from minimaxopt.errors import MinimaxoptError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

FORMAT = 1
_RESULT, _TENSORS, _TEMPORARY = "result.json", "tensors.safetensors", ".writing-"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MOMENT = 0.1  # seconds: `is_locked` holds the lock for far less while it looks


class StoreError(MinimaxoptError):
    """A store that cannot be used as it is."""


class DiskFullError(StoreError):
    """There is no room for a result; those that are stored already stay."""


def unwritable(path: Path, error: OSError) -> StoreError:
    """The error for what could not be written, with the remedy that fits its cause."""
    if error.errno in _NO_ROOM:
        return DiskFullError(
            f"store: {path} could not be written ({error}); free space on the disk and run again: what is stored is kept"
        )
    return StoreError(f"store: {path} could not be written ({error}); see that it can be written to and run again")


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
    passed_over: frozenset[str] = frozenset()  # keys of damaged results, which readers then take for absent
    names: Mapping[str, str] = field(
        default_factory=dict
    )  # folders of results that are stored under another name than their key

    @property
    def results(self) -> Path:
        """Folder of the finished results."""
        return self.folder / "store"

    def __contains__(self, key: object) -> bool:
        return key not in self.passed_over and self._holds(str(key))

    def path(self, key: str) -> Path:
        """Return the folder of a result."""
        return self.results / self.names.get(key, key)

    def without(self, keys: Iterable[str]) -> Store:
        """The same store, as if it did not hold some results."""
        return replace(self, passed_over=self.passed_over | frozenset(keys))

    def result(self, key: str) -> dict[str, Any]:
        """The JSON part of a result.

        Raises:
            StoreError: it is damaged, or another version of this plugin made it.
        """
        path = self.path(key) / _RESULT
        content = read_json(path)
        if not isinstance(content, dict):
            raise StoreError(_damaged(path, "it holds no result"))
        if content.get("format", FORMAT) != FORMAT:
            raise StoreError(
                f"store: {path} was made in format {content['format']!r}, this version reads {FORMAT}; use the version "
                f"that made it, or delete {path.parent} and run again, and it is computed anew"
            )
        return content

    def lacks_weights(self, key: str) -> bool:
        """Whether a result's tensors are not kept here, as in a record of a study."""
        return not (self.path(key) / _TENSORS).exists() and "tensors_sha256" in self.result(key)

    def is_record(self) -> bool:
        """Whether there are results here but no weights."""
        return any(self.results.glob(f"*/{_RESULT}")) and not any(self.results.glob(f"*/{_TENSORS}"))

    def tensors(self, key: str) -> dict[str, Tensor]:
        """The tensors of a result, checked against the hash that was recorded with them."""
        path = self.path(key) / _TENSORS
        if self.lacks_weights(key):
            raise StoreError(
                f"store: {path} is not there, since {self.folder} is a record of a study, without weights; run the study "
                f"in another folder, or delete {path.parent} and run again, and it is computed anew"
            )
        try:
            if hashlib.sha256(path.read_bytes()).hexdigest() != self.result(key)["tensors_sha256"]:
                raise StoreError(_damaged(path, "its contents are not those that were recorded"))
            return load_file(path)
        except (OSError, SafetensorError, KeyError) as error:
            raise StoreError(_damaged(path, str(error))) from error

    def put(self, key: str, result: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None) -> None:
        """Store a result at once and whole; the first of two results under one key stays, and gains weights it lacks.

        Raises:
            DiskFullError: there is no room.
            StoreError: it cannot be written, or the weights are not those that the stored result was made with.
        """
        content = dict(result)
        draft: Path | None = None
        try:
            self.results.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=self.results))
            if tensors:
                raw = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
                content["tensors_sha256"] = hashlib.sha256(raw).hexdigest()
                _write(draft / _TENSORS, raw)
            _write(draft / _RESULT, _encode(content))
            draft.chmod(0o755)  # mkdtemp makes folders that only their owner can enter
            _flush_folder(draft)
            if not self._holds(key):
                shutil.rmtree(self.path(key), ignore_errors=True)  # a folder whose result.json was lost
                draft.replace(self.path(key))
                _flush_folder(self.results)
            elif tensors and self.lacks_weights(key):
                self._add_weights(key, draft / _TENSORS, content["tensors_sha256"])
        except OSError as error:
            raise unwritable(self.path(key), error) from error
        finally:
            if draft is not None:
                shutil.rmtree(draft, ignore_errors=True)

    def _holds(self, key: str) -> bool:
        return (self.path(key) / _RESULT).is_file()

    def _add_weights(self, key: str, draft: Path, digest: str) -> None:
        folder = self.path(key)
        recorded = self.result(key)["tensors_sha256"]
        if digest != recorded:
            raise StoreError(
                f"store: the weights of {folder} were computed again, since they are not recorded, and came out different "
                f"({digest[:12]}… instead of {recorded[:12]}…), as on another machine or with another torch; run the study "
                f"in another folder, or delete {folder} and run again to go on from the new weights"
            )
        draft.replace(folder / _TENSORS)
        _flush_folder(folder)

    def sweep(self) -> None:
        """Remove what a killed process left half written."""
        for pattern in (f"{_TEMPORARY}*", f"*/{_TEMPORARY}*"):
            for leftover in self.folder.glob(pattern):
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder against a second run; the system lets go of it when the process ends, however it ends."""
        path = self.folder / "lock"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = path.open("w")
        except OSError as error:
            raise unwritable(path, error) from error
        with handle:
            if not _taken(handle, path):
                raise StoreError(
                    f"out: a study is already running in {self.folder}; wait for it or choose another folder"
                )
            self.sweep()
            yield

    def is_locked(self) -> bool:
        """Whether a run holds the folder now."""
        try:
            with (self.folder / "lock").open() as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False


def _taken(handle: IO[str], path: Path) -> bool:
    """Take the lock if it is free, or is so in a moment."""
    deadline = time.monotonic() + _MOMENT
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_MOMENT / 10)
        else:
            # Who held it may have removed the file meanwhile: then this is a lock on nothing.
            return path.exists() and os.path.samestat(os.fstat(handle.fileno()), path.stat())


def write_json(path: Path, content: Any) -> None:
    """Replace a JSON file at once: a reader sees the old or the new content, never a part."""
    write_atomically(path, _encode(content))


def write_atomically(path: Path, raw: bytes) -> None:
    """Replace a file at once.

    Raises:
        DiskFullError: there is no room; the old content stays.
        StoreError: it cannot be written for another reason; the old content stays.
    """
    draft: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
        os.close(handle)
        draft = Path(name)
        _write(draft, raw)
        draft.chmod(0o644)  # mkstemp makes files that only their owner can read
        draft.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Read a JSON file of a result; a damaged one is an error that says which and what to do."""
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
