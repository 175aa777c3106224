"""The gradient attacks: exact on linear classifiers, feasible on all, and refusing what they cannot use."""

from __future__ import annotations

from functools import partial
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from minimaxopt.errors import ArgumentError
from minimaxopt_adversarial import (
    attack_in_batches,
    cross_entropy,
    error_rate,
    feasible_box,
    fgsm,
    gradient_step,
    ifgsm,
    loss_by_name,
    margin_loss,
    momentum_pgd,
    pgd,
    worst_of,
)
from minimaxopt_adversarial.losses import per_sample, total

INF = float("inf")
ATTACKS = {
    "fgsm": fgsm,
    "gradient_step": gradient_step,
    "gradient_step l2": partial(gradient_step, p=2),
    "ifgsm": partial(ifgsm, steps=3),
    "pgd": partial(pgd, steps=3),
    "pgd restarts": partial(pgd, steps=2, restarts=2),
    "pgd skip": partial(pgd, steps=2, restarts=3, skip_fooled=True),
    "momentum": partial(momentum_pgd, steps=3),
    "momentum restarts": partial(momentum_pgd, steps=2, restarts=2, decay=0.5, skip_fooled=True),
    "pgd l2": partial(pgd, steps=3, norm="l2"),
}
LINF = [name for name in ATTACKS if "l2" not in name]
L2 = [name for name in ATTACKS if "l2" in name]


def small_net(dtype: torch.dtype = torch.float32, *, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 3)
    )
    return net.to(dtype).eval()


def batch(count: int = 5, *, dtype: torch.dtype = torch.float32, low: float = -1.0, high: float = 1.0, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, 1, 3, 4, generator=generator, dtype=dtype) * (high - low) + low
    return x.clamp(low, high), torch.arange(count) % 3


@pytest.mark.parametrize("name", LINF)
@given(
    eta=st.floats(0, 3, allow_nan=False),
    bounds=st.sampled_from([(-1.0, 1.0), (0.0, 1.0), (-0.1, 0.7), (0.0, 255.0)]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=12, deadline=None)
def test_linf_attacks_stay_within_eta_and_bounds_without_tolerance(name, eta, bounds, dtype, seed):
    x, y = batch(dtype=dtype, low=bounds[0], high=bounds[1], seed=seed)
    z = ATTACKS[name](small_net(dtype), x, y, eta=eta, bounds=bounds)
    assert (z - x).abs().max().item() <= eta
    assert bool((z >= bounds[0]).all() and (z <= bounds[1]).all())
    assert (z.shape, z.dtype, z.requires_grad) == (x.shape, x.dtype, False)


@pytest.mark.parametrize("name", L2)
@given(eta=st.floats(0, 3), seed=st.integers(0, 1000))
@settings(max_examples=12, deadline=None)
def test_l2_attacks_stay_within_eta_and_bounds(name, eta, seed):
    x, y = batch(seed=seed, low=0.0)
    z = ATTACKS[name](small_net(), x, y, eta=eta, bounds=(0.0, 1.0))
    assert torch.linalg.vector_norm((z - x).double().flatten(1), dim=1).max().item() <= eta
    assert bool((z >= 0).all() and (z <= 1).all())


@given(
    x=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=8), eta=st.floats(0, 2), place=st.sampled_from([0, 1])
)
@settings(max_examples=120, deadline=None)
def test_feasible_box_is_within_eta_and_wider_than_eta_less_two_rounding_errors(x, eta, place):
    images = torch.tensor([x])
    edge = feasible_box(images, eta, (-4.0, 4.0))[place]
    reach = (edge - images).abs()
    assert reach.max().item() <= eta
    assert reach.min().item() >= eta - 2 * torch.finfo(torch.float32).eps * (1 + eta)


