"""Games of two players and their batches: one for all modules, and some of a form of their own."""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from tests.idioms.hand import leaves
from tests.idioms.modules import Factory, frozen, frozen_layer, linear


class Parts(NamedTuple):
    """A game and its batches."""

    f: Callable[..., Tensor]
    u: Any
    v: Any
    data: Sequence[Any] | None


@contextmanager
def double_precision(seed: int) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_default_dtype(before)


# -- the game ----------------------------------------------------------------------------------------------------------


def act(player: Any, x: Tensor) -> Tensor:
    """Return what a player makes of ``x``: its parts one after the other, tensors as matrices."""
    if isinstance(player, dict):
        player = list(player.values())
    if isinstance(player, list | tuple):
        return functools.reduce(lambda y, part: act(part, y), player, x)
    return player(x) if isinstance(player, nn.Module) else x @ player


def pull(player: Any) -> Tensor:
    tensors = [t for leaf in leaves(player) for t in (leaf.parameters() if isinstance(leaf, nn.Module) else [leaf])]
    return torch.stack([t.square().sum() for t in tensors]).sum() / 2


def score(u: Any, v: Any, x: Tensor, weight: Tensor) -> Tensor:
    return (weight * (act(u, x).tanh() * act(v, x).tanh()).sum(1)).mean()


def risk(u: Any, v: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    """A smooth game, convex enough in ``u`` and concave enough in ``v`` that every solver has its regular step."""
    return score(u, v, *batch) + pull(u) - pull(v)


def batches() -> list[Any]:
    generator = torch.Generator().manual_seed(7)
    return [(torch.randn(4, 2, generator=generator) / 2, torch.ones(4)) for _ in range(5)]


def both(make: Factory, f: Callable[..., Tensor] = risk) -> Callable[[], Parts]:
    return lambda: Parts(f, make(), make(), batches())


def leader(make: Factory, f: Callable[..., Tensor] = risk) -> Callable[[], Parts]:
    return lambda: Parts(f, make(), linear(), batches())


def follower(make: Factory, f: Callable[..., Tensor] = risk) -> Callable[[], Parts]:
    return lambda: Parts(f, linear(), make(), batches())


# -- games of a form of their own --------------------------------------------------------------------------------------


def checkpointed_risk(u: Any, v: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    return checkpoint(lambda x, weight: risk(u, v, (x, weight)), *batch, use_reentrant=False)


def with_own_gradients(*players: str) -> Callable[..., Tensor]:
    """Return a risk with a penalty on its gradient in some players' parameters."""

    def f(u: nn.Module, v: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        value = risk(u, v, batch)
        tensors = [t for name, player in (("u", u), ("v", v)) if name in players for t in player.parameters()]
        slopes = torch.autograd.grad(value, tensors, create_graph=True)
        return value + 0.05 * torch.stack([slope.square().sum() for slope in slopes]).sum()

    return f


def counting_the_tie_twice(u: Any, v: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    """What ``risk`` is for two parameters of one memory."""
    return risk(u, v, batch) + u.encoder.weight.square().sum() / 2


def shared_extractor(*, frozen: bool) -> Parts:
    features = nn.Linear(2, 2).requires_grad_(not frozen)
    return Parts(
        risk,
        {"features": features, "head": nn.Linear(2, 2)},
        {"features": features, "attack": nn.Linear(2, 2)},
        batches(),
    )


def captured_frozen() -> Parts:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)  # it belongs to f, whatever the players begin with
        features = frozen(nn.Linear(2, 2))

    def f(u: nn.Module, v: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, weight = batch
        return risk(u, v, (features(x), weight))

    return Parts(f, nn.Linear(2, 2), nn.Linear(2, 2), batches())


def captured_part() -> Parts:
    """``f`` reaches a frozen layer of the leader by a name of its own."""
    u = frozen_layer()
    first = u[0]

    def f(u: nn.Module, v: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, weight = batch
        return risk(u, v, (first(x), weight))

    return Parts(f, u, nn.Linear(2, 2), batches())


def captured_leader() -> Parts:
    leader = nn.Linear(2, 2)

    def f(u: nn.Module, v: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return risk(leader, v, batch) + pull(u)

    return Parts(f, leader, nn.Linear(2, 2), batches())


def tables_risk(u: Any, v: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Leave the pull out, whose gradient of a table is dense."""
    return score(u, v, *batch)


@dataclass
class Samples:
    x: Tensor
    weight: Tensor


Pair = namedtuple("Pair", ["x", "weight"])


def popped(u: Any, v: Any, batch: dict[str, Tensor]) -> Tensor:
    weight = batch.pop("weight")
    return risk(u, v, (batch.pop("x"), weight))


def by_key(u: Any, v: Any, batch: Any) -> Tensor:
    return risk(u, v, (batch["x"], batch["weight"]))


def by_attribute(u: Any, v: Any, batch: Any) -> Tensor:
    return risk(u, v, (batch.x, batch.weight))


def in_place(u: Any, v: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    batch[0].sub_(batch[0].mean(0)).mul_(0.5)
    return risk(u, v, batch)


def in_place_by_data(u: Any, v: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    batch[0].data.mul_(0.5)
    return risk(u, v, batch)


def of_arrays(u: Any, v: Any, batch: tuple[Any, Any]) -> Tensor:
    return risk(u, v, (torch.from_numpy(batch[0]), torch.from_numpy(batch[1])))


def in_place_of_arrays(u: Any, v: Any, batch: tuple[Any, Any]) -> Tensor:
    x, weight = batch
    x *= 0.5
    return of_arrays(u, v, (x, weight))


def cached(u: Any, v: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    with parametrize.cached():
        return risk(u, v, batch)


def of_batches(f: Callable[..., Tensor], form: Callable[[Tensor, Tensor], Any]) -> Callable[[], Parts]:
    return lambda: Parts(f, linear(), linear(), [form(*batch) for batch in batches()])


def no_data() -> Parts:
    x, weight = batches()[0]
    return Parts(lambda u, v: risk(u, v, (x, weight)), torch.randn(2, 2) / 2, torch.randn(2, 2) / 2, None)
