"""AutoAttack on images of any range, through torchattacks' implementation of its four attacks."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function

from minimaxopt_adversarial.attacks.projections import feasible_box
from minimaxopt_adversarial.checks import (
    Bounds,
    check_bounds,
    check_count,
    check_images,
    check_labels,
    check_logits,
    check_size,
    refuse,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from minimaxopt_adversarial.attacks.input_gradient import Classifier

Version = Literal["standard", "rand"]

# The losses of APGD compare the logits of the third and (targeted) the fourth largest class.
LEAST_CLASSES = {"standard": 4, "rand": 3}


def autoattack_available() -> bool:
    """Say whether ``autoattack`` finds torchattacks; nothing is imported."""
    return importlib.util.find_spec("torchattacks") is not None


def autoattack(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    eta: float,
    bounds: Bounds = (-1.0, 1.0),
    version: Version = "standard",
    steps: int = 100,
    queries: int = 5000,
    seed: int = 0,
    batch_size: int = 200,
) -> Tensor:
    """Attack with AutoAttack, an ensemble that has no step size to tune, in l_inf.

    ``"standard"`` runs APGD on the cross-entropy, targeted APGD, targeted FAB and the black-box Square attack, each on
    the images that the ones before did not fool; ``"rand"``, for classifiers that draw random numbers, runs APGD on the
    cross-entropy and on the logits' ratio, both with gradients averaged over 20 draws. The attacks are torchattacks',
    which know pixels from 0 to 1 only: they see ``g(low + (high - low) t)`` and ``eta / (high - low)``, and their images
    are mapped back and clamped into ``feasible_box``; an image counts as fooled if it still is after that. The attacks
    run in float32. The global random state, the classifier's mode and its parameters' ``.grad`` are left as they were.

    Args:
        classifier: images (N, channels, height, width) to logits (N, classes): at least 4 classes for ``"standard"``
            and 3 for ``"rand"``, below which the losses of AutoAttack are undefined.
        x: images within ``bounds``, float32 or float64.
        y: (N,) true classes.
        eta: radius in the l_inf norm, in the units of the pixels.
        bounds: lowest and highest pixel.
        version: ``"standard"`` or ``"rand"``.
        steps: steps of APGD and FAB. AutoAttack has 100; torchattacks' own ``AutoAttack`` stops after 10.
        queries: evaluations of the Square attack.
        seed: seed of the random starts; each batch begins with it anew.
        batch_size: images attacked together.

    Returns:
        Images of the shape of ``x`` with ``(z - x).abs().max() <= eta`` and ``low <= z <= high``; where no attack
        succeeded, and where the classifier errs without any, the image itself.

    Raises:
        ArgumentError: torchattacks is not installed, an argument is out of range, or there are too few classes.

    Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
    attacks" (2020); torchattacks 3.5.1.

    >>> x, y = torch.zeros(1, 1, 2, 2), torch.tensor([0])
    >>> z = autoattack(lambda x: x.flatten(1), x, y, eta=0.25, steps=5, queries=5)
    >>> (z - x).abs().max().item() <= 0.25
    True
    """
    eta, (low, high) = check_size("eta", eta), check_bounds(bounds)
    if check_images(x, bounds).ndim != 4:
        raise refuse("x", f"its shape is {tuple(x.shape)}", "give images of shape (N, channels, height, width)")
    check_labels(y, len(x))
    if version not in LEAST_CLASSES:
        raise refuse("version", f"there is no {version!r}", "give 'standard' or 'rand'")
    for name, value in (("steps", steps), ("queries", queries), ("batch_size", batch_size)):
        check_count(name, value)
    library = _torchattacks()
    if eta == 0:
        return x.detach().clone()
    # torchattacks seeds the present CUDA device's generator too; one that has not been used holds no state to keep.
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices):
        x, y = x.detach().clone(), y.clone()
        classes = check_logits(classifier(x[:1]), y[:1]).shape[1]
        if classes < LEAST_CLASSES[version]:
            raise refuse(
                "classifier",
                f"it has {classes} classes, where {version} AutoAttack needs {LEAST_CLASSES[version]}",
                "use pgd with the margin loss",
            )
        unit = _Unit(classifier, bounds, x)
        attacks = _attacks(library, unit, eta / (high - low), version, classes, steps, queries, seed)
        parts = [
            _in_turn(attacks, classifier, images, labels, eta, bounds)
            for images, labels in zip(x.split(batch_size), y.split(batch_size), strict=True)
        ]
    return torch.cat(parts)


def _torchattacks() -> Any:
    try:
        import torchattacks  # pyright: ignore[reportMissingImports]  # optional, and without types
    except ImportError as error:
        raise refuse(
            "autoattack",
            f"torchattacks cannot be imported ({error})",
            "run pip install 'minimaxopt-adversarial[autoattack]', or pip install --no-deps torchattacks beside "
            "requests, scipy and tqdm, or leave AutoAttack out",
        ) from error
    return torchattacks


def _attacks(
    library: Any, unit: nn.Module, eps: float, version: Version, classes: int, steps: int, queries: int, seed: int
) -> list[Callable[[Tensor, Tensor], Tensor]]:
    # Not library.AutoAttack: it offers no way to set the steps, and its FAB and APGD make a tenth of the published ones.
    given: dict[str, Any] = {"eps": eps, "norm": "Linf", "n_restarts": 1, "seed": seed}
    if version == "rand":
        return [library.APGD(unit, **given, steps=steps, loss=loss, eot_iter=20) for loss in ("ce", "dlr")]
    return [
        library.APGD(unit, **given, steps=steps, loss="ce"),
        library.APGDT(unit, **given, steps=steps, n_classes=classes),
        library.FAB(unit, **given, steps=steps, multi_targeted=True, n_classes=classes),
        library.Square(unit, **given, n_queries=queries),
    ]


def _in_turn(
    attacks: list[Callable[[Tensor, Tensor], Tensor]],
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    eta: float,
    bounds: Bounds,
) -> Tensor:
    low, high = bounds
    lower, upper = feasible_box(x, eta, bounds)
    z, left = x, _right(classifier, x, y).nonzero().flatten()
    for attack in attacks:
        if len(left) == 0:
            break
        unit = ((x[left] - low) / (high - low)).clamp(0, 1).float()
        found = low + (high - low) * attack(unit, y[left]).detach().to(x.dtype)
        found = torch.clamp(found, lower[left], upper[left])
        right = _right(classifier, found, y[left])
        z = z.index_copy(0, left[~right], found[~right])
        left = left[right]
    return z


def _right(classifier: Classifier, x: Tensor, y: Tensor) -> Tensor:
    return check_logits(classifier(x), y).argmax(1) == y


class _Unit(nn.Module):
    """The classifier on pixels from 0 to 1, in float32."""

    def __init__(self, classifier: Classifier, bounds: Bounds, x: Tensor) -> None:
        super().__init__()
        # Within a tuple, so that it is no submodule: torchattacks calls eval() and train() on what it attacks.
        self._hidden = (classifier,)
        self._bounds, self._dtype = bounds, x.dtype
        # torchattacks asks the first parameter for its device.
        self.device = nn.Parameter(torch.zeros((), device=x.device), requires_grad=False)

    def forward(self, t: Tensor) -> Tensor:
        low, high = self._bounds
        x = (low + (high - low) * t.to(self._dtype)).clamp(low, high)
        if not torch.is_grad_enabled() or not t.requires_grad:
            with torch.no_grad():
                logits = self._hidden[0](x)
        else:
            logits = cast("Tensor", _ImageGradient.apply(x, self._hidden[0]))
        # A copy: the Square attack writes into the logits, which may share their storage with something of the caller's.
        return logits.to(torch.float32, copy=True)


class _ImageGradient(Function):
    """The classifier with a gradient for its images alone: FAB calls backward(), which would fill the parameters'."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, classifier: Classifier) -> Tensor:
        with torch.enable_grad():
            ctx.x = x.detach().requires_grad_()
            ctx.logits = classifier(ctx.x)
        return ctx.logits.detach()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None]:
        # The graph is kept: an attack may ask one pass for several gradients.
        (gradient,) = torch.autograd.grad(ctx.logits, ctx.x, outer[0], retain_graph=True)
        return gradient, None
