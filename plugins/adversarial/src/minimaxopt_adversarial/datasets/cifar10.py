"""CIFAR-10: its binary version, verified, read without unpickling, and preprocessed as in the paper."""

from __future__ import annotations

import hashlib
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from numpy.typing import NDArray

from minimaxopt.errors import DataError
from minimaxopt.plugins import check_choice
from minimaxopt_adversarial.datasets.dataset import (
    Dataset,
    cache_directory,
    fingerprint,
    named_directory,
    no_directory,
)

ARCHIVE = "cifar-10-binary.tar.gz"
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = ("test_batch.bin",)
FOLDERS = ("", "cifar-10-batches-bin")
RECORD = 1 + 3 * 32 * 32  # a label, then the red, the green and the blue plane
CLIP = 2.0  # standard deviations
REMEDY = f"fetch {ARCHIVE} anew (source='download')"


@final
@dataclass(frozen=True, eq=False)
class Cifar10:
    """CIFAR-10 with pixels in [-1, 1], and the numbers by which they were scaled.

    Args:
        dataset: images (N, 3, 32, 32) float32 and classes 0 to 9.
        mean: mean of all training pixels, in [0, 255].
        std: standard deviation of all training pixels, in the same unit.
        verified: True if the images come from the published archive.

    Examples:
        >>> from minimaxopt_adversarial import load_mnist
        >>> digits = load_mnist(source="embedded")  # in the place of CIFAR-10's images
        >>> round(Cifar10(digits, mean=120.0, std=63.75, verified=False).pixel_eta(0.06), 6)
        0.03

    Source: Krizhevsky, "Learning multiple layers of features from tiny images" (2009); the scaling is that of Hamm and
    Mehra 2018, Appendix B.
    """

    dataset: Dataset
    mean: float
    std: float
    verified: bool

    def pixel_eta(self, eta: float) -> float:
        """Return the radius ``eta`` in the unit of the original pixels, on a scale from 0 to 1.

        ``eta * 2 std / 255``: a preprocessed pixel's unit is two standard deviations.

        Args:
            eta: radius in the unit of the preprocessed pixels, in [-1, 1].
        """
        return eta * CLIP * self.std / 255


def load_cifar10(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    source: Literal["disk", "download"] = "disk",
    allow_unverified: bool = False,
    sha256: str = SHA256,
) -> Cifar10:
    """Load CIFAR-10 and preprocess it: ``clip((p - mean) / std, -2, 2) / 2`` for a pixel ``p``.

    ``mean`` and ``std`` are numbers, taken over all pixels of the training images.

    Args:
        data_dir: directory of the archive of the binary version, or of its six files, themselves or in
            ``cifar-10-batches-bin``. By default the environment variable ``MINIMAXOPT_DATA_DIR``.
        source: ``"disk"``, or ``"download"``, which fetches the archive into ``data_dir`` if neither it nor a loose
            file is there (without a directory, into the user's cache).
        allow_unverified: accept files whose content cannot be verified. Only the archive has a published checksum, so
            loose files never can. The data's name then says so, and a result on them must.
        sha256: checksum of the archive, for other data in CIFAR-10's format.

    Returns:
        The images with the numbers by which they were scaled.

    Raises:
        DataError: files are missing, damaged or not the published ones, or unverified and not allowed to be.
        UnknownNameError: there is no such source.

    Examples:
        >>> load_cifar10("nowhere")
        Traceback (most recent call last):
        minimaxopt.errors.DataError: nowhere: neither cifar-10-binary.tar.gz nor data_batch_1.bin, ...

    Source: Krizhevsky, "Learning multiple layers of features from tiny images" (2009); preprocessing: Hamm and Mehra
    2018, Appendix B.
    """
    check_choice("source", source, ("disk", "download"))
    directory = named_directory(data_dir)
    if directory is None and source == "disk":
        raise no_directory("let the archive be fetched (source='download')")
    folder = directory or cache_directory()
    archive = folder / ARCHIVE
    if source == "download" and not archive.is_file() and not _loose_files(folder):
        _download(folder, sha256)
    if archive.is_file():
        contents = _read_archive(archive, sha256, allow_unverified)
        return _preprocess(contents, _has_checksum(archive, sha256), "the published archive")
    return _preprocess(_read_loose_files(folder, allow_unverified), False, "loose files, not verified")


Contents = dict[str, bytes]
"""Content of each of the six files, by name."""


