from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from minimaxopt_study.paper import printed as paper
from minimaxopt_study.paper.names import KINDS_OF_TABLE, LWA, MINIMAX, MINIMAX_GRAD, NO_DEFENSE, adv
from minimaxopt_study.results import tables
from minimaxopt_study.results.gather import Row
from minimaxopt_study.results.tables import WORST_OF_ALL, Cell

if TYPE_CHECKING:
    from conftest import Make

CELL = {"mean", "std", "n", "paper"}


def same_form(ours: Any, printed: Any, path: str = "") -> int:
    """Check that ``ours`` is ``printed`` with each number replaced by a cell; returns how many there are."""
    if isinstance(printed, dict):
        return sum(same_form(ours[key], value, f"{path}/{key}") for key, value in printed.items())
    if isinstance(printed, int | float):
        assert set(ours) == CELL, path
        assert ours["paper"] == printed, path
        return 1
    assert ours == printed, path
    return 0


def renamed(value: Any) -> Any:
    """The paper's table with its round 80 called 3, as this study's last is, and only two of its etas."""
    if isinstance(value, dict):
        return {
            key.replace("FGSM80", "FGSM3"): renamed(item) for key, item in value.items() if key not in ("0.1", "0.3")
        }
    return value


@pytest.mark.parametrize("number", KINDS_OF_TABLE)
def test_each_table_has_the_papers_form(made_up: Make, number: int) -> None:
    ours = json.loads(json.dumps(tables.as_json(tables.build(made_up())[number])))
    printed = renamed(paper.table(number))
    printed["title"] = printed["title"].replace("80 rounds", "3 rounds")
    assert same_form(ours, printed) == {1: 3, 2: 2, 3: 72, 4: 24, 5: 18}[number]


def test_the_papers_own_numbers_come_back(made_up: Make) -> None:
    built = tables.build(made_up())
    printed = {3: paper.table(3), 5: paper.table(5)}
    for (eta, row, column), cell in ((path, cell) for path, cell in tables.cells(built[3]["eta"])):
        if column not in ("worst", WORST_OF_ALL):
            assert cell.by_seed[0] == printed[3]["eta"][eta][row.replace("3", "80")][column.replace("3", "80")]
    assert built[5]["eta"]["0.4"][MINIMAX]["AttNet-curr"].by_seed[0] == printed[5]["eta"]["0.4"][MINIMAX]["AttNet-curr"]


def test_a_tuned_attack_network_has_a_column_and_is_never_chosen(made_up: Make) -> None:
    assert "AttNet-tuned" not in tables.build(made_up())[4]["eta"]["0.2"][NO_DEFENSE]
    row = Row(0.03, (0.5, 0.2, 0.1), 0.5, {"fresh": 0.6, "tuned": 0.9}, {"fresh": 0.6, "tuned": 0.95})
    assert (row.chosen, row.attnet_curr, row.attnet_tuned) == ("fresh", 0.6, 0.9)
    built = tables.build(made_up(changes={(NO_DEFENSE, 0.2): row}))
    cells = {column: cell.by_seed[0] for column, cell in built[4]["eta"]["0.2"][NO_DEFENSE].items()}
    assert cells == {"FGSM-curr": 0.5, "AttNet-curr": 0.6, "worst": 0.6, "AttNet-tuned": 0.9, WORST_OF_ALL: 0.9}
    assert any("AttNet-tuned" in note for note in built[4]["here"])
    assert built[4]["eta"]["0.4"][NO_DEFENSE]["AttNet-tuned"].by_seed == {}


def test_mean_deviation_and_number_of_seeds() -> None:
    assert Cell({0: 0.25}, 0.5).as_json() == {"mean": 0.25, "std": None, "n": 1, "paper": 0.5}
    two = Cell({0: 0.2, 1: 0.4}, None).as_json()
    assert (two["mean"], two["n"], two["paper"]) == (0.3, 2, None)
    assert two["std"] == pytest.approx(0.1 * 2**0.5, abs=1e-6)
    assert Cell({}, 0.5).as_json() == {"mean": None, "std": None, "n": 0, "paper": 0.5}


def test_worst_is_of_the_printed_columns_and_worst_of_all_of_every_round(made_up: Make) -> None:
    row = Row(0.9, (0.1, 0.2, 0.7, 0.3), 0.4, {"fresh": 0.5}, {"fresh": 0.5})
    results = made_up(changes={(MINIMAX_GRAD, 0.2): row})
    results = type(results)(**{**vars(results), "rounds": 4, "rows": {
        place: Row(r.clean, (*r.fgsm, 0.05)[:4], r.fgsm_curr, r.attnet, r.attnet_train)
        for place, r in results.rows.items()
    } | {(MINIMAX_GRAD, 0.2, 0): row}})  # fmt: skip
    third = tables.build(results)[3]["eta"]["0.2"][MINIMAX_GRAD]
    assert third["worst"].by_seed == {0: 0.4}  # neither the clean error nor round 3 is an attack of this row
    assert third[WORST_OF_ALL].by_seed == {0: 0.7}
    fourth = tables.build(results)[4]["eta"]["0.2"][MINIMAX_GRAD]
    assert fourth["worst"].by_seed == {0: 0.5}
    assert fourth[WORST_OF_ALL].by_seed == {0: 0.7}


def test_attnet_is_chosen_on_training_images(made_up: Make) -> None:
    row = Row(0.01, (0.1, 0.1, 0.1), 0.2, {"fresh": 0.3, "co-trained": 0.4}, {"fresh": 0.5, "co-trained": 0.4})
    table = tables.build(made_up(changes={(MINIMAX, 0.2): row}))[5]
    assert table["eta"]["0.2"][MINIMAX]["AttNet-curr"].by_seed == {0: 0.3}
    assert table["attack networks"]["0.2"][MINIMAX]["0"]["chosen on training images"] == "fresh"


def test_the_last_round_is_explained(made_up: Make) -> None:
    built = tables.build(made_up())
    assert adv(3) in built[3]["eta"]["0.2"]
    assert any("round 80" in note for note in built[3]["here"])
    assert built[3]["notes"] == paper.notes(3)


def test_missing_results_leave_empty_cells(made_up: Make) -> None:
    built = tables.build(made_up(changes={(LWA, 0.4): None, (NO_DEFENSE, 0.2): None}))
    assert tables.as_json(built[3]["eta"]["0.4"][LWA]["FGSM1"]) == {"mean": None, "std": None, "n": 0, "paper": 0.355}
    assert built[1]["values"]["FGSM"]["0.2"].by_seed == {}
    assert built[1]["values"]["FGSM"]["0.4"].by_seed == {0: 0.985}


def test_fgsm1_on_no_defense_and_fgsm_curr_are_one_attack(made_up: Make) -> None:
    built = tables.build(made_up())
    assert built[1]["values"]["FGSM"]["0.2"] == built[3]["eta"]["0.2"][NO_DEFENSE]["FGSM-curr"]
    assert built[2]["values"]["FGSM"]["0.2"] == built[3]["eta"]["0.2"][adv(1)]["FGSM1"]


def test_an_eta_of_ones_own_has_no_paper(made_up: Make) -> None:
    results = made_up(eta=(0.2,))
    moved = {(d, 0.25, s): row for (d, _, s), row in results.rows.items()}
    built = tables.build(type(results)(**{**vars(results), "eta": (0.25,), "rows": moved}))
    assert tables.as_json(built[3]["eta"]["0.25"][LWA]["FGSM1"])["paper"] is None
