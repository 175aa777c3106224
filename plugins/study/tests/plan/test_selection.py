from __future__ import annotations

import pytest

from minimaxopt.errors import ArgumentError
from minimaxopt_study.paper.names import ALTERNATING, LWA, MINIMAX, MINIMAX_GRAD, NO_DEFENSE, adv
from minimaxopt_study.paper.printed import CIFAR10, MNIST
from minimaxopt_study.plan.plan import Plan, derive
from minimaxopt_study.plan.selection import choices, parse, wanted
from minimaxopt_study.profiles.profile import Profile, load_profile

ROWS = {
    "table1": {NO_DEFENSE},
    "table2": {adv(1)},
    "table3": {NO_DEFENSE, adv(1), adv(2), adv(5), LWA, MINIMAX_GRAD},
    "table4": {NO_DEFENSE, adv(1), adv(5), MINIMAX_GRAD},
    "table5": {MINIMAX, ALTERNATING, MINIMAX_GRAD},
    "matrix": {NO_DEFENSE, adv(1), adv(2), adv(3), adv(4), adv(5)},
}


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load_profile("quick", rounds=5, eta=(0.2, 0.3, 0.4), seeds=(0, 1, 2))


@pytest.fixture(scope="module")
def plan(profile: Profile) -> Plan:
    return derive(profile, "images")


@pytest.mark.parametrize("name", list(ROWS))
def test_a_table_is_its_rows_and_all_that_they_build_on(name: str, plan: Plan, profile: Profile) -> None:
    graph = wanted(plan, profile, [name])
    evaluated = {place for place, key in plan.evaluations.items() if key in graph}
    assert evaluated == {(row, eta, seed) for row in ROWS[name] for eta in profile.eta for seed in profile.seeds}
    for task in graph:
        assert all(parent in graph for _, parent in task.parents)
    needed = {parent for task in graph for _, parent in task.parents}
    # Each row is evaluated, and in a table (not in the matrix) it meets the attacks of today too.
    last = {plan.evaluations[place] for place in evaluated}
    last |= {plan.strong[place] for place in evaluated} if name != "matrix" else set()
    assert {task.key for task in graph} == needed | last


def test_the_figures_need_their_trainings(plan: Plan, profile: Profile) -> None:
    first, second, third = (wanted(plan, profile, [name]) for name in ("fig1", "fig2", "fig3"))
    assert {task.kind for task in first} == {"undefended", "minimax-grad"}
    assert all(key in first for key in plan.grad_runs.values())
    assert {task.kind for task in second} == {"attnet game"}
    assert {task.key for task in second} == set(plan.attnet_runs.values())
    assert [task.key for task in third if task.kind == "panel"] == list(plan.panels.values())
    assert {task.seed for task in third} == {0}


def test_several_are_joined_and_all_are_the_whole_study(plan: Plan, profile: Profile) -> None:
    one, other = wanted(plan, profile, ["table1"]), wanted(plan, profile, ["fig2"])
    both = wanted(plan, profile, ["table1", "fig2"])
    assert {task.key for task in both} == {task.key for task in (*one, *other)}
    assert len(both) < len(plan.graph)
    assert {task.key for task in wanted(plan, profile, choices(MNIST))} == {task.key for task in plan.graph}


def test_names_are_read_as_people_write_them() -> None:
    assert parse("table3") == ("table3",)
    assert parse(" Table5, figure1,fig1 ,MATRIX") == ("table5", "fig1", "matrix")


@pytest.mark.parametrize("text", ["", ",", "table6", "fig", "figure4", "table1 table2", "table1,tabel2"])
def test_other_names_are_refused_with_the_choices(text: str) -> None:
    with pytest.raises(ArgumentError, match="only: .*choose among table1, .*fig3, matrix"):
        parse(text)


def test_each_data_set_has_its_own_names() -> None:
    assert parse("table8,figure5,samples,matrix", [CIFAR10]) == ("table8", "fig5", "samples", "matrix")
    with pytest.raises(ArgumentError, match="only: there is no 'table3'; choose among table6"):
        parse("table3", [CIFAR10])
    assert parse("table8,table3,matrix", [MNIST, CIFAR10]) == ("table3", "matrix", "table8")


@pytest.mark.parametrize("kind", range(1, 6))
def test_tables_of_the_two_data_sets_have_the_same_rows(kind: int) -> None:
    rows = []
    for name, first in (("quick", 1), ("cifar10-quick", 6)):
        profile = load_profile(name)
        made = derive(profile, "images")
        graph = wanted(made, profile, [f"table{first + kind - 1}"])
        rows.append({defence for (defence, _, _), key in made.evaluations.items() if key in graph})
    assert rows[0] == rows[1] != set()
