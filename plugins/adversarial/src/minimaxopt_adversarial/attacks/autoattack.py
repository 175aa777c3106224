"""AutoAttack on images of any range, through torchattacks' implementation of its four attacks."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function

from minimaxopt.plugins import argument_error, check_choice, check_count, check_number
from minimaxopt_adversarial.attacks.projections import feasible_box
from minimaxopt_adversarial.checks import Bounds, check_bounds, check_images, check_labels, check_logits

if TYPE_CHECKING:
    from collections.abc import Callable

    from minimaxopt_adversarial.attacks.input_gradient import Classifier

Version = Literal["standard", "rand"]

# The losses of APGD compare the logits of the third and (targeted) the fourth largest class.
LEAST_CLASSES = {"standard": 4, "rand": 3}


def autoattack_available() -> bool:
    """Return whether torchattacks, which ``autoattack`` needs, is installed; nothing is imported.

    Examples:
        >>> autoattack_available() in (True, False)
        True

    Source: this library.
    """
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
    which know only pixels from 0 to 1: they see ``g(low + (high - low) t)`` and ``eta / (high - low)``. Their images are
    mapped back and clamped into ``feasible_box``; only images that are misclassified after that count as fooled. The
    attacks run in float32. The global random state, the classifier's mode and its parameters' ``.grad`` stay as they
    were.

    Args:
        classifier: images (N, channels, height, width) to logits (N, classes): at least 4 classes for ``"standard"``
            and 3 for ``"rand"``, below which the losses of AutoAttack are undefined.
        x: (N, channels, height, width) images within ``bounds``, float32 or float64.
        y: (N,) true classes, int64.
        eta: radius in the l_inf norm, in the unit of the pixels.
        bounds: lowest and highest pixel.
        version: ``"standard"`` or ``"rand"``.
        steps: steps of APGD and FAB. AutoAttack has 100; torchattacks' own ``AutoAttack`` stops after 10.
        queries: evaluations of the Square attack.
        seed: seed of the random starts, the same for each batch.
        batch_size: images attacked together.

    Returns:
        Images of the shape of ``x`` with ``(z - x).abs().max() <= eta`` and ``low <= z <= high``; the clean image where
        no attack succeeded and where the classifier errs without one.

    Raises:
        ArgumentError: torchattacks is not installed, an argument is out of range, or there are too few classes.

    Examples:
        >>> x, y = torch.zeros(1, 1, 2, 2), torch.tensor([0])
        >>> z = autoattack(lambda x: x.flatten(1), x, y, eta=0.25, steps=5, queries=5)
        >>> (z - x).abs().max().item() <= 0.25
        True

    Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
    attacks" (2020); torchattacks 3.5.1.
    """
    eta, (low, high) = check_number("eta", eta), check_bounds(bounds)
    if check_images(x, bounds).ndim != 4:
        raise argument_error("x", f"its shape is {tuple(x.shape)}", "give images of shape (N, channels, height, width)")
    check_labels(y, len(x))
    check_choice("version", version, LEAST_CLASSES)
    for argument, count in (("steps", steps), ("queries", queries), ("batch_size", batch_size)):
        check_count(argument, count)
    library = _torchattacks()
    if eta == 0:
        return x.detach().clone()
    # torchattacks seeds the present CUDA device's generator too; one that has not been used holds no state to keep.
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices):
        x, y = x.detach().clone(), y.clone()
        classes = check_logits(classifier(x[:1]), y[:1]).shape[1]
        if classes < LEAST_CLASSES[version]:
            reason = f"it has {classes} classes, where {version} AutoAttack needs {LEAST_CLASSES[version]}"
            raise argument_error("classifier", reason, "use pgd with the margin loss")
        rescaled = _UnitIntervalClassifier(classifier, bounds, x)
        attacks = _attacks(library, rescaled, eta / (high - low), version, classes, steps, queries, seed)
        attacked_batches = [
            _attack_in_turn(attacks, classifier, images, labels, eta, bounds)
            for images, labels in zip(x.split(batch_size), y.split(batch_size), strict=True)
        ]
    return torch.cat(attacked_batches)


def _torchattacks() -> Any:
    try:
        import torchattacks  # pyright: ignore[reportMissingImports]  # optional, and without types
    except ImportError as error:
        raise argument_error(
            "autoattack",
            f"torchattacks cannot be imported ({error})",
            "run pip install 'minimaxopt-adversarial[autoattack]', or pip install --no-deps torchattacks beside "
            "requests, scipy and tqdm, or leave AutoAttack out",
        ) from error
    return torchattacks


def _attacks(
    library: Any, rescaled: nn.Module, eps: float, version: Version, classes: int, steps: int, queries: int, seed: int
) -> list[Callable[[Tensor, Tensor], Tensor]]:
    # Not library.AutoAttack: its steps cannot be set, and its FAB and APGD make a tenth of the published number.
    common: dict[str, Any] = {"eps": eps, "norm": "Linf", "n_restarts": 1, "seed": seed}
    if version == "rand":
        return [library.APGD(rescaled, **common, steps=steps, loss=loss, eot_iter=20) for loss in ("ce", "dlr")]
    return [
        library.APGD(rescaled, **common, steps=steps, loss="ce"),
        library.APGDT(rescaled, **common, steps=steps, n_classes=classes),
        library.FAB(rescaled, **common, steps=steps, multi_targeted=True, n_classes=classes),
        library.Square(rescaled, **common, n_queries=queries),
    ]


def _attack_in_turn(
    attacks: list[Callable[[Tensor, Tensor], Tensor]],
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    eta: float,
    bounds: Bounds,
) -> Tensor:
    low, high = bounds
    lower, upper = feasible_box(x, eta, bounds)
    z, unfooled = x, _correct(classifier, x, y).nonzero().flatten()
    for attack in attacks:
        if len(unfooled) == 0:
            break
        rescaled = ((x[unfooled] - low) / (high - low)).clamp(0, 1).float()
        attacked = low + (high - low) * attack(rescaled, y[unfooled]).detach().to(x.dtype)
        attacked = torch.clamp(attacked, lower[unfooled], upper[unfooled])
        correct = _correct(classifier, attacked, y[unfooled])
        z = z.index_copy(0, unfooled[~correct], attacked[~correct])
        unfooled = unfooled[correct]
    return z


def _correct(classifier: Classifier, x: Tensor, y: Tensor) -> Tensor:
    return check_logits(classifier(x), y).argmax(1) == y


class _UnitIntervalClassifier(nn.Module):
    """The classifier on pixels from 0 to 1, in float32."""

    def __init__(self, classifier: Classifier, bounds: Bounds, x: Tensor) -> None:
        super().__init__()
        # Within a tuple, so that it is no submodule: torchattacks calls eval() and train() on what it attacks.
        self._wrapped = (classifier,)
        self._bounds, self._dtype = bounds, x.dtype
        # torchattacks asks the first parameter for its device.
        self.device = nn.Parameter(torch.zeros((), device=x.device), requires_grad=False)

    def forward(self, t: Tensor) -> Tensor:
        low, high = self._bounds
        x = (low + (high - low) * t.to(self._dtype)).clamp(low, high)
        if not torch.is_grad_enabled() or not t.requires_grad:
            with torch.no_grad():
                logits = self._wrapped[0](x)
        else:
            logits = cast("Tensor", _ImageGradient.apply(x, self._wrapped[0]))
        # A copy: the Square attack writes into the logits, which may share their storage with a tensor of the caller's.
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
