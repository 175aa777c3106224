"""Many steps as one compiled loop, for small games without data: Python is entered once a block, not once a step.

A step in the plane costs some hundred microseconds, nearly all of it outside of arithmetic. The loop is torch's
``while_loop``. Its body is the solver's own step, which sees functional derivatives, and torch's functional form of each
player's optimizer; it is compiled once, whatever the number of steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, final

import torch
from torch import Tensor

from minimaxopt._types import Player, Point, Record, Tensors
from minimaxopt.calculus.gradients import Gradients, OwnDerivatives, PenalizedGradient
from minimaxopt.calculus.vectors import squared_norm
from minimaxopt.execution.compiled_derivatives import called, operator_of, penalized_gradient_of, with_own_code

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minimaxopt.game.functional import Functional
    from minimaxopt.game.game import Game
    from minimaxopt.solvers.context import Context
    from minimaxopt.solvers.player_optimizer import PlayerOptimizer

_CAPACITY = 1024  # steps of one call, whose records the loop carries
_ADAM = ("exp_avg", "exp_avg_sq", "step")
_REMEMBERED: dict[type, tuple[str, ...]] = {
    torch.optim.SGD: ("momentum_buffer",),
    torch.optim.Adam: _ADAM,
    torch.optim.AdamW: _ADAM,
}


def why_no_loop(ctx: Context, *, scheduled: bool) -> str:
    """Return why the steps of a context cannot be one loop, or the empty string.

    Args:
        ctx: the context, with the batch of a step.
        scheduled: whether a setting of the solver changes from step to step.
    """
    if ctx.batch or ctx.responding:
        return "a step takes a batch, or the follower responds"
    if any(ctx.played.modules.values()):
        return "a player is a module"
    if scheduled or any(moving.scheduler is not None for moving in ctx.optimizers.values()):
        return "a setting is scheduled"
    if any(moving.projection is not None for moving in ctx.optimizers.values()):
        return "a player is constrained"
    reasons = ((player, _why_not(moving.optimizer)) for player, moving in ctx.optimizers.items())
    return next((f"{player}_optimizer {reason}" for player, reason in reasons if reason), "")


def _why_not(optimizer: Any) -> str:
    if type(optimizer) not in _REMEMBERED:
        return "is neither SGD, Adam nor AdamW"
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        return "has hooks"
    unknown = any(g.get("amsgrad") or any(isinstance(x, Tensor) for x in g.values()) for g in optimizer.param_groups)
    return "has a setting that the loop does not know" if unknown else ""


class _Group(NamedTuple):
    """Tensors of one player that an optimizer moves with the same settings, and what it remembers of each."""

    player: Player
    names: tuple[str, ...]
    remembered: tuple[str, ...]
    settings: dict[str, Any]
    adam: bool


@final
class StepLoop:
    """The steps of one solver as a compiled loop.

    Args:
        ctx: the context after a step, when the optimizers have their moments.
        solver: makes the step.
        record: the report of a step, with the columns that the loop will have.
        cost: how many gradients a step forms.
    """

    def __init__(self, ctx: Context, solver: Any, record: Record, cost: int) -> None:
        self._names, self._cost = tuple(record), cost
        self._groups = _groups(ctx)
        self._columns = [torch.zeros(_CAPACITY, dtype=x.dtype) for x in record.values()]
        self._run = _loop(solver, ctx, self._groups, self._names)

    def make(self, ctx: Context, count: int) -> list[Record]:
        """Make at most ``count`` steps and return their records: none where the loop is not that of the context now."""
        if _groups(ctx) != self._groups:
            return []
        count = min(count, _CAPACITY)
        tensors = _tensors(ctx, self._groups)
        with torch.no_grad():
            made = called(self._run, torch.tensor(count), self._columns, [t.detach() for t in tensors])
            columns = [column[:count].unbind() for column in made[: len(self._names)]]
            for tensor, value in zip(tensors, made[len(self._names) :], strict=True):
                tensor.copy_(value)
        ctx.evaluation.step += count
        ctx.gradient_evaluations += count * self._cost
        return [dict(zip(self._names, values, strict=True)) for values in zip(*columns, strict=True)]


def _groups(ctx: Context) -> list[_Group]:
    """Return the optimizers' groups as they are now; without moments before the first step."""
    groups: list[_Group] = []
    for player, moving in ctx.optimizers.items():
        optimizer, names = moving.optimizer, {id(t): name for name, t in moving.tensors.items()}
        for group in optimizer.param_groups:
            state: dict[str, Any] = optimizer.state.get(group["params"][0], {})
            remembered = tuple(key for key in _REMEMBERED[type(optimizer)] if state.get(key) is not None)
            settings = {key: value for key, value in group.items() if key != "params"}
            adam = type(optimizer) is not torch.optim.SGD
            groups.append(_Group(player, tuple(names[id(t)] for t in group["params"]), remembered, settings, adam))
    return groups


