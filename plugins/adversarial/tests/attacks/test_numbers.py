"""Numbers at the edges of floating point: bounds to rounding, norms that would underflow, NaN, and training mode."""

from __future__ import annotations

import warnings
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from minimaxopt.errors import ArgumentError
from minimaxopt_adversarial import (
    attack_in_batches,
    autoattack,
    autoattack_available,
    check_images,
    error_rate,
    eta_sweep,
    evaluate_robustness,
    fgsm,
    gradient_step,
    ifgsm,
    misclassified,
    momentum_pgd,
    pgd,
    strong_attacks,
    worst_of,
)
from minimaxopt_adversarial.attacks.projections import normalised, sample_norm

needs_torchattacks = pytest.mark.skipif(not autoattack_available(), reason="torchattacks, an optional extra, is absent")
ATTACKS = {
    "fgsm": fgsm,
    "gradient_step": gradient_step,
    "gradient_step l2": partial(gradient_step, p=2),
    "ifgsm": partial(ifgsm, steps=3),
    "pgd": partial(pgd, steps=3),
    "pgd skip": partial(pgd, steps=3, restarts=2, skip_fooled=True),
    "pgd l2": partial(pgd, steps=3, norm="l2"),
    "momentum": partial(momentum_pgd, steps=3),
}
plain = partial(evaluate_robustness, attacks=strong_attacks(steps=3, restarts=2), autoattack_images=0)


# Bounds


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(mean=st.floats(0.01, 0.99), std=st.floats(0.05, 0.6), top=st.sampled_from([1, 255]))
@settings(max_examples=60, deadline=None)
def test_normalised_pixels_are_within_their_bounds_to_rounding(dtype, mean, std, top):
    mean, std = mean * top, std * top
    x = (torch.tensor([[0.0, top, mean]], dtype=dtype) - mean) / std
    bounds = ((0 - mean) / std, (top - mean) / std)
    for name in ("fgsm", "pgd", "pgd l2"):
        z = ATTACKS[name](lambda t: t, x, torch.tensor([0]), eta=0.1, bounds=bounds)
        assert (z - x).abs().max().item() <= 0.1
        assert z.min() >= min(x.min(), torch.tensor(bounds[0], dtype=dtype))
        assert z.max() <= max(x.max(), torch.tensor(bounds[1], dtype=dtype))
    assert torch.equal(fgsm(lambda t: t, x, torch.tensor([0]), eta=0.0, bounds=bounds), x)


@pytest.mark.parametrize(("mean", "std"), [(0.1307, 0.3081), (0.4914, 0.247), (0.286, 0.353)])
def test_the_usual_data_sets_are_accepted_and_what_is_further_out_is_not(mean, std):
    x = (torch.tensor([[0.0, 1.0]]) - mean) / std
    low, high = (0 - mean) / std, (1 - mean) / std
    assert check_images(x, (low, high)) is x
    assert check_images(x, (x.min(), x.max())) is x  # 0-d tensors
    for shift in (-1e-5, 1e-5):
        with pytest.raises(ArgumentError, match="x: its pixels span"):
            check_images(x + shift, (low, high))


def test_several_values_of_eta_or_of_a_bound_name_the_remedy():
    x, y = torch.zeros(1, 3), torch.tensor([0])
    assert torch.equal(
        fgsm(lambda t: t, x, y, eta=torch.tensor(0.1)), fgsm(lambda t: t, x, y, eta=float(torch.tensor(0.1)))
    )
    with pytest.raises(ArgumentError, match="eta: it holds several values; attack NormalizedClassifier"):
        fgsm(lambda t: t, x, y, eta=torch.tensor([0.1, 0.2, 0.3]))
    with pytest.raises(ArgumentError, match="bounds: it holds several values; attack NormalizedClassifier"):
        fgsm(lambda t: t, x, y, eta=0.1, bounds=((0.0, 0.0, 0.0), 1.0))


# Norms


