from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

from minimaxopt import BestResponse
from minimaxopt.errors import ArgumentError
from minimaxopt_privacy import (
    DiscriminativeDirection,
    GaussianMechanism,
    LaplaceMechanism,
    MinimaxFilter,
    PCAFilter,
    PrivateLDA,
    PrivatePLS,
    RandomFilter,
)

BASELINES = [RandomFilter, PCAFilter, PrivatePLS, PrivateLDA, DiscriminativeDirection]
FILTERS = [MinimaxFilter, *BASELINES]


def small(**settings):
    return MinimaxFilter(**{"n_components": 1, "max_iter": 60, "random_state": 0, **settings})


@pytest.fixture(scope="module")
def fitted(train):
    """A filter that hides the private label of ``train``; tests leave it as it is."""
    return small(max_iter=400, rho=1.0).fit(train.X, train.y, private=train.private)


def accuracy(filter_, train, test, label):
    z, z_test = filter_.transform(train.X), filter_.transform(test.X)
    return LogisticRegression().fit(z, getattr(train, label)).score(z_test, getattr(test, label))


# What it does


@pytest.mark.parametrize("solver", ["sensitivity", "alternating-gda", BestResponse(ascent_steps=3)])
@pytest.mark.parametrize("rho", [0.5, 2.0])
def test_the_filter_is_the_known_optimum_of_the_linear_gaussian_problem(linear_gaussian, solver, rho):
    known = linear_gaussian
    best, value = known.optimum(rho)
    found = MinimaxFilter(
        1, rho=rho, scaling="none", jitter=0.0, adversary="softmax", penalty=0.0, solver=solver, max_iter=800,
        random_state=1,
        learning_rate=1e-2, adversary_learning_rate=2e-2,
    ).fit(known.X, known.y, private=known.s)  # fmt: skip
    weight = found.filter_.inner[0].weight.detach().numpy()[0]
    cosine = abs(weight @ best) / np.linalg.norm(weight)
    assert cosine == pytest.approx(1.0, abs=2e-3)
    tensors = found._tensors(known.X, [known.y], [known.s])
    risk = found.game_.f(found.solution_.u, found.solution_.v, tensors).item()
    assert risk == pytest.approx(value, abs=2e-3)
    # The direction that keeps all of y is not the answer, and the check would tell.
    assert abs(known.a @ best) < 0.99


def test_useful_stays_and_private_goes(fitted, train, test):
    assert accuracy(fitted, train, test, "y") > 0.85
    assert accuracy(fitted, train, test, "private") < 0.6
    swapped = small(max_iter=400, rho=1.0).fit(train.X, train.private, private=train.y)
    assert accuracy(swapped, train, test, "private") > 0.85
    assert accuracy(swapped, train, test, "y") < 0.6


def test_rho_moves_along_the_trade_off(train, test):
    """Where the labels share a feature, a low price gives up utility for privacy."""
    y = (train.X[:, 0] + train.X[:, 1] > 0).astype(int)
    cheap, dear = (small(max_iter=400, rho=rho).fit(train.X, y, private=train.private) for rho in (0.1, 100.0))
    told = [accuracy(found, train, test, "private") for found in (cheap, dear)]
    assert told[0] < 0.6 < 0.7 < told[1]


@pytest.mark.parametrize(
    "settings",
    [
        {"filter": "mlp", "hidden": (6,)},
        {"filter": "noise"},
        {"filter": "conv", "image_shape": (1, 2, 2)},
        {"filter": nn.Linear(4, 1)},
        {"adversary": ("softmax", "mlp", "mlp"), "head": "mlp"},
        {"init": "pca", "scaling": "whiten"},
        {"init": "lda"},
        {"scaling": "standard", "jitter": 0.0},
        {"adversary": "softmax"},
        {"normalize": False},
        {"filter": "noise", "init": "lda"},
        {"order": "maximin"},
        {"batch_size": 64},
        {"solver": "two-timescale"},
    ],
)
def test_every_kind_fits_the_same_way_twice_and_publishes_finite_numbers(train, settings):
    first, second = (small(max_iter=20, **settings).fit(train.X, train.y, private=train.private) for _ in range(2))
    z = first.transform(train.X)
    assert z.shape == (400, 1)
    assert np.isfinite(z).all()
    assert np.array_equal(z, second.transform(train.X))
    assert first.solution_.steps == first.n_iter_ == 20


