"""A game on the players that are played: copies of the user's, or the user's own."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, final

import optree
import torch
from torch import Tensor, nn

from minimaxopt._types import PLAYERS
from minimaxopt.errors import ArgumentError, RiskError
from minimaxopt.game.copying import Copier, NamedTensor, tensors_with_names
from minimaxopt.game.game import Game, split_logs, takes_step
from minimaxopt.game.module_state import ModuleState, State, changed
from minimaxopt.game.trees import is_responding, leaves_with_names, rebuilt, shell_of, storage_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minimaxopt._types import Player, Projection, Tensors, Tree


@final
class PlayedGame:
    """The players of a game as they are played, with their tensors by name and their modules' state.

    Args:
        game: the game as the user made it.
        device: where to play; ``None`` leaves the players where they are.
        inplace: whether to play on the user's own modules and tensors instead of copies.

    Attributes:
        game: the game.
        responding: whether the follower is a function of the leader.
        parameters: each player's tensors that can move, by name; solvers move them in place.
        start: each player's state at the start.
        originals: the user's tensors, of which these are copies, by name; none for ``inplace``.
        detached: copies of attributes that had a graph.
        logs: what the last evaluation returned beside the risk.
        step: the number of the step that is being made; ``None`` outside of a run.
        watch: a context in which the user's code is run; ``None`` for none.

    Raises:
        ArgumentError: if a player cannot be copied, or cannot be played in place.
    """

    def __init__(self, game: Game, device: torch.device | None = None, *, inplace: bool = False) -> None:
        self.game, self.inplace = game, inplace
        self.responding = game.responding
        trees: dict[Player, Tree] = {"u": game.u, "v": game.v}
        self.originals: list[NamedTensor] = []
        self.detached: list[NamedTensor] = []
        self._requires_grad: list[tuple[Tensor, bool]] = []
        if inplace:
            for player, tree in trees.items():
                self._prepare_in_place(player, tree, device)
        else:
            copier = Copier(device)
            trees = {player: copier.copy(player, tree) for player, tree in trees.items()}
            self.originals, self.detached = copier.originals, copier.detached
        self.parameters: dict[Player, Tensors] = {"u": {}, "v": {}}
        self.modules: dict[Player, list[tuple[str, nn.Module]]] = {"u": [], "v": []}
        self._places: dict[Player, list[tuple[str, nn.Module | None]]] = {"u": [], "v": []}
        self._specs: dict[Player, Any] = {}
        self._shells: dict[Player, Any] = {}
        known: set[int] = set()
        for player in PLAYERS:
            self._read_tree(player, trees[player], known)
        moving = {storage_of(t) for tensors in self.parameters.values() for t in tensors.values()}
        self._state: dict[Player, ModuleState] = {p: ModuleState(self.modules[p], moving, known) for p in PLAYERS}
        self.start = self.read_state()
        self.watch: AbstractContextManager[Any] | None = None
        self.logs: Mapping[str, Any] = {}
        self.step: int | None = None
        self._takes_step: dict[Player, bool] = {"u": takes_step(game.f), "v": takes_step(game.follower_loss)}
        self._own_trees = {p: self.tree(p, self.parameters[p]) for p in PLAYERS}

    def _prepare_in_place(self, player: Player, tree: Tree, device: torch.device | None) -> None:
        if tree is None or is_responding(tree):
            return
        for name, tensor in tensors_with_names(player, tree):
            if device is not None and tensor.device != device:
                raise ArgumentError(
                    f"{name}: lies on {tensor.device}, and inplace=True leaves it there; move the player to {device} "
                    "first, or leave device out"
                )
        for path, leaf in leaves_with_names(tree):
            if isinstance(leaf, Tensor):
                if leaf.grad_fn is not None or leaf.is_inference():
                    raise ArgumentError(
                        f"{player}{f'.{path}' if path else ''}: is the result of a computation, which cannot be moved in "
                        "place; give a tensor of its own, such as .detach().clone()"
                    )
                self._requires_grad.append((leaf, leaf.requires_grad))
                leaf.requires_grad_()

    def _read_tree(self, player: Player, tree: Tree, known: set[int]) -> None:
        if tree is None or is_responding(tree):
            return
        self._specs[player] = optree.tree_structure(tree, none_is_leaf=True)
        self._shells[player] = shell_of(self._specs[player])
        for path, leaf in leaves_with_names(tree):
            if isinstance(leaf, nn.Module):
                self.modules[player].append((path, leaf))
                self._places[player].append((path, leaf))
                for name, parameter in leaf.named_parameters():
                    if parameter.requires_grad and id(parameter) not in known:
                        known.add(id(parameter))
                        self.parameters[player][f"{path}.{name}" if path else name] = parameter
            elif isinstance(leaf, Tensor):
                name = path or "value"
                self.parameters[player][name] = leaf
                self._places[player].append((name, None))

    # -- evaluation on the players as they are -------------------------------------------------------------------------

    def evaluate(self, batch: tuple[Any, ...], answer: Any = None, player: Player = "u") -> Tensor:
        """Return ``f(u, v)`` of the players as they are, or ``f(u, answer)`` for a responding follower's answer.

        For ``player="v"`` in a game of two losses return ``follower_loss(u, v)``.
        """
        trees = self._own_trees
        v = answer if self.responding else trees["v"]
        if self.watch is None:
            value = self.call(player, trees["u"], v, batch)
        else:
            with self.watch:
                value = self.call(player, trees["u"], v, batch)
        loss, logs = split_logs(value)
        if logs and player == "v":
            raise RiskError("follower_loss: returns values to be logged, as f alone may; return the loss without them")
        # Copied now: a logged tensor may be a player's, which moves before the log is written.
        self.logs = {name: _copied(logged) for name, logged in logs.items()} if logs else logs
        return loss

    def call(self, player: Player, u: Any, v: Any, batch: tuple[Any, ...]) -> Any:
        """Return what a player's loss, ``f`` or ``follower_loss``, returns for players in their own form.

        Raises:
            ArgumentError: if it takes the number of the step, and no step is being made.
        """
        loss: Any = self.game.f if player == "u" else self.game.follower_loss
        if not self._takes_step[player]:
            return loss(u, v, *batch)
        if self.step is None:
            name = "f" if player == "u" else "follower_loss"
            raise ArgumentError(
                f"{name}: takes the number of the step, and no step is being made here; fix it, such as by "
                f"functools.partial({name}, step=1000)"
            )
        return loss(u, v, *batch, step=self.step)

    def respond(self, batch: tuple[Any, ...]) -> Tree:
        """Return the responding follower's answer to the leader as it is, detached."""
        leader = self.parameters["u"]
        for tensor in leader.values():
            tensor.requires_grad_(False)
        try:
            with self.watch or nullcontext():
                answer = self.game.v(self._loss, self._own_trees["u"], *batch)
        finally:
            for tensor in leader.values():
                tensor.requires_grad_()
        return optree.tree_map(_detached, answer, none_is_leaf=True)

    def _loss(self, u: Any, v: Any, *batch: Any) -> Tensor:
        """Return ``f(u, v)`` without what it logs, for the responding follower."""
        return split_logs(self.call("u", u, v, batch))[0]

    # -- state ---------------------------------------------------------------------------------------------------------

    def read_state(self) -> dict[Player, State]:
        """Return the state of both players' modules."""
        return {player: state.read() for player, state in self._state.items()}

    def write_state(self, states: Mapping[Player, State]) -> None:
        """Put both players' modules into a state."""
        for player, state in self._state.items():
            state.write(states[player])

    def state_tensors(self, player: Player) -> Tensors:
        """Return the frozen parameters and buffers of a player, by name."""
        return self._state[player].required

    def state_dict(
        self, states: Mapping[Player, State], *, since_start: bool = False
    ) -> dict[Player, dict[str, State]]:
        """Return a state as two parts: the tensors that a module must have, and the attributes.

        Args:
            states: of both players' modules.
            since_start: leave out attributes that are as they were at the start.
        """
        saved: dict[Player, dict[str, State]] = {}
        for player, state in states.items():
            required, start = self.state_tensors(player), self.start[player]
            attributes = {n: x for n, x in state.items() if n not in required}
            if since_start:
                attributes = {n: attributes[n] for n in changed(start, attributes) if n in attributes}
            saved[player] = {"tensors": {n: x for n, x in state.items() if n in required}, "attributes": attributes}
        return saved

    def load_state_dict(self, saved: Mapping[Player, Mapping[str, State]]) -> dict[Player, State]:
        """Return the state that ``state_dict`` saved; what it does not hold is as it was at the start."""

        def placed(value: Any, like: Any) -> Any:
            place = like.device if isinstance(like, Tensor) else self._device_of_attributes
            return value.to(place, copy=True) if isinstance(value, Tensor) else value

        return {
            player: start | {n: placed(x, start.get(n)) for part in saved[player].values() for n, x in part.items()}
            for player, start in self.start.items()
        }

    @property
    def _device_of_attributes(self) -> torch.device | None:
        tensors = [t for player in PLAYERS for t in self.parameters[player].values()]
        return tensors[0].device if tensors else None

    def changed_tensors(self, states: Mapping[Player, State]) -> list[Tensor]:
        """Return the tensors of the modules' state that hold another value than in ``states``."""
        return [tensor for player, state in self._state.items() for tensor in state.changed_tensors(states[player])]

    def distrust_versions(self) -> None:
        """Read and write the state's tensors always, whatever their version says."""
        for state in self._state.values():
            state.distrust_versions()

    def find_silent_changes(self, *, sampled: bool = False) -> bool:
        """Return whether the last evaluation changed tensors of the state without their version; they are then noted."""
        silent = [state.find_silent_changes(sampled=sampled) for state in self._state.values()]  # each notes its own
        return any(silent)

    def evaluating(self, states: Mapping[Player, State] | None = None) -> dict[Player, State]:
        """Put all modules into evaluation mode, in a state or as they are; return the state."""
        if states is not None:
            self.write_state(states)
        for modules in self.modules.values():
            for _, module in modules:
                module.eval()
        return self.read_state()

    # -- the flat form -------------------------------------------------------------------------------------------------

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
        bare = {name for name, module in self._places[player] if module is None}
        return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start) and n not in bare}

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

    # -- what the user gets --------------------------------------------------------------------------------------------

    def players(self, states: Mapping[Player, State]) -> tuple[Tree, Tree]:
        """Return both players with their modules in a state: copies, or for ``inplace`` the user's own."""
        self.write_state(states)
        if self.inplace:
            return self.game.u, self.game.v
        copier = Copier()
        return self._player("u", self.game.u, copier), self._player("v", self.game.v, copier)

    def _player(self, player: Player, original: Tree, copier: Copier) -> Tree:
        if original is None or is_responding(original):
            return original
        return _settled(copier.copy(player, self._own_trees[player]), original)

    def release(self) -> None:
        """Give the user's own tensors the ``requires_grad`` with which they came."""
        for tensor, requires_grad in self._requires_grad:
            tensor.requires_grad_(requires_grad)


def _copied(leaf: Any) -> Any:
    return leaf.detach().clone() if isinstance(leaf, Tensor) else leaf


def _detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


def _settled(tree: Tree, original: Tree) -> Tree:
    """Give bare tensors the ``requires_grad`` and the type that they came with."""

    def one(leaf: Any, like: Any) -> Any:
        if isinstance(leaf, nn.Module):
            return leaf
        plain = leaf.detach()
        if isinstance(like, nn.Parameter):
            return nn.Parameter(plain, like.requires_grad)
        return plain.requires_grad_(like.requires_grad)

    return optree.tree_map(one, tree, original, none_is_leaf=True)