@pytest.mark.parametrize("factor", [1e-44, 1e-38, 1e-30, 1e-20, 1.0, 1e20, 1e37])
def test_directions_are_of_unit_length_at_any_magnitude(factor):
    x = torch.tensor([[3.0, -4.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]) * factor
    unit = normalised(x)
    assert bool(torch.isfinite(unit).all())
    expected = x.double() / x.double().norm(dim=1, keepdim=True).clamp_min(1e-300)
    torch.testing.assert_close(unit.double(), expected, rtol=1e-6, atol=0)
    one = normalised(x, 1)
    torch.testing.assert_close(one.abs().sum(1), torch.tensor([1.0, 0.0, 1.0]))
    torch.testing.assert_close(sample_norm(x).flatten().double(), x.double().norm(dim=1), rtol=1e-6, atol=2e-45)


def test_ordinary_directions_are_the_quotient_to_the_bit():
    x = torch.randn(20, 3, 5, generator=torch.Generator().manual_seed(0))
    norm = torch.linalg.vector_norm(x.flatten(1), 2, dim=1).view(-1, 1, 1)
    assert torch.equal(sample_norm(x), norm)
    assert torch.equal(normalised(x), x / norm)


@pytest.mark.parametrize("gap", [1.0, 30.0, 45.0, 60.0])
def test_a_step_in_l2_has_its_size_on_a_confident_classifier(gap):
    x, y = torch.tensor([[0.9, -0.45]]), torch.tensor([0])
    run = partial(pgd, lambda t: gap * t, x, y, eta=1.0, steps=1, step_size=0.1, norm="l2", bounds=(-3.0, 3.0))
    z = run(random_start=False, keep_clean=False)
    assert (z - x).norm().item() == pytest.approx(0.1, rel=1e-4)
    momentum = momentum_pgd(
        lambda t: gap * t,
        x,
        y,
        eta=1.0,
        steps=1,
        step_size=0.1,
        random_start=False,
        keep_clean=False,
        bounds=(-3.0, 3.0),
    )
    # In float32 the first entry's gradient is exactly zero where the gap is large.
    assert (momentum - x)[0, 1].item() == pytest.approx(0.1, rel=1e-5)


# NaN


def breaks(at: Tensor):
    """A classifier of two classes whose gradient, but not whose logits, is NaN at some samples."""

    def classifier(x: Tensor) -> Tensor:
        broken = (x[:, :1] == at).any(1, keepdim=True)
        # The square root's slope is infinite at 0, times 0: NaN.
        root = torch.sqrt(torch.where(broken, 0.0 * x[:, 1:2], 1.0))
        return torch.cat([x[:, :1] + root + 0.2, x[:, 1:2] + torch.where(broken, 0.0, 1.0)], 1)

    return classifier


@pytest.mark.parametrize("name", ["fgsm", "gradient_step", "ifgsm", "momentum", "pgd"])
def test_samples_without_a_finite_gradient_are_set_aside_counted_and_named(name):
    x, y = torch.linspace(0.1, 0.5, 10).view(5, 2), torch.zeros(5, dtype=torch.int64)
    run = partial(ATTACKS[name], eta=0.4)
    if name in ("momentum", "pgd"):
        run = partial(run, random_start=False)
    with pytest.warns(UserWarning, match=r"2 of 5 images have a gradient that is not finite \(images 1, 4\)"):
        z = run(breaks(x[[1, 4], 0]), x, y)
    others = [0, 2, 3]
    assert torch.equal(z[others], run(breaks(torch.tensor([9.0])), x[others], y[others]))
    assert torch.equal(z[[1, 4]], x[[1, 4]])
    with pytest.warns(UserWarning, match=r"1 of 5 images .*\(images 3\)") as caught:
        attack_in_batches(run, breaks(x[3:4, 0]), x, y, batch_size=2)
    assert len(caught) == 1
    with pytest.raises(ArgumentError, match="classifier: its loss has a gradient that is not finite"):
        run(breaks(x[:, 0]), x, y)


def test_an_evaluation_goes_on_without_them_and_says_so():
    x, y = torch.linspace(0.1, 0.5, 10).view(5, 2), torch.zeros(5, dtype=torch.int64)
    with pytest.warns(UserWarning, match=r"1 of 5 images .*\(images 3\)") as caught:
        robustness = plain(breaks(x[3:4, 0]), x, y, eta=0.4, batch_size=2)
    assert len(caught) == 1
    assert robustness.settings["FGSM"] == (
        "one signed step of eta; 1 of 5 images have a gradient that is not finite (images 3) and stay where they were"
    )
    assert robustness.fgsm.wrong.tolist() == [True, True, True, False, True]
    with pytest.warns(UserWarning, match=r"\(images 3\)") as caught:
        eta_sweep(breaks(x[3:4, 0]), x, y, etas=(0.2, 0.4))
    assert len(caught) == 1


def test_logits_that_are_nan_name_no_class():
    x, y = torch.ones(4, 3), torch.zeros(4, dtype=torch.int64)
    assert error_rate(lambda t: t * float("nan"), x, y) == 1
    some = torch.tensor([[1.0], [1.0], [1.0], [float("nan")]])
    first = x * torch.tensor([2.0, 1.0, 1.0])
    assert misclassified(lambda t: t * some, first, y).tolist() == [False, False, False, True]
    assert misclassified(lambda t: t.masked_fill(t == 1, -float("inf")), first, y).tolist() == [False] * 4
    candidates = [first, first * 2]
    assert torch.equal(worst_of(lambda t: torch.where(t > 3, float("nan"), t), candidates, y), candidates[1])


@needs_torchattacks
def test_autoattack_makes_no_image_of_nan():
    x = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))

    def broken(t: Tensor) -> Tensor:
        return t.flatten(1) + 0 * torch.sqrt(t.flatten(1) * 0)

    z = autoattack(broken, x, x.flatten(1).argmax(1), eta=0.01, bounds=(0.0, 1.0), steps=3, queries=3)
    assert bool(torch.isfinite(z).all())
    assert (z - x).abs().max().item() <= 0.01


