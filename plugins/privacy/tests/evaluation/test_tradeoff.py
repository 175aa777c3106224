from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from minimaxopt.cli import app as cli
from minimaxopt.errors import ArgumentError
from minimaxopt_privacy import LaplaceMechanism, MinimaxFilter, PCAFilter
from minimaxopt_privacy.datasets import PrivacyData
from minimaxopt_privacy.estimators.registry import METHODS, build_method
from minimaxopt_privacy.evaluation import evaluate
from minimaxopt_privacy.evaluation.curve import Curve, mean_and_margin
from minimaxopt_privacy.evaluation.tradeoff import tradeoff
from minimaxopt_privacy.result_cache import ResultCache


@pytest.fixture(scope="module")
def data(train, test):
    def mixed(sample):  # the labels share a feature: keeping all of one tells some of the other
        return sample.X, (sample.X[:, 0] + sample.X[:, 1] > 0).astype(int), sample.private

    return PrivacyData("drawn", mixed(train), mixed(test), "sum", "sign", (1, 2, 2))


SETTINGS = {"components": 1, "seeds": [0, 1], "families": ["logistic"], "settings": {"max_iter": 200}}


@pytest.mark.parametrize("name", [*METHODS, "linear+laplace", "pca+gaussian"])
def test_every_method_fits_and_publishes(data, name):
    built = build_method(name, 1, settings={"max_iter": 2, "image_shape": (1, 2, 2)} if name in METHODS[-4:] else None)
    x, y, private = data.train
    built.fit(x, y, private=private)
    assert np.asarray(built.transform(data.test[0])).shape == (400, 4 if name in ("none", "laplace", "gaussian") else 1)


def test_noise_after_a_filter_is_scaled_to_what_the_filter_publishes(data):
    x, y, private = data.train
    built = build_method("linear+laplace", 1, epsilon=2.0, settings={"max_iter": 20}).fit(x, y, private=private)
    filter_, noise = built["filter"], built["noise"]
    assert isinstance(filter_, MinimaxFilter)
    assert isinstance(noise, LaplaceMechanism)
    z = filter_.transform(x)
    assert noise.scale_ == pytest.approx(2 * np.quantile(np.abs(z - z.mean(0)), 0.95) / 2.0)


@pytest.mark.parametrize("name", ["forest", "linear+salt", "+laplace"])
def test_methods_that_do_not_exist_are_refused(name):
    with pytest.raises(ArgumentError, match="methods: it is"):
        build_method(name, 1)


def test_the_curve_moves_with_rho_and_bands_are_students(data):
    curve = tradeoff(data, ["linear", "pca"], rhos=[0.1, 100.0], **SETTINGS)
    cheap, dear, pca = curve.points()
    assert (cheap.rho, dear.rho, pca.rho) == (0.1, 100.0, None)
    assert dear.useful > cheap.useful
    assert dear.leakage > cheap.leakage
    values = [row["evaluation"]["leakage"] for row in curve.rows[:2]]
    low, high = stats.t.interval(0.95, 1, np.mean(values), stats.sem(values)) if np.std(values) else (values[0],) * 2
    assert cheap.leakage_margin == pytest.approx((high - low) / 2)
    assert math.isnan(mean_and_margin([0.5])[1])


def test_a_number_is_hidden_and_read_as_one(data):
    def aged(sample):  # an age in whole years, which the sign does not tell, and a sum that tells some of it
        return sample[0], sample[1], (40 + 10 * sample[0][:, 1]).round().astype(int)

    people = PrivacyData("aged", aged(data.train), aged(data.test), "sum", "age")
    arguments = {**SETTINGS, "seeds": [0], "rhos": [0.1], "settings": {"max_iter": 400}}
    curve = tradeoff(people, ["none", "linear", "lda", "pls+gaussian"], private_target="regression", **arguments)
    assert curve.chance == 0.0
    assert {row["evaluation"]["private"][0]["kind"] for row in curve.rows} == {"regression"}
    leakages = {point.method: point.leakage for point in curve.points()}
    assert leakages["none"] > 0.99
    assert max(leakages["linear"], leakages["lda"]) < 0.1
    with pytest.raises(ArgumentError, match="private_target: "):
        tradeoff(people, ["linear"], private_target="numbers", **arguments)


def test_a_pair_of_labels_that_is_there_once_is_no_obstacle(data):
    x, y, private = (part.copy() for part in data.train)
    y[0] = 2
    rare = PrivacyData("rare", (x, y, private), data.test, "sum", "sign")
    assert tradeoff(rare, ["pca"], rhos=[1.0], **{**SETTINGS, "seeds": [0]}).points()[0].useful < 1


def test_the_table_and_the_picture_say_what_was_found(data, tmp_path):
    curve = tradeoff(data, ["linear", "lda"], rhos=[1.0, 10.0], **SETTINGS)
    table = curve.markdown().splitlines()
    assert table[0] == "| method | rho | sum kept | sign told (worst) | logistic | seeds |"
    assert [line.split("|")[1].strip() for line in table[2:5]] == ["linear", "linear", "lda"]
    assert "0.5" in table[-1]
    curve.plot(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "curve.png").stat().st_size > 10_000


