"""Errors, one type for each kind of failure. A message names the argument, the reason and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MinimaxoptError(Exception):
    """The base of every error that minimaxopt raises on purpose."""


class ArgumentError(MinimaxoptError, ValueError):
    """An argument cannot be used; the message is ``argument: reason; remedy``."""


class UnknownNameError(ArgumentError, LookupError):
    """A name that nobody registered; the message lists the known ones."""


class RiskError(MinimaxoptError):
    """The risk ``f`` failed, or returned something that is not a differentiable scalar."""


class DoubleBackwardError(RiskError):
    """An operation inside ``f`` cannot be differentiated twice, and the solver needs it to be."""


class DataError(MinimaxoptError):
    """Data are missing, empty, corrupted or of the wrong form."""


class ResumeError(MinimaxoptError):
    """A saved solution or checkpoint does not fit what is to be loaded or continued."""


class StoreError(MinimaxoptError):
    """A folder of results cannot be used as it is."""


class DiskFullError(StoreError):
    """There is no room for a result; those that are stored already stay."""


class PluginError(MinimaxoptError):
    """A plugin could not be loaded or registered."""


class DivergenceWarning(RuntimeWarning):
    """A solve stopped because a value ceased to be finite."""


def unknown_name(argument: str, name: object, known: Iterable[str], *, remedy: str = "") -> UnknownNameError:
    """Build the error for a name that is not among ``known``, with the nearest spelling.

    >>> print(unknown_name("solver", "sensitivty", ["sensitivity", "descent"]))
    solver: there is no 'sensitivty'; did you mean 'sensitivity'? Known: descent, sensitivity
    """
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    guess = f"; did you mean {close[0]!r}?" if close else ";"
    listed = ", ".join(names) if names else "none"
    return UnknownNameError(
        f"{argument}: there is no {name!r}{guess} Known: {listed}" + (f". {remedy}" if remedy else "")
    )
