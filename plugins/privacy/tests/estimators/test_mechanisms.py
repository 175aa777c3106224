"""The mechanisms' epsilon, against the definition of differential privacy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import laplace, norm

from minimaxopt.errors import ArgumentError
from minimaxopt_privacy import GaussianMechanism, LaplaceMechanism, gaussian_scale, laplace_scale
from minimaxopt_privacy.estimators.mechanisms import gaussian_delta


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 5.0])
def test_laplace_noise_bounds_the_ratio_of_densities_and_no_less_noise_does(epsilon):
    points = np.linspace(-30, 30, 4001)

    def ratio(scale):
        return np.abs(laplace.logpdf(points, 0, scale) - laplace.logpdf(points, 2.0, scale)).max()

    scale = laplace_scale(epsilon, 2.0)
    assert ratio(scale) == pytest.approx(epsilon)
    assert ratio(0.9 * scale) > epsilon


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
@pytest.mark.parametrize("delta", [1e-2, 1e-5])
def test_gaussian_noise_meets_the_definition_by_integration(epsilon, delta):
    def excess(scale):
        """The integral of (p - e^epsilon q)+, which must not exceed delta."""
        edge = epsilon * scale**2 + 0.5  # p > e^epsilon q to the right of it, for p = N(1, scale) and q = N(0, scale)

        def gap(x):
            return norm.pdf(x, 1, scale) - np.exp(epsilon + norm.logpdf(x, 0, scale))

        return quad(gap, edge, edge + 40 * scale, limit=400, epsabs=1e-13)[0]

    scale = gaussian_scale(epsilon, delta, 1.0)
    assert excess(scale) == pytest.approx(delta, rel=1e-3)
    assert excess(0.9 * scale) > delta
    assert gaussian_scale(epsilon, delta, 3.0) == pytest.approx(3 * scale)
    assert gaussian_delta(epsilon, scale, 1.0) == pytest.approx(delta, rel=1e-6)


def test_gaussian_noise_is_never_more_than_the_classical_bound():
    for epsilon in (0.1, 0.5, 0.99):
        assert gaussian_scale(epsilon, 1e-5, 1.0) < np.sqrt(2 * np.log(1.25e5)) / epsilon


@pytest.mark.parametrize(("build", "order"), [(LaplaceMechanism, 1), (GaussianMechanism, 2)])
def test_samples_are_clipped_to_the_ball_and_get_noise_of_the_scale(build, order):
    X = np.random.default_rng(0).normal(size=(5000, 3)) * 4
    mechanism = build(epsilon=2.0, radius=3.0, random_state=0).fit(X)
    clipped = mechanism.clip(X)
    away = np.linalg.norm(clipped - mechanism.center_, ord=order, axis=1)
    assert away.max() <= 3.0 + 1e-9
    inside = np.linalg.norm(X - mechanism.center_, ord=order, axis=1) <= 3.0
    assert inside.any()
    assert np.allclose(clipped[inside], X[inside])
    noise = mechanism.transform(X) - clipped
    expected = mechanism.scale_ * (np.sqrt(2) if order == 1 else 1)
    assert noise.std() == pytest.approx(expected, rel=0.03)
    assert mechanism.sensitivity_ == 6.0
    assert mechanism.scale_ == (laplace_scale(2.0, 6.0) if order == 1 else gaussian_scale(2.0, 1e-5, 6.0))


@pytest.mark.parametrize("build", [LaplaceMechanism, GaussianMechanism])
def test_noise_is_the_seeds_and_differs_between_sets_of_samples(build):
    X = np.zeros((50, 2))
    X[::2] = 1.0
    mechanism = build(random_state=0, radius=1.0).fit(X)
    assert np.array_equal(mechanism.transform(X), mechanism.transform(X))
    other = build(random_state=1, radius=1.0).fit(X)
    assert not np.allclose(mechanism.transform(X), other.transform(X))
    shifted = mechanism.transform(X + 1e-9) - mechanism.clip(X + 1e-9)
    assert not np.allclose(mechanism.transform(X) - mechanism.clip(X), shifted, atol=1e-3)


def test_the_radius_is_a_quantile_of_the_norms():
    X = np.random.default_rng(0).normal(size=(1000, 3))
    norms = np.linalg.norm(X - X.mean(0), axis=1)
    assert GaussianMechanism(quantile=0.5).fit(X).radius_ == pytest.approx(np.median(norms))
    assert GaussianMechanism(quantile=1.0).fit(X).radius_ == pytest.approx(norms.max())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: laplace_scale(0.0, 1.0), "epsilon: it is 0.0"),
        (lambda: laplace_scale(1.0, -1.0), "sensitivity: it is -1.0"),
        (lambda: gaussian_scale(1.0, 0.0, 1.0), "delta: it is 0.0"),
        (lambda: gaussian_scale(1.0, 1.0, 1.0), "delta: it is 1.0"),
        (lambda: gaussian_scale(float("inf"), 1e-5, 1.0), "epsilon: it is inf"),
        (lambda: LaplaceMechanism(epsilon=-1.0).fit(np.eye(3)), "epsilon: it is -1.0"),
        (lambda: LaplaceMechanism(radius=0.0).fit(np.eye(3)), "radius: it is 0.0"),
        (lambda: GaussianMechanism(quantile=0.0).fit(np.eye(3)), "quantile: it is 0.0"),
    ],
)
def test_guarantees_that_cannot_be_given_are_refused(build, message):
    with pytest.raises(ArgumentError, match=message):
        build()


@pytest.mark.parametrize("build", [LaplaceMechanism, GaussianMechanism])
def test_a_release_draws_anew_and_an_experiment_does_not(build):
    X = np.random.default_rng(0).normal(size=(50, 2))
    release, experiment = build(radius=1.0).fit(X), build(radius=1.0, random_state=0).fit(X)
    assert not np.array_equal(release.transform(X), release.transform(X))
    assert np.array_equal(experiment.transform(X), experiment.transform(X))
