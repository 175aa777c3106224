"""GENKI: the table of the minimax-filter study again, every choice made by cross-validation on the training faces.

First the candidates of each method are fitted on folds of the 1,740 training faces and attacked on the faces left out.
The one that tells least of the gender while it keeps the smile as the study's NN filter does is chosen. Only then is it
fitted on all training faces, once for each seed, and scored on the 200 test faces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from minimaxopt_privacy.checks import check_choice, check_count, refuse
from minimaxopt_privacy.datasets import PrivacyData, load_genki
from minimaxopt_privacy.estimators.registry import MINIMAX, build_method
from minimaxopt_privacy.evaluation.evaluate import evaluate_filter
from minimaxopt_privacy.genki.published import DIMENSIONS, UTILITY_GOAL
from minimaxopt_privacy.predictors import FAMILIES
from minimaxopt_privacy.result_cache import Cells, write_json

METHODS = (
    "none", "random", "pca", "pls", "lda", "ddd", "linear", "mlp", "laplace", "linear+laplace", "mlp+laplace",
)  # fmt: skip
"""What the study compares; ``"linear@10"`` is the linear filter with its rho held at the study's 10."""

ONE_SIZE = ("none", "ddd", "laplace", "gaussian")
"""Of these, what publishes the same numbers whatever the dimension: one row of the table holds for all."""

RHOS = (0.3, 1.0, 3.0, 10.0, 30.0)

# What is tried of each method; rho comes on top for the minimax filters.
_CLASSICAL: dict[str, list[dict[str, Any]]] = {
    "pls": [{"strength": strength} for strength in (1.0, 10.0, 100.0)],
    "lda": [{"strength": s, "shrinkage": h} for s in (10.0, 1000.0) for h in (0.03, 0.1, 0.3)],
    "ddd": [{"shrinkage": h} for h in (0.03, 0.1, 0.3)],
}
# The adversary is kept near its best answer, and what the filter sees is conditioned: on standardised pixels, which vary
# together, a game of this length ends far from where it leads.
_RESPONSE: dict[str, Any] = {
    "adversary": ["softmax", "mlp"],
    "solver": {"name": "best-response", "ascent_steps": 5},
    "max_iter": 300,
}
_PLAIN: dict[str, Any] = {"scaling": "standard", "jitter": 0.0, "normalize": False}
_PLAYED: dict[str, list[dict[str, Any]]] = {
    "linear": [
        {"scaling": "shrunk-covariance", "jitter": 0.5, **_RESPONSE},
        {"scaling": "shrunk-covariance", "jitter": 1.0, **_RESPONSE},
        {"init": "lda", "adversary": "softmax", "learning_rate": 1e-3, "max_iter": 100, **_PLAIN},
    ],
    "mlp": [
        {"scaling": "shrunk-covariance", "jitter": 0.5, **_RESPONSE},
        {"scaling": "shrunk-covariance", "jitter": 1.0, **_RESPONSE},
        {"penalty": 0.02, "head_penalty": 0.02, **_PLAIN, **_RESPONSE},
    ],
}


