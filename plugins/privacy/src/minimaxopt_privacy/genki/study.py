"""GENKI: the minimax-filter study repeated, with every setting chosen by cross-validation on the training faces.

First the candidates of each method are fitted on folds of the 1,740 training faces and attacked on the faces left out.
The candidate of least leakage is chosen among those that keep the smile as the study's MLP filter does. Only then is it
fitted on all training faces, once for each seed, and scored on the 200 test faces.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from minimaxopt.plugins import map_in_processes, write_json
from minimaxopt_privacy.checks import check_count
from minimaxopt_privacy.datasets import Part, PrivacyData, load_genki
from minimaxopt_privacy.estimators.registry import build_method
from minimaxopt_privacy.evaluation.evaluate import evaluate_filter
from minimaxopt_privacy.genki.outcome import Choice, Comparison, Outcome, best_candidate, choice_rows
from minimaxopt_privacy.genki.protocol import Protocol
from minimaxopt_privacy.result_cache import ResultCache


@final
@dataclass(frozen=True)
class Job:
    """One fit and its evaluation: on a fold of the training faces, or on the test faces where ``fold`` is ``None``."""

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
        """Everything that determines the result, except the data."""
        return {"kind": "genki", **asdict(self)}

    @property
    def name(self) -> str:
        """The key as text, which identifies equal jobs."""
        return json.dumps(self.key, sort_keys=True)


def run(
    path: str | Path,
    out: str | Path | None,
    protocol: Protocol | None = None,
    *,
    workers: int = 1,
    log: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Choose settings by cross-validation, then score the chosen ones once on the test faces.

    Args:
        path: the study's ``genki.mat``.
        out: folder in which results are stored, so that an interrupted run continues; ``None`` stores nothing.
        protocol: by default the whole comparison.
        workers: number of processes, of one thread each.
        log: called with a line after each fit.

    Raises:
        DataError: the file cannot be read.
        ArgumentError: ``out`` is a file, or ``workers`` is not positive.
    """
    protocol, data = protocol or Protocol(), load_genki(path)
    cache = ResultCache(out)
    candidates = {
        (method, dimension): [
            [
                Job(method.partition("@")[0], dimension, settings, 0, None, fold, protocol.folds, protocol.selecting)
                for fold in range(protocol.folds)
            ]
            for settings in protocol.candidates(method)
        ]
        for method, dimension in protocol.comparisons()
        if "+" not in method and len(protocol.candidates(method)) > 1
    }
    jobs = [job for groups in candidates.values() for group in groups for job in group]
    validated = _compute_all(jobs, data, out, workers, log)
    choices = {
        comparison: _choose([[validated[job.name] for job in group] for group in groups], groups, protocol.target)
        for comparison, groups in candidates.items()
    }
    if out is not None:
        write_json(Path(out) / "choices.json", choice_rows(choices))  # before the test faces are scored
    final = {
        (method, dimension): [_final_job(method, dimension, seed, choices, protocol) for seed in protocol.seeds]
        for method, dimension in protocol.comparisons()
    }
    scored = _compute_all([job for jobs in final.values() for job in jobs], data, out, workers, log)
    scores = {comparison: [scored[job.name] for job in jobs] for comparison, jobs in final.items()}
    return Outcome(protocol, choices, scores, data.fingerprint, _count_looks(final, cache))


def _final_job(method: str, dimension: int, seed: int, choices: Mapping[Comparison, Choice], protocol: Protocol) -> Job:
    """Return the fit that is scored on the test faces; noise uses the settings chosen for the filter without it."""
    base, _, noise = method.partition("+")
    choice = choices.get((base, dimension))
    settings = choice.settings if choice is not None else protocol.candidates(base)[0]
    epsilon = protocol.epsilon if noise or base in ("laplace", "gaussian") else None
    name = base.partition("@")[0] + (f"+{noise}" if noise else "")
    return Job(name, dimension, settings, seed, epsilon, None, protocol.folds, protocol.families)


