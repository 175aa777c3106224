"""Effects of a choice: one setting at a time, seed by seed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tiny_study import in_one_process, invoke, write_profile

from minimaxopt.errors import ArgumentError
from minimaxopt_study.commands import ablations as choices
from minimaxopt_study.paper.names import MINIMAX_GRAD
from minimaxopt_study.profiles.differences import differences
from minimaxopt_study.profiles.profile import load_profile

if TYPE_CHECKING:
    from conftest import Make


@pytest.mark.parametrize("profile", ["quick", "standard", "cifar10-quick", "cifar10-standard"])
def test_each_choice_changes_what_it_says_and_nothing_else(profile: str) -> None:
    base = load_profile(profile)
    for choice in choices.CHOICES:
        changed = {name: after for name, _, after in differences(base, choice.applied(base))}
        assert changed.items() <= dict(choice.changes).items(), choice.name
        if not (choice.name == "warm games" and profile.startswith("cifar10")):  # which have them warm already
            assert changed.keys() == choice.changes.keys() or choice.name == "attack loss", choice.name


def test_effects_are_differences_seed_by_seed(made_up: Make) -> None:
    profile = load_profile("quick", seeds=(0, 1, 2))
    base = made_up(seeds=(0, 1, 2))
    added = {0: 0.010, 1: 0.012, 2: 0.014}
    rows = {
        at: replace(row, fgsm_curr=row.fgsm_curr + added[at[2]]) if at[0] == "No defense" else row
        for at, row in base.rows.items()
    }
    effects = {(e.quantity, e.eta): e for e in choices._effects(profile, "a choice", base, replace(base, rows=rows))}
    assert len(effects) == 2 * len(choices.compared_cells(profile))
    effect = effects["No defense, FGSM-curr", 0.2]
    assert effect.difference == pytest.approx(0.012)
    assert effect.standard_error == pytest.approx(0.002 / 3**0.5)
    assert effect.matters
    other = effects[f"{MINIMAX_GRAD}, worst", 0.2]
    assert (other.difference, other.matters) == (0.0, False)
    page = choices.markdown(profile, [choices.Choice("a choice", "words", {})], list(effects.values()))
    assert "**+0.012 (0.001)**" in page
    assert page.count("| a choice: words |") == 2


def test_one_seed_gives_no_standard_error_and_no_verdict(made_up: Make) -> None:
    base = made_up()
    rows = {at: replace(row, clean=row.clean + 0.5) for at, row in base.rows.items()}
    effects = list(choices._effects(load_profile("quick"), "a choice", base, replace(base, rows=rows)))
    clean = next(e for e in effects if e.quantity == "No defense, No attack")
    assert (clean.difference, clean.standard_error, clean.matters) == (0.5, None, False)


def test_the_command_runs_base_and_variants_into_one_store(tmp_path: Path) -> None:
    profile, out = write_profile(tmp_path, eta="[0.4]"), tmp_path / "out"
    arguments = ("choices", "--profile", str(profile), "--seeds", "0,1", "--only", "gamma 0", "--out", str(out))
    with in_one_process():
        done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    content = json.loads((out / "choices.json").read_text())
    assert content["seeds"] == [0, 1]
    assert content["choices"]["gamma 0"]["changes"] == {"minimax_attnet.gamma": 0.0, "maximin_attnet.gamma": 0.0}
    effects = {effect["quantity"]: effect for effect in content["effects"]}
    assert effects["No defense, FGSM-curr"]["difference"] == 0.0  # not touched by the change, and not computed anew
    assert effects["No defense, FGSM-curr"]["seeds"] == 2
    results = [json.loads(path.read_text()) for path in (out / "store").glob("*/result.json")]
    assert sum(result["kind"] == "undefended" for result in results) == 2
    gammas = {result["settings"]["gamma"] for result in results if result["settings"].get("method") == "Minimax-AttNet"}
    assert gammas == {0.0, 1.0}
    assert "gamma 0: Alg. 1 without its penalty" in (out / "choices.md").read_text()
    again = invoke(*arguments)
    assert "tasks computed" not in again.output.replace("0 tasks computed", "")


@pytest.mark.parametrize("text", ["", "gamma 3", "gamma 0, no"])
def test_unknown_choices_are_refused_with_the_known(text: str) -> None:
    with pytest.raises(ArgumentError, match="only: .*choose among initialisation"):
        choices.named(text)
