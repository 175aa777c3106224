"""The engine of Hessian-vector products: ``torch.func`` where it is right and hardly dearer, autograd elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from minimaxopt._types import PLAYERS, Player, Point, Tensors
from minimaxopt.calculus.gradients import FlatRisk
from minimaxopt.calculus.hessian import Blocks, Engine
from minimaxopt.calculus.spectrum import random_like
from minimaxopt.calculus.vectors import agree
from minimaxopt.errors import MinimaxoptError
from minimaxopt.game.functional import Functional
from minimaxopt.game.live_risk import GuardedBatch, LiveRisk
from minimaxopt.game.module_state import State, changed
from minimaxopt.game.played_game import PlayedGame

MANY = 10
"""Products from one point from which on ``torch.func`` takes at most 1.1 of autograd's time on networks."""


class At(NamedTuple):
    """What an evaluation begins with."""

    batch: GuardedBatch
    opening: Mapping[Player, State]
    seed: Callable[[], None]
    """Sets the generators to its random draw."""


@final
class HessianEngine:
    """Linearises the gradients of a game, by the engine that suits it.

    ``torch.func`` is used for modules and many products from one point. Before the first of them both engines form the
    gradients and a product with the whole Hessian; ``torch.func`` must agree to rounding and leave the same state. They
    are compared again at the 2nd, 4th, 8th point and so on, since code may begin to behave otherwise.

    Args:
        played: the game with its players.
        functional: its pure form.

    Attributes:
        name: the engine in use; ``None`` before the first product.
        reason: why it is autograd, or the empty string.
    """

    def __init__(self, played: PlayedGame, functional: Functional) -> None:
        self._played, self._functional = played, functional
        self.name: Engine | None = None
        self.reason = ""
        self._compared = False
        self._points = 0

    def linearise(
        self,
        live: Callable[[], Blocks],
        at: At,
        point: Point,
        players: tuple[Player, ...] = PLAYERS,
        *,
        products: int = 1,
        count: Callable[[], None] = lambda: None,
        keep: Callable[[dict[Player, State]], None] = lambda _: None,
    ) -> Blocks:
        """Return the gradients of ``players`` at a point, with Hessian blocks times vectors.

        Args:
            live: linearises them by autograd on the modules as they are.
            at: what the evaluation begins with.
            point: where.
            players: whose gradients are formed.
            products: how many products may be wanted.
            count: called at each evaluation.
            keep: takes the state that an evaluation by ``torch.func`` leaves.
        """
        if self._transforms(at, point, products):
            reason = ""
            try:
                blocks = Blocks(
                    pure_risk(self._played, self._functional, at, keep), point, columns=players, engine="torch.func"
                )
                at.batch.check()
                reason = _changed_attribute(self._functional, at.opening, self._played.read_state())
                reason = reason or self._difference_now(at, point)
                if not reason:
                    count()
                    blocks.count = count
                    return blocks
            except Exception as error:  # noqa: BLE001 - what torch.func cannot transform at this point, autograd plays
                reason = _sentence(error)
            self.name, self.reason = "autograd", f"at a later point {reason}"
        return live()

    def record(self) -> dict[str, Any]:
        """Return what a manifest says of the engine; nothing where no product was formed."""
        return {} if self.name is None else {"hessian_products": {"engine": self.name, "reason": self.reason}}

    def state(self) -> list[Any]:
        """Return the choice, for a checkpoint."""
        return [self.name, self.reason, self._compared]

    def load(self, state: list[Any]) -> None:
        """Go back to what ``state`` returned."""
        self.name, self.reason, self._compared = state

    def _transforms(self, at: At, point: Point, products: int) -> bool:
        why_not = self._why_dearer(products)
        if not why_not and not self._compared:
            self._compared = True
            self.reason = why_not_transformed(self._played, self._functional, at, point)
            self.name = "autograd" if self.reason else "torch.func"
        if self.name is None:
            self.name, self.reason = "autograd", why_not
        return not why_not and self.name == "torch.func"

    def _difference_now(self, at: At, point: Point) -> str:
        """Return what the engines differ in by now, with a warning; looks at points whose number is a power of 2."""
        self._points += 1
        if self._points == 1 or self._points & (self._points - 1):
            return ""
        reason = why_not_transformed(self._played, self._functional, at, point)
        if reason:
            warnings.warn(
                f"f: torch.func and autograd agree no longer ({reason}), so that steps since the last comparison, up to "
                "half of those made, may be wrong; autograd goes on. Let f compute the same for the same arguments.",
                stacklevel=2,
            )
        return reason

    def _why_dearer(self, products: int) -> str:
        """Return why autograd is cheaper whatever ``f`` does, or the empty string."""
        if not any(self._played.modules.values()):
            return "players without modules, for which autograd is cheaper"
        # A linear system wants no more products than it has unknowns.
        unknowns = max(sum(t.numel() for t in tensors.values()) for tensors in self._played.parameters.values())
        return "" if min(products, unknowns) >= MANY else "few products from one point, for which autograd is cheaper"


