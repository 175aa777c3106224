"""A game as a pure function of flat dictionaries of tensors, for the transforms of ``torch.func`` and for compilation.

The modules of both players sit in one container, and every evaluation goes through ``torch.func.functional_call`` on
it, so that ``f`` may use a module in any way while the values it sees are arguments. Games of bare tensors skip the
container. What reaches a tensor by another way than through its module is not replaced, so that such games are played on
the modules themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn

from minimaxopt._types import PLAYERS
from minimaxopt.game.game import split_logs
from minimaxopt.game.played_game import PlayedGame

if TYPE_CHECKING:
    from collections.abc import Callable

    from minimaxopt._types import Buffers, Player, Tensors


@final
class _Container(nn.Module):
    def __init__(self, modules: list[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)

    def forward(self, call: Callable[[], Any]) -> Any:
        return call()


@final
class Functional:
    """The risk ``f(u, v)`` of flat tensors, with buffers as values that go in and come out.

    Args:
        played: the game with its players.
    """

    def __init__(self, played: PlayedGame) -> None:
        self._played = played
        self._keys: dict[Player, dict[str, str]] = {"u": {}, "v": {}}
        self._owners: dict[Player, dict[str, tuple[nn.Module, str]]] = {"u": {}, "v": {}}
        places: list[tuple[Player, str, nn.Module]] = [
            (player, path, module) for player in PLAYERS for path, module in played.modules[player]
        ]
        self._container = _Container([module for *_, module in places]) if places else None
        self._tied = False
        if self._container is not None:
            self._register(self._container, [(player, path) for player, path, _ in places])

    def _register(self, container: _Container, places: list[tuple[Player, str]]) -> None:
        for key, _ in [*container.named_parameters(), *container.named_buffers()]:
            _, index, rest = key.split(".", 2)
            player, path = places[int(index)]
            name = f"{path}.{rest}" if path else rest
            self._keys[player][name] = key
        for key, _ in container.named_buffers():
            _, index, rest = key.split(".", 2)
            player, path = places[int(index)]
            owner_path, _, attribute = key.rpartition(".")
            self._owners[player][f"{path}.{rest}" if path else rest] = (container.get_submodule(owner_path), attribute)
        # functional_call looks for tied weights at every call unless told that there are none.
        self._tied = any(
            len(list(named(remove_duplicate=False))) > len(list(named()))
            for named in (container.named_parameters, container.named_buffers)
        )

    def parameters(self, player: Player) -> Tensors:
        """Return a player's tensors that can move, by name."""
        return self._played.parameters[player]

    def buffers_of(self, states: dict[Player, dict[str, Any]]) -> Buffers:
        """Return the buffers among the values of a state."""
        return {p: {n: states[p][n] for n in owners if n in states[p]} for p, owners in self._owners.items()}

    def evaluate(self, u: Tensors, v: Any, batch: tuple[Any, ...], buffers: Buffers) -> tuple[Tensor, Buffers]:
        """Return ``f(u, v)`` and the buffers as the evaluation left them; those given are not touched."""
        played = self._played
        u_tree = played.tree("u", u)
        v_tree = v if played.responding else played.tree("v", v)
        if self._container is None:
            return split_logs(played.call("u", u_tree, v_tree, batch))[0], buffers
        players: dict[Player, Any] = {"u": u, "v": v}
        installed: dict[str, Tensor] = {}
        for player, keys in self._keys.items():
            own = buffers[player]
            for name, key in keys.items():
                if name in own:
                    installed[key] = own[name].clone()
                elif name in played.parameters[player]:
                    installed[key] = players[player][name]
        after: Buffers = {}

        def call() -> Any:
            value = split_logs(played.call("u", u_tree, v_tree, batch))[0]
            for player, owners in self._owners.items():
                after[player] = {name: getattr(owner, attr).detach() for name, (owner, attr) in owners.items()}
            return value

        value = torch.func.functional_call(self._container, installed, (call,), tie_weights=self._tied)
        return value, after
