from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest

from minimaxopt.errors import ArgumentError
from minimaxopt_study.profiles.profile import available, load_profile, parse_profile, tomllib

if TYPE_CHECKING:
    from pathlib import Path


def quick() -> dict[str, Any]:
    text = (resources.files("minimaxopt_study") / "profiles" / "quick.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@pytest.mark.parametrize("name", available())
def test_packaged_profiles_are_valid(name: str) -> None:
    assert load_profile(name).name == name


def test_quick_is_what_was_promised() -> None:
    profile = load_profile("quick")
    assert (profile.eta, profile.rounds, profile.data.source) == ((0.2, 0.4), 3, "embedded")
    games = (profile.adversarial_round, profile.lwa, profile.minimax_grad, profile.minimax_attnet, profile.alt_attnet,
             profile.maximin_attnet, profile.undefended)  # fmt: skip
    assert min(game.steps for game in games) >= 600
    assert profile.attack.steps >= 500
    assert profile.data.evaluate_on == "test"


def test_standard_is_what_was_promised() -> None:
    profile = load_profile("standard")
    assert (profile.eta, profile.rounds, profile.data.source) == ((0.2, 0.4), 8, "full")
    assert profile.classifier == load_profile("paper").classifier
    assert profile.checkpoint_every > 0
    assert profile.data.evaluate_on == "test"


def test_paper_is_what_the_paper_prints() -> None:
    profile = load_profile("paper")
    assert (profile.eta, profile.rounds, profile.eta_reading) == ((0.1, 0.2, 0.3, 0.4), 80, "pixels")
    alone = (profile.undefended, profile.adversarial_round, profile.lwa, profile.minimax_grad)
    games = (profile.minimax_attnet, profile.alt_attnet, profile.maximin_attnet)
    assert {training.rate for training in (*alone, *games)} == {1e-4}
    assert {training.batch for training in (*alone, *games, profile.attack)} == {128}
    assert {training.steps for training in (*alone[2:], *games)} == {100_000}
    assert (profile.undefended.steps, profile.attack.steps, profile.adversarial_round.steps) == (50_000, 30_000, 1_000)
    assert {game.attacker_rate for game in games} == {profile.attack.rate} == {1e-3}
    assert {game.gamma for game in games} == {1.0}
    assert profile.minimax_grad.gamma_scale == 1.0
    assert (profile.attacker.hidden, profile.attacker.dropout) == ((300, 300, 300), 0.5)
    assert profile.attacker.label_layers == "first"
    assert (profile.classifier.width, profile.classifier.stride, profile.classifier.hidden) == (32, 1, 512)
    assert profile.data.evaluate_on == "test"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"etta": [0.2]}, "etta"),
        ({"lwa": {"steps": 10, "rate": 1e-3, "gama": 1}}, "lwa.gama"),
        ({"data": {"source": "internet"}}, "data.source"),
        ({"eta": [-0.2]}, "eta.0"),
        ({"eta": []}, "eta: is empty"),
        ({"eta": [0.4, 0.2]}, "increasing"),
        ({"seeds": [1, 1]}, "names a value twice"),
        ({"rounds": 2}, "rounds"),
        ({"attack": {"steps": 0, "rate": 1e-3}}, "attack.steps"),
        ({"attack": {"steps": 10, "rate": 1e-3, "loss": "hinge"}}, "attack.loss"),
        ({"attacker": {"dropout": 1.0}}, "attacker.dropout"),
        ({"eta_reading": "percent"}, "eta_reading"),
        ({"eta": [0.2, 2.0]}, "lets every pixel take any value"),
        ({"eta": [1.0], "eta_reading": "unit interval"}, "lets every pixel take any value"),
        ({"figures": {"points": 601}}, "do not fit into the 600 steps of minimax_grad"),
        ({"tuned_attack": {"steps": 10, "rate": 1e-3, "attacker": {"drop": 0.1}}}, "tuned_attack.attacker.drop"),
    ],
)
def test_faults_are_named_by_their_place(change: dict[str, Any], place: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(place)):
        parse_profile(quick() | change)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ArgumentError, match=r"nonsense.*folly|folly.*nonsense"):
        parse_profile(quick() | {"nonsense": 1, "folly": 2})


def test_a_profile_is_immutable() -> None:
    profile = load_profile("quick")
    with pytest.raises(ValueError, match="frozen"):
        profile.rounds = 5  # type: ignore[misc]


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    text = (resources.files("minimaxopt_study") / "profiles" / "quick.toml").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(text.replace('name = "quick"', 'name = "mine"'), encoding="utf-8")
    assert load_profile(str(path)).name == "mine"
    for wrong in (b"eta = [", b'name = "\xff"'):
        path.write_bytes(wrong)
        with pytest.raises(ArgumentError, match="not valid TOML"):
            load_profile(str(path))


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ArgumentError, match="quick"):
        load_profile("quik")


def test_every_setting_says_what_it_means() -> None:
    from minimaxopt_study.report.differences_from_paper import settings

    undescribed = {"name", "eta", "rounds", "seeds"}  # the class's own docstring describes these
    assert {name for name, _, meaning in settings(load_profile("quick")) if not meaning} <= undescribed


def test_etas_of_figures_are_the_nearest() -> None:
    assert (load_profile("quick").games_eta, load_profile("quick").samples_eta) == (0.4, 0.2)
    assert (load_profile("quick", eta=(0.1, 0.3)).games_eta, load_profile("quick", eta=(0.3, 0.4)).samples_eta) == (
        0.3,
        0.3,
    )
