"""Attacks and minimax defences for classifiers: a plugin of minimaxopt."""

from minimaxopt_adversarial.attacks.attack import Attack, attack_in_batches, worst_of
from minimaxopt_adversarial.attacks.autoattack import autoattack, autoattack_available
from minimaxopt_adversarial.attacks.classifier import Classifier
from minimaxopt_adversarial.attacks.pgd import ifgsm, momentum_pgd, pgd
from minimaxopt_adversarial.attacks.projections import feasible_box
from minimaxopt_adversarial.attacks.single_step import fgsm, gradient_step
from minimaxopt_adversarial.checks import Bounds, check_images
from minimaxopt_adversarial.datasets.cifar10 import Cifar10, load_cifar10
from minimaxopt_adversarial.datasets.dataset import Dataset, fingerprint
from minimaxopt_adversarial.datasets.mnist import load_mnist
from minimaxopt_adversarial.defences.adversarial_training import Round, adversarial_training_rounds, mixture
from minimaxopt_adversarial.defences.games import attnet_game, classifier_game, gradient_game
from minimaxopt_adversarial.evaluation.error_rates import Errors, error_rate, misclassified, wilson
from minimaxopt_adversarial.evaluation.eta_sweep import EtaSweep, eta_sweep
from minimaxopt_adversarial.evaluation.gradient_masking import MaskingFlag, masking_flags
from minimaxopt_adversarial.evaluation.robustness import evaluate_robustness
from minimaxopt_adversarial.evaluation.robustness_evaluation import RobustnessEvaluation
from minimaxopt_adversarial.evaluation.strong_attacks import StrongAttack, strong_attacks
from minimaxopt_adversarial.losses import LOSSES, Loss, cross_entropy, loss_by_name, margin_loss
from minimaxopt_adversarial.networks.attack_network import AttackNetwork
from minimaxopt_adversarial.networks.classifiers import CifarCNN, MnistCNN, small_cnn
from minimaxopt_adversarial.networks.normalized import NormalizedClassifier

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
    "NormalizedClassifier",
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
