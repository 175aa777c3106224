"""The folder of a study: what determines it, and where its results are.

==================== ===========================================================================================
``run.json``         the profile, the fingerprint of the images and, for each seed, the version of each kind of
                     task: they give the graph of tasks
``running.json``     while a run is active: its workers, and what they compute
``store/KEY/``       one finished task each
``unfinished/KEY/``  checkpoints of trainings that were interrupted
``failures/KEY.txt`` why a task failed
``tables/`` etc.     the report: tables, figures, claims.json, costs.json, report.md, report.html
==================== ===========================================================================================
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from minimaxopt.errors import StoreError
from minimaxopt.plugins import write_json
from minimaxopt_study.plan.kinds import VERSIONS
from minimaxopt_study.plan.plan import Plan, derive
from minimaxopt_study.profiles.profile import Profile, parse_profile
from minimaxopt_study.results.earlier_results import BEFORE_VERSIONS, open_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from minimaxopt.plugins import ResultStore

FORMAT = 1  # of run.json


@dataclass(frozen=True)
class Study:
    """The study in a folder.

    Args:
        folder: the folder.
        profile: its settings.
        data: description of the images, with their fingerprint.
        versions: for each seed, the version of each kind of task: seeds may be added after one has been raised.
        runs: for each run its start, seconds, workers and number of computed tasks.
    """

    folder: Path
    profile: Profile
    data: dict[str, Any]
    versions: Mapping[int, Mapping[str, int]]
    runs: list[dict[str, Any]]

    @cached_property
    def plan(self) -> Plan:
        """The tasks of the study."""
        return derive(self.profile, self.data["fingerprint"], self.versions)

    @cached_property
    def store(self) -> ResultStore:
        """The results of the study."""
        return open_store(self.folder)

    def save(self) -> None:
        """Write run.json, from which the study is opened."""
        content = {
            "format": FORMAT,
            "profile": self.profile.model_dump(mode="json"),
            "data": self.data,
            "versions": {str(seed): dict(versions) for seed, versions in self.versions.items()},
            "runs": self.runs,
        }
        write_json(self.folder / "run.json", content)


def open_study(folder: Path) -> Study:
    """Open the study in a folder.

    Raises:
        StoreError: there is none, it is damaged, or another version of this plugin made it.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise StoreError(f"dir: {folder} holds no study (no run.json); start one: minimaxopt study run --out {folder}")
    content = _content(path)
    if content["format"] != FORMAT:
        raise StoreError(
            f"dir: {folder} was made in format {content['format']!r}, this version reads {FORMAT}; "
            "use the version that made it, or choose another folder"
        )
    profile = parse_profile(content["profile"])
    return Study(folder, profile, content["data"], _versions(content, profile.seeds), content["runs"])


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        missing = {"format", "profile", "data", "runs"} - content.keys()
        if "format" in missing or (missing and content["format"] == FORMAT):
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        if not missing and not (
            isinstance(content["data"], dict) and {"name", "fingerprint"} <= content["data"].keys()
            and isinstance(content.get("versions", {}), dict) and isinstance(content["runs"], list)
        ):  # fmt: skip
            raise ValueError("its data, versions or runs are not what a study writes")
    except (OSError, ValueError, AttributeError) as error:
        raise StoreError(
            f"dir: {path} cannot be read ({error}); delete this one file and run the study into the folder again: "
            "what is stored there is used again"
        ) from error
    return content


def _versions(content: Mapping[str, Any], seeds: Sequence[int]) -> dict[int, dict[str, int]]:
    """Return the version of each kind of task by seed, in studies that name none the one from before versions."""
    if "versions" in content:
        return {int(seed): dict(versions) for seed, versions in content["versions"].items()}
    return {seed: dict.fromkeys(VERSIONS, BEFORE_VERSIONS) for seed in seeds}
