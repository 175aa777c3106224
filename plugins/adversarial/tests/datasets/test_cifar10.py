"""CIFAR-10 from an archive and from loose files; damaged, missing and unverified data are refused by name."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from minimaxopt.errors import ArgumentError, DataError
from minimaxopt_adversarial import Cifar10, load_cifar10
from minimaxopt_adversarial.datasets.cifar10 import ARCHIVE, TEST, TRAIN

EACH = 4  # records of a made-up file


@pytest.fixture
def made_up() -> dict[str, bytes]:
    """The six files with a few random images each."""
    random = np.random.default_rng(0)
    files: dict[str, bytes] = {}
    for name in (*TRAIN, *TEST):
        records = random.integers(0, 256, (EACH, 3073), dtype=np.uint8)
        records[:, 0] = random.integers(0, 10, EACH)
        files[name] = records.tobytes()
    return files


def pack(folder: Path, files: dict[str, bytes]) -> str:
    """Write the archive; returns its SHA-256."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / ARCHIVE, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return hashlib.sha256((folder / ARCHIVE).read_bytes()).hexdigest()


def lay_out(folder: Path, files: dict[str, bytes]) -> Path:
    (folder / "cifar-10-batches-bin").mkdir(parents=True)
    for name, content in files.items():
        (folder / "cifar-10-batches-bin" / name).write_bytes(content)
    return folder


def raw(files: dict[str, bytes], names: tuple[str, ...]) -> np.ndarray:
    return np.stack([np.frombuffer(files[name], np.uint8).reshape(-1, 3073) for name in names]).reshape(-1, 3073)


def test_the_archive_is_verified_and_preprocessed(tmp_path: Path, made_up: dict[str, bytes]) -> None:
    cifar10 = load_cifar10(tmp_path, sha256=pack(tmp_path, made_up))
    assert cifar10.verified
    assert cifar10.dataset.name == "CIFAR-10"
    train, test = raw(made_up, TRAIN), raw(made_up, TEST)
    pixels = train[:, 1:].astype(np.float64)
    assert (cifar10.mean, cifar10.std) == pytest.approx((pixels.mean(), pixels.std()))
    for records, x, y in (
        (train, cifar10.dataset.x_train, cifar10.dataset.y_train),
        (test, cifar10.dataset.x_test, cifar10.dataset.y_test),
    ):
        expected = np.clip((records[:, 1:] - pixels.mean()) / pixels.std(), -2, 2) / 2
        np.testing.assert_allclose(x.numpy(), expected.reshape(-1, 3, 32, 32), atol=1e-6)
        assert y.tolist() == records[:, 0].tolist()
    assert cifar10.dataset.x_train.abs().max() <= 1


def test_planes_are_red_green_blue_row_by_row(tmp_path: Path, made_up: dict[str, bytes]) -> None:
    image = np.zeros((3, 32, 32), np.uint8)
    image[1, 2, 5] = 255  # green, third row, sixth column
    made_up[TEST[0]] = bytes([7]) + image.tobytes()
    cifar10 = load_cifar10(tmp_path, sha256=pack(tmp_path, made_up))
    assert cifar10.dataset.x_test.shape == (1, 3, 32, 32)
    assert cifar10.dataset.x_test[0].argmax() == (1 * 32 + 2) * 32 + 5
    assert cifar10.dataset.y_test.tolist() == [7]


def test_eta_in_the_scale_of_the_images_pixels(tmp_path: Path, made_up: dict[str, bytes]) -> None:
    cifar10 = load_cifar10(tmp_path, sha256=pack(tmp_path, made_up))
    eta = 0.05
    middle = torch.tensor(raw(made_up, TRAIN)[0, 1:].reshape(3, 32, 32), dtype=torch.float32)
    inside = cifar10.dataset.x_train[0].abs() < 0.9
    moved = (cifar10.dataset.x_train[0] + eta) * 2 * cifar10.std + cifar10.mean
    change = ((moved - middle) / 255)[inside]
    torch.testing.assert_close(change, torch.full_like(change, cifar10.pixel_eta(eta)), atol=1e-5, rtol=1e-4)


