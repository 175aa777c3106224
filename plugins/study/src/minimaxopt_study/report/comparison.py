"""Two studies side by side: every cell of the tables, every verdict, every setting that differs.

Which error a difference is measured by. A cell's standard error is that of an error rate counted on the evaluated
images, as in ``results.margins``, or that of the mean over seeds where it is larger, as when a claim is judged. The two
studies are taken as independent, so their difference has the root of the sum of both squares; on the same images that
overstates it. Below two seeds it does not know how much another training would differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot
from typing import TYPE_CHECKING, Any

from minimaxopt.errors import ArgumentError
from minimaxopt_study.formatting import DASH, abbreviated
from minimaxopt_study.paper.names import NO_DEFENSE
from minimaxopt_study.profiles.differences import WITHOUT_EFFECT, differences
from minimaxopt_study.results import tables
from minimaxopt_study.results.evidence import evidence
from minimaxopt_study.results.gather import gather
from minimaxopt_study.results.margins import STANDARD_ERRORS, Quantity, Verdict, measured
from minimaxopt_study.results.verdicts import judge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minimaxopt_study.profiles.profile import Profile
    from minimaxopt_study.results.gather import Results
    from minimaxopt_study.results.tables import Cell
    from minimaxopt_study.study import Study

LAST = "(last)"  # the last round, where two studies have different ones
_Place = tuple[int, str, str, str]


@dataclass(frozen=True)
class Side:
    """One of the two studies.

    Args:
        label: what a person calls it, such as its folder.
        profile, data: what determines it, as in ``run.json``.
        code: for each kind of task its versions and the hashes of its sources.
        results: its results.
    """

    label: str
    profile: Profile
    data: Mapping[str, Any]
    code: Mapping[str, tuple[str, ...]]
    results: Results

    @classmethod
    def of(cls, study: Study) -> Side:
        """Return the side of a study."""
        results = gather(study.plan, study.store, study.profile)
        return cls(str(study.folder), study.profile, study.data, _code(study), results)


@dataclass(frozen=True)
class Pair:
    """One cell in both studies.

    Args:
        table: number of the table in the paper.
        eta: as printed; empty for the clean error of the undefended classifier, which knows none.
        row, column: defence and attack; the last round is called ``(last)`` where the studies have different ones.
        cells: the cell in A and in B; None where a study has no such cell.
        difference: B's mean less A's; None where one of them has no number.
        standard_error: of the difference.
    """

    table: int
    eta: str
    row: str
    column: str
    cells: tuple[Cell | None, Cell | None]
    difference: float | None
    standard_error: float | None

    @property
    def paper(self) -> float | None:
        """The paper's number."""
        return next((cell.paper for cell in self.cells if cell is not None and cell.paper is not None), None)

    @property
    def differs(self) -> bool:
        """True if the difference is more than two standard errors."""
        if self.difference is None or self.standard_error is None:
            return False
        return abs(self.difference) > STANDARD_ERRORS * self.standard_error


@dataclass(frozen=True)
class Verdicts:
    """A claim's verdicts in A and in B, and on the paper's own numbers."""

    claim: str
    here: tuple[Verdict, Verdict]
    over_seeds: tuple[Verdict, Verdict]
    paper: Verdict

    @property
    def differs(self) -> bool:
        """True if a verdict of A and B differs."""
        return self.here[0] is not self.here[1] or self.over_seeds[0] is not self.over_seeds[1]


@dataclass(frozen=True)
class Comparison:
    """The comparison of two studies.

    Args:
        sides: the two.
        pairs: every cell that one of them has, in the order of the tables.
        verdicts: every claim.
        settings: the settings that differ: dotted name, value in A, value in B.
        origins: images and code, where they differ, likewise.
    """

    sides: tuple[Side, Side]
    pairs: tuple[Pair, ...]
    verdicts: tuple[Verdicts, ...]
    settings: tuple[tuple[str, str, str], ...]
    origins: tuple[tuple[str, str, str], ...]

    @property
    def in_both(self) -> list[Pair]:
        """The cells with a number in both."""
        return [pair for pair in self.pairs if pair.difference is not None]

    @property
    def rounds_differ(self) -> bool:
        """True if the studies end at different rounds."""
        return self.sides[0].results.rounds != self.sides[1].results.rounds

    @property
    def same(self) -> bool:
        """True if no number, verdict, setting or origin differs."""
        numbers = all(pair.difference == 0 for pair in self.pairs if _known(pair.cells[0]) or _known(pair.cells[1]))
        return numbers and not (self.settings or self.origins or any(claim.differs for claim in self.verdicts))