def test_the_seed_decides_and_the_callers_random_state_is_left(train):
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    first, other = (small(random_state=seed).fit(train.X, train.y, private=train.private) for seed in (0, 1))
    z = first.transform(train.X)
    assert torch.equal(torch.rand(2), expected)
    assert not np.allclose(z, other.transform(train.X))


def test_several_private_labels_of_both_kinds_are_hidden_at_once(train, test):
    table = pd.DataFrame({"sign": np.where(train.private, "plus", "minus"), "size": train.X[:, 2]})
    found = small(max_iter=400, rho=1.0).fit(train.X, train.y, private=table)
    assert [column.kind for column in found.private_columns_] == ["classification", "regression"]
    assert accuracy(found, train, test, "private") < 0.6
    assert accuracy(found, train, test, "y") > 0.85
    assert abs(np.corrcoef(found.transform(test.X)[:, 0], test.X[:, 2])[0, 1]) < 0.2
    plain = small(max_iter=400, rho=1.0).fit(train.X, train.X[:, 2], private=train.private)
    assert abs(np.corrcoef(plain.transform(test.X)[:, 0], test.X[:, 2])[0, 1]) > 0.9


def test_several_useful_labels_stay(train, test):
    found = small(n_components=2, max_iter=300).fit(train.X, np.c_[train.y, train.X[:, 2] > 0], private=train.private)
    assert accuracy(found, train, test, "y") > 0.85


def test_lda_begins_where_it_should(train):
    found = small(max_iter=0, init="lda", scaling="standard").fit(train.X, train.y, private=train.private)
    weight = found.filter_.inner[0].weight.detach().numpy()[0]
    assert abs(weight[0]) > 0.9 * np.linalg.norm(weight)
    assert found.transform(train.X).std() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_a_filter_cannot_whisper_unless_told_otherwise(train, seed):
    """A penalty shrinks the weights and not the output, except for the lag of running averages."""

    def published(normalize):
        settings = {"max_iter": 200, "normalize": normalize, "jitter": 0.0, "penalty": 30.0, "random_state": seed}
        return small(**settings).fit(train.X, train.y, private=train.private).transform(train.X)

    z = published(normalize=True)
    assert z.std() == pytest.approx(1.0, abs=0.15)
    assert abs(z.mean()) < 0.15
    assert published(normalize=False).std() < 0.5


@pytest.mark.parametrize(
    ("filter_", "mixes"), [("linear", True), ("mlp", True), ("noise", True), ("conv", False), (nn.Linear(4, 1), False)]
)
def test_features_stay_in_their_places_where_a_filter_needs_it(train, filter_, mixes):
    found = small(max_iter=0, filter=filter_, image_shape=(1, 2, 2)).fit(train.X, train.y, private=train.private)
    assert (found.filter_.matrix.ndim == 2) == mixes


def test_a_module_of_ones_own_is_copied(train):
    own = nn.Linear(4, 1)
    before = own.weight.detach().clone()
    small(filter=own).fit(train.X, train.y, private=train.private)
    assert torch.equal(own.weight, before)
    assert own.weight.dtype == torch.float32


def test_the_adversary_who_leads_is_the_safer_attacker(train):
    """Against an adversary that is known, the best filter does less harm to the maximin one than to the other."""
    from functools import partial

    from minimaxopt import Descent, Game, solve

    def worst_case(found):
        tensors = found._tensors(train.X, [train.y], [train.private])
        adversary, risk = found.solution_.v, found.game_.f
        game = Game(lambda u, v, batch: risk(u, frozen(adversary), batch), found.game_.u, None)
        against = solve(game, Descent(), data=[tensors], steps=300, u_optimizer=partial(torch.optim.Adam, lr=1e-2))
        return risk(against.u, adversary, tensors).item()

    def frozen(readers):
        return {name: reader.requires_grad_(False) for name, reader in readers.items()}

    settings = {"filter": "mlp", "rho": 1.0, "max_iter": 300, "normalize": False}
    leading, following = (
        small(order=order, **settings).fit(train.X, train.y, private=train.private) for order in ("maximin", "minimax")
    )
    assert worst_case(leading) > worst_case(following)


