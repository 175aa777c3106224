"""Checkpoints of a solve: what one holds, and the comparison with it before a run goes on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minimaxopt._types import Player
from minimaxopt.errors import ResumeError
from minimaxopt.game.played_game import PLAYERS
from minimaxopt.loop.callbacks import Callback, Checkpoint, SupportsState
from minimaxopt.loop.rollback import StepBlocks, copied_to
from minimaxopt.results import storage
from minimaxopt.results.environment import digest, without_addresses
from minimaxopt.results.history import History
from minimaxopt.results.solution import check_names
from minimaxopt.solvers.context import Context

_MATTERS_TO_THE_BIT = ("torch", "devices", "threads", "compile")


def checkpoint(
    ctx: Context,
    blocks: StepBlocks,
    callbacks: Sequence[Callback],
    *,
    frozen: str,
    seconds: float,
    manifest: Mapping[str, Any],
) -> dict[str, Any]:
    """Return everything that a solve needs to go on, as plain values and tensors.

    Args:
        ctx: of the run.
        blocks: its steps so far.
        callbacks: those that support state are asked for it.
        frozen: the digest of the players that do not move.
        seconds: spent so far.
        manifest: settings and environment.
    """
    return {
        "run": ctx.state_dict(),
        "frozen": frozen,
        "state": blocks.state,
        "history": blocks.history.to_tensors(),
        "callbacks": {name: callback.state_dict() for name, callback in _with_state(callbacks)},
        "seconds": seconds,
        "manifest": manifest,
    }


def load_checkpoint(
    folder: Path,
    ctx: Context,
    blocks: StepBlocks,
    callbacks: Sequence[Callback],
    *,
    names: Mapping[Player, Player],
    steps: int,
    settings: Mapping[str, Any],
    manifest: Mapping[str, Any],
) -> float:
    """Bring a run to where a checkpoint was made; return the seconds that had been spent.

    Args:
        folder: where ``Checkpoint`` wrote.
        ctx: of the run, as it begins.
        blocks: its steps, none so far.
        callbacks: those that support state get theirs back.
        names: what the user calls each player.
        steps: the budget of the run.
        settings: what must be equal in the checkpoint.
        manifest: settings and environment; a difference that matters to the bit is warned of.

    Raises:
        ResumeError: the checkpoint is damaged, or of another run; nothing has been changed then.
    """
    saved = storage.read(folder / f"{Checkpoint.NAME}.json")
    run, then = saved["run"], saved["manifest"]
    for key in settings:
        if then.get(key) != manifest[key]:
            raise ResumeError(
                f"resume: the checkpoint was made with {key} {then.get(key)}, not {manifest[key]}; give the same, or "
                "start afresh"
            )
    if run["step"] > steps:
        raise ResumeError(f"steps: the checkpoint stands at step {run['step']} already; give at least as many steps")
    for player in PLAYERS:
        check_names(names[player], ctx.played.state_tensors(player), run["module_state"][player]["tensors"])
    for player, optimizer in ctx.optimizers.items():
        check_names(names[player], optimizer.tensors, run["parameters"].get(player, {}))
    if saved["frozen"] != digest_of_frozen(ctx, names):
        raise ResumeError(
            "resume: the player that stands still has other values than in the run that made the checkpoint; "
            "give the same game, or start afresh"
        )
    differing = [
        f"{key} {then.get(key)} then, {manifest[key]} now"
        for key in _MATTERS_TO_THE_BIT
        if then.get(key, "no") != manifest[key]
    ]
    if differing:
        text = f"resume: the values will not be those of an uninterrupted run to the bit: {'; '.join(differing)}"
        warnings.warn(text, stacklevel=6)  # of the caller of solve
    ctx.load_state_dict(run)
    blocks.state = copied_to(saved["state"], ctx.devices)
    blocks.history = History(saved["history"])
    for name, callback in _with_state(callbacks):
        if name in saved["callbacks"]:
            callback.load_state_dict(saved["callbacks"][name])
    return float(saved["seconds"])


def optimizer_settings(ctx: Context, names: Mapping[Player, Player]) -> dict[str, str]:
    """Return what the moving players' optimizers and schedules were built as."""
    settings: dict[str, str] = {}
    for player, moving in ctx.optimizers.items():
        options = moving.optimizer.defaults.items()
        text = ", ".join(f"{k}={without_addresses(x)}" for k, x in options if x is not None and x is not False)
        settings[f"{names[player]}_optimizer"] = f"{type(moving.optimizer).__name__}({text})"
        schedule = "none" if moving.scheduler is None else type(moving.scheduler).__name__
        settings[f"{names[player]}_scheduler"] = schedule
    return settings


def digest_of_frozen(ctx: Context, names: Mapping[Player, Player]) -> str:
    """Return a hash of the parameters of the players that do not move."""
    parameters = ctx.played.parameters
    return digest({names[p]: tensors for p, tensors in parameters.items() if p not in ctx.optimizers})


def _with_state(callbacks: Sequence[Callback]) -> list[tuple[str, SupportsState]]:
    """Return the callbacks that support state, each by its type and its number among those of the type."""
    stateful = [c for c in callbacks if isinstance(c, SupportsState)]
    kinds = [type(c).__name__ for c in stateful]
    return [(f"{kind} {kinds[:i].count(kind)}", c) for i, (kind, c) in enumerate(zip(kinds, stateful, strict=True))]
