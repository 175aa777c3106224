"""Checkpoints of a solve: what one holds, and the comparison with it before a run goes on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from minimaxopt._types import PLAYERS, Player
from minimaxopt.errors import ResumeError
from minimaxopt.loop.callbacks import Callback, Checkpoint, SupportsState
from minimaxopt.loop.rollback import StepBlocks, copied_to
from minimaxopt.results import storage
from minimaxopt.results.environment import digest, without_addresses
from minimaxopt.results.history import History
from minimaxopt.results.solution import check_names
from minimaxopt.solvers.context import Context

_DEFAULTS = {"micro_batches": 1}
"""Settings that older checkpoints do not name."""
_MATTERS_TO_THE_BIT = ("torch", "devices", "threads", "compile")


def checkpoint(
    ctx: Context,
    blocks: StepBlocks,
    callbacks: Sequence[Callback],
    *,
    frozen: str,
    optimization: Mapping[Player, Any],
    seconds: float,
    manifest: Mapping[str, Any],
) -> dict[str, Any]:
    """Return everything that a solve needs to go on, as plain values and tensors.

    Args:
        ctx: of the run.
        blocks: its steps so far.
        callbacks: those that support state are asked for it.
        frozen: the digest of the players that do not move.
        optimization: what ``optimization_as_built`` returned before the first step.
        seconds: spent so far.
        manifest: settings and environment.
    """
    return {
        "run": ctx.state_dict(),
        "frozen": frozen,
        "optimization": dict(optimization),
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
    saved = read_checkpoint(folder)
    run, then = saved["run"], saved["manifest"]
    for key in settings:
        before = then.get(key, _DEFAULTS.get(key))
        if before != manifest[key]:
            raise ResumeError(
                f"resume: the checkpoint was made with {key} {before}, not {manifest[key]}; give the same, or start afresh"
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
    _compare_optimization(saved["optimization"], optimization_as_built(ctx, names))
    differing = [
        f"{key} {then.get(key)} then, {manifest[key]} now"
        for key in _MATTERS_TO_THE_BIT
        if then.get(key, "no") != manifest[key]
    ]
    if differing:
        text = f"resume: the values will not be those of an uninterrupted run to the bit: {'; '.join(differing)}"
        warnings.warn(text, stacklevel=6)  # of the caller of solve
    try:
        ctx.load_state_dict(run)
        blocks.state = copied_to(saved["state"], ctx.devices)
        for name, callback in _with_state(callbacks):
            if name in saved["callbacks"]:
                callback.load_state_dict(saved["callbacks"][name])
    except ResumeError:
        raise
    except Exception as error:
        raise ResumeError(
            f"resume: a part of the run does not take its state from the checkpoint in {folder} "
            f"({type(error).__name__}: {error}); give what made the checkpoint, or start afresh"
        ) from error
    blocks.history = History(saved["history"])
    return float(saved["seconds"])


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """Return the content of the last checkpoint in a folder, or of the one before where the last is damaged.

    Raises:
        ResumeError: there is none, or neither can be read.
    """
    from minimaxopt.results.schema import SavedCheckpoint, check  # pydantic is not for `import minimaxopt` to load

    last = folder / f"{Checkpoint.NAME}.json"
    before = storage.previous(last)
    try:
        return check(storage.read(last), SavedCheckpoint, last)
    except ResumeError as damage:
        if not before.exists():
            raise
        try:
            saved = check(storage.read(before), SavedCheckpoint, before)
        except ResumeError as error:
            raise ResumeError(f"{damage}. The checkpoint before it cannot be used either: {error}") from damage
        warnings.warn(
            f"resume: {last} cannot be used ({damage}); going on from {before}, made at step {saved['run']['step']}",
            stacklevel=7,  # of the caller of solve
        )
        return saved


def optimization_as_built(ctx: Context, names: Mapping[Player, Player]) -> dict[Player, Any]:
    """Return each moving player's parameter groups and schedule, as their factories built them.

    Args:
        ctx: of a run that has made no step and loaded no checkpoint.
        names: what the user calls each player.
    """
    built: dict[Player, Any] = {}
    for player, moving in ctx.optimizers.items():
        tensor_names = {id(tensor): name for name, tensor in moving.tensors.items()}
        groups = [
            {
                "tensors": [tensor_names[id(tensor)] for tensor in group["params"]],
                "settings": {k: _shown(x) for k, x in group.items() if k not in ("params", "param_names")},
            }
            for group in moving.optimizer.param_groups
        ]
        schedule = {} if moving.scheduler is None else moving.scheduler.state_dict()
        built[names[player]] = {"groups": groups, "scheduler": {k: _shown(x) for k, x in schedule.items()}}
    return built


def _compare_optimization(saved: Mapping[Player, Any], built: Mapping[Player, Any]) -> None:
    """Raise unless parameter groups and schedules were built as those of the checkpoint.

    Rates that a schedule has moved since are not compared, and a setting that only one version of a class has is not
    either.
    """
    remedy = "give the factory that made the checkpoint, or start afresh"
    for player, now in built.items():
        then = saved.get(player, {"groups": [], "scheduler": {}})
        name, before, after = f"{player}_optimizer", then["groups"], now["groups"]
        if len(before) != len(after):
            raise ResumeError(
                f"resume: {name} had {len(before)} parameter groups in the checkpoint, not {len(after)}; {remedy}"
            )
        for i, (old, new) in enumerate(zip(before, after, strict=True)):
            if old["tensors"] != new["tensors"]:
                raise ResumeError(
                    f"resume: parameter group {i} of {name} had the tensors {', '.join(old['tensors'])} in the "
                    f"checkpoint, not {', '.join(new['tensors'])}; {remedy}"
                )
            _compare_settings(f"parameter group {i} of {name}", old["settings"], new["settings"], remedy)
        _compare_settings(f"{player}_scheduler", then["scheduler"], now["scheduler"], remedy)


def _compare_settings(owner: str, then: Mapping[str, str], now: Mapping[str, str], remedy: str) -> None:
    for key in now:
        if then.get(key, now[key]) != now[key]:
            raise ResumeError(
                f"resume: {owner} was built with {key} {then[key]} in the checkpoint, not {now[key]}; {remedy}"
            )


def _shown(value: Any) -> str:
    """Return a setting in words that are the same in another process."""
    return repr(value.tolist()) if isinstance(value, Tensor) else without_addresses(value)


def optimizer_settings(ctx: Context, names: Mapping[Player, Player]) -> dict[str, str]:
    """Return what the moving players' optimizers and schedules were built as."""
    settings: dict[str, str] = {}
    for player, moving in ctx.optimizers.items():
        options = moving.optimizer.defaults.items()
        text = ", ".join(f"{k}={without_addresses(x)}" for k, x in options if x is not None and x is not False)
        settings[f"{names[player]}_optimizer"] = f"{type(moving.optimizer).__name__}({text})"
        schedule = "none" if moving.scheduler is None else type(moving.scheduler).__name__
        if moving.period != 1 or moving.metric is not None:
            schedule += f" (every {moving.period} steps, metric {moving.metric})"
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
