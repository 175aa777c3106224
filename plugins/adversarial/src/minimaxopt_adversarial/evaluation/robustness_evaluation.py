"""The record of an evaluation under attack: errors by attack, and the worst case for each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

from minimaxopt_adversarial.checks import Bounds
from minimaxopt_adversarial.evaluation.error_rates import Errors


@final
@dataclass(frozen=True, eq=False)
class RobustnessEvaluation:
    """The images that each attack of size ``eta`` fools; the result of ``evaluate_robustness``.

    Args:
        eta: radius in the l_inf norm, in the unit of the pixels.
        bounds: lowest and highest pixel.
        seed: seed of the random starts.
        clean: errors without an attack.
        fgsm: errors under FGSM.
        attacks: errors under each iterated attack, by its name.
        transfer: errors on images made against another classifier, by that classifier's name.
        autoattack: errors under AutoAttack, on the first images alone; None if it was not run.
        settings: one line of description for each column.

    Examples:
        >>> clean, fgsm = Errors(torch.tensor([True, False, False])), Errors(torch.tensor([True, True, False]))
        >>> evaluation = RobustnessEvaluation(0.1, (-1.0, 1.0), 0, clean, fgsm, {}, {}, None, {})
        >>> round(evaluation.worst.rate, 3)
        0.667

    Source: Carlini et al., "On evaluating adversarial robustness" (2019).
    """

    eta: float
    bounds: Bounds
    seed: int
    clean: Errors
    fgsm: Errors
    attacks: dict[str, Errors]
    transfer: dict[str, Errors]
    autoattack: Errors | None
    settings: dict[str, str]

    @property
    def count(self) -> int:
        """Number of images."""
        return self.clean.count

    @property
    def iterated(self) -> Errors | None:
        """Worst case for each image over the iterated white-box attacks; None if there was none."""
        return _any(list(self.attacks.values())) if self.attacks else None

    @property
    def worst(self) -> Errors:
        """Worst case for each image: wrong if any attack fools it, or the classifier errs without one.

        AutoAttack counts on the images on which it was run. This rate is a lower bound on the rate with AutoAttack on
        all images.
        """
        worst = _any([self.clean, self.fgsm, *self.attacks.values(), *self.transfer.values()]).wrong
        if self.autoattack is not None:
            covered = self.autoattack.count
            worst = torch.cat([worst[:covered] | self.autoattack.wrong, worst[covered:]])
        return Errors(worst)

    @property
    def worst_covered(self) -> Errors | None:
        """Worst case for each image on which AutoAttack was run; None if it was not."""
        return None if self.autoattack is None else self.worst.first(self.autoattack.count)

    def columns(self) -> dict[str, Errors]:
        """Return the errors by column: clean, FGSM, the iterated attacks, transfer, AutoAttack (if run), worst."""
        columns = {"clean": self.clean, "FGSM": self.fgsm, **self.attacks}
        columns |= {f"transfer from {name}": errors for name, errors in self.transfer.items()}
        if self.autoattack is not None:
            columns["AutoAttack"] = self.autoattack
        return columns | {"worst": self.worst}

    def to_dict(self) -> dict[str, Any]:
        """Return a record for ``from_dict``, made of numbers, strings, lists and dicts."""
        return {
            "eta": self.eta,
            "bounds": list(self.bounds),
            "seed": self.seed,
            "clean": self.clean.to_dict(),
            "fgsm": self.fgsm.to_dict(),
            "attacks": {name: errors.to_dict() for name, errors in self.attacks.items()},
            "transfer": {name: errors.to_dict() for name, errors in self.transfer.items()},
            "autoattack": None if self.autoattack is None else self.autoattack.to_dict(),
            "settings": dict(self.settings),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> RobustnessEvaluation:
        """Return the evaluation in a record of ``to_dict``."""
        low, high = record["bounds"]
        return cls(
            eta=record["eta"],
            bounds=(low, high),
            seed=record["seed"],
            clean=Errors.from_dict(record["clean"]),
            fgsm=Errors.from_dict(record["fgsm"]),
            attacks={name: Errors.from_dict(errors) for name, errors in record["attacks"].items()},
            transfer={name: Errors.from_dict(errors) for name, errors in record["transfer"].items()},
            autoattack=None if record["autoattack"] is None else Errors.from_dict(record["autoattack"]),
            settings=dict(record["settings"]),
        )


def _any(errors: Sequence[Errors]) -> Errors:
    return Errors(torch.stack([some.wrong for some in errors]).any(0))
