"""The evaluation of a classifier under the attacks that are expected today, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from torch import Generator, Tensor

from minimaxopt.plugins import argument_error, check_count
from minimaxopt_adversarial.attacks.attack import Attack, attack_in_batches
from minimaxopt_adversarial.attacks.autoattack import (
    autoattack,
    autoattack_available,
    describe_members,
    number_of_classes,
)
from minimaxopt_adversarial.attacks.classifier import Classifier, measured
from minimaxopt_adversarial.attacks.pgd import momentum_pgd
from minimaxopt_adversarial.attacks.projections import feasible_box
from minimaxopt_adversarial.attacks.single_step import fgsm
from minimaxopt_adversarial.attacks.unattacked import all_finite, collected, named, report
from minimaxopt_adversarial.checks import Bounds, check_attack_arguments, check_same_shape
from minimaxopt_adversarial.evaluation.error_rates import Errors, misclassified
from minimaxopt_adversarial.evaluation.robustness_evaluation import RobustnessEvaluation
from minimaxopt_adversarial.evaluation.strong_attacks import StrongAttack, strong_attacks

TRANSFER_STEPS = 10  # of MI-FGSM as published, of the size eta / 10
RESERVED = ("clean", "FGSM", "AutoAttack", "worst")
# An image made elsewhere may be off by rounding; one further away was made for another eta or another range.
ROUNDING = 1e-5


def evaluate_robustness(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    eta: float,
    bounds: Bounds = (-1.0, 1.0),
    attacks: Sequence[StrongAttack] | None = None,
    transfer: Mapping[str, Tensor | Classifier] | None = None,
    autoattack_images: int = 200,
    autoattack_steps: int = 100,
    autoattack_queries: int = 5000,
    seed: int = 0,
    batch_size: int = 500,
) -> RobustnessEvaluation:
    """Attack a classifier by FGSM, iterated attacks with restarts, images made elsewhere and AutoAttack, in l_inf.

    ``worst_i = max_a [argmax g(a(x_i)) != y_i]`` over all attacks ``a`` and the clean image. Every rate is a lower
    bound on the error at the worst image within ``eta``; the intervals cover the choice of the images, not attacks that
    were not tried.

    Images of any shape and any number of classes can be attacked: the members of AutoAttack that need more classes are
    left out, and ``settings`` says so. An image whose gradient is not finite stays where it was in that attack; a
    warning and ``settings`` count and name such images.

    Args:
        classifier: images (N, ...) to logits (N, classes), or (N, 1) for the logit of class 1 of two. It runs in its
            current mode; a warning says if that is training mode, and its buffers stay as they were.
        x: (N, ...) images within ``bounds``, float32 or float64.
        y: (N,) true classes, int64.
        eta: radius in the l_inf norm, in the unit of the pixels.
        bounds: lowest and highest pixel.
        attacks: the iterated attacks; those of ``strong_attacks()`` by default.
        transfer: by name, images within ``eta`` of ``x`` that were made against another classifier, or that classifier,
            for which MI-FGSM as published (``momentum_pgd``) makes them. ``classifier`` has no influence on them.
        autoattack_images: number of images, the first, on which AutoAttack runs too (at most all); 0 leaves it out.
        autoattack_steps: ``steps`` of ``autoattack``.
        autoattack_queries: ``queries`` of ``autoattack``.
        seed: seed of the random starts, which depend on ``batch_size`` too.
        batch_size: images attacked together.

    Raises:
        ArgumentError: an argument is out of range, an image of ``transfer`` is further away than ``eta``, names
            are used twice, or AutoAttack is asked for and torchattacks is not installed.

    Examples:
        >>> import torch
        >>> x, y = torch.tensor([[0.3, 0.0], [0.9, 0.0], [0.0, 0.1]]), torch.tensor([0, 0, 0])
        >>> evaluation = evaluate_robustness(lambda x: x, x, y, eta=0.25, autoattack_images=0)
        >>> [(name, round(errors.rate, 2)) for name, errors in evaluation.columns().items()]
        [('clean', 0.33), ('FGSM', 0.67), ('PGD', 0.67), ('PGD margin', 0.67), ('momentum PGD', 0.67), ('worst', 0.67)]

    Source: Carlini et al., "On evaluating adversarial robustness" (2019); the attacks name their own.
    """
    eta, bounds = check_attack_arguments(x, y, eta, bounds)
    attacks = strong_attacks() if attacks is None else tuple(attacks)
    transfer = {} if transfer is None else transfer
    _check_names([attack.name for attack in attacks], list(transfer))
    autoattacked = min(check_count("autoattack_images", autoattack_images), len(x)) if autoattack_images else 0
    if autoattacked and not autoattack_available():
        remedy = "run pip install 'minimaxopt-adversarial[autoattack]', or leave it out by autoattack_images=0"
        raise argument_error("autoattack_images", "torchattacks is not installed", remedy)

    settings: dict[str, str] = {}
    unattacked: list[Tensor] = []

    def errors(images: Tensor, count: int = len(x)) -> Errors:
        return Errors(misclassified(function, images, y[:count], batch_size=batch_size))

    def attacked(name: str, setting: str, attack: Attack, source: Classifier) -> Errors:
        with collected(len(x)) as masks:
            z = attack_in_batches(attack, source, x, y, batch_size=batch_size)
        finite = all_finite(masks, y)
        unattacked.append(finite)
        settings[name] = setting if bool(finite.all()) else f"{setting}; {named(finite)} and stay where they were"
        return errors(z)

    with measured(classifier) as function:
        settings["clean"], clean = "no attack", errors(x)
        single = attacked("FGSM", "one signed step of eta", partial(fgsm, eta=eta, bounds=bounds), function)
        # AutoAttack first: an argument that it cannot use should not be noticed after everything else has run.
        ensemble = None
        if autoattacked:
            members = describe_members(number_of_classes(function, x, y))
            settings["AutoAttack"] = (
                f"standard AutoAttack on the first {autoattacked} images, {autoattack_steps} steps, "
                f"{autoattack_queries} queries{'' if 'without' not in members else f'; {members}'}"
            )
            z = autoattack(
                function, x[:autoattacked], y[:autoattacked], eta=eta, bounds=bounds, steps=autoattack_steps,
                queries=autoattack_queries, seed=seed, batch_size=batch_size,
            )  # fmt: skip
            ensemble = errors(z, autoattacked)
        iterated: dict[str, Errors] = {}
        for index, attack in enumerate(attacks):
            generator = Generator().manual_seed(seed + index)  # on the CPU, so that a device does not change the starts
            run = partial(attack, eta=eta, bounds=bounds, generator=generator)
            iterated[attack.name] = attacked(attack.name, attack.describe(), run, function)
        transferred: dict[str, Errors] = {}
        published = partial(
            momentum_pgd, eta=eta, bounds=bounds, steps=TRANSFER_STEPS, step_size=eta / TRANSFER_STEPS if eta else None,
            random_start=False, keep_clean=False,
        )  # fmt: skip
        for name, source in transfer.items():
            column = f"transfer from {name}"
            if isinstance(source, Tensor):
                transferred[name] = errors(_clip_rounding(source, x, eta, bounds, name))
                settings[column] = "images made against another classifier"
            else:
                setting = f"MI-FGSM, {TRANSFER_STEPS} steps of eta / {TRANSFER_STEPS}, made there"
                with measured(source, argument=f"transfer[{name!r}]") as other:
                    transferred[name] = attacked(column, setting, published, other)
    report(all_finite(unattacked, y))
    return RobustnessEvaluation(eta, bounds, seed, clean, single, iterated, transferred, ensemble, settings)


def _check_names(attacks: Sequence[str], transfer: Sequence[str]) -> None:
    columns = [*attacks, *(f"transfer from {name}" for name in transfer)]
    repeated = sorted({name for name in columns if columns.count(name) > 1 or name in RESERVED})
    if repeated:
        raise argument_error("attacks", f"the name {repeated[0]!r} is used twice", "give each attack a name of its own")


def _clip_rounding(z: Tensor, x: Tensor, eta: float, bounds: Bounds, name: str) -> Tensor:
    """Return images made elsewhere within ``eta`` of ``x``, or refuse them where more than rounding is cut off."""
    argument = f"transfer[{name!r}]"
    z = check_same_shape(z, x, argument=argument).detach().to(x)
    lower, upper = feasible_box(x, eta, bounds)
    inside = z.clamp(lower, upper)
    # A distance of NaN is not within either.
    if not bool((z - inside).abs().max() <= ROUNDING * (bounds[1] - bounds[0])):
        reason = f"some pixels are outside the bounds or further than {eta:g} from x"
        raise argument_error(argument, reason, "clip them to both")
    return inside
