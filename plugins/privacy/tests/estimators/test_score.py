"""The score of a filter: through a pipeline, a grid search and with sample weights, always the one made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import config_context
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from minimaxopt.errors import ArgumentError
from minimaxopt_privacy import MinimaxFilter, PCAFilter, PrivateLDA, PrivatePLS


def advantage_by_hand(z, labels, weights=None):
    """The gain over a guess of a linear reader in three folds, by scikit-learn alone."""
    classes = labels.dtype.kind != "f"
    w = np.ones(len(z)) if weights is None else weights
    if classes and weights is not None:
        values, codes = np.unique(labels, return_inverse=True)
        w = w / np.array([w[labels == value].sum() for value in values])[codes]
    w, scores = w / w.mean(), []
    for inside, outside in (StratifiedKFold if classes else KFold)(3, shuffle=True, random_state=0).split(z, labels):
        scaler = StandardScaler().fit(z[inside], sample_weight=w[inside])
        balance = "balanced" if weights is None else None
        reader = LogisticRegression(max_iter=2000, class_weight=balance) if classes else Ridge()
        reader.fit(scaler.transform(z[inside]), labels[inside], sample_weight=w[inside])
        predictions = reader.predict(scaler.transform(z[outside]))
        metric = balanced_accuracy_score if classes else r2_score
        scores.append(metric(labels[outside], predictions, sample_weight=w[outside]))
    chance = 1 / len(np.unique(labels)) if classes else 0.0
    return (np.mean(scores) - chance) / (1 - chance)


@pytest.mark.parametrize("build", [PrivateLDA, PrivatePLS, PCAFilter])
def test_a_pipeline_that_ends_in_a_filter_scores_as_the_filter_does(train, test, build):
    pipeline = make_pipeline(StandardScaler(), build(1))
    with config_context(enable_metadata_routing=True):
        pipeline.fit(train.X, train.y, private=train.private)
        score = pipeline.score(test.X, test.y, private=test.private)
    z = pipeline.transform(test.X)
    assert score == pipeline[-1].score(pipeline[0].transform(test.X), test.y, private=test.private)
    by_hand = advantage_by_hand(z, test.y) - advantage_by_hand(z, test.private)
    assert score == pytest.approx(by_hand, abs=1e-9)


def test_a_grid_search_over_a_pipeline_that_ends_in_a_filter(train):
    pipeline = make_pipeline(StandardScaler(), PrivateLDA(1))
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(pipeline, {"privatelda__strength": [0.0, 10.0]}, cv=KFold(3))
        search.fit(train.X, train.y, private=train.private)
    scores = np.transpose([search.cv_results_[f"split{k}_test_score"] for k in range(3)])
    for strength, row in zip((0.0, 10.0), scores, strict=True):
        for score, (inside, outside) in zip(row, KFold(3).split(train.X), strict=True):
            scaler = StandardScaler().fit(train.X[inside])
            filter_ = PrivateLDA(1, strength=strength)
            filter_.fit(scaler.transform(train.X[inside]), train.y[inside], private=train.private[inside])
            expected = filter_.score(
                scaler.transform(train.X[outside]), train.y[outside], private=train.private[outside]
            )
            assert score == pytest.approx(expected, abs=1e-12)


def test_a_grid_search_passes_weights_on(train):
    weights = np.random.default_rng(0).uniform(0.5, 2.0, len(train.X))
    with config_context(enable_metadata_routing=True):
        filter_ = PrivateLDA(1).set_score_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), filter_)
        search = GridSearchCV(pipeline, {"privatelda__strength": [0.0, 10.0]}, cv=KFold(2))
        search.fit(train.X, train.y, private=train.private, sample_weight=weights)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
        inside, outside = next(iter(KFold(2).split(train.X)))
        fitted = pipeline.set_params(privatelda__strength=0.0).fit(
            train.X[inside], train.y[inside], private=train.private[inside]
        )
        expected = fitted.score(
            train.X[outside], train.y[outside], private=train.private[outside], sample_weight=weights[outside]
        )
    assert search.cv_results_["split0_test_score"][0] == pytest.approx(expected, abs=1e-12)


def test_weights_weigh_fits_and_scores(train, test):
    filter_ = PrivatePLS(2).fit(train.X, train.y, private=train.private)
    random = np.random.default_rng(1)
    weights = random.uniform(0.1, 3.0, len(test.X))
    z = filter_.transform(test.X)
    weighted = filter_.score(test.X, test.y, private=test.private, sample_weight=weights)
    by_hand = advantage_by_hand(z, test.y, weights) - advantage_by_hand(z, test.private, weights)
    assert weighted == pytest.approx(by_hand, abs=1e-9)
    assert weighted != filter_.score(test.X, test.y, private=test.private)


def test_weights_weigh_numbers_too(train, test):
    filter_ = PCAFilter(3).fit(train.X, train.X[:, 0], private=train.X[:, 1])
    weights = np.random.default_rng(1).uniform(0.1, 3.0, len(test.X))
    z = filter_.transform(test.X)
    weighted = filter_.score(test.X, test.X[:, 0], private=test.X[:, 1], sample_weight=weights)
    expected = [advantage_by_hand(z, test.X[:, k], weights) for k in (0, 1)]
    assert weighted == pytest.approx(expected[0] - expected[1], abs=1e-9)


def test_equal_weights_change_nothing_and_samples_without_weight_are_left_out(train, test):
    filter_ = MinimaxFilter(1, max_iter=3, random_state=0).fit(train.X, train.y, private=train.private)
    plain = filter_.score(test.X, test.y, private=test.private)
    assert filter_.score(test.X, test.y, private=test.private, sample_weight=np.full(len(test.X), 7.0)) == plain
    weights = np.random.default_rng(0).uniform(0.5, 1.0, len(test.X)) * (np.arange(len(test.X)) % 3 > 0)
    kept = weights > 0
    among = filter_.score(test.X, test.y, private=test.private, sample_weight=weights)
    alone = filter_.score(test.X[kept], test.y[kept], private=test.private[kept], sample_weight=weights[kept])
    assert among == alone


@pytest.mark.parametrize(
    ("weights", "reason"),
    [([1.0], "has shape"), ([-1.0] * 400, "-1.0 is among"), ([np.nan] * 400, "nan is among"), ([0.0] * 400, "every")],
)
def test_weights_that_weigh_nothing_are_refused(train, test, weights, reason):
    filter_ = PCAFilter(1).fit(train.X, train.y, private=train.private)
    with pytest.raises(ArgumentError, match=f"^sample_weight: .*{reason}|^sample_weight: {reason}"):
        filter_.score(test.X, test.y, private=test.private, sample_weight=weights)
