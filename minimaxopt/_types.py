"""Types that all modules share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

Player: TypeAlias = Literal["u", "v"]
"""The leader ``u``, who minimises, or the follower ``v``, who maximises."""

PLAYERS: tuple[Player, Player] = ("u", "v")
"""The leader and the follower."""

Tree: TypeAlias = Any
"""A module, a tensor, or any nesting of dict, list and tuple of both."""

Tensors: TypeAlias = dict[str, Tensor]
"""A player's parameters by name: the flat form on which the calculus works."""

Risk: TypeAlias = Callable[..., Tensor]
"""``f(u, v)`` or ``f(u, v, batch)``, a 0-d tensor to be minimised over ``u`` and maximised over ``v``."""

OptimizerFactory: TypeAlias = Callable[[list[Tensor]], torch.optim.Optimizer]
"""Takes the player's tensors, a list whose ``named()`` gives the names, and returns the optimizer, such as
``partial(torch.optim.Adam, lr=1e-3)``."""

SchedulerFactory: TypeAlias = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]
"""Takes the optimizer, returns a scheduler of its learning rate."""

Projection: TypeAlias = Callable[[Tree], Tree]
"""Maps a player's tensors (a module stands as the dictionary of its parameters) to the nearest allowed ones."""

Record: TypeAlias = Mapping[str, Tensor]
"""The report of one step: 0-d tensors by name, left on their device."""


class Point(NamedTuple):
    """A point ``(u, v)`` of the game."""

    u: Tensors
    v: Tensors


Buffers: TypeAlias = dict[Player, Tensors]
