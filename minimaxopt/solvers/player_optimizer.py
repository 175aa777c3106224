"""A player's optimizer: built from the user's factory, refused where it could not play, and what it does."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.optim.optimizer import _global_optimizer_pre_hooks  # pyright: ignore[reportPrivateUsage] - there is no other way to ask

from minimaxopt._types import OptimizerFactory, Player, SchedulerFactory, Tensors
from minimaxopt.errors import ArgumentError
from minimaxopt.game.trees import tensors_of
from minimaxopt.solvers.schedules import Schedule, make_scheduler


@final
@dataclass
class PlayerOptimizer:
    """A player's tensors, and what moves them: an optimizer, the schedule of its rate, and the projection.

    Attributes:
        tensors: the live tensors by name, which moves change in place.
        optimizer: of these tensors.
        scheduler: of the optimizer's rate.
        projection: maps the player's tensors to the nearest allowed ones; ``None`` where all are allowed.
        period: the steps between advances of the schedule.
        metric: the column of the history that the schedule goes by; ``None`` where it counts advances alone.
    """

    player: Player
    tensors: Tensors
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler | None
    projection: Callable[[Tensors], Tensors] | None = None
    period: int = 1
    metric: str | None = None

    def rate(self) -> float:
        """Return the present learning rate.

        Raises:
            ArgumentError: if the optimizer has parameter groups of different rates.
        """
        rates = {float(group["lr"]) for group in self.optimizer.param_groups}
        if len(rates) != 1:
            raise ArgumentError(
                f"{self.player}_optimizer: has parameter groups of different rates {sorted(rates)}; give gamma as a number"
            )
        return rates.pop()

    def descend(self, direction: Tensors) -> None:
        """Let the optimizer descend ``direction``, then project."""
        self._step(direction)
        if self.projection is not None:
            self.project()

    def propose(self, direction: Tensors) -> Tensors:
        """Return the displacement that the optimizer would make along ``direction``; only its moments advance."""
        before = self.positions()
        self._step(direction)
        with torch.no_grad():
            displacement = {name: t - before[name] for name, t in self.tensors.items()}
        self.load_positions(before)
        return displacement

    def move(self, displacement: Tensors) -> None:
        """Add ``displacement`` to the tensors, then project."""
        with torch.no_grad():  # all sums first: tensors may share their memory
            moved = {name: tensor + displacement[name] for name, tensor in self.tensors.items()}
        self.load_positions(moved)
        self.project()

    def project(self) -> None:
        """Move the tensors to the nearest allowed ones."""
        if self.projection is None:
            return
        with torch.no_grad():
            for name, value in self.projection({n: t.detach() for n, t in self.tensors.items()}).items():
                self.tensors[name].copy_(value)

    def set_gradients(self, direction: Tensors) -> None:
        """Let ``direction`` be the tensors' gradients."""
        writes = _writes(self.optimizer)
        for name, tensor in self.tensors.items():
            gradient = direction[name]
            # torch's fused optimizers read memory in order, whatever the strides: an expanded gradient, as that of a sum,
            # would be read beyond its end.
            if writes or gradient.stride() != tensor.stride():
                gradient = torch.empty_like(tensor).copy_(gradient)
            tensor.grad = gradient

    def advance_schedule(self, step: int) -> None:
        """Advance the schedule if it is due after ``step`` steps and counts them alone."""
        if self.scheduler is not None and self.metric is None and step % self.period == 0:
            self.scheduler.step()

    def positions(self) -> Tensors:
        """Return copies of the tensors."""
        return {name: t.detach().clone() for name, t in self.tensors.items()}

    def load_positions(self, positions: Tensors) -> None:
        """Write ``positions`` into the tensors."""
        with torch.no_grad():
            for name, tensor in self.tensors.items():
                tensor.copy_(positions[name])

    def moments(self) -> list[dict[str, Any]]:
        """Return copies of what the optimizer remembers of each tensor."""
        return [copy.deepcopy(dict(self.optimizer.state.get(t, {}))) for t in self.tensors.values()]

    def load_moments(self, moments: list[dict[str, Any]]) -> None:
        """Let the optimizer remember ``moments``; its parameter groups, and so its rates, stay."""
        self.optimizer.state.clear()
        for tensor, state in zip(self.tensors.values(), moments, strict=True):
            if state:
                self.optimizer.state[tensor] = copy.deepcopy(state)

    def load_state(self, saved: dict[str, Any]) -> None:
        """Let the optimizer go on from what its ``state_dict`` returned."""
        self.optimizer.load_state_dict(copy.deepcopy(saved))
        # torch makes a dict of every mapping in a tensor's state, and a deque without a limit of every deque.
        indices = [index for group in saved["param_groups"] for index in group["params"]]
        tensors = [tensor for group in self.optimizer.param_groups for tensor in group["params"]]
        for index, tensor in zip(indices, tensors, strict=True):
            for key, value in saved["state"].get(index, {}).items():
                if isinstance(value, Collection) and not isinstance(value, (str, Tensor)):
                    parts: dict[int, Any] = {id(t): t.to(tensor.device, copy=True) for t in tensors_of(value)}
                    self.optimizer.state[tensor][key] = copy.deepcopy(value, parts)

    def _step(self, direction: Tensors) -> None:
        self.set_gradients(direction)
        self.optimizer.step()
        for tensor in self.tensors.values():
            tensor.grad = None


