"""The paper's convolutional classifiers of MNIST and CIFAR-10."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from minimaxopt.plugins import argument_error, check_choice, check_count
from minimaxopt_adversarial.checks import check_shape, check_share

Init = Literal["tutorial", "torch"]
INITS: tuple[Init, ...] = ("tutorial", "torch")
MNIST_SHAPE = (1, 28, 28)
CIFAR_SHAPE = (3, 32, 32)


class MnistCNN(nn.Module):
    """Classify 28 x 28 digits by two convolutions and two fully connected layers.

    ``image -> conv5x5 -> ReLU -> halve -> conv5x5 -> ReLU -> halve -> fc -> ReLU -> dropout -> fc -> logits``.
    With the defaults this is the network that the paper cites: 32 and 64 channels, max-pooling, 512 hidden units,
    weights from a normal of deviation 0.1 truncated at two deviations, biases 0.1 (first convolution 0), dropout 0.5.

    Weights are drawn from PyTorch's global generator; call ``torch.manual_seed`` first. The tutorial's L2 penalty of
    5e-4 on the fully connected layers belongs to the training: give it to the optimizer as weight decay.

    Args:
        width: channels of the first convolution; the second has twice as many.
        stride: 1 halves the image by max-pooling after each convolution, 2 by a stride in the convolution (cheaper).
        hidden: units of the fully connected layer.
        dropout: share of hidden units dropped while training, in [0, 1).
        init: ``"tutorial"``, the truncated normal above, or ``"torch"``, PyTorch's default.
        classes: number of classes.

    Raises:
        ArgumentError: a size is not a positive integer, or ``stride``, ``dropout`` or ``init`` is not as above.

    Examples:
        >>> import torch
        >>> MnistCNN(width=8, stride=2, hidden=64)(torch.zeros(3, 1, 28, 28)).shape
        torch.Size([3, 10])

    Source: TensorFlow's tutorial ``mnist/convolutional.py``, cited in Hamm and Mehra 2018, Appendix A.
    """

    def __init__(
        self,
        *,
        width: int = 32,
        stride: Literal[1, 2] = 1,
        hidden: int = 512,
        dropout: float = 0.5,
        init: Init = "tutorial",
        classes: int = 10,
    ) -> None:
        super().__init__()
        check_count("width", width)
        check_count("hidden", hidden)
        check_count("classes", classes)
        if stride not in (1, 2):
            raise argument_error("stride", f"it is {stride!r}", "give 1 (max-pooling) or 2 (strided convolutions)")
        self._init: Init = check_choice("init", init, INITS)

        def halve() -> nn.Module:
            return nn.MaxPool2d(2) if stride == 1 else nn.Identity()

        self.features = nn.Sequential(
            nn.Conv2d(1, width, 5, stride, padding=2), nn.ReLU(), halve(),
            nn.Conv2d(width, 2 * width, 5, stride, padding=2), nn.ReLU(), halve(),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(2 * width * (MNIST_SHAPE[1] // 4) ** 2, hidden), nn.ReLU(),
            nn.Dropout(check_share("dropout", dropout)),
            nn.Linear(hidden, classes),
        )  # fmt: skip
        self._draw_tutorial_weights()

    def reset_parameters(self) -> None:
        """Draw all weights anew, as when the network was built."""
        _reset_layers(self)
        self._draw_tutorial_weights()

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, classes) of images ``x`` (N, 1, 28, 28)."""
        return self.head(self.features(check_shape(x, MNIST_SHAPE)))

    def _draw_tutorial_weights(self) -> None:
        if self._init == "tutorial":
            _draw_truncated_normals(self, deviations=(0.1, 0.1, 0.1, 0.1), biases=(0.0, 0.1, 0.1, 0.1))