def _tensors(ctx: Context, groups: Sequence[_Group]) -> list[Tensor]:
    """Return what the loop carries, in its order: each tensor, followed by what the optimizer remembers of it."""
    carried: list[Tensor] = []
    for group in groups:
        moving: PlayerOptimizer = ctx.optimizers[group.player]
        for name in group.names:
            tensor = moving.tensors[name]
            carried += [tensor, *(moving.optimizer.state[tensor][key] for key in group.remembered)]
    return carried


def _loop(solver: Any, ctx: Context, groups: list[_Group], names: tuple[str, ...]) -> Any:
    """Return the compiled loop: from the number of steps, columns and tensors to columns and tensors."""
    from torch._higher_order_ops.while_loop import while_loop
    from torch._inductor import config

    columns, functional, game = len(names), ctx.evaluation.functional, ctx.game

    def unfinished(step: Tensor, count: Tensor, *carried: Tensor) -> Tensor:
        del carried
        return step < count

    def body(step: Tensor, count: Tensor, *carried: Tensor) -> tuple[Tensor, ...]:
        seen = _StepContext(functional, game, groups, list(carried[columns:]))
        _, record = solver.step(seen, None)
        here = torch.arange(_CAPACITY) == step
        filled = [torch.where(here, record[n], old) for n, old in zip(names, carried[:columns], strict=True)]
        return (step + 1, count.clone(), *filled, *seen.carried())

    def run(count: Tensor, empty: list[Tensor], tensors: list[Tensor]) -> Any:
        return while_loop(unfinished, body, (torch.zeros((), dtype=torch.int64), count, *empty, *tensors))[2:]

    compiled = torch.compile(with_own_code(run), fullgraph=True, dynamic=False)

    def in_cpp(*arguments: Any) -> Any:
        with config.patch(cpp_wrapper=True):
            return compiled(*arguments)

    return in_cpp


