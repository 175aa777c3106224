"""Running a study: computing what its folder lacks, then writing its report."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from minimaxopt.errors import StoreError
from minimaxopt.plugins import write_atomically
from minimaxopt_adversarial import autoattack_available
from minimaxopt_study.plan.kinds import FUNCTIONS, VERSIONS
from minimaxopt_study.plan.selection import wanted
from minimaxopt_study.profiles.differences import differences
from minimaxopt_study.report.write import write_report
from minimaxopt_study.runner.scheduler import Reporter, Summary, compute
from minimaxopt_study.study import Study, open_study
from minimaxopt_study.tasks.images import describe, open_images, opening_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from minimaxopt_study.profiles.profile import Profile

SHOWN = 4  # differing settings that one line names


def run_study(
    profile: Profile,
    folder: Path,
    reporter: Reporter,
    *,
    workers: int = 2,
    data_dir: str | None = None,
    only: Sequence[str] = (),
    allow_unverified: bool = False,
    download: bool = False,
    device: str = "cpu",
) -> Summary:
    """Compute whatever the folder lacks of a profile, then write tables, figures and report.

    Args:
        profile: what is to be done.
        folder: where; a folder that holds results already is continued.
        reporter: receives the progress of the run.
        workers: processes of one thread each.
        data_dir: folder of the data set's files; by default the profile's own images.
        only: tables and figures, named as in ``selection.choices``: nothing is computed but what they need. Empty:
            all.
        allow_unverified: accept files of CIFAR-10 that cannot be verified; every result then says so.
        download: fetch files that are missing, into ``data_dir`` or the user's cache; otherwise they are an error.
        device: where the workers compute, such as "cpu" or "cuda". It does not enter the keys: a study may go on
            elsewhere.

    Raises:
        DataError, ArgumentError: the images or a name cannot be used; nothing has been written then.
        StoreError: the folder holds a study of another version or a damaged one, another run holds it, or the disk is
            full; what is stored stays.
    """
    directory = data_dir or os.environ.get("MINIMAXOPT_DATA_DIR") or None
    opening = opening_arguments(profile.data, directory, allow_unverified=allow_unverified, download=download)
    profile = _without_autoattack(profile, reporter)
    images = open_images(**{name: value for name, value in opening.items() if name != "open"})
    before = open_study(folder) if (folder / "run.json").is_file() else None
    versions = dict.fromkeys(profile.seeds, VERSIONS)
    study = Study(folder, profile, dict(describe(images)), versions, before.runs if before else [])
    plan = study.plan
    graph = wanted(plan, profile, only) if only else plan.graph
    with study.store.lock("a study"):
        if before is not None and (line := _changes(before, study)):
            reporter.note(line)
        study.save()
        entry = _RunEntry(study, workers, tuple(only))
        try:
            summary = compute(graph, study.store, FUNCTIONS, reporter, workers=workers, images=opening,
                              checkpoint_every=profile.checkpoint_every, only=only, device=device)  # fmt: skip
        except BaseException:
            with suppress(StoreError):  # a full disk may be full for this too; the first error is raised
                entry.append(None)
            raise
        entry.append(len(summary.computed))
        _write_failures(folder, summary)
        write_report(study, without=summary.damaged)
    return summary


def _without_autoattack(profile: Profile, reporter: Reporter) -> Profile:
    """Return the profile without AutoAttack where its package is not installed, and say so before the run."""
    modern = profile.modern
    if modern is None or not modern.autoattack_images or autoattack_available():
        return profile
    reporter.note(
        "AutoAttack is left out, since torchattacks is not installed; install minimaxopt-adversarial[autoattack] and "
        "run again, and only that is added"
    )
    return profile.model_copy(update={"modern": modern.model_copy(update={"autoattack_images": 0})})


def _changes(before: Study, after: Study) -> str:
    """Return a line on what differs from the folder's last run, so that nobody mixes two studies unawares."""
    changes = [
        f"{name} {_shown(old)} -> {_shown(new)}" for name, old, new in differences(before.profile, after.profile)
    ]
    if before.data["fingerprint"] != after.data["fingerprint"]:
        changes.insert(0, f"images {before.data['name']} -> {after.data['name']}")
    if not changes:
        return ""
    more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
    return (
        f"settings changed since the last run in {after.folder}: {', '.join(changes[:SHOWN])}{more}; "
        "only what depends on them is computed anew"
    )


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


@dataclass
class _RunEntry:
    """The entry that a run adds to run.json when it ends."""

    study: Study
    workers: int
    only: tuple[str, ...]
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    clock: float = field(default_factory=time.perf_counter)

    def append(self, computed: int | None) -> None:
        """Add the entry; ``computed`` counts tasks, and is None if the run did not end by itself."""
        if computed == 0:
            return
        seconds = round(time.perf_counter() - self.clock, 1)
        line = {"started": self.started, "seconds": seconds, "workers": self.workers, "computed": computed}
        self.study.runs.append(line | ({"only": list(self.only)} if self.only else {}))
        self.study.save()


def _write_failures(folder: Path, summary: Summary) -> None:
    for key in summary.computed:
        (folder / "failures" / f"{key}.txt").unlink(missing_ok=True)  # of an earlier run
    for key, reason in (summary.failed | summary.damaged).items():
        write_atomically(folder / "failures" / f"{key}.txt", reason.encode())