def small_cnn(*, dropout: float = 0.5, init: Init = "tutorial") -> MnistCNN:
    """Return ``MnistCNN`` reduced in width and stride, for studies that must end in minutes on a processor.

    Args:
        dropout: share of hidden units dropped while training, in [0, 1).
        init: ``"tutorial"`` or ``"torch"``, as for ``MnistCNN``.

    Raises:
        ArgumentError: ``dropout`` or ``init`` is not as for ``MnistCNN``.

    Examples:
        >>> sum(p.numel() for p in small_cnn().parameters())
        105194

    Source: this library.
    """
    return MnistCNN(width=8, stride=2, hidden=128, dropout=dropout, init=init)


class CifarCNN(nn.Module):
    """Classify 32 x 32 colour images by two convolutions and three fully connected layers.

    ``image -> conv5x5 -> ReLU -> halve -> conv5x5 -> ReLU -> halve -> fc -> ReLU -> fc -> ReLU -> fc -> logits``, where
    to halve is max-pooling over 3 x 3 in strides of 2, cut off at the lower and right edge. With the defaults this is
    the network that the paper cites, without its local response normalisation: 64 and 64 channels, 384 and 192 units,
    weights from normals of deviation 0.05 (convolutions), 0.04 (fully connected) and 1/192 (last) truncated at two
    deviations, biases 0.1 (first convolution and last layer 0).

    Weights are drawn from PyTorch's global generator; call ``torch.manual_seed`` first. The tutorial's L2 penalty of
    0.004 on the fully connected layers belongs to the training: give it to the optimizer as weight decay.

    Args:
        width: channels of both convolutions.
        hidden: units of the two fully connected layers.
        dropout: share of these units dropped while training, in [0, 1); the cited network has none.
        init: ``"tutorial"``, the truncated normals above, or ``"torch"``, PyTorch's default.
        classes: number of classes.

    Raises:
        ArgumentError: a size is not a positive integer, or ``dropout`` or ``init`` is not as above.

    Examples:
        >>> import torch
        >>> CifarCNN(width=4, hidden=(16, 8))(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
        >>> sum(p.numel() for p in CifarCNN().parameters())
        1756426

    Source: TensorFlow's tutorial ``cifar10.py``, cited in Hamm and Mehra 2018, Appendix B.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        hidden: tuple[int, int] = (384, 192),
        dropout: float = 0.0,
        init: Init = "tutorial",
        classes: int = 10,
    ) -> None:
        super().__init__()
        check_count("width", width)
        check_count("classes", classes)
        if len(hidden) != 2:
            raise argument_error("hidden", f"there are {len(hidden)} layers", "give the units of two")
        first, second = (check_count("hidden", units) for units in hidden)
        self._init: Init = check_choice("init", init, INITS)
        share = check_share("dropout", dropout)
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(width, width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(width * (CIFAR_SHAPE[1] // 4) ** 2, first), nn.ReLU(), nn.Dropout(share),
            nn.Linear(first, second), nn.ReLU(), nn.Dropout(share),
            nn.Linear(second, classes),
        )  # fmt: skip
        self._draw_tutorial_weights()

    def reset_parameters(self) -> None:
        """Draw all weights anew, as when the network was built."""
        _reset_layers(self)
        self._draw_tutorial_weights()

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, classes) of images ``x`` (N, 3, 32, 32)."""
        return self.head(self.features(check_shape(x, CIFAR_SHAPE)))

    def _draw_tutorial_weights(self) -> None:
        if self._init == "tutorial":
            deviations = (0.05, 0.05, 0.04, 0.04, 1 / _layers(self)[-1].weight.shape[1])
            _draw_truncated_normals(self, deviations, biases=(0.0, 0.1, 0.1, 0.1, 0.0))


def _layers(network: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def _reset_layers(network: nn.Module) -> None:
    for layer in _layers(network):
        layer.reset_parameters()


def _draw_truncated_normals(network: nn.Module, deviations: Sequence[float], biases: Sequence[float]) -> None:
    """Draw each layer's weights from a normal truncated at two deviations, and set its biases to one value."""
    for layer, deviation, bias in zip(_layers(network), deviations, biases, strict=True):
        nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
        if layer.bias is not None:
            nn.init.constant_(layer.bias, bias)
