"""The attack network: an attacker with trainable parameters."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, one_hot, rms_norm

from minimaxopt.plugins import argument_error, check_choice, check_count, check_number
from minimaxopt_adversarial.attacks.projections import inner_box
from minimaxopt_adversarial.checks import Bounds, check_batch, check_bounds, check_labels, check_shape, check_share

if TYPE_CHECKING:
    from collections.abc import Sequence

Output = Literal["layernorm-tanh", "rmsnorm-tanh", "tanh"]
LabelLayers = Literal["all", "first"]
OUTPUTS: dict[Output, int] = {"layernorm-tanh": 3, "rmsnorm-tanh": 2, "tanh": 1}
"""Output forms, and the values that a sample needs at least: a norm of fewer is constant, and learns nothing."""
FEW_VALUES = 256
"""A sample of fewer values has the form that can shift all of them alike, unless another is asked for."""
LABEL_LAYERS: tuple[LabelLayers, ...] = ("all", "first")
RMS_EPS = 1e-5
"""Added to the mean square, as ``layer_norm`` adds it to the variance."""
SATURATED = 0.99
"""An output whose magnitude exceeds this has a slope below 0.02: it hardly learns any more."""


class AttackNetwork(nn.Module):
    """Perturb images by a fully connected network that sees the image and its label.

    Hidden layers of ReLU units from the image and the one-hot label, a linear layer to one number ``a`` a pixel, the
    output form to ``d`` in [-1, 1], and then the image

    ``z = lower + (upper - lower) (1 + d) / 2``, where ``lower = max(x - eta, low)`` and ``upper = min(x + eta, high)``.

    So ``|z - x| <= eta`` and ``low <= z <= high`` hold exactly while the outputs are finite. A pixel on a bound, as
    most of a digit's background, keeps a gradient on both sides, where clipping would stop it on one.

    Output forms: ``"tanh"`` is ``d = tanh(a)``. At a learning rate of 1e-3 nine outputs in ten saturate within some
    hundred steps and stop moving (all of them, with nothing learned, where the label is faint: gain 1, first layer
    only); ``saturation`` measures it. ``"layernorm-tanh"`` is ``d = tanh(s (a - mean(a)) / std(a))`` over the pixels of
    each image, which cannot all saturate; ``s`` starts at ``scale``. The mean is taken away, so that it cannot shift all
    pixels alike: on a classifier of brightness, or on a few features, it is weak where ``"tanh"`` is not.
    ``"rmsnorm-tanh"`` keeps the mean, ``d = tanh(s a / sqrt(mean(a^2)))``: it can shift all features, and saturates no
    more. By default it is taken for samples of fewer than 256 values, such as vectors and small images, and
    ``"layernorm-tanh"`` for larger ones.

    Weights are drawn from PyTorch's global generator; call ``torch.manual_seed`` first.

    Args:
        eta: radius of the attack in the l_inf norm, in the unit of the pixels.
        bounds: lowest and highest pixel.
        shape: shape of one image.
        classes: number of classes.
        hidden: units of each hidden layer, at least one layer.
        dropout: share of hidden units dropped while training, in [0, 1).
        output: ``"layernorm-tanh"``, ``"rmsnorm-tanh"`` or ``"tanh"``; by default as above.
        scale: slope ``s`` before the tanh of the two forms with a norm, > 0.
        learn_scale: whether ``s`` is trained.
        label_gain: factor of the one-hot label; at 1 an image of many pixels would outweigh the label.
        label_layers: ``"all"`` shows the label to every layer, so that dropout cannot hide it, ``"first"`` to one.

    Raises:
        ArgumentError: a setting is out of range, or a sample has so few values that the form is constant.

    Examples:
        >>> z = AttackNetwork(eta=0.2)(torch.zeros(2, 1, 28, 28), torch.tensor([3, 7]))
        >>> z.shape, bool(z.abs().max() <= 0.2)
        (torch.Size([2, 1, 28, 28]), True)

    Source: Hamm and Mehra 2018, Sec. 4.1 and Appendix A, which do not say how ``z`` is kept within its bound.
    """

    def __init__(
        self,
        eta: float,
        *,
        bounds: Bounds = (-1.0, 1.0),
        shape: Sequence[int] = (1, 28, 28),
        classes: int = 10,
        hidden: Sequence[int] = (300, 300, 300),
        dropout: float = 0.5,
        output: Output | None = None,
        scale: float = 2.0,
        learn_scale: bool = True,
        label_gain: float = 10.0,
        label_layers: LabelLayers = "all",
    ) -> None:
        super().__init__()
        self.shape = tuple(check_count("shape", size) for size in shape)
        values = prod(self.shape)
        if output is None:
            output = "layernorm-tanh" if values >= FEW_VALUES else "rmsnorm-tanh" if values > 1 else "tanh"
        self.output: Output = check_choice("output", output, OUTPUTS)
        if values < OUTPUTS[self.output]:
            reason = f"{self.output!r} cannot attack samples of {values} {'value' if values == 1 else 'values'}"
            raise argument_error("output", reason, "give 'tanh'")
        self.label_layers: LabelLayers = check_choice("label_layers", label_layers, LABEL_LAYERS)
        if not hidden:
            remedy = "give the units of at least one, for instance (300, 300, 300)"
            raise argument_error("hidden", "there is no layer", remedy)
        self.eta = check_number("eta", eta)
        self.bounds = check_bounds(bounds)
        self.classes = check_count("classes", classes)
        self.label_gain = check_number("label_gain", label_gain)
        repeated_label = classes if label_layers == "all" else 0
        units = [check_count("hidden", size) for size in hidden]
        self.first = nn.Linear(prod(self.shape) + classes, units[0])
        self.rest = nn.ModuleList(
            nn.Linear(inputs + repeated_label, outputs) for inputs, outputs in pairwise((*units, prod(self.shape)))
        )
        self.dropout = nn.Dropout(check_share("dropout", dropout))
        self._initial_scale = check_number("scale", scale, positive=True)
        initial_scale = torch.tensor(self._initial_scale)
        self.scale = nn.Parameter(initial_scale, requires_grad=learn_scale) if output != "tanh" else None

    def reset_parameters(self) -> None:
        """Draw all weights anew, as when the network was built, and reset the scale to its initial value."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
        if self.scale is not None:
            nn.init.constant_(self.scale, self._initial_scale)

    def direction(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the outputs ``d`` in [-1, 1], of the shape of ``x``.

        Args:
            x: (N, *shape) images.
            y: (N,) true classes, int64.

        Raises:
            ArgumentError: shapes or types do not fit.
        """
        check_shape(check_batch(x), self.shape)
        check_labels(y, len(x))
        label = self.label_gain * one_hot(y, self.classes).to(x.dtype)
        # Counted from the lowest pixel, so that the background of a digit is zero and adds nothing.
        a: Tensor = self.first(torch.cat([x.flatten(1) - self.bounds[0], label], 1))
        for layer in self.rest:
            a = self.dropout(torch.relu(a))
            a = layer(torch.cat([a, label], 1) if self.label_layers == "all" else a)
        if self.scale is not None:
            norm = layer_norm if self.output == "layernorm-tanh" else partial(rms_norm, eps=RMS_EPS)
            a = self.scale * norm(a, a.shape[1:])
        return torch.tanh(a).view_as(x)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the attacked images.

        Args:
            x: (N, *shape) images within ``bounds``. Shape and type are checked. The pixels are not, since this runs in
                every training step: use ``check_images`` on the data once.
            y: (N,) true classes, int64.

        Returns:
            Images of the shape of ``x``, within ``eta`` and ``bounds``.

        Raises:
            ArgumentError: shapes or types do not fit.
        """
        d = self.direction(x, y)
        lower, upper = inner_box(x, self.eta, self.bounds)
        # The clamp undoes rounding only; where d is +-1 its slope is zero anyway.
        return torch.clamp(lower + (upper - lower) * (0.5 + 0.5 * d), lower, upper)

    @torch.no_grad()
    def saturation(self, x: Tensor, y: Tensor) -> float:
        """Return the share of outputs with ``|d| > 0.99``, whose gradient is nearly zero, in [0, 1].

        Near 1, the network no longer learns, and nothing about the classifier's robustness follows from its failure.
        """
        return float((self.direction(x, y).abs() > SATURATED).float().mean())

    def extra_repr(self) -> str:
        """Show the settings that the layers do not show."""
        return f"eta={self.eta:g}, bounds={self.bounds}, output={self.output!r}, label_gain={self.label_gain:g}"
