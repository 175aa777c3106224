"""The game ``min_u max_v f(u, v)``: a risk, two players, and what they are allowed to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from minimaxopt.errors import ArgumentError
from minimaxopt.game.captured import captured
from minimaxopt.game.trees import leaves_with_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minimaxopt._types import Player, Projection, Risk, Tree


@final
@dataclass(frozen=True, eq=False)
class Game:
    """A two-player zero-sum game in which ``u`` leads and ``v`` follows.

    ``min_u max_v f(u, v)``

    Inside ``f`` the players keep their form: modules behave like modules (any method, any submodule), tensors like
    tensors. The given objects are never modified; solvers work on copies.

    Args:
        f: the risk, ``f(u, v)`` or ``f(u, v, batch)``; a 0-d floating tensor, differentiable in both players.
        u: the leader, who minimises: a module, a tensor, or any nesting of dict, list and tuple of both. ``None`` for a
            game of the follower alone; ``f`` is then called with ``None`` in its place.
        v: the follower, who maximises: the same, or a *responding* follower, ``respond(risk, u, batch) -> v``, a
            function that computes its answer to the present ``u`` afresh at each step (``respond(risk, u)`` without
            data). ``risk`` is ``f`` itself, ``u`` comes detached, and the answer is taken as a constant.
        project_u: maps the leader's tensors to the nearest allowed ones after each of its moves, such as ``Box(0, 1)``.
            It receives the structure of ``u``, in which a module stands as the dictionary of its parameters.
        project_v: the same for the follower.

    Raises:
        ArgumentError: if ``u`` and ``v`` share a tensor, if ``f`` has captured one of their modules, or if a player
            holds something that is neither a module nor a floating tensor.

    Examples:
        >>> import torch
        >>> from minimaxopt import Game
        >>> game = Game(lambda u, v: (u**2 / 2 + 2 * u * v - v**2).sum(), torch.ones(3), torch.ones(3))
        >>> game.flip().f(game.v, game.u)
        tensor(-4.5000)

    Source: Hamm and Mehra 2018, Eqs. 11 and 17.
    """

    f: Risk
    u: Tree
    v: Tree
    project_u: Projection | None = field(default=None, kw_only=True)
    project_v: Projection | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not callable(self.f):
            raise ArgumentError(
                f"f: {type(self.f).__name__} is not callable; give a function f(u, v) or f(u, v, batch)"
            )
        if is_responding(self.u):
            raise ArgumentError(
                "u: a function is a responding follower, and a leader cannot respond; give modules or "
                "tensors as u, the function as v"
            )
        if self.u is None and (self.v is None or is_responding(self.v)):
            raise ArgumentError("u: nobody is left to move; give modules or tensors as u, as v, or both")
        for name, projection in (("project_u", self.project_u), ("project_v", self.project_v)):
            if projection is not None and not callable(projection):
                raise ArgumentError(
                    f"{name}: {type(projection).__name__} is not callable; give a function such as Box(0, 1)"
                )
        if self.project_v is not None and is_responding(self.v):
            raise ArgumentError(
                "project_v: a responding follower has no tensors to project; constrain the answer inside respond"
            )
        owners = _Owners()
        owners.claim("u", self.u)
        owners.claim("v", self.v)
        for argument, function in (("f", self.f), ("v", self.v)):
            if argument == "f" or is_responding(function):
                owners.refuse_captured(argument, function)

    @property
    def responding(self) -> bool:
        """Whether the follower computes its answer afresh at each step instead of being moved."""
        return is_responding(self.v)

    def flip(self) -> Game:
        """Return the maximin game ``max_v min_u f``, as a game in which ``v`` leads: roles swapped, sign changed.

        ``min_v max_u [-f(u, v)]``

        Projections follow the player. Flipping twice gives the first game back.

        Raises:
            ArgumentError: if the follower responds, since a function cannot lead.

        Source: Hamm and Mehra 2018, Sec. 4.3.
        """
        if self.responding:
            raise ArgumentError(
                "flip: the follower is a function of the leader, which cannot lead; give a follower with parameters, "
                "such as an attack network"
            )
        f = self.f.f if isinstance(self.f, Flipped) else Flipped(self.f)
        return Game(f, self.v, self.u, project_u=self.project_v, project_v=self.project_u)


@final
@dataclass(frozen=True)
class Flipped:
    """The risk ``-f`` with its players in the other order."""

    f: Risk

    def __call__(self, u: Any, v: Any, *batch: Any) -> Tensor:
        return -self.f(v, u, *batch)


def is_responding(player: Tree) -> bool:
    """Whether a player is a function rather than modules and tensors."""
    return callable(player) and not isinstance(player, nn.Module)


class _Claim(NamedTuple):
    player: Player
    where: str
    start: int
    """The first byte of the tensor in its storage, and the one past the last."""
    end: int


@final
class _Owners:
    """Who owns which tensor, found by identity and by memory (a view of u's tensor is u's tensor)."""

    def __init__(self) -> None:
        self._by_id: dict[int, _Claim] = {}
        self._by_storage: dict[int, list[_Claim]] = {}

    def claim(self, player: Player, tree: Tree) -> None:
        if tree is None or is_responding(tree):
            return
        leaves = leaves_with_names(tree)
        if not leaves:
            raise ArgumentError(
                f"{player}: {type(tree).__name__} is empty; give a module, a tensor, or a nesting of both"
            )
        names: set[str] = set()
        for path, leaf in leaves:
            where = f"{player}.{path}" if path else player
            if isinstance(leaf, nn.Module):
                held = [(f"{path}.{name}" if path else name, tensor) for name, tensor in _state(leaf)]
            elif isinstance(leaf, Tensor):
                held = [(path, leaf)]
            else:
                raise ArgumentError(
                    f"{where}: {type(leaf).__name__} is neither a module nor a tensor; wrap numbers as "
                    "torch.tensor(...) and leave constants to f"
                )
            for name, tensor in held:
                whose = f"{player}.{name}" if name else player
                if name in names:
                    raise ArgumentError(f"{whose}: is the name of two tensors; rename a key, or leave dots out of keys")
                names.add(name)
                self._add(player, whose, tensor, inside_module=leaf is not tensor)
            if isinstance(leaf, nn.Module):
                self._by_id.update({id(m): _Claim(player, where, 0, 0) for m in leaf.modules()})

    def _add(self, player: Player, where: str, tensor: Tensor, *, inside_module: bool) -> None:
        if is_lazy(tensor):
            raise ArgumentError(
                f"{where}: a lazy parameter has no shape yet; run the module once on a batch before it plays"
            )
        if not tensor.is_floating_point() and (not inside_module or tensor.requires_grad):
            kind = str(tensor.dtype).removeprefix("torch.")
            raise ArgumentError(
                f"{where}: a {kind} tensor cannot be moved by real gradients; give a floating tensor "
                "(for a complex one torch.view_as_real, and torch.view_as_complex inside f)"
            )
        owner = self._owner(tensor)
        # Modules of one player may tie weights; a bare tensor that is also someone's weight has no consistent move.
        if owner is not None and (owner.player != player or not inside_module):
            raise ArgumentError(
                f"{where}: shares its values with {owner.where}, so that one move would move both; copy one of them "
                "(copy.deepcopy for a module, clone() for a tensor)"
            )
        claim = _Claim(player, where, *_extent(tensor))
        self._by_id[id(tensor)] = claim
        self._by_storage.setdefault(_storage(tensor), []).append(claim)

    def _owner(self, thing: Tensor | nn.Module) -> _Claim | None:
        if id(thing) in self._by_id or isinstance(thing, nn.Module):
            return self._by_id.get(id(thing))
        start, end = _extent(thing)
        claims = self._by_storage.get(_storage(thing), [])
        return next((c for c in claims if max(start, c.start) < min(end, c.end)), None)

    def refuse_captured(self, argument: str, function: Callable[..., object]) -> None:
        for name, value in captured(function):
            held: list[Tensor | nn.Module] = [value]
            if isinstance(value, nn.Module):
                held += [*(t for _, t in _state(value)), *value.modules()]
            owner = next((found for thing in held if (found := self._owner(thing)) is not None), None)
            if owner is not None:
                raise ArgumentError(
                    f"{argument}: captures {name!r}, which belongs to {owner.where}; a solve moves copies and would "
                    f"never reach it. Use the argument of {argument} instead"
                )


def _state(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _storage(tensor: Tensor) -> int:
    try:
        address = tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):  # sparse and fake tensors have none; identity alone must do
        address = 0
    return address or -id(tensor)


def _extent(tensor: Tensor) -> tuple[int, int]:
    if tensor.layout is not torch.strided or not tensor.numel():
        return 0, 0
    span = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    first = tensor.storage_offset() * tensor.element_size()
    return int(first), int(first + span * tensor.element_size())


def devices_of(trees: tuple[Tree, ...]) -> list[torch.device]:
    """Return the devices on which the tensors of ``trees`` live, each once."""
    found: dict[torch.device, None] = {}
    for tree in trees:
        if tree is None or is_responding(tree):
            continue
        for _, leaf in leaves_with_names(tree):
            tensors = [t for _, t in _state(leaf)] if isinstance(leaf, nn.Module) else [leaf]
            found.update({t.device: None for t in tensors if isinstance(t, Tensor)})
    return list(found)
