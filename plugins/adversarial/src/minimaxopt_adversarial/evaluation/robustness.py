"""A classifier under the attacks that an evaluation is expected to contain today, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from torch import Generator, Tensor

from minimaxopt_adversarial.attacks.attack import Attack, attack_in_batches, misclassified
from minimaxopt_adversarial.attacks.autoattack import autoattack, autoattack_available
from minimaxopt_adversarial.attacks.input_gradient import Classifier
from minimaxopt_adversarial.attacks.pgd import fgsm, momentum_pgd, pgd
from minimaxopt_adversarial.attacks.projections import feasible_box
from minimaxopt_adversarial.checks import (
    Bounds,
    check_batch,
    check_bounds,
    check_count,
    check_images,
    check_labels,
    check_size,
    refuse,
)
from minimaxopt_adversarial.evaluation.error_rates import Errors
from minimaxopt_adversarial.losses import LOSSES, loss_by_name

TRANSFER_STEPS = 10  # of MI-FGSM as published, of the size eta / 10
RESERVED = ("clean", "FGSM", "AutoAttack", "worst")
# An image made elsewhere may be off by rounding; what is further away was made for another eta or another range.
OUTSIDE = 1e-5


@final
@dataclass(frozen=True)
class StrongAttack:
    """An iterated gradient attack in l_inf with its settings; a call attacks.

    Args:
        name: what its column is called.
        loss: what it raises, a name in ``LOSSES``.
        steps: steps of each restart, of the size ``2.5 * eta / steps``.
        restarts: random starts; later ones are spent on images that are not fooled yet.
        decay: of the accumulated gradient (``momentum_pgd``), or None for plain steps (``pgd``).

    Raises:
        ArgumentError: a setting is out of range.

    >>> attack = StrongAttack("PGD margin", loss="margin", steps=10)
    >>> print(attack.describe())
    PGD on the margin, 10 steps of 2.5 eta / 10, 5 random starts
    >>> attack(lambda x: x, torch.zeros(1, 2), torch.tensor([0]), eta=0.25, bounds=(-1.0, 1.0))
    tensor([[-0.2500,  0.2500]])
    """

    name: str
    loss: str = "cross-entropy"
    steps: int = 40
    restarts: int = 5
    decay: float | None = None

    def __post_init__(self) -> None:
        loss_by_name(self.loss)
        check_count("steps", self.steps)
        check_count("restarts", self.restarts)
        if self.decay is not None:
            check_size("decay", self.decay)

    def __call__(
        self,
        classifier: Classifier,
        x: Tensor,
        y: Tensor,
        *,
        eta: float,
        bounds: Bounds,
        generator: Generator | None = None,
    ) -> Tensor:
        """Return the attacked images; the arguments are those of ``pgd``."""
        attack = pgd if self.decay is None else partial(momentum_pgd, decay=self.decay)
        return attack(
            classifier, x, y, eta=eta, bounds=bounds, loss=LOSSES[self.loss], steps=self.steps, restarts=self.restarts,
            skip_fooled=True, generator=generator,
        )  # fmt: skip

    def describe(self) -> str:
        """Say the settings in a line."""
        kind = "PGD" if self.decay is None else f"momentum PGD (decay {self.decay:g})"
        starts = "1 random start" if self.restarts == 1 else f"{self.restarts} random starts"
        return f"{kind} on the {self.loss}, {self.steps} steps of 2.5 eta / {self.steps}, {starts}"


def strong_attacks(*, steps: int = 40, restarts: int = 5, decay: float = 1.0) -> tuple[StrongAttack, ...]:
    """Return PGD on the cross-entropy, PGD on the logits' margin and momentum PGD, all with the same steps and restarts.

    >>> [attack.name for attack in strong_attacks()]
    ['PGD', 'PGD margin', 'momentum PGD']
    """
    return (
        StrongAttack("PGD", steps=steps, restarts=restarts),
        StrongAttack("PGD margin", loss="margin", steps=steps, restarts=restarts),
        StrongAttack("momentum PGD", steps=steps, restarts=restarts, decay=decay),
    )


@final
@dataclass(frozen=True, eq=False)
class RobustnessEvaluation:
    """Which images each attack of size ``eta`` fools; what ``evaluate_robustness`` returns.

    Args:
        eta, bounds, seed: as given.
        clean: errors without an attack.
        fgsm: errors under FGSM.
        attacks: errors under each iterated attack, by its name.
        transfer: errors on images made against another classifier, by the name given.
        autoattack: errors under AutoAttack, on the first images alone; None if it was not run.
        settings: what each column is, in a line.
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
        """The images."""
        return self.clean.count

    @property
    def iterated(self) -> Errors | None:
        """The worst for each image over the iterated white-box attacks; None if there was none."""
        return _any(list(self.attacks.values())) if self.attacks else None

    @property
    def worst(self) -> Errors:
        """The worst for each image: it counts as soon as any attack fools it, or the classifier errs without one.

        AutoAttack takes part on the images on which it was run; on the others its contribution is unknown, so that this
        rate is a lower bound on what it would be with AutoAttack on all.
        """
        worst = _any([self.clean, self.fgsm, *self.attacks.values(), *self.transfer.values()]).wrong
        if self.autoattack is not None:
            covered = self.autoattack.count
            worst = torch.cat([worst[:covered] | self.autoattack.wrong, worst[covered:]])
        return Errors(worst)

    @property
    def worst_covered(self) -> Errors | None:
        """The same on the images on which AutoAttack was run alone; None if it was not."""
        return None if self.autoattack is None else self.worst.first(self.autoattack.count)

    def columns(self) -> dict[str, Errors]:
        """Return the errors by column: clean, FGSM, the iterated attacks, transfer, AutoAttack (if run), worst."""
        columns = {"clean": self.clean, "FGSM": self.fgsm, **self.attacks}
        columns |= {f"transfer from {name}": errors for name, errors in self.transfer.items()}
        if self.autoattack is not None:
            columns["AutoAttack"] = self.autoattack
        return columns | {"worst": self.worst}

    def to_dict(self) -> dict[str, Any]:
        """Return what ``from_dict`` takes: numbers, strings, lists and dicts alone."""
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
        """Return the evaluation of a record."""
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

    ``worst_i = max_a [argmax g(a(x_i)) != y_i]`` over all attacks ``a`` and the clean image. Every rate is a lower bound
    on the error at the worst image within ``eta``; the intervals tell about the choice of the images, not about attacks
    that were not tried.

    Args:
        classifier: images (N, ...) to logits (N, classes). It runs in the mode in which it is given.
        x: images within ``bounds``, float32 or float64.
        y: (N,) true classes.
        eta: radius in the l_inf norm, in the units of the pixels.
        bounds: lowest and highest pixel.
        attacks: the iterated attacks; those of ``strong_attacks()`` by default.
        transfer: by name, images within ``eta`` of ``x`` that were made against another classifier, or that classifier:
            then MI-FGSM as published (``momentum_pgd``) makes them. The choice does not look at ``classifier``.
        autoattack_images: the first of the images, on which AutoAttack runs too (at most all); 0 leaves it out.
        autoattack_steps, autoattack_queries: ``steps`` and ``queries`` of ``autoattack``.
        seed: decides the random starts (with ``batch_size``).
        batch_size: images attacked together.

    Raises:
        ArgumentError: an argument is out of range, an image of ``transfer`` is further away than ``eta``, names
            are used twice, or AutoAttack is asked for and torchattacks is not installed.

    >>> x, y = torch.tensor([[0.3, 0.0], [0.9, 0.0], [0.0, 0.1]]), torch.tensor([0, 0, 0])
    >>> found = evaluate_robustness(lambda x: x, x, y, eta=0.25, autoattack_images=0)
    >>> [(name, round(errors.rate, 2)) for name, errors in found.columns().items()]  # doctest: +NORMALIZE_WHITESPACE
    [('clean', 0.33), ('FGSM', 0.67), ('PGD', 0.67), ('PGD margin', 0.67), ('momentum PGD', 0.67), ('worst', 0.67)]
    """
    eta, bounds = check_size("eta", eta), check_bounds(bounds)
    check_images(x, bounds)
    check_labels(y, len(x))
    attacks = strong_attacks() if attacks is None else tuple(attacks)
    transfer = {} if transfer is None else transfer
    _check_names([attack.name for attack in attacks], list(transfer))
    covered = min(check_count("autoattack_images", autoattack_images), len(x)) if autoattack_images else 0
    if covered and not autoattack_available():
        raise refuse(
            "autoattack_images",
            "torchattacks is not installed",
            "run pip install 'minimaxopt-adversarial[autoattack]', or give 0",
        )

    def errors(images: Tensor, count: int = len(x)) -> Errors:
        return Errors(misclassified(classifier, images, y[:count], batch_size=batch_size))

    def attacked(attack: Attack, source: Classifier = classifier) -> Errors:
        return errors(attack_in_batches(attack, source, x, y, batch_size=batch_size))

    clean, single = errors(x), attacked(partial(fgsm, eta=eta, bounds=bounds))
    settings = {"clean": "no attack", "FGSM": "one signed step of eta"}
    # AutoAttack first: what it cannot use should not be found out after everything else has run.
    ensemble = None
    if covered:
        settings["AutoAttack"] = (
            f"standard AutoAttack on the first {covered} images, {autoattack_steps} steps, {autoattack_queries} queries"
        )
        found = autoattack(
            classifier, x[:covered], y[:covered], eta=eta, bounds=bounds, steps=autoattack_steps,
            queries=autoattack_queries, seed=seed, batch_size=batch_size,
        )  # fmt: skip
        ensemble = errors(found, covered)
    iterated: dict[str, Errors] = {}
    for index, attack in enumerate(attacks):
        generator = Generator().manual_seed(seed + index)  # on the CPU, so that a device does not change the starts
        iterated[attack.name] = attacked(partial(attack, eta=eta, bounds=bounds, generator=generator))
        settings[attack.name] = attack.describe()
    elsewhere: dict[str, Errors] = {}
    published = partial(
        momentum_pgd, eta=eta, bounds=bounds, steps=TRANSFER_STEPS, step_size=eta / TRANSFER_STEPS if eta else None,
        random_start=False, keep_clean=False,
    )  # fmt: skip
    for name, source in transfer.items():
        if isinstance(source, Tensor):
            elsewhere[name] = errors(_within(source, x, eta, bounds, name))
            settings[f"transfer from {name}"] = "images made against another classifier"
        else:
            elsewhere[name] = attacked(published, source)
            settings[f"transfer from {name}"] = f"MI-FGSM, {TRANSFER_STEPS} steps of eta / {TRANSFER_STEPS}, made there"
    return RobustnessEvaluation(eta, bounds, seed, clean, single, iterated, elsewhere, ensemble, settings)


def _any(errors: Sequence[Errors]) -> Errors:
    return Errors(torch.stack([some.wrong for some in errors]).any(0))


def _check_names(attacks: Sequence[str], transfer: Sequence[str]) -> None:
    columns = [*attacks, *(f"transfer from {name}" for name in transfer)]
    taken = sorted({name for name in columns if columns.count(name) > 1 or name in RESERVED})
    if taken:
        raise refuse("attacks", f"the name {taken[0]!r} is used twice", "give each attack a name of its own")


def _within(z: Tensor, x: Tensor, eta: float, bounds: Bounds, name: str) -> Tensor:
    argument = f"transfer[{name!r}]"
    if check_batch(z, name=argument).shape != x.shape:
        raise refuse(argument, f"its shape is {tuple(z.shape)} beside {tuple(x.shape)}", "attack the same images")
    z = z.detach().to(x)
    lower, upper = feasible_box(x, eta, bounds)
    inside = z.clamp(lower, upper)
    # A distance of NaN is not within either.
    if not bool((z - inside).abs().max() <= OUTSIDE * (bounds[1] - bounds[0])):
        raise refuse(
            argument, f"some pixels are outside the bounds or further than {eta:g} from x", "clip them to both"
        )
    return inside