@pytest.mark.parametrize("eta", [0.1, 0.5])
def test_fgsm_is_the_exact_maximiser_on_a_linear_two_class_classifier(eta):
    """Two classes, linear logits: the loss rises along one fixed direction, so a corner of the box is the maximum."""
    weights = torch.tensor([[0.3, -1.0, 0.2], [-0.4, 0.5, 0.9]])
    x, y = torch.tensor([[0.1, 0.2, -0.3]]), torch.tensor([0])
    linear = partial(torch.nn.functional.linear, weight=weights)
    best = max(
        cross_entropy(linear(x + eta * torch.tensor([s])), y).item() for s in product([-1.0, 0.0, 1.0], repeat=3)
    )
    z = fgsm(linear, x, y, eta=eta)
    assert cross_entropy(linear(z), y).item() == pytest.approx(best, rel=1e-6)
    torch.testing.assert_close(z, x + eta * (weights[1] - weights[0]).sign())


def test_gradient_step_moves_by_each_samples_own_gradient():
    """With the loss of ONE sample in Eq. 3 the step does not shrink as the batch grows."""
    weights = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    linear = partial(torch.nn.functional.linear, weight=weights)
    x, y, eta = torch.tensor([[0.1, 0.2], [0.3, -0.1]], dtype=torch.float64), torch.tensor([0, 1]), 0.25
    gradient = (torch.softmax(x @ weights.T, 1) - torch.nn.functional.one_hot(y, 2)) @ weights
    z = gradient_step(linear, x, y, eta=eta, p=2, bounds=(-2.0, 2.0))
    clipped = gradient * (1 / gradient.norm(dim=1, keepdim=True)).clamp(max=1)
    torch.testing.assert_close(z, x + eta * clipped, rtol=0, atol=1e-6 * eta)
    box = gradient_step(linear, x, y, eta=eta, p=INF, bounds=(-2.0, 2.0))
    torch.testing.assert_close(box, x + eta * gradient.clamp(-1, 1))


def test_losses_given_as_mean_or_per_sample_make_the_same_attacks():
    x, y = batch()
    each = partial(torch.nn.functional.cross_entropy, reduction="none")
    for attack in ATTACKS.values():
        torch.manual_seed(3)
        z = attack(small_net(), x, y, eta=0.3)
        torch.manual_seed(3)
        torch.testing.assert_close(z, attack(small_net(), x, y, eta=0.3, loss=each))


