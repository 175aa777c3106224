"""The digits of a study: which are trained on, which are evaluated on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from minimaxopt.errors import ArgumentError
from minimaxopt_adversarial.data import fingerprint, load_mnist

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from minimaxopt_study.profile import Data

BOUNDS = (-1.0, 1.0)  # pixels, throughout the study
OPENER = f"{__name__}:open_digits"


@dataclass(frozen=True, eq=False)
class Digits:
    """Images (n, 1, 28, 28) in [-1, 1] and labels (n,), to train on and to evaluate on."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    name: str
    note: str
    fingerprint: str


def how_to_open(data: Data, data_dir: str | None) -> dict[str, Any]:
    """Arguments with which a worker process opens the same digits."""
    full = data.source == "full" or data_dir is not None
    return {
        "open": OPENER,
        "source": "download" if full else "embedded",
        "data_dir": data_dir,
        "held_out": data.held_out if data.evaluate_on == "held-out" else 0,
    }


def open_digits(source: str, data_dir: str | None, held_out: int) -> Digits:
    """Open the digits; with `held_out`, that many training digits are not trained on and stand in for the test set.

    >>> digits = open_digits("embedded", None, 800)
    >>> tuple(digits.x_train.shape), tuple(digits.x_test.shape)
    ((3200, 1, 28, 28), (800, 1, 28, 28))
    """
    found = load_mnist(data_dir, source=source)  # type: ignore[arg-type]
    if not held_out:
        return Digits(
            found.x_train, found.y_train, found.x_test, found.y_test, found.name, found.note, found.fingerprint
        )
    if held_out >= len(found.y_train):
        raise ArgumentError(
            f"data.held_out: {held_out} of {len(found.y_train)} training digits leave none to train on; hold out fewer"
        )
    order = torch.randperm(len(found.y_train), generator=torch.Generator().manual_seed(0))
    aside, kept = order[:held_out], order[held_out:]
    x, y = found.x_train, found.y_train
    parts = (x[kept], y[kept], x[aside], y[aside])
    return Digits(*parts, f"{found.name}, held-out training digits", found.note, fingerprint(*parts))


def describe(digits: Digits) -> Mapping[str, Any]:
    """What the report says about the digits."""
    return {
        "name": digits.name,
        "note": digits.note,
        "train": len(digits.y_train),
        "evaluated": len(digits.y_test),
        "fingerprint": digits.fingerprint,
    }
