"""Validation of given players: they have the form of the game's own and lie in its sets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from minimaxopt._types import Player, Projection, Tensors, Tree
from minimaxopt.calculus.vectors import add, squared_norm
from minimaxopt.errors import ArgumentError
from minimaxopt.game.game import Game, with_players
from minimaxopt.game.played_game import PlayedGame
from minimaxopt.game.trees import is_responding, leaves_with_names


def require_form(subject: str, tree: Tree, like: Tree) -> None:
    """Raise unless ``tree`` has tensors of the shapes of ``like`` and modules in the places of its modules.

    Raises:
        ArgumentError: naming ``subject`` and the first difference.
    """
    if is_responding(like) and is_responding(tree):
        return
    expected = "" if is_responding(like) or like is None else f", where the game's has {_described(like)}"
    if tree is None or is_responding(tree) or is_responding(like):
        actual = "nothing" if tree is None else "a function" if is_responding(tree) else _described(tree)
        raise ArgumentError(f"{subject} has {actual}{expected}; give one of the game's form")
    if _forms(tree) != _forms(like):
        raise ArgumentError(f"{subject} has {_described(tree)}{expected}; give one of the game's form")


def same_architecture(tree: Tree, like: Tree) -> bool:
    """Return whether both have the same parameters, so that one projection fits both."""
    return _shapes(tree) == _shapes(like)


def allowed(subject: str, game: Game, tolerance: float, device: torch.device | None = None) -> Game:
    """Return the game with its players projected onto their sets, of which they must lie within ``tolerance``.

    Args:
        subject: subject of the error message, in which ``{player}`` stands for the player.
        game: the game.
        tolerance: largest distance from the set, as a multiple of the player's norm, or of 1 where that is smaller.
        device: the device on which the projections run; by default the players' own.

    Raises:
        ArgumentError: if a player lies outside.
    """
    projections: dict[Player, Projection | None] = {"u": game.project_u, "v": game.project_v}
    if all(projection is None for projection in projections.values()):
        return game
    played = PlayedGame(game, device)
    for player, projection in projections.items():
        if projection is None:
            continue
        x = {n: t.detach() for n, t in played.parameters[player].items()}
        projected = played.project(player, projection, {n: t.clone() for n, t in x.items()})
        distance = float(squared_norm(add(x, projected, -1.0).values()).sqrt())
        if distance > tolerance * max(1.0, float(squared_norm(x.values()).sqrt())):
            raise ArgumentError(
                f"{subject.format(player=player)} lies {distance:.3g} away from what project_{player} allows, so that "
                "its risk bounds nothing; give the projected one"
            )
        for name, tensor in x.items():
            tensor.copy_(projected[name])
    u, v = played.players(played.start)
    return with_players(game, u=u, v=v)


def _forms(tree: Tree) -> dict[str, Any]:
    return {path: _form(leaf) for path, leaf in leaves_with_names(tree)}


def _form(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return tuple(leaf.shape)
    return "a module" if isinstance(leaf, nn.Module) else type(leaf).__name__


def _described(tree: Tree) -> str:
    parts: list[str] = []
    for path, form in _forms(tree).items():
        description = f"a tensor of shape {form}" if isinstance(form, tuple) else str(form)
        parts.append(f"{description} at {path!r}" if path else description)
    return ", ".join(parts) or "nothing"


def flat_parameters(tree: Tree) -> Tensors:
    """Return the tensors of a player that can move, by the names that they have in a solve."""
    parameters: Tensors = {}
    for path, leaf in leaves_with_names(tree):
        if isinstance(leaf, nn.Module):
            named = ((f"{path}.{name}" if path else name, p) for name, p in leaf.named_parameters())
            parameters |= {name: p.detach() for name, p in named if p.requires_grad}
        elif isinstance(leaf, Tensor):
            parameters[path or "value"] = leaf.detach()
    return parameters


def _shapes(tree: Tree) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in flat_parameters(tree).items()}
