"""A game as a function of flat dictionaries of tensors, on copies of its players.

The modules of both players sit in one container, and every evaluation goes through ``torch.func.functional_call`` on
it, so that ``f`` may use a module in any way while the values it sees are arguments. Games of bare tensors skip the
container.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, final

import optree
import torch
from torch import Tensor, nn

from minimaxopt.errors import ArgumentError
from minimaxopt.game.game import Game
from minimaxopt.game.players import is_responding
from minimaxopt.game.trees import leaves_with_names, rebuilt, shell_of, tensors_of, to_device

if TYPE_CHECKING:
    from collections.abc import Callable

    from minimaxopt._types import Player, Projection, Tensors, Tree

_PLAYERS: tuple[Player, Player] = ("u", "v")


@final
class _Container(nn.Module):
    def __init__(self, modules: list[nn.Module]) -> None:
        super().__init__()
        self.held = nn.ModuleList(modules)

    def forward(self, call: Callable[[], Any]) -> Any:
        return call()


@final
class Functional:
    """The risk ``f(u, v)`` of flat tensors, with buffers as values that go in and come out.

    Attributes:
        game: the game as given.
        parameters: each player's tensors by name, leaves that a solver moves in place.
        buffers: each player's buffers by name (running statistics and the like).
    """

    def __init__(self, game: Game, device: torch.device | None = None) -> None:
        self.game = game
        memo: dict[int, Any] = {}
        trees: dict[Player, Tree] = {"u": _copy("u", game.u, memo, device), "v": _copy("v", game.v, memo, device)}
        self.parameters: dict[Player, Tensors] = {"u": {}, "v": {}}
        self.buffers: dict[Player, Tensors] = {"u": {}, "v": {}}
        self._keys: dict[Player, dict[str, str]] = {"u": {}, "v": {}}
        self._owners: dict[Player, dict[str, tuple[nn.Module, str]]] = {"u": {}, "v": {}}
        self._places: dict[Player, list[tuple[str, nn.Module | None]]] = {"u": [], "v": []}
        self._specs: dict[Player, Any] = {}
        self._shells: dict[Player, Any] = {}
        modules: list[tuple[Player, str, nn.Module]] = []
        for player in _PLAYERS:
            self._read_tree(player, trees[player], modules)
        self._container = _Container([m for *_, m in modules]) if modules else None
        self._tied = False
        if self._container is not None:
            self._register(self._container, [(player, path) for player, path, _ in modules])

    def _read_tree(self, player: Player, tree: Tree, modules: list[tuple[Player, str, nn.Module]]) -> None:
        if tree is None or is_responding(tree):
            return
        self._specs[player] = optree.tree_structure(tree, none_is_leaf=True)
        self._shells[player] = shell_of(self._specs[player])
        for path, leaf in leaves_with_names(tree):
            if isinstance(leaf, nn.Module):
                modules.append((player, path, leaf))
                self._places[player].append((path, leaf))
            elif isinstance(leaf, Tensor):
                name = path or "value"
                self.parameters[player][name] = leaf
                self._places[player].append((name, None))

    def _register(self, container: _Container, places: list[tuple[Player, str]]) -> None:
        def locate(key: str) -> tuple[Player, str]:
            _, index, rest = key.split(".", 2)
            player, path = places[int(index)]
            return player, f"{path}.{rest}" if path else rest

        for key, parameter in container.named_parameters():
            player, name = locate(key)
            if parameter.requires_grad:
                self.parameters[player][name] = parameter
                self._keys[player][name] = key
        for key, buffer in container.named_buffers():
            player, name = locate(key)
            self.buffers[player][name] = buffer.detach()
            self._keys[player][name] = key
            owner_path, _, attribute = key.rpartition(".")
            self._owners[player][name] = (container.get_submodule(owner_path), attribute)
        # functional_call looks for tied weights at every call unless told that there are none.
        self._tied = any(
            len(list(named(remove_duplicate=False))) > len(list(named()))
            for named in (container.named_parameters, container.named_buffers)
        )

    @property
    def responding(self) -> bool:
        """``True`` if the follower is a function of the leader."""
        return self.game.responding

    def settings(self) -> tuple[list[tuple[str, type, dict[str, Any]]], list[tuple[str, Tensor]]]:
        """Return what the players' modules hold beside parameters and buffers: plain values, and tensors that stay."""
        plain: list[tuple[str, type, dict[str, Any]]] = []
        still: list[tuple[str, Tensor]] = []
        for name, module in self._container.named_modules() if self._container is not None else []:
            values = {
                k: x for k, x in vars(module).items() if isinstance(x, (bool, int, float, str, tuple, type(None)))
            }
            plain.append((name, type(module), values))
            still += [(f"{name}.{k}", x) for k, x in vars(module).items() if isinstance(x, Tensor)]
            frozen = [(k, x) for k, x in module.named_parameters(recurse=False) if not x.requires_grad]
            still += [(f"{name}.{k}", x) for k, x in frozen]
        return plain, still

    def evaluating(self) -> None:
        """Put all modules into evaluation mode."""
        if self._container is not None:
            self._container.eval()

    def evaluate(
        self,
        u: Tensors,
        v: Any,
        batch: tuple[Any, ...],
        buffers: dict[Player, Tensors],
    ) -> tuple[Tensor, dict[Player, Tensors]]:
        """Return ``f(u, v)`` and the buffers as the evaluation left them; those given are not touched."""
        return self._call(lambda a, b: self.game.f(a, b, *batch), u, v, buffers)

    def respond(self, u: Tensors, batch: tuple[Any, ...], buffers: dict[Player, Tensors]) -> Tree:
        """Return the responding follower's answer to ``u``, detached; what it does to the buffers is forgotten."""
        frozen = {name: tensor.detach() for name, tensor in u.items()}
        answer, _ = self._call(lambda a, _: self.game.v(self.game.f, a, *batch), frozen, None, buffers)
        return optree.tree_map(_detached, answer, none_is_leaf=True)

    def _call(
        self, function: Callable[[Any, Any], Any], u: Tensors, v: Any, buffers: dict[Player, Tensors]
    ) -> tuple[Any, dict[Player, Tensors]]:
        players: dict[Player, Any] = {"u": u, "v": v}
        u_tree = self.tree("u", u)
        v_tree = v if self.responding else self.tree("v", v)
        if self._container is None:
            return function(u_tree, v_tree), buffers
        installed: dict[str, Tensor] = {}
        for player, keys in self._keys.items():
            own = buffers[player]
            for name, key in keys.items():
                installed[key] = own[name].clone() if name in own else players[player][name]
        after: dict[Player, Tensors] = {}

        def call() -> Any:
            value = function(u_tree, v_tree)
            for player, owners in self._owners.items():
                after[player] = {name: getattr(owner, attr).detach() for name, (owner, attr) in owners.items()}
            return value

        value = torch.func.functional_call(self._container, installed, (call,), tie_weights=self._tied)
        return value, after

    def pure(self, batch: tuple[Any, ...], buffers: dict[Player, Tensors]) -> Callable[[Tensors, Any], Tensor]:
        """Return ``(u, v) -> f(u, v)``, a function fit for any transform of torch.func."""
        return lambda u, v: self.evaluate(u, v, batch, buffers)[0]

    def tree(self, player: Player, tensors: Tensors, *, modules_as_dicts: bool = False) -> Tree:
        """Return the player in its own form, with ``tensors`` in the places of its bare tensors."""
        if player not in self._specs:
            return None
        leaves: list[Any] = []
        for name, module in self._places[player]:
            if module is None:
                leaves.append(tensors[name])
            else:
                leaves.append(self._module_tensors(player, name, tensors) if modules_as_dicts else module)
        if torch.compiler.is_compiling():
            return rebuilt(self._shells[player], leaves)
        return optree.tree_unflatten(self._specs[player], leaves)

    def _module_tensors(self, player: Player, path: str, tensors: Tensors) -> Tensors:
        start = f"{path}." if path else ""
        keys = self._keys[player]
        return {name.removeprefix(start): t for name, t in tensors.items() if name in keys and name.startswith(start)}

    def flat(self, player: Player, tree: Tree) -> Tensors:
        """Read the tensors of ``tree(..., modules_as_dicts=True)`` back into the flat form.

        Raises:
            ValueError, TypeError: if the structure is another one.
        """
        flat: dict[str, Any] = {}
        for (name, module), value in zip(self._places[player], self._specs[player].flatten_up_to(tree), strict=True):
            if module is None:
                flat[name] = value
            else:
                flat.update({(f"{name}.{part}" if name else part): tensor for part, tensor in value.items()})
        if flat.keys() != self.parameters[player].keys():
            raise ValueError(f"tensors {sorted(flat)} instead of {sorted(self.parameters[player])}")
        for name, value in flat.items():
            if not isinstance(value, Tensor):
                raise TypeError(f"{type(value).__name__} instead of a tensor for {name!r}")
        return flat

    def project(self, player: Player, projection: Projection | None, tensors: Tensors) -> Tensors:
        """Return the nearest allowed tensors, differentiably where the projection is."""
        if projection is None:
            return tensors
        before = self.tree(player, tensors, modules_as_dicts=True)
        try:
            after = self.flat(player, projection(before))
        except ArgumentError as error:  # the projection's own word on what does not suit it
            raise ArgumentError(f"project_{player}: {error}") from error
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise ArgumentError(
                f"project_{player}: did not return the structure that it was given ({error}); map each tensor to one"
            ) from error
        for name, tensor in tensors.items():
            if after[name].shape != tensor.shape:
                raise ArgumentError(
                    f"project_{player}: returned shape {tuple(after[name].shape)} for {name!r} of shape "
                    f"{tuple(tensor.shape)}; keep the shape"
                )
        return after

    def players(self, buffers: dict[Player, Tensors]) -> tuple[Tree, Tree]:
        """Return copies of both players as they are now, in the form in which they were given."""
        for player, owners in self._owners.items():
            for name, (owner, attribute) in owners.items():
                setattr(owner, attribute, buffers[player][name].clone())
        memo: dict[int, Any] = {}
        return self._player("u", self.game.u, memo), self._player("v", self.game.v, memo)

    def _player(self, player: Player, given: Tree, memo: dict[int, Any]) -> Tree:
        if given is None or is_responding(given):
            return given
        return _settled(_copy(player, self.tree(player, self.parameters[player]), memo, None), given)


