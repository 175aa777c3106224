"""Results by the settings that determine them: an interrupted command continues where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

from minimaxopt.plugins import ResultStore
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
        """Return the result of ``settings``, computed and stored unless it is there.

        Args:
            settings: everything that determines the result, as plain values.
            compute: returns the result as plain values.

        Raises:
            StoreError: the stored result is damaged, or the folder cannot be written to.
        """
        if self._store is None:
            return compute()
        return self._store.cached({"version": VERSION, **settings}, compute)

    def settings(self) -> list[dict[str, Any]]:
        """Return the settings of every stored result, those of other versions included.

        Raises:
            StoreError: a stored result is damaged.
        """
        if self._store is None:
            return []
        keys = sorted(path.parent.name for path in self._store.results.glob("*/result.json"))
        return [self._store.result(key)["determined_by"] for key in keys]
