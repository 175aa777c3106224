"""Records of studies: copies without weights, for readers.

A record can grow: it can be rewritten while the study runs, and seeds that were run later or elsewhere are added to it.
From a record the report is written as from the study itself, and a run in a copy of it computes only what it lacks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from minimaxopt.errors import ArgumentError
from minimaxopt_study.profiles.differences import WITHOUT_EFFECT, differences
from minimaxopt_study.report.write import write_report
from minimaxopt_study.study import Study, open_study

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from minimaxopt_study.plan.task import Task
    from minimaxopt_study.profiles.profile import Profile

SHOWN = 3  # differing settings that the error names
AUTOATTACK = "modern.autoattack_images"


@dataclass(frozen=True)
class Record:
    """The outcome of recording: results copied, results that were there before, the record's seeds, its report."""

    copied: int
    had: int
    seeds: tuple[int, ...]
    report: Path


def record(folder: Path, dest: Path) -> Record:
    """Copy the finished results of a study to ``dest``, or add them to the record that is there.

    Args:
        folder: of the study; a run may be active in it.
        dest: a new or empty folder, or a record of a study that differs at most in its seeds.

    Raises:
        ArgumentError: ``dest`` is the study itself, holds something else, or holds a study of other settings, other
            images or, for one of the seeds, other versions of the tasks; it is left as it is.
        StoreError: a study is damaged or of another version, a run is active in ``dest``, or there is no room.
    """
    source = open_study(folder)
    study = _merged(source, dest)
    done = [task.key for task in study.plan.graph if task.key in source.store]
    # Read before anything is written: one may be damaged.
    results = {key: _of_today(study.plan.graph[key], source.store.result(key)) for key in done}
    with study.store.lock("a study"):
        try:
            return _write(_merged(source, dest), results)  # once more: another record may have just been made
        finally:
            (dest / "lock").unlink(missing_ok=True)  # it tells a reader nothing


def _of_today(task: Task, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result with the keys of its task and parents, which one from before versions does not have."""
    return {**result, "key": task.key, "version": task.version, "parents": dict(task.parents)}


def _merged(source: Study, dest: Path) -> Study:
    before = _recorded(source.folder, dest)
    return replace(source, folder=dest) if before is None else merge(before, source)


def _write(study: Study, results: Mapping[str, Mapping[str, Any]]) -> Record:
    store, keys = study.store, [task.key for task in study.plan.graph]
    had = {key for key in keys if key in store}
    new = [key for key in keys if key in results and key not in had]
    study.save()
    for key in new:
        store.put(key, results[key])
    return Record(len(new), len(had), study.profile.seeds, write_report(study))


def merge(record: Study, study: Study) -> Study:
    """Return the record with the study's seeds added.

    Raises:
        ArgumentError: the two differ in more than their seeds, so that their numbers cannot stand in one table.
    """
    faults = [
        f"{name} ({old} there, {new} here)"
        for name, old, new in differences(record.profile, study.profile, (*WITHOUT_EFFECT, "seeds"))
        # Seeds that were run without AutoAttack's package merely lack its results.
        if name != AUTOATTACK or (old and new)
    ]
    if record.data["fingerprint"] != study.data["fingerprint"]:
        faults.insert(0, f"images ({record.data['name']} there, {study.data['name']} here)")
    if faults:
        more = f" and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise ArgumentError(
            f"dest: {record.folder} records a study that differs in {', '.join(faults[:SHOWN])}{more}, and "
            f"{study.folder} cannot be added to it; choose another folder"
        )
    for seed in study.profile.seeds:
        _same_versions(record, study, seed)
    seeds = tuple(dict.fromkeys((*record.profile.seeds, *study.profile.seeds)))
    versions = {seed: (record if seed in record.profile.seeds else study).versions.get(seed, {}) for seed in seeds}
    profile = record.profile.model_copy(update={"seeds": seeds})
    if not _autoattacked(record.profile):
        profile = profile.model_copy(update={"modern": study.profile.modern})
    return Study(record.folder, profile, record.data, versions, _runs(record, study))


def _autoattacked(profile: Profile) -> int:
    """Return the number of images that AutoAttack is run on: none where its package was not installed."""
    return profile.modern.autoattack_images if profile.modern is not None else 0


def _same_versions(record: Study, study: Study, seed: int) -> None:
    if seed not in record.profile.seeds or record.versions.get(seed) == study.versions.get(seed):
        return
    recorded, computed = record.versions.get(seed, {}), study.versions.get(seed, {})
    kinds = [kind for kind in dict.fromkeys((*recorded, *computed)) if recorded.get(kind) != computed.get(kind)]
    raise ArgumentError(
        f"dest: {record.folder} records seed {seed} in other versions of {', '.join(kinds[:SHOWN])}; choose another "
        "folder, or record a study of new seeds alone (--seeds)"
    )


def _runs(record: Study, study: Study) -> list[dict[str, Any]]:
    added = [run for run in study.runs if run not in record.runs]
    return sorted(record.runs + added, key=lambda run: str(run["started"]))


def _recorded(folder: Path, dest: Path) -> Study | None:
    """Return the study recorded in ``dest``, or None if that is new or empty."""
    if dest.resolve() == folder.resolve():
        raise ArgumentError(f"dest: {dest} is the study itself; choose another folder")
    if (dest / "run.json").is_file():
        return open_study(dest)
    if dest.exists() and (not dest.is_dir() or any(item.name != "lock" for item in dest.iterdir())):
        raise ArgumentError(f"dest: {dest} holds something, but no study; choose a new or empty folder")
    return None
