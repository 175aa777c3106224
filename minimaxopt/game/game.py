"""The game ``min_u max_v f(u, v)``: a risk, two players, and what they are allowed to be."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, final

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from minimaxopt.errors import ArgumentError
from minimaxopt.game.trees import extent_of, is_responding, leaves_with_names, module_tensors, storage_of

if TYPE_CHECKING:
    from minimaxopt._types import Player, Projection, Risk, Tree


@final
@dataclass(frozen=True, eq=False)
class Game:
    """A two-player game in which ``u`` leads and ``v`` follows, zero-sum unless the follower has a loss of its own.

    ``min_u max_v f(u, v)``, or with a ``follower_loss`` ``g``: ``min_u f(u, v)`` and ``min_v g(u, v)``

    Inside ``f`` the players keep their form: modules behave like modules (any method, any submodule), tensors like
    tensors. The given objects are never modified; solvers work on copies.

    Args:
        f: the risk, ``f(u, v)`` or ``f(u, v, batch)``; a 0-d floating tensor, differentiable in both players. It may
            return values to be logged beside it, ``return risk, {"penalty": penalty}``: numbers or one-element tensors,
            which become columns of the history, as the step's last evaluation for the leader gives them. A keyword-only
            argument ``step``, as in ``f(u, v, batch, *, step)``, gets the 0-based number of the step that is being made;
            outside of a run fix it, by ``partial(f, step=1000)``.
        u: the leader, who minimises: a module, a tensor, or any nesting of dict, list and tuple of both. ``None`` for a
            game of the follower alone; ``f`` is then called with ``None`` in its place.
        v: the follower, who maximises: the same, or a *responding* follower, ``respond(risk, u, batch) -> v``, a
            function that computes its answer to the present ``u`` afresh at each step (``respond(risk, u)`` without
            data). ``risk`` is ``f`` itself, ``u`` comes detached, and the answer is taken as a constant.
        project_u: maps the leader's tensors to the nearest allowed ones after each of its moves, such as ``Box(0, 1)``.
            It receives the structure of ``u``, in which a module stands as the dictionary of its parameters.
        project_v: the same for the follower.
        follower_loss: the follower's own loss ``g``, which it minimises instead of maximising ``f``, as in
            non-saturating GANs and bilevel problems. It is called as ``f`` is, on the same batch and random draw, but
            logs nothing. ``None``, the default, is ``-f``. The page "Two losses" of the documentation says which solvers
            play such games, and how.

    Raises:
        ArgumentError: if ``u`` and ``v`` share a tensor that moves, if a player holds something that is neither a
            module nor a floating tensor, or if ``follower_loss`` is given for a follower that responds.

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
    follower_loss: Risk | None = field(default=None, kw_only=True)

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
        if self.follower_loss is not None:
            self._check_follower_loss()
        owners = _Ownership()
        owners.claim("u", self.u)
        owners.claim("v", self.v)

    def _check_follower_loss(self) -> None:
        if not callable(self.follower_loss):
            raise ArgumentError(
                f"follower_loss: {type(self.follower_loss).__name__} is not callable; give a function of the arguments of "
                "f, or leave it out"
            )
        if self.u is None or self.v is None:
            raise ArgumentError("follower_loss: needs a leader and a follower; give both players, or leave it out")
        if self.responding:
            raise ArgumentError(
                "follower_loss: a responding follower answers by its own rule and minimises no loss; leave it out, or give "
                "a follower with parameters"
            )

    @property
    def zero_sum(self) -> bool:
        """``True`` unless the follower has a loss of its own."""
        return self.follower_loss is None

    @property
    def responding(self) -> bool:
        """``True`` if the follower computes its answer afresh at each step instead of being moved."""
        return is_responding(self.v)

    def flip(self) -> Game:
        """Return the maximin game ``max_v min_u f``, as a game in which ``v`` leads: roles swapped, sign changed.

        ``min_v max_u [-f(u, v)]``

        Projections follow the player. Flipping twice gives the first game back.

        Raises:
            ArgumentError: if the follower responds, since a function cannot lead, or has a loss of its own.

        Source: Hamm and Mehra 2018, Sec. 4.3.
        """
        if not self.zero_sum:
            raise ArgumentError(
                "flip: the follower has a loss of its own, so that there is no maximin game; to let v lead give Game(g, v, "
                "u, follower_loss=f) with the arguments of both losses exchanged"
            )
        if self.responding:
            raise ArgumentError(
                "flip: the follower is a function of the leader, which cannot lead; give a follower with parameters, "
                "such as an attack network"
            )
        f = self.f.f if isinstance(self.f, Flipped) else Flipped(self.f)
        return Game(f, self.v, self.u, project_u=self.project_v, project_v=self.project_u)


