from __future__ import annotations

import ast
from dataclasses import replace

import pytest

from minimaxopt_study.paper.names import ALTERNATING, LWA, MAXIMIN, MINIMAX, MINIMAX_GRAD, NO_DEFENSE, adv
from minimaxopt_study.plan.kinds import FUNCTIONS
from minimaxopt_study.plan.plan import derive, trainings
from minimaxopt_study.plan.task import Graph, Task, canonical
from minimaxopt_study.profiles.profile import Profile, load_profile
from minimaxopt_study.runner import source_hash
from minimaxopt_study.runner.worker import resolve

BASE = Task("train", "title", canonical({"steps": 3}), (("start", "abc"),), "images", 0, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"settings": canonical({"steps": 4})},
        {"settings": canonical({"steps": 3, "more": 1})},
        {"parents": (("start", "abd"),)},
        {"parents": (("other role", "abc"),)},
        {"parents": ()},
        {"data": "other images"},
        {"seed": 1},
        {"version": 2},
    ],
)
def test_key_changes_with_what_determines_the_result(change: dict[str, object]) -> None:
    assert replace(BASE, **change).key != BASE.key


@pytest.mark.parametrize(
    "change", [{"title": "another"}, {"weight": 7.0}, {"settings": '{ "steps": 3 }'}, {"steps": 3}]
)
def test_key_does_not_change_with_anything_else(change: dict[str, object]) -> None:
    assert replace(BASE, **change).key == BASE.key


def test_graph_refuses_a_child_before_its_parent() -> None:
    parent = Task("a", "parent", "{}")
    child = Task("a", "child", "{}", (("start", parent.key),))
    assert len(Graph([parent, child])) == 2
    with pytest.raises(ValueError, match="precedes its parents"):
        Graph([child, parent])


def test_ancestry_and_urgency() -> None:
    a = Task("k", "a", "{}", weight=1)
    b = Task("k", "b", "{}", (("p", a.key),), weight=2)
    c = Task("k", "c", "{}", (("p", a.key), ("q", b.key)), weight=4)
    d = Task("k", "d", "{}", seed=1, weight=5)
    graph = Graph([a, b, c, d])
    assert [task.title for task in graph.ancestry(c.key)] == ["a", "b", "c"]
    assert graph.lineages() == {t.key: frozenset(a.key for a in graph.ancestry(t.key)) for t in graph}
    assert graph.urgency() == {a.key: 7, b.key: 6, c.key: 4, d.key: 5}


def keys(profile: Profile) -> dict[str, str]:
    return {task.title: task.key for task in derive(profile, "images").graph}


def changed(profile: Profile) -> set[str]:
    before, after = keys(load_profile("quick")), keys(profile)
    return {title for title in before if after.get(title) != before[title]}


def test_plan_has_every_row_of_every_table() -> None:
    plan = derive(load_profile("quick", seeds=(0, 1)), "images")
    rows = {defence for defence, _, _ in plan.evaluations}
    assert rows == {NO_DEFENSE, adv(1), adv(2), adv(3), LWA, MINIMAX_GRAD, MINIMAX, ALTERNATING}
    assert len(plan.evaluations) == len(rows) * 2 * 2
    assert set(plan.attnet_runs) == {(m, s, k) for m in (MINIMAX, ALTERNATING, MAXIMIN) for s in (0, 1) for k in (0, 1)}
    assert set(plan.grad_runs) == {(eta, seed) for eta in (0.2, 0.4) for seed in (0, 1)}
    assert list(plan.panels) == [0]


def test_fgsm_is_made_on_the_classifier_of_the_round_before() -> None:
    plan = derive(load_profile("quick"), "images")
    evaluation = plan.graph[plan.evaluations[LWA, 0.2, 0]]
    for number, defence in ((1, NO_DEFENSE), (2, adv(1)), (3, adv(2))):
        examples = plan.graph[evaluation.parent(f"FGSM{number}")]
        assert examples.parent("classifier") == plan.classifiers[defence, 0.2, 0]


