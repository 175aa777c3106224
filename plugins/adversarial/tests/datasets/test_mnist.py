"""Digits from a package, from disk and from a server; what is corrupted or missing is refused by name."""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import struct
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch

from minimaxopt.errors import ArgumentError, DataError
from minimaxopt_adversarial import Dataset, fingerprint, load_mnist
from minimaxopt_adversarial.datasets import idx
from minimaxopt_adversarial.datasets.dataset import DATA_DIR_VARIABLE

EMBEDDED_FINGERPRINT = "5acf9374ae9542c81200d332fc3db6baa873718e1308c62a10866311b7a3033d"
FULL_DATA = os.environ.get(DATA_DIR_VARIABLE)  # read before the fixture below hides it


def idx_file(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def tiny() -> dict[str, bytes]:
    random = np.random.RandomState(0)
    files = {}
    for prefix, count in (("train", 6), ("t10k", 3)):
        files[f"{prefix}-images-idx3-ubyte"] = idx_file(random.randint(0, 256, (count, 28, 28), dtype=np.uint8))
        files[f"{prefix}-labels-idx1-ubyte"] = idx_file(np.arange(count, dtype=np.uint8))
    return files


def sums(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def write(folder, files, *, packed=True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content)) if packed else (folder / name).write_bytes(content)


@pytest.fixture(autouse=True)
def _no_data_dir(monkeypatch):
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)


def is_mnist(data: Dataset, train: int, test: int) -> bool:
    ok = data.x_train.shape == (train, 1, 28, 28) and data.x_test.shape == (test, 1, 28, 28)
    ok &= data.y_train.shape == (train,) and data.y_test.shape == (test,)
    ok &= data.x_train.dtype == torch.float32 and data.y_train.dtype == torch.int64
    return ok and all(x.min() == -1 and x.max() == 1 for x in (data.x_train, data.x_test))


def test_the_embedded_digits_are_split_by_class_and_always_the_same():
    data = load_mnist(source="embedded")
    assert is_mnist(data, 4000, 1000)
    assert data.y_train.bincount().tolist() == [400] * 10
    assert data.y_test.bincount().tolist() == [100] * 10
    assert data.fingerprint == EMBEDDED_FINGERPRINT
    rows = {x.numpy().tobytes() for x in data.x_train}
    assert len(rows) == 4000
    assert not rows & {x.numpy().tobytes() for x in data.x_test}


def test_auto_means_embedded_until_a_directory_is_named(tmp_path, tiny, monkeypatch):
    assert load_mnist().fingerprint == EMBEDDED_FINGERPRINT
    write(tmp_path, tiny)
    named = load_mnist(tmp_path, checksums=sums(tiny))
    assert named.name == "MNIST"
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path))
    assert load_mnist(checksums=sums(tiny)).fingerprint == named.fingerprint
    assert load_mnist(source="embedded").fingerprint == EMBEDDED_FINGERPRINT


@pytest.mark.parametrize("folder", ["", "mnist", "MNIST", "raw", "MNIST/raw"])
@pytest.mark.parametrize("packed", [True, False])
def test_files_are_found_in_every_layout_packed_or_not(tmp_path, tiny, folder, packed):
    write(tmp_path / folder, tiny, packed=packed)
    data = load_mnist(tmp_path, source="disk", checksums=sums(tiny))
    pixels = np.frombuffer(tiny["train-images-idx3-ubyte"], np.uint8, offset=16).reshape(6, 1, 28, 28)
    assert torch.equal(data.x_train, torch.from_numpy(pixels / np.float32(127.5) - 1))
    assert data.y_test.tolist() == [0, 1, 2]
    assert data.fingerprint == fingerprint(data.x_train, data.y_train, data.x_test, data.y_test)


@pytest.mark.parametrize("own_folder", [None, "-idx", ".idx"])
@pytest.mark.parametrize("mark", ["-idx", ".idx"])
@pytest.mark.parametrize("packed", [True, False])
def test_files_are_found_with_a_dot_in_their_names_and_in_folders_of_their_own(
    tmp_path, tiny, own_folder, mark, packed
):
    for name, content in tiny.items():
        folder = "" if own_folder is None else name.replace("-idx", own_folder)
        write(tmp_path / "MNIST" / folder, {name.replace("-idx", mark): content}, packed=packed)
    assert load_mnist(tmp_path, checksums=sums(tiny)).y_test.tolist() == [0, 1, 2]


def test_auto_never_goes_to_the_network(tmp_path, tiny, server, monkeypatch):
    monkeypatch.setattr(idx, "MIRRORS", (server,))
    message = (
        r"there is no train-images-idx3-ubyte or train-images\.idx3-ubyte, .* in its folders mnist, MNIST, raw and "
        r"MNIST/raw, .*--download"
    )
    with pytest.raises(DataError, match=message):
        load_mnist(tmp_path / "here", checksums=sums(tiny))
    assert not (tmp_path / "here").exists()
    assert load_mnist(tmp_path / "here", source="download", checksums=sums(tiny)).name == "MNIST"


def test_the_fingerprint_tells_content_type_and_shape_apart():
    marks = {fingerprint(t) for t in (torch.zeros(4), torch.zeros(2, 2), torch.zeros(4).double(), torch.ones(4))}
    assert len(marks) == 4
    assert fingerprint(torch.zeros(4)) in marks


