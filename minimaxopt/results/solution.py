"""What a solve returns: a point, how it ended, and what happened on the way."""

from __future__ import annotations

import bisect
import hashlib
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from minimaxopt._types import Player, Tensors, Tree
from minimaxopt.errors import ResumeError
from minimaxopt.game.functional import Functional
from minimaxopt.game.game import Game
from minimaxopt.results import storage as _bundle
from minimaxopt.results.certificate import Certificate

if TYPE_CHECKING:
    import pandas as pd


class Status(StrEnum):
    """How a solve ended."""

    CONVERGED = "converged"
    STEPS_USED = "step budget used"
    STOPPED = "stopped"
    DIVERGED = "diverged"
    INTERRUPTED = "interrupted"
    DATA_ENDED = "data ended"
    FAILED = "failed"


@final
class History:
    """Columns of numbers over the steps. A column may have a value at each step, or at some.

    Examples:
        >>> history = History()
        >>> history.extend("risk", [0, 1, 2], [3.0, 2.0, 1.5])
        >>> history["risk"], history.steps("risk")
        (array([3. , 2. , 1.5]), array([0, 1, 2]))
    """

    def __init__(self, columns: Mapping[str, tuple[Any, Any]] | None = None) -> None:
        self._columns: dict[str, tuple[list[int], list[float]]] = {
            name: (_listed(steps), _listed(values)) for name, (steps, values) in (columns or {}).items()
        }

    @property
    def names(self) -> list[str]:
        """The columns."""
        return list(self._columns)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        return np.asarray(self._column(name)[1], dtype=np.float64)

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def steps(self, name: str) -> NDArray[np.int64]:
        """Return the steps at which the column has values."""
        return np.asarray(self._column(name)[0], dtype=np.int64)

    def last(self, name: str) -> float:
        """Return the column's latest value."""
        return self._column(name)[1][-1]

    def last_step(self, name: str) -> int:
        """Return the step of the column's latest value."""
        return self._column(name)[0][-1]

    def record(self, name: str, step: int, value: float) -> None:
        """Append a value to a column, or replace the one that the step has there already."""
        steps, values = self._columns.setdefault(name, ([], []))
        if steps and steps[-1] == step:
            values[-1] = value
        else:
            steps.append(step)
            values.append(value)

    def extend(self, name: str, steps: list[int], values: list[float]) -> None:
        """Append values to a column."""
        column = self._columns.setdefault(name, ([], []))
        column[0].extend(steps)
        column[1].extend(values)

    def rows(self, since: int = 0) -> list[tuple[int, dict[str, float]]]:
        """Return ``(step, values by column)`` for the steps from ``since`` on."""
        found: dict[int, dict[str, float]] = {}
        for name, (steps, values) in self._columns.items():
            first = bisect.bisect_left(steps, since)
            for step, value in zip(steps[first:], values[first:], strict=True):
                found.setdefault(step, {})[name] = value
        return sorted(found.items())

    def until(self, step: int) -> History:
        """Return the history of the first ``step`` steps.

        Values that callbacks record after step ``k`` carry the number ``k``.
        """
        kept: dict[str, tuple[list[int], list[float]]] = {}
        for name, (steps, values) in self._columns.items():
            end = bisect.bisect_left(steps, step)
            if end:
                kept[name] = (steps[:end], values[:end])
        return History(kept)

    def to_dict(self) -> dict[str, tuple[list[int], list[float]]]:
        """Return the columns as plain lists."""
        return {name: (list(steps), list(values)) for name, (steps, values) in self._columns.items()}

    def to_tensors(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Return the columns as tensors, the form that is quick to store."""
        return {
            name: (torch.tensor(steps, dtype=torch.int64), torch.tensor(values, dtype=torch.float64))
            for name, (steps, values) in self._columns.items()
        }

    def to_pandas(self) -> pd.DataFrame:
        """Return a data frame with one row a step and NaN where a column has no value.

        Raises:
            ImportError: if pandas is not installed.
        """
        import pandas as pd

        series = {
            name: pd.Series(values, index=steps, dtype="float64") for name, (steps, values) in self._columns.items()
        }
        return pd.DataFrame(series).rename_axis("step")

    def _column(self, name: str) -> tuple[list[int], list[float]]:
        try:
            return self._columns[name]
        except KeyError:
            raise KeyError(
                f"history: there is no column {name!r}; it has {', '.join(self._columns) or 'none'}"
            ) from None


@final
@dataclass(frozen=True, eq=False)
class Solution:
    """The outcome of a solve.

    Attributes:
        u: the leader, in the form in which it was given to the game.
        v: the follower, likewise; a responding follower is the function itself.
        status: how the solve ended.
        message: the same as a sentence.
        history: risk and other columns over the steps.
        steps: steps made.
        seconds: wall time of the solve, in seconds, all its parts together if it was resumed.
        gradient_evaluations: evaluations of a gradient (of either player's, or both at once; the penalised gradient
            counts two).
        manifest: settings, seed, versions, device and threads that the result was computed with.
        certificate: what ``certify`` found out, where it was saved with the solution.

    Examples:
        >>> import tempfile, torch
        >>> from minimaxopt import Game, Solution, solve
        >>> game = Game(lambda u, v: u**2 + u * v - v**2, torch.tensor(1.0), torch.tensor(1.0))
        >>> solution = solve(game, steps=3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = solution.save(folder)
        ...     torch.equal(Solution.load(folder, game).u, solution.u)
        True
    """

    u: Tree
    v: Tree
    status: Status
    message: str
    history: History
    steps: int
    seconds: float
    gradient_evaluations: int
    manifest: dict[str, Any] = field(default_factory=dict[str, Any])
    certificate: Certificate | None = None

    @property
    def ok(self) -> bool:
        """Whether the solve ended as planned: converged, its steps used, or stopped by a callback."""
        return self.status in (Status.CONVERGED, Status.STEPS_USED, Status.STOPPED)

    def __str__(self) -> str:
        risk = f", risk {self.history.last('risk'):.6g}" if "risk" in self.history else ""
        return f"Solution({self.status}: {self.message} {self.steps} steps{risk}, {self.seconds:.1f} s)"

    def save(self, path: str | Path, *, certificate: Certificate | None = None) -> Path:
        """Write the solution into a folder (safetensors and JSON) and return the folder.

        Args:
            path: the folder.
            certificate: what ``certify`` returned for this solution, to be kept with it.
        """
        # A game of the two trained players names their tensors as the original did.
        held = Functional(Game(_unused, self.u, self.v))
        content = {
            "parameters": {p: {n: t.detach() for n, t in held.parameters[p].items()} for p in held.parameters},
            "buffers": held.buffers,
            "status": self.status.value,
            "message": self.message,
            "history": self.history.to_dict(),
            "steps": self.steps,
            "seconds": self.seconds,
            "gradient_evaluations": self.gradient_evaluations,
            "manifest": self.manifest,
        }
        held_with_it = certificate or self.certificate
        if held_with_it is not None:
            content["certificate"] = held_with_it.to_dict()
        return _bundle.write(Path(path), "solution", content).parent

    @classmethod
    def load(cls, path: str | Path, game: Game) -> Solution:
        """Read a solution of ``game`` from a folder that ``save`` wrote.

        Raises:
            ResumeError: if nothing is there, the files were changed, or the game's players have other names or shapes.
        """
        content = _bundle.read(Path(path) / "solution.json")
        held = Functional(game)
        fill(held, content["parameters"], content["buffers"])
        u, v = held.players(held.buffers)
        rest = {k: content[k] for k in ("message", "steps", "seconds", "gradient_evaluations", "manifest")}
        if content.get("certificate") is not None:
            rest["certificate"] = Certificate.from_dict(content["certificate"])
        return cls(u=u, v=v, status=Status(content["status"]), history=History(content["history"]), **rest)


def _listed(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, torch.Tensor) else list(values)


def fill(held: Functional, parameters: Mapping[Player, Tensors], buffers: Mapping[Player, Tensors]) -> None:
    """Copy saved tensors into a functional game, which must have the same names and shapes."""
    for player in ("u", "v"):
        check_names(player, held.parameters[player], parameters.get(player, {}))
        check_names(player, held.buffers[player], buffers.get(player, {}))
        with torch.no_grad():
            for name, tensor in held.parameters[player].items():
                tensor.copy_(parameters[player][name])
        held.buffers[player] = {n: buffers[player][n].to(t.device, copy=True) for n, t in held.buffers[player].items()}


def check_names(player: Player, here: Tensors, saved: Mapping[str, Any]) -> None:
    """Raise unless saved tensors have the names and shapes of those here."""
    if here.keys() != saved.keys():
        raise ResumeError(
            f"{player}: the saved tensors are {sorted(saved)}, those of this game {sorted(here)}; give the "
            "game that was saved"
        )
    for name, tensor in here.items():
        then, now = (f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for t in (saved[name], tensor))
        if then != now:
            raise ResumeError(f"{player}.{name}: was saved as {then}, but is {now} here; give the game that was saved")


def environment(devices: list[torch.device]) -> dict[str, Any]:
    """Return versions, device and threads: what a result depends on beside its settings."""
    from minimaxopt import __version__

    return {
        "minimaxopt": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "devices": [str(d) for d in devices],
        "threads": torch.get_num_threads(),
    }


def digest(players: Mapping[Player, Tensors]) -> str:
    """Return a hash of players' tensors, names and values."""
    found = hashlib.sha256()
    for player, tensors in players.items():
        for name, tensor in tensors.items():
            found.update(f"{player}.{name}".encode())
            found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def without_addresses(value: Any) -> str:
    """Return the representation without the addresses of functions, which another process has elsewhere."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def _unused(*_: Any) -> Any:
    raise AssertionError("a saved solution is not evaluated")