def test_a_changed_setting_touches_only_what_depends_on_it() -> None:
    quick = load_profile("quick")
    assert changed(quick.model_copy(update={"name": "other", "about": "words"})) == set()
    lwa = changed(quick.model_copy(update={"lwa": quick.lwa.model_copy(update={"steps": 999})}))
    kinds = ("", "evaluation of ", "attacks of today on ")
    assert lwa == {f"{prefix}LWA, eta {eta}, seed 0" for prefix in kinds for eta in (0.2, 0.4)}
    everything = changed(quick.model_copy(update={"undefended": quick.undefended.model_copy(update={"rate": 0.1})}))
    assert "Adv FGSM3, eta 0.4, seed 0" in everything
    assert "Alt-AttNet, eta 0.2, seed 0" not in everything  # starts at random, not from the undefended classifier
    gamma = changed(quick.model_copy(update={"minimax_attnet": quick.minimax_attnet.model_copy(update={"gamma": 7.0})}))
    assert gamma
    assert all("Minimax-AttNet" in title or title.startswith("samples") for title in gamma)
    assert {title for title in changed(load_profile("quick", eta=(0.1, 0.2))) if "eta 0.4" not in title} == set()


def test_gamma_means_nothing_to_alternating_descent_ascent() -> None:
    quick = load_profile("quick")
    assert changed(quick.model_copy(update={"alt_attnet": quick.alt_attnet.model_copy(update={"gamma": 7.0})})) == set()


def test_the_reading_of_eta_changes_what_is_done_but_not_what_it_is_called() -> None:
    def radii(profile: Profile) -> set[float]:
        return {task.setting("eta") for task in derive(profile, "d").graph if task.kind != "undefended"}

    assert radii(load_profile("quick")) == {0.2, 0.4}
    other = load_profile("quick", eta_reading="unit interval")
    assert radii(other) == {0.4, 0.8}
    assert set(derive(other, "d").evaluations) == set(derive(load_profile("quick"), "d").evaluations)


def test_a_tuned_attack_network_is_a_further_one() -> None:
    quick = load_profile("quick")
    settings = {"steps": 7, "rate": 1e-2, "attacker": {"hidden": [5]}}
    tuned = load_profile("quick", tuned_attack=settings)
    before, after = (len(derive(profile, "d").graph) for profile in (quick, tuned))
    assert after - before == 6 * 2  # the rows that meet attack networks, at each eta
    plan = derive(tuned, "d")
    evaluation = plan.graph[plan.evaluations[NO_DEFENSE, 0.2, 0]]
    task = plan.graph[evaluation.parent("tuned")]
    assert (task.steps, task.setting("attacker")["hidden"]) == (7, [5])
    assert plan.graph[evaluation.parent("fresh")].steps == quick.attack.steps


def test_trainings_are_the_tasks_with_steps() -> None:
    assert {task.kind for task in trainings(derive(load_profile("quick"), "d"))} == {
        "undefended", "adversarial round", "lwa", "minimax-grad", "attnet game", "attack network",
    }  # fmt: skip


def test_sources_leave_out_the_report() -> None:
    modules = source_hash.closure("minimaxopt_study.tasks.training")
    assert {
        "minimaxopt.loop.solve",
        "minimaxopt.calculus.gradients",
        "minimaxopt_adversarial.attacks.single_step",
    } <= modules
    assert not modules & {"minimaxopt_study.report.write", "minimaxopt_study.results.tables", "minimaxopt.cli"}
    assert "minimaxopt.loop.solve" not in source_hash.closure("minimaxopt_study.tasks.evaluation")


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("def f(x):\n    return x + 1\n", True),
        ("def f(x):  # why\n\n    '''Doc.'''\n    return (x +\n            1)\n", True),
        ("def f(x):\n    return x + 2\n", False),
        ("def f(x, y=0):\n    return x + 1\n", False),
    ],
)
def test_only_meaning_is_hashed(text: str, same: bool) -> None:
    before = source_hash.meaning(ast.parse("def f(x):\n    return x + 1\n"))
    assert (source_hash.meaning(ast.parse(text)) == before) is same


def test_every_kind_of_task_has_its_function() -> None:
    for function in FUNCTIONS.values():
        assert callable(resolve(function))
