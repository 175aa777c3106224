"""Minimax filters for privacy: a plugin of minimaxopt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minimaxopt_privacy.game.filters import NoisyFilter, build_filter, conv_filter, linear_filter, mlp_filter
from minimaxopt_privacy.game.prediction_heads import PredictionHead, Task, task_loss
from minimaxopt_privacy.game.risk import PrivacyRisk, privacy_game, privacy_risk
from minimaxopt_privacy.problems import digits_privacy_filter, genki_privacy_filter, mnist_privacy_filter

if TYPE_CHECKING:
    from minimaxopt_privacy.datasets import PrivacyData
    from minimaxopt_privacy.estimators.baselines import (
        DiscriminativeDirection,
        PCAFilter,
        PrivateLDA,
        PrivatePLS,
        RandomFilter,
    )
    from minimaxopt_privacy.estimators.mechanisms import (
        GaussianMechanism,
        LaplaceMechanism,
        gaussian_scale,
        laplace_scale,
    )
    from minimaxopt_privacy.estimators.minimax_filter import MinimaxFilter
    from minimaxopt_privacy.evaluation.curve import Curve
    from minimaxopt_privacy.evaluation.evaluate import evaluate_filter
    from minimaxopt_privacy.evaluation.scores import Evaluation, Reading, Score
    from minimaxopt_privacy.evaluation.tradeoff import tradeoff

# scikit-learn takes seconds to import, and the host imports this package whatever command is run.
_LATE = {
    "Curve": "evaluation.curve",
    "DiscriminativeDirection": "estimators.baselines",
    "Evaluation": "evaluation.scores",
    "GaussianMechanism": "estimators.mechanisms",
    "LaplaceMechanism": "estimators.mechanisms",
    "MinimaxFilter": "estimators.minimax_filter",
    "PCAFilter": "estimators.baselines",
    "PrivacyData": "datasets",
    "PrivateLDA": "estimators.baselines",
    "PrivatePLS": "estimators.baselines",
    "RandomFilter": "estimators.baselines",
    "Reading": "evaluation.scores",
    "Score": "evaluation.scores",
    "evaluate_filter": "evaluation.evaluate",
    "gaussian_scale": "estimators.mechanisms",
    "laplace_scale": "estimators.mechanisms",
    "tradeoff": "evaluation.tradeoff",
}


Reader = PredictionHead  # its name until 0.1.0


def __getattr__(name: str) -> Any:
    """Import names that need scikit-learn at first use."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)


__all__ = [
    "Curve",
    "DiscriminativeDirection",
    "Evaluation",
    "GaussianMechanism",
    "LaplaceMechanism",
    "MinimaxFilter",
    "NoisyFilter",
    "PCAFilter",
    "PredictionHead",
    "PrivacyData",
    "PrivacyRisk",
    "PrivateLDA",
    "PrivatePLS",
    "RandomFilter",
    "Reading",
    "Score",
    "Task",
    "build_filter",
    "conv_filter",
    "digits_privacy_filter",
    "evaluate_filter",
    "gaussian_scale",
    "genki_privacy_filter",
    "laplace_scale",
    "linear_filter",
    "mlp_filter",
    "mnist_privacy_filter",
    "privacy_game",
    "privacy_risk",
    "task_loss",
    "tradeoff",
]
