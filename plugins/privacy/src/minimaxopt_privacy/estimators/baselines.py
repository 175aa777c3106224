"""Classical linear filters with the interface of ``MinimaxFilter``: ``fit(X, y, *, private)`` and ``transform``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from minimaxopt_privacy.checks import check_components
from minimaxopt_privacy.estimators.directions import (
    discriminative_direction,
    principal_directions,
    private_lda_directions,
    private_pls_directions,
)
from minimaxopt_privacy.estimators.score import ScoreMixin
from minimaxopt_privacy.estimators.validation import validate_features, validate_inputs
from minimaxopt_privacy.game.labels import check_distinct, encode_columns, fit_columns


class _Projection(ScoreMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Linear filter ``z = (x - mean_) W``, whose ``W`` a subclass computes; it does not scale the features."""

    __metadata_request__fit = {"private": True}  # noqa: RUF012 - the form that scikit-learn reads

    n_components: int
    utility_target: Any
    private_target: Any

    def fit(self, X: ArrayLike, y: ArrayLike, *, private: Any = None) -> Any:
        """Fit the projection.

        Args:
            X: features, ``(N, n_features)``.
            y: useful labels, ``(N,)`` or ``(N, k)``.
            private: private labels, ``(N,)`` or ``(N, k)``.

        Raises:
            TypeError: ``private`` is missing.
            ValueError: X or labels cannot be used, or an argument is out of range.
        """
        x, useful, hidden = validate_inputs(self, X, y, private)
        check_components(self.n_components, x.shape[1])
        self.utility_columns_ = fit_columns("y", useful, self.utility_target)
        self.private_columns_ = fit_columns("private", hidden, self.private_target)
        check_distinct(useful, hidden)
        useful, hidden = encode_columns(self.utility_columns_, useful), encode_columns(self.private_columns_, hidden)
        self.mean_: NDArray[Any] = x.mean(0)
        self.projection_: NDArray[Any] = self._directions(x - self.mean_, useful, hidden)
        self._n_features_out = self.projection_.shape[1]
        return self

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Return the published vectors, ``(N, n_components)``.

        Raises:
            NotFittedError: the projection has not been fitted.
            ValueError: X cannot be used.
        """
        check_is_fitted(self, "projection_")
        x = validate_features(self, X)
        return ((x - self.mean_) @ self.projection_).astype(x.dtype, copy=False)

    def _directions(self, X: NDArray[Any], useful: Any, private: Any) -> NDArray[Any]:
        raise NotImplementedError

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class RandomFilter(_Projection):
    """Random projection, with independent entries ``N(0, 1 / n_components)`` of ``W``.

    Args:
        n_components: output dimension.
        utility_target: ``"classification"``, ``"regression"``, or ``"auto"`` by the values of ``y``.
        private_target: the same for ``private``.
        random_state: seed of ``W``.

    Raises:
        TypeError: ``fit`` is called without ``private``: which label to hide is never guessed.
        ValueError: in ``fit`` or ``transform``, for samples, labels or settings that cannot be used.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(20, 4))
        >>> y, private = (X[:, 0] > 0).astype(int), (X[:, 1] > 0).astype(int)
        >>> RandomFilter(2, random_state=0).fit_transform(X, y, private=private).shape
        (20, 2)

    Source: a baseline of Hamm 2017, "Minimax filter".
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        utility_target: Any = "auto",
        private_target: Any = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_components = n_components
        self.utility_target = utility_target
        self.private_target = private_target
        self.random_state = random_state

    def _directions(self, X: NDArray[Any], useful: Any, private: Any) -> NDArray[Any]:
        random = check_random_state(self.random_state)
        return random.normal(size=(X.shape[1], self.n_components)) / np.sqrt(self.n_components)


class PCAFilter(_Projection):
    """Projection on the principal components, whatever the labels.

    Directions in which no training sample varies publish 0.

    Args:
        n_components: output dimension.
        utility_target: ``"classification"``, ``"regression"``, or ``"auto"`` by the values of ``y``.
        private_target: the same for ``private``.

    Raises:
        TypeError: ``fit`` is called without ``private``: which label to hide is never guessed.
        ValueError: in ``fit`` or ``transform``, for samples, labels or settings that cannot be used.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(20, 4))
        >>> y, private = (X[:, 0] > 0).astype(int), (X[:, 1] > 0).astype(int)
        >>> PCAFilter(2).fit_transform(X, y, private=private).shape
        (20, 2)

    Source: Pearson 1901; a baseline of Hamm 2017, "Minimax filter".
    """

    def __init__(self, n_components: int = 2, *, utility_target: Any = "auto", private_target: Any = "auto") -> None:
        self.n_components = n_components
        self.utility_target = utility_target
        self.private_target = private_target

    def _directions(self, X: NDArray[Any], useful: Any, private: Any) -> NDArray[Any]:
        return principal_directions(X, self.n_components)


