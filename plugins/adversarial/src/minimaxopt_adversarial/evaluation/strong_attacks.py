"""The iterated attacks that an evaluation of robustness contains, with their settings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import final

from torch import Generator, Tensor

from minimaxopt.plugins import check_count, check_number
from minimaxopt_adversarial.attacks.classifier import Classifier
from minimaxopt_adversarial.attacks.pgd import momentum_pgd, pgd
from minimaxopt_adversarial.checks import Bounds
from minimaxopt_adversarial.losses import LOSSES, loss_by_name


@final
@dataclass(frozen=True)
class StrongAttack:
    """An iterated gradient attack in l_inf with its settings; calling it attacks images.

    Args:
        name: name of its column.
        loss: loss that it raises, a name in ``LOSSES``.
        steps: steps of each restart, of the size ``2.5 * eta / steps``.
        restarts: random starts; later ones are spent on images that are not fooled yet.
        decay: share of the accumulated gradient that is kept (``momentum_pgd``), or None for plain steps (``pgd``).

    Raises:
        ArgumentError: a setting is out of range.

    Examples:
        >>> import torch
        >>> attack = StrongAttack("PGD margin", loss="margin", steps=10)
        >>> print(attack.describe())
        PGD on the margin, 10 steps of 2.5 eta / 10, 5 random starts
        >>> attack(lambda x: x, torch.zeros(1, 2), torch.tensor([0]), eta=0.25, bounds=(-1.0, 1.0))
        tensor([[-0.2500,  0.2500]])

    Source: Madry, Makelov, Schmidt, Tsipras and Vladu 2017 for plain steps; Dong et al. 2018 for momentum.
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
            check_number("decay", self.decay)

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
        """Return the settings as one line of text."""
        kind = "PGD" if self.decay is None else f"momentum PGD (decay {self.decay:g})"
        starts = "1 random start" if self.restarts == 1 else f"{self.restarts} random starts"
        return f"{kind} on the {self.loss}, {self.steps} steps of 2.5 eta / {self.steps}, {starts}"


def strong_attacks(*, steps: int = 40, restarts: int = 5, decay: float = 1.0) -> tuple[StrongAttack, ...]:
    """Return PGD on the cross-entropy, PGD on the logits' margin and momentum PGD, with the same steps and restarts.

    Args:
        steps: steps of each restart, >= 1.
        restarts: random starts, >= 1.
        decay: share of the accumulated gradient that momentum PGD keeps, >= 0.

    Raises:
        ArgumentError: a setting is out of range.

    Examples:
        >>> [attack.name for attack in strong_attacks()]
        ['PGD', 'PGD margin', 'momentum PGD']

    Source: Madry, Makelov, Schmidt, Tsipras and Vladu 2017 for plain steps; Dong et al. 2018 for momentum; Carlini and
    Wagner 2017 for the margin.
    """
    return (
        StrongAttack("PGD", steps=steps, restarts=restarts),
        StrongAttack("PGD margin", loss="margin", steps=steps, restarts=restarts),
        StrongAttack("momentum PGD", steps=steps, restarts=restarts, decay=decay),
    )
