"""``MinimaxFilter``: a privacy filter as a scikit-learn transformer."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
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
from minimaxopt_privacy.checks import check_choice, check_components, check_count, check_directions, check_size, refuse
from minimaxopt_privacy.estimators.mechanisms import noise_seed
from minimaxopt_privacy.estimators.scaling import SCALINGS, initialise, scaling_of
from minimaxopt_privacy.estimators.score import PublisherScore, fitted_labels
from minimaxopt_privacy.estimators.validation import checked, features_of, require_private
from minimaxopt_privacy.game.filters import Scaled, build_filter
from minimaxopt_privacy.game.labels import Column, encoded, learn, refuse_same
from minimaxopt_privacy.game.prediction_heads import Reader
from minimaxopt_privacy.game.risk import privacy_game

READERS: dict[str, tuple[int, ...]] = {"softmax": (), "mlp": (64,)}
"""Readers by name: widths of their hidden layers."""

_DTYPE = torch.float64  # a filter is small, and a transform of one row must be the row of a transform


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's generator on the CPU, where filters draw, and leave the caller's as it was, on every device."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


class MinimaxFilter(PublisherScore, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Publish ``n_components`` numbers from which ``y`` can be read and ``private`` cannot.

    ``min_{u,w} max_v  rho E[l(w(z(x; u)), y)] - E[l(v(z(x; u)), private)] + (penalty / 2) |u|^2 + (head_penalty / 2) |w|^2``

    All training is one ``minimaxopt.solve``. What the filter is worth is not told by the adversary that it was trained
    against, but by fresh ones: see ``evaluate_filter``.

    Args:
        n_components: numbers published of a sample; at most its features.
        rho: the price of a nat of utility loss, in nats of private loss; not negative.
        filter: ``"linear"``, ``"mlp"``, ``"conv"``, ``"noise"`` (linear, with noise whose scale is learned), or a
            ``nn.Module`` from ``(N, features)`` to ``(N, n_components)``, which is copied.
        head: the reader of ``y``: ``"softmax"`` or ``"mlp"``.
        adversary: the reader of ``private``: the same, or a sequence of them for a committee.
        utility_target: how ``y`` is read: ``"classification"``, ``"regression"``, or ``"auto"`` by its values.
        private_target: the same for ``private``.
        hidden: of ``filter="mlp"``: widths of its layers.
        image_shape: of ``filter="conv"``: channels, height and width.
        noise: of ``filter="noise"``: the scale of the noise at the start.
        scaling: what is done to X before: ``"standard"`` (each feature), ``"whiten"`` (the standardised features'
            principal components, of unit variance), ``"shrunk"`` (the same, directions of little variance staying
            small), ``"shrunk-covariance"`` (the same without standardising: for features that have one unit) or
            ``"none"``. ``"auto"`` is ``"standard"`` for ``"conv"`` and modules, which need every feature in its place,
            and ``"shrunk"`` otherwise.
        init: where a linear filter begins: ``"random"``, ``"pca"``, or ``"lda"`` (private LDA).
        penalty: of the squared norm of the filter's parameters.
        head_penalty: of that of the head's.
        jitter: standard deviation of noise that is added to the scaled X while training, so that filter, head and
            adversary do not fit the accidents of the training samples; 0 for none.
        normalize: whether every published number is standardised by running averages over the training, jitter included
            (not of ``"noise"``). Without it a filter can hide from the adversary that it plays with by telling in a very
            small voice, which a fresh one amplifies.
        solver: any solver of minimaxopt, by name or as an object.
        order: ``"minimax"`` (the filter leads), or ``"maximin"`` (the adversary leads: the attacker with the best worst
            case, in ``adversary_``).
        max_iter: steps of the solve.
        batch_size: samples in a batch; ``None`` for all of them.
        learning_rate: Adam's, of the filter and the head.
        adversary_learning_rate: Adam's, of the adversary.
        tolerance: as in ``solve``: the gradients' norm at which to stop.
        device: as in ``solve``.
        progress: as in ``solve``: ``None`` shows a progress bar on a terminal.
        random_state: seed of initial weights and batches. Of a filter that publishes with noise it makes the noise a
            function of X, for experiments; with ``None`` each ``transform`` draws anew, as a release has to.

    Attributes:
        filter_: the fitted filter, a module.
        head_: the reader of ``y`` that was trained along.
        adversary_: the readers of ``private`` that were trained along, by name.
        solution_: what ``solve`` returned, with its status and history.
        game_: the game, as it began.
        utility_columns_, private_columns_: what was learnt about the labels.
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

    # Under metadata routing ``private`` is asked for unless the user says otherwise: a Pipeline need not be told.
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

    def fit(self, X: ArrayLike, y: ArrayLike, *, private: Any = None) -> MinimaxFilter:  # noqa: N803 - as scikit-learn
        """Fit the filter.

        Args:
            X: features, ``(N, n_features)``.
            y: the label that is to stay readable, ``(N,)``; or several, ``(N, k)``.
            private: the label that is to be hidden, ``(N,)``; or several, ``(N, k)``, as an array or a table. In a
                Pipeline give ``minimaxfilter__private=`` (the step's name in front), or ``private=`` with metadata
                routing enabled.

        Raises:
            TypeError: ``private`` is missing: nothing may decide silently what is hidden.
            ValueError: X or labels cannot be used, or an argument is out of range.
        """
        x, useful, hidden = checked(self, X, y, private)
        self._check(x.shape[1])
        self.utility_columns_ = learn("y", useful, self.utility_target)
        self.private_columns_ = learn("private", hidden, self.private_target)
        refuse_same(useful, hidden)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.game_ = self._game(x, useful, hidden, seed)
        size = self._batch(len(x))
        self.solution_: Solution = solve(
            self.game_,
            self.solver,
            data=Batches(self._tensors(x, useful, hidden), size, seed, shuffle=size < len(x)),
            steps=check_count("max_iter", self.max_iter, least=0),
            seed=seed,
            u_optimizer=partial(torch.optim.Adam, lr=check_size("learning_rate", self.learning_rate)),
            v_optimizer=partial(
                torch.optim.Adam, lr=check_size("adversary_learning_rate", self.adversary_learning_rate)
            ),
            order=check_choice("order", self.order, ["minimax", "maximin"]),
            tolerance=self.tolerance,
            device=self.device,
            progress=self.progress,
        )
        self.filter_: nn.Module = self.solution_.u["filter"].cpu().eval()
        self.head_: nn.Module = self.solution_.u["head"].cpu().eval()
        self.adversary_ = {name: reader.cpu().eval() for name, reader in self.solution_.v.items()}
        self._seed = None if self.random_state is None else seed
        self._n_features_out = int(self.n_components)
        self.n_iter_ = self.solution_.steps
        return self

    def transform(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Return what is published, ``(N, n_components)``; of a float32 X in float32.

        Raises:
            NotFittedError: the filter has not been fitted.
            ValueError: X cannot be used.
        """
        check_is_fitted(self, "filter_")
        x = features_of(self, X)
        with _seeded(noise_seed(self._seed, x)), torch.no_grad():
            z = self.filter_(torch.tensor(x, dtype=_DTYPE))
        return z.numpy().astype(x.dtype, copy=False)

    def certify(self, X: ArrayLike, y: ArrayLike, *, private: Any = None, **options: Any) -> Certificate:  # noqa: N803
        """Certify the fitted game on other data: the worst over fresh adversaries of the trained kind, the local type.

        Args:
            X: features.
            y: useful labels.
            private: private labels.
            options: as of ``minimaxopt.certify``.

        Raises:
            TypeError: ``private`` is missing.
            ValueError: as in ``fit``.
        """
        check_is_fitted(self, "filter_")
        x = features_of(self, X)
        require_private(private, "certify")
        tensors = self._tensors(x, *fitted_labels(self, y, private, len(x)))
        return certify(self.game_, self.solution_, Batches(tensors, len(x), shuffle=False), **options)

    def _check(self, features: int) -> None:
        check_components(self.n_components, features)
        check_choice("scaling", self.scaling, ["auto", *SCALINGS])
        if self.filter == "conv" and self.scaling not in ("auto", "standard", "none"):
            raise refuse(
                "scaling", f"it is {self.scaling!r}, which mixes pixels", "give 'standard' or 'none' for 'conv'"
            )
        check_choice("init", self.init, ["random", "pca", "lda"])
        check_choice("head", self.head, READERS)
        if self.filter == "noise":
            check_size("noise", self.noise, positive=True)
        for name in self._members():
            check_choice("adversary", name, READERS)
        if self.init != "random" and self.filter not in ("linear", "noise"):
            raise refuse(
                "init", f"it is {self.init!r} for the filter {self.filter!r}", "give 'random', or a linear filter"
            )

    def _members(self) -> list[str]:
        given: Any = self.adversary
        names = [given] if isinstance(given, str) else list(given) if isinstance(given, Sequence) else None
        if not names:
            raise refuse("adversary", f"it is {given!r}", "name at least one reader, such as 'softmax'")
        return names

    def _batch(self, samples: int) -> int:
        """Return the samples in a batch; a last batch of one, which has no variance, is avoided."""
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

    def _game(self, X: NDArray[Any], useful: Any, hidden: Any, seed: int) -> Game:  # noqa: N803
        """Return the game at its beginning; the weights come from the seed, the caller's state is left alone."""
        utility, private = ([c.task for c in columns] for columns in (self.utility_columns_, self.private_columns_))
        members = self._members()
        with _seeded(seed):
            mean, matrix = scaling_of(self._scaling(), X)
            inner = self._inner(matrix.shape[-1])
            head = Reader(self.n_components, utility, READERS[self.head])
            adversary = {
                name if members.count(name) == 1 else f"{name}-{i}": Reader(self.n_components, private, READERS[name])
                for i, name in enumerate(members)
            }
        scaled = Scaled(inner, torch.from_numpy(mean), torch.from_numpy(matrix), self.jitter).to(_DTYPE)
        if self.init != "random":
            centred = X - mean
            initialise(
                scaled.inner,
                self.init,
                centred * matrix if matrix.ndim == 1 else centred @ matrix,
                encoded(self.utility_columns_, useful),
                encoded(self.private_columns_, hidden),
            )
        if self.normalize and self.filter != "noise":
            scaled.inner = nn.Sequential(scaled.inner, nn.BatchNorm1d(self.n_components, affine=False, dtype=_DTYPE))
        return privacy_game(
            scaled,
            head.to(_DTYPE),
            {name: reader.to(_DTYPE) for name, reader in adversary.items()},
            rho=check_size("rho", self.rho),
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

    def _tensors(self, X: NDArray[Any], useful: Any, hidden: Any) -> Any:  # noqa: N803
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
