"""Results by what determines them: a killed run goes on where it stopped, and a changed setting is computed anew."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, final

from minimaxopt_privacy.checks import refuse

# The modules on which a number depends; how it is shown does not matter.
_SOURCES = (
    "estimators/validation", "predictors", "estimators/baselines", "estimators/directions", "estimators/minimax_filter",
    "evaluation/evaluate", "game/filters", "game/risk", "game/labels", "estimators/mechanisms", "estimators/scaling",
    "game/prediction_heads",
)  # fmt: skip


@final
class Cells:
    """A folder of results, each a JSON file named by the hash of its settings and of this package's sources.

    Args:
        folder: made where there is none; ``None`` keeps nothing.

    Raises:
        ArgumentError: ``folder`` is a file.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first = Cells(folder).get({"seed": 0}, lambda: {"value": 1})
        ...     again = Cells(folder).get({"seed": 0}, lambda: {"value": 2})
        >>> first == again
        True
    """

    def __init__(self, folder: str | Path | None) -> None:
        self._folder = None if folder is None else Path(folder)
        if self._folder is not None and self._folder.exists() and not self._folder.is_dir():
            raise refuse("out", f"{self._folder} is a file", "give a folder")
        self._sources = sha256(
            b"".join((Path(__file__).parent / f"{name}.py").read_bytes() for name in _SOURCES)
        ).hexdigest()

    def get(self, settings: Mapping[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the result of ``settings``, computed unless it is there."""
        if self._folder is None:
            return compute()
        text = json.dumps({"settings": settings, "sources": self._sources}, sort_keys=True)
        path = self._folder / f"{sha256(text.encode()).hexdigest()[:24]}.json"
        if path.exists():
            return json.loads(path.read_text())["result"]
        result = compute()
        write_json(path, {"settings": settings, "result": result})
        return json.loads(path.read_text())["result"]


def write_json(path: Path, content: Any) -> None:
    """Write JSON in one move, so that a killed run leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(content, indent=1, sort_keys=True, default=_plain) + "\n")
    beside.replace(path)


def environment() -> dict[str, Any]:
    """Return the versions and threads that a result carries."""
    import platform
    from importlib.metadata import version

    import torch

    packages = ("minimaxopt", "minimaxopt-privacy", "torch", "scikit-learn", "scipy", "numpy")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
