"""Every name that is not public and that the golden numbers need, at its old place or at its new one.

The same computations play commits before and after a move: each name is a list of places, of which the first that exists
counts. Whoever moves or renames one adds its new place here.
"""

from __future__ import annotations

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def _first(*places: str) -> Any:
    """Return what the first existing ``"module:name"`` names."""
    for place in places:
        module, _, name = place.partition(":")
        if _exists(module) and hasattr(import_module(module), name):
            return getattr(import_module(module), name)
    raise ImportError(f"places: none of {', '.join(places)} exists; add the new place to tests/golden/adapter.py")


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package on the way to it is missing, or is a module
        return False


_S = "minimaxopt_study"


class _Study:
    """The study's parts; imported when asked for, since the core's numbers need none of them."""

    _PLACES = {  # noqa: RUF012 - never changed
        "Store": (f"{_S}.store:Store", "minimaxopt.plugins:ResultStore"),
        "Workspace": (f"{_S}._desk:Desk", f"{_S}.tasks.workspace:Workspace", f"{_S}.tasks.workspace:Desk"),
        "load_profile": (f"{_S}.profile:load_profile", f"{_S}.profiles.profile:load_profile"),
        "open_images": (f"{_S}._images:open_images", f"{_S}.tasks.images:open_images"),
        "derive": (f"{_S}.plan:derive", f"{_S}.plan.plan:derive"),
        "FUNCTIONS": (f"{_S}.plan:FUNCTIONS", f"{_S}.plan.kinds:FUNCTIONS"),
        "gather": (f"{_S}.results.gather:gather", f"{_S}.results:gather"),
        "build_tables": (f"{_S}.tables:build", f"{_S}.results.tables:build"),
        "cells": (f"{_S}.tables:cells", f"{_S}.results.tables:cells"),
        "evidence": (f"{_S}.evidence:evidence", f"{_S}.results.evidence:evidence"),
        "judge": (f"{_S}.judgement:judge", f"{_S}.results.verdicts:judge"),
        "modern_lines": (f"{_S}.beyond:lines", f"{_S}.results.modern_worst_case:worst_cases"),
        "modern_json": (f"{_S}.beyond:as_json", f"{_S}.results.modern_worst_case:as_json"),
    }

    def __getattr__(self, name: str) -> Any:
        if name not in self._PLACES:
            raise AttributeError(name)
        return _first(*self._PLACES[name])

    def images(self, profile: Any, data_dir: Path | None) -> Any:
        """Return the images of a profile, from a folder or those that are embedded."""
        source = "embedded" if data_dir is None else "download"
        return self.open_images(profile.data.name, source, data_dir and str(data_dir), profile.data.held_out,
                                profile.data.train, profile.data.evaluated, allow_unverified=True)  # fmt: skip

    def kinds(self) -> set[str]:
        """Return all kinds of task."""
        return set(self.FUNCTIONS)

    def function(self, kind: str) -> Any:
        """Return the function that computes a kind of task."""
        module, _, name = self.FUNCTIONS[kind].partition(":")
        return getattr(import_module(module), name)

    def workspace(self, store: Any, open_images: Any, scratch: Path) -> Any:
        """Return what a task may use."""
        return self.Workspace(store, open_images, scratch)

    def put(self, store: Any, task: Any, outcome: Any) -> None:
        """Store an outcome as a worker does."""
        record = {
            "format": 1, "key": task.key, "kind": task.kind, "title": task.title, "settings": json.loads(task.settings),
            "parents": dict(task.parents), "data": task.data, "seed": task.seed, "steps": task.steps,
            "seconds": 0.0, "values": dict(outcome.values),
        }  # fmt: skip
        store.put(task.key, record, outcome.tensors)

    def modern(self, results: Any) -> Any:
        """Return the table of the attacks of today."""
        return self.modern_json(self.modern_lines(results))


class _Bench:
    """The bench's parts, likewise."""

    _PLACES = {  # noqa: RUF012 - never changed
        "bench": ("minimaxopt.bench:bench", "minimaxopt_bench:bench"),
        "QUICK": ("minimaxopt.bench:QUICK", "minimaxopt_bench:QUICK"),
        "compute": ("minimaxopt.bench.cells:compute", "minimaxopt_bench.cells:compute"),
    }

    def __getattr__(self, name: str) -> Any:
        if name not in self._PLACES:
            raise AttributeError(name)
        return _first(*self._PLACES[name])


study = _Study()
bench = _Bench()
