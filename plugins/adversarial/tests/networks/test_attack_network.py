"""The attack network: feasible for whatever weights, twice differentiable, and able to learn."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from minimaxopt.errors import ArgumentError
from minimaxopt_adversarial import AttackNetwork, cross_entropy, error_rate, feasible_box, fgsm, margin_loss

OUTPUTS = ["layernorm-tanh", "rmsnorm-tanh", "tanh"]
SHAPE = (1, 4, 4)


def network(eta: float = 0.2, **settings) -> AttackNetwork:
    torch.manual_seed(0)
    return AttackNetwork(eta, **{"shape": SHAPE, "classes": 3, "hidden": (8, 8), **settings})


def images(count: int, bounds=(-1.0, 1.0), dtype=torch.float32, seed: int = 0) -> tuple[Tensor, Tensor]:
    x = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    x = (x * 1.4 - 0.2).clamp(0, 1) * (bounds[1] - bounds[0]) + bounds[0]  # some pixels on either bound
    return x.clamp(*bounds), torch.arange(count) % 3


@pytest.mark.parametrize("output", OUTPUTS)
@given(
    eta=st.floats(0, 3),
    bounds=st.sampled_from([(-1.0, 1.0), (0.0, 1.0), (-0.1, 0.7), (0.0, 255.0)]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    blow=st.sampled_from([0.0, 1.0, 1e3]),
    seed=st.integers(0, 100),
)
@settings(max_examples=30, deadline=None)
def test_images_stay_within_eta_and_bounds_without_tolerance(output, eta, bounds, dtype, blow, seed):
    net = network(eta, bounds=bounds, output=output).to(dtype)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(blow)
    x, y = images(6, bounds, dtype, seed)
    z = net(x, y)
    assert (z - x).abs().max().item() <= eta
    assert bool((z >= bounds[0]).all())
    assert bool((z <= bounds[1]).all())
    assert (z.shape, z.dtype) == (x.shape, x.dtype)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_saturated_outputs_reach_the_whole_of_the_ball(sign):
    net = network(0.3, output="tanh").eval()
    with torch.no_grad():
        net.rest[-1].weight.zero_()
        net.rest[-1].bias.fill_(50 * sign)
    x, y = images(5)
    edge = feasible_box(x, 0.3, (-1.0, 1.0))[int(sign > 0)]
    torch.testing.assert_close(net(x, y), edge, rtol=0, atol=1e-6)
    assert net.saturation(x, y) == 1.0


def test_saturation_is_a_share_and_layer_norm_keeps_it_from_one():
    x, y = images(20)
    assert network(output="tanh", label_gain=0.0).eval().saturation(x, y) == 0.0
    loud = network(output="layernorm-tanh", scale=1.0).eval()
    with torch.no_grad():
        loud.rest[-1].weight.mul_(1e6)
    assert 0 <= loud.saturation(x, y) < 0.2
    with torch.no_grad():
        blown = network(output="tanh").eval()
        blown.rest[-1].weight.mul_(1e6)
    assert blown.saturation(x, y) > 0.9


def test_a_pixel_on_a_bound_answers_to_its_output():
    """Clipping x + eta d would leave a background pixel without gradient wherever d points out of the bounds."""
    net, (x, y) = network(output="tanh").eval(), (torch.full((2, *SHAPE), -1.0), torch.tensor([0, 1]))
    a = net.direction(x, y)
    assert bool((a < 0).any())  # outputs that point out of the bounds
    z = net(x, y)
    (gradient,) = torch.autograd.grad(z.sum(), net.rest[-1].bias)
    assert bool((gradient > 0).all())


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("layers", ["all", "first"])
def test_the_label_and_every_parameter_matter_and_second_derivatives_exist(output, layers):
    net = network(output=output, label_layers=layers, label_gain=1.0).double()
    x, y = images(6, dtype=torch.float64)
    assert not torch.equal(net.eval()(x, y), net(x, (y + 1) % 3))
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()
    follower = list(net.train().parameters())
    torch.manual_seed(1)
    risk = cross_entropy(classifier(net(x, y)), y)
    gradients = torch.autograd.grad(risk, follower, create_graph=True)
    assert all(bool((g != 0).any()) for g in gradients)
    (mixed,) = torch.autograd.grad(sum(g.pow(2).sum() for g in gradients), classifier[1].weight)
    step = 1e-6
    slopes = []
    for sign in (1, -1):
        with torch.no_grad():
            classifier[1].weight[0, 3] += sign * step
        torch.manual_seed(1)
        shifted = torch.autograd.grad(cross_entropy(classifier(net(x, y)), y), follower)
        slopes.append(sum(g.pow(2).sum() for g in shifted).item())
        with torch.no_grad():
            classifier[1].weight[0, 3] -= sign * step
    assert mixed[0, 3].item() == pytest.approx((slopes[0] - slopes[1]) / (2 * step), rel=1e-4, abs=1e-9)


def test_the_derivative_by_the_image_counts_the_moving_box():
    net, (x, y) = network(0.1).double().eval(), images(2, dtype=torch.float64, seed=3)
    x = x.clamp(-0.8, 0.8).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: net(x, y), x, eps=1e-7, atol=1e-5)


def test_many_networks_run_as_one_by_vmap():
    nets = [network(eta=0.1).eval() for _ in range(3)]
    with torch.no_grad():
        for index, net in enumerate(nets):
            net.first.weight.add_(0.1 * index)
    x, y = images(4)
    stacked, _ = torch.func.stack_module_state(nets)
    together = torch.func.vmap(lambda state: torch.func.functional_call(nets[0], state, (x, y)))(stacked)
    torch.testing.assert_close(together, torch.stack([net(x, y) for net in nets]))


def test_dropout_acts_in_training_only_and_gradients_reach_neither_images_nor_other_modes():
    net, (x, y) = network(dropout=0.5), images(6)
    assert not torch.equal(net(x, y), net(x, y))
    assert torch.equal(net.eval()(x, y), net(x, y))
    assert [p.requires_grad for p in network(learn_scale=False).parameters()].count(False) == 1
    assert network(output="tanh").scale is None


def test_the_defaults_are_the_papers_three_layers_of_300_on_digits():
    net = AttackNetwork(eta=0.2)
    assert [(layer.in_features, layer.out_features) for layer in (net.first, *net.rest)] == [
        (794, 300),
        (310, 300),
        (310, 300),
        (310, 784),
    ]
    assert net.dropout.p == 0.5
    assert "eta=0.2" in repr(net)


@pytest.fixture
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny layers gain nothing from more, and lose much on a busy machine
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_one_thread")
def test_it_learns_to_fool_a_frozen_classifier_nearly_as_far_as_fgsm():
    """On a linear classifier FGSM is the strongest attack of the class, so it is the measure."""
    torch.manual_seed(0)
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).requires_grad_(False).eval()
    x, _ = images(300)
    y = classifier(x).argmax(1)  # no error on clean images
    net = network(0.3, hidden=(32, 32), dropout=0.0)
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=3e-3)
    for _ in range(100):
        optimizer.zero_grad()
        (-margin_loss(classifier(net(x, y)), y)).backward()
        optimizer.step()
    strongest = error_rate(classifier, fgsm(classifier, x, y, eta=0.3), y)
    assert error_rate(classifier, net.eval()(x, y).detach(), y) > 0.8 * strongest > 0.3


@pytest.mark.parametrize(("features", "output"), [(1, None), (3, None), (10, None), (10, "tanh")])
def test_it_shifts_all_features_alike_where_that_is_the_attack(features, output):
    """Equal weights: FGSM shifts every feature by eta, which is exact, and an output without a mean could not."""
    torch.manual_seed(0)
    x = torch.rand(300, features) * 2 - 1
    y = (x.sum(1) > 0).long()

    def classifier(z: Tensor) -> Tensor:
        return 2 * z.sum(1, keepdim=True)  # a single logit

    net = network(0.3, shape=(features,), classes=2, hidden=(32,), dropout=0.0, output=output)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(120):
        optimizer.zero_grad()
        (-margin_loss(classifier(net(x, y)), y)).backward()
        optimizer.step()
    exact = error_rate(classifier, fgsm(classifier, x, y, eta=0.3), y)
    assert error_rate(classifier, net.eval()(x, y).detach(), y) >= exact - 0.02 > 0.2


def test_the_form_fits_the_size_and_one_that_cannot_attack_is_refused():
    assert network(shape=(1,)).output == "tanh"
    assert network(shape=(2,)).output == network(shape=(1, 8, 8)).output == "rmsnorm-tanh"
    assert network(shape=(1, 28, 28)).output == network(shape=(256,)).output == "layernorm-tanh"
    for output, values in [("layernorm-tanh", 1), ("layernorm-tanh", 2), ("rmsnorm-tanh", 1)]:
        with pytest.raises(ArgumentError, match=rf"output: '{output}' cannot attack samples of {values} value.*'tanh'"):
            network(shape=(values,), output=output)
        assert network(shape=(values + 1 + (values == 1),), output=output).output == output


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eta": -1.0}, "eta: it is -1.0"),
        ({"bounds": (1.0, 0.0)}, "bounds: it is"),
        ({"output": "sigmoid"}, "output: there is no 'sigmoid'; Known: layernorm-tanh, rmsnorm-tanh, tanh"),
        ({"label_layers": "last"}, "label_layers: there is no 'last'"),
        ({"hidden": ()}, "hidden: there is no layer"),
        ({"hidden": (8, 0)}, "hidden: it is 0"),
        ({"dropout": 1.0}, "dropout: it is 1.0"),
        ({"scale": 0.0}, "scale: it is 0.0"),
        ({"classes": 0}, "classes: it is 0"),
        ({"shape": (1, -4, 4)}, "shape: it is -4"),
        ({"label_gain": -1.0}, "label_gain: it is -1.0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ArgumentError, match=message):
        network(**settings)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(2, 1, 5, 4), torch.tensor([0, 1]), "x: its shape is .*give images of shape"),
        (torch.zeros(2, *SHAPE).byte(), torch.tensor([0, 1]), "x: its dtype is torch.uint8"),
        (torch.zeros(2, *SHAPE), torch.tensor([0]), "y: its shape is"),
        (torch.zeros(2, *SHAPE), torch.tensor([0.0, 1.0]), "y: its dtype is torch.float32"),
    ],
)
def test_batches_that_do_not_fit_are_refused(x, y, message):
    net = network()
    assert net(torch.zeros(2, *SHAPE), torch.tensor([0, 1])).shape == (2, *SHAPE)
    with pytest.raises(ArgumentError, match=message):
        net(x, y)


def test_settings_combine_with_every_output():
    x, y = images(3)
    for output, layers, dropout in product(OUTPUTS, ["all", "first"], [0.0, 0.5]):
        z = network(output=output, label_layers=layers, dropout=dropout)(x, y)
        assert z.shape == x.shape
        assert not torch.equal(z, x)


def test_reset_parameters_starts_anew() -> None:
    network = AttackNetwork(eta=0.1, scale=3.0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(7.0)
    network.reset_parameters()
    assert network.scale.item() == 3.0
    for name, parameter in network.named_parameters():
        if name != "scale":
            assert parameter.abs().max().item() < 1
            assert parameter.std().item() > 0, name
