"""A study's folder: running it, asking how far it is, rebuilding its report.

DIR/run.json        the profile, the fingerprint of the digits and the hashes of the sources: they give the graph of tasks
DIR/store/KEY/      one finished task each
DIR/unfinished/KEY/ checkpoints of trainings that were interrupted
DIR/tables/, figures/, claims.json, costs.json, report.md, report.html
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from minimaxopt_study import report
from minimaxopt_study._digits import describe, how_to_open, open_digits
from minimaxopt_study.plan import FUNCTIONS, Plan, current_sources, derive
from minimaxopt_study.profile import Profile, parse_profile
from minimaxopt_study.results import gather
from minimaxopt_study.runner import Reporter, Summary, run_graph
from minimaxopt_study.store import FORMAT, Store, StoreError, read_json, write_atomically, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from minimaxopt_study.results import Results


@dataclass(frozen=True)
class Study:
    """A folder with what determines its study."""

    folder: Path
    profile: Profile
    data: dict[str, Any]
    sources: dict[str, str]
    runs: list[dict[str, Any]]

    @property
    def plan(self) -> Plan:
        return derive(self.profile, self.data["fingerprint"], self.sources)

    @property
    def store(self) -> Store:
        return Store(self.folder)

    def results(self) -> Results:
        """What has been found so far."""
        return gather(self.plan, self.store, self.profile)


def open_study(folder: Path) -> Study:
    """The study in a folder.

    Raises:
        StoreError: there is none, or another version of this plugin made it.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise StoreError(f"dir: {folder} holds no study (no run.json); start one: minimaxopt study run --out {folder}")
    content = read_json(path)
    if content.get("format") != FORMAT:
        raise StoreError(
            f"dir: {folder} was made in format {content.get('format')!r}, this version reads {FORMAT}; "
            "use the version that made it, or choose another folder"
        )
    return Study(folder, parse_profile(content["profile"]), content["data"], content["sources"], content["runs"])


def run(
    profile: Profile, folder: Path, reporter: Reporter, *, workers: int = 2, data_dir: str | None = None
) -> Summary:
    """Compute whatever the folder lacks of a profile, then write tables, figures and report.

    Args:
        profile: what is to be done.
        folder: where; a folder that holds results already is continued.
        reporter: is told how it goes on.
        workers: processes of one thread each.
        data_dir: folder of MNIST's files; by default the profile's own digits.
    """
    opening = how_to_open(profile.data, data_dir or os.environ.get("MINIMAXOPT_DATA_DIR") or None)
    digits = open_digits(**{name: value for name, value in opening.items() if name != "open"})
    before = open_study(folder).runs if (folder / "run.json").is_file() else []
    study = Study(folder, profile, dict(describe(digits)), current_sources(), before)
    if study.store.is_locked():
        raise StoreError(f"out: a study is already running in {folder}; wait for it or choose another folder")
    _save(study)
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    summary: Summary | None = None
    try:
        summary = run_graph(study.plan.graph, folder, FUNCTIONS, reporter, workers=workers, digits=opening,
                            checkpoint_every=profile.checkpoint_every)  # fmt: skip
        return summary
    finally:
        computed = len(summary.computed) if summary else None
        seconds = round(time.perf_counter() - clock, 1)
        if computed != 0:
            study.runs.append({"started": started, "seconds": seconds, "workers": workers, "computed": computed})
            _save(study)
        if summary is not None:
            for key, reason in summary.failed.items():
                write_atomically(folder / "failures" / f"{key}.txt", reason.encode())
            report.write(folder, study.profile, study.data, study.runs, study.plan, study.store, study.results())


def rebuild(folder: Path) -> Path:
    """Write tables, figures and report again from what is stored; no digits are needed."""
    study = open_study(folder)
    return report.write(folder, study.profile, study.data, study.runs, study.plan, study.store, study.results())


@dataclass(frozen=True)
class Progress:
    """How far a study is: for each kind of task how many are done and left, what runs now, seconds spent, and
    whether the sources have changed since, so that a run would compute anew what they touch.
    """

    kinds: dict[str, tuple[int, int]]
    running: dict[str, float]
    seconds: float
    active: bool
    outdated: bool


def progress(folder: Path) -> Progress:
    """Ask a folder how far its study is, while it runs or afterwards."""
    study = open_study(folder)
    store, graph = study.store, study.plan.graph
    done, left = Counter[str](), Counter[str]()
    seconds = 0.0
    for task in graph:
        finished = task.key in store
        (done if finished else left)[task.kind] += 1
        seconds += store.result(task.key)["seconds"] if finished else 0.0
    active = store.is_locked()
    path = folder / "running.json"
    since = read_json(path) if active and path.is_file() else {}
    now = time.time()
    running = {graph[key].title: now - start for key, start in since.items() if key in graph}
    kinds = {kind: (done[kind], left[kind]) for kind in dict.fromkeys(task.kind for task in graph)}
    return Progress(kinds, running, seconds, active, study.sources != current_sources())


def _save(study: Study) -> None:
    content = {
        "format": FORMAT,
        "profile": study.profile.model_dump(mode="json"),
        "data": study.data,
        "sources": study.sources,
        "runs": study.runs,
    }
    write_json(study.folder / "run.json", content)
