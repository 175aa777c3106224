"""MNIST's IDX files: find them on disk, verify their content, read them, and download them."""

from __future__ import annotations

import gzip
import hashlib
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minimaxopt.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"

MNIST_SHA256: Mapping[str, str] = {
    TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""SHA-256 of the decompressed content: archives of the same content differ between the places that serve them."""

MIRRORS: Sequence[str] = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
FOLDERS = ("", "mnist", "MNIST", "raw", "MNIST/raw")
"""Folders under a data directory that may hold the files; the last is torchvision's layout."""

REMEDY = "delete it and fetch it again, or use the embedded digits (source='embedded')"


def find(data_dir: Path, names: Sequence[str]) -> dict[str, Path]:
    """Return the path of each file under ``data_dir``, by name; absent files are left out.

    A file may be gzipped, may have a dot in its name (``train-images.idx3-ubyte``), and may be in a folder of its own.
    """
    candidates = [
        (name, data_dir / folder / inner / f"{spelling}{suffix}")
        for name in names
        for folder in FOLDERS
        for inner in ("", *_spellings(name))
        for spelling in _spellings(name)
        for suffix in ("", ".gz")
    ]
    return {name: path for name, path in reversed(candidates) if path.is_file()}


def looked_for(data_dir: Path, names: Sequence[str]) -> str:
    """Return what ``find`` looks for, and where, as the beginning of a sentence.

    Examples:
        >>> print(looked_for(Path("data"), ["train-images-idx3-ubyte"]))
        data: there is no train-images-idx3-ubyte or train-images.idx3-ubyte (or .gz) in it or in its folders mnist,
        MNIST, raw and MNIST/raw, themselves or in a folder of the file's name
    """
    files = ", ".join(" or ".join(_spellings(name)) for name in names)
    *first, last = FOLDERS[1:]
    return (
        f"{data_dir}: there is no {files} (or .gz) in it or in its folders {', '.join(first)} and {last}, themselves or "
        "in a folder of the file's name"
    )


def _spellings(name: str) -> tuple[str, str]:
    return name, name.replace("-idx", ".idx")


def read_verified(path: Path, sha256: str) -> bytes:
    """Return the decompressed content of ``path`` if its SHA-256 is the expected one.

    Raises:
        DataError: the file cannot be read or decompressed, or has another content.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: it cannot be read ({error}); {REMEDY}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise DataError(f"{path}: its content has SHA-256 {digest[:12]}… instead of {sha256[:12]}…; {REMEDY}")
    return content


def parse(content: bytes, path: Path) -> NDArray[np.uint8]:
    """Return the array of unsigned bytes in an IDX file.

    The format: two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension as a big-endian
    32-bit number, then the values in C order.

    Args:
        content: of the file, decompressed.
        path: named in the error.

    Raises:
        DataError: the header is not of this form, or the length does not fit it.

    Examples:
        >>> parse(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]), Path("three"))
        array([7, 8, 9], dtype=uint8)
    """
    if len(content) < 4 or content[:3] != b"\x00\x00\x08" or len(content) < 4 + 4 * content[3]:
        raise DataError(f"{path}: it is not an IDX file of unsigned bytes; {REMEDY}")
    start = 4 + 4 * content[3]
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], dtype=">u4"))
    if len(content) - start != int(np.prod(shape)):
        raise DataError(f"{path}: it holds {len(content) - start} values where its header says {shape}; {REMEDY}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def download(folder: Path, names: Sequence[str], checksums: Mapping[str, str], mirrors: Sequence[str]) -> None:
    """Download the named files into ``folder``, gzipped, and keep only those with the expected content.

    Args:
        folder: made where it does not exist.
        names: of the files, without ``.gz``.
        checksums: file name to SHA-256 of its decompressed content.
        mirrors: addresses of folders, tried in order.

    Raises:
        DataError: the folder cannot be made, or no mirror has a file with the expected content.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: it cannot be created ({error}); name a directory that can be written to") from error
    try:
        _download_into(folder, names, checksums, mirrors)
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()


def _download_into(folder: Path, names: Sequence[str], checksums: Mapping[str, str], mirrors: Sequence[str]) -> None:
    import pooch  # imported late: only a download needs it

    for name in names:
        failures: list[str] = []
        for mirror in mirrors:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                try:
                    pooch.retrieve(f"{mirror}{name}.gz", known_hash=None, fname=f"{name}.gz", path=scratch)
                    read_verified(Path(scratch) / f"{name}.gz", checksums[name])
                except (OSError, ValueError, DataError) as error:  # requests' errors are OSErrors
                    failures.append(f"{mirror} ({type(error).__name__})")
                    continue
                (Path(scratch) / f"{name}.gz").replace(folder / f"{name}.gz")
                break
        else:
            raise DataError(
                f"{looked_for(folder.parent, [name])}, and it could not be downloaded from {' or '.join(failures)}; put "
                "MNIST's four files into a directory and give it as --data-dir (MINIMAXOPT_DATA_DIR, data_dir=), "
                "or use the 5,000 embedded digits (source='embedded')"
            )
