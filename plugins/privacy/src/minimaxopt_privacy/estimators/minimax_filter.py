"""``MinimaxFilter``: a privacy filter as a scikit-learn transformer."""

from __future__ import annotations

import copy
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import nn

from minimaxopt import Batches, Certificate, Game, Solution, certify, solve
from minimaxopt_privacy.checks import (
    check_choice,
    check_components,
    check_count,
    check_directions,
    check_number,
    refuse,
)
from minimaxopt_privacy.estimators.mechanisms import noise_seed
from minimaxopt_privacy.estimators.scaling import SCALINGS, initialize_linear, scaling_map
from minimaxopt_privacy.estimators.score import ScoreMixin, labels_as_fitted
from minimaxopt_privacy.estimators.validation import require_private, validate_features, validate_inputs
from minimaxopt_privacy.game.filters import ScaledFilter, build_filter
from minimaxopt_privacy.game.labels import Column, check_distinct, encode_columns, fit_columns
from minimaxopt_privacy.game.prediction_heads import HIDDEN_WIDTHS, PredictionHead
from minimaxopt_privacy.game.risk import privacy_game

_DTYPE = torch.float64  # filters are small, and transforming rows one by one or together must agree


@contextmanager
def _torch_seed(seed: int) -> Generator[None]:
    """Seed torch's CPU generator, from which filters draw, and restore the caller's state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


class MinimaxFilter(ScoreMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Publish ``n_components`` numbers that reveal ``y`` and hide ``private``.

    ``min_{u,w} max_v  rho E[l(w(z(x; u)), y)] - E[l(v(z(x; u)), private)]
    + (penalty / 2) |u|^2 + (head_penalty / 2) |w|^2``

    All training is one ``minimaxopt.solve``. The leakage is measured by fresh adversaries, not by the one that the
    filter was trained against: see ``evaluate_filter``.

    Args:
        n_components: output dimension, at most ``n_features``.
        rho: price of a nat of utility loss, in nats of private loss, >= 0.
        filter: ``"linear"``, ``"mlp"``, ``"conv"``, ``"noise"`` (linear, with noise of learned scale), or an
            ``nn.Module`` from ``(N, features)`` to ``(N, n_components)``, which is copied.
        head: utility head, which predicts ``y``: ``"softmax"`` or ``"mlp"``.
        adversary: adversary in training, which predicts ``private``: ``"softmax"``, ``"mlp"``, or a sequence of both
            for a committee.
        utility_target: ``"classification"``, ``"regression"``, or ``"auto"`` by the values of ``y``.
        private_target: the same for ``private``.
        hidden: for ``filter="mlp"``: widths of its hidden layers.
        image_shape: for ``filter="conv"``: channels, height and width.
        noise: for ``filter="noise"``: initial scale of the noise, > 0.
        scaling: preprocessing of X: ``"standard"`` (each feature), ``"whiten"`` (the standardised features'
            principal components, of unit variance), ``"shrunk"`` (the same, directions of little variance staying
            small), ``"shrunk-covariance"`` (the same without standardising, for features of one unit) or
            ``"none"``. ``"auto"`` is ``"standard"`` for ``"conv"`` and modules, which need every feature in its place,
            and ``"shrunk"`` otherwise.
        init: initial weights of a linear filter: ``"random"``, ``"pca"``, or ``"lda"`` (private LDA).
        penalty: weight of the squared norm of the filter's parameters, >= 0.
        head_penalty: weight of the squared norm of the head's parameters, >= 0.
        jitter: standard deviation of noise added to the scaled X in training, against overfitting; 0 for none.
        normalize: whether outputs are standardised by running averages over the training, jitter included (not for
            ``"noise"``). Without it a filter can hide from its own adversary by small outputs, which a fresh adversary
            amplifies.
        solver: any solver of minimaxopt, by name or as an object.
        order: ``"minimax"`` (the filter leads), or ``"maximin"`` (the adversary leads; ``adversary_`` then has the best
            worst case).
        max_iter: steps of the solve.
        batch_size: samples in a batch; ``None`` for all of them.
        learning_rate: Adam's learning rate of the filter and the head.
        adversary_learning_rate: Adam's learning rate of the adversary.
        tolerance: norm of the gradients at which to stop, as in ``solve``; ``None`` for all ``max_iter`` steps.
        device: device of the training, such as ``"cpu"``, as in ``solve``.
        progress: whether to show a progress bar; ``None`` shows one on a terminal.
        random_state: seed of initial weights and batches. For a filter with noise it makes the noise a function of X,
            for experiments; with ``None`` each ``transform`` draws fresh noise, as a release must.

    Raises:
        TypeError: ``fit`` is called without ``private``: which label to hide is never guessed.
        ValueError: in ``fit`` or ``transform``, for samples, labels or settings that cannot be used.
        DoubleBackwardError: an operation of a filter of your own has no second derivative, and the solver needs one.

    Attributes:
        filter_: the fitted filter, a module.
        head_: the utility head trained with it.
        adversary_: the adversaries trained with it, by name.
        solution_: the result of ``solve``, with its status and history.
        game_: the game with its initial players.
        utility_columns_, private_columns_: names and encodings of the labels.
        n_features_in_, feature_names_in_: as in scikit-learn.

    Examples:
        >>> from sklearn.datasets import make_classification
        >>> X, y = make_classification(200, 6, random_state=0)
        >>> private = (X[:, 0] > 0).astype(int)
        >>> MinimaxFilter(2, max_iter=20, random_state=0).fit_transform(X, y, private=private).shape
        (200, 2)

    Source: Hamm and Mehra 2018, Sec. 5.2; Hamm 2017, "Minimax filter: learning to preserve privacy from inference
    attacks".
    """

    # Under metadata routing ``private`` is requested by default, so that a Pipeline passes it on.
    __metadata_request__fit = {"private": True}  # noqa: RUF012 - the form that scikit-learn reads

    def __init__(
        self,
        n_components: int = 2,
        *,
        rho: float = 10.0,
        filter: str | nn.Module = "linear",
        head: str = "softmax",
        adversary: str | Sequence[str] = ("softmax", "mlp"),
        utility_target: Any = "auto",
        private_target: Any = "auto",
        hidden: Sequence[int] = (20,),
        image_shape: tuple[int, int, int] | None = None,
        noise: float = 0.5,
        scaling: str = "auto",
        init: str = "random",
        penalty: float = 1e-6,
        head_penalty: float = 0.0,
        jitter: float = 0.5,
        normalize: bool = True,
        solver: Any = "sensitivity",
        order: Literal["minimax", "maximin"] = "minimax",
        max_iter: int = 1000,
        batch_size: int | None = None,
        learning_rate: float = 5e-3,
        adversary_learning_rate: float = 1e-2,
        tolerance: float | None = None,
        device: str | None = None,
        progress: bool | None = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_components = n_components
        self.rho = rho
        self.filter = filter
        self.head = head
        self.adversary = adversary
        self.utility_target = utility_target
        self.private_target = private_target
        self.hidden = hidden
        self.image_shape = image_shape
        self.noise = noise
        self.scaling = scaling
        self.init = init
        self.penalty = penalty
        self.head_penalty = head_penalty
        self.jitter = jitter
        self.normalize = normalize
        self.solver = solver
        self.order = order
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.adversary_learning_rate = adversary_learning_rate
        self.tolerance = tolerance
        self.device = device
        self.progress = progress
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, *, private: Any = None) -> MinimaxFilter:
        """Fit the filter.

        Args:
            X: features, ``(N, n_features)``.
            y: useful labels, ``(N,)`` or ``(N, k)``.
            private: private labels, ``(N,)`` or ``(N, k)``, as an array or a table. In a Pipeline give
                ``minimaxfilter__private=`` (the step's name in front), or ``private=`` with metadata routing enabled.

        Raises:
            TypeError: ``private`` is missing: which label to hide is never guessed.
            ValueError: X or labels cannot be used, or an argument is out of range.
        """
        x, useful, hidden = validate_inputs(self, X, y, private)
        self._check(x.shape[1])
        self.utility_columns_ = fit_columns("y", useful, self.utility_target)
        self.private_columns_ = fit_columns("private", hidden, self.private_target)
        check_distinct(useful, hidden)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.game_ = self._game(x, useful, hidden, seed)
        size = self._batch(len(x))
        self.solution_: Solution = solve(
            self.game_,
            self.solver,
            data=Batches(self._tensors(x, useful, hidden), size, seed, shuffle=size < len(x)),
            steps=check_count("max_iter", self.max_iter, least=0),
            seed=seed,
            u_optimizer=partial(torch.optim.Adam, lr=check_number("learning_rate", self.learning_rate)),
            v_optimizer=partial(
                torch.optim.Adam, lr=check_number("adversary_learning_rate", self.adversary_learning_rate)
            ),
            order=check_choice("order", self.order, ["minimax", "maximin"]),
            tolerance=self.tolerance,
            device=self.device,
            progress=self.progress,
        )
        self.filter_: nn.Module = self.solution_.u["filter"].cpu().eval()
        self.head_: nn.Module = self.solution_.u["head"].cpu().eval()
        self.adversary_ = {name: head.cpu().eval() for name, head in self.solution_.v.items()}
        self._seed = None if self.random_state is None else seed
        self._n_features_out = int(self.n_components)
        self.n_iter_ = self.solution_.steps
        return self

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Return the published vectors, ``(N, n_components)``, in float32 if X is.

        Raises:
            NotFittedError: the filter has not been fitted.
            ValueError: X cannot be used.
        """
        check_is_fitted(self, "filter_")
        x = validate_features(self, X)
        with _torch_seed(noise_seed(self._seed, x)), torch.no_grad():
            z = self.filter_(torch.tensor(x, dtype=_DTYPE))
        return z.numpy().astype(x.dtype, copy=False)

    def certify(self, X: ArrayLike, y: ArrayLike, *, private: Any = None, **options: Any) -> Certificate:
        """Certify the fitted game on other data: worst case over fresh adversaries of the same kind, and local type.

        Args:
            X: features, ``(N, n_features)``.
            y: useful labels, as in ``fit``.
            private: private labels, as in ``fit``.
            options: further arguments of ``minimaxopt.certify``.

        Raises:
            TypeError: ``private`` is missing.
            ValueError: as in ``fit``.
        """
        check_is_fitted(self, "filter_")
        x = validate_features(self, X)
        require_private(private, "certify")
        tensors = self._tensors(x, *labels_as_fitted(self, y, private, len(x)))
        return certify(self.game_, self.solution_, Batches(tensors, len(x), shuffle=False), **options)

    def _check(self, features: int) -> None:
        check_components(self.n_components, features)
        check_choice("scaling", self.scaling, ["auto", *SCALINGS])
        if self.filter == "conv" and self.scaling not in ("auto", "standard", "none"):
            raise refuse(
                "scaling", f"it is {self.scaling!r}, which mixes pixels", "give 'standard' or 'none' for 'conv'"
            )
        check_choice("init", self.init, ["random", "pca", "lda"])
        check_choice("head", self.head, HIDDEN_WIDTHS)
        if self.filter == "noise":
            check_number("noise", self.noise, positive=True)
        for name in self._members():
            check_choice("adversary", name, HIDDEN_WIDTHS)
        if self.init != "random" and self.filter not in ("linear", "noise"):
            raise refuse(
                "init", f"it is {self.init!r} for the filter {self.filter!r}", "give 'random', or a linear filter"
            )

    def _members(self) -> list[str]:
        """Return the names of the adversary's members."""
        adversary: Any = self.adversary
        if isinstance(adversary, str):
            return [adversary]
        names: list[str] = list(adversary) if isinstance(adversary, Sequence) else []
        if not names:
            raise refuse("adversary", f"it is {adversary!r}", "name at least one, such as 'softmax'")
        return names

    def _batch(self, samples: int) -> int:
        """Return the batch size, increased where the last batch would have one sample and thus no variance."""
        if self.batch_size is None or check_count("batch_size", self.batch_size) >= samples:
            return samples
        size = int(self.batch_size)
        if self.normalize and self.filter != "noise":
            if size == 1:
                raise refuse(
                    "batch_size", "it is 1, of which nothing can be standardised", "give 2, or normalize=False"
                )
            while samples % size == 1:
                size += 1
        return size

    def _game(self, X: NDArray[Any], useful: Any, hidden: Any, seed: int) -> Game:
        """Return the game with its initial players, whose weights are drawn from the seed."""
        utility, private = ([c.task for c in columns] for columns in (self.utility_columns_, self.private_columns_))
        members = self._members()
        with _torch_seed(seed):
            mean, matrix = scaling_map(self._scaling(), X)
            inner = self._inner(matrix.shape[-1])
            head = PredictionHead(self.n_components, utility, HIDDEN_WIDTHS[self.head])
            adversary = {
                name if members.count(name) == 1 else f"{name}-{i}": PredictionHead(
                    self.n_components, private, HIDDEN_WIDTHS[name]
                )
                for i, name in enumerate(members)
            }
        scaled = ScaledFilter(inner, torch.from_numpy(mean), torch.from_numpy(matrix), self.jitter).to(_DTYPE)
        if self.init != "random":
            centred = X - mean
            initialize_linear(
                scaled.inner,
                self.init,
                centred * matrix if matrix.ndim == 1 else centred @ matrix,
                encode_columns(self.utility_columns_, useful),
                encode_columns(self.private_columns_, hidden),
                matrix,
            )
        if self.normalize and self.filter != "noise":
            scaled.inner = nn.Sequential(scaled.inner, nn.BatchNorm1d(self.n_components, affine=False, dtype=_DTYPE))
        return privacy_game(
            scaled,
            head.to(_DTYPE),
            {name: member.to(_DTYPE) for name, member in adversary.items()},
            rho=check_number("rho", self.rho),
            utility=utility,
            private=private,
            penalty=self.penalty,
            head_penalty=self.head_penalty,
        )

    def _scaling(self) -> str:
        if self.scaling != "auto":
            return self.scaling
        return "standard" if isinstance(self.filter, nn.Module) or self.filter == "conv" else "shrunk"

    def _inner(self, features: int) -> nn.Module:
        if isinstance(self.filter, nn.Module):
            inner = copy.deepcopy(self.filter).to(_DTYPE)
            try:
                with torch.no_grad():
                    shape = tuple(copy.deepcopy(inner).eval()(torch.zeros(2, features, dtype=_DTYPE)).shape)
            except RuntimeError as error:
                raise refuse(
                    "filter", f"it cannot read (2, {features}): {error}", f"read (N, {features}), of float64"
                ) from error
            if shape != (2, self.n_components):
                raise refuse("filter", f"it makes {shape} of (2, {features})", f"publish (N, {self.n_components})")
            return inner
        check_directions(self.n_components, features)
        return build_filter(
            self.filter, features, self.n_components, hidden=self.hidden, image_shape=self.image_shape, noise=self.noise
        )

    def _tensors(self, X: NDArray[Any], useful: Any, hidden: Any) -> Any:
        def tensors(columns: list[Column], labels: list[NDArray[Any]]) -> tuple[torch.Tensor, ...]:
            return tuple(c.tensor(values, _DTYPE) for c, values in zip(columns, labels, strict=True))

        return (
            torch.tensor(X, dtype=_DTYPE),
            tensors(self.utility_columns_, useful),
            tensors(self.private_columns_, hidden),
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.non_deterministic = self.filter == "noise"
        return tags