def _choose(results: Sequence[Sequence[Any]], groups: Sequence[Sequence[Job]], target: float) -> Choice:
    """Return the best candidate by its mean scores over the folds."""
    rows = [
        {
            "settings": dict(group[0].settings),
            "useful": float(np.mean([evaluation["useful"] for evaluation in evaluations])),
            "leakage": float(np.mean([evaluation["leakage"] for evaluation in evaluations])),
        }
        for evaluations, group in zip(results, groups, strict=True)
    ]
    best = best_candidate(rows, target)
    return Choice(best["settings"], best["useful"], best["leakage"], rows)


def _compute_all(
    jobs: Iterable[Job], data: PrivacyData, out: str | Path | None, workers: int, log: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Return the evaluation of every job by its name."""
    unique = {job.name: job for job in jobs}
    waiting = [(job, data, out) for job in unique.values()]
    evaluations: dict[str, dict[str, Any]] = {}
    for job, evaluation in map_in_processes(_cached, waiting, check_count("workers", workers)):
        evaluations[job.name] = evaluation
        part = f"fold {job.fold + 1} of {job.folds}" if job.fold is not None else f"test faces, seed {job.seed}"
        log(
            f"{len(evaluations)} of {len(unique)}: {job.method}, d = {job.dimension}, {part}: "
            f"smile {evaluation['useful']:.3f}, gender {evaluation['leakage']:.3f}"
        )
    return evaluations


def _cached(job: Job, data: PrivacyData, out: str | Path | None) -> tuple[Job, dict[str, Any]]:
    """Return a job and its evaluation, computed by one thread unless it is stored."""
    from threadpoolctl import threadpool_limits

    key = {**job.key, "data": data.fingerprint}
    with threadpool_limits(1):  # NumPy's linear algebra and scikit-learn: torch alone is limited already
        return job, ResultCache(out).get(key, lambda: _evaluation(job, data))


def _evaluation(job: Job, data: PrivacyData) -> dict[str, Any]:
    settings = dict(job.settings)
    rho = settings.pop("rho", 10.0)
    if isinstance(settings.get("solver"), Mapping):
        from minimaxopt import BestResponse

        settings["solver"] = BestResponse(ascent_steps=settings["solver"]["ascent_steps"])
    train, test = (data.train, data.test) if job.fold is None else _fold(data, job.fold, job.folds)
    filter_ = build_method(
        job.method, job.dimension, rho=rho, epsilon=job.epsilon or 1.0, seed=job.seed, settings=settings
    )
    filter_.fit(train[0], train[1], private=train[2])
    return evaluate_filter(
        filter_, *train, *test, families=job.families, random_state=job.seed,
        utility_families=job.families if job.fold is None else job.families[:1],
    ).to_dict()  # fmt: skip


def _fold(data: PrivacyData, fold: int, folds: int) -> tuple[Part, Part]:
    """Return the training faces without a fold, and the fold, stratified by every pair of labels."""
    from sklearn.model_selection import StratifiedKFold

    x, y, private = data.train
    pairs = [f"{a}/{b}" for a, b in zip(y, private, strict=True)]
    inside, outside = list(StratifiedKFold(folds, shuffle=True, random_state=0).split(x, pairs))[fold]
    return (x[inside], y[inside], private[inside]), (x[outside], y[outside], private[outside])


def _count_looks(final: Mapping[Comparison, Sequence[Job]], cache: ResultCache) -> dict[Comparison, int]:
    """Count the different settings of each method that were ever scored on the test faces."""
    stored: dict[Comparison, set[str]] = {}
    for settings in cache.settings():
        if settings.get("kind") == "genki" and settings["fold"] is None:
            text = json.dumps(settings["settings"], sort_keys=True)
            stored.setdefault((settings["method"], settings["dimension"]), set()).add(text)
    current: dict[Comparison, set[str]] = {}
    for job in (job for jobs in final.values() for job in jobs):
        # Two comparisons may share a method: the filter with its rho fixed has settings of its own.
        current.setdefault((job.method, job.dimension), set()).add(json.dumps(job.settings, sort_keys=True))
    return {
        comparison: 1 + len(stored.get((jobs[0].method, comparison[1]), set()) - current[jobs[0].method, comparison[1]])
        for comparison, jobs in final.items()
    }
