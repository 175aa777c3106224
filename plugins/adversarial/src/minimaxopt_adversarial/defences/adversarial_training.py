"""Adversarial training in rounds of attack and retraining."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from minimaxopt import Batches, Descent, solve
from minimaxopt.plugins import check_count, check_number
from minimaxopt_adversarial.attacks.attack import Attack, attack_in_batches
from minimaxopt_adversarial.attacks.single_step import fgsm
from minimaxopt_adversarial.checks import Bounds, check_images, check_labels
from minimaxopt_adversarial.defences.games import Batch, classifier_game
from minimaxopt_adversarial.losses import Loss, cross_entropy


def mixture(x: Tensor, z: Tensor, y: Tensor) -> Batch:
    """Return clean and attacked images together, one to one, as ``(images, classes)`` of 2N samples.

    Args:
        x: (N, ...) clean images.
        z: (N, ...) attacked images.
        y: (N,) their classes, int64.

    Raises:
        ArgumentError: shapes do not fit.

    Examples:
        >>> images, classes = mixture(torch.zeros(3, 2), torch.ones(3, 2), torch.tensor([0, 1, 1]))
        >>> images.shape, classes.shape
        (torch.Size([6, 2]), torch.Size([6]))

    Source: Hamm and Mehra 2018, Sec. 3.1.
    """
    check_labels(y, len(x))
    check_labels(y, len(z))
    return torch.cat([x, z]), torch.cat([y, y])


class Round(NamedTuple):
    """One round: the attack FGSMk on the previous classifier, and the classifier retrained on it (Adv FGSMk).

    Args:
        number: number ``k`` of the round, from 1.
        attacked: (N, ...) attacked training images.
        classifier: the retrained classifier.

    Examples:
        >>> Round(1, torch.zeros(3, 2), nn.Linear(2, 2)).number
        1

    Source: Hamm and Mehra 2018, Sec. 3.1.
    """

    number: int
    attacked: Tensor
    classifier: nn.Module


def adversarial_training_rounds(
    classifier: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eta: float,
    rounds: int,
    steps: int,
    batch_size: int = 128,
    bounds: Bounds = (-1.0, 1.0),
    loss: Loss = cross_entropy,
    attack: Attack | None = None,
    seed: int = 0,
    **options: Any,
) -> Iterator[Round]:
    """Alternate attack and retraining: attack the classifier, retrain it on clean and attacked images, and repeat.

    ``FGSM1 -> Adv FGSM1 -> FGSM2 -> Adv FGSM2 -> ...``: ``FGSMk`` attacks Adv FGSM(k-1) in evaluation mode, once for
    all images; Adv FGSMk starts from Adv FGSM(k-1) and is trained on the 1:1 mixture.

    Args:
        classifier: the trained classifier before the first round; it is not modified.
        x: (N, ...) training images within ``bounds``.
        y: (N,) their classes, int64.
        eta: radius of the attack in the l_inf norm, in the unit of the pixels.
        rounds: number of rounds.
        steps: training steps of a round.
        batch_size: images in a batch of the mixture.
        bounds: lowest and highest pixel.
        loss: ``loss(logits, y)``, the mean over the samples.
        attack: ``attack(classifier, x, y) -> z``; FGSM by default.
        seed: seed of batches and training; round ``k`` uses ``seed + k``.
        options: options of ``solve``, such as ``u_optimizer``.

    Returns:
        An iterator that runs one round at each step.

    Raises:
        ArgumentError: an argument cannot be used.

    Examples:
        >>> x, y = torch.rand(8, 2), torch.tensor([0, 1] * 4)
        >>> rounds = adversarial_training_rounds(nn.Linear(2, 2), x, y, eta=0.1, rounds=2, steps=3)
        >>> [done.number for done in rounds]
        [1, 2]

    Source: Hamm and Mehra 2018, Sec. 3.1.
    """
    check_number("eta", eta)
    check_count("rounds", rounds)
    check_images(x, bounds)
    check_labels(y, len(x))
    attack = partial(fgsm, eta=eta, bounds=bounds, loss=loss) if attack is None else attack
    return _rounds(classifier, x, y, rounds, steps, batch_size, loss, attack, seed, options)


def _rounds(
    classifier: nn.Module,
    x: Tensor,
    y: Tensor,
    rounds: int,
    steps: int,
    batch_size: int,
    loss: Loss,
    attack: Attack,
    seed: int,
    options: dict[str, Any],
) -> Iterator[Round]:
    for number in range(1, rounds + 1):
        training = classifier.training
        classifier.eval()
        try:
            attacked = attack_in_batches(attack, classifier, x, y)
        finally:
            classifier.train(training)
        data = Batches(mixture(x, attacked, y), batch_size, seed + number)
        solution = solve(
            classifier_game(classifier, loss=loss), Descent(), steps=steps, data=data, seed=seed + number, **options
        )
        classifier = solution.u
        yield Round(number, attacked, classifier)