def damage(content: bytes, kind: str) -> bytes:
    packed = gzip.compress(content)
    return {
        "truncated": packed[:-20],
        "not gzip": b"<html>not found</html>",
        "another file": gzip.compress(content[:-1] + b"\x07"),
        "bad deflate": packed[:12] + b"\xff" * 20 + packed[32:],
        "empty": b"",
    }[kind]


@pytest.mark.parametrize("kind", ["truncated", "not gzip", "another file", "bad deflate", "empty"])
def test_a_damaged_file_is_refused_by_name_with_the_remedy(tmp_path, tiny, kind):
    write(tmp_path, tiny)
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(damage(tiny["t10k-labels-idx1-ubyte"], kind))
    with pytest.raises(
        DataError, match=r"t10k-labels-idx1-ubyte\.gz: .*delete it and fetch it again, or use the embed"
    ):
        load_mnist(tmp_path, source="disk", checksums=sums(tiny))


def test_published_checksums_are_the_default(tmp_path, tiny):
    write(tmp_path, tiny)
    with pytest.raises(
        DataError, match=r"train-images-idx3-ubyte\.gz: its content has SHA-256 .* instead of ba891046e650"
    ):
        load_mnist(tmp_path, source="disk")


def test_a_missing_file_or_directory_is_named(tmp_path, tiny):
    write(tmp_path, {name: content for name, content in tiny.items() if "t10k-images" not in name})
    with pytest.raises(DataError, match=r"there is no t10k-images-idx3-ubyte .*put the files there"):
        load_mnist(tmp_path, source="disk", checksums=sums(tiny))
    with pytest.raises(DataError, match=r"no directory is named.*MINIMAXOPT_DATA_DIR"):
        load_mnist(source="disk")
    with pytest.raises(ArgumentError, match="source: there is no 'web'"):
        load_mnist(source="web")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "train-labels-idx1-ubyte",
            b"\x00\x00\x0d\x01\x00\x00\x00\x06" + bytes(6),
            "not an IDX file of unsigned bytes",
        ),
        ("train-labels-idx1-ubyte", b"\x00\x00\x08\x01\x00\x00\x00\x07" + bytes(6), "holds 6 values where .*says"),
        ("train-labels-idx1-ubyte", b"\x00\x00\x08", "not an IDX file"),
        ("train-labels-idx1-ubyte", idx_file(np.zeros(5, np.uint8)), "one label each"),
        ("train-images-idx3-ubyte", idx_file(np.zeros((6, 32, 32), np.uint8)), "not 28 x 28 images"),
        ("train-images-idx3-ubyte", idx_file(np.zeros((0, 28, 28), np.uint8)), "one label each"),
    ],
)
def test_verified_files_of_the_wrong_form_are_refused(tmp_path, tiny, name, content, message):
    files = {**tiny, name: content}
    write(tmp_path, files)
    with pytest.raises(DataError, match=message):
        load_mnist(tmp_path, source="disk", checksums=sums(files))


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture
def server(tmp_path, tiny, monkeypatch):
    write(tmp_path / "served", tiny)
    handler = partial(QuietHandler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield f"http://127.0.0.1:{running.server_address[1]}/"
        running.shutdown()
        thread.join()


def test_download_fills_in_what_is_missing_from_the_first_mirror_that_has_it(
    tmp_path, tiny, server, monkeypatch, caplog
):
    caplog.set_level(logging.CRITICAL)
    monkeypatch.setattr(idx, "MIRRORS", (f"{server}gone/", server))
    here = tmp_path / "here"
    write(here, {"train-labels-idx1-ubyte": tiny["train-labels-idx1-ubyte"]})
    data = load_mnist(here, source="download", checksums=sums(tiny))
    assert data.x_train.shape == (6, 1, 28, 28)
    fetched = {path.name for path in (here / "mnist").iterdir()}
    assert fetched == {f"{name}.gz" for name in tiny if "train-labels" not in name}
    monkeypatch.setattr(idx, "MIRRORS", ())  # nothing is fetched twice
    assert load_mnist(here, checksums=sums(tiny)).fingerprint == data.fingerprint


def test_a_download_of_the_wrong_content_is_not_kept(tmp_path, tiny, server, monkeypatch):
    monkeypatch.setattr(idx, "MIRRORS", (server,))
    wrong = dict.fromkeys(tiny, "0" * 64)
    with pytest.raises(DataError, match="could not be downloaded"):
        load_mnist(tmp_path / "here", source="download", checksums=wrong)
    assert not (tmp_path / "here" / "mnist").exists()


def test_a_download_into_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"it cannot be created .*name a directory that can be written to"):
        load_mnist(tmp_path / "file", source="download")


def test_offline_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(idx, "MIRRORS", ("http://127.0.0.1:9/",))  # nothing listens on the discard port
    with pytest.raises(
        DataError, match=r"could not be downloaded from .*--data-dir .*MINIMAXOPT_DATA_DIR.*embedded"
    ) as raised:
        load_mnist(tmp_path, source="download")
    assert "\n" not in str(raised.value)


@pytest.mark.full_data
def test_the_whole_of_mnist_on_disk(monkeypatch):
    if not FULL_DATA:
        pytest.skip(f"{DATA_DIR_VARIABLE} is not set")
    data = load_mnist(FULL_DATA, source="disk")
    assert is_mnist(data, 60_000, 10_000)
    assert data.y_train.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    embedded = load_mnist(source="embedded")
    rows = {x.numpy().tobytes() for x in data.x_train}
    assert sum(x.numpy().tobytes() in rows for x in embedded.x_test) > 900
