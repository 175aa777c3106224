"""Images that a study opens, and its errors for files that it cannot use."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_study import invoke

from minimaxopt_study.profiles.profile import Data
from minimaxopt_study.tasks.images import open_images, opening_arguments


def test_held_out_images_are_not_trained_on() -> None:
    whole = open_images()
    aside = open_images(held_out=100)
    assert len(aside.y_train) + 100 == len(whole.y_train)
    assert aside.fingerprint != whole.fingerprint
    training_images = {image.numpy().tobytes() for image in aside.x_train}
    assert not training_images & {image.numpy().tobytes() for image in aside.x_test}
    assert opening_arguments(Data(), None)["source"] == "embedded"
    assert opening_arguments(Data(), "somewhere")["source"] == "disk"
    assert opening_arguments(Data(), "somewhere", download=True)["source"] == "download"


@pytest.mark.parametrize("fault", ["damaged", "missing"])
def test_mnist_files_that_cannot_be_used_stop_the_run_before_it_begins(fault: str, tmp_path: Path,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(
        "minimaxopt_adversarial.datasets.idx.MIRRORS", ("http://127.0.0.1:9/",)
    )  # where nothing listens
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (data / f"{name}-ubyte").write_bytes(b"\x00\x00\x08\x01")
    if fault == "missing":
        (data / "t10k-images-idx3-ubyte").unlink()
    done = invoke("run", "--out", str(out), "--data-dir", str(data))
    assert done.exit_code == 2, done.output
    reasons = {
        "damaged": "train-images-idx3-ubyte: its content has SHA-256",
        "missing": "there is no t10k-images-idx3-ubyte or t10k-images.idx3-ubyte (or .gz) in it",
    }
    assert reasons[fault] in " ".join(done.output.split())
    assert not out.exists()
