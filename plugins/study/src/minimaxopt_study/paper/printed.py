"""The paper's printed numbers on each data set: its tables, with their source, and its own scale."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

TEST_IMAGES = 10_000  # test images of either data set, on which its errors were counted
TABLES = 5  # tables of each data set: those of CIFAR-10 repeat those of MNIST in the same order
REFERENCE = "https://arxiv.org/abs/1711.04368"
DataName = Literal["mnist", "cifar10"]
FigureKind = Literal["training", "games", "samples", "matrix"]
FIGURE_KINDS: tuple[FigureKind, ...] = (
    "training",
    "games",
    "samples",
    "matrix",
)  # in the order of ``Experiment.figures``


@dataclass(frozen=True)
class Experiment:
    """The paper's experiments on one data set.

    Args:
        data: short name of the data set.
        title: its name as people write it.
        one, many: what its images are called.
        rounds: cat-and-mouse rounds.
        eta: bounds on the perturbation.
        first: number of its first table.
        train: training images.
        undefended_steps: steps of the undefended classifier's training.
        classifier: the network that the paper cites, in words.
        classes: what the classes are called.
        figures: file name of each of the study's pictures to the number of the paper's figure, None where it has none.

    Examples:
        >>> CIFAR10.printed(3), MNIST.printed(3), CIFAR10.last
        (8, 3, 'FGSM40')
    """

    data: DataName
    title: str
    one: str
    many: str
    rounds: int
    eta: tuple[float, ...]
    first: int
    train: int
    undefended_steps: int
    classifier: str
    classes: tuple[str, ...]
    figures: dict[str, int | None]

    @property
    def last(self) -> str:
        """Name of the last round's attack."""
        return f"FGSM{self.rounds}"

    def called(self, picture: str) -> str:
        """Return the title of a picture: its number in the paper, or its name.

        Examples:
            >>> CIFAR10.called("fig4"), CIFAR10.called("samples")
            ('Figure 4', 'Samples')
        """
        number = self.figures[picture]
        return picture.capitalize() if number is None else f"Figure {number}"

    def figure_title(self, kind: FigureKind) -> str:
        """Return the title of a kind of picture on this data set."""
        return self.called(list(self.figures)[FIGURE_KINDS.index(kind)])

    def printed(self, kind: int) -> int:
        """Return the number under which the paper prints a table of one of the five kinds."""
        return self.first + kind - 1


MNIST = Experiment(
    "mnist", "MNIST", "digit", "digits", 80, (0.1, 0.2, 0.3, 0.4), 1, 60_000, 50_000,
    "32 and 64 channels, max-pooling, 512 units", tuple(f"a {digit}" for digit in range(10)),
    {"fig1": 1, "fig2": 2, "fig3": 3, "matrix": None},
)  # fmt: skip
CIFAR10 = Experiment(
    "cifar10", "CIFAR-10", "image", "images", 40, (0.05, 0.06, 0.07, 0.08), 6, 50_000, 100_000,
    "64 and 64 channels, max-pooling, 384 and 192 units",
    ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    {"fig4": 4, "fig5": 5, "samples": None, "matrix": None},
)  # fmt: skip
EXPERIMENTS: dict[str, Experiment] = {experiment.data: experiment for experiment in (MNIST, CIFAR10)}


@cache
def _read(data: str) -> dict[str, Any]:
    text = (resources.files("minimaxopt_study.paper") / "data" / f"paper_{data}.json").read_text(encoding="utf-8")
    return json.loads(text)


def _of(number: int) -> dict[str, Any]:
    data = MNIST.data if number < CIFAR10.first else CIFAR10.data
    return _read(data)["tables"][str(number)]


def table(number: int) -> dict[str, Any]:
    """Return one of the ten tables as printed.

    Examples:
        >>> table(3)["eta"]["0.2"]["LWA"]["FGSM1"], table(8)["eta"]["0.05"]["LWA"]["FGSM1"]
        (0.157, 0.422)
    """
    return json.loads(json.dumps(_of(number)))


def notes(number: int) -> list[str]:
    """Return the misprints and inconsistencies of a table.

    Examples:
        >>> len(notes(4)), len(notes(9))
        (2, 2)
    """
    return list(_of(number).get("notes", []))


def source(experiment: Experiment = MNIST) -> str:
    """Return where the numbers come from."""
    return str(_read(experiment.data)["source"])
