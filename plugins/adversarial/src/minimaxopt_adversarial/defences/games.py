"""Defences as games: the classifier leads, the attack follows.

A batch is ``(x, y)``: images (N, ...) and their classes (N,). The solver decides which defence a game becomes:

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

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor, nn

from minimaxopt import Game
from minimaxopt.plugins import check_number
from minimaxopt_adversarial.attacks.single_step import fgsm
from minimaxopt_adversarial.checks import Bounds, check_bounds
from minimaxopt_adversarial.losses import Loss, cross_entropy

Batch: TypeAlias = tuple[Tensor, Tensor]
"""``(x, y)``: images (N, ...) and their classes (N,), int64."""


def classifier_game(classifier: nn.Module, *, loss: Loss = cross_entropy) -> Game:
    """Return the game of a classifier alone: ordinary training.

    ``min_u (1/N) sum_i l(g(x_i; u), y_i)``

    Args:
        classifier: images (N, ...) to logits (N, classes).
        loss: ``loss(logits, y)``, the mean over the samples.

    Raises:
        ArgumentError: ``classifier`` is neither a module nor a tensor.

    Examples:
        >>> import torch
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
    loss: Loss = cross_entropy,
    attack: Callable[..., Tensor] = fgsm,
) -> Game:
    """Return the game of a classifier against a gradient attack that is recomputed at each step.

    ``min_u f(u, Z(u))`` with ``f(u, Z) = (1/N) sum_i l(g(z_i; u), y_i)`` (Eq. 2), ``Z(u)`` the attack on ``u``

    ``Descent()`` treats the attack as constant (LWA). ``Sensitivity(gamma=eta, per_sample=True)`` anticipates it and
    descends ``f(u, Z) + (eta / 2N) sum_i ||grad_z l(g(z_i; u), y_i)||^2`` (Eq. 8), which is Minimax-Grad.

    Args:
        classifier: images (N, ...) to logits (N, classes). The attack sees it in the mode in which it trains.
        eta: radius of the attack in the l_inf norm, in the unit of the pixels.
        bounds: lowest and highest pixel.
        loss: ``loss(logits, y)``, the mean over the samples.
        attack: ``attack(classifier, x, y, eta=, bounds=, loss=) -> z``: ``fgsm``, ``gradient_step``, or
            ``partial(pgd, steps=10)``.

    Raises:
        ArgumentError: ``eta`` is negative or ``bounds`` are no interval.

    Examples:
        >>> import torch
        >>> game = gradient_game(nn.Linear(2, 2), eta=0.1)
        >>> game.v(game.f, game.u, (torch.zeros(1, 2), torch.tensor([0]))).abs().max()
        tensor(0.1000)

    Source: Hamm and Mehra 2018, Eqs. 2-8.
    """
    check_number("eta", eta)
    check_bounds(bounds)

    def risk(u: nn.Module, z: Tensor, batch: Batch) -> Tensor:
        return loss(u(z), batch[1])

    def respond(f: Callable[..., Tensor], u: nn.Module, batch: Batch) -> Tensor:
        x, y = batch
        # The core puts the buffers back, and the mode is the one in which the classifier trains.
        return attack(u, x, y, eta=eta, bounds=bounds, loss=loss)

    return Game(risk, u=classifier, v=respond)


def attnet_game(classifier: nn.Module, attacker: nn.Module, *, loss: Loss = cross_entropy) -> Game:
    """Return the game of a classifier against an attack network.

    ``min_u max_v (1/N) sum_i l(g(z(x_i, y_i; v); u), y_i)``

    Args:
        classifier: the leader, images to logits (N, classes).
        attacker: the follower, ``attacker(x, y) -> z``, such as ``AttackNetwork(eta=0.2)``.
        loss: ``loss(logits, y)``, the mean over the samples; ``margin_loss`` teaches an attacker faster.

    Raises:
        ArgumentError: a player is neither a module nor a tensor, or both share a tensor.

    Examples:
        >>> import torch
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
