"""A data set of images, its fingerprint, and the directory in which files of data are looked for."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from torch import Tensor

from minimaxopt.errors import DataError

DATA_DIR_VARIABLE = "MINIMAXOPT_DATA_DIR"
"""Environment variable that names the directory of data."""


@final
@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels, split into training and test parts.

    Args:
        x_train: (N, C, H, W) float32 images with pixels in [-1, 1].
        y_train: (N,) int64 class numbers.
        x_test: (M, C, H, W) float32 images with pixels in [-1, 1].
        y_test: (M,) int64 class numbers.
        name: name of the data in tables.
        fingerprint: SHA-256 of the four tensors' shapes and bytes; equal data have equal fingerprints.
        note: origin of the data and how they were split.

    Examples:
        >>> from minimaxopt_adversarial import load_mnist
        >>> load_mnist(source="embedded").x_test.shape
        torch.Size([1000, 1, 28, 28])

    Source: this library.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    name: str
    fingerprint: str
    note: str


def fingerprint(*tensors: Tensor) -> str:
    """Return the SHA-256, in hexadecimal, of the tensors' types, shapes and bytes, in order.

    Args:
        tensors: any number of tensors, of any shape and dtype.

    Examples:
        >>> import torch
        >>> fingerprint(torch.zeros(2)) == fingerprint(torch.zeros(2)) != fingerprint(torch.zeros(1, 2))
        True

    Source: this library.
    """
    digest = hashlib.sha256()
    for tensor in tensors:
        array = np.ascontiguousarray(tensor.detach().cpu().numpy())
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def named_directory(data_dir: str | os.PathLike[str] | None) -> Path | None:
    """Return ``data_dir``, else the directory that ``MINIMAXOPT_DATA_DIR`` names, else None; ``~`` is expanded."""
    directory = data_dir if data_dir is not None else os.environ.get(DATA_DIR_VARIABLE) or None
    return None if directory is None else Path(directory).expanduser()


def no_directory(remedy: str) -> DataError:
    """Build the error for data that must come from a directory where none is named."""
    return DataError(f"data_dir: no directory is named; give it (--data-dir), set {DATA_DIR_VARIABLE}, or {remedy}")


def cache_directory() -> Path:
    """Return the user's cache, into which downloads go where no directory is named."""
    import pooch  # imported late: only a download needs it

    return Path(pooch.os_cache("minimaxopt"))
