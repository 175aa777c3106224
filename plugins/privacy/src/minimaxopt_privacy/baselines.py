"""The classical filters behind the interface of ``MinimaxFilter``: ``fit(X, y, *, private)`` and ``transform``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from minimaxopt_privacy._check import check_components
from minimaxopt_privacy._features import checked, features_of
from minimaxopt_privacy.directions import (
    discriminative_direction,
    principal_directions,
    private_lda_directions,
    private_pls_directions,
)
from minimaxopt_privacy.labels import learn, refuse_same


class _Projection(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A linear filter ``z = (x - mean_) W`` whose ``W`` a subclass chooses."""

    __metadata_request__fit = {"private": True}  # noqa: RUF012 - the form that scikit-learn reads

    n_components: int

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
        learn("y", useful, "auto")
        learn("private", hidden, "auto")
        refuse_same(useful, hidden)
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
        random_state: seed of ``W``.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(20, 4))
        >>> y, private = (X[:, 0] > 0).astype(int), (X[:, 1] > 0).astype(int)
        >>> RandomFilter(2, random_state=0).fit_transform(X, y, private=private).shape
        (20, 2)
    """

    def __init__(self, n_components: int = 2, *, random_state: int | np.random.RandomState | None = None) -> None:
        self.n_components = n_components
        self.random_state = random_state

    def _directions(self, X: NDArray[Any], useful: Any, private: Any) -> NDArray[Any]:  # noqa: N803
        random = check_random_state(self.random_state)
        return random.normal(size=(X.shape[1], self.n_components)) / np.sqrt(self.n_components)


class PCAFilter(_Projection):
    """The principal components: what varies most, whatever it tells.

    Args:
        n_components: numbers published of a sample.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(20, 4))
        >>> y, private = (X[:, 0] > 0).astype(int), (X[:, 1] > 0).astype(int)
        >>> PCAFilter(2).fit_transform(X, y, private=private).shape
        (20, 2)
    """

    def __init__(self, n_components: int = 2) -> None:
        self.n_components = n_components

    def _directions(self, X: NDArray[Any], useful: Any, private: Any) -> NDArray[Any]:  # noqa: N803
        return principal_directions(X, self.n_components)


class PrivatePLS(_Projection):
    """Private partial least squares, as :func:`private_pls_directions`.

    Args:
        n_components: numbers published of a sample.
        strength: the price of covariance with the private label, >= 0.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(20, 4))
        >>> y, private = (X[:, 0] > 0).astype(int), (X[:, 1] > 0).astype(int)
        >>> PrivatePLS(1).fit(X, y, private=private).projection_.shape
        (4, 1)

    Source: Enev et al. 2012, "SensorSift".
    """

    def __init__(self, n_components: int = 2, *, strength: float = 1.0) -> None:
        self.n_components = n_components
        self.strength = strength

    def _directions(self, X: NDArray[Any], useful: Any, private: Any) -> NDArray[Any]:  # noqa: N803
        return private_pls_directions(X, useful, private, self.n_components, strength=self.strength)


class PrivateLDA(_Projection):
    """Private linear discriminant analysis, as :func:`private_lda_directions`.

    Args:
        n_components: numbers published of a sample.
        strength: the price of scatter between the private classes, >= 0.
        shrinkage: of the total scatter, >= 0.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(20, 4))
        >>> y, private = (X[:, 0] > 0).astype(int), (X[:, 1] > 0).astype(int)
        >>> PrivateLDA(1).fit(X, y, private=private).projection_.shape
        (4, 1)

    Source: Hamm 2017, "Minimax filter".
    """

    def __init__(self, n_components: int = 2, *, strength: float = 10.0, shrinkage: float = 0.1) -> None:
        self.n_components = n_components
        self.strength = strength
        self.shrinkage = shrinkage

    def _directions(self, X: NDArray[Any], useful: Any, private: Any) -> NDArray[Any]:  # noqa: N803
        return private_lda_directions(
            X, useful, private, self.n_components, strength=self.strength, shrinkage=self.shrinkage
        )


class DiscriminativeDirection(_Projection):
    """One direction that tells the useful label and not the private one (DDD), as :func:`discriminative_direction`.

    Args:
        shrinkage: of the scatter within the classes, >= 0.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(20, 4))
        >>> y, private = (X[:, 0] > 0).astype(int), (X[:, 1] > 0).astype(int)
        >>> DiscriminativeDirection().fit(X, y, private=private).projection_.shape
        (4, 1)

    Source: Whitehill and Movellan 2012.
    """

    def __init__(self, *, shrinkage: float = 0.1) -> None:
        self.shrinkage = shrinkage

    n_components = 1

    def _directions(self, X: NDArray[Any], useful: Any, private: Any) -> NDArray[Any]:  # noqa: N803
        return discriminative_direction(X, useful, private, shrinkage=self.shrinkage)
