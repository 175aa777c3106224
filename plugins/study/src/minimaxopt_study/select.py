"""Which part of a plan some tables and figures need: `minimaxopt study run --only`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minimaxopt.errors import ArgumentError
from minimaxopt_study.names import ALTERNATING, LWA, MINIMAX, MINIMAX_GRAD, NO_DEFENSE, adv
from minimaxopt_study.tasks import Graph

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from minimaxopt_study.plan import Plan
    from minimaxopt_study.profile import Profile

CHOICES = ("table1", "table2", "table3", "table4", "table5", "fig1", "fig2", "fig3", "matrix")
_ALSO = {f"figure{number}": f"fig{number}" for number in (1, 2, 3)}


def parse(text: str) -> tuple[str, ...]:
    """The tables and figures that a comma-separated list names, in the order of `CHOICES` and each once.

    Raises:
        ArgumentError: one of them does not exist, or none is named.

    >>> parse("figure2,table3, table3")
    ('table3', 'fig2')
    """
    named = [part.strip().lower() for part in text.split(",") if part.strip()]
    chosen = {_ALSO.get(name, name) for name in named}
    unknown = [name for name in named if _ALSO.get(name, name) not in CHOICES]
    if unknown or not chosen:
        fault = f"there is no {unknown[0]!r}" if unknown else f"{text!r} names nothing"
        raise ArgumentError(f"only: {fault}; choose among {', '.join(CHOICES)}, with commas between")
    return tuple(name for name in CHOICES if name in chosen)


def wanted(plan: Plan, profile: Profile, names: Iterable[str]) -> Graph:
    """The tasks that hold the numbers of some tables and figures, and all that they build on.

    Args:
        plan: of the whole study.
        profile: whose plan it is.
        names: among `CHOICES`; "matrix" is the undefended classifier and those of all rounds, under every attack.

    >>> from minimaxopt_study.plan import derive
    >>> from minimaxopt_study.profile import load_profile
    >>> quick = load_profile("quick")
    >>> plan = derive(quick, "digits")
    >>> len(wanted(plan, quick, ["fig1"])), len(wanted(plan, quick, ["table3"])) < len(plan.graph)
    (3, True)
    """
    keys = [key for name in names for key in _keys(plan, profile, name)]
    return Graph(plan.graph.ancestry(*keys))


def _keys(plan: Plan, profile: Profile, name: str) -> Iterator[str]:
    if name == "fig1":
        return iter(plan.grad_runs.values())
    if name == "fig2":
        return iter(plan.attnet_runs.values())
    if name == "fig3":
        return iter(plan.panels.values())
    rows = _rows(profile)[name]
    return (key for (defence, _, _), key in plan.evaluations.items() if defence in rows)


def _rows(profile: Profile) -> dict[str, tuple[str, ...]]:
    """The classifiers whose evaluations each table shows."""
    last = adv(profile.rounds)
    return {
        "table1": (NO_DEFENSE,),
        "table2": (adv(1),),
        "table3": (NO_DEFENSE, adv(1), adv(2), last, LWA, MINIMAX_GRAD),
        "table4": (NO_DEFENSE, adv(1), last, MINIMAX_GRAD),
        "table5": (MINIMAX, ALTERNATING, MINIMAX_GRAD),
        "matrix": (NO_DEFENSE, *(adv(number) for number in range(1, profile.rounds + 1))),
    }
