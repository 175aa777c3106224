"""A player's optimizer: built from the user's factory, and refused where it could not play."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from minimaxopt._types import OptimizerFactory, Player, SchedulerFactory, Tensors
from minimaxopt.errors import ArgumentError


@final
@dataclass
class PlayerOptimizer:
    """A player's tensors, the optimizer that moves them and the schedule of its rate."""

    tensors: Tensors
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler | None
    writes: bool
    """Whether the optimizer may write into the gradients that it is given."""

    def give(self, direction: Tensors) -> None:
        """Let ``direction`` be the tensors' gradients."""
        for name, tensor in self.tensors.items():
            tensor.grad = direction[name].clone() if self.writes else direction[name]


def make_player_optimizer(
    player: Player, tensors: Tensors, factory: OptimizerFactory | None, schedule: SchedulerFactory | None
) -> PlayerOptimizer:
    """Build a player's optimizer and schedule, or say why it cannot be."""
    name = f"{player}_optimizer"
    if not tensors:
        raise ArgumentError(
            f"{player}: has no tensor that requires gradients, so that it cannot move; unfreeze it, or choose a "
            f"solver that leaves "
            f"{player} alone ({'ascent' if player == 'u' else 'descent'!r})"
        )
    if isinstance(factory, torch.optim.Optimizer):
        raise ArgumentError(
            f"{name}: is an optimizer of other tensors than the copies that move; give a factory such as "
            f"partial(torch.optim.Adam, lr=1e-3)"
        )
    make = default_optimizer if factory is None else factory
    if not callable(make):
        raise ArgumentError(
            f"{name}: {factory!r} is not callable; give a factory such as partial(torch.optim.Adam, lr=1e-3)"
        )
    optimizer = make(list(tensors.values()))
    if not isinstance(optimizer, torch.optim.Optimizer):  # pyright: ignore[reportUnnecessaryIsInstance] - factories are not all typed
        raise ArgumentError(f"{name}: the factory returned {type(optimizer).__name__}; return a torch.optim.Optimizer")
    if any(group.get("maximize") for group in optimizer.param_groups):
        raise ArgumentError(
            f"{name}: was built with maximize=True, but the game already gives each player the sign it needs; leave "
            f"maximize out"
        )
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ArgumentError(
            f"{name}: {type(optimizer).__name__} re-evaluates the risk through a closure, which a game of two "
            f"players does not have; "
            "use an optimizer whose step needs none, such as Adam or SGD"
        )
    if {id(t) for group in optimizer.param_groups for t in group["params"]} != {id(t) for t in tensors.values()}:
        raise ArgumentError(
            f"{name}: the factory built an optimizer of other tensors than those it was given; pass its argument on, "
            "all of it, such as lambda tensors: torch.optim.Adam(tensors, lr=1e-3)"
        )
    scheduler = None if schedule is None else _make_scheduler(f"{player}_scheduler", schedule, optimizer)
    return PlayerOptimizer(tensors, optimizer, scheduler, _writes(optimizer))


def _writes(optimizer: torch.optim.Optimizer) -> bool:
    # Of torch's own only SGD does, with Nesterov's momentum in its foreach form, which is the default on a GPU.
    if type(optimizer).__module__.startswith("torch.optim."):
        return any(group.get("nesterov") for group in optimizer.param_groups)
    return True


def _make_scheduler(
    name: str, factory: SchedulerFactory, optimizer: torch.optim.Optimizer
) -> torch.optim.lr_scheduler.LRScheduler:
    remedy = "give a factory such as partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=1000)"
    if not callable(factory):  # pyright: ignore[reportUnnecessaryComparison] - callers are not all typed
        raise ArgumentError(f"{name}: {type(factory).__name__} is not callable; {remedy}")
    scheduler = factory(optimizer)
    if not isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler):  # pyright: ignore[reportUnnecessaryIsInstance] - factories are not all typed
        raise ArgumentError(f"{name}: the factory returned {type(scheduler).__name__}, not a scheduler; {remedy}")
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise ArgumentError(f"{name}: ReduceLROnPlateau waits for a metric, which a step does not have; {remedy}")
    return scheduler


def default_optimizer(tensors: list[Tensor], *, capturable: bool = False) -> torch.optim.Optimizer:
    """Return Adam at its usual rate, fused where torch has it for the device."""
    fused = all(t.device.type in ("cpu", "cuda", "mps", "xpu") for t in tensors)
    return torch.optim.Adam(tensors, lr=1e-3, fused=fused, capturable=capturable)