@final
class _StepContext:
    """What a solver's step sees of the context inside the loop."""

    responding = False
    fresh_ascent = False
    micro_batches = 1

    def __init__(self, functional: Functional, game: Game, groups: list[_Group], carried: list[Tensor]) -> None:
        self.functional, self.game, self._groups = functional, game, groups
        self.gradient_evaluations = 0
        self._moments: dict[tuple[str, str], list[Tensor]] = {}
        players: dict[Player, Tensors] = {"u": {}, "v": {}}
        rest = iter(carried)
        for group in groups:
            for name in group.names:
                players[group.player][name] = next(rest).clone()
                self._moments[group.player, name] = [next(rest).clone() for _ in group.remembered]
        self.point = Point(self._whole("u", players["u"]), self._whole("v", players["v"]))

    def _whole(self, player: Player, moving: Tensors) -> Tensors:
        """Return a player's tensors in their order, those that do not move included."""
        own = self.functional.parameters(player)
        return {name: moving[name] if name in moving else tensor.detach() for name, tensor in own.items()}

    def carried(self) -> list[Tensor]:
        """Return what goes into the next step, in the order of the groups."""
        values: list[Tensor] = []
        for group in self._groups:
            tensors = self.point.u if group.player == "u" else self.point.v
            for name in group.names:
                values += [tensors[name], *self._moments[group.player, name]]
        return values

    def risk(self) -> OwnDerivatives:
        """Return the risk at the point, which forms its derivatives."""
        return _FunctionalRisk(self.functional)

    def gradients(self, players: tuple[Player, ...] = ("u", "v"), **unused: Any) -> Gradients:
        """Return each player's gradient of its own loss."""
        del unused
        return self.risk().operator(self.point, players)

    def apply(self, player: Player, direction: Tensors) -> None:
        """Let the player's optimizer descend ``direction``."""
        tensors = self.point.u if player == "u" else self.point.v
        for group in self._groups:
            if group.player == player:
                self._descend(group, tensors, direction)

    def _descend(self, group: _Group, tensors: Tensors, direction: Tensors) -> None:
        from torch.optim.adam import adam
        from torch.optim.sgd import sgd

        own, s = [tensors[n].clone() for n in group.names], group.settings
        gradients = [direction[n] for n in group.names]
        moments = [self._moments[group.player, n] for n in group.names]
        if group.adam:
            first, second = [m[0] for m in moments], [m[1] for m in moments]
            # Outside of compiled code Adam forms its corrections from Python's numbers, in double precision.
            steps = [m[2].double() for m in moments]
            settings = {k: s[k] for k in ("lr", "weight_decay", "eps", "maximize")}
            beta1, beta2 = s["betas"]
            adam(
                own, gradients, first, second, [], steps, foreach=False, amsgrad=False, beta1=beta1, beta2=beta2,
                decoupled_weight_decay=s["decoupled_weight_decay"], **settings,
            )  # fmt: skip
            for moment, step in zip(moments, steps, strict=True):
                moment[2] = step.to(moment[2].dtype)
        else:
            buffers: list[Any] = [m[0] if m else None for m in moments]
            settings = {k: s[k] for k in ("lr", "momentum", "weight_decay", "dampening", "nesterov", "maximize")}
            sgd(own, gradients, buffers, foreach=False, **settings)
        tensors.update(zip(group.names, own, strict=True))

    def rates(self) -> dict[Player, float]:
        """Return the learning rates by player."""
        return {group.player: group.settings["lr"] for group in self._groups}

    def note_buffers(self, players: tuple[Player, ...]) -> None:
        """Keep no buffers, since there are none."""


@final
class _FunctionalRisk(OwnDerivatives):
    """The risk as a pure function, inside the loop."""

    def __init__(self, functional: Functional) -> None:
        self._functional = functional

    def __call__(self, u: Tensors, v: Tensors) -> Tensor:
        """Return the risk."""
        return self._functional.evaluate(u, v, (), {"u": {}, "v": {}})[0]

    def _with_value(self, u: Tensors, v: Tensors, batch: Any, buffers: Any) -> Any:
        value = self(u, v)
        return value, (value, buffers)

    def operator(self, point: Point, players: Sequence[Player]) -> Gradients:
        """Return the operator's wanted components."""
        value, components, _ = operator_of(self._with_value, tuple(players))(point.u, point.v, (), {})
        by_player = dict(zip(players, components, strict=True))
        return Gradients(value, by_player.get("u", {}), by_player.get("v", {}))

    def penalized_gradient(self, point: Point, gamma: float | Tensor) -> PenalizedGradient:
        """Return the penalised gradient."""
        if not isinstance(gamma, Tensor) and gamma == 0:
            first = self.operator(point, ("u", "v"))
            return PenalizedGradient(first.risk, first.u, first.v, squared_norm(first.v.values()))
        derive = penalized_gradient_of(self._with_value)
        value, g_u, g_v, sensitivity, _ = derive(point.u, point.v, (), {}, gamma / 2)
        return PenalizedGradient(value, g_u, g_v, sensitivity)
