"""Results by key: one folder each, put in place whole or not at all.

A result is written to a temporary folder beside its final place, every file flushed to the disk, the folder renamed and
the rename flushed. A process killed at any instant leaves the result either complete or absent; leftovers of a killed
process are swept when the store is next locked for writing. Results are JSON and safetensors: nothing is unpickled.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, final

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from minimaxopt.errors import StoreError
from minimaxopt.results.storage import TEMPORARY, encode_json, flush_folder, unwritable, write_flushed

FORMAT = 1
_RESULT, _TENSORS = "result.json", "tensors.safetensors"
_MOMENT = 0.1  # seconds: `is_locked` holds the lock for far less while it looks


def content_key(determined: Mapping[str, Any]) -> str:
    """Return the key of a result: a hash of everything that determines it.

    Args:
        determined: plain values; equal ones give equal keys, whatever the order of names.

    Raises:
        ValueError: a number is not finite, which JSON cannot hold.

    Examples:
        >>> content_key({"a": 1, "b": [2]}) == content_key({"b": [2], "a": 1})
        True
    """
    text = json.dumps(determined, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


@final
@dataclass(frozen=True)
class ResultStore:
    """The results in a folder, by key.

    Args:
        folder: where; made when the first result is put.
        passed_over: keys that readers take for absent, such as those of damaged results.
        names: by key, the folders of results that are stored under another name, such as the key of an earlier rule.

    Raises:
        StoreError: by most methods, where a result is damaged or the folder cannot be written to.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = ResultStore(Path(folder))
        ...     store.put("abc", {"error": 0.5})
        ...     store.result("abc")["error"], "abc" in store, "abd" in store
        (0.5, True, False)
    """

    folder: Path
    passed_over: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def results(self) -> Path:
        """Folder of the finished results."""
        return self.folder / "store"

    def path(self, key: str) -> Path:
        """Return the folder of a result."""
        return self.results / self.names.get(key, key)

    def __contains__(self, key: object) -> bool:
        return key not in self.passed_over and self._holds(str(key))

    def without(self, keys: Iterable[str]) -> ResultStore:
        """Return the same store, as if it did not hold some results."""
        return replace(self, passed_over=self.passed_over | frozenset(keys))

    def cached(self, determined: Mapping[str, Any], compute: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Return the result of ``determined``, computed and stored unless it is there.

        Args:
            determined: everything that determines the result, a version of its code among it; it is stored too.
            compute: returns the result as plain values.

        Examples:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     first = ResultStore(Path(folder)).cached({"seed": 0, "version": 1}, lambda: {"value": 1})
            ...     again = ResultStore(Path(folder)).cached({"seed": 0, "version": 1}, lambda: {"value": 2})
            >>> first == again
            True
        """
        key = content_key(determined)
        if key not in self:
            self.put(key, {"format": FORMAT, "determined_by": determined, "result": compute()})
        return self.result(key)["result"]

    def result(self, key: str) -> dict[str, Any]:
        """Return the JSON part of a result.

        Raises:
            StoreError: it is damaged, or of another format.
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
        """Return whether a result's tensors are not kept here, as in a record without weights."""
        return not (self.path(key) / _TENSORS).exists() and "tensors_sha256" in self.result(key)

    def tensors(self, key: str) -> dict[str, Tensor]:
        """Return the tensors of a result, checked against the hash that was recorded with them.

        Raises:
            StoreError: they are not kept here, or damaged.
        """
        path = self.path(key) / _TENSORS
        if self.lacks_weights(key):
            raise StoreError(
                f"store: {path} is not there, since {self.folder} is a record without weights; run in another folder, or "
                f"delete {path.parent} and run again, and it is computed anew"
            )
        try:
            if hashlib.sha256(path.read_bytes()).hexdigest() != self.result(key)["tensors_sha256"]:
                raise StoreError(_damaged(path, "its contents are not those that were recorded"))
            return load_file(path)
        except (OSError, SafetensorError, KeyError) as error:
            raise StoreError(_damaged(path, str(error))) from error

    def put(self, key: str, result: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None) -> None:
        """Store a result at once and whole; the first of two results under one key stays, and gains weights it lacks.

        Args:
            key: a name that is fit for a folder.
            result: plain values for JSON.
            tensors: by name; stored on the CPU.

        Raises:
            DiskFullError: there is no room.
            StoreError: it cannot be written, or the weights are not those that the stored result was made with.
        """
        content = dict(result)
        draft: Path | None = None
        try:
            self.results.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.results))
            if tensors:
                raw = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
                content["tensors_sha256"] = hashlib.sha256(raw).hexdigest()
                write_flushed(draft / _TENSORS, raw)
            write_flushed(draft / _RESULT, encode_json(content))
            draft.chmod(0o755)  # mkdtemp makes folders that only their owner can enter
            flush_folder(draft)
            if not self._holds(key):
                shutil.rmtree(self.path(key), ignore_errors=True)  # a folder whose result.json was lost
                draft.replace(self.path(key))
                flush_folder(self.results)
            elif tensors and self.lacks_weights(key):
                self._add_weights(key, draft / _TENSORS, content["tensors_sha256"])
        except OSError as error:
            raise unwritable(self.path(key), error) from error
        finally:
            if draft is not None:
                shutil.rmtree(draft, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what a killed process left half written."""
        for pattern in (f"{TEMPORARY}*", f"*/{TEMPORARY}*", ".*.partial", "*/.*.partial"):
            for leftover in self.folder.glob(pattern):
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)

    @contextmanager
    def lock(self, activity: str = "a run") -> Generator[None]:
        """Lock the folder against a second process; the system releases the lock however this process ends.

        Args:
            activity: name of what runs in such a folder, for the error message: ``"a study"``.

        Raises:
            StoreError: another process holds the lock, or the folder cannot be written to.
        """
        path = self.folder / "lock"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = path.open("w")
        except OSError as error:
            raise unwritable(path, error) from error
        with handle:
            if not _acquired(handle, path):
                raise StoreError(
                    f"out: {activity} is already running in {self.folder}; wait for it or choose another folder"
                )
            self.sweep()
            yield

    def is_locked(self) -> bool:
        """Return whether a run holds the folder now."""
        try:
            with (self.folder / "lock").open() as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

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
        flush_folder(folder)


def read_json(path: Path) -> Any:
    """Read a JSON file of a result.

    Raises:
        StoreError: it cannot be read; the message says which file and what to do.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(_damaged(path, str(error))) from error


def _damaged(path: Path, reason: str) -> str:
    return f"store: {path} cannot be read ({reason}); delete {path.parent} and run again, and it is computed anew"


def _acquired(handle: IO[str], path: Path) -> bool:
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