def compare(a: Side, b: Side) -> Comparison:
    """Compare two studies.

    Raises:
        ArgumentError: they are of different data sets, whose tables have nothing in common.
    """
    if a.profile.experiment is not b.profile.experiment:
        raise ArgumentError(
            f"b: {b.label} is a study on {b.profile.experiment.title}, {a.label} one on {a.profile.experiment.title}; "
            "compare two of the same data set"
        )
    changed = differences(a.profile, b.profile, ignoring=WITHOUT_EFFECT)
    settings = tuple((name, _shown(ours), _shown(theirs)) for name, ours, theirs in changed)
    return Comparison((a, b), tuple(_pairs(a, b)), tuple(_verdicts(a, b)), settings, tuple(_origins(a, b)))


def _pairs(a: Side, b: Side) -> list[Pair]:
    differ = a.results.rounds != b.results.rounds
    ours, theirs = (_cells(side.results, differ) for side in (a, b))
    places = list(dict.fromkeys((*ours, *theirs)))
    rows = list(dict.fromkeys((table, row) for table, _, row, _ in places))
    # What only one of them has stands with the rest of its table, eta and row.
    places.sort(key=lambda place: (place[0], float(place[1] or 0), rows.index((place[0], place[2]))))
    return [_pair(place, a, ours.get(place), b, theirs.get(place)) for place in places]


def _pair(place: _Place, a: Side, ours: Cell | None, b: Side, theirs: Cell | None) -> Pair:
    one, other = _quantity(ours, a.results), _quantity(theirs, b.results)
    if not (one.by_seed and other.by_seed):
        return Pair(*place, (ours, theirs), None, None)
    return Pair(*place, (ours, theirs), other.mean - one.mean, hypot(one.standard_error, other.standard_error))


def _quantity(cell: Cell | None, results: Results) -> Quantity:
    return measured(cell.by_seed if cell is not None else {}, max(results.test_images, 1), "")


def _known(cell: Cell | None) -> bool:
    return cell is not None and bool(cell.by_seed)


def _cells(results: Results, differ: bool) -> dict[_Place, Cell]:
    """Return all cells by table, eta, row and column."""
    last = f"FGSM{results.rounds}"

    def common_name(name: str) -> str:
        return name.removesuffix(last) + "FGSM" + LAST if differ and name.endswith(last) else name

    cells: dict[_Place, Cell] = {}
    for kind, table in tables.build(results).items():
        which = results.experiment.printed(kind)
        for path, cell in tables.cells(table):
            match path:
                case ("eta", eta, row, column):
                    cells[which, eta, common_name(row), common_name(column)] = cell
                case ("values", "FGSM", eta):
                    cells[which, eta, table["rows"][0], "FGSM"] = cell
                case ("clean by eta", eta):
                    cells[which, eta, table["rows"][0], "No attack"] = cell
                case _:
                    cells[which, "", NO_DEFENSE, "No attack"] = cell
    return cells


def _verdicts(a: Side, b: Side) -> list[Verdicts]:
    judged = (judge(evidence(side.results, tables.build(side.results))) for side in (a, b))
    return [
        Verdicts(
            one.claim.name, (one.at_this_scale, other.at_this_scale), (one.over_seeds, other.over_seeds), one.on_paper
        )
        for one, other in zip(*judged, strict=True)
    ]


def _origins(a: Side, b: Side) -> list[tuple[str, str, str]]:
    """Return the images and the code of each kind of task, where they differ."""
    ours, theirs = (
        {"images": _images(side)} | {f"code: {kind}": ", ".join(code) for kind, code in side.code.items()}
        for side in (a, b)
    )
    pairs = ((name, ours.get(name, DASH), theirs.get(name, DASH)) for name in dict.fromkeys((*ours, *theirs)))
    return [(name, in_a, in_b) for name, in_a, in_b in pairs if in_a != in_b]


def _images(side: Side) -> str:
    data = side.data
    counts = f"{data['train']:,} to train, {data['evaluated']:,} to evaluate"
    return f"{data['name']}, {counts}, fingerprint {abbreviated(data['fingerprint'])}"


def _code(study: Study) -> dict[str, tuple[str, ...]]:
    """Return for each kind of task its versions and the hashes of its sources: several where seeds were added later."""
    by_kind: dict[str, list[str]] = {}
    for task in study.plan.graph:
        if task.key in study.store:
            sources = abbreviated(study.store.result(task.key)["sources"])
            by_kind.setdefault(task.kind, []).append(f"version {task.version} ({sources})")
    return {kind: tuple(dict.fromkeys(code)) for kind, code in by_kind.items()}


def _shown(value: Any) -> str:
    """Return a setting as a person reads it; a dash where a study has none.

    Examples:
        >>> _shown([0.2, 0.4]), _shown(None)
        ('0.2, 0.4', '–')
    """
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return DASH if value is None else str(value)