def test_a_certificate_of_fresh_adversaries_comes_with_it(fitted, test):
    certificate = fitted.certify(test.X, test.y, private=test.private, restarts=2, steps=50)
    assert certificate.worst.value >= certificate.risk.value
    with pytest.raises(TypeError, match="certify"):
        fitted.certify(test.X, test.y)


def test_score_is_utility_less_leakage_of_fresh_readers(fitted, test):
    good, bad = (fitted.score(test.X, a, private=b) for a, b in ((test.y, test.private), (test.private, test.y)))
    assert good > 0.25 > -0.25 > bad


def test_progress_shows_a_bar(train, capsys):
    small(max_iter=3, progress=True).fit(train.X, train.y, private=train.private)
    assert "sensitivity" in capsys.readouterr().err
    small(max_iter=3).fit(train.X, train.y, private=train.private)
    assert capsys.readouterr().err == ""


# scikit-learn


@pytest.mark.parametrize("build", FILTERS, ids=lambda build: build.__name__)
def test_private_is_needed_and_its_error_says_how_to_pass_it(train, build):
    with pytest.raises(TypeError, match="fit.. needs private.*STEP__private.*enable_metadata_routing"):
        build().fit(train.X, train.y)


@pytest.mark.parametrize("build", FILTERS, ids=lambda build: build.__name__)
def test_a_pipeline_passes_private_on_and_clone_forgets(train, test, build):
    filter_ = build() if build is not MinimaxFilter else small(n_components=2)
    pipeline = Pipeline([("scale", StandardScaler()), ("filter", filter_), ("read", LogisticRegression())])
    pipeline.fit(train.X, train.y, filter__private=train.private)
    assert pipeline.predict(test.X).shape == (400,)
    with pytest.raises(TypeError, match="needs private"):
        clone(pipeline).fit(train.X, train.y)
    with pytest.raises(NotFittedError):
        clone(pipeline)["filter"].transform(train.X)


def test_metadata_routing_passes_private_without_being_told(train):
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(StandardScaler(), small(max_iter=5), LogisticRegression())
        pipeline.fit(train.X, train.y, private=train.private)
        routed = pipeline[:-1].transform(train.X)
        search = GridSearchCV(small(max_iter=60), {"rho": [1.0, 10.0]}, cv=2)
        search.fit(train.X, train.y, private=train.private)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
        with pytest.raises(TypeError, match="needs private"):
            pipeline.fit(train.X, train.y)
    plain = make_pipeline(StandardScaler(), small(max_iter=5)).fit(
        train.X, train.y, minimaxfilter__private=train.private
    )
    assert np.array_equal(routed, plain.transform(train.X))


def test_a_grid_search_over_a_pipeline_works_without_routing(train):
    pipeline = Pipeline([("filter", small(max_iter=30)), ("read", LogisticRegression())])
    search = GridSearchCV(pipeline, {"filter__rho": [0.1, 10.0], "filter__solver": ["sensitivity"]}, cv=2)
    search.fit(train.X, train.y, filter__private=train.private)
    assert search.best_score_ > 0.6


@pytest.mark.parametrize("build", FILTERS, ids=lambda build: build.__name__)
def test_parameters_can_be_got_set_and_shown(build):
    filter_ = build()
    names = filter_.get_params()
    assert filter_.set_params(**names).get_params() == names
    assert build.__name__ in repr(filter_)
    with pytest.raises(ValueError, match="Invalid parameter 'zeta'"):
        filter_.set_params(zeta=1)


def test_a_fitted_filter_can_be_pickled_and_named(train):
    frame = pd.DataFrame(train.X, columns=list("abcd"))
    found = small(max_iter=5).fit(frame, train.y, private=pd.Series(train.private))
    again = pickle.loads(pickle.dumps(found))
    assert np.array_equal(found.transform(frame), again.transform(frame))
    assert found.get_feature_names_out().tolist() == ["minimaxfilter0"]
    assert found.feature_names_in_.tolist() == list("abcd")
    assert found.set_output(transform="pandas").transform(frame).columns.tolist() == ["minimaxfilter0"]


