"""Mechanisms of local differential privacy: noise with a stated epsilon, alone or after a filter."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from minimaxopt_privacy.checks import check_number, refuse
from minimaxopt_privacy.estimators.validation import validate_features


def laplace_scale(epsilon: float, sensitivity: float) -> float:
    """Return the scale of Laplace noise that makes a release epsilon-differentially private.

    ``b = sensitivity / epsilon``, since the densities at two values differ by at most ``exp(|a - b|_1 / b)``

    Args:
        epsilon: the bound on the log-ratio of densities, > 0.
        sensitivity: the greatest l1-distance between two values that must be indistinguishable, > 0.

    Raises:
        ArgumentError: an argument is not positive.

    Examples:
        >>> laplace_scale(0.5, 2.0)
        4.0

    Source: Dwork, McSherry, Nissim and Smith 2006.
    """
    return check_number("sensitivity", sensitivity, positive=True) / check_number("epsilon", epsilon, positive=True)


def gaussian_scale(epsilon: float, delta: float, sensitivity: float) -> float:
    """Return the least standard deviation of Gaussian noise that makes a release (epsilon, delta)-private.

    The root ``s`` of ``Phi(D / 2s - epsilon s / D) - e^epsilon Phi(-D / 2s - epsilon s / D) = delta``, with ``D`` the
    sensitivity and ``Phi`` the normal distribution function. Unlike ``D sqrt(2 log(1.25 / delta)) / epsilon`` it holds
    for every epsilon, and is never larger.

    Args:
        epsilon: bound on the log-ratio of densities, except with probability ``delta``, > 0.
        delta: probability that the bound fails, in (0, 1).
        sensitivity: the greatest l2-distance between two values that must be indistinguishable, > 0.

    Raises:
        ArgumentError: an argument is out of range.

    Examples:
        >>> round(gaussian_scale(1.0, 1e-5, 1.0), 4)
        3.7306

    Source: Balle and Wang 2018, "Improving the Gaussian mechanism for differential privacy", Theorem 8.
    """
    from scipy.optimize import brentq

    epsilon, distance = (
        check_number("epsilon", epsilon, positive=True),
        check_number("sensitivity", sensitivity, positive=True),
    )
    if not 0 < check_number("delta", delta) < 1:
        raise refuse("delta", f"it is {delta!r}", "give a number between 0 and 1, for instance 1e-5")

    def excess(log_scale: float) -> float:
        return gaussian_delta(epsilon, float(np.exp(log_scale)), 1.0) - delta

    root: Any = brentq(excess, -20.0, 20.0, xtol=1e-13)
    return distance * float(np.exp(root))


def gaussian_delta(epsilon: float, scale: float, sensitivity: float) -> float:
    """Return the least delta for which Gaussian noise of a given scale is (epsilon, delta)-private.

    Args:
        epsilon: >= 0.
        scale: standard deviation of the noise, > 0.
        sensitivity: as in ``gaussian_scale``.

    Examples:
        >>> round(gaussian_delta(0.0, 1.0, 1.0), 4)  # the total variation of N(0, 1) and N(1, 1)
        0.3829
    """
    from scipy.stats import norm

    half, tilt = sensitivity / (2 * scale), epsilon * scale / sensitivity
    return float(norm.cdf(half - tilt) - np.exp(epsilon + norm.logcdf(-half - tilt)))


class _Mechanism(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Clip every sample to a ball around the training mean, then add noise of the scale that epsilon requires."""

    # Under metadata routing a Pipeline passes ``private`` to every step that requests it.
    __metadata_request__fit = {"private": True}  # noqa: RUF012 - the form that scikit-learn reads

    epsilon: float
    radius: float | None
    quantile: float
    random_state: int | np.random.RandomState | None

    def fit(self, X: ArrayLike, y: Any = None, *, private: Any = None) -> Any:
        """Learn the centre of the ball, and its radius if ``radius`` is ``None``.

        Args:
            X: features, ``(N, n_features)``.
            y: ignored.
            private: ignored: the guarantee holds whatever is private.

        Raises:
            ValueError: X cannot be used, or an argument is out of range.
        """
        samples: Any = X
        x: Any = validate_data(self, samples, dtype=np.float64, ensure_min_samples=2)
        if not 0 < check_number("quantile", self.quantile) <= 1:
            raise refuse("quantile", f"it is {self.quantile!r}", "give a share of the samples, in (0, 1]")
        self.center_: NDArray[Any] = x.mean(0)
        self.radius_ = self.radius
        if self.radius_ is None:
            self.radius_ = float(np.quantile(self._norms(x - self.center_), self.quantile)) or 1.0
        self.sensitivity_ = 2 * check_number("radius", self.radius_, positive=True)
        self.scale_ = self._scale(self.sensitivity_)
        self._seed = None if self.random_state is None else check_random_state(self.random_state).randint(2**31 - 1)
        return self

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Return the clipped samples with noise, ``(N, n_features)``: one release of each sample.

        The noise is fresh each time: publishing a sample ``k`` times costs ``k`` times its epsilon, so publish it once
            and
        keep the published value. With a ``random_state`` the noise is a function of it and of X, so that experiments
        can be repeated; anyone who knows or guesses that seed can subtract the noise, so there is no guarantee.

        Raises:
            NotFittedError: the mechanism has not been fitted.
            ValueError: X cannot be used.
        """
        check_is_fitted(self, "scale_")
        x = validate_features(self, X)
        clipped = self.clip(x)
        random = np.random.default_rng(noise_entropy(self._seed, x))
        return (clipped + self._draw(random, clipped.shape)).astype(x.dtype, copy=False)

    def clip(self, X: NDArray[Any]) -> NDArray[Any]:
        """Return the samples, those outside the ball scaled back to its surface."""
        offsets = X - self.center_
        norms = self._norms(offsets)
        return self.center_ + offsets * np.minimum(1.0, self.radius_ / np.maximum(norms, 1e-300))[:, None]

    def _norms(self, offsets: NDArray[Any]) -> NDArray[Any]:
        raise NotImplementedError

    def _scale(self, sensitivity: float) -> float:
        raise NotImplementedError

    def _draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
        raise NotImplementedError

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.non_deterministic = True
        return tags


class LaplaceMechanism(_Mechanism):
    """Clip each sample to an l1-ball of radius ``r`` and add Laplace noise of scale ``2 r / epsilon`` to each feature.

    ``z = c + clip(x - c) + b e``, ``e_j ~ Laplace(1)``, ``b = 2 r / epsilon``

    This is local differential privacy: for any two values ``x`` and ``x'``, the densities of the published vectors
    differ by at most a factor ``e^epsilon``, which bounds what anyone can infer. It protects the persons whose data are
    published, not those whose data determine the centre and the radius. Noise is drawn in floating-point numbers, whose
    lowest digits leak more than the densities do (Mironov 2012); round the output against that attack.

    Args:
        epsilon: bound on the log-ratio of densities, > 0.
        radius: radius of the ball in the l1 norm, in the unit of the features, > 0; by default a quantile of the
            training samples' distances from the centre.
        quantile: level of that quantile, in (0, 1].
        random_state: ``None`` for fresh noise each time; a seed for experiments, never for a release.

    Raises:
        ValueError: in ``fit`` or ``transform``, for samples or settings that cannot be used.

    Attributes:
        center_: mean of the training samples, ``(n_features,)``.
        radius_: radius of the ball.
        sensitivity_: its diameter, ``2 radius_``.
        scale_: scale of the noise.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(100, 2))
        >>> mechanism = LaplaceMechanism(epsilon=1.0, radius=3.0, random_state=0).fit(X)
        >>> mechanism.scale_, mechanism.transform(X).shape
        (6.0, (100, 2))

    Source: Dwork, McSherry, Nissim and Smith 2006.
    """

    def __init__(
        self,
        epsilon: float = 1.0,
        *,
        radius: float | None = None,
        quantile: float = 0.95,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.radius = radius
        self.quantile = quantile
        self.random_state = random_state

    def _norms(self, offsets: NDArray[Any]) -> NDArray[Any]:
        return np.abs(offsets).sum(1)

    def _scale(self, sensitivity: float) -> float:
        return laplace_scale(self.epsilon, sensitivity)

    def _draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
        return random.laplace(scale=self.scale_, size=shape)


class GaussianMechanism(_Mechanism):
    """Clip each sample to an l2-ball of radius ``r`` and add Gaussian noise of the least scale that suffices.

    ``z = c + clip(x - c) + s e``, ``e_j ~ N(0, 1)``, ``s = gaussian_scale(epsilon, delta, 2 r)``

    Local differential privacy as for ``LaplaceMechanism``, except with probability ``delta``.

    Args:
        epsilon: bound on the log-ratio of densities, except with probability ``delta``, > 0.
        delta: probability that the bound fails, in (0, 1).
        radius: radius of the ball in the l2 norm, in the unit of the features, > 0; by default a quantile of the
            training samples' distances from the centre.
        quantile: level of that quantile, in (0, 1].
        random_state: ``None`` for fresh noise each time; a seed for experiments, never for a release.

    Raises:
        ValueError: in ``fit`` or ``transform``, for samples or settings that cannot be used.

    Attributes:
        center_: mean of the training samples, ``(n_features,)``.
        radius_: radius of the ball.
        sensitivity_: its diameter, ``2 radius_``.
        scale_: standard deviation of the noise.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(100, 2))
        >>> round(GaussianMechanism(1.0, delta=1e-5, radius=0.5, random_state=0).fit(X).scale_, 4)
        3.7306

    Source: Balle and Wang 2018.
    """

    def __init__(
        self,
        epsilon: float = 1.0,
        *,
        delta: float = 1e-5,
        radius: float | None = None,
        quantile: float = 0.95,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.delta = delta
        self.radius = radius
        self.quantile = quantile
        self.random_state = random_state

    def _norms(self, offsets: NDArray[Any]) -> NDArray[Any]:
        return np.linalg.norm(offsets, axis=1)

    def _scale(self, sensitivity: float) -> float:
        return gaussian_scale(self.epsilon, self.delta, sensitivity)

    def _draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
        return random.normal(scale=self.scale_, size=shape)


def noise_entropy(seed: int | None, X: NDArray[Any]) -> np.random.SeedSequence:
    """Return the seed sequence of the noise: from a seed and X, or for ``None`` from the operating system.

    It depends on X since training and test samples must not share their noise, which could be subtracted.

    >>> X = np.ones((2, 2))
    >>> [noise_entropy(0, other).entropy == noise_entropy(0, X).entropy for other in (X.copy(), 2 * X)]
    [True, False]
    >>> noise_entropy(None, X).entropy == noise_entropy(None, X).entropy
    False
    """
    from hashlib import sha256

    if seed is None:
        return np.random.SeedSequence()
    digest = sha256(np.ascontiguousarray(X, dtype=np.float64).tobytes()).digest()[:16]
    return np.random.SeedSequence([seed, *np.frombuffer(digest, dtype=np.uint32)])


def noise_seed(seed: int | None, X: NDArray[Any]) -> int:
    """Return ``noise_entropy`` as a 64-bit seed for torch's generators."""
    return int(noise_entropy(seed, X).generate_state(1, np.uint64)[0])