def test_unverified_data_need_leave_and_say_so(tmp_path: Path, made_up: dict[str, bytes]) -> None:
    lay_out(tmp_path / "loose", made_up)
    with pytest.raises(DataError, match="allow-unverified-data"):
        load_cifar10(tmp_path / "loose")
    loose = load_cifar10(tmp_path / "loose", allow_unverified=True)
    assert not loose.verified
    assert "unverified" in loose.dataset.name
    assert "not verified" in loose.dataset.note
    sha256 = pack(tmp_path / "packed", made_up)
    with pytest.raises(DataError, match="SHA-256"):
        load_cifar10(tmp_path / "packed")  # not the published one
    other = load_cifar10(tmp_path / "packed", allow_unverified=True)
    assert not other.verified
    assert "unverified" in other.dataset.name
    same = load_cifar10(tmp_path / "packed", sha256=sha256)
    assert same.dataset.fingerprint == loose.dataset.fingerprint == other.dataset.fingerprint


def test_the_variable_names_the_folder(
    tmp_path: Path, made_up: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIMAXOPT_DATA_DIR", str(tmp_path))
    assert load_cifar10(sha256=pack(tmp_path, made_up)).verified
    monkeypatch.delenv("MINIMAXOPT_DATA_DIR")
    with pytest.raises(DataError, match="data_dir: no directory is named"):
        load_cifar10()


@pytest.mark.parametrize(
    ("fault", "says"),
    [("cut", "not a whole number of records"), ("label", "label 200 is not a class"), ("missing", "test_batch.bin")],
)
def test_faults_are_named(fault: str, says: str, tmp_path: Path, made_up: dict[str, bytes]) -> None:
    if fault == "cut":
        made_up[TRAIN[0]] = made_up[TRAIN[0]][:-1]
    elif fault == "label":
        made_up[TEST[0]] = bytes([200]) + made_up[TEST[0]][1:]
    else:
        del made_up[TEST[0]]
    with pytest.raises(DataError, match=says):
        load_cifar10(lay_out(tmp_path / "loose", made_up), allow_unverified=True)
    with pytest.raises(DataError, match=says):
        load_cifar10(tmp_path / "packed", sha256=pack(tmp_path / "packed", made_up))


def test_a_damaged_archive_and_an_unknown_source(tmp_path: Path, made_up: dict[str, bytes]) -> None:
    pack(tmp_path, made_up)
    whole = (tmp_path / ARCHIVE).read_bytes()
    (tmp_path / ARCHIVE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        load_cifar10(tmp_path, allow_unverified=True)
    with pytest.raises(ArgumentError, match="source"):
        load_cifar10(tmp_path, source="internet")  # type: ignore[arg-type]
    grey = dict.fromkeys((*TRAIN, *TEST), bytes([1]) + bytes([9]) * 3072)
    with pytest.raises(DataError, match="all pixels"):
        load_cifar10(lay_out(tmp_path / "grey", grey), allow_unverified=True)


@pytest.mark.full_data
@pytest.mark.skipif("MINIMAXOPT_DATA_DIR" not in os.environ, reason="MINIMAXOPT_DATA_DIR names no full data")
def test_the_full_data() -> None:
    cifar10 = load_cifar10(allow_unverified=True)
    assert isinstance(cifar10, Cifar10)
    assert (len(cifar10.dataset.y_train), len(cifar10.dataset.y_test)) == (50_000, 10_000)
    assert cifar10.dataset.y_train.bincount().tolist() == [5000] * 10
    assert (cifar10.mean, cifar10.std) == pytest.approx((120.7, 64.2), abs=1.0)  # the published set's, to a decimal
