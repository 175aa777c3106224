"""``Solution``: the point that a solve reached, its status and its history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch

from minimaxopt._types import PLAYERS, Player, Tensors, Tree
from minimaxopt.errors import ResumeError
from minimaxopt.game.game import Game
from minimaxopt.game.module_state import State
from minimaxopt.game.played_game import PlayedGame
from minimaxopt.results import storage
from minimaxopt.results.certificate import Certificate
from minimaxopt.results.history import SKIPPED, History
from minimaxopt.results.status import Status


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
        """``True`` if the solve ended as planned: converged, its steps used, or stopped by a callback."""
        return self.status in (Status.CONVERGED, Status.STEPS_USED, Status.STOPPED)

    @property
    def skipped(self) -> int:
        """The number of steps that ``skip_nonfinite`` left out; the history's column ``"skipped"`` says which."""
        return len(self.history.steps(SKIPPED)) if SKIPPED in self.history else 0

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
        played = PlayedGame(Game(_unused, self.u, self.v))
        content = {
            "parameters": {p: {n: t.detach() for n, t in tensors.items()} for p, tensors in played.parameters.items()},
            "module_state": played.state_dict(played.start),
            "status": self.status.value,
            "message": self.message,
            "history": self.history.to_dict(),
            "steps": self.steps,
            "seconds": self.seconds,
            "gradient_evaluations": int(self.gradient_evaluations),
            "manifest": self.manifest,
        }
        kept = certificate or self.certificate
        if kept is not None:
            content["certificate"] = kept.to_dict()
        return storage.write(Path(path), "solution", content).parent

    @classmethod
    def load(cls, path: str | Path, game: Game) -> Solution:
        """Read a solution of ``game`` from a folder that ``save`` wrote.

        Raises:
            ResumeError: if nothing is there, the files were changed or damaged, or the game's players have other names
                or shapes.
        """
        from minimaxopt.results.schema import SavedSolution, check  # pydantic is not for `import minimaxopt` to load

        file = Path(path) / "solution.json"
        content = check(storage.read(file), SavedSolution, file)
        played = PlayedGame(game)
        u, v = played.players(fill(played, content["parameters"], content["module_state"]))
        rest = {k: content[k] for k in ("message", "steps", "seconds", "gradient_evaluations", "manifest")}
        if content.get("certificate") is not None:
            rest["certificate"] = Certificate.from_dict(content["certificate"])
        return cls(u=u, v=v, status=Status(content["status"]), history=History(content["history"]), **rest)


def fill(
    played: PlayedGame, parameters: Mapping[Player, Tensors], module_state: Mapping[Player, Mapping[str, State]]
) -> dict[Player, State]:
    """Copy saved tensors into a game's players, which must have the same names and shapes; return the whole state."""
    for player in PLAYERS:
        check_names(player, played.parameters[player], parameters.get(player, {}))
        check_names(player, played.state_tensors(player), module_state[player]["tensors"])
        with torch.no_grad():
            for name, tensor in played.parameters[player].items():
                tensor.copy_(parameters[player][name])
    return played.load_state_dict(module_state)


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


def _unused(*_: Any) -> Any:
    raise AssertionError("a saved solution is not evaluated")
