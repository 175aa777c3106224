"""The part of a plan that some tables and figures need: ``minimaxopt study run --only``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from minimaxopt.errors import ArgumentError
from minimaxopt.plugins import comma_separated
from minimaxopt_study.paper.names import ALTERNATING, KINDS_OF_TABLE, LWA, MINIMAX, MINIMAX_GRAD, NO_DEFENSE, adv
from minimaxopt_study.paper.printed import MNIST, Experiment
from minimaxopt_study.plan.task import Graph

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from minimaxopt_study.plan.plan import Plan
    from minimaxopt_study.profiles.profile import Profile


def choices(experiment: Experiment) -> tuple[str, ...]:
    """Return the names that can be selected on a data set: its tables, then its figures.

    Examples:
        >>> from minimaxopt_study.paper.printed import CIFAR10
        >>> choices(CIFAR10)
        ('table6', 'table7', 'table8', 'table9', 'table10', 'fig4', 'fig5', 'samples', 'matrix')
    """
    return (*(f"table{experiment.printed(kind)}" for kind in KINDS_OF_TABLE), *experiment.figures)


def parse(text: str, experiments: Iterable[Experiment] = (MNIST,)) -> tuple[str, ...]:
    """Return the tables and figures in a comma-separated list, in the order of ``choices`` and each once.

    Raises:
        ArgumentError: one of them does not exist on these data sets, or none is named.

    Examples:
        >>> parse("figure2,table3, table3")
        ('table3', 'fig2')
    """
    known = tuple(dict.fromkeys(name for experiment in experiments for name in choices(experiment)))
    named = [part.lower() for part in comma_separated(text)]
    chosen = {_short(name) for name in named}
    unknown = [name for name in named if _short(name) not in known]
    if unknown or not chosen:
        fault = f"there is no {unknown[0]!r}" if unknown else f"{text!r} names nothing"
        raise ArgumentError(f"only: {fault}; choose among {', '.join(known)}, with commas between")
    return tuple(name for name in known if name in chosen)


def _short(name: str) -> str:
    return re.sub(r"^figure(?=\d)", "fig", name)


def wanted(plan: Plan, profile: Profile, names: Iterable[str]) -> Graph:
    """Return the tasks that hold the numbers of some tables and figures, and all that they build on.

    Args:
        plan: of the whole study.
        profile: whose plan it is.
        names: among the ``choices`` of its data set; "matrix" is the undefended classifier and those of all rounds,
            under every attack.

    Examples:
        >>> from minimaxopt_study.plan.plan import derive
        >>> from minimaxopt_study.profiles.profile import load_profile
        >>> quick = load_profile("quick")
        >>> plan = derive(quick, "images")
        >>> len(wanted(plan, quick, ["fig1"])), len(wanted(plan, quick, ["table3"])) < len(plan.graph)
        (3, True)
    """
    keys = [key for name in names for key in _keys(plan, profile, name)]
    return Graph(plan.graph.ancestry(*keys))


def _keys(plan: Plan, profile: Profile, name: str) -> Iterator[str]:
    training, games, samples, _ = profile.experiment.figures
    if name == training:
        return iter(plan.grad_runs.values())
    if name == games:
        return iter(plan.attnet_runs.values())
    if name == samples:
        return iter(plan.panels.values())
    rows = _rows(profile)[name]
    keys_of_rows = [plan.evaluations] if name == "matrix" else [plan.evaluations, plan.strong, plan.autoattacks]
    return (key for keys in keys_of_rows for (defence, _, _), key in keys.items() if defence in rows)


def _rows(profile: Profile) -> dict[str, tuple[str, ...]]:
    """Return the rows of each table: the classifiers whose evaluations it shows."""
    last = adv(profile.rounds)
    by_kind = {
        1: (NO_DEFENSE,),
        2: (adv(1),),
        3: (NO_DEFENSE, adv(1), adv(2), last, LWA, MINIMAX_GRAD),
        4: (NO_DEFENSE, adv(1), last, MINIMAX_GRAD),
        5: (MINIMAX, ALTERNATING, MINIMAX_GRAD),
    }
    every = (NO_DEFENSE, *(adv(number) for number in range(1, profile.rounds + 1)))
    return {f"table{profile.experiment.printed(kind)}": rows for kind, rows in by_kind.items()} | {"matrix": every}
