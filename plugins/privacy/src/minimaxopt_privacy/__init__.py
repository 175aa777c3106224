"""Minimax filters for privacy: a plugin of minimaxopt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minimaxopt_privacy.filters import NoisyFilter, build_filter, conv_filter, linear_filter, mlp_filter
from minimaxopt_privacy.games import PrivacyRisk, privacy_game, privacy_risk
from minimaxopt_privacy.problems import digits_privacy_filter, genki_privacy_filter, mnist_privacy_filter
from minimaxopt_privacy.tasks import Reader, Task, task_loss

if TYPE_CHECKING:
    from minimaxopt_privacy.baselines import DiscriminativeDirection, PCAFilter, PrivateLDA, PrivatePLS, RandomFilter
    from minimaxopt_privacy.curve import Curve, tradeoff
    from minimaxopt_privacy.data import PrivacyData
    from minimaxopt_privacy.estimator import MinimaxFilter
    from minimaxopt_privacy.evaluate import Evaluation, Reading, Score, evaluate_filter
    from minimaxopt_privacy.noise import GaussianMechanism, LaplaceMechanism, gaussian_scale, laplace_scale

# scikit-learn takes seconds to import, and the host imports this package whatever command is run.
_LATE = {
    "Curve": "curve",
    "DiscriminativeDirection": "baselines",
    "Evaluation": "evaluate",
    "GaussianMechanism": "noise",
    "LaplaceMechanism": "noise",
    "MinimaxFilter": "estimator",
    "PCAFilter": "baselines",
    "PrivacyData": "data",
    "PrivateLDA": "baselines",
    "PrivatePLS": "baselines",
    "RandomFilter": "baselines",
    "Reading": "evaluate",
    "Score": "evaluate",
    "evaluate_filter": "evaluate",
    "gaussian_scale": "noise",
    "laplace_scale": "noise",
    "tradeoff": "curve",
}


def __getattr__(name: str) -> Any:
    """Import what needs scikit-learn when it is asked for."""
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
    "PrivacyData",
    "PrivacyRisk",
    "PrivateLDA",
    "PrivatePLS",
    "RandomFilter",
    "Reader",
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
