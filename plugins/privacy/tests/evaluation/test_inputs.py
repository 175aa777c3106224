"""What people bring to ``evaluate_filter``: labels written otherwise, sparse tables, missing values, weights."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from minimaxopt.errors import ArgumentError
from minimaxopt_privacy import PrivacyData, evaluate_filter, tradeoff
from minimaxopt_privacy.evaluation.scores import balanced_interval, wilson
from minimaxopt_privacy.predictors import FAMILIES


def leakage(train, private, test, private_test, **options):
    options = {"families": ["logistic"], **options}
    return evaluate_filter(None, train.X, train.y, private, test.X, test.y, private_test, **options).leakage


@pytest.fixture(scope="module")
def sex(train, test):
    return [np.where(sample.private, "m", "f") for sample in (train, test)]


REWRITES = {"suffix": lambda s: np.char.add(s, "."), "capitals": np.char.upper, "numbers": lambda s: (s == "m") + 0}


@pytest.mark.parametrize("rewrite", REWRITES.values(), ids=list(REWRITES))
def test_private_labels_none_of_which_was_trained_on_are_refused(train, test, sex, rewrite):
    with pytest.raises(ArgumentError, match=r"^private_test: 400 of 400 labels, such as .* are no class of private"):
        leakage(train, sex[0], test, rewrite(sex[1]))
    assert leakage(train, sex[0], test, sex[1]) > 0.85


def test_some_private_labels_that_no_one_can_name_are_warned_of(train, test, sex):
    renamed = np.where(sex[1] == "f", "f.", sex[1])
    with pytest.warns(
        UserWarning, match=r"private_test: \d+ of 400 labels, such as 'f\.', .* leakage comes out too low"
    ):
        assert leakage(train, sex[0], test, renamed) < 0.5
    several = [np.c_[s, s] for s in sex]
    several[1][3, 1] = "x"
    with pytest.warns(UserWarning, match=r"private_test\[1\]: 1 of 400 labels"):
        leakage(train, several[0], test, several[1])


def test_a_trade_off_refuses_them_too(train, test, sex):
    data = PrivacyData("x", (train.X, train.y, sex[0]), (test.X, test.y, np.char.upper(sex[1])), "y", "sex")
    with pytest.raises(ArgumentError, match="private_test: 400 of 400"):
        tradeoff(data, ["none"], components=1, rhos=[1.0], seeds=[0], families=["logistic"])


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.coo_array])
def test_sparse_features_are_read_as_dense_ones(train, test, kind):
    dense, sparse = (
        evaluate_filter(f, of(train.X), train.y, train.private, of(test.X), test.y, test.private, families=["logistic"])
        for f, of in ((None, np.asarray), (None, kind))
    )
    assert dense == sparse
    passes = FunctionTransformer(accept_sparse=True)
    again = evaluate_filter(
        passes, kind(train.X), train.y, train.private, kind(test.X), test.y, test.private, families=["logistic"]
    )
    assert again == dense


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda X: X[:, 0], r"it gives shape \(400,\) for X; give \(N, k\)"),
        (lambda X: X[:5], "it gives 5 rows for the 400 samples of X"),
        (lambda X: np.where(X > 2, np.nan, X), "it gives NaN or infinite values for X"),
        (lambda X: X.astype(str).astype(object) + "a", "it gives no numbers for X"),
    ],
    ids=["shape", "rows", "nan", "text"],
)
def test_outputs_that_no_one_can_read_are_refused(train, test, change, reason):
    sample = (train.y, train.private, test.X, test.y, test.private)
    with pytest.raises(ArgumentError, match=f"^filter_: {reason}"):
        evaluate_filter(FunctionTransformer(change), train.X, *sample)
    if reason.startswith("it gives 5 rows"):
        return
    with pytest.raises(ArgumentError, match=f"^X: {reason}"):
        evaluate_filter(None, change(train.X), *sample)


def test_weighted_scores_are_scikit_learns(train, test):
    random = np.random.default_rng(0)
    weights, weights_test = (random.uniform(0.1, 3.0, len(sample.X)) for sample in (train, test))
    evaluation = evaluate_filter(
        None, *train, *test, sample_weight=weights, sample_weight_test=weights_test,
        families=[LogisticRegression(C=0.1)],
    )  # fmt: skip
    total = [weights[train.private == value].sum() for value in (0, 1)]
    balanced = weights / np.array(total)[train.private]
    reader = LogisticRegression(C=0.1).fit(train.X, train.private, sample_weight=balanced / balanced.mean())
    (score,) = evaluation.private[0].scores
    predictions = reader.predict(test.X)
    assert score.value == pytest.approx(
        balanced_accuracy_score(test.private, predictions, sample_weight=weights_test), abs=1e-12
    )
    assert score.accuracy == pytest.approx(reader.score(test.X, test.private, sample_weight=weights_test), abs=1e-12)
    low, high = balanced_interval(score.value, test.private)
    assert score.interval[1] - score.interval[0] > high - low  # unequal weights determine less


def test_weighted_numbers_are_scikit_learns(train, test):
    weights = np.random.default_rng(0).uniform(0.1, 3.0, len(test.X))
    evaluation = evaluate_filter(
        None, train.X, train.y, train.X[:, 2] ** 2, test.X, test.y, test.X[:, 2] ** 2, sample_weight_test=weights,
        families=["logistic"], utility_families=["logistic"],
    )  # fmt: skip
    scaler = StandardScaler().fit(train.X)
    (score,) = evaluation.private[0].scores
    target = train.X[:, 2] ** 2
    reader = Ridge(score.settings["alpha"]).fit(scaler.transform(train.X), (target - target.mean()) / target.std())
    predictions = reader.predict(scaler.transform(test.X)) * target.std() + target.mean()
    assert score.value == pytest.approx(r2_score(test.X[:, 2] ** 2, predictions, sample_weight=weights), abs=1e-9)


def test_every_family_takes_weights_and_samples_without_one_are_left_out(train, test):
    """Half of the training samples have a false label and no weight: nobody is misled."""
    false = np.arange(len(train.X)) % 2 == 0
    labels = np.where(false, 1 - train.private, train.private)
    weights = np.where(false, 0.0, 1.0 + (np.arange(len(train.X)) % 3))
    evaluation = evaluate_filter(None, train.X, train.y, labels, *test, sample_weight=weights, utility_families=["mlp"])
    for score in evaluation.private[0].scores:
        assert score.value > 0.8, score.family
        assert score.validated > 0.8, score.family
    misled = evaluate_filter(None, train.X, train.y, labels, *test, families=["logistic"])
    assert misled.leakage < 0.7


def test_equal_weights_change_nothing(train, test):
    plain, weighted = (
        evaluate_filter(None, *train, *test, families=FAMILIES[:2], sample_weight=w, sample_weight_test=w)
        for w in (None, np.full(400, 2.0))
    )
    assert plain == weighted


@pytest.mark.parametrize("argument", ["sample_weight", "sample_weight_test"])
def test_weights_of_another_length_are_refused(train, test, argument):
    with pytest.raises(ArgumentError, match=rf"^{argument}: has shape \(3,\) for 400 samples"):
        evaluate_filter(None, *train, *test, **{argument: [1.0, 2.0, 3.0]})


def test_an_estimator_that_takes_no_weights_is_refused(train, test):
    weights = np.arange(1.0, 401)
    with pytest.raises(ArgumentError, match="^families: KNeighborsClassifier takes no sample_weight"):
        evaluate_filter(None, *train, *test, families=[KNeighborsClassifier()], sample_weight=weights)
    assert evaluate_filter(None, *train, *test, families=[RidgeClassifier()], sample_weight=weights).leakage > 0.8


def test_the_interval_of_weighted_samples_counts_the_effective_ones():
    labels = np.array([0, 1] * 100)
    assert balanced_interval(0.88, labels, np.full(200, 3.0)) == wilson(176, 200)
    half = np.tile([1.0, 1.0, 1e-9, 1e-9], 50)
    assert balanced_interval(0.88, labels, half) == wilson(88, 100)