@pytest.mark.parametrize("name", ["cross-entropy", "margin"])
def test_per_sample_losses_are_the_losses_of_batches_of_one(name):
    loss, (x, y) = loss_by_name(name), batch(4)
    logits = small_net()(x).detach()
    alone = torch.stack([loss(logits[i : i + 1], y[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(per_sample(loss, logits, y), alone)
    torch.testing.assert_close(total(loss, logits, y), alone.sum())


@pytest.mark.parametrize(
    ("name", "training"),
    # What skips images changes the batch, which batch statistics would see.
    [*product(ATTACKS, [False]), *((name, True) for name in ATTACKS if name not in ("pgd skip", "momentum restarts"))],
)
def test_an_attack_leaves_the_classifier_and_the_images_as_they_were(name, training):
    net, (x, y) = small_net(dropout=0.5).train(training), batch()
    net[1].weight.requires_grad_(False)
    net[5].weight.grad = torch.ones_like(net[5].weight)
    flags, copy = [p.requires_grad for p in net.parameters()], x.clone()
    ATTACKS[name](net, x, y, eta=0.1)
    assert [p.requires_grad for p in net.parameters()] == flags
    assert net.training == training
    assert all(m.training == training for m in net)
    assert [p.grad is None for p in net.parameters()] == [True] * 4 + [False, True]
    assert torch.equal(net[5].weight.grad, torch.ones_like(net[5].weight))
    assert torch.equal(x, copy)
    assert not x.requires_grad
    assert x.grad is None


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_attacks_work_where_gradients_are_switched_off(name, context):
    net, (x, y) = small_net(), batch()
    torch.manual_seed(1)
    expected = ATTACKS[name](net, x, y, eta=0.2)
    with context():
        torch.manual_seed(1)
        assert torch.equal(ATTACKS[name](net, x.clone(), y.clone(), eta=0.2), expected)
    assert not torch.equal(expected, x)


def test_eta_zero_changes_nothing_and_ifgsm_with_one_step_is_fgsm():
    net, (x, y) = small_net(), batch()
    for attack in ATTACKS.values():
        assert torch.equal(attack(net, x, y, eta=0.0), x)
    assert torch.equal(ifgsm(net, x, y, eta=0.3, steps=1), fgsm(net, x, y, eta=0.3))


def test_pgd_is_reproducible_by_its_generator_and_restarts_never_weaken_it():
    net, (x, y) = small_net(), batch(30)
    run = partial(pgd, net, x, y, eta=0.4, steps=3)
    one, same, other = (run(generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    few, many = (run(restarts=n, generator=torch.Generator().manual_seed(1)) for n in (1, 4))
    few_loss, many_loss = (per_sample(cross_entropy, net(z).detach(), y) for z in (few, many))
    few_wrong, many_wrong = (net(z).argmax(1) != y for z in (few, many))
    assert bool((many_wrong | ~few_wrong).all())
    assert bool((many_loss >= few_loss)[few_wrong == many_wrong].all())


@pytest.mark.parametrize("attack", [pgd, momentum_pgd, partial(pgd, norm="l2")])
@pytest.mark.parametrize("keep_clean", [True, False])
def test_skipping_what_is_fooled_fools_the_same_images_with_less_work(attack, keep_clean):
    net, (x, y) = small_net(torch.float64), batch(60, dtype=torch.float64)
    y[:25] = net(x[:25]).argmin(1)  # of the first batch nothing is left, and the second must not notice
    image_counts: list[int] = []

    def counted(images: Tensor) -> Tensor:
        image_counts.append(len(images) if images.requires_grad else 0)  # gradients alone
        return net(images)

    def wrong(skip_fooled: bool) -> tuple[Tensor, int, Tensor]:
        image_counts.clear()
        source = torch.Generator().manual_seed(4)
        run = partial(attack, eta=0.3, steps=2, restarts=4, keep_clean=keep_clean, generator=source)
        z = attack_in_batches(partial(run, skip_fooled=skip_fooled), counted, x, y, batch_size=25)
        return net(z).argmax(1) != y, sum(image_counts), z

    whole, skipping = wrong(False), wrong(True)
    assert torch.equal(whole[0], skipping[0])
    assert 0 < int(whole[0].sum()) < len(x)
    assert skipping[1] < 0.8 * whole[1]
    right = ~whole[0]  # on these nothing was skipped, so that the images are the same too
    torch.testing.assert_close(whole[2][right], skipping[2][right])


def test_momentum_pgd_accumulates_normed_gradients_and_without_decay_is_pgd():
    """By hand on a quadratic loss of two pixels: ``l = -sum a_i (z_i - c_i)^2``."""
    a, c = torch.tensor([1.0, 3.0], dtype=torch.float64), torch.tensor([0.06, 0.3], dtype=torch.float64)

    def quadratic(z: Tensor) -> Tensor:
        return torch.stack([(a * (z - c) ** 2).sum(1), torch.zeros(len(z), dtype=z.dtype)], 1)

    x, y, eta, size, decay = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([0]), 0.25, 0.05, 0.9
    z, momentum, ends = x.clone(), torch.zeros_like(x), []
    for _ in range(6):
        gradient = -2 * a * (z - c)  # of the margin -logit_0 + 0
        momentum = decay * momentum + gradient / gradient.abs().sum(1, keepdim=True)
        z = (z + size * momentum.sign()).clamp(-eta, eta)
        ends.append(z)
    same = {"eta": eta, "step_size": size, "loss": margin_loss, "keep_clean": False, "random_start": False}
    run, plain = partial(momentum_pgd, quadratic, x, y, **same), partial(pgd, quadratic, x, y, **same)
    for steps, end in enumerate(ends, start=1):
        torch.testing.assert_close(run(steps=steps, decay=decay), end)
        assert torch.equal(run(steps=steps, decay=0.0), plain(steps=steps))
    assert any(not torch.equal(plain(steps=steps), end) for steps, end in enumerate(ends, start=1))


def test_a_step_of_an_attack_reads_nothing_back_from_the_device(monkeypatch):
    """Each read makes an accelerator wait; their number must not grow with the steps."""
    net, (x, y), reads = small_net(), batch(), []
    for name in ("__bool__", "__int__", "__float__", "item", "tolist"):
        original = getattr(Tensor, name)
        monkeypatch.setattr(Tensor, name, lambda t, original=original: (reads.append(1), original(t))[1])

    def count(attack, steps: int) -> int:
        reads.clear()
        attack(net, x, y, eta=0.2, steps=steps)
        return len(reads)

    for attack in (pgd, momentum_pgd, ifgsm, partial(pgd, norm="l2")):
        assert 0 < count(attack, 2) == count(attack, 9)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_keeps_the_clean_image_where_moving_helps_the_classifier(norm):
    """A loss whose gradient misleads: PGD ends where the classifier is right, the clean image was wrong."""

    def treacherous(x: Tensor) -> Tensor:  # class 0's score is -|x| near 0, but rises again where |x| > 0.2
        score = torch.where(x.abs() < 0.2, -0.1 - x, x.abs() * 5)
        return torch.cat([score, torch.zeros_like(x)], 1)

    x, y = torch.tensor([[0.1]]), torch.tensor([0])
    run = partial(pgd, treacherous, x, y, eta=0.5, steps=1, step_size=0.5, random_start=False, norm=norm)
    assert error_rate(treacherous, run(keep_clean=False), y) == 0
    assert torch.equal(run(), x)
    assert error_rate(treacherous, run(), y) == 1


def test_worst_of_puts_misclassification_before_loss_and_takes_the_earlier_of_equals():
    y = torch.tensor([0, 0, 0])
    # Rows: (a) only the first errs; (b) neither errs, the second has more loss; (c) equal.
    first = torch.tensor([[0.0, 0.1, 0.0], [1.0, 0.0, 0.0], [1.0, 0.5, 0.0]])
    second = torch.tensor([[0.01, 0.0, 0.0], [1.0, 0.9, 0.9], [1.0, 0.0, 0.5]])
    worst = worst_of(lambda x: x, [first, second], y)
    assert torch.equal(worst, torch.stack([first[0], second[1], first[2]]))
    assert error_rate(lambda x: x, worst, y) == pytest.approx(1 / 3)


def test_worst_of_puts_misclassification_before_a_larger_loss():
    """With a loss other than the error, the right one may have the larger value."""
    odd = partial(lambda logits, y: -margin_loss(logits, y))
    wrong, right = torch.tensor([[0.0, 1.0]]), torch.tensor([[5.0, 0.0]])
    for candidates in ([wrong, right], [right, wrong]):
        assert torch.equal(worst_of(lambda x: x, candidates, torch.tensor([0]), loss=odd), wrong)


def test_whole_sets_in_batches_equal_one_pass():
    net, (x, y) = small_net(), batch(11)
    attack = partial(fgsm, eta=0.3)
    z = attack_in_batches(attack, net, x, y, batch_size=4)
    torch.testing.assert_close(z, attack(net, x, y))
    assert error_rate(net, z, y, batch_size=3) == int((net(z).argmax(1) != y).sum()) / 11


def test_margin_loss_is_positive_exactly_on_errors_and_has_a_gradient_where_cross_entropy_has_none():
    logits = torch.tensor([[90.0, 1.0, -3.0]], requires_grad=True)
    y = torch.tensor([0])
    assert margin_loss(logits, y).item() == -89
    assert margin_loss(logits, y + 1).item() == 89
    (flat,) = torch.autograd.grad(cross_entropy(logits, y), logits)
    (steep,) = torch.autograd.grad(margin_loss(logits, y), logits)
    assert flat.abs().max() < 1e-30
    assert torch.equal(steep, torch.tensor([[-1.0, 1.0, 0.0]]))


X, Y = batch()
GOOD = {"classifier": small_net(), "x": X, "y": Y, "eta": 0.1}
BAD = [
    ({"eta": -0.1}, "eta: it is -0.1; give a finite number >= 0"),
    ({"eta": float("nan")}, "eta: it is nan"),
    ({"eta": "0.1"}, "eta: it is '0.1'"),
    ({"eta": True}, "eta: it is True"),
    ({"bounds": (1.0, -1.0)}, "bounds: it is .*low < high"),
    ({"bounds": 1.0}, "bounds: it is 1.0; give a pair"),
    ({"bounds": (0.0, 1.0)}, r"x: its pixels span .*outside the bounds \[0, 1\]; rescale"),
    ({"x": X * 255}, r"x: its pixels span .*outside the bounds \[-1, 1\]; rescale"),
    ({"x": X * float("nan")}, "x: some of its pixels are not finite"),
    ({"x": X.numpy()}, "x: it is a ndarray; give a torch.Tensor"),
    ({"x": (X * 100).byte()}, "x: its dtype is torch.uint8; convert it"),
    ({"x": X.half()}, "x: its dtype is torch.float16; convert it"),
    ({"x": X[:0], "y": Y[:0]}, "x: its shape is .*at least one image"),
    ({"y": Y[:3]}, "y: its shape is .*one label per image"),
    ({"y": Y.float()}, "y: its dtype is torch.float32.*int64"),
    ({"y": Y + 1}, r"y: its labels span \[1, 3\] where there are 3 classes"),
    ({"y": Y - 1}, r"y: its labels span \[-1, 1\] where there are 3 classes"),
    ({"classifier": lambda x: x.mean()}, r"classifier: it returned shape \(\) for 5 images"),
    ({"classifier": lambda x: x.tolist()}, "classifier: it returned a list"),
    ({"classifier": lambda x: torch.zeros(len(x), 3)}, "classifier: its loss cannot be differentiated"),
    ({"classifier": lambda x: torch.zeros(len(x), 3, requires_grad=True)}, "classifier: its logits do not depend"),
    ({"classifier": lambda x: small_net()(x) * INF}, "classifier: its loss has a gradient that is not finite"),
    ({"loss": lambda logits, y: logits}, "loss: it returned shape .*return the 0-d mean"),
]


@pytest.mark.parametrize("name", ATTACKS)
def test_good_arguments_are_accepted(name):
    assert ATTACKS[name](**GOOD).shape == X.shape


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message[:40] for _, message in BAD])
@pytest.mark.parametrize("name", ["fgsm", "gradient_step", "ifgsm", "pgd", "pgd skip", "momentum"])
def test_bad_arguments_are_refused_by_name_reason_and_remedy(name, change, message):
    if name == "pgd skip" and "gradient that is not finite" in message:
        # Images that are misclassified without an attack are not attacked, so that they have no gradient.
        with pytest.warns(UserWarning, match="images have a gradient that is not finite"):
            ATTACKS[name](**{**GOOD, **change})
        return
    with pytest.raises(ArgumentError, match=message):
        ATTACKS[name](**{**GOOD, **change})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(ifgsm, steps=0), "steps: it is 0; give an integer >= 1"),
        (partial(ifgsm, steps=2, step_size=0.0), "step_size: it is 0.0; give a finite number > 0"),
        (partial(pgd, steps=2.0), "steps: it is 2.0"),
        (partial(pgd, norm="l1"), "norm: there is no 'l1'"),
        (partial(pgd, restarts=2, random_start=False), "restarts: without random_start"),
        (partial(momentum_pgd, restarts=2, random_start=False), "restarts: without random_start"),
        (partial(momentum_pgd, decay=-1.0), "decay: it is -1.0; give a finite number >= 0"),
        (partial(gradient_step, p=1), "p: it is 1; give 2 or"),
    ],
)
def test_settings_of_single_attacks_are_checked(call, message):
    with pytest.raises(ArgumentError, match=message):
        call(**GOOD)


def test_helpers_refuse_what_they_cannot_use():
    net = small_net()
    with pytest.raises(ArgumentError, match="candidates: there is none"):
        worst_of(net, [], Y)
    with pytest.raises(ArgumentError, match=r"candidates\[1\]: its shape is"):
        worst_of(net, [X, X[:2]], Y)
    with pytest.raises(ArgumentError, match="batch_size: it is 0"):
        error_rate(net, X, Y, batch_size=0)
    with pytest.raises(ArgumentError, match="x: its shape"):
        error_rate(net, X[:0], Y[:0])
    with pytest.raises(ArgumentError, match="attack: it turned"):
        attack_in_batches(lambda c, x, y: x[:1], net, X, Y)
    with pytest.raises(ArgumentError, match="loss: there is no 'hinge'; Known: cross-entropy, margin"):
        loss_by_name("hinge")
