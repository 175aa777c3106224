"""The study's classifier of CIFAR-10."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from minimaxopt_adversarial.checks import check_count, check_share, refuse

SIDE = 32


class CifarCNN(nn.Module):
    """Classify 32 x 32 colour images by two convolutions and three fully connected layers.

    ``image -> conv5x5 -> ReLU -> halve -> conv5x5 -> ReLU -> halve -> fc -> ReLU -> fc -> ReLU -> fc -> logits``, where
    to halve is max-pooling over 3 x 3 in strides of 2, at the lower and right edge over what is there. With the defaults
    this is the network that the paper cites, without its local response normalisation: 64 and 64 channels, 384 and 192
    units, weights from normals of deviation 0.05 (convolutions), 0.04 (fully connected) and 1/192 (last) truncated at two
    deviations, biases 0.1 (first convolution and last layer 0).

    Args:
        width: channels of both convolutions.
        hidden: units of the two fully connected layers.
        dropout: share of these units dropped while training, in [0, 1); the cited network has none.
        init: ``"tutorial"``, the truncated normals above, or ``"torch"``, PyTorch's default.
        classes: number of classes.

    Weights are drawn from PyTorch's global generator; call ``torch.manual_seed`` first. The tutorial's L2 penalty of
    0.004 on the fully connected layers belongs to the training: give it to the optimizer as weight decay.

    Raises:
        ArgumentError: a size is not a positive integer, or ``dropout`` or ``init`` is not as above.

    Source: TensorFlow's tutorial ``cifar10.py``, cited in the paper's Appendix B.

    >>> CifarCNN(width=4, hidden=(16, 8))(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    >>> sum(p.numel() for p in CifarCNN().parameters())
    1756426
    """

    def __init__(
        self,
        *,
        width: int = 64,
        hidden: tuple[int, int] = (384, 192),
        dropout: float = 0.0,
        init: Literal["tutorial", "torch"] = "tutorial",
        classes: int = 10,
    ) -> None:
        super().__init__()
        check_count("width", width)
        check_count("classes", classes)
        if len(hidden) != 2:
            raise refuse("hidden", f"there are {len(hidden)} layers", "give the units of two")
        first, second = (check_count("hidden", size) for size in hidden)
        if init not in ("tutorial", "torch"):
            raise refuse("init", f"there is no {init!r}", "give 'tutorial' or 'torch'")
        share = check_share("dropout", dropout)
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(width, width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(width * (SIDE // 4) ** 2, first), nn.ReLU(), nn.Dropout(share),
            nn.Linear(first, second), nn.ReLU(), nn.Dropout(share),
            nn.Linear(second, classes),
        )  # fmt: skip
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
        """Return the logits, shape (N, classes), of images ``x`` of shape (N, 3, 32, 32)."""
        if x.ndim != 4 or tuple(x.shape[1:]) != (3, SIDE, SIDE):
            raise refuse("x", f"its shape is {tuple(x.shape)}", f"give images of shape (N, 3, {SIDE}, {SIDE})")
        return self.head(self.features(x))


def _tutorial_init(network: CifarCNN) -> None:
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    last = layers[-1]
    with torch.no_grad():
        for index, layer in enumerate(layers):
            deviation = 0.05 if isinstance(layer, nn.Conv2d) else 0.04 if layer is not last else 1 / last.in_features
            nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
            if layer.bias is not None:
                layer.bias.fill_(0.0 if index == 0 or layer is last else 0.1)
