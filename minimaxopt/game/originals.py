"""Finding what reaches an original of which a solve plays a copy.

A closure kept in a module, a wrapped ``forward``, or ``f`` itself may use a tensor of the user's own player, whose values
never change in the solve: its gradient would be silently zero. So every operation of one evaluation is watched, and one
that takes such a tensor is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from minimaxopt._types import PLAYERS, Player
from minimaxopt.errors import ArgumentError, RiskError
from minimaxopt.game.copying import IN_PLACE, NamedTensor
from minimaxopt.game.module_state import ModuleState, State, changed
from minimaxopt.game.played_game import PlayedGame
from minimaxopt.game.trees import extent_of, is_responding, leaves_with_names, storage_of

# fmt: off
_HARMLESS = frozenset((
    "shape", "dtype", "device", "layout", "requires_grad", "is_leaf", "grad_fn", "ndim", "is_sparse", "is_cuda",
    "is_quantized", "is_meta", "is_nested", "size", "dim", "numel", "stride", "storage_offset", "element_size",
    "is_floating_point", "is_complex", "nelement", "__len__", "__hash__", "untyped_storage", "data_ptr",
    "register_hook", "__repr__",
))
# fmt: on
"""What may be asked of an original: nothing that depends on its values."""


@final
class Originals(TorchFunctionMode):
    """Watches one evaluation of a game for operations on the originals of its players.

    Args:
        played: the game, with copies of its players; of players in place there are no originals.
        moving: the players that move. An original that never changes may be used.
        autocast_is_wrong: refuse autocast, under which second derivatives are wrong.
        further: other tensors whose use would be a mistake.
    """

    def __init__(
        self,
        played: PlayedGame,
        moving: Iterable[Player],
        *,
        autocast_is_wrong: bool = False,
        further: Iterable[NamedTensor] = (),
    ) -> None:
        super().__init__()
        self._played, self._autocast_is_wrong = played, autocast_is_wrong
        self._moving = frozenset(moving)
        self._by_storage: dict[int, list[tuple[int, int, str]]] = {}
        for name, tensor in [*played.originals, *further]:
            plain = torch.func.debug_unwrap(tensor)
            self._by_storage.setdefault(storage_of(plain), []).append((*extent_of(plain), name))
        self._detached = {id(item.tensor): item.name for item in played.detached}
        self._used: dict[str, None] = {}
        self._used_detached: dict[str, None] = {}
        self._state: dict[Player, ModuleState] = {}
        if not played.inplace:
            self._state = {p: _state_of_original(played, p) for p in PLAYERS}
        self._before: dict[Player, State] = {player: state.read() for player, state in self._state.items()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and note the originals among its arguments."""
        del types
        if self._autocast_is_wrong and any(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda", "mps", "xpu")):
            raise RiskError(
                "f: runs under autocast, and its second derivatives would be wrong by several per cent; leave autocast "
                "out, or use a first-order solver such as 'alternating-gda'"
            )
        name = getattr(func, "__name__", "")
        if name == "__get__":
            name = getattr(getattr(func, "__self__", None), "__name__", name)
        if name not in _HARMLESS:
            for tensor in _tensors_in((args, kwargs)):
                if id(tensor) in self._detached:
                    self._used_detached[self._detached[id(tensor)]] = None
                else:
                    self._note(torch.func.debug_unwrap(tensor))
        return func(*args, **(kwargs or {}))

    def _note(self, tensor: Tensor) -> None:
        originals = self._by_storage.get(storage_of(tensor))
        if originals is not None:
            start, end = extent_of(tensor)
            self._used.update({name: None for first, last, name in originals if max(start, first) < min(end, last)})

    def backward(self, value: Tensor, tensors: Sequence[Tensor]) -> None:
        """Run the backward pass of a risk with its hooks watched; the graph is kept."""
        # torch.autograd.grad is itself an operation to be watched, and while a mode handles one it is off.
        run: Any = getattr(torch.autograd.graph, "_engine_run_backward", None)
        if run is not None and value.requires_grad and tensors:
            seed = torch.ones_like(value)
            with self:
                run((value,), (seed,), True, False, tuple(tensors), True, accumulate_grad=False)

    def check(self, loss: str = "f") -> None:
        """Raise if the evaluation used or changed an original that moves.

        Args:
            loss: the name of what was evaluated.

        Raises:
            ArgumentError: naming it, with the remedy.
        """
        for name in self._used_detached:
            raise ArgumentError(
                f"{name}: is a tensor that was computed from others once and is used as it is, and a copy of it has no "
                f"gradient; compute it in forward, {IN_PLACE}"
            )
        for player, state in self._state.items():
            for name in changed(self._before[player], state.read()):
                raise ArgumentError(
                    f"{loss}: changes {player}.{name} of the original module instead of the copy that is played, through "
                    f"a function that was made for the original; use the arguments of {loss} and self alone, {IN_PLACE}"
                )
        for name in self._used:
            if self._changes(name):
                raise ArgumentError(
                    f"{loss}: reads the original of {name} instead of the copy that moves, as a closure, a lambda kept in "
                    f"a module or a wrapped forward does; use the arguments of {loss} and self alone, {IN_PLACE}"
                )

    def _changes(self, name: str) -> bool:
        """Return whether a tensor moves, or belongs to a state that the evaluation has changed."""
        path = name.partition(".")[2]
        for player in PLAYERS:
            if name != player and not name.startswith(f"{player}."):
                continue
            if (path or "value") in self._played.parameters[player]:
                return player in self._moving
            before, after = self._played.start[player], self._played.read_state()[player]
            return path not in before or bool(changed({path: before[path]}, {path: after.get(path)}))
        return True


def _state_of_original(played: PlayedGame, player: Player) -> ModuleState:
    tree = played.game.u if player == "u" else played.game.v
    leaves = [] if tree is None or is_responding(tree) else leaves_with_names(tree)
    return ModuleState([(path, leaf) for path, leaf in leaves if isinstance(leaf, torch.nn.Module)], set(), set())


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors_in(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors_in(part)