def _read_archive(path: Path, sha256: str, allow_unverified: bool) -> Contents:
    if not allow_unverified and not _has_checksum(path, sha256):
        raise DataError(f"{path}: its SHA-256 is not {sha256[:12]}…, that of the published archive; {REMEDY}")
    names = {*TRAIN, *TEST}
    contents: Contents = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = Path(member.name).name
                if name in names and (content := archive.extractfile(member)) is not None:
                    contents[name] = content.read()
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DataError(f"{path}: it cannot be read ({error}); {REMEDY}") from error
    if missing := sorted(names - contents.keys()):
        raise DataError(f"{path}: {', '.join(missing)} not in it; {REMEDY}")
    return contents


def _loose_files(folder: Path) -> dict[str, Path]:
    """Return the paths of those of the six files that are not in an archive, by name."""
    candidates = {name: [folder / inner / name for inner in FOLDERS] for name in (*TRAIN, *TEST)}
    return {name: path for name, paths in candidates.items() for path in reversed(paths) if path.is_file()}


def _read_loose_files(folder: Path, allow_unverified: bool) -> Contents:
    loose_files = _loose_files(folder)
    if missing := [name for name in (*TRAIN, *TEST) if name not in loose_files]:
        raise DataError(
            f"{folder}: neither {ARCHIVE} nor {', '.join(missing)} in it or in its {FOLDERS[1]}; put the archive "
            "there, or let it be fetched (source='download')"
        )
    if not allow_unverified:
        raise DataError(
            f"{folder}: loose files have no published checksum and cannot be verified; put {ARCHIVE} there, or take "
            "them as they are (--allow-unverified-data, allow_unverified=True), and every result will say so"
        )
    try:
        return {name: path.read_bytes() for name, path in loose_files.items()}
    except OSError as error:
        raise DataError(f"{folder}: it cannot be read ({error}); {REMEDY}") from error


def _preprocess(contents: Contents, verified: bool, origin: str) -> Cifar10:
    train, test = (_parse({name: contents[name] for name in names}) for names in (TRAIN, TEST))
    mean, std = float(train[0].mean(dtype=np.float64)), float(train[0].std(dtype=np.float64))
    if std == 0:
        raise DataError(f"data_dir: all pixels of the training images are {mean:g}; {REMEDY}")
    tensors: list[torch.Tensor] = []
    for pixels, labels in (train, test):
        scaled = ((pixels.astype(np.float32) - np.float32(mean)) / np.float32(std)).clip(-CLIP, CLIP) / np.float32(CLIP)
        tensors += [torch.from_numpy(scaled), torch.from_numpy(labels.astype(np.int64))]
    x_train, y_train, x_test, y_test = tensors
    dataset = Dataset(
        x_train, y_train, x_test, y_test,
        name="CIFAR-10" if verified else "CIFAR-10 (unverified copy)",
        fingerprint=fingerprint(*tensors),
        note=f"binary version, {'verified by SHA-256' if verified else origin}; pixels less their mean {mean:.2f}, "
        f"over twice their standard deviation {std:.2f}, clipped to [-1, 1]",
    )  # fmt: skip
    return Cifar10(dataset, mean, std, verified)


def _parse(contents: Contents) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the images (N, 3, 32, 32) and the labels (N,) of some files in order."""
    for name, content in contents.items():
        if not content or len(content) % RECORD:
            raise DataError(f"{name}: {len(content)} bytes are not a whole number of records of {RECORD}; {REMEDY}")
    records = np.frombuffer(b"".join(contents.values()), dtype=np.uint8).reshape(-1, RECORD)
    labels = records[:, 0]
    if labels.max() > 9:
        raise DataError(f"{', '.join(contents)}: label {labels.max()} is not a class from 0 to 9; {REMEDY}")
    return records[:, 1:].reshape(-1, 3, 32, 32), labels


def _has_checksum(path: Path, sha256: str) -> bool:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest() == sha256


def _download(folder: Path, sha256: str) -> None:
    import pooch  # imported late: only a download needs it

    try:
        pooch.retrieve(URL, known_hash=f"sha256:{sha256}", fname=ARCHIVE, path=folder)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        raise DataError(
            f"{ARCHIVE}: it could not be downloaded from {URL} ({type(error).__name__}); put it into a directory and "
            "give that as --data-dir (MINIMAXOPT_DATA_DIR, data_dir=)"
        ) from error
