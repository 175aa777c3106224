"""Errors under FGSM and PGD as the attack's radius grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

from torch import Generator, Tensor

from minimaxopt.plugins import argument_error, check_count, check_number
from minimaxopt_adversarial.attacks.attack import Attack, attack_in_batches
from minimaxopt_adversarial.attacks.classifier import Classifier, measured
from minimaxopt_adversarial.attacks.pgd import pgd
from minimaxopt_adversarial.attacks.single_step import fgsm
from minimaxopt_adversarial.attacks.unattacked import all_finite, collected, report
from minimaxopt_adversarial.checks import Bounds, check_bounds, check_images, check_labels
from minimaxopt_adversarial.evaluation.error_rates import Errors, misclassified

FRACTIONS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Default radii, in multiples of the range of the pixels."""


@final
@dataclass(frozen=True, eq=False)
class EtaSweep:
    """Errors under FGSM and PGD of few steps at growing ``eta``; the result of ``eta_sweep``.

    Args:
        bounds: lowest and highest pixel.
        etas: radii in the l_inf norm, in the unit of the pixels, in ascending order.
        fgsm: errors under FGSM at each radius.
        pgd: errors under PGD at each radius.
        steps: steps of PGD.

    Examples:
        >>> import torch
        >>> errors = (Errors(torch.tensor([False, True])),)
        >>> EtaSweep((-1.0, 1.0), (0.1,), errors, errors, steps=10).pgd[0].rate
        0.5

    Source: Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of security" (2018), Sec. 3.1.
    """

    bounds: Bounds
    etas: tuple[float, ...]
    fgsm: tuple[Errors, ...]
    pgd: tuple[Errors, ...]
    steps: int

    def to_dict(self) -> dict[str, Any]:
        """Return a record for ``from_dict``, made of numbers, lists and dicts."""
        return {
            "bounds": list(self.bounds),
            "etas": list(self.etas),
            "fgsm": [errors.to_dict() for errors in self.fgsm],
            "pgd": [errors.to_dict() for errors in self.pgd],
            "steps": self.steps,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> EtaSweep:
        """Return the sweep in a record of ``to_dict``."""
        low, high = record["bounds"]
        single, iterated = (tuple(Errors.from_dict(errors) for errors in record[key]) for key in ("fgsm", "pgd"))
        return cls((low, high), tuple(record["etas"]), single, iterated, record["steps"])


def eta_sweep(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    bounds: Bounds = (-1.0, 1.0),
    etas: Sequence[float] | None = None,
    steps: int = 10,
    images: int = 200,
    seed: int = 0,
    batch_size: int = 500,
) -> EtaSweep:
    """Attack the first images by FGSM and PGD at radii that grow until any image is allowed.

    Args:
        classifier: images (N, ...) to logits (N, classes).
        x: (N, ...) images within ``bounds``, float32 or float64.
        y: (N,) true classes, int64.
        bounds: lowest and highest pixel.
        etas: radii in the unit of the pixels; 1/32, 1/16, ..., 1 times the range of ``bounds`` by default.
        steps: steps of PGD, each of the size ``2.5 * eta / steps``, from one random start on the cross-entropy.
        images: number of images, the first, to attack; at most all.
        seed: seed of the random starts, which are the same for all radii.
        batch_size: images attacked together.

    Raises:
        ArgumentError: an argument is out of range.

    Examples:
        >>> import torch
        >>> sweep = eta_sweep(lambda x: x, torch.tensor([[0.5, 0.0], [0.1, 0.0]]), torch.tensor([0, 0]))
        >>> [errors.rate for errors in sweep.pgd]
        [0.5, 0.5, 0.5, 1.0, 1.0, 1.0]

    Source: Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of security" (2018), Sec. 3.1: an
    attack without a bound should fool every image.
    """
    low, high = bounds = check_bounds(bounds)
    check_images(x, bounds)
    check_labels(y, len(x))
    x, y = x[: check_count("images", images)], y[:images]
    if etas is None:
        radii = [fraction * (high - low) for fraction in FRACTIONS]
    else:
        radii = sorted(check_number("etas", eta) for eta in etas)
    if not radii:
        raise argument_error("etas", "there is none", "give at least one radius, or None")

    with measured(classifier) as function, collected(len(x)) as masks:

        def errors(attack: Attack) -> Errors:
            z = attack_in_batches(attack, function, x, y, batch_size=batch_size)
            return Errors(misclassified(function, z, y, batch_size=batch_size))

        single = [errors(partial(fgsm, eta=eta, bounds=bounds)) for eta in radii]
        iterated = [
            errors(partial(pgd, eta=eta, bounds=bounds, steps=steps, generator=Generator().manual_seed(seed)))
            for eta in radii
        ]
    report(all_finite(masks, y))
    return EtaSweep((low, high), tuple(radii), tuple(single), tuple(iterated), steps)
