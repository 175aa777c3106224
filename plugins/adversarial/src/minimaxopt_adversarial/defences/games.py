"""Defences as games: the classifier leads, the attack follows.

A batch is ``(x, y)``: images of shape (N, ...) and their classes (N,). Which defence a game becomes is the solver's
choice:

=====================  ===========================================  =========================================
defence                game                                         solver
=====================  ===========================================  =========================================
none                   ``classifier_game``                          ``Descent()``
adversarial training   ``classifier_game`` on ``mixture`` data      ``Descent()``
LWA                    ``gradient_game``                            ``Descent()``
Minimax-Grad           ``gradient_game``                            ``Sensitivity(gamma=eta, per_sample=True)``
Minimax-AttNet         ``attnet_game``                              ``Sensitivity(gamma=1.0)``
Alt-AttNet             ``attnet_game``                              ``AlternatingGDA()``
Unrolled-AttNet        ``attnet_game``                              ``Unrolled(steps=5)``
Maximin-AttNet         ``attnet_game``, ``order="maximin"``         ``Sensitivity(gamma=1.0)``
attack network alone   ``attnet_game``                              ``Ascent()``
=====================  ===========================================  =========================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimaxopt import Batches, Descent, Game, solve
from minimaxopt_adversarial.attacks.attack import Attack, attack_in_batches
from minimaxopt_adversarial.attacks.pgd import fgsm
from minimaxopt_adversarial.checks import Bounds, check_bounds, check_count, check_images, check_labels, check_size
from minimaxopt_adversarial.losses import Loss

Batch: TypeAlias = tuple[Tensor, Tensor]


def classifier_game(classifier: nn.Module, *, loss: Loss = F.cross_entropy) -> Game:
    """Return the game of a classifier alone: ordinary training.

    ``min_u (1/N) sum_i l(g(x_i; u), y_i)``

    Args:
        classifier: images (N, ...) to logits (N, classes).
        loss: ``loss(logits, y)``, the mean over the samples.

    Examples:
        >>> game = classifier_game(nn.Linear(2, 2))
        >>> game.f(game.u, None, (torch.zeros(1, 2), torch.tensor([0]))).shape
        torch.Size([])

    Source: Hamm and Mehra 2018, Sec. 3.1 ("No defense").
    """

    def risk(u: nn.Module, v: None, batch: Batch) -> Tensor:
        x, y = batch
        return loss(u(x), y)

    return Game(risk, u=classifier, v=None)


def gradient_game(
    classifier: nn.Module,
    *,
    eta: float,
    bounds: Bounds = (-1.0, 1.0),
    loss: Loss = F.cross_entropy,
    attack: Callable[..., Tensor] = fgsm,
) -> Game:
    """Return the game of a classifier against a gradient attack that responds to it afresh at each step.

    ``min_u f(u, Z(u))`` with ``f(u, Z) = (1/N) sum_i l(g(z_i; u), y_i)`` (Eq. 2), ``Z(u)`` the attack on ``u``

    ``Descent()`` takes the attack as given (LWA). ``Sensitivity(gamma=eta, per_sample=True)`` anticipates it and
    descends ``f(u, Z) + (eta / 2N) sum_i ||grad_z l(g(z_i; u), y_i)||^2`` (Eq. 8), which is Minimax-Grad.

    Args:
        classifier: images (N, ...) to logits (N, classes). The attack sees it in the mode in which it trains.
        eta: the attack's size, in the unit of the pixels.
        bounds: lowest and highest pixel.
        loss: ``loss(logits, y)``, the mean over the samples.
        attack: ``attack(classifier, x, y, eta=, bounds=, loss=) -> z``: ``fgsm``, ``gradient_step``, or
            ``partial(pgd, steps=10)``.

    Raises:
        ArgumentError: ``eta`` is negative or ``bounds`` are no interval.

    Examples:
        >>> game = gradient_game(nn.Linear(2, 2), eta=0.1)
        >>> game.v(game.f, game.u, (torch.zeros(1, 2), torch.tensor([0]))).abs().max()
        tensor(0.1000)

    Source: Hamm and Mehra 2018, Eqs. 2-8.
    """
    check_size("eta", eta)
    check_bounds(bounds)

    def risk(u: nn.Module, z: Tensor, batch: Batch) -> Tensor:
        return loss(u(z), batch[1])

    def respond(f: Callable[..., Tensor], u: nn.Module, batch: Batch) -> Tensor:
        x, y = batch
        return attack(u, x, y, eta=eta, bounds=bounds, loss=loss)

    return Game(risk, u=classifier, v=respond)


def attnet_game(classifier: nn.Module, attacker: nn.Module, *, loss: Loss = F.cross_entropy) -> Game:
    """Return the game of a classifier against an attack network.

    ``min_u max_v (1/N) sum_i l(g(z(x_i, y_i; v); u), y_i)``

    Args:
        classifier: the leader, images to logits (N, classes).
        attacker: the follower, ``attacker(x, y) -> z``, such as ``AttackNetwork(eta=0.2)``.
        loss: ``loss(logits, y)``, the mean over the samples; ``margin_loss`` teaches an attacker faster.

    Examples:
        >>> from minimaxopt_adversarial import AttackNetwork
        >>> classifier = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> game = attnet_game(classifier, AttackNetwork(shape=(1, 2, 2), eta=0.1, classes=2))
        >>> game.f(game.u, game.v, (torch.zeros(3, 1, 2, 2), torch.tensor([0, 1, 0]))).shape
        torch.Size([])

    Source: Hamm and Mehra 2018, Sec. 4.
    """

    def risk(u: nn.Module, v: nn.Module, batch: Batch) -> Tensor:
        x, y = batch
        return loss(u(v(x, y)), y)

    return Game(risk, u=classifier, v=attacker)


def mixture(x: Tensor, z: Tensor, y: Tensor) -> Batch:
    """Return clean and attacked images together, one to one, as ``(images, classes)`` of 2N samples.

    Raises:
        ArgumentError: shapes do not fit.

    Source: Hamm and Mehra 2018, Sec. 3.1.
    """
    check_labels(y, len(x))
    check_labels(y, len(z))
    return torch.cat([x, z]), torch.cat([y, y])


class Round(NamedTuple):
    """A round of cat and mouse: the attack FGSMk on the previous classifier, and the classifier retrained on it (Adv
    FGSMk)."""

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
    loss: Loss = F.cross_entropy,
    attack: Attack | None = None,
    seed: int = 0,
    **options: Any,
) -> Iterator[Round]:
    """Play cat and mouse: attack the current classifier, retrain it on clean and attacked images, and so on.

    ``FGSM1 -> Adv FGSM1 -> FGSM2 -> Adv FGSM2 -> ...``: ``FGSMk`` is made on Adv FGSM(k-1) in evaluation mode, once
    for all images; Adv FGSMk starts from Adv FGSM(k-1) and is trained on the 1:1 mixture.

    Args:
        classifier: the classifier before the first round (trained); it is not modified.
        x: training images within ``bounds``.
        y: their classes.
        eta: the attack's size, in the unit of the pixels.
        rounds: how many.
        steps: training steps of a round.
        batch_size: images in a batch of the mixture.
        bounds: lowest and highest pixel.
        loss: ``loss(logits, y)``.
        attack: another attack than FGSM, ``attack(classifier, x, y) -> z``.
        seed: of batches and training; round ``k`` uses ``seed + k``.
        options: for ``solve``, such as ``u_optimizer``.

    Raises:
        ArgumentError: an argument cannot be used.

    Source: Hamm and Mehra 2018, Sec. 3.1.
    """
    check_size("eta", eta)
    check_count("rounds", rounds)
    check_images(x, bounds)
    check_labels(y, len(x))
    strike = partial(fgsm, eta=eta, bounds=bounds, loss=loss) if attack is None else attack
    return _rounds(classifier, x, y, rounds, steps, batch_size, loss, strike, seed, options)


def _rounds(
    classifier: nn.Module,
    x: Tensor,
    y: Tensor,
    rounds: int,
    steps: int,
    batch_size: int,
    loss: Loss,
    strike: Attack,
    seed: int,
    options: dict[str, Any],
) -> Iterator[Round]:
    for number in range(1, rounds + 1):
        training = classifier.training
        classifier.eval()
        try:
            attacked = attack_in_batches(strike, classifier, x, y)
        finally:
            classifier.train(training)
        data = Batches(mixture(x, attacked, y), batch_size, seed + number)
        solution = solve(
            classifier_game(classifier, loss=loss), Descent(), steps=steps, data=data, seed=seed + number, **options
        )
        classifier = solution.u
        yield Round(number, attacked, classifier)
