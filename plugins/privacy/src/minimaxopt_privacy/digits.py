"""A problem on real data: publish handwritten digits from which one can read the digit, but not whether it is odd."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import torch
from torch import nn

from minimaxopt import Batches, Problem, Sensitivity
from minimaxopt.errors import ArgumentError
from minimaxopt_privacy.filters import Batch, Leader, privacy_game


def digits_privacy_filter(
    rho: Annotated[float, "price of a nat of utility loss, in nats of private loss"] = 3.0,
    dimension: Annotated[int, "features that the filter publishes, at most 64"] = 10,
    gamma: Annotated[float, "weight of the sensitivity penalty of Alg. 1"] = 1.0,
    batch_size: Annotated[int, "digits in a batch; all of them by default"] = 1297,
    rate: Annotated[float, "Adam's learning rate of the filter and the utility head"] = 1e-3,
    adversary_rate: Annotated[float, "Adam's learning rate of the adversary"] = 1e-2,
    seed: Annotated[int, "seed of initial weights and of the order of the batches"] = 0,
) -> Problem:
    """A linear filter that keeps the digit readable and hides its parity from a softmax adversary."""
    if not 1 <= dimension <= 64:
        raise ArgumentError(f"dimension: is {dimension}; publish between 1 and 64 features")
    train, test = digits()
    # The weights come from the global generator; the problem's seed decides them, the caller's state is left alone.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        game = privacy_game(nn.Linear(64, dimension), nn.Linear(dimension, 10), nn.Linear(dimension, 2), rho=rho)
    settings = {
        "solver": Sensitivity(gamma=gamma),
        "steps": 2000,
        "u_optimizer": partial(torch.optim.Adam, lr=rate),
        "v_optimizer": partial(torch.optim.Adam, lr=adversary_rate),
        "seed": seed,
    }
    return Problem(game, Batches(train, batch_size, seed), metrics(train, test), settings)


def digits() -> tuple[Batch, Batch]:
    """Return scikit-learn's 1,797 digits as training (1,297) and test (500) batches: pixels in [-1, 1], digit, parity.

    Examples:
        >>> train, test = digits()
        >>> [tuple(t.shape) for t in test]
        [(500, 64), (500,), (500,)]
    """
    # scikit-learn takes seconds to import, and the host imports this module whatever command is run.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(pixels / 8 - 1, dtype=torch.float32), torch.tensor(labels)
    split = train_test_split(x, y, y % 2, test_size=500, random_state=0, stratify=labels)
    return (split[0], split[2], split[4]), (split[1], split[3], split[5])


def metrics(train: Batch, test: Batch) -> dict[str, Callable[[Leader, nn.Module], float]]:
    """Return the errors on ``test`` by which a filter is judged, all of them functions of ``(leader, adversary)``.

    ``utility_error`` of the utility head; ``private_error`` of the adversary that was trained along; and, since that
    one may have lost its way, the errors of fresh adversaries fitted to the filtered ``train``: ``fresh_linear_error``
    of a logistic regression, the filter's own opponent at its best, and ``fresh_neighbour_error`` of five nearest
    neighbours, an opponent of another kind. Higher private errors are better, up to that of a guess (one half).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    x, useful, private = test

    def utility_error(leader: Leader, adversary: nn.Module) -> float:
        return _error(leader["head"](leader["filter"](x)).argmax(1), useful)

    def private_error(leader: Leader, adversary: nn.Module) -> float:
        return _error(adversary(leader["filter"](x)).argmax(1), private)

    def fresh(build: Callable[[], Any], leader: Leader, adversary: nn.Module) -> float:
        seen, unseen = (leader["filter"](part).detach().numpy() for part in (train[0], x))
        return _error(torch.from_numpy(build().fit(seen, train[2].numpy()).predict(unseen)), private)

    return {
        "utility_error": utility_error,
        "private_error": private_error,
        "fresh_linear_error": partial(fresh, partial(LogisticRegression, max_iter=5000)),
        "fresh_neighbour_error": partial(fresh, KNeighborsClassifier),
    }


def _error(guess: torch.Tensor, truth: torch.Tensor) -> float:
    return float((guess != truth).float().mean())
