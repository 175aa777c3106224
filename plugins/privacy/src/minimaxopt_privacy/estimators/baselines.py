"""The classical filters behind the interface of ``MinimaxFilter``: ``fit(X, y, *, private)`` and ``transform``."""

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
from minimaxopt_privacy.estimators.score import PublisherScore
from minimaxopt_privacy.estimators.validation import checked, features_of
from minimaxopt_privacy.game.labels import encoded, learn, refuse_same


class _Projection(PublisherScore, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A linear filter ``z = (x - mean_) W`` whose ``W`` a subclass chooses; put a StandardScaler first for other units."""

    __metadata_request__fit = {"private": True}  # noqa: RUF012 - the form that scikit-learn reads

    n_components: int
    utility_target: Any
    private_target: Any

    def fit(self, X: ArrayLike, y: ArrayLike, *, private: Any = None) -> Any:  # noqa: N803
        """Fit the projection.

        Args:
            X: features, ``(N, n_features)``.
            y: the label that is to stay readable, ``(N,)``, or several.
            private: the label that is to be hidden, ``(N,)``, or several.

        Raises:
            TypeError: ``private`` is missing.
            ValueError: X or labels cannot be used, or an argument is out of range.
        """
        x, useful, hidden = checked(self, X, y, private)
        check_components(self.n_components, x.shape[1])
        self.utility_columns_ = learn("y", useful, self.utility_target)
        self.private_columns_ = learn("private", hidden, self.private_target)
        refuse_same(useful, hidden)
        useful, hidden = encoded(self.utility_columns_, useful), encoded(self.private_columns_, hidden)
        self.mean_: NDArray[Any] = x.mean(0)
        self.projection_: NDArray[Any] = self._directions(x - self.mean_, useful, hidden)
        self._n_features_out = self.projection_.shape[1]
        return self

    def transform(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Return what is published, ``(N, n_components)``.

        Raises:
            NotFittedError: the projection has not been fitted.
            ValueError: X cannot be used.
        """
        check_is_fitted(self, "projection_")
        x = features_of(self, X)
        return ((x - self.mean_) @ self.projection_).astype(x.dtype, copy=False)

    def _directions(self, X: NDArray[Any], useful: Any, private: Any) -> NDArray[Any]:  # noqa: N803
        raise NotImplementedError

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class RandomFilter(_Projection):
    """A random projection, ``W`` of independent ``N(0, 1 / n_components)``: the filter that knows nothing.

    Args:
        n_components: numbers published of a sample.
        utility_target: how ``y`` is read: ``"classification"``, ``"regression"``, or ``"auto"`` by its values.
        private_target: the same for ``private``.
        random_state: seed of ``W``.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(20, 4))
        >>> y, private = (X[:, 0] > 0).astype(int), (X[:, 1] > 0).astype(int)
        >>> RandomFilter(2, random_state=0).fit_transform(X, y, private=private).shape
        (20, 2)
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

    def _directions(self, X: NDArray[Any], useful: Any, private: Any) -> NDArray[Any]:  # noqa: N803
        random = check_random_state(self.random_state)
        return random.normal(size=(X.shape[1], self.n_components)) / np.sqrt(self.n_components)


class PCAFilter(_Projection):
    """The principal components: what varies most, whatever it tells.

    Args:
        n_components: numbers published of a sample.
        utility_target: how ``y`` is read: ``"classification"``, ``"regression"``, or ``"auto"`` by its values.
        private_target: the same for ``private``.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(20, 4))
        >>> y, private = (X[:, 0] > 0).astype(int), (X[:, 1] > 0).astype(int)
        >>> PCAFilter(2).fit_transform(X, y, private=private).shape
        (20, 2)
    """

    def __init__(self, n_components: int = 2, *, utility_target: Any = "auto", private_target: Any = "auto") -> None:
        self.n_components = n_components
        self.utility_target = utility_target
        self.private_target = private_target

    def _directions(self, X: NDArray[Any], useful: Any, private: Any) -> NDArray[Any]:  # noqa: N803
        return principal_directions(X, self.n_components)


class PrivatePLS(_Projection):
    """Private partial least squares: directions that covary with ``y`` and not with ``private``, one after the other.

    ``w_k = argmax_{|w| = 1}  |cov(X_k w, y)|^2 - strength |cov(X_k w, private)|^2``, ``X_{k+1} = X_k - t t^T X_k / t^T t``
    with ``t = X_k w_k``; classes stand as indicators, numbers standardised

    Args:
        n_components: numbers published of a sample.
        strength: the price of covariance with the private label, >= 0.
        utility_target: how ``y`` is read: ``"classification"``, ``"regression"``, or ``"auto"`` by its values.
        private_target: the same for ``private``.

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

    def _directions(self, X: NDArray[Any], useful: Any, private: Any) -> NDArray[Any]:  # noqa: N803
        return private_pls_directions(X, useful, private, self.n_components, strength=self.strength)


class PrivateLDA(_Projection):
    """Private linear discriminant analysis: directions in which the classes of ``y`` stand apart, those of ``private`` not.

    ``max_w  w^T S_y w / w^T (strength S_private + S_t + shrinkage tr(S_t) / p I) w``, with the scatters ``S`` between the
    classes, ``S_t`` the total one, and ``p`` features; numbers scatter by the regression on them

    Args:
        n_components: numbers published of a sample.
        strength: the price of scatter between the private classes, >= 0.
        shrinkage: of the total scatter, >= 0.
        utility_target: how ``y`` is read: ``"classification"``, ``"regression"``, or ``"auto"`` by its values.
        private_target: the same for ``private``.

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

    def _directions(self, X: NDArray[Any], useful: Any, private: Any) -> NDArray[Any]:  # noqa: N803
        return private_lda_directions(
            X, useful, private, self.n_components, strength=self.strength, shrinkage=self.shrinkage
        )


class DiscriminativeDirection(_Projection):
    """One direction that tells the useful label and not the private one (DDD).

    ``max_w  log J_y(w) - log (J_private(w) + 1 / N)``, ``J_l(w) = w^T S_l w / w^T (S_t - S_l + shrinkage tr(S_t) / p I) w``

    with the scatter ``S_l`` between the classes of a label, ``S_t`` the total one, ``p`` features and ``N`` samples.

    Args:
        shrinkage: of the scatter within the classes, >= 0.
        utility_target: how ``y`` is read: ``"classification"``, ``"regression"``, or ``"auto"`` by its values.
        private_target: the same for ``private``.

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

    def _directions(self, X: NDArray[Any], useful: Any, private: Any) -> NDArray[Any]:  # noqa: N803
        return discriminative_direction(X, useful, private, shrinkage=self.shrinkage)
