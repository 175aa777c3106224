"""Results by the settings that determine them: an interrupted command continues where it stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

from minimaxopt.errors import StoreError
from minimaxopt.plugins import ResultStore, content_key, read_json
from minimaxopt_privacy.checks import refuse

VERSION = 2
"""Version of the fits and evaluations: raised whenever a change of the code changes a number."""


@final
class ResultCache:
    """A folder of results, each stored under a hash of its settings and of ``VERSION``.

    Args:
        folder: made when the first result is stored; ``None`` stores nothing.

    Raises:
        ArgumentError: ``folder`` is a file.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first = ResultCache(folder).get({"seed": 0}, lambda: {"value": 1})
        ...     again = ResultCache(folder).get({"seed": 0}, lambda: {"value": 2})
        >>> first == again
        True
    """

    def __init__(self, folder: str | Path | None) -> None:
        if folder is not None and Path(folder).exists() and not Path(folder).is_dir():
            raise refuse("out", f"{folder} is a file", "give a folder")
        self._store = None if folder is None else ResultStore(Path(folder))

    def get(self, settings: Mapping[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the result of ``settings``, computed and stored unless it is there; a damaged one is computed anew.

        Args:
            settings: everything that determines the result, as plain values.
            compute: returns the result as plain values.

        Raises:
            StoreError: the folder cannot be written to.
        """
        if self._store is None:
            return compute()
        determined = {"version": VERSION, **settings}
        key = content_key(determined)
        if key in self._store and self._is_damaged(key):
            shutil.rmtree(self._store.path(key))
        return self._store.cached(determined, compute)

    def settings(self) -> list[dict[str, Any]]:
        """Return the settings of every stored result that can be read, those of other versions included."""
        if self._store is None:
            return []
        keys = sorted(path.parent.name for path in self._store.results.glob("*/result.json"))
        return [self._store.result(key)["determined_by"] for key in keys if not self._is_damaged(key)]

    def _is_damaged(self, key: str) -> bool:
        """Return whether a stored result is no JSON, or lacks a part; one of another format is not damaged."""
        assert self._store is not None
        try:
            content = read_json(self._store.path(key) / "result.json")
        except StoreError:
            return True
        return not isinstance(content, dict) or not {"determined_by", "result"} <= content.keys()
