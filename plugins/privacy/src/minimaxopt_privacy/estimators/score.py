"""The score of a filter, by which ``GridSearchCV`` compares settings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minimaxopt_privacy.checks import check_weights, refuse
from minimaxopt_privacy.estimators.validation import require_private
from minimaxopt_privacy.game.labels import Column, label_columns


class ScoreMixin:
    """Mixin for filters: the score is utility minus leakage, each as the gain over a guess."""

    # Under metadata routing ``private`` is requested by default, so that GridSearchCV passes it on.
    __metadata_request__score = {"private": True}  # noqa: RUF012 - the form that scikit-learn reads

    utility_columns_: list[Column]
    private_columns_: list[Column]

    def score(
        self, X: ArrayLike, y: ArrayLike, *, private: Any = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return how well fresh linear predictors infer ``y`` from the filtered X, minus the same for ``private``.

        ``mean over y of (b - 1/k) / (1 - 1/k)  -  max over private of the same``

        with ``b`` the balanced accuracy among ``k`` classes; for regression the coefficient of determination replaces
        the quotient. Scores are means of a three-fold cross-validation. Utility and leakage count alike, whatever
        ``rho`` was: among filters that keep the utility you need, prefer the one of least
        ``evaluate_filter(...).leakage``.

        ``GridSearchCV``, and a ``Pipeline`` that ends in the filter, pass ``private`` on only under metadata routing:
        without it every score of the search is NaN, of which scikit-learn warns.

        Args:
            X: features ``(N, n_features)`` that the filter was not fitted on.
            y: their useful labels, ``(N,)`` or ``(N, k)``.
            private: their private labels, the same.
            sample_weight: weights of the samples ``(N,)``, >= 0, within each class, in the fits and the scores of the
                predictors; by default equal ones.

        Raises:
            TypeError: ``private`` is missing.
            ValueError: X, labels or weights cannot be used, or a label is constant.
        """
        from minimaxopt_privacy.predictors import linear_advantage

        filter_: Any = self
        z = filter_.transform(X)
        require_private(private, "score")
        useful_labels, private_labels = labels_as_fitted(self, y, private, len(z))
        weights = check_weights("sample_weight", sample_weight, len(z))
        rows = slice(None) if weights is None else weights > 0
        weights = None if weights is None else weights[rows]
        utility, leakage = (
            [linear_advantage(z[rows], v[rows], c, sample_weight=weights) for v, c in zip(labels, columns, strict=True)]
            for labels, columns in ((useful_labels, self.utility_columns_), (private_labels, self.private_columns_))
        )
        return float(np.mean(utility) - max(leakage))


def labels_as_fitted(
    filter_: ScoreMixin, y: Any, private: Any, samples: int
) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    """Return the columns of both labels, checked against the filter's own.

    Raises:
        ArgumentError: the number of labels a sample differs from that in ``fit``.
    """
    labels = label_columns("y", y, samples), label_columns("private", private, samples)
    fitted = {"y": filter_.utility_columns_, "private": filter_.private_columns_}
    for (name, expected), columns in zip(fitted.items(), labels, strict=True):
        if len(columns) != len(expected):
            raise refuse(name, f"has {len(columns)} labels a sample, fitted on {len(expected)}", "give the same ones")
    return labels