def with_players(game: Game, **changes: Any) -> Game:
    """Return a game with other players, or projections, that need no check: copies, or of a form that was checked.

    Examples:
        >>> import torch
        >>> game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(2.0))
        >>> with_players(game, v=torch.tensor(3.0)).v
        tensor(3.)
    """
    twin = copy.copy(game)
    for name, value in changes.items():
        object.__setattr__(twin, name, value)
    return twin


@final
@dataclass(frozen=True)
class Flipped:
    """The risk ``-f`` with its players in the other order."""

    f: Risk

    def __call__(self, u: Any, v: Any, *batch: Any, **step: int) -> Any:
        """Return ``-f(v, u)``, and what ``f`` logs as it is."""
        loss, logs = split_logs(self.f(v, u, *batch, **step))
        return (-loss, logs) if logs else -loss


def takes_step(loss: Any) -> bool:
    """Return whether a loss takes the number of the step: by a keyword-only ``step`` that no ``partial`` has fixed.

    >>> takes_step(lambda u, v, *, step: u * v), takes_step(functools.partial(lambda u, v, *, step: u * v, step=3))
    (True, False)
    """
    if isinstance(loss, Flipped):
        return takes_step(loss.f)
    if isinstance(loss, functools.partial) and "step" in loss.keywords:
        return False
    try:
        parameters = inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).parameters
    except (TypeError, ValueError):  # built-in callables have none
        return False
    return "step" in parameters and parameters["step"].kind is inspect.Parameter.KEYWORD_ONLY


def split_logs(value: Any) -> tuple[Any, Mapping[str, Any]]:
    """Return the risk, and the values that ``f`` returned beside it to be logged.

    >>> split_logs((1.0, {"penalty": 2.0}))
    (1.0, {'penalty': 2.0})
    >>> split_logs(1.0)
    (1.0, {})
    """
    if isinstance(value, tuple):
        pair: tuple[Any, ...] = value
        if len(pair) == 2 and isinstance(pair[1], Mapping):
            return pair[0], pair[1]
    return value, {}


class _Claim(NamedTuple):
    player: Player
    where: str
    start: int
    """The first byte of the tensor in its storage, and the one past the last."""
    end: int
    still: bool
    """Whether it is part of a module and no optimizer moves it."""


@final
class _Ownership:
    """The owner of each tensor, by identity and by memory: a view of u's tensor is u's tensor."""

    def __init__(self) -> None:
        self._by_id: dict[int, _Claim] = {}
        self._by_storage: dict[int, list[_Claim]] = {}

    def claim(self, player: Player, tree: Tree) -> None:
        """Note a player's tensors as its own; raise ``ArgumentError`` for what no player may hold."""
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
                tensors = [(f"{path}.{name}" if path else name, tensor) for name, tensor in module_tensors(leaf)]
            elif isinstance(leaf, Tensor):
                tensors = [(path, leaf)]
            else:
                raise ArgumentError(
                    f"{where}: {type(leaf).__name__} is neither a module nor a tensor; wrap numbers as "
                    "torch.tensor(...) and leave constants to f"
                )
            for name, tensor in tensors:
                whose = f"{player}.{name}" if name else player
                if name in names:
                    raise ArgumentError(f"{whose}: is the name of two tensors; rename a key, or leave dots out of keys")
                names.add(name)
                self._add(player, whose, tensor, inside_module=leaf is not tensor)

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
        # Modules of one player may tie weights, and both may hold what never moves; a bare tensor that is also someone's
        # weight has no consistent move.
        if owner is not None and not (inside_module and (owner.player == player or self._still(owner, tensor))):
            raise ArgumentError(
                f"{where}: shares its values with {owner.where}, so that one move would move both; copy one of them "
                "(copy.deepcopy for a module, clone() for a tensor)"
            )
        claim = _Claim(player, where, *extent_of(tensor), inside_module and not tensor.requires_grad)
        self._by_id.setdefault(id(tensor), claim)
        self._by_storage.setdefault(storage_of(tensor), []).append(claim)

    @staticmethod
    def _still(owner: _Claim, tensor: Tensor) -> bool:
        return owner.still and not tensor.requires_grad

    def _owner(self, tensor: Tensor) -> _Claim | None:
        if id(tensor) in self._by_id:
            return self._by_id[id(tensor)]
        start, end = extent_of(tensor)
        claims = self._by_storage.get(storage_of(tensor), [])
        return next((c for c in claims if max(start, c.start) < min(end, c.end)), None)