def test_the_types_of_images_and_classifier_are_named_where_they_differ():
    net, x, y = nn.Linear(3, 2).eval(), torch.zeros(2, 3, dtype=torch.float64), torch.tensor([0, 1])
    for run in (partial(fgsm, eta=0.1), error_rate):
        with pytest.raises(ArgumentError, match=r"x: its dtype is torch.float64 and the classifier's is torch.float32"):
            run(net, x, y)
        run(net.double(), x, y)
        net.float()


# Training mode


def batch_normalised() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))


MEASURES = {
    "error_rate": error_rate,
    "misclassified": misclassified,
    "eta_sweep": partial(eta_sweep, bounds=(0.0, 1.0), steps=2),
    "evaluate_robustness": partial(plain, eta=0.1, bounds=(0.0, 1.0)),
    "attack_in_batches": partial(attack_in_batches, partial(fgsm, eta=0.1, bounds=(0.0, 1.0))),
    "transfer": lambda net, x, y: plain(lambda t: t[:, :2], x, y, eta=0.1, bounds=(0.0, 1.0), transfer={"it": net}),
}


@pytest.mark.parametrize("name", MEASURES)
def test_measuring_in_training_mode_warns_once_and_puts_buffers_back(name):
    net, x, y = batch_normalised(), torch.rand(50, 4), torch.zeros(50, dtype=torch.int64)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.warns(UserWarning, match=r"it is in training mode, .* call eval\(\) before it is measured") as caught:
        MEASURES[name](net, x, y)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    net[0].eval(), net[1].eval(), net[3].eval()
    net.training = False  # the dropout alone still trains
    with pytest.warns(UserWarning, match="training mode"):
        MEASURES[name](net, x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MEASURES[name](net.eval(), x, y)


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "pgd skip"])  # a batch of one has no variance
def test_an_attack_leaves_running_statistics_as_they_were(name):
    net, x, y = batch_normalised()[:2].append(nn.Linear(4, 2)), torch.rand(6, 4), torch.arange(6) % 2
    before = {key: value.clone() for key, value in net.state_dict().items()}
    ATTACKS[name](net, x, y, eta=0.1)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