class PrivatePLS(_Projection):
    """Private partial least squares: directions that covary with ``y`` and not with ``private``.

    ``w_k = argmax_{|w| = 1}  |cov(X_k w, y)|^2 - strength |cov(X_k w, private)|^2``,
    ``X_{k+1} = X_k - t t^T X_k / t^T t`` with ``t = X_k w_k``; classes are indicators, numbers standardised. Where no
    difference is positive, the direction of greatest variance follows among those that covary with no label.

    Args:
        n_components: output dimension.
        strength: price of covariance with the private label, >= 0.
        utility_target: ``"classification"``, ``"regression"``, or ``"auto"`` by the values of ``y``.
        private_target: the same for ``private``.

    Raises:
        TypeError: ``fit`` is called without ``private``: which label to hide is never guessed.
        ValueError: in ``fit`` or ``transform``, for samples, labels or settings that cannot be used.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(20, 4))
        >>> y, private = (X[:, 0] > 0).astype(int), (X[:, 1] > 0).astype(int)
        >>> PrivatePLS(1).fit(X, y, private=private).projection_.shape
        (4, 1)

    Source: Enev et al. 2012, "SensorSift".
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        strength: float = 1.0,
        utility_target: Any = "auto",
        private_target: Any = "auto",
    ) -> None:
        self.n_components = n_components
        self.strength = strength
        self.utility_target = utility_target
        self.private_target = private_target

    def _directions(self, X: NDArray[Any], useful: Any, private: Any) -> NDArray[Any]:
        return private_pls_directions(X, useful, private, self.n_components, strength=self.strength)


class PrivateLDA(_Projection):
    """Private linear discriminant analysis: directions that separate the classes of ``y`` and not those of ``private``.

    ``max_w  w^T S_y w / w^T (strength S_private + S_t + shrinkage tr(S_t) / p I) w``, with the between-class scatters
    ``S``, the total scatter ``S_t`` and ``p`` features; for numbers ``S`` is the scatter of the regression on them.
    ``k`` classes of ``y`` determine ``k - 1`` directions. The next ones are those of greatest variance among the directions
    in which all classes of ``y`` and of ``private`` have one mean; a nonlinear attacker may read them.

    Args:
        n_components: output dimension.
        strength: price of scatter between the private classes, >= 0.
        shrinkage: weight of the isotropic scatter added to the total scatter, >= 0.
        utility_target: ``"classification"``, ``"regression"``, or ``"auto"`` by the values of ``y``.
        private_target: the same for ``private``.

    Raises:
        TypeError: ``fit`` is called without ``private``: which label to hide is never guessed.
        ValueError: in ``fit`` or ``transform``, for samples, labels or settings that cannot be used.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(20, 4))
        >>> y, private = (X[:, 0] > 0).astype(int), (X[:, 1] > 0).astype(int)
        >>> PrivateLDA(1).fit(X, y, private=private).projection_.shape
        (4, 1)

    Source: Hamm 2017, "Minimax filter".
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        strength: float = 10.0,
        shrinkage: float = 0.1,
        utility_target: Any = "auto",
        private_target: Any = "auto",
    ) -> None:
        self.n_components = n_components
        self.strength = strength
        self.shrinkage = shrinkage
        self.utility_target = utility_target
        self.private_target = private_target

    def _directions(self, X: NDArray[Any], useful: Any, private: Any) -> NDArray[Any]:
        return private_lda_directions(
            X, useful, private, self.n_components, strength=self.strength, shrinkage=self.shrinkage
        )


class DiscriminativeDirection(_Projection):
    """Discriminately decreasing discriminability (DDD): one direction that reveals ``y`` and not ``private``.

    ``max_w  log J_y(w) - log (J_private(w) + 1 / N)``,
    ``J_l(w) = w^T S_l w / w^T (S_t - S_l + shrinkage tr(S_t) / p I) w``

    with the between-class scatter ``S_l`` of a label, the total scatter ``S_t``, ``p`` features and ``N`` samples.

    Args:
        shrinkage: weight of the isotropic scatter added to the within-class scatter, >= 0.
        utility_target: ``"classification"``, ``"regression"``, or ``"auto"`` by the values of ``y``.
        private_target: the same for ``private``.

    Raises:
        TypeError: ``fit`` is called without ``private``: which label to hide is never guessed.
        ValueError: in ``fit`` or ``transform``, for samples, labels or settings that cannot be used.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(20, 4))
        >>> y, private = (X[:, 0] > 0).astype(int), (X[:, 1] > 0).astype(int)
        >>> DiscriminativeDirection().fit(X, y, private=private).projection_.shape
        (4, 1)

    Source: Whitehill and Movellan 2012.
    """

    def __init__(self, *, shrinkage: float = 0.1, utility_target: Any = "auto", private_target: Any = "auto") -> None:
        self.shrinkage = shrinkage
        self.utility_target = utility_target
        self.private_target = private_target

    n_components = 1

    def _directions(self, X: NDArray[Any], useful: Any, private: Any) -> NDArray[Any]:
        return discriminative_direction(X, useful, private, shrinkage=self.shrinkage)