def test_what_is_done_is_found_again_and_other_settings_are_computed_anew(data, tmp_path):
    computed: list[str] = []
    arguments = {**SETTINGS, "rhos": [1.0], "cache": ResultCache(tmp_path), "log": computed.append}
    first = tradeoff(data, ["linear"], **arguments)
    assert computed == ["linear at rho 1, seed 0", "linear at rho 1, seed 1"]
    again = tradeoff(data, ["linear"], **arguments)
    assert len(computed) == 2
    assert [*again.rows] == [*first.rows]
    tradeoff(data, ["linear"], **{**arguments, "settings": {"max_iter": 3}})
    assert len(computed) == 4
    # What does not depend on a setting is not computed for it.
    tradeoff(data, ["pca"], **arguments)
    tradeoff(data, ["pca"], **{**arguments, "settings": {"max_iter": 3}, "rhos": [2.0], "epsilon": 1.0})
    assert len(computed) == 6


@pytest.mark.parametrize("name", ["rhos", "seeds", "methods"])
def test_a_trade_off_of_nothing_is_refused(data, name):
    arguments = {"methods": ["pca"], "rhos": [1.0], **SETTINGS, name: []}
    with pytest.raises(ArgumentError, match="there is none"):
        tradeoff(data, arguments.pop("methods"), **arguments)


def test_a_curve_of_one_seed_has_no_band():
    row = {"method": "pca", "rho": None, "seed": 0, "evaluation": {"useful": 0.9, "leakage": 0.6, "private": []}}
    assert "| 0.900 | 0.600 |" in Curve([row], ("a", "b"), 0.5).markdown()


# The command


def run(*arguments):
    return CliRunner().invoke(cli.application(), ["privacy", "evaluate", *map(str, arguments)])


def test_the_command_writes_table_picture_and_numbers_and_goes_on(tmp_path):
    arguments = (
        "--out", tmp_path, "--methods", "linear,pca", "--components", 3, "--rho", "1,10", "--seeds", "0",
        "--steps", 20, "--families", "logistic",
    )  # fmt: skip
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    assert "linear at rho 10, seed 0" in done.output
    document = json.loads((tmp_path / "tradeoff.json").read_text())
    assert len(document["rows"]) == 3
    assert document["environment"]["torch"]
    assert len(document["fingerprint"]) == 16
    assert (tmp_path / "tradeoff.md").read_text().count("\n| ") == 3
    assert (tmp_path / "tradeoff.png").exists()
    again = run(*arguments)
    assert again.exit_code == 0
    assert "seed 0" not in again.output
    assert run(*arguments, "--quiet").output == ""


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--rho", "a,b", "rho: 'a,b' is not a list of numbers"),
        ("--rho", "-1", "rho: '-1' is not a list"),
        ("--seeds", "0.5", "seeds: '0.5' is not a list of whole numbers"),
        ("--data", "faces", "data: it is 'faces'"),
        ("--data", "missing.mat", "path: there is no file missing.mat"),
        ("--keep", "colour", "keep: it is 'colour'"),
        ("--methods", "forest", "methods: it is 'forest'"),
        ("--methods", "", "methods: there is none"),
        ("--families", "bayes", "families: it is 'bayes'"),
        ("--components", 65, "n_components: it is 65, of n_features=64"),
        ("--solver", "sensitivty", "did you mean 'sensitivity'"),
    ],
)
def test_options_that_cannot_be_used_are_refused_in_words(tmp_path, option, value, message):
    base = ("--out", tmp_path / "out", "--methods", "linear", "--steps", 2, "--families", "logistic")
    done = run(*base, option, value)
    assert done.exit_code != 0
    assert message in " ".join(done.output.replace("│", " ").split())


def test_readers_are_trained_on_samples_that_the_filter_has_not_seen(data, monkeypatch):
    samples_used = []
    judge, fit = evaluate.evaluate_filter, PCAFilter.fit

    def watch(filter_, X, *rest, **options):
        samples_used.append(X)
        return judge(filter_, X, *rest, **options)

    def fitted(self, X, y, *, private):
        samples_used.append(X)
        return fit(self, X, y, private=private)

    monkeypatch.setattr("minimaxopt_privacy.evaluation.tradeoff.evaluate_filter", watch)
    monkeypatch.setattr(PCAFilter, "fit", fitted)
    tradeoff(data, ["pca"], rhos=[1.0], **{**SETTINGS, "seeds": [0]})
    own, others = ({row.tobytes() for row in samples} for samples in samples_used)
    assert not own & others
    assert len(own | others) == len(data.train[0])
    samples_used.clear()
    tradeoff(data, ["pca"], rhos=[1.0], filter_share=1.0, **{**SETTINGS, "seeds": [0]})
    assert np.array_equal(*samples_used)
    with pytest.raises(ArgumentError, match="filter_share: it is 0"):
        tradeoff(data, ["pca"], rhos=[1.0], filter_share=0, **SETTINGS)