@final
@dataclass(frozen=True)
class Protocol:
    """What is compared, and how.

    Args:
        dimensions: numbers published.
        methods: of ``METHODS``, or ``"linear@10"`` and ``"mlp@10"``.
        rhos: prices of utility that are tried.
        seeds: of the fits that the test faces judge.
        folds: of the cross-validation over training faces.
        target: the utility that a chosen filter has to keep in cross-validation.
        epsilon: of the mechanisms.
        families: of the attackers that meet the test faces.
        selecting: of those that meet the folds.
        max_iter: steps of each solve in place of the candidates' own, for a trial.

    Raises:
        ArgumentError: an argument cannot be used.

    Examples:
        >>> Protocol().folds
        5
    """

    dimensions: tuple[int, ...] = DIMENSIONS
    methods: tuple[str, ...] = (*METHODS, "linear@10", "mlp@10")
    rhos: tuple[float, ...] = RHOS
    seeds: tuple[int, ...] = tuple(range(10))
    folds: int = 5
    target: float = UTILITY_GOAL
    epsilon: float = 10.0
    families: tuple[str, ...] = FAMILIES
    selecting: tuple[str, ...] = ("logistic", "rbf-svm")
    max_iter: int | None = None

    def __post_init__(self) -> None:
        check_count("folds", self.folds, least=2)
        for name in ("dimensions", "methods", "rhos", "seeds", "families", "selecting"):
            if not getattr(self, name):
                raise refuse(name, "there is none", "give at least one")
        for method in self.methods:
            check_choice("methods", method, [*METHODS, "gaussian", "linear@10", "mlp@10"])
        for dimension in self.dimensions:
            if not 1 <= check_count("dimensions", dimension) <= 256:
                raise refuse("dimensions", f"{dimension} of 256 features", "give numbers between 1 and 256")

    def candidates(self, method: str) -> list[dict[str, Any]]:
        """Return what is tried of a method: settings of its filter, with ``rho`` among those of a minimax filter.

        >>> len(Protocol(rhos=(1.0, 10.0)).candidates("linear")), len(Protocol().candidates("pca"))
        (6, 1)
        """
        base, _, held = method.partition("+")[0].partition("@")
        if base not in MINIMAX:
            return _CLASSICAL.get(base, [{}])
        short = {} if self.max_iter is None else {"max_iter": self.max_iter}
        rhos = (float(held),) if held else self.rhos
        return [{"rho": rho, **settings, **short} for rho in rhos for settings in _PLAYED[base]]

    def places(self) -> list[tuple[str, int]]:
        """Return what is compared, each method at each dimension; a method without one stands at the first.

        >>> Protocol(dimensions=(2, 5), methods=("pca", "none")).places()
        [('pca', 2), ('none', 2), ('pca', 5)]
        """
        first = self.dimensions[0]
        return [(m, d) for d in self.dimensions for m in self.methods if d == first or m not in ONE_SIZE]


@final
@dataclass(frozen=True)
class Job:
    """One fit and its evaluation: on a fold of the training faces, or on all of them for the test faces."""

    method: str
    dimension: int
    settings: Mapping[str, Any]
    seed: int
    epsilon: float | None
    fold: int | None
    folds: int
    families: Sequence[str]

    @property
    def key(self) -> dict[str, Any]:
        """All that determines the result, but the data."""
        return {"kind": "genki", **asdict(self)}


@final
@dataclass(frozen=True)
class Choice:
    """What cross-validation chose of a method at a dimension, and what it found of every candidate."""

    settings: Mapping[str, Any]
    useful: float
    leakage: float
    tried: Sequence[Mapping[str, Any]]


@final
@dataclass(frozen=True)
class Outcome:
    """The study's result: choices and test scores by method and dimension."""

    protocol: Protocol
    choices: Mapping[tuple[str, int], Choice]
    scores: Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]
    fingerprint: str
    looks: Mapping[tuple[str, int], int]
    """How many different settings of a method were ever scored on the test faces in this folder: 1 if all is well."""


