"""The images of a study: those to train on, and those to evaluate on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch

from minimaxopt.errors import ArgumentError
from minimaxopt_adversarial import Dataset, fingerprint, load_cifar10, load_mnist

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from minimaxopt_study.profiles.sections import Data

BOUNDS = (-1.0, 1.0)  # pixels, throughout the study
OPENER = f"{__name__}:open_images"
MNIST_UNIT = 127.5  # of 255: a pixel in [-1, 1] moves so far on the scale of the file for each unit


@dataclass(frozen=True, eq=False)
class Images:
    """Images (n, channels, height, width) in [-1, 1] and labels (n,), to train on and to evaluate on.

    Args:
        x_train, y_train, x_test, y_test: the images and their classes.
        name, note, fingerprint: as in ``Dataset``.
        unit: by how much a pixel of the file, on its scale from 0 to 255, changes for one unit of a pixel here.
        verified: whether the files are the published ones, by their checksums.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    name: str
    note: str
    fingerprint: str
    unit: float = MNIST_UNIT
    verified: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return tuple(self.x_train.shape[1:])

    def to(self, device: torch.device) -> Images:
        """Return the same images on a device."""
        return replace(self, x_train=self.x_train.to(device), y_train=self.y_train.to(device),
                       x_test=self.x_test.to(device), y_test=self.y_test.to(device))  # fmt: skip


def opening_arguments(
    data: Data, data_dir: str | None, *, allow_unverified: bool = False, download: bool = False
) -> dict[str, Any]:
    """Return the arguments with which a worker process opens the same images; nothing is fetched unasked."""
    full = data.source == "full" or data_dir is not None or data.name == "cifar10"
    on_disk = "download" if download else "disk"
    return {
        "open": OPENER,
        "data": data.name,
        "source": on_disk if full else "embedded",
        "data_dir": data_dir,
        "held_out": data.held_out if data.evaluate_on == "held-out" else 0,
        "train": data.train,
        "evaluated": data.evaluated,
        "allow_unverified": allow_unverified,
    }


def open_images(
    data: Literal["mnist", "cifar10"] = "mnist",
    source: Literal["embedded", "disk", "download"] = "embedded",
    data_dir: str | None = None,
    held_out: int = 0,
    train: int | None = None,
    evaluated: int | None = None,
    allow_unverified: bool = False,
) -> Images:
    """Open the images; with ``held_out``, that many training images are not trained on and stand in for the test set.

    Examples:
        >>> images = open_images(held_out=800)
        >>> tuple(images.x_train.shape), tuple(images.x_test.shape)
        ((3200, 1, 28, 28), (800, 1, 28, 28))
        >>> len(open_images(train=500, evaluated=100).y_train)
        500
    """
    if data == "cifar10":
        where = "download" if source == "download" else "disk"
        cifar = load_cifar10(data_dir, source=where, allow_unverified=allow_unverified)
        dataset, unit, verified = cifar.dataset, cifar.pixel_eta(1.0) * 255, cifar.verified
    else:
        dataset, unit, verified = load_mnist(data_dir, source=source), MNIST_UNIT, True
    if held_out:
        dataset = _hold_out(dataset, held_out)
    if train is not None or evaluated is not None:
        dataset = _some(dataset, train, evaluated)
    parts = (dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test)
    return Images(*parts, dataset.name, dataset.note, dataset.fingerprint, unit, verified)


def _hold_out(dataset: Dataset, held_out: int) -> Dataset:
    if held_out >= len(dataset.y_train):
        raise ArgumentError(
            f"data.held_out: {held_out} of {len(dataset.y_train)} training images leave none to train on; hold out "
            "fewer"
        )
    order = _order(len(dataset.y_train))
    aside, kept = order[:held_out], order[held_out:]
    x, y = dataset.x_train, dataset.y_train
    return _of((x[kept], y[kept], x[aside], y[aside]), f"{dataset.name}, held-out training images", dataset.note)


def _some(dataset: Dataset, train: int | None, evaluated: int | None) -> Dataset:
    """Return a subset of the images, the same for each seed of the study."""
    parts: list[Tensor] = []
    for name, count, x, y in (("train", train, dataset.x_train, dataset.y_train),
                              ("evaluated", evaluated, dataset.x_test, dataset.y_test)):  # fmt: skip
        if count is not None and count > len(y):
            raise ArgumentError(f"data.{name}: it asks for {count} of {len(y)} images; ask for fewer")
        chosen = slice(None) if count is None else _order(len(y))[:count].sort().values
        parts += [x[chosen], y[chosen]]
    return _of(tuple(parts), dataset.name, dataset.note)


def _of(parts: tuple[Tensor, ...], name: str, note: str) -> Dataset:
    return Dataset(*parts, name=name, fingerprint=fingerprint(*parts), note=note)


def _order(count: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))


def describe(images: Images) -> Mapping[str, Any]:
    """Return the description of the images for run.json and the report."""
    return {
        "name": images.name,
        "note": images.note,
        "train": len(images.y_train),
        "evaluated": len(images.y_test),
        "fingerprint": images.fingerprint,
        "unit": round(images.unit, 4),
        "verified": images.verified,
    }
