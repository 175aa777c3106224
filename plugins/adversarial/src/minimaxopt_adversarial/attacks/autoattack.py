"""AutoAttack on images of any range, through torchattacks' implementation of its four attacks."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function

from minimaxopt.plugins import argument_error, check_choice, check_count
from minimaxopt_adversarial.attacks.classifier import Classifier, restored_buffers
from minimaxopt_adversarial.attacks.projections import feasible_box
from minimaxopt_adversarial.checks import Bounds, check_attack_arguments, check_logits
from minimaxopt_adversarial.losses import class_logits, errs

if TYPE_CHECKING:
    from collections.abc import Callable

Version = Literal["standard", "rand"]

MEMBERS: dict[Version, dict[str, int]] = {
    "standard": {"APGD-CE": 2, "APGD-T": 4, "FAB-T": 2, "Square": 2},
    "rand": {"APGD-CE": 2, "APGD-DLR": 3},
}
"""Attacks of each version in order, and the classes that each needs: the logits' ratio takes the third largest logit,
and targeted APGD the fourth."""


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
    target: Tensor | None = None,
) -> Tensor:
    """Attack with AutoAttack, an ensemble that has no step size to tune, in l_inf.

    ``"standard"`` runs APGD on the cross-entropy, targeted APGD, targeted FAB and the black-box Square attack, each on
    the images that the ones before did not fool; ``"rand"``, for classifiers that draw random numbers, runs APGD on the
    cross-entropy and on the logits' ratio, both with gradients averaged over 20 draws. With fewer than 4 classes
    targeted APGD is undefined and left out, with fewer than 3 APGD on the logits' ratio. The attacks are torchattacks',
    which know only images with pixels from 0 to 1: they see ``g(low + (high - low) t)`` and ``eta / (high - low)``, and
    samples of another shape as images of one row. Their images are mapped back and clamped into ``feasible_box``; only
    images that are misclassified after that count as fooled. The attacks run in float32. The global random state, the
    classifier's mode and buffers and its parameters' ``.grad`` stay as they were.

    Args:
        classifier: images (N, ...) to logits (N, classes), or (N, 1) for the logit of class 1 of two.
        x: (N, ...) images within ``bounds``, float32 or float64.
        y: (N,) true classes, int64.
        eta: radius in the l_inf norm, in the unit of the pixels.
        bounds: lowest and highest pixel.
        version: ``"standard"`` or ``"rand"``.
        steps: steps of APGD and FAB. AutoAttack has 100; torchattacks' own ``AutoAttack`` stops after 10.
        queries: evaluations of the Square attack.
        seed: seed of the random starts, the same for each batch.
        batch_size: images attacked together.
        target: (N,) classes that the classifier should name, int64. For each of them the attacks then see a classifier
            of two classes, the target and the largest of the others, with the members that two classes allow.

    Returns:
        Images of the shape of ``x`` with ``(z - x).abs().max() <= eta`` and ``low <= z <= high``; the clean image where
        no attack succeeded and where the classifier errs (or names the target) without one.

    Raises:
        ArgumentError: torchattacks is not installed, or an argument is out of range.

    Examples:
        >>> x, y = torch.zeros(1, 1, 2, 2), torch.tensor([0])
        >>> z = autoattack(lambda x: x.flatten(1), x, y, eta=0.25, steps=5, queries=5)
        >>> (z - x).abs().max().item() <= 0.25
        True

    Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
    attacks" (2020); torchattacks 3.5.1.
    """
    eta, bounds = check_attack_arguments(x, y, eta, bounds, target)
    check_choice("version", version, MEMBERS)
    for argument, count in (("steps", steps), ("queries", queries), ("batch_size", batch_size)):
        check_count(argument, count)
    library = _torchattacks()
    if eta == 0:
        return x.detach().clone()
    # torchattacks seeds the present CUDA device's generator too; one that has not been used holds no state to keep.
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        torch.random.fork_rng(devices),
        restored_buffers(classifier),
    ):
        x, y = x.detach().clone(), y.clone()
        z, all_classes = x.clone(), number_of_classes(classifier, x, y)
        if target is None:
            problems = [(classifier, y, all_classes, torch.arange(len(x), device=x.device))]
        else:
            check_logits(classifier(x[:1]).expand(len(x), -1), target)
            problems = [
                (_against_others(classifier, label), torch.zeros_like(y), 2, (target == label).nonzero().flatten())
                for label in target.unique().tolist()
            ]
        for function, labels, classes, rows in problems:
            rescaled = _UnitIntervalClassifier(function, bounds, x)
            eps = eta / (bounds[1] - bounds[0])
            attacks = _attacks(library, rescaled, eps, version, classes, steps, queries, seed)
            for some in rows.split(batch_size):
                z[some] = _attack_in_turn(attacks, function, x[some], labels[some], eta, bounds)
    return z


def number_of_classes(classifier: Classifier, x: Tensor, y: Tensor) -> int:
    """Return the number of classes between which a classifier decides, from its logits of the first image."""
    with torch.no_grad():
        return class_logits(check_logits(classifier(x[:1]), y[:1])).shape[1]


def describe_members(classes: int, version: Version = "standard") -> str:
    """Return the members of AutoAttack that so many classes allow, and those that are left out.

    Examples:
        >>> describe_members(10)
        'APGD-CE, APGD-T, FAB-T, Square'
        >>> describe_members(2)
        'APGD-CE, FAB-T, Square, without APGD-T, which needs 4 classes'
    """
    needed = MEMBERS[version]
    left_out = [f"{name}, which needs {least} classes" for name, least in needed.items() if classes < least]
    without = [f"without {' and '.join(left_out)}"] if left_out else []
    return ", ".join([*(name for name, least in needed.items() if classes >= least), *without])


def _against_others(classifier: Classifier, label: int) -> Classifier:
    """Return a classifier of two classes, all others and ``label``, whose logits are the largest of each."""

    def two_classes(x: Tensor) -> Tensor:
        logits = class_logits(classifier(x))
        others = torch.cat([logits[:, :label], logits[:, label + 1 :]], 1).amax(1)
        return torch.stack([others, logits[:, label]], 1)

    return two_classes


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
    draws = 20 if version == "rand" else 1
    builders: dict[str, Callable[[], Callable[[Tensor, Tensor], Tensor]]] = {
        "APGD-CE": lambda: library.APGD(rescaled, **common, steps=steps, loss="ce", eot_iter=draws),
        "APGD-DLR": lambda: library.APGD(rescaled, **common, steps=steps, loss="dlr", eot_iter=draws),
        "APGD-T": lambda: library.APGDT(rescaled, **common, steps=steps, n_classes=classes),
        "FAB-T": lambda: library.FAB(rescaled, **common, steps=steps, multi_targeted=True, n_classes=classes),
        "Square": lambda: library.Square(rescaled, **common, n_queries=queries),
    }
    return [builders[name]() for name, least in MEMBERS[version].items() if classes >= least]


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
        rescaled = as_images(((x[unfooled] - low) / (high - low)).clamp(0, 1).float())
        attacked = low + (high - low) * attack(rescaled, y[unfooled]).detach().to(x.dtype).view_as(x[unfooled])
        # Where an attack computes NaN, because a gradient is, it has no image to show.
        attacked = torch.where(attacked.isfinite(), attacked, x[unfooled])
        attacked = torch.clamp(attacked, lower[unfooled], upper[unfooled])
        correct = _correct(classifier, attacked, y[unfooled])
        z = z.index_copy(0, unfooled[~correct], attacked[~correct])
        unfooled = unfooled[correct]
    return z


def _correct(classifier: Classifier, x: Tensor, y: Tensor) -> Tensor:
    return ~errs(check_logits(classifier(x), y), y)


def as_images(x: Tensor) -> Tensor:
    """Return samples (N, ...) as images (N, channels, height, width): vectors and signals as images of one row.

    Examples:
        >>> as_images(torch.zeros(2, 5)).shape, as_images(torch.zeros(2, 3, 5)).shape
        (torch.Size([2, 1, 1, 5]), torch.Size([2, 3, 1, 5]))
    """
    if x.ndim == 4:
        return x
    channels = x.shape[1] if x.ndim == 3 else 1
    return x.reshape(len(x), channels, 1, -1)


class _UnitIntervalClassifier(nn.Module):
    """The classifier on pixels from 0 to 1, in float32."""

    def __init__(self, classifier: Classifier, bounds: Bounds, x: Tensor) -> None:
        super().__init__()
        # Within a tuple, so that it is no submodule: torchattacks calls eval() and train() on what it attacks.
        self._wrapped = (classifier,)
        self._bounds, self._dtype, self._shape = bounds, x.dtype, x.shape[1:]
        # torchattacks asks the first parameter for its device.
        self.device = nn.Parameter(torch.zeros((), device=x.device), requires_grad=False)

    def forward(self, t: Tensor) -> Tensor:
        low, high = self._bounds
        x = (low + (high - low) * t.to(self._dtype)).clamp(low, high).view(-1, *self._shape)
        if not torch.is_grad_enabled() or not t.requires_grad:
            with torch.no_grad():
                logits = self._wrapped[0](x)
        else:
            logits = cast("Tensor", _ImageGradient.apply(x, self._wrapped[0]))
        # A copy: the Square attack writes into the logits, which may share their storage with a tensor of the caller's.
        return class_logits(logits).to(torch.float32, copy=True)


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
