"""Fresh players: of the same form as given ones, but newly initialised."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import optree
import torch
from torch import Tensor, nn

from minimaxopt._types import Player, Projection, Tree
from minimaxopt.errors import ArgumentError
from minimaxopt.game.devices import devices_of
from minimaxopt.game.random_streams import replay, stream


def fresh(player: Player, tree: Tree, domain: Projection | None, seed: int) -> Tree:
    """Return a newly initialised player of the form of ``tree``.

    Modules are initialised anew, children before parents, by their ``reset_parameters``; parameters that do not require
    gradients are the game's and stay. Tensors are drawn from the player's domain where its projection can ``draw``, else
    from a normal distribution as wide as the tensor's own values (at least 1), projected.

    Args:
        player: who it is.
        tree: the player given; ``require_fresh`` has passed it.
        domain: the player's projection, if it has one.
        seed: of all that is drawn.

    Raises:
        ArgumentError: as ``require_fresh`` does.
    """
    require_fresh(player, tree)
    replay(stream(seed, 0, "start"), devices_of((tree,)))
    generator = torch.Generator().manual_seed(stream(seed, 1, "start"))
    modules = [leaf for leaf in optree.tree_leaves(tree, none_is_leaf=True) if isinstance(leaf, nn.Module)]
    if not modules:
        return _drawn(tree, domain, generator)

    def one(leaf: Any) -> Any:
        if isinstance(leaf, nn.Module):
            return _initialised(copy.deepcopy(leaf))
        return _normal(leaf, generator)

    return optree.tree_map(one, tree, none_is_leaf=True)


def require_fresh(player: Player, tree: Tree) -> None:
    """Raise unless ``fresh`` can initialise every part of the tree.

    Raises:
        ArgumentError: naming the module, with the remedy.
    """
    for leaf in optree.tree_leaves(tree, none_is_leaf=True):
        missing = _missing(leaf) if isinstance(leaf, nn.Module) else None
        if missing is not None:
            raise ArgumentError(
                f"{player}: its module {missing} has parameters of its own and no reset_parameters(), so that it "
                "cannot be initialised anew; give the module that method, or fresh_follower a function that returns "
                "a new follower, or restarts=0"
            )


def can_be_fresh(tree: Tree) -> bool:
    """Return whether ``fresh`` can initialise everything in the tree."""
    leaves = [leaf for leaf in optree.tree_leaves(tree, none_is_leaf=True) if isinstance(leaf, nn.Module)]
    return all(_missing(leaf) is None for leaf in leaves)


def _drawn(tree: Tree, domain: Projection | None, generator: torch.Generator) -> Tree:
    draw: Any = getattr(domain, "draw", None)
    if draw is not None:
        return optree.tree_map(_settled, draw(tree, generator))

    def normal(like: Tensor) -> Tensor:
        return _normal(like, generator)

    drawn = optree.tree_map(normal, tree)
    return drawn if domain is None else optree.tree_map(_settled, domain(drawn))


def _settled(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    width = max(1.0, float(like.detach().double().square().mean().sqrt())) if like.numel() else 1.0
    width = width if math.isfinite(width) else 1.0
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like) * width


def _initialised(module: nn.Module) -> nn.Module:
    frozen = {name: p.detach().clone() for name, p in module.named_parameters() if not p.requires_grad}
    for part in reversed(list(module.modules())):
        if (reset := _reset_of(part)) is not None:
            reset()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name in frozen:
                parameter.copy_(frozen[name])
    return module


def _missing(module: nn.Module) -> str | None:
    """Return the type of the first part with learnable parameters of its own that cannot be initialised."""
    for part in module.modules():
        own = any(p.requires_grad for p in part.parameters(recurse=False))
        if own and _reset_of(part) is None:
            return type(part).__name__
    return None


def _reset_of(part: nn.Module) -> Callable[[], object] | None:
    # torch.nn.MultiheadAttention has it under the second name.
    named: Any = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
    return named if callable(named) else None
