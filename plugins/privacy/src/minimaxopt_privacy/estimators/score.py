"""The score that all filters share, by which ``GridSearchCV`` compares them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minimaxopt_privacy.checks import refuse
from minimaxopt_privacy.estimators.validation import require_private
from minimaxopt_privacy.game.labels import Column, columns_of


class PublisherScore:
    """What a fitted filter tells of the useful labels, less what it tells of the private ones."""

    # Under metadata routing ``private`` is asked for unless the user says otherwise: GridSearchCV need not be told.
    __metadata_request__score = {"private": True}  # noqa: RUF012 - the form that scikit-learn reads

    utility_columns_: list[Column]
    private_columns_: list[Column]

    def score(self, X: ArrayLike, y: ArrayLike, *, private: Any = None) -> float:  # noqa: N803
        """Return how much fresh linear readers infer of ``y`` from what is published, less how much of ``private``.

        ``mean over y of (b - 1/k) / (1 - 1/k)  -  max over private of the same``, with ``b`` the balanced accuracy among
        ``k`` classes; of numbers the coefficient of determination stands in its place. Readers are trained on two thirds
        of the filtered X and tested on the third, three times. Utility and privacy count alike, whatever ``rho`` was:
        to choose among filters that keep the utility you need, take the one of least ``evaluate_filter(...).leakage``.

        ``GridSearchCV`` passes ``private`` on under metadata routing, and under that alone: without it every score is
        NaN, of which scikit-learn warns.

        Args:
            X: features that the filter was not fitted on.
            y: their useful labels.
            private: their private labels.

        Raises:
            TypeError: ``private`` is missing.
            ValueError: X or labels cannot be used, or a label is constant.
        """
        from minimaxopt_privacy.predictors import quick_reading

        publisher: Any = self
        z = publisher.transform(X)
        require_private(private, "score")
        useful, hidden = fitted_labels(self, y, private, len(z))
        kept, told = (
            [quick_reading(z, values, c) for values, c in zip(labels, columns, strict=True)]
            for labels, columns in ((useful, self.utility_columns_), (hidden, self.private_columns_))
        )
        return float(np.mean(kept) - max(told))


def fitted_labels(
    publisher: PublisherScore, y: Any, private: Any, samples: int
) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    """Return the columns of labels, as many as the filter was fitted on.

    Raises:
        ArgumentError: there are others.
    """
    found = columns_of("y", y, samples), columns_of("private", private, samples)
    fitted = {"y": publisher.utility_columns_, "private": publisher.private_columns_}
    for (name, columns), labels in zip(fitted.items(), found, strict=True):
        if len(labels) != len(columns):
            raise refuse(name, f"has {len(labels)} labels a sample, fitted on {len(columns)}", "give the same ones")
    return found
