"""What the paper printed: its tables on MNIST, with their source, as data."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

ROUNDS = 80  # cat-and-mouse rounds in the paper
TEST_IMAGES = 10_000  # MNIST's test set, on which its errors were counted
REFERENCE = "https://arxiv.org/abs/1711.04368"


@cache
def _read() -> dict[str, Any]:
    text = (resources.files("minimaxopt_study") / "data" / "paper_mnist.json").read_text(encoding="utf-8")
    return json.loads(text)


def table(number: int) -> dict[str, Any]:
    """The object of one table, as printed.

    >>> table(3)["eta"]["0.2"]["LWA"]["FGSM1"]
    0.157
    """
    return json.loads(json.dumps(_read()["tables"][str(number)]))


def notes(number: int) -> list[str]:
    """The misprints and inconsistencies found in a table.

    >>> len(notes(4))
    2
    """
    return list(_read()["tables"][str(number)].get("notes", []))


def source() -> str:
    """Where the numbers come from."""
    return str(_read()["source"])
