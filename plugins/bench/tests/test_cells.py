"""Cells: which setting is best, what a cell says, and that it is kept."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, final

import pytest

from minimaxopt.errors import ArgumentError, UnknownNameError
from minimaxopt.solvers import SOLVERS
from minimaxopt.testing import GAMES
from minimaxopt_bench import cells as module
from minimaxopt_bench.cells import COLUMNS, Cell, Trial, choose, compute, from_dict, path_of, store, stored, to_dict
from minimaxopt_bench.one_run import Run
from minimaxopt_bench.outcomes import Ending
from minimaxopt_bench.settings import (
    CLASSES,
    EXCLUDED,
    QUICK,
    RATES,
    VARIANTS,
    Rate,
    Settings,
    chosen_games,
    chosen_solvers,
    class_of,
)
from minimaxopt_bench.summary import by_setting, standings


def run(ending: Ending, evaluations: int = 10) -> Run:
    there = evaluations if ending == "minimax" else None
    return Run(ending, 2 * evaluations, 3 * evaluations, there, there, 0.001, 0.1)


def trials(*groups: tuple[int, int, list[Run]]) -> list[Trial]:
    return [Trial(variant, rate, seed, r) for variant, rate, runs in groups for seed, r in enumerate(runs)]


def cell(solver: str, game: str, *groups: tuple[int, int, list[Run]]) -> Cell:
    made = trials(*groups)
    return Cell(solver, game, tuple(made), choose(made))


def test_the_best_setting_reaches_most_then_costs_least_then_comes_first() -> None:
    minimax, slow = run("minimax", 50), run("slow")
    assert choose(trials((0, 0, [minimax, slow]), (0, 1, [minimax, minimax]))) == (0, 1)
    assert choose(trials((0, 0, [minimax, minimax]), (1, 1, [run("minimax", 20)] * 2))) == (1, 1)
    assert choose(trials((0, 0, [minimax, minimax]), (0, 1, [minimax, minimax]))) == (0, 0)
    assert choose(trials((0, 0, [run("minimax", 1), slow]), (0, 1, [minimax, minimax]))) == (0, 1)
    assert choose(trials((0, 0, [slow, run("cycle")]))) is None


def test_a_cell_without_success_tells_how_most_runs_end() -> None:
    assert cell("a", "saddle", (0, 0, [run("slow")] * 2), (0, 1, [run("cycle")] * 3)).ending == "cycle"
    # Of equals the ending at the largest rate, which has gone farthest.
    assert cell("a", "saddle", (0, 0, [run("slow")] * 2), (0, 1, [run("divergence")] * 2)).ending == "divergence"
    assert cell("a", "saddle", (0, 1, [run("slow")] * 2), (0, 0, [run("divergence")] * 2)).ending == "slow"


def test_a_cell_is_a_success_if_half_of_the_best_settings_starts_are() -> None:
    half = cell("a", "saddle", (0, 0, [run("minimax"), run("slow")]), (0, 1, [run("slow")] * 2))
    assert (half.ending, half.share, half.evaluations) == ("minimax", (1, 2), 10)
    less = cell("a", "saddle", (0, 0, [run("minimax"), run("slow"), run("cycle"), run("cycle")]))
    assert (less.ending, less.share) == ("cycle", (1, 4))
    none = cell("a", "saddle", (0, 0, [run("slow")]))
    assert none.evaluations == math.inf
    assert none.setting(RATES) == ""
    assert half.setting(RATES) == "a, rate 0.02"


def test_serving_rates_are_counted_once_and_from_all_starts() -> None:
    good, bad = [run("minimax")] * 2, [run("minimax"), run("slow")]
    assert cell("a", "saddle", (0, 0, good), (1, 0, good), (0, 1, bad), (0, 2, good)).forgiving == 2


def test_all_settings_are_screened_and_the_best_is_played_from_all_starts() -> None:
    settings = replace(QUICK, starts=3, screening=1)
    found = compute("two-timescale", "saddle", settings)
    best = [t for t in found.trials if (t.variant, t.rate) == found.best]
    others = [t for t in found.trials if (t.variant, t.rate) != found.best]
    assert [t.seed for t in best] == [0, 1, 2]
    assert [t.seed for t in others] == [0] * (len(VARIANTS["two-timescale"]) * len(settings.rates) - 1)


def test_seeds_are_counted_from_the_given_one() -> None:
    found = compute("optimistic", "saddle", replace(QUICK, seed=7))
    assert {t.seed for t in found.trials if (t.variant, t.rate) == found.best} == {7, 8}


@final
@dataclass(frozen=True)
class Particular:
    """Plays nothing."""

    name: ClassVar[str] = "particular"
    players: ClassVar[tuple[str, ...]] = ("u", "v")

    def init(self, ctx: Any) -> None:
        raise ArgumentError("game: is not to its taste; give another")

    def step(self, ctx: Any, state: None) -> Any:
        raise AssertionError("it never moves")


def test_a_refusal_is_kept_with_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(SOLVERS, "particular", Particular)
    found = compute("particular", "saddle", QUICK)
    assert found.ending is None
    assert "not to its taste" in found.refused
    store(tmp_path, found, QUICK)
    assert stored(tmp_path, "particular", "saddle", QUICK) == found


# -- the store ---------------------------------------------------------------------------------------------------------


def test_a_cell_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    found = compute("consensus", "anti-saddle", QUICK)
    store(tmp_path, found, QUICK)
    back = stored(tmp_path, "consensus", "anti-saddle", QUICK)
    assert back is not None
    assert back == from_dict(to_dict(found))  # three digits of the distances are kept
    assert (back.best, back.ending, back.share) == (found.best, found.ending, found.share)
    assert len(to_dict(found)["runs"][0]) == len(COLUMNS)


def test_infinite_distances_survive_json(tmp_path: Path) -> None:
    lost = Cell(
        "a", "saddle", (Trial(0, 0, 0, run("divergence")._replace(distance=math.inf, residual=math.inf)),), None
    )
    store(tmp_path, lost, QUICK)
    assert stored(tmp_path, "a", "saddle", QUICK) == lost


@pytest.mark.parametrize(
    "other",
    [replace(QUICK, steps=61), replace(QUICK, seed=1), replace(QUICK, tolerance=0.02), replace(QUICK, rates=RATES)],
)
def test_other_settings_are_not_taken_for_the_stored_ones(other: Settings, tmp_path: Path) -> None:
    store(tmp_path, cell("optimistic", "saddle", (0, 0, [run("slow")])), QUICK)
    assert stored(tmp_path, "optimistic", "saddle", QUICK) is not None
    assert stored(tmp_path, "optimistic", "saddle", other) is None


def test_other_variants_and_formulas_are_not_taken_for_the_stored_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path, cell("optimistic", "saddle", (0, 0, [run("slow")])), QUICK)
    monkeypatch.setattr(module, "variants", lambda solver: ({}, {"strength": 2.0}))
    assert stored(tmp_path, "optimistic", "saddle", QUICK) is None


def test_half_a_file_counts_as_none(tmp_path: Path) -> None:
    path = path_of(tmp_path, "optimistic", "saddle")
    store(tmp_path, cell("optimistic", "saddle", (0, 0, [run("slow")])), QUICK)
    path.write_text(path.read_text()[:-5])
    assert stored(tmp_path, "optimistic", "saddle", QUICK) is None
    with pytest.raises(json.JSONDecodeError):
        json.loads(path.read_text())


# -- settings ----------------------------------------------------------------------------------------------------------


def test_all_solvers_are_compared_or_left_out_with_a_reason() -> None:
    assert set(chosen_solvers()) | set(EXCLUDED) == set(SOLVERS)
    assert not set(chosen_solvers()) & set(EXCLUDED)
    assert set(chosen_games()) == set(GAMES)


def test_declared_settings_are_settings_of_their_solvers() -> None:
    for solver, given in VARIANTS.items():
        assert given[0] == {}
        made = [SOLVERS[solver](**settings) for settings in given]
        assert len(set(map(repr, made))) == len(made), solver


def test_names_are_checked() -> None:
    assert chosen_solvers(["k-beam", "k-beam"]) == ["k-beam"]
    with pytest.raises(UnknownNameError, match="did you mean 'k-beam'"):
        chosen_solvers(["k-beem"])
    with pytest.raises(ArgumentError, match="'descent' moves the leader alone"):
        chosen_solvers(["descent"])
    with pytest.raises(UnknownNameError, match="did you mean 'saddle'"):
        chosen_games(["sadle"])
    with pytest.raises(ArgumentError, match="starts: 0"):
        Settings(starts=0)
    with pytest.raises(ArgumentError, match="rates: is empty"):
        Settings(rates=())


def test_every_class_of_games_is_met() -> None:
    assert {class_of(known) for known in GAMES.values()} == set(CLASSES)


def test_a_rate_that_decays_is_that_of_the_inverse_root() -> None:
    import torch

    make, schedule = Rate(0.1, decays=True).moves()
    optimizer = make([torch.zeros(1, requires_grad=True)])
    assert schedule is not None
    scheduler = schedule(optimizer)
    found: list[float] = []
    for _ in range(4):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert found == pytest.approx([0.1, 0.1 / math.sqrt(2), 0.1 / math.sqrt(3), 0.05], rel=1e-15)
    assert Rate(0.1).moves()[1] is None


# -- standings ---------------------------------------------------------------------------------------------------------


def test_standings_count_games_shares_and_costs() -> None:
    good, fast, slow = [run("minimax", 30)] * 2, [run("minimax", 10)] * 2, [run("slow")] * 2
    made = [
        cell("a", "saddle", (0, 0, good), (0, 1, good)),
        cell("a", "bilinear", (0, 0, good)),
        cell("a", "unbounded-leader", (0, 0, [run("divergence"), run("divergence"), run("stationary")])),
        cell("b", "saddle", (0, 0, fast), (0, 1, slow)),
        cell("b", "bilinear", (0, 0, slow)),
        cell("b", "unbounded-leader", (0, 0, [run("divergence")] * 2)),
    ]
    first, second = standings({(c.solver, c.game): c for c in made})
    assert (first.solver, first.total, first.share, first.cost, first.rates, first.fooled) == (
        "a", (2, 2), 1.0, 2.0, 1.5, (1, 1),
    )  # fmt: skip
    assert first.solved == {"Nash": (1, 1), "degenerate": (1, 1)}
    assert (second.solver, second.total, second.share, second.cost, second.rates, second.fooled) == (
        "b", (1, 2), 0.5, 1.0, 1.0, (0, 1),
    )  # fmt: skip


def test_a_setting_alone_is_judged_by_the_screening_starts() -> None:
    good, slow = [run("minimax", 30)] * 2, [run("slow")] * 2
    made = [
        # The first setting is the best, and was played from a third start.
        cell("consensus", "saddle", (0, 0, [*good, run("slow")]), (0, 1, slow), (1, 0, slow), (1, 1, slow)),
        cell("consensus", "bilinear", (0, 0, slow), (0, 1, slow), (1, 0, slow), (1, 1, [*good, run("minimax")])),
        cell("consensus", "seesaw", (0, 0, slow), (0, 1, good), (1, 0, good), (1, 1, slow)),
        cell("consensus", "unbounded-leader", (0, 0, slow), (1, 0, slow)),
        cell("optimistic", "saddle", (0, 0, good)),
    ]
    assert by_setting({(c.solver, c.game): c for c in made}) == [("consensus", 2, 3), ("consensus(gamma=0.2)", 2, 3)]