def make_player_optimizer(
    player: Player,
    tensors: Tensors,
    factory: OptimizerFactory | None,
    schedule: SchedulerFactory | None,
    projection: Callable[[Tensors], Tensors] | None,
    epoch: int | None = None,
) -> PlayerOptimizer:
    """Build a player's optimizer and schedule; ``epoch`` is the number of steps in a pass over the data, if known.

    Raises:
        ArgumentError: if the player has no tensor that can move, or a factory returns something that cannot play.
    """
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
    optimizer = make(NamedTensors(tensors))
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
    name = f"{player}_scheduler"
    scheduler = None if schedule is None else make_scheduler(name, schedule, optimizer)
    if not isinstance(schedule, Schedule):
        return PlayerOptimizer(player, tensors, optimizer, scheduler, projection)
    period = schedule.steps(name, epoch)
    return PlayerOptimizer(player, tensors, optimizer, scheduler, projection, period, schedule.metric)


@final
class NamedTensors(list[Tensor]):
    """A player's tensors, as an optimizer factory gets them: a list that knows their names.

    Args:
        tensors: by name.

    Examples:
        >>> import torch
        >>> from minimaxopt import Game, solve
        >>> def adamw(tensors):
        ...     decayed = [t for name, t in tensors.named() if not name.endswith("bias")]
        ...     others = [t for name, t in tensors.named() if name.endswith("bias")]
        ...     return torch.optim.AdamW([{"params": decayed}, {"params": others, "weight_decay": 0.0}], lr=1e-3)
        >>> game = Game(lambda u, v: u(v).sum(), torch.nn.Linear(2, 1), torch.ones(2))
        >>> solve(game, "descent", steps=1, u_optimizer=adamw).ok
        True
    """

    def __init__(self, tensors: Tensors) -> None:
        super().__init__(tensors.values())
        self._names = list(tensors)

    def named(self) -> list[tuple[str, Tensor]]:
        """Return pairs of name and tensor; a module's names are those of ``named_parameters``."""
        return list(zip(self._names, self, strict=True))


def clip_gradients(
    factory: OptimizerFactory, *, norm: float | None = None, value: float | None = None
) -> OptimizerFactory:
    """Return an optimizer factory whose optimizer clips gradients before each step.

    ``g <- g min(1, norm / ||g||)`` over all of the player's tensors, or ``g <- clamp(g, -value, value)``

    The history's ``sensitivity`` is that of the gradient before it is clipped.

    Args:
        factory: makes the optimizer, such as ``partial(torch.optim.Adam, lr=1e-3)``.
        norm: the largest Euclidean norm, positive.
        value: the largest absolute value of an entry, positive.

    Raises:
        ArgumentError: unless one of ``norm`` and ``value`` is given, and it is positive.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import Game, clip_gradients, solve
        >>> clipped = clip_gradients(partial(torch.optim.SGD, lr=1.0), norm=0.5)
        >>> solution = solve(Game(lambda u, v: 3 * u, torch.tensor(1.0), None), "descent", steps=1, u_optimizer=clipped)
        >>> round(solution.u.item(), 4)
        0.5

    Source: Pascanu, Mikolov and Bengio 2013, Alg. 1, for the norm.
    """
    limit = norm if value is None else value
    if (norm is None) == (value is None) or limit is None or not 0 < limit < float("inf"):
        raise ArgumentError(f"norm, value: are {norm} and {value}; give one of them, a positive number")

    def clip(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        tensors = [t for group in optimizer.param_groups for t in group["params"]]
        if norm is None:
            torch.nn.utils.clip_grad_value_(tensors, limit)
        else:
            torch.nn.utils.clip_grad_norm_(tensors, limit)

    def make(tensors: list[Tensor]) -> torch.optim.Optimizer:
        optimizer = factory(tensors)
        optimizer.register_step_pre_hook(clip)
        return optimizer

    return make


def _writes(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether a step may write into the gradients that it is handed."""
    # A hook may clip them. Of torch's own only SGD does, with Nesterov's momentum in its foreach form, which is the
    # default on a GPU.
    hooks: Any = getattr(optimizer, "_optimizer_step_pre_hooks", None)
    if hooks or _global_optimizer_pre_hooks or not type(optimizer).__module__.startswith("torch.optim."):
        return True
    return any(group.get("nesterov") for group in optimizer.param_groups)


def default_optimizer(tensors: list[Tensor], *, capturable: bool = False) -> torch.optim.Optimizer:
    """Return Adam at its usual rate, fused where torch has it for the device."""
    # A fused step is only right for tensors that fill their memory, which empty_like has the strides of.
    dense = all(t.stride() == torch.empty_like(t).stride() for t in tensors)
    fused = dense and all(t.device.type in ("cpu", "cuda", "mps", "xpu") for t in tensors)
    return torch.optim.Adam(tensors, lr=1e-3, fused=fused, capturable=capturable)