def with_private(build):
    """The estimator with a private label of its own, for checks that know of none."""

    def drawn(y):
        return np.random.default_rng(1).permutation(len(np.asarray(y))) % 2

    class Bound(build):
        def fit(self, X, y=None, *, private=None):
            private = drawn(y) if private is None and y is not None else private
            return super().fit(X, y, private=[0, 1] if private is None else private)

        def score(self, X, y, *, private=None):
            return super().score(X, y, private=drawn(y) if private is None else private)

    if not hasattr(build, "score"):
        del Bound.score
    Bound.__name__ = Bound.__qualname__ = f"Bound{build.__name__}"
    globals()[Bound.__name__] = Bound  # where pickle looks for it
    return Bound


CONSTRUCTED = {
    MinimaxFilter: {"n_components": 1, "max_iter": 2},
    PCAFilter: {"n_components": 1},
    RandomFilter: {"n_components": 1},
    PrivateLDA: {"n_components": 1},
    PrivatePLS: {"n_components": 1},
    DiscriminativeDirection: {},
}

# Each of these calls ``fit(X, y)`` and expects no error. To fit without ``private`` has to be one; with a private label
# bound, as in the test before, each of them passes.
NEED_PRIVATE = dict.fromkeys(
    (
        "check_dict_unchanged",
        "check_dont_overwrite_attributes",
        "check_dont_overwrite_parameters",
        "check_dtype_object",
        "check_estimators_dtypes",
        "check_estimators_fit_returns_self",
        "check_estimators_nan_inf",
        "check_estimators_overwrite_params",
        "check_estimators_pickle",
        "check_f_contiguous_array_estimator",
        "check_fit2d_1feature",
        "check_fit2d_predict1d",
        "check_fit_check_is_fitted",
        "check_fit_idempotent",
        "check_fit_score_takes_y",
        "check_methods_sample_order_invariance",
        "check_methods_subset_invariance",
        "check_n_features_in",
        "check_n_features_in_after_fitting",
        "check_pipeline_consistency",
        "check_positive_only_tag_during_fit",
        "check_readonly_memmap_input",
        "check_transformer_data_not_an_array",
        "check_transformer_general",
        "check_transformer_n_iter",
        "check_transformer_preserve_dtypes",
    ),
    "calls fit(X, y) without private, which is an error",
)


@pytest.mark.parametrize("build", CONSTRUCTED, ids=lambda build: build.__name__)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learns_checks_pass_with_private_bound(build):
    results = check_estimator(with_private(build)(**CONSTRUCTED[build]), on_skip=None)
    assert len(results) > 40
    skipped = {result["check_name"] for result in results if result["status"] != "passed"}
    assert skipped <= {"check_array_api_input"}  # of scikit-learn's own settings


@pytest.mark.parametrize("build", CONSTRUCTED, ids=lambda build: build.__name__)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learns_checks_pass_as_they_are_but_for_those_that_give_no_private(build):
    results = check_estimator(
        build(**CONSTRUCTED[build]), expected_failed_checks=NEED_PRIVATE, on_skip=None, on_fail=None
    )
    by_status = {result["check_name"]: result["status"] for result in results}
    assert {name for name, status in by_status.items() if status == "failed"} == set()
    # A check that passes although it is in the list does not belong there.
    listed = {name for name in NEED_PRIVATE if by_status.get(name) == "passed"}
    assert listed <= ({"check_transformer_n_iter"} if build is not MinimaxFilter else set())
    for result in results:
        if result["status"] == "xfail":
            error, told = result["exception"], []
            while error is not None:
                told.append(repr(error))
                error = error.__cause__ or error.__context__
            assert any("needs private" in text for text in told), result["check_name"]


@pytest.mark.parametrize("build", [LaplaceMechanism, GaussianMechanism])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learns_checks_pass_for_mechanisms(build):
    check_estimator(build(), on_skip=None)


# Bad input


