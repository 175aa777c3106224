"""CIFAR-10: its binary version, read without unpickling anything, verified, and preprocessed as in the paper."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch

from minimaxopt.errors import DataError
from minimaxopt_adversarial.checks import refuse
from minimaxopt_adversarial.datasets.mnist import DATA_DIR_VARIABLE, Dataset, fingerprint

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
    """CIFAR-10 with pixels in [-1, 1], and what was done to bring them there.

    Args:
        dataset: images (N, 3, 32, 32) float32 and classes 0 to 9.
        mean: of all training pixels, in [0, 255].
        std: their standard deviation, in the same unit.
        verified: whether the archive that the images come from is the published one.
    """

    dataset: Dataset
    mean: float
    std: float
    verified: bool

    def pixel_eta(self, eta: float) -> float:
        """Return how far a pixel of the original image, on a scale from 0 to 1, may move at ``eta``.

        ``eta * 2 std / 255``: one unit here is two standard deviations.

        >>> empty = Dataset(*[torch.zeros(0)] * 4, name="none", fingerprint="", note="")
        >>> round(Cifar10(empty, mean=120.0, std=63.75, verified=False).pixel_eta(0.06), 6)
        0.03
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
        data_dir: where the archive of the binary version lies, or its six files, themselves or in
            ``cifar-10-batches-bin``. By default the environment variable ``MINIMAXOPT_DATA_DIR``.
        source: ``"disk"``, or ``"download"``, which fetches the archive into ``data_dir`` if neither it nor a loose file is
            there (without a directory, into the user's cache).
        allow_unverified: take files whose content cannot be verified: only the archive has a published checksum, so loose
            files never can. The data's name then says so, and a result on them must.
        sha256: of the archive, for other data in CIFAR-10's format.

    Raises:
        DataError: files are missing, damaged, not the published ones, or unverified without leave.
        ArgumentError: there is no such source.

    Source: Hamm and Mehra 2018, Appendix B; the format is described at CIFAR-10's own page.
    """
    if source not in ("disk", "download"):
        raise refuse("source", f"there is no {source!r}", "give 'disk' or 'download'")
    named = data_dir if data_dir is not None else os.environ.get(DATA_DIR_VARIABLE) or None
    if named is None and source == "disk":
        raise DataError(
            f"data_dir: no directory is named; give it (--data-dir), set {DATA_DIR_VARIABLE}, or let the archive be "
            "fetched (source='download')"
        )
    folder = _cache() if named is None else Path(named).expanduser()
    if source == "download" and not (folder / ARCHIVE).is_file() and not _loose(folder):
        _download(folder, sha256)
    archive = folder / ARCHIVE
    if archive.is_file():
        return _prepared(
            _from_archive(archive, sha256, allow_unverified), _is(archive, sha256), "the published archive"
        )
    return _prepared(_from_files(folder, allow_unverified), False, "loose files, not verified")


Parts = dict[str, bytes]


def _from_archive(path: Path, sha256: str, allow_unverified: bool) -> Parts:
    if not allow_unverified and not _is(path, sha256):
        raise DataError(f"{path}: its SHA-256 is not {sha256[:12]}…, that of the published archive; {REMEDY}")
    wanted = {*TRAIN, *TEST}
    found: Parts = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = Path(member.name).name
                if name in wanted and (content := archive.extractfile(member)) is not None:
                    found[name] = content.read()
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DataError(f"{path}: it cannot be read ({error}); {REMEDY}") from error
    if missing := sorted(wanted - found.keys()):
        raise DataError(f"{path}: {', '.join(missing)} not in it; {REMEDY}")
    return found


def _loose(folder: Path) -> dict[str, Path]:
    """Which of the six files lie about, and where."""
    places = {name: [folder / inner / name for inner in FOLDERS] for name in (*TRAIN, *TEST)}
    return {name: path for name, paths in places.items() for path in reversed(paths) if path.is_file()}


def _from_files(folder: Path, allow_unverified: bool) -> Parts:
    found = _loose(folder)
    if missing := [name for name in (*TRAIN, *TEST) if name not in found]:
        raise DataError(
            f"{folder}: neither {ARCHIVE} nor {', '.join(missing)} in it or in its {FOLDERS[1]}; put the archive there, or "
            "let it be fetched (source='download')"
        )
    if not allow_unverified:
        raise DataError(
            f"{folder}: loose files have no published checksum and cannot be verified; put {ARCHIVE} there, or take them "
            "as they are (--allow-unverified-data, allow_unverified=True), and every result will say so"
        )
    try:
        return {name: path.read_bytes() for name, path in found.items()}
    except OSError as error:
        raise DataError(f"{folder}: it cannot be read ({error}); {REMEDY}") from error


def _prepared(parts: Parts, verified: bool, origin: str) -> Cifar10:
    train, test = (_parse({name: parts[name] for name in names}) for names in (TRAIN, TEST))
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
        note=f"binary version, {'verified by SHA-256' if verified else origin}; pixels less their mean {mean:.2f}, over "
        f"twice their standard deviation {std:.2f}, clipped to [-1, 1]",
    )  # fmt: skip
    return Cifar10(dataset, mean, std, verified)


def _parse(parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    """Return the images (N, 3, 32, 32) and labels (N,), bytes both, of some files in order."""
    for name, content in parts.items():
        if not content or len(content) % RECORD:
            raise DataError(f"{name}: {len(content)} bytes are no whole number of records of {RECORD}; {REMEDY}")
    records = np.frombuffer(b"".join(parts.values()), dtype=np.uint8).reshape(-1, RECORD)
    labels = records[:, 0]
    if labels.max() > 9:
        raise DataError(f"{', '.join(parts)}: label {labels.max()} is no class from 0 to 9; {REMEDY}")
    return records[:, 1:].reshape(-1, 3, 32, 32), labels


def _is(path: Path, sha256: str) -> bool:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest() == sha256


def _cache() -> Path:
    import pooch  # imported late: only a download needs it

    return Path(pooch.os_cache("minimaxopt"))


def _download(folder: Path, sha256: str, urls: Sequence[str] = (URL,)) -> None:
    import pooch

    failures: list[str] = []
    for url in urls:
        try:
            pooch.retrieve(url, known_hash=f"sha256:{sha256}", fname=ARCHIVE, path=folder)
        except (OSError, ValueError) as error:  # requests' errors are OSErrors
            failures.append(f"{url} ({type(error).__name__})")
        else:
            return
    raise DataError(
        f"{ARCHIVE}: it could not be downloaded from {' or '.join(failures)}; put it into a directory and give that as "
        "--data-dir (MINIMAXOPT_DATA_DIR, data_dir=)"
    )