def pure_risk(
    played: PlayedGame,
    functional: Functional,
    at: At,
    keep: Callable[[dict[Player, State]], None] = lambda _: None,
) -> FlatRisk:
    """Return the risk as a pure function that ``torch.func`` can transform; ``keep`` takes the state that it leaves."""
    opening = dict(at.opening)
    played.write_state(opening)
    buffers = functional.buffers_of(opening)

    def risk(u: Tensors, v: Tensors) -> Tensor:
        at.seed()
        value, after = functional.evaluate(u, v, at.batch.copy(), buffers)
        plain = {p: {n: torch.func.debug_unwrap(t) for n, t in own.items()} for p, own in after.items()}
        keep({p: {**state, **plain.get(p, {})} for p, state in opening.items()})
        return value

    return risk


def why_not_transformed(played: PlayedGame, functional: Functional, at: At, point: Point) -> str:
    """Return why ``torch.func`` must not derive the Hessian-vector products of a game, or the empty string.

    The engines are compared at the point and beside it, where a value that is read past its argument shows.
    """
    if hooked := _hooked(played):
        return f"{hooked} has a hook that runs in the backward pass"
    try:
        return _difference(played, functional, at, point) or _difference(played, functional, at, _beside(point))
    except Exception as error:  # noqa: BLE001 - whatever a user's code raises under a transform, autograd plays it
        return _sentence(error)
    finally:
        played.write_state(at.opening)


def _sentence(error: Exception) -> str:
    said = str(error).splitlines()[0] if str(error) else ""
    return said if isinstance(error, MinimaxoptError) else f"{type(error).__name__}: {said}"


def _difference(played: PlayedGame, functional: Functional, at: At, point: Point) -> str:
    """Return what the engines differ in at a point, or the empty string."""
    kept: list[dict[Player, State]] = []
    opening = at.opening
    vector = Point(random_like(point.u, 1), random_like(point.v, 2))
    live = Blocks(LiveRisk(played, at.batch, opening, at.seed, kept.append), point)
    expected = live.whole(vector)
    after_live = played.read_state()
    if played.logs:
        return "f returns values to be logged"
    played.write_state(opening)
    transformed = Blocks(pure_risk(played, functional, at, kept.append), point, engine="torch.func")
    actual = transformed.whole(vector)
    after_transformed = played.read_state()
    at.batch.check()
    for states in (kept[0], after_live, after_transformed):
        if reason := _changed_attribute(functional, opening, states):
            return reason
    for player in PLAYERS:
        if other := _unequal(kept[0][player], kept[-1][player]):
            return f"the buffer {player}.{other} is then another"
    pairs = {"gradient": (transformed.gradients, live.gradients), "Hessian-vector product": (actual, expected)}
    for quantity, (ours, theirs) in pairs.items():
        for player in PLAYERS:
            for name, tensor in (theirs.u if player == "u" else theirs.v).items():
                if not agree((ours.u if player == "u" else ours.v)[name], tensor):
                    return f"the {quantity} of {player}.{name} differs"
    return "" if agree(transformed.gradients.risk, live.gradients.risk) else "the risk differs"


def _changed_attribute(functional: Functional, opening: Mapping[Player, State], states: Mapping[Player, State]) -> str:
    """Return that an evaluation changed something beside buffers, or the empty string."""
    buffers = functional.buffers_of(dict(opening))
    for player in PLAYERS:
        if states[player] is not opening[player]:
            for name in changed(opening[player], states[player]):
                if name not in buffers[player]:
                    return f"its code changes {player}.{name}, which is no buffer"
    return ""


def _unequal(a: State, b: State) -> str:
    def same(x: Any, y: Any) -> bool:
        floating = isinstance(x, Tensor) and isinstance(y, Tensor) and x.is_floating_point() and x.shape == y.shape
        return floating and agree(x, y)

    return next((name for name in changed(a, b) if not same(a.get(name), b.get(name))), "")


def _hooked(played: PlayedGame) -> str:
    """Return the name of a player's tensor or module with a hook that runs in the backward pass."""
    for player in PLAYERS:
        for name, tensor in played.parameters[player].items():
            if tensor._backward_hooks:
                return f"{player}.{name}"
        for path, module in played.modules[player]:
            for name, part in module.named_modules():
                if part._backward_hooks or part._backward_pre_hooks:  # pyright: ignore[reportPrivateUsage] - torch has no public name for them
                    return ".".join(filter(None, [player, path, name]))
    return ""


def _beside(point: Point) -> Point:
    """Return a point at a hundredth of the values' size."""
    generator = torch.Generator().manual_seed(0)

    def moved(tensor: Tensor) -> Tensor:
        noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor)
        return tensor.detach() + 1e-2 * (tensor.detach().abs().clamp(max=1.0) + 0.1) * noise

    return Point(*({n: moved(t) for n, t in tensors.items()} for tensors in point))
