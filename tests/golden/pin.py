"""Write the pinned numbers again: ``python tests/golden/pin.py [core] [study] [privacy] [bench]``, by default all."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "core": "tests/golden/core.json",
    "study": "plugins/study/tests/golden.json",
    "privacy": "plugins/privacy/tests/golden.json",
    "bench": "plugins/bench/tests/golden.json",
}


def main(names: list[str]) -> None:
    """Compute the named parts and write their files."""
    import torch

    from tests.golden.pinning import pinned, write

    torch.set_num_threads(1)
    for name in names or FILES:
        numbers = pinned(import_module(f"tests.golden.{name}").numbers())
        write(ROOT / FILES[name], numbers)
        print(f"{FILES[name]}: {len(numbers)} numbers")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main(sys.argv[1:])
