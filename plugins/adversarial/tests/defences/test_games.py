"""The defences' games: their gradients by hand, their rounds, and what they refuse."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from minimaxopt import AlternatingGDA, Ascent, Batches, Descent, Sensitivity, Unrolled, solve
from minimaxopt.errors import ArgumentError
from minimaxopt_adversarial import (
    AttackNetwork,
    adversarial_training_rounds,
    attnet_game,
    classifier_game,
    error_rate,
    fgsm,
    gradient_game,
    gradient_step,
    mixture,
)

EXACT = 1e-10
ETA = 0.2
CLASSES, PIXELS = 3, 5


def softmax_regression() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(PIXELS, CLASSES).double()


def digits(n: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(n, PIXELS, generator=generator, dtype=torch.float64) * 1.6 - 0.8
    return x, torch.randint(0, CLASSES, (n,), generator=generator)


def eq8_by_hand(
    W: np.ndarray, b: np.ndarray, z: np.ndarray, y: np.ndarray, eta: float
) -> tuple[np.ndarray, np.ndarray]:
    """Derive grad of ``(1/N) sum_i l(z_i) + (eta / 2N) sum_i ||grad_z l(z_i)||^2`` for softmax regression.

    With ``p = softmax(W z + b)`` and ``r = p - e_y``: ``grad_z l = W' r``, so that the penalty is ``||W' r||^2``, whose
    gradient is ``2 r (W' r)'`` through W directly, and ``J W (W' r)`` through the logits, where ``J = diag(p) - p p'``.
    """
    n = len(z)
    dW, db = np.zeros_like(W), np.zeros_like(b)
    for zi, yi in zip(z, y, strict=True):
        logits = W @ zi + b
        p = np.exp(logits - logits.max())
        p /= p.sum()
        r = p - np.eye(len(b))[yi]
        slope = W.T @ r
        through = (np.diag(p) - np.outer(p, p)) @ (W @ slope)
        dW += (np.outer(r, zi) + eta * (np.outer(r, slope) + np.outer(through, zi))) / n
        db += (r + eta * through) / n
    return dW, db


def test_minimax_grad_descends_equation_8() -> None:
    classifier = softmax_regression()
    x, y = digits()
    rate = 0.1
    solution = solve(
        gradient_game(classifier, eta=ETA),
        Sensitivity(gamma=ETA, per_sample=True),
        steps=1,
        data=[(x, y)],
        u_optimizer=partial(torch.optim.SGD, lr=rate),
    )
    z = fgsm(classifier, x, y, eta=ETA).numpy()
    W, b = classifier.weight.detach().numpy(), classifier.bias.detach().numpy()
    dW, db = eq8_by_hand(W, b, z, y.numpy(), ETA)
    np.testing.assert_allclose((W - solution.u.weight.detach().numpy()) / rate, dW, atol=EXACT)
    np.testing.assert_allclose((b - solution.u.bias.detach().numpy()) / rate, db, atol=EXACT)
    without, _ = eq8_by_hand(W, b, z, y.numpy(), 0.0)
    assert np.abs(dW - without).max() > 1e-3  # the penalty is not lost in the tolerance


def test_lwa_descends_the_risk_of_the_attacked_images_alone() -> None:
    classifier = softmax_regression()
    x, y = digits()
    solution = solve(
        gradient_game(classifier, eta=ETA),
        Descent(),
        steps=1,
        data=[(x, y)],
        u_optimizer=partial(torch.optim.SGD, lr=0.1),
    )
    z = fgsm(classifier, x, y, eta=ETA).numpy()
    W, b = classifier.weight.detach().numpy(), classifier.bias.detach().numpy()
    dW, _ = eq8_by_hand(W, b, z, y.numpy(), 0.0)
    np.testing.assert_allclose((W - solution.u.weight.detach().numpy()) / 0.1, dW, atol=EXACT)


def test_the_gradient_game_takes_other_attacks() -> None:
    classifier = softmax_regression()
    x, y = digits()
    game = gradient_game(classifier, eta=ETA, attack=gradient_step)
    z = game.v(game.f, classifier, (x, y))
    assert torch.equal(z, gradient_step(classifier, x, y, eta=ETA))
    assert not torch.equal(z, fgsm(classifier, x, y, eta=ETA))


@pytest.mark.parametrize(
    ("solver", "order"),
    [
        (Sensitivity(), "minimax"),
        (AlternatingGDA(), "minimax"),
        (Sensitivity(), "maximin"),
        (Unrolled(steps=2, inner_lr=0.1), "minimax"),
    ],
    ids=["Minimax-AttNet", "Alt-AttNet", "Maximin-AttNet", "Unrolled-AttNet"],
)
def test_attnet_games_move_both_players_and_keep_the_perturbation_small(solver: object, order: str) -> None:
    torch.manual_seed(0)
    classifier, attacker = nn.Linear(PIXELS, CLASSES), AttackNetwork(ETA, shape=(PIXELS,), classes=CLASSES, hidden=(8,))
    x, y = (t.float() if t.is_floating_point() else t for t in digits(12))
    game, data = attnet_game(classifier, attacker), Batches((x, y), 6)
    solution = solve(game, solver, order=order, steps=5, data=data)  # type: ignore[arg-type]
    assert not torch.equal(solution.u.weight, classifier.weight)
    moved = [not torch.equal(a, b) for a, b in zip(solution.v.parameters(), attacker.parameters(), strict=True)]
    assert all(moved)
    assert bool(((solution.v(x, y) - x).abs() <= ETA).all())


def test_ascent_raises_the_risk_and_leaves_the_classifier() -> None:
    torch.manual_seed(0)
    classifier = nn.Linear(PIXELS, 2)
    attacker = AttackNetwork(ETA, shape=(PIXELS,), classes=2, hidden=(32,), dropout=0.0)
    x, y = digits(12)[0].float(), torch.arange(12) % 2
    adam = partial(torch.optim.Adam, lr=3e-3)
    solution = solve(attnet_game(classifier, attacker), Ascent(), steps=300, data=[(x, y)], v_optimizer=adam)
    assert torch.equal(solution.u.weight, classifier.weight)
    # On a linear classifier of two classes FGSM is the strongest attack of its size, sample by sample: an exact bound.
    images = (x, fgsm(classifier, x, y, eta=ETA), solution.v.eval()(x, y))
    clean, bound, reached = (nn.functional.cross_entropy(classifier(z), y).item() for z in images)
    assert clean + 0.9 * (bound - clean) < reached <= bound + 1e-6


def test_rounds_attack_the_classifier_before_and_retrain_on_the_mixture() -> None:
    classifier = softmax_regression().float()
    x, y = (t.float() if t.is_floating_point() else t for t in digits(60))
    before = {name: t.clone() for name, t in classifier.state_dict().items()}
    adam = partial(torch.optim.Adam, lr=1e-2)
    rounds = list(
        adversarial_training_rounds(classifier, x, y, eta=ETA, rounds=3, steps=40, batch_size=30, u_optimizer=adam)
    )
    assert [done.number for done in rounds] == [1, 2, 3]
    assert all(torch.equal(before[name], t) for name, t in classifier.state_dict().items())
    assert torch.equal(rounds[0].attacked, fgsm(classifier, x, y, eta=ETA))
    assert torch.equal(rounds[2].attacked, fgsm(rounds[1].classifier, x, y, eta=ETA))
    # By hand: the first round is ordinary training on clean and attacked images together.
    data = Batches(mixture(x, rounds[0].attacked, y), 30, 1)
    by_hand = solve(classifier_game(classifier), Descent(), steps=40, data=data, seed=1, u_optimizer=adam)
    assert torch.equal(by_hand.u.weight, rounds[0].classifier.weight)


def test_mixture_is_one_to_one() -> None:
    x, y = digits(4)
    images, labels = mixture(x, x + 0.1, y)
    assert torch.equal(images[:4], x)
    assert torch.equal(images[4:], x + 0.1)
    assert torch.equal(labels, torch.cat([y, y]))
    with pytest.raises(ArgumentError, match="y: its shape"):
        mixture(x, x[:2], y)


def test_what_the_games_refuse() -> None:
    classifier = softmax_regression()
    x, y = digits()
    with pytest.raises(ArgumentError, match=r"eta: it is -0\.1"):
        gradient_game(classifier, eta=-0.1)
    with pytest.raises(ArgumentError, match="bounds: "):
        gradient_game(classifier, eta=0.1, bounds=(1.0, -1.0))
    with pytest.raises(ArgumentError, match="outside the bounds"):
        adversarial_training_rounds(classifier, x * 100, y, eta=0.1, rounds=1, steps=1)
    with pytest.raises(ArgumentError, match="the follower is a function of the leader"):
        solve(gradient_game(classifier, eta=0.1), order="maximin", steps=1, data=[(x, y)])
    assert error_rate(classifier.eval(), x, y) <= 1.0
