"""Results from before kinds of task had versions, identified by what determines them.

Their names are hashes that took in the sources. The key that the same result has today follows from what is written in
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minimaxopt.errors import StoreError
from minimaxopt.plugins import ResultStore
from minimaxopt_study.plan.task import key_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BEFORE_VERSIONS = 0  # the version of results that name none


def open_store(folder: Path) -> ResultStore:
    """Return the store in a folder, with results from before versions under today's keys."""
    store = ResultStore(folder)
    return ResultStore(folder, names=names_by_key(store))


def names_by_key(store: ResultStore) -> dict[str, str]:
    """Return the names of results from before versions by today's keys; of two, the one that finished last."""
    results: dict[str, dict[str, Any]] = {}
    for path in sorted(store.results.glob("*/result.json")):
        try:
            result = store.result(path.parent.name)
        except StoreError:  # its readers report it
            continue
        if "version" not in result:
            results[path.parent.name] = result
    keys: dict[str, str] = {}
    finished = sorted(results, key=lambda name: results[name]["finished"])
    names = {_key(name, results, keys): name for name in finished}
    return {key: name for key, name in names.items() if key not in store}


def _key(name: str, results: Mapping[str, Mapping[str, Any]], keys: dict[str, str]) -> str:
    """Return the key of a result by its name; of one that names its version, that is the name itself."""
    if name not in results:
        return name
    if name not in keys:
        result = results[name]
        parents = {role: _key(parent, results, keys) for role, parent in result["parents"].items()}
        keys[name] = key_of(
            result["kind"], BEFORE_VERSIONS, result["settings"], parents, result["data"], result["seed"]
        )
    return keys[name]
