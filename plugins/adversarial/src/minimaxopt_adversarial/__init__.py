"""Attacks and minimax defences for classifiers: a plugin of minimaxopt."""

from minimaxopt_adversarial.attacks.attack import Attack, attack_in_batches, error_rate, misclassified, worst_of
from minimaxopt_adversarial.attacks.autoattack import autoattack, autoattack_available
from minimaxopt_adversarial.attacks.input_gradient import Classifier
from minimaxopt_adversarial.attacks.pgd import fgsm, gradient_step, ifgsm, momentum_pgd, pgd
from minimaxopt_adversarial.attacks.projections import feasible_box
from minimaxopt_adversarial.checks import Bounds, check_images
from minimaxopt_adversarial.datasets.cifar10 import Cifar10, load_cifar10
from minimaxopt_adversarial.datasets.mnist import Dataset, fingerprint, load_mnist
from minimaxopt_adversarial.defences.games import (
    Round,
    adversarial_training_rounds,
    attnet_game,
    classifier_game,
    gradient_game,
    mixture,
)
from minimaxopt_adversarial.evaluation.error_rates import Errors, wilson
from minimaxopt_adversarial.evaluation.gradient_masking import EtaSweep, MaskingFlag, eta_sweep, masking_flags
from minimaxopt_adversarial.evaluation.robustness import (
    RobustnessEvaluation,
    StrongAttack,
    evaluate_robustness,
    strong_attacks,
)
from minimaxopt_adversarial.losses import LOSSES, Loss, cross_entropy, loss_by_name, margin_loss
from minimaxopt_adversarial.networks.attack_network import AttackNetwork
from minimaxopt_adversarial.networks.cifar_classifier import CifarCNN
from minimaxopt_adversarial.networks.classifiers import MnistCNN, small_cnn

__all__ = [
    "LOSSES",
    "Attack",
    "AttackNetwork",
    "Bounds",
    "Cifar10",
    "CifarCNN",
    "Classifier",
    "Dataset",
    "Errors",
    "EtaSweep",
    "Loss",
    "MaskingFlag",
    "MnistCNN",
    "RobustnessEvaluation",
    "Round",
    "StrongAttack",
    "adversarial_training_rounds",
    "attack_in_batches",
    "attnet_game",
    "autoattack",
    "autoattack_available",
    "check_images",
    "classifier_game",
    "cross_entropy",
    "error_rate",
    "eta_sweep",
    "evaluate_robustness",
    "feasible_box",
    "fgsm",
    "fingerprint",
    "gradient_game",
    "gradient_step",
    "ifgsm",
    "load_cifar10",
    "load_mnist",
    "loss_by_name",
    "margin_loss",
    "masking_flags",
    "misclassified",
    "mixture",
    "momentum_pgd",
    "pgd",
    "small_cnn",
    "strong_attacks",
    "wilson",
    "worst_of",
]