@pytest.mark.parametrize("build", FILTERS, ids=lambda build: build.__name__)
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: {"y": np.zeros(400)}, "y: every label is"),
        (lambda s: {"private": ["a"] * 400}, "private: every label is"),
        (lambda s: {"private": s.y}, "private: is the same label as y"),
        (lambda s: {"private": np.where(s.y, "yes", "no")}, "private: is the same label as y"),
        (lambda s: {"private": np.c_[s.private, 1 - s.y]}, "private: is the same label as y"),
        (lambda s: {"private": s.private[:-1]}, "private: has 399 labels for 400 samples"),
        (lambda s: {"private": np.where(s.private, 1.0, np.nan)}, "private: has missing labels"),
        (lambda s: {"private": np.zeros((400, 1, 1))}, "private: has shape"),
        (lambda s: {"X": np.where(s.X > 2, np.nan, s.X)}, "NaN"),
        (lambda s: {"X": np.where(s.X > 2, np.inf, s.X)}, "infinity"),
        (lambda s: {"X": np.ones((400, 4))}, "X: every feature is constant"),
        (lambda s: {"X": s.X[:1], "y": s.y[:1], "private": s.private[:1]}, "minimum of 2 is required"),
        (lambda s: {"X": s.X[:, 0]}, "Expected 2D array"),
    ],
)
def test_labels_and_features_that_cannot_be_used_are_refused(train, build, change, told):
    given = {"X": train.X, "y": train.y, "private": train.private, **change(train)}
    filter_ = build() if build is not MinimaxFilter else small(n_components=2)
    with pytest.raises(ValueError, match=told):
        filter_.fit(given["X"], given["y"], private=given["private"])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"n_components": 5}, "n_components: it is 5, of n_features=4; publish between 1 and 4 features"),
        ({"n_components": 0}, "n_components: it is 0"),
        ({"n_components": 1.0}, "n_components: it is 1.0"),
        ({"rho": -1.0}, "rho: it is -1.0"),
        ({"filter": "forest"}, "filter: it is 'forest'"),
        ({"filter": nn.Linear(4, 3)}, "filter: it makes"),
        ({"head": "forest"}, "head: it is 'forest'; give one of softmax, mlp"),
        ({"adversary": ("softmax", "forest")}, "adversary: it is 'forest'"),
        ({"adversary": ()}, r"adversary: it is \(\)"),
        ({"adversary": 3}, "adversary: it is 3"),
        ({"noise": 0, "filter": "noise"}, "noise: it is 0"),
        ({"batch_size": 1}, "batch_size: it is 1"),
        ({"private_target": "number"}, "private_target: it is 'number'"),
        ({"utility_target": "number"}, "utility_target: it is 'number'"),
        ({"filter": nn.Linear(7, 2)}, "filter: it cannot read"),
        ({"scaling": "minmax"}, "scaling: it is 'minmax'"),
        (
            {"scaling": "shrunk", "filter": "conv", "image_shape": (1, 2, 2)},
            "scaling: it is 'shrunk', which mixes pixels",
        ),
        ({"init": "pls"}, "init: it is 'pls'"),
        ({"init": "lda", "filter": "mlp"}, "init: it is 'lda' for the filter 'mlp'"),
        ({"order": "maxmin"}, "order: it is 'maxmin'"),
        ({"solver": "sensitivty"}, "there is no 'sensitivty'; did you mean 'sensitivity'"),
        ({"batch_size": 0}, "batch_size: it is 0"),
        ({"max_iter": -1}, "max_iter: it is -1"),
        ({"learning_rate": -1.0}, "learning_rate: it is -1.0"),
        ({"utility_target": "ordinal"}, "target: it is 'ordinal'"),
        ({"penalty": -1.0}, "penalty: it is -1.0"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_when_it_fits(train, settings, told):
    filter_ = small(**settings)  # the constructor checks nothing, as scikit-learn asks
    with pytest.raises(ValueError, match=told):
        filter_.fit(train.X, train.y, private=train.private)


def test_string_labels_are_classes_and_a_class_may_be_missing_in_test(train, test):
    words = np.array(["low", "mid", "high"])[np.digitize(train.X[:, 0], [-0.5, 0.5])]
    found = small().fit(train.X, words, private=train.private)
    assert found.utility_columns_[0].classes.tolist() == ["high", "low", "mid"]
    some = test.X[:, 0] > 0.5
    assert found.transform(test.X[some]).shape == (some.sum(), 1)
    certificate = found.certify(test.X[some], ["high"] * some.sum(), private=test.private[some], restarts=1, steps=5)
    assert np.isfinite(certificate.risk.value)
    with pytest.raises(ValueError, match="y: has the unseen label 'tiny'"):
        found.certify(test.X, ["tiny"] * 400, private=test.private)


def test_numbers_are_refused_where_text_is_to_be_regressed(train):
    with pytest.raises(ValueError, match="y: numbers are to be inferred"):
        small(utility_target="regression").fit(train.X, np.where(train.y, "a", "b"), private=train.private)


def test_as_many_labels_as_were_fitted_are_needed(train):
    found = small(max_iter=2).fit(train.X, train.y, private=train.private)
    with pytest.raises(ValueError, match="private: has 2 labels a sample, fitted on 1"):
        found.score(train.X, train.y, private=np.c_[train.private, train.private])


def test_noise_is_another_for_every_sample_published_alone(train):
    noisy = small(filter="noise", max_iter=2).fit(train.X, train.y, private=train.private)
    clean = noisy.filter_.inner
    alone = np.concatenate([noisy.transform(train.X[i : i + 1]) for i in range(20)])
    with torch.no_grad():
        scaled = torch.from_numpy((train.X[:20] - noisy.filter_.mean.numpy()) @ noisy.filter_.matrix.numpy())
        noise = alone - clean.clean(scaled).numpy()
    assert noise.std(0).min() > 0.2
    assert np.array_equal(noisy.transform(train.X), noisy.transform(train.X))  # of a seed: an experiment
    release = small(filter="noise", max_iter=2, random_state=None).fit(train.X, train.y, private=train.private)
    assert not np.array_equal(release.transform(train.X), release.transform(train.X))


def test_a_transform_leaves_the_callers_generator_alone(train):
    found = small(max_iter=1).fit(train.X, train.y, private=train.private)
    torch.manual_seed(7)
    expected = torch.randn(3)
    torch.manual_seed(7)
    found.transform(train.X)
    assert torch.equal(torch.randn(3), expected)


def test_a_last_batch_of_one_is_avoided(train):
    found = small(max_iter=30, batch_size=(len(train.X) - 1) // 3).fit(train.X, train.y, private=train.private)
    assert (len(train.X) - 1) % ((len(train.X) - 1) // 3) == 0
    assert found.solution_.steps == 30


def test_a_module_of_ones_own_is_not_run_and_may_have_no_parameters(train):
    own = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 1))
    small(filter=own, max_iter=2).fit(train.X, train.y, private=train.private)
    assert int(own[0].num_batches_tracked) == 0
    plain = small(n_components=4, filter=nn.Identity(), max_iter=1, normalize=False).fit(
        train.X, train.y, private=train.private
    )
    assert plain.transform(train.X).shape == train.X.shape


def test_a_column_of_numbers_beside_texts_is_read_as_numbers(train):
    number = np.random.default_rng(0).normal(size=len(train.X))
    rows = [[("a", "b")[s], float(v)] for s, v in zip(train.private, number, strict=True)]
    for private in (rows, np.array(rows, dtype=object)):
        found = small(max_iter=1).fit(train.X, train.y, private=private)
        assert [c.kind for c in found.private_columns_] == ["classification", "regression"]


@pytest.mark.parametrize(
    ("private", "told"),
    [
        (lambda n: np.where(np.arange(n) == 3, np.inf, np.arange(n) / 2), "private: has infinite labels"),
        (lambda n: [f"person {i}" for i in range(n)], "private: each sample has a class of its own"),
        (lambda n: np.array(["a", 1] * (n // 2), dtype=object), "private: has texts and numbers"),
    ],
)
def test_labels_that_nobody_could_read_are_refused(train, private, told):
    with pytest.raises(ArgumentError, match=told):
        small().fit(train.X, train.y, private=private(len(train.X)))


def test_the_score_of_a_constant_label_is_refused(train):
    found = small(max_iter=1).fit(train.X, train.y, private=train.private)
    with pytest.raises(ArgumentError, match="private: every label is 0"):
        found.score(train.X, train.y, private=[0] * len(train.X))


def test_a_mechanism_follows_a_filter_under_metadata_routing(train):
    from sklearn import config_context
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    from minimaxopt_privacy import LaplaceMechanism, PrivateLDA

    with config_context(enable_metadata_routing=True):
        both = make_pipeline(small(max_iter=2), LaplaceMechanism(5.0, random_state=0))
        assert both.fit(train.X, train.y, private=train.private).transform(train.X).shape == (len(train.X), 1)
        search = GridSearchCV(PrivateLDA(1), {"strength": [0.0, 100.0]}, cv=3)
        search.fit(train.X, train.X[:, 0] + train.X[:, 1] > 0, private=train.private)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_ == {"strength": 100.0}
