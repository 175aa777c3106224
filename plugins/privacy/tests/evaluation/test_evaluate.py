"""Controls of the attackers: they reproduce known accuracies, find what is told, and nothing where nothing is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from minimaxopt.errors import ArgumentError
from minimaxopt_privacy import Evaluation, Reading, Score, evaluate_filter
from minimaxopt_privacy.evaluation.scores import wilson
from minimaxopt_privacy.game.labels import Column
from minimaxopt_privacy.predictors import FAMILIES, balanced_accuracy, build_predictor, fit_predictor, linear_advantage


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    rows = train_test_split(np.arange(len(X)), train_size=300, test_size=400, random_state=0, stratify=y)
    return [(X[r], y[r], y[r] % 2) for r in rows]


def by_family(reading):
    return {score.family: score.value for score in reading.scores}


def test_on_raw_data_the_attackers_reproduce_the_raw_accuracy(digits):
    (X, y, s), (X_test, y_test, s_test) = digits
    evaluation = evaluate_filter(None, X, y, s, X_test, y_test, s_test, utility_families=["logistic"])
    known = {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)),
        "rbf-svm": make_pipeline(StandardScaler(), SVC(C=10.0, gamma=0.01)),
    }
    scores = by_family(evaluation.private[0])
    for family, estimator in known.items():
        assert scores[family] == pytest.approx(estimator.fit(X, s).score(X_test, s_test), abs=0.03)
    assert set(scores) == set(FAMILIES)
    assert evaluation.leakage == max(scores.values()) > 0.9
    assert evaluation.worst.family != "logistic"  # parity of a digit is no linear function of its pixels


def test_a_filter_that_passes_the_private_label_is_found_out_by_everyone(test, train):
    passes = FunctionTransformer(lambda X: np.where(X[:, 1:2] > 0, 1.0, -1.0))
    s, s_test = train.X[:, 1] > 0, test.X[:, 1] > 0
    evaluation = evaluate_filter(passes, train.X, train.y, s, test.X, test.y, s_test)
    assert by_family(evaluation.private[0]) == dict.fromkeys(FAMILIES, 1.0)
    assert evaluation.useful < 0.6


def test_on_pure_noise_nobody_beats_chance(train, test):
    random = np.random.default_rng(7)
    noise = FunctionTransformer(lambda X: random.normal(size=(len(X), 3)))
    evaluation = evaluate_filter(noise, train.X, train.y, train.private, test.X, test.y, test.private)
    for reading in (*evaluation.private, *evaluation.utility):
        for score in reading.scores:
            assert score.interval[0] < 0.5 + 0.03
            assert abs(score.value - 0.5) < 0.1
    constant = FunctionTransformer(lambda X: np.zeros((len(X), 2)))
    silent = evaluate_filter(constant, train.X, train.y, train.private, test.X, test.y, test.private)
    assert abs(silent.leakage - 0.5) < 0.08


def test_settings_are_chosen_on_the_training_data_alone(train, test):
    """Whatever the test data are, the same readers are chosen."""
    first = evaluate_filter(None, *train, *test, families=["logistic", "rbf-svm"])
    scrambled = (test.X[::-1], 1 - test.y, 1 - test.private)
    second = evaluate_filter(None, *train, *scrambled, families=["logistic", "rbf-svm"])
    for a, b in zip(first.private[0].scores, second.private[0].scores, strict=True):
        assert (a.settings, a.validated) == (b.settings, b.validated)
        assert a.value != b.value
    assert first.private[0].scores[0].settings.keys() == {"C"}


def test_the_filter_is_asked_for_test_data_once_and_never_fitted(train, test):
    class Watched:
        def __init__(self):
            self.calls = []

        def fit(self, *args, **kwargs):
            raise AssertionError("a fitted filter is judged")

        def transform(self, X):
            self.calls.append(len(X))
            return X[:, :1]

    watched = Watched()
    evaluate_filter(watched, *train, *(part[:300] for part in test), families=["logistic"])
    assert watched.calls == [400, 300]


def test_numbers_are_judged_by_the_coefficient_of_determination(train, test):
    evaluation = evaluate_filter(
        None, train.X, train.y, train.X[:, 2], test.X, test.y, test.X[:, 2], families=FAMILIES, folds=2
    )
    assert evaluation.private[0].chance == 0.0
    assert by_family(evaluation.private[0])["logistic"] == pytest.approx(1.0, abs=0.01)
    assert evaluation.private[0].best.interval is None
    nothing = np.random.default_rng(0).normal(size=400)
    silent = evaluate_filter(None, train.X, train.y, nothing, test.X, test.y, nothing[::-1], families=["logistic"])
    assert silent.leakage < 0.05


def test_several_labels_have_a_reading_each_and_the_worst_counts(train, test):
    def both(sample):
        return np.c_[sample.private, sample.X[:, 3] > 0]

    hidden = FunctionTransformer(lambda X: X[:, [0, 3]])
    evaluation = evaluate_filter(
        hidden, train.X, train.y, both(train), test.X, test.y, both(test), families=["logistic"]
    )
    assert [reading.label for reading in evaluation.private] == ["private[0]", "private[1]"]
    assert evaluation.private[0].best.value < 0.6 < 0.95 < evaluation.leakage
    assert evaluation.worst == evaluation.private[1].best


def test_a_class_missing_in_test_and_one_unseen_are_borne(train, test):
    words = np.where(train.y, "yes", "no")
    some = test.y == 1
    evaluation = evaluate_filter(
        None, train.X, words, train.private, test.X[some], ["yes"] * some.sum(), test.private[some],
        families=["logistic"],
    )  # fmt: skip
    assert evaluation.useful > 0.8
    unseen = evaluate_filter(
        None, train.X, words, train.private, test.X[some], ["maybe"] * some.sum(), test.private[some],
        families=["logistic"],
    )  # fmt: skip
    assert unseen.useful == 0.0


def test_a_class_rarer_than_the_folds_is_borne(train, test):
    rare = train.y.copy()
    rare[0] = 2
    evaluation = evaluate_filter(None, train.X, rare, train.private, *test, families=["logistic", "rbf-svm"])
    assert evaluation.useful > 0.8


def test_an_evaluation_can_be_written_as_json(train, test):
    evaluation = evaluate_filter(None, *train, *test, families=["logistic"])
    again = json.loads(json.dumps(evaluation.to_dict()))
    assert again["leakage"] == evaluation.leakage
    assert again["private"][0]["scores"][0]["family"] == "logistic"


def test_utility_is_that_of_the_family_chosen_by_validation_and_leakage_the_worst():
    weak, lucky = Score("logistic", 0.7, 0.9, {}, None), Score("mlp", 0.8, 0.6, {}, None)
    reading = Reading("label", "classification", 0.5, (weak, lucky))
    evaluation = Evaluation((reading,), (reading,))
    assert (evaluation.useful, evaluation.leakage) == (0.7, 0.8)


def test_wilsons_interval_is_the_formulas():
    z, n, k = 1.959963984540054, 200, 176
    p = k / n
    middle, reach = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
    assert wilson(k, n) == pytest.approx(((middle - reach) / (1 + z * z / n), (middle + reach) / (1 + z * z / n)))
    with pytest.raises(ArgumentError, match="count: it is 0"):
        wilson(0, 0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_readers_of_one_seed_are_the_same(train, family, kind):
    labels = train.private if kind == "classification" else train.X[:, 1] ** 2
    first, second = (
        fit_predictor(family, train.X[:150], labels[:150], kind, random_state=3, folds=2).predict(train.X) for _ in "ab"
    )
    assert np.array_equal(first, second)


def test_the_quick_reading_is_honest(train):
    column = Column.of("private", train.private)
    assert linear_advantage(train.X, train.private, column) > 0.7
    assert abs(linear_advantage(train.X[:, 2:], train.private, column)) < 0.2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"families": ["bayes"]}, "families: it is 'bayes'"),
        ({"families": []}, r"families: it is \[\]"),
        ({"families": "logistic"}, "families: it is 'logistic'"),
        ({"utility_families": ["bayes"]}, "utility_families: it is 'bayes'"),
        ({"folds": 1}, "folds: it is 1"),
        ({"private": [0] * 400}, "private: every label is 0"),
        ({"private_test": [[0, 1]] * 400}, "private_test: has 2 labels a sample, private has 1"),
        ({"y_test": [0] * 3}, "y_test: has 3 labels for 400 samples"),
    ],
)
def test_what_cannot_be_judged_is_refused(train, test, change, message):
    names = ("X", "y", "private", "X_test", "y_test", "private_test")
    arguments = {**dict(zip(names, (*train, *test), strict=True)), "families": ["logistic"], **change}
    with pytest.raises(ArgumentError, match=message):
        evaluate_filter(None, **arguments)


def test_a_reader_of_constant_labels_is_refused_and_warnings_stay_inside(train):
    with pytest.raises(ArgumentError, match="labels: every label is"):
        fit_predictor("logistic", train.X, np.zeros(400), "classification")
    with pytest.raises(ArgumentError, match="family: it is 'bayes'"):
        build_predictor("bayes")
    with pytest.warns(ConvergenceWarning):
        build_predictor("mlp", folds=2).fit(train.X, train.y)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1), (0.7, 0.2, 0.1)])
def test_balanced_accuracy_is_scikit_learns_and_plain_of_equal_classes(shares):
    random = np.random.default_rng(0)
    labels = random.choice(len(shares), 400, p=shares)
    predictions = np.where(random.random(400) < 0.7, labels, random.choice(len(shares), 400))
    assert balanced_accuracy(labels, predictions) == pytest.approx(
        metrics.balanced_accuracy_score(labels, predictions), abs=1e-12
    )
    equal = np.arange(400) % len(shares) if 400 % len(shares) == 0 else np.arange(400) % 2
    assert balanced_accuracy(equal, predictions) == metrics.accuracy_score(equal, predictions)


def test_a_rare_class_that_is_laid_open_is_told():
    random = np.random.default_rng(0)
    private = (random.random(2000) < 0.08).astype(int)
    X = np.column_stack([random.normal(size=2000) + 1.5 * private, random.normal(size=2000)])
    y = (X[:, 1] > 0).astype(int)
    halves = [(X[r], y[r], private[r]) for r in (slice(0, 1000), slice(1000, 2000))]
    evaluation = evaluate_filter(None, *halves[0], *halves[1], families=["logistic", "mlp"])
    assert evaluation.private[0].chance == 0.5
    assert all(score.value > 0.7 for score in evaluation.private[0].scores)
    # A guess reaches 0.92 by never naming the rare class.
    assert min(score.accuracy for score in evaluation.private[0].scores) < 0.92


def test_the_worst_of_several_labels_is_the_one_most_gained_of():
    random = np.random.default_rng(0)
    X = random.normal(size=(800, 2))
    hidden, open_ = random.integers(0, 2, 800), np.digitize(X[:, 0], [-0.6, 0.0, 0.6])
    private, y = np.column_stack([hidden, open_]), (X[:, 1] > 0).astype(int)
    halves = [(X[r], y[r], private[r]) for r in (slice(0, 400), slice(400, 800))]
    evaluation = evaluate_filter(None, *halves[0], *halves[1], families=["logistic"])
    assert evaluation.most_leaked.label == "private[1]"
    assert evaluation.leakage == evaluation.private[1].best.value


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e5])
def test_numbers_are_read_whatever_their_unit(unit):
    z = np.random.default_rng(0).normal(size=(400, 1))
    label, y = unit * np.sin(2 * z[:, 0]), (z[:, 0] > 0).astype(int)
    halves = [(z[r], y[r], label[r]) for r in (slice(0, 200), slice(200, 400))]
    evaluation = evaluate_filter(
        None, *halves[0], *halves[1], families=["rbf-svm", "mlp"], utility_families=["logistic"]
    )
    scores = by_family(evaluation.private[0])
    assert scores["rbf-svm"] > 0.9
    assert scores["mlp"] > 0.7


def test_a_reader_of_ones_own_attacks_too_and_targets_are_read_as_told(train, test):
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    evaluation = evaluate_filter(None, *train, *test, families=["logistic", KNeighborsClassifier(15)])
    assert set(by_family(evaluation.private[0])) == {"logistic", "KNeighborsClassifier"}
    assert by_family(evaluation.private[0])["KNeighborsClassifier"] > 0.8
    ages = [(20 + 10 * part.X[:, 0]).round().astype(int) for part in (train, test)]
    arguments = (train.X, train.y, ages[0], test.X, test.y, ages[1])
    read = evaluate_filter(
        None, *arguments, families=[KNeighborsRegressor()], utility_families=["logistic"], private_target="regression"
    )
    assert read.private[0].kind == "regression"
    assert read.leakage > 0.8
