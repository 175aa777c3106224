from __future__ import annotations

import pytest
import torch
from torch import nn

from minimaxopt.errors import ArgumentError
from minimaxopt_privacy import NoisyFilter, build_filter, conv_filter, linear_filter, mlp_filter
from minimaxopt_privacy.game.filters import ScaledFilter


@pytest.mark.parametrize("kind", ["linear", "mlp", "conv", "noise"])
@pytest.mark.parametrize("dimension", [1, 7])
def test_every_filter_publishes_its_dimension_and_can_be_differentiated_twice(kind, dimension):
    filter_ = build_filter(kind, 36, dimension, image_shape=(1, 6, 6)).double()
    x = torch.randn(5, 36, dtype=torch.float64)
    z = filter_(x)
    assert z.shape == (5, dimension)
    parameters = list(filter_.parameters())
    slopes = torch.autograd.grad(z.square().sum(), parameters, create_graph=True)
    again = torch.autograd.grad(sum(s.square().sum() for s in slopes), parameters, allow_unused=True)
    assert any(a is not None and a.abs().max() > 0 for a in again)


def test_an_mlp_has_the_widths_and_bends():
    filter_ = mlp_filter(8, 3, (5, 4))
    assert [(layer.in_features, layer.out_features) for layer in filter_ if isinstance(layer, nn.Linear)] == [
        (8, 5), (5, 4), (4, 3)
    ]  # fmt: skip
    x = torch.randn(4, 8)
    assert not torch.allclose(filter_(2 * x) - filter_(x), filter_(x) - filter_(0 * x), atol=1e-4)
    line = linear_filter(8, 3)
    assert torch.allclose(line(2 * x) - line(x), line(x) - line(0 * x), atol=1e-5)


def test_a_convolution_sees_odd_sizes():
    assert conv_filter((2, 7, 5), 3, channels=(4,))(torch.zeros(2, 70)).shape == (2, 3)


def test_noise_has_its_scale_bound_and_gradient():
    torch.manual_seed(0)
    noisy = NoisyFilter(nn.Linear(3, 2), 2, scale=0.7)
    x = torch.randn(1, 3).expand(20_000, 3)
    z = noisy(x).detach()
    assert torch.allclose(z.std(0), torch.full((2,), 0.7), rtol=0.03)
    assert torch.allclose(z.mean(0), noisy.clean(x)[0], atol=0.03)
    assert noisy.clean(100 * x).abs().max() <= 1
    assert "raw_scale" in dict(noisy.named_parameters())
    assert "raw_scale" not in dict(NoisyFilter(nn.Linear(3, 2), 2, learned=False).named_parameters())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: linear_filter(4, 5), "n_components: it is 5, of n_features=4"),
        (lambda: linear_filter(4, 0), "n_components: it is 0"),
        (lambda: mlp_filter(4, 2, (0,)), "hidden: it is 0"),
        (lambda: conv_filter((8, 8), 2), "image_shape: it is"),
        (lambda: conv_filter((1, 2, 2), 5), "n_components: it is 5"),
        (lambda: build_filter("conv", 63, 2, image_shape=(1, 8, 8)), "image_shape: it is"),
        (lambda: build_filter("conv", 64, 2), "image_shape: it is None"),
        (lambda: build_filter("cnn", 64, 2), "filter: it is 'cnn'; give one of linear, mlp, conv, noise"),
        (lambda: NoisyFilter(nn.Identity(), 2, scale=0.0), "scale: it is 0.0"),
    ],
)
def test_filters_that_cannot_be_are_refused(build, message):
    with pytest.raises(ArgumentError, match=message):
        build()


def test_jitter_is_noise_of_its_size_while_training_only():
    scaled = ScaledFilter(nn.Identity(), torch.ones(3), torch.full((3,), 2.0), jitter=0.5)
    x = torch.ones(20_000, 3) * 2
    assert torch.allclose(scaled.eval()(x), torch.full_like(x, 2.0))
    noisy = scaled.train()(x)
    assert torch.allclose(noisy.std(0), torch.full((3,), 0.5), rtol=0.05)
    assert torch.allclose(noisy.mean(0), torch.full((3,), 2.0), atol=0.02)
    with pytest.raises(ArgumentError, match="jitter: it is -1"):
        ScaledFilter(nn.Identity(), torch.ones(3), torch.ones(3), jitter=-1.0)
