"""Exponential moving average of a player over a solve, as a callback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from minimaxopt._types import Player, Tensors, Tree
from minimaxopt.errors import ArgumentError
from minimaxopt.game.copying import Copier
from minimaxopt.game.trees import is_responding, leaves_with_names
from minimaxopt.loop.callbacks import Progress, period
from minimaxopt.results.history import SKIPPED


@final
class ExponentialAverage:
    """Keep an exponential moving average of a player's parameters; the solve itself knows nothing of it.

    ``x <- decay x + (1 - decay) w`` for the parameters ``w`` after every ``every`` steps, with ``x = w`` at first

    A checkpoint holds the average, so that a resumed run goes on with it; where a solve goes back from a step that led to
    NaN, so does the average. Steps that ``skip_nonfinite`` left out do not count. Buffers, such as the statistics of batch
    normalisation, are not averaged: those of the average are the player's own. They belong to other parameters, so
    evaluate some batches in training mode (``torch.optim.swa_utils.update_bn``) before use.

    The loop waits for the device after every ``every`` steps and copies the players. To average the game's own point for
    the solution, without that, wrap the solver in ``Averaged``.

    Args:
        player: which of the players, ``"u"`` or ``"v"``; give one callback for each.
        decay: the weight of the old average, in ``[0, 1)``.
        start: the steps before averaging begins.
        every: steps between updates.

    Raises:
        ArgumentError: for a player, a decay, a start or a period that cannot be used.

    Examples:
        >>> import torch
        >>> from functools import partial
        >>> from minimaxopt import ExponentialAverage, Game, solve
        >>> sgd = partial(torch.optim.SGD, lr=0.5)
        >>> ema = ExponentialAverage("u", decay=0.5)
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
        >>> solution = solve(game, steps=2, u_optimizer=sgd, v_optimizer=sgd, callbacks=[ema])
        >>> solution.u.item(), ema.average.item()
        (-0.75, -0.375)

    Source: Polyak and Juditsky 1992; Yazici et al. 2019 for games.
    """

    def __init__(self, player: Literal["u", "v"], *, decay: float = 0.999, start: int = 0, every: int = 1) -> None:
        if player not in ("u", "v"):
            raise ArgumentError(f"player: {player!r} is no player; give 'u' or 'v'")
        if not 0 <= decay < 1:
            raise ArgumentError(f"decay: {decay} is not in [0, 1); give the weight of the old average")
        if isinstance(start, bool) or not isinstance(start, int) or start < 0:  # pyright: ignore[reportUnnecessaryIsInstance] - callers are not all typed
            raise ArgumentError(f"start: {start!r} is no number of steps; give 0 or more")
        self.every = period(every)
        self._player: Player = player
        self._start, self._update = start, get_ema_multi_avg_fn(decay)
        self.begin()

    def begin(self) -> None:
        """Forget the average of an earlier solve."""
        self._average: Tensors = {}
        self._step = 0
        self._before: tuple[Tensors, int] = {}, 0
        self._latest: Tree = None

    @property
    def average(self) -> Tree:
        """The averaged player, in the form in which it was given to the game; a copy.

        Raises:
            ArgumentError: if no step has been averaged yet.
        """
        if not self._average or self._latest is None:
            raise ArgumentError("average: there is none before the first update; call solve first, or lower start")
        copied = Copier().copy(self._player, self._latest)
        latest = _parameters(self._latest)
        with torch.no_grad():
            for name, tensor in _parameters(copied).items():
                tensor.copy_(self._average[name])
                tensor.requires_grad_(latest[name].requires_grad)
        return copied

    def __call__(self, run: Progress) -> None:
        """Average the present point, if the callback is due and the player has moved since the last time."""
        self._latest = run.players()[0 if self._player == "u" else 1]
        if self._latest is None or is_responding(self._latest):
            raise ArgumentError(f"player: {self._player} has no parameters in this game; average the other player")
        if run.step < self._step:  # the solve went back
            self._average, self._step = self._before
        skipped = run.history.steps(SKIPPED) if SKIPPED in run.history else []
        moves = run.step - self._step - sum(step >= self._step for step in skipped)
        if moves <= 0 or run.step < self._start or run.step % self.every:
            return
        self._before = self._average, self._step
        point = _parameters(self._latest)
        before = self._average or point
        self._average = {name: before[name].detach().to(tensor.device, copy=True) for name, tensor in point.items()}
        self._update(list(self._average.values()), [t.detach() for t in point.values()], 0)
        self._step = run.step

    def state_dict(self) -> dict[str, Any]:
        """Return the average, and the step after which it was last updated."""
        return {"average": self._average, "step": self._step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` returned."""
        self._average, self._step = dict(state["average"]), int(state["step"])
        self._before = self._average, self._step


def _parameters(player: Tree) -> Tensors:
    """Return a player's floating parameters by name."""
    parameters: dict[str, Tensor] = {}
    for path, leaf in leaves_with_names(player):
        named = leaf.named_parameters() if isinstance(leaf, nn.Module) else [("", leaf)]
        parameters |= {f"{path}.{name}": t for name, t in named if isinstance(t, Tensor) and t.is_floating_point()}
    return parameters
