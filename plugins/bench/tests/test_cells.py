"""Cells: the choice of the best setting, their summary, and their store; settings and standings."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, final

import pytest

from minimaxopt.errors import ArgumentError, StoreError, UnknownNameError
from minimaxopt.plugins import ResultStore
from minimaxopt.solvers import SOLVERS
from minimaxopt.testing import GAMES
from minimaxopt_bench import cells as module
from minimaxopt_bench.cells import (
    COLUMNS,
    Cell,
    Trial,
    best_choice,
    cached_cell,
    compute,
    determined_by,
    from_dict,
    is_stored,
    to_dict,
)
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
    game_class,
    select_games,
    select_solvers,
)
from minimaxopt_bench.summary import by_setting, standings


def run(ending: Ending, evaluations: int = 10) -> Run:
    arrival = evaluations if ending == "minimax" else None
    return Run(ending, 2 * evaluations, 3 * evaluations, arrival, arrival, 0.001, 0.1)


def trials(*groups: tuple[int, int, list[Run]]) -> list[Trial]:
    return [Trial(variant, rate, seed, r) for variant, rate, runs in groups for seed, r in enumerate(runs)]


def cell(solver: str, game: str, *groups: tuple[int, int, list[Run]]) -> Cell:
    runs = trials(*groups)
    return Cell(solver, game, tuple(runs), best_choice(runs))


def store(folder: Path, content: Cell, settings: Settings) -> None:
    """Store a cell that was made by hand."""
    ResultStore(folder).cached(determined_by(content.solver, content.game, settings), lambda: to_dict(content))


def test_the_best_setting_reaches_most_then_costs_least_then_comes_first() -> None:
    minimax, slow = run("minimax", 50), run("slow")
    assert best_choice(trials((0, 0, [minimax, slow]), (0, 1, [minimax, minimax]))) == (0, 1)
    assert best_choice(trials((0, 0, [minimax, minimax]), (1, 1, [run("minimax", 20)] * 2))) == (1, 1)
    assert best_choice(trials((0, 0, [minimax, minimax]), (0, 1, [minimax, minimax]))) == (0, 0)
    assert best_choice(trials((0, 0, [run("minimax", 1), slow]), (0, 1, [minimax, minimax]))) == (0, 1)
    assert best_choice(trials((0, 0, [slow, run("cycle")]))) is None


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
    assert cell("a", "saddle", (0, 0, good), (1, 0, good), (0, 1, bad), (0, 2, good)).serving_rates == 2


def test_all_settings_are_screened_and_the_best_is_played_from_all_starts() -> None:
    settings = replace(QUICK, starts=3, screening=1)
    computed = compute("two-timescale", "saddle", settings)
    best = [t for t in computed.trials if t.choice == computed.best]
    others = [t for t in computed.trials if t.choice != computed.best]
    assert [t.seed for t in best] == [0, 1, 2]
    assert [t.seed for t in others] == [0] * (len(VARIANTS["two-timescale"]) * len(settings.rates) - 1)


def test_seeds_are_counted_from_the_given_one() -> None:
    computed = compute("optimistic", "saddle", replace(QUICK, seed=7))
    assert {t.seed for t in computed.trials if t.choice == computed.best} == {7, 8}


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
    refused = compute("particular", "saddle", QUICK)
    assert refused.ending is None
    assert "not to its taste" in refused.refused
    store(tmp_path, refused, QUICK)
    assert cached_cell(tmp_path, "particular", "saddle", QUICK) == refused


# -- the store ---------------------------------------------------------------------------------------------------------


def test_a_cell_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    computed = compute("consensus", "anti-saddle", QUICK)
    store(tmp_path, computed, QUICK)
    assert is_stored(tmp_path, "consensus", "anti-saddle", QUICK)
    back = cached_cell(tmp_path, "consensus", "anti-saddle", QUICK)
    assert back == from_dict(to_dict(computed))  # three digits of the distances are kept
    assert (back.best, back.ending, back.share) == (computed.best, computed.ending, computed.share)
    assert len(to_dict(computed)["runs"][0]) == len(COLUMNS)


def test_infinite_distances_survive_json(tmp_path: Path) -> None:
    lost = Cell(
        "a", "saddle", (Trial(0, 0, 0, run("divergence")._replace(distance=math.inf, residual=math.inf)),), None
    )
    store(tmp_path, lost, QUICK)
    assert cached_cell(tmp_path, "a", "saddle", QUICK) == lost


@pytest.mark.parametrize(
    "other",
    [replace(QUICK, steps=61), replace(QUICK, seed=1), replace(QUICK, tolerance=0.02), replace(QUICK, rates=RATES)],
)
def test_other_settings_are_not_taken_for_the_stored_ones(other: Settings, tmp_path: Path) -> None:
    store(tmp_path, cell("optimistic", "saddle", (0, 0, [run("slow")])), QUICK)
    assert is_stored(tmp_path, "optimistic", "saddle", QUICK)
    assert not is_stored(tmp_path, "optimistic", "saddle", other)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("variants", lambda solver: ({}, {"strength": 2.0})),
        ("known_game", lambda game: GAMES["bilinear"]),
        ("FOLLOWER_RATES", {"optimistic": 1.0}),
        ("VERSION", module.VERSION + 1),
    ],
)
def test_other_variants_formulas_and_versions_are_not_taken_for_the_stored_ones(
    name: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path, cell("optimistic", "saddle", (0, 0, [run("slow")])), QUICK)
    monkeypatch.setattr(module, name, value)
    assert not is_stored(tmp_path, "optimistic", "saddle", QUICK)


def test_half_a_file_is_refused_by_name(tmp_path: Path) -> None:
    store(tmp_path, cell("optimistic", "saddle", (0, 0, [run("slow")])), QUICK)
    (path,) = tmp_path.glob("store/*/result.json")
    path.write_text(path.read_text()[:-5])
    with pytest.raises(StoreError, match=f"{path.name} cannot be read .*; delete"):
        cached_cell(tmp_path, "optimistic", "saddle", QUICK)


# -- settings ----------------------------------------------------------------------------------------------------------


def test_all_solvers_are_compared_or_left_out_with_a_reason() -> None:
    assert set(select_solvers()) | set(EXCLUDED) == set(SOLVERS)
    assert not set(select_solvers()) & set(EXCLUDED)
    assert set(select_games()) == set(GAMES)


def test_declared_settings_are_settings_of_their_solvers() -> None:
    for solver, tried in VARIANTS.items():
        assert tried[0] == {}
        solvers = [SOLVERS[solver](**settings) for settings in tried]
        assert len(set(map(repr, solvers))) == len(solvers), solver


def test_names_are_checked() -> None:
    assert select_solvers(["k-beam", "k-beam"]) == ["k-beam"]
    with pytest.raises(UnknownNameError, match="did you mean 'k-beam'"):
        select_solvers(["k-beem"])
    with pytest.raises(ArgumentError, match="'descent' moves the leader alone"):
        select_solvers(["descent"])
    with pytest.raises(UnknownNameError, match="did you mean 'saddle'"):
        select_games(["sadle"])
    with pytest.raises(ArgumentError, match="starts: it is 0; give an integer >= 1"):
        Settings(starts=0)
    with pytest.raises(ArgumentError, match="rates: is empty"):
        Settings(rates=())


def test_every_class_of_games_is_met() -> None:
    assert {game_class(known) for known in GAMES.values()} == set(CLASSES)


def test_a_rate_that_decays_is_that_of_the_inverse_root() -> None:
    import torch

    make, schedule = Rate(0.1, decays=True).factories()
    optimizer = make([torch.zeros(1, requires_grad=True)])
    assert schedule is not None
    scheduler = schedule(optimizer)
    rates: list[float] = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.1, 0.1 / math.sqrt(2), 0.1 / math.sqrt(3), 0.05], rel=1e-15)
    assert Rate(0.1).factories()[1] is None


# -- standings ---------------------------------------------------------------------------------------------------------


def test_standings_count_games_shares_and_costs() -> None:
    good, fast, slow = [run("minimax", 30)] * 2, [run("minimax", 10)] * 2, [run("slow")] * 2
    cells = [
        cell("a", "saddle", (0, 0, good), (0, 1, good)),
        cell("a", "bilinear", (0, 0, good)),
        cell("a", "unbounded-leader", (0, 0, [run("divergence"), run("divergence"), run("stationary")])),
        cell("b", "saddle", (0, 0, fast), (0, 1, slow)),
        cell("b", "bilinear", (0, 0, slow)),
        cell("b", "unbounded-leader", (0, 0, [run("divergence")] * 2)),
    ]
    first, second = standings({(c.solver, c.game): c for c in cells})
    assert (first.solver, first.total, first.share, first.cost, first.rates, first.fooled) == (
        "a", (2, 2), 1.0, 2.0, 1.5, (1, 1),
    )  # fmt: skip
    assert first.solved == {"Nash": (1, 1), "degenerate": (1, 1)}
    assert (second.solver, second.total, second.share, second.cost, second.rates, second.fooled) == (
        "b", (1, 2), 0.5, 1.0, 1.0, (0, 1),
    )  # fmt: skip


def test_a_setting_alone_is_judged_by_the_screening_starts() -> None:
    good, slow = [run("minimax", 30)] * 2, [run("slow")] * 2
    cells = [
        # The first setting is the best, and was played from a third start.
        cell("consensus", "saddle", (0, 0, [*good, run("slow")]), (0, 1, slow), (1, 0, slow), (1, 1, slow)),
        cell("consensus", "bilinear", (0, 0, slow), (0, 1, slow), (1, 0, slow), (1, 1, [*good, run("minimax")])),
        cell("consensus", "seesaw", (0, 0, slow), (0, 1, good), (1, 0, good), (1, 1, slow)),
        cell("consensus", "unbounded-leader", (0, 0, slow), (1, 0, slow)),
        cell("optimistic", "saddle", (0, 0, good)),
    ]
    assert by_setting({(c.solver, c.game): c for c in cells}) == [("consensus", 2, 3), ("consensus(gamma=0.2)", 2, 3)]