def run(
    path: str | Path,
    out: str | Path | None,
    protocol: Protocol | None = None,
    *,
    workers: int = 1,
    tell: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Choose by cross-validation, score once, and return what was found.

    Args:
        path: of the study's ``genki.mat``.
        out: folder in which results are kept, so that a killed run goes on; ``None`` keeps none.
        protocol: by default the whole comparison.
        workers: processes of one thread each.
        tell: called with a line now and then.

    Raises:
        DataError: the file cannot be read.
        ArgumentError: ``out`` is a file.
    """
    protocol, data = protocol or Protocol(), load_genki(path)
    folder = None if out is None else str(Path(out) / "cells")
    Cells(out)
    tried = {
        (method, dimension): [
            [
                Job(method.partition("@")[0], dimension, settings, 0, None, fold, protocol.folds, protocol.selecting)
                for fold in range(protocol.folds)
            ]
            for settings in protocol.candidates(method)
        ]
        for method, dimension in protocol.places()
        if "+" not in method and len(protocol.candidates(method)) > 1
    }
    validated = _all(
        [job for groups in tried.values() for group in groups for job in group], data, folder, workers, tell
    )
    choices = {
        place: _choose([[validated[_name(job)] for job in group] for group in groups], groups, protocol.target)
        for place, groups in tried.items()
    }
    if out is not None:
        write_json(Path(out) / "choices.json", _rows(choices))  # before the test faces are looked at
    final = {
        (method, dimension): [_final(method, dimension, seed, choices, protocol) for seed in protocol.seeds]
        for method, dimension in protocol.places()
    }
    scored = _all([job for jobs in final.values() for job in jobs], data, folder, workers, tell)
    scores = {place: [scored[_name(job)] for job in jobs] for place, jobs in final.items()}
    return Outcome(protocol, choices, scores, data.fingerprint, _looks(final, folder))


def write(outcome: Outcome, out: str | Path, about: Mapping[str, Any]) -> None:
    """Write all that was found, and ``about`` beside it, into the folder's ``genki.json``; :func:`read` reads it."""
    places = [
        {"method": m, "dimension": d, "looks": outcome.looks[m, d], "scores": list(cells)}
        for (m, d), cells in outcome.scores.items()
    ]
    kept = {"fingerprint": outcome.fingerprint, "protocol": asdict(outcome.protocol)}
    write_json(Path(out) / "genki.json", {**about, **kept, "choices": _rows(outcome.choices), "places": places})


def read(out: str | Path) -> Outcome:
    """Return the outcome that a folder's ``genki.json`` holds."""
    import json

    held = json.loads((Path(out) / "genki.json").read_text())
    protocol = {name: tuple(v) if isinstance(v, list) else v for name, v in held["protocol"].items()}
    choices = {
        (row["method"], row["dimension"]): Choice(row["settings"], row["useful"], row["leakage"], row["tried"])
        for row in held["choices"]
    }
    places = {(row["method"], row["dimension"]): row for row in held["places"]}
    return Outcome(
        Protocol(**protocol),
        choices,
        {place: row["scores"] for place, row in places.items()},
        held["fingerprint"],
        {place: row["looks"] for place, row in places.items()},
    )


def _rows(choices: Mapping[tuple[str, int], Choice]) -> list[dict[str, Any]]:
    return [{"method": m, "dimension": d, **asdict(c)} for (m, d), c in choices.items()]


def _final(method: str, dimension: int, seed: int, choices: Mapping[Any, Choice], protocol: Protocol) -> Job:
    """Return the fit that the test faces judge; noise comes on top of what was chosen for the filter without it."""
    base, _, noise = method.partition("+")
    chosen = choices.get((base, dimension))
    settings = chosen.settings if chosen is not None else protocol.candidates(base)[0]
    epsilon = protocol.epsilon if noise or base in ("laplace", "gaussian") else None
    name = base.partition("@")[0] + (f"+{noise}" if noise else "")
    return Job(name, dimension, settings, seed, epsilon, None, protocol.folds, protocol.families)


def _choose(results: Sequence[Sequence[Any]], groups: Sequence[Sequence[Job]], target: float) -> Choice:
    """Return the candidate that tells least among those that keep the target; failing all, the one that keeps most."""
    rows = [
        {
            "settings": dict(group[0].settings),
            "useful": float(np.mean([r["useful"] for r in cells])),
            "leakage": float(np.mean([r["leakage"] for r in cells])),
        }
        for cells, group in zip(results, groups, strict=True)
    ]
    able = [row for row in rows if row["useful"] >= target]
    best = min(able, key=lambda r: r["leakage"]) if able else max(rows, key=lambda r: r["useful"])
    return Choice(best["settings"], best["useful"], best["leakage"], rows)


def _all(
    jobs: Sequence[Job], data: PrivacyData, folder: str | None, workers: int, tell: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Return every job's result by its name, in processes of their own where there are several workers."""
    from joblib import Parallel, delayed

    unique = {_name(job): job for job in jobs}
    parallel = Parallel(n_jobs=check_count("workers", workers), return_as="generator")
    results: Any = parallel(delayed(_result)(job, data, folder, workers > 1) for job in unique.values())
    found: dict[str, dict[str, Any]] = {}
    for (name, job), result in zip(unique.items(), results, strict=True):
        found[name] = result
        where = f"fold {job.fold + 1} of {job.folds}" if job.fold is not None else f"test faces, seed {job.seed}"
        tell(
            f"{len(found)} of {len(unique)}: {job.method}, d = {job.dimension}, {where}: "
            f"smile {result['useful']:.3f}, gender {result['leakage']:.3f}"
        )
    return found


def _result(job: Job, data: PrivacyData, folder: str | None, apart: bool) -> dict[str, Any]:
    if apart:  # in a process of its own, which must not take the other workers' cores
        import torch

        torch.set_num_threads(1)
    key = {**job.key, "data": data.fingerprint}
    return Cells(folder).get(key, lambda: _compute(job, data))


def _compute(job: Job, data: PrivacyData) -> dict[str, Any]:
    settings = dict(job.settings)
    rho = settings.pop("rho", 10.0)
    solver = settings.get("solver")
    if isinstance(solver, Mapping):
        from minimaxopt import BestResponse

        settings["solver"] = BestResponse(ascent_steps=solver["ascent_steps"])
    train, held = data.train, data.test
    if job.fold is not None:
        train, held = _fold(data, job.fold, job.folds)
    filter_ = build_method(
        job.method, job.dimension, rho=rho, epsilon=job.epsilon or 1.0, seed=job.seed, settings=settings
    )
    filter_.fit(train[0], train[1], private=train[2])
    found = evaluate_filter(
        filter_, *train, *held, families=job.families, random_state=job.seed,
        utility_families=job.families if job.fold is None else job.families[:1],
    )  # fmt: skip
    return found.to_dict()


def _fold(data: PrivacyData, fold: int, folds: int) -> tuple[Any, Any]:
    """Return the training faces without a fold, and the fold, both with every pair of labels in equal shares."""
    from sklearn.model_selection import StratifiedKFold

    x, y, private = data.train
    pairs = [f"{a}/{b}" for a, b in zip(y, private, strict=True)]
    inside, outside = list(StratifiedKFold(folds, shuffle=True, random_state=0).split(x, pairs))[fold]
    return tuple(part[inside] for part in data.train), tuple(part[outside] for part in data.train)


def _name(job: Job) -> str:
    import json

    return json.dumps(job.key, sort_keys=True)


def _looks(final: Mapping[tuple[str, int], Sequence[Job]], folder: str | None) -> dict[tuple[str, int], int]:
    """Count the settings of each method that were ever scored on the test faces."""
    import json

    seen: dict[tuple[str, int], set[str]] = {}
    if folder is not None:
        for path in Path(folder).glob("*.json"):
            held: dict[str, Any] = json.loads(path.read_text())["settings"]
            if held.get("kind") == "genki" and held["fold"] is None:
                place = (held["method"], held["dimension"])
                # Two rows may share a method: the filter with its rho held is its own.
                seen.setdefault(place, set()).add(json.dumps(held["settings"], sort_keys=True))
    mine: dict[tuple[str, int], set[str]] = {}
    for jobs in final.values():
        for job in jobs:
            text = json.dumps(job.settings, sort_keys=True)
            mine.setdefault((job.method, job.dimension), set()).add(text)
    return {
        place: 1 + len(seen.get((jobs[0].method, place[1]), set()) - mine[jobs[0].method, place[1]])
        for place, jobs in final.items()
    }