def _detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


def _copy(player: Player, tree: Tree, memo: dict[int, Any], device: torch.device | None) -> Tree:
    if tree is None or is_responding(tree):
        return tree

    def one(leaf: Any) -> Any:
        if not isinstance(leaf, nn.Module):
            # A bare Parameter and a plain tensor are moved alike: who names a tensor as a player wants it moved.
            return to_device(leaf.detach(), device).clone().requires_grad_()
        _cut_graphs(leaf, memo)
        try:
            copied = copy.deepcopy(leaf, memo)
        except (RuntimeError, TypeError) as error:
            raise ArgumentError(
                f"{player}: {type(leaf).__name__} cannot be copied ({error}), and a solve works on copies; remove the "
                "attribute that cannot, or give the module a __deepcopy__"
            ) from error
        return copied if device is None else copied.to(device)

    return optree.tree_map(one, tree, none_is_leaf=True)


def _cut_graphs(module: nn.Module, memo: dict[int, Any]) -> None:
    """Let attributes that hold parts of an autograd graph be copied as values.

    Modules that remember their activations, recurrent ones and torch.nn.utils.spectral_norm have them after a forward
    pass, those of torch.func after a transform, and deepcopy refuses both.
    """
    for part in module.modules():
        for tensor in tensors_of(list(vars(part).values())):
            value = torch.func.debug_unwrap(tensor)
            if value is not tensor or value.grad_fn is not None:
                memo[id(tensor)] = value.detach().clone()


def _settled(tree: Tree, given: Tree) -> Tree:
    """Give bare tensors the ``requires_grad`` and the type that they came with."""

    def one(leaf: Any, original: Any) -> Any:
        if isinstance(leaf, nn.Module):
            return leaf
        plain = leaf.detach()
        if isinstance(original, nn.Parameter):
            return nn.Parameter(plain, original.requires_grad)
        return plain.requires_grad_(original.requires_grad)

    return optree.tree_map(one, tree, given, none_is_leaf=True)
