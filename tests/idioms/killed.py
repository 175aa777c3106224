"""A run to be killed: ``python -m tests.idioms.killed FOLDER`` writes a checkpoint every step, and takes its time."""

from __future__ import annotations

import sys
import time
from typing import Any

from minimaxopt import Checkpoint, Solution
from tests.idioms.cells import ROWS, played
from tests.idioms.idioms import IDIOMS

NAME = "several at once"
STEPS = 2000


class Slow:
    """Leaves time to be killed between two checkpoints."""

    every = 1

    def __call__(self, run: Any) -> None:
        time.sleep(0.01)


def run(**options: Any) -> Solution:
    (idiom,) = (idiom for idiom in IDIOMS if idiom.name == NAME)
    return played(idiom, idiom.build(), ROWS["alternating-gda"], **options)


if __name__ == "__main__":
    run(steps=STEPS, callbacks=[Slow(), Checkpoint(sys.argv[1], every=1)])
