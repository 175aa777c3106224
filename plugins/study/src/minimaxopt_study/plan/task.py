"""Tasks and their graph: what is computed, from which parents, and under which key its result is stored.

The name (``key``) is a hash of everything that determines the result: the kind of task and its version, its settings,
the keys of the tasks that it builds on, the images and the seed. So a changed setting renames, and thereby recomputes,
exactly the tasks that depend on it. The sources are not hashed: code may be moved and rewritten as long as no number
changes, and where one does, its kind of task is given another version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from minimaxopt.plugins import content_key

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """One node of the graph: a training, an attack or an evaluation.

    Args:
        kind: its name in ``KINDS``, which holds the function that computes it.
        title: name for people; does not enter the key.
        settings: its settings as canonical JSON.
        parents: pairs of a role and the key of the task in that role.
        data: fingerprint of the images.
        seed: of everything random in it.
        version: of its kind; results of another version have other numbers.
        steps: optimizer steps in it, 0 for an evaluation.
        weight: expected work in relative units, for the order of tasks and the time left; does not enter the key.

    Examples:
        >>> first = Task("train", "a", canonical({"steps": 3}), data="d", seed=0)
        >>> first.key == Task("train", "another title", canonical({"steps": 3}), data="d", seed=0).key
        True
        >>> first.key == Task("train", "a", canonical({"steps": 4}), data="d", seed=0).key
        False
    """

    kind: str
    title: str
    settings: str
    parents: tuple[tuple[str, str], ...] = ()
    data: str = ""
    seed: int = 0
    version: int = 0
    steps: int = 0
    weight: float = 1.0
    key: str = field(init=False)

    def __post_init__(self) -> None:
        key = key_of(self.kind, self.version, json.loads(self.settings), dict(self.parents), self.data, self.seed)
        object.__setattr__(self, "key", key)

    def setting(self, name: str) -> Any:
        """Return one of the settings, decoded."""
        return json.loads(self.settings)[name]

    def parent(self, role: str) -> str:
        """Return the key of the parent in a role."""
        return dict(self.parents)[role]


def key_of(kind: str, version: int, settings: Settings, parents: Mapping[str, str], data: str, seed: int) -> str:
    """Return the key of the result that these determine; ``parents`` holds keys by role."""
    return content_key(
        {"kind": kind, "version": version, "settings": settings, "parents": parents, "data": data, "seed": seed}
    )


def canonical(value: Any) -> str:
    """Return a value as JSON, equal values always as the same text.

    Examples:
        >>> canonical({"b": 1, "a": 2.0})
        '{"a":2.0,"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


class Graph:
    """Tasks by key, parents before the tasks that build on them.

    Args:
        tasks: parents first; of several with one key the first is kept.

    Raises:
        ValueError: a task precedes one of its parents.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks: dict[str, Task] = {}
        for task in tasks:
            missing = [role for role, key in task.parents if key not in self._tasks]
            if missing:
                raise ValueError(f"tasks: {task.title!r} precedes its parents {missing}; list parents first")
            self._tasks.setdefault(task.key, task)

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    def __len__(self) -> int:
        return len(self._tasks)

    def __getitem__(self, key: str) -> Task:
        return self._tasks[key]

    def __contains__(self, key: object) -> bool:
        return key in self._tasks

    def ancestry(self, *keys: str) -> tuple[Task, ...]:
        """Return the named tasks and all that they build on, each once, in the graph's order."""
        wanted: set[str] = set()
        waiting = list(keys)
        while waiting:
            key = waiting.pop()
            if key not in wanted:
                wanted.add(key)
                waiting += [parent for _, parent in self[key].parents]
        return tuple(task for task in self if task.key in wanted)

    def lineages(self) -> dict[str, frozenset[str]]:
        """Return for each task its own key and those of all that it builds on."""
        lineages: dict[str, frozenset[str]] = {}
        for task in self:
            lineages[task.key] = frozenset((task.key,)).union(*(lineages[parent] for _, parent in task.parents))
        return lineages

    def urgency(self) -> dict[str, float]:
        """Return the weight of the heaviest chain that starts at each task; starting there first ends a run soonest."""
        urgency: dict[str, float] = {}
        heaviest_child: dict[str, float] = {}
        for task in reversed(tuple(self)):
            urgency[task.key] = task.weight + heaviest_child.get(task.key, 0.0)
            for _, parent in task.parents:
                heaviest_child[parent] = max(heaviest_child.get(parent, 0.0), urgency[task.key])
        return urgency
