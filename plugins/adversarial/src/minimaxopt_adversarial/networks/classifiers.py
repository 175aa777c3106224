"""The convolutional classifiers of the study."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from minimaxopt_adversarial.checks import check_count, check_share, refuse

SIDE = 28


class MnistCNN(nn.Module):
    """Classify 28 x 28 digits by two convolutions and two fully connected layers.

    ``image -> conv5x5 -> ReLU -> halve -> conv5x5 -> ReLU -> halve -> fc -> ReLU -> dropout -> fc -> logits``.
    With the defaults this is the network that the paper cites: 32 and 64 channels, max-pooling, 512 hidden units,
    weights from a normal of deviation 0.1 truncated at two deviations, biases 0.1 (first convolution 0), dropout 0.5.

    Args:
        width: channels of the first convolution; the second has twice as many.
        stride: 1 halves the image by max-pooling after each convolution, 2 by a stride in the convolution (cheaper).
        hidden: units of the fully connected layer.
        dropout: share of hidden units dropped while training, in [0, 1).
        init: ``"tutorial"``, the truncated normal above, or ``"torch"``, PyTorch's default.
        classes: number of classes.

    Weights are drawn from PyTorch's global generator; call ``torch.manual_seed`` first. The tutorial's L2 penalty of
    5e-4 on the fully connected layers belongs to the training: give it to the optimizer as weight decay.

    Raises:
        ArgumentError: a size is not a positive integer, or ``stride``, ``dropout`` or ``init`` is not as above.

    Source: TensorFlow's tutorial ``mnist/convolutional.py``, cited in the paper's Appendix A.

    >>> MnistCNN(width=8, stride=2, hidden=64)(torch.zeros(3, 1, 28, 28)).shape
    torch.Size([3, 10])
    """

    def __init__(
        self,
        *,
        width: int = 32,
        stride: Literal[1, 2] = 1,
        hidden: int = 512,
        dropout: float = 0.5,
        init: Literal["tutorial", "torch"] = "tutorial",
        classes: int = 10,
    ) -> None:
        super().__init__()
        check_count("width", width)
        check_count("hidden", hidden)
        check_count("classes", classes)
        if stride not in (1, 2):
            raise refuse("stride", f"it is {stride!r}", "give 1 (max-pooling) or 2 (strided convolutions)")
        if init not in ("tutorial", "torch"):
            raise refuse("init", f"there is no {init!r}", "give 'tutorial' or 'torch'")

        def halve() -> nn.Module:
            return nn.MaxPool2d(2) if stride == 1 else nn.Identity()

        self.features = nn.Sequential(
            nn.Conv2d(1, width, 5, stride, padding=2),
            nn.ReLU(),
            halve(),
            nn.Conv2d(width, 2 * width, 5, stride, padding=2),
            nn.ReLU(),
            halve(),
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(2 * width * (SIDE // 4) ** 2, hidden),
            nn.ReLU(),
            nn.Dropout(check_share("dropout", dropout)),
            nn.Linear(hidden, classes),
        )
        self._init = init
        if init == "tutorial":
            _tutorial_init(self)

    def reset_parameters(self) -> None:
        """Start anew, initialised as the network was built."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.reset_parameters()
        if self._init == "tutorial":
            _tutorial_init(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, shape (N, classes), of images ``x`` of shape (N, 1, 28, 28)."""
        if x.ndim != 4 or tuple(x.shape[1:]) != (1, SIDE, SIDE):
            raise refuse("x", f"its shape is {tuple(x.shape)}", f"give images of shape (N, 1, {SIDE}, {SIDE})")
        return self.head(self.features(x))


def small_cnn(*, dropout: float = 0.5, init: Literal["tutorial", "torch"] = "tutorial") -> MnistCNN:
    """Return ``MnistCNN`` reduced in width and stride, for studies that must end in minutes on a processor.

    >>> sum(p.numel() for p in small_cnn().parameters())
    105194
    """
    return MnistCNN(width=8, stride=2, hidden=128, dropout=dropout, init=init)


def _tutorial_init(network: nn.Module) -> None:
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for index, layer in enumerate(layers):
            nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
            if layer.bias is not None:
                layer.bias.fill_(0.0 if index == 0 else 0.1)
