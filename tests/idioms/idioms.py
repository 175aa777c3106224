"""The table: every idiom, how a game is written in it, and what is to become of it.

An idiom that is not ``refused`` gives, with every solver, the values of a loop written by hand. What a refusal's message
must name is a regular expression, by family of solvers (``"first"``, ``"second"``, ``"vectorised"``), or by aspect.
"""

from __future__ import annotations

import functools
from collections import UserDict, namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

from tests.idioms import modules as m
from tests.idioms.hand import leaves

INPLACE = "inplace=True"
"""Named by a refusal that playing on the given players would not need."""
SPLIT = "sensitivity, split"


class Parts(NamedTuple):
    """A game and its batches."""

    f: Callable[..., Tensor]
    u: Any
    v: Any
    data: Sequence[Any] | None


@dataclass(frozen=True)
class Idiom:
    """One way to write a game.

    Attributes:
        name: of the row.
        parts: builds the game anew.
        refused: what a refusal must name, by family; empty where everything is right.
        why: the reason of a refusal, or what to know.
            skipped: solvers that say nothing about the idiom.
        still_with: the solver that does not move the player in question, so that its values are as good as a refusal.
        momentum: whether the optimizers have momentum, which sparse gradients do without.
    """

    name: str
    parts: Callable[[], Parts]
    refused: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    skipped: Sequence[str] = ()
    still_with: str = ""
    momentum: bool = True

    def plays(self, *names: str) -> bool:
        """Return whether a solver (by its name and family) or an aspect says something about the idiom."""
        return not set(names) & set(self.skipped)

    def refusal(self, *families: str) -> str | None:
        """Return what the refusal by the first of the families that is refused must name."""
        return next((self.refused[family] for family in families if family in self.refused), None)

    def refusal_in_place(self, *families: str) -> str | None:
        """Return the same for a game that is played on the given players themselves."""
        names = self.refusal(*families)
        return None if names is None or INPLACE in names else names

    def build(self, seed: int = 0) -> Parts:
        """Return the game in double precision, with values drawn from ``seed``."""
        with _double(seed):
            return self.parts()


@contextmanager
def _double(seed: int) -> Iterator[None]:
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


def both(make: m.Factory, f: Callable[..., Tensor] = risk) -> Callable[[], Parts]:
    return lambda: Parts(f, make(), make(), batches())


def leader(make: m.Factory, f: Callable[..., Tensor] = risk) -> Callable[[], Parts]:
    return lambda: Parts(f, make(), m.linear(), batches())


def follower(make: m.Factory, f: Callable[..., Tensor] = risk) -> Callable[[], Parts]:
    return lambda: Parts(f, m.linear(), make(), batches())


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
        features = m.frozen(nn.Linear(2, 2))

    def f(u: nn.Module, v: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, weight = batch
        return risk(u, v, (features(x), weight))

    return Parts(f, nn.Linear(2, 2), nn.Linear(2, 2), batches())


def captured_part() -> Parts:
    """``f`` reaches a frozen layer of the leader by a name of its own."""
    u = m.frozen_layer()
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


def of_batches(f: Callable[..., Tensor], form: Callable[[Tensor, Tensor], Any]) -> Callable[[], Parts]:
    return lambda: Parts(f, m.linear(), m.linear(), [form(*batch) for batch in batches()])


def no_data() -> Parts:
    x, weight = batches()[0]
    return Parts(lambda u, v: risk(u, v, (x, weight)), torch.randn(2, 2) / 2, torch.randn(2, 2) / 2, None)


# -- the table ---------------------------------------------------------------------------------------------------------

EVERYWHERE = ("first", "second", "vectorised", "certify")


def refused(names: str, *families: str) -> dict[str, str]:
    return dict.fromkeys(families or EVERYWHERE, names)


ONE_BY_ONE = refused("vectorise=False", "vectorised")
"""What torch.vmap cannot follow; K-beam evaluates its followers one after the other then."""


def where(idiom: Idiom, make: m.Factory) -> list[Idiom]:
    """Return an idiom in the leader and in the follower: a refusal must name the right one."""
    return [
        replace(
            idiom,
            name=f"{idiom.name}, in the {place}",
            parts=build(make),
            refused={family: names.replace("PLAYER", player) for family, names in idiom.refused.items()},
            still_with=still,
        )
        for place, player, build, still in (("leader", "u", leader, "ascent"), ("follower", "v", follower, "descent"))
    ]


REACHES = "it would still reach the original and not the copy that moves"


def reaching(name: str, make: m.Factory, tensor: str, why: str = REACHES) -> list[Idiom]:
    return where(Idiom(name, no_data, refused(rf"PLAYER\.{tensor}\b(?s:.*){INPLACE}"), why), make)


TORCH_WEIGHT_NORM = "torch's second derivative of it is wrong (torch.autograd.gradgradcheck fails, torch 2.13)"

IDIOMS: list[Idiom] = [
    Idiom("plain modules", both(m.linear)),
    Idiom("bare tensors, no data", no_data, skipped=(SPLIT,)),
    Idiom("frozen layer", both(m.frozen_layer)),
    Idiom("tied weights, the same Parameter", both(lambda: m.Tied(m.same_parameter))),
    Idiom("tied by .data, in the leader", leader(lambda: m.Tied(m.same_data))),
    Idiom("tied by .data, in the follower", follower(lambda: m.Tied(m.same_data)), skipped=("unrolled",)),
    Idiom("tied to the transposed weight", leader(lambda: m.Tied(m.transposed_data))),
    Idiom("tied to a part of a weight", leader(lambda: m.Tied(m.half_of_the_data))),
    Idiom("two modules of one player on one memory", leader(m.two_modules_of_one_storage)),
    Idiom("buffer that views a parameter", both(m.BufferOfParameter)),
    Idiom("gradient hook on a parameter (mask)", both(m.masked_gradient)),
    Idiom("gradient hook on a bare Parameter", both(m.masked_gradient_of_a_bare_parameter)),
    Idiom("two gradient hooks, in order", both(m.two_hooks_in_order), skipped=("second", "certify")),
    Idiom("forward hooks", both(m.forward_hooks)),
    Idiom("backward hook that looks on", both(m.observing_backward_hook)),
    Idiom("backward hook that scales", both(m.scaling_backward_hook), refused=ONE_BY_ONE),
    *reaching("lambda over self", m.ClosureOverSelf, "a"),
    Idiom("bound method as an attribute", both(m.BoundMethod)),
    *reaching("wrapped forward", m.wrapped_forward, "(weight|bias)"),
    *reaching("hook over self", m.HookOverSelf, "scale"),
    *reaching("tensor computed once from a parameter", m.ComputedOnce, r"(raised|inner\.weight)"),
    Idiom("counter as an attribute", both(m.Counter)),
    Idiom("tensor as an attribute, assigned", both(m.TensorAttribute)),
    Idiom("tensor as an attribute, changed in place", both(m.TensorAttributeInPlace)),
    Idiom("list as an attribute", both(m.ListAttribute)),
    Idiom("mask of -inf in a buffer", both(lambda: m.Mask(persistent=True))),
    Idiom("mask of -inf, not persistent", both(lambda: m.Mask(persistent=False))),
    Idiom("NaN and infinity in buffers", both(m.NotANumber)),
    Idiom("buffer assigned in forward", both(m.AssignedBuffer)),
    Idiom(
        "buffer that grows",
        both(m.GrowingBuffer),
        refused(r"u\.queue.*\(3, 2\).*\(1, 2\)", "save and load", "resume"),
        "it is not loaded into a module whose buffer has another shape, as by load_state_dict",
    ),
    Idiom("complex and integer buffers", both(m.ComplexBuffer)),
    Idiom("complex parameter", leader(m.ComplexParameter), refused(r"u\.z\b.*complex"), "it has no real gradient"),
    Idiom("mean teacher, updated in forward", both(m.Teacher), refused=ONE_BY_ONE),
    Idiom("several at once", both(m.several), skipped=("second",), refused=ONE_BY_ONE),
    Idiom("checkpointed network", both(lambda: m.Checkpointed(use_reentrant=False))),
    Idiom("checkpointed network with dropout", both(lambda: m.Checkpointed(use_reentrant=False, dropout=0.3))),
    Idiom("checkpointed risk", both(m.linear, checkpointed_risk)),
    Idiom(
        "checkpointed, use_reentrant=True",
        both(lambda: m.Checkpointed(use_reentrant=True)),
        refused("use_reentrant"),
        "torch's older form works with backward() alone; use_reentrant=False is right",
    ),
    Idiom("risk that differentiates by u", both(m.linear, with_own_gradients("u")), refused=ONE_BY_ONE),
    Idiom("risk that differentiates by v", both(m.linear, with_own_gradients("v")), refused=ONE_BY_ONE),
    Idiom("risk that differentiates by both", both(m.linear, with_own_gradients("u", "v")), refused=ONE_BY_ONE),
    Idiom("module that differentiates by its input", both(m.InputGradient), refused=ONE_BY_ONE),
    Idiom("gradient reversal", both(m.GradientReversal), refused=ONE_BY_ONE),
    Idiom("spectral_norm", both(lambda: parametrizations.spectral_norm(nn.Linear(2, 2))), refused=ONE_BY_ONE),
    Idiom("spectral_norm, older form", both(m.quietly(lambda: spectral_norm(nn.Linear(2, 2)))), refused=ONE_BY_ONE),
    Idiom(
        "weight_norm",
        both(lambda: parametrizations.weight_norm(nn.Linear(2, 2))),
        refused("weight_norm", "second", "certify"),
        TORCH_WEIGHT_NORM,
    ),
    Idiom(
        "weight_norm, older form",
        both(m.quietly(lambda: weight_norm(nn.Linear(2, 2)))),
        refused("weight_norm", "second", "certify"),
        TORCH_WEIGHT_NORM,
    ),
    Idiom("orthogonal", both(m.orthogonal)),
    Idiom("BatchNorm in training mode", both(m.normalised("train"))),
    Idiom("BatchNorm in evaluation mode", both(m.normalised("eval"))),
    Idiom("BatchNorm, momentum=None", both(m.normalised("cumulative")), refused=ONE_BY_ONE),
    Idiom("dropout", both(lambda: nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.3)))),
    Idiom("RNN", leader(lambda: m.Recurrent(nn.RNN))),
    Idiom("LSTM", leader(lambda: m.Recurrent(nn.LSTM))),
    Idiom("GRU", leader(lambda: m.Recurrent(nn.GRU))),
    Idiom("Embedding", both(m.Embedded)),
    Idiom("Embedding, sparse", both(lambda: m.Embedded(sparse=True), tables_risk), momentum=False, refused=ONE_BY_ONE),
    Idiom("Embedding, max_norm", leader(m.Limited), skipped=(SPLIT,), refused=ONE_BY_ONE),
    Idiom("lazy module", leader(lambda: nn.LazyLinear(2)), refused(r"u\.(weight|bias).*lazy"), "it has no values yet"),
    *where(Idiom("scripted", no_data, refused(rf"PLAYER\b.*[Ss]cript(?s:.*){INPLACE}")), m.quietly(m.scripted)),
    *where(Idiom("traced", no_data, refused(rf"PLAYER\b.*[Ss]cript(?s:.*){INPLACE}")), m.quietly(m.traced)),
    Idiom(
        "torch.compile'd",
        both(m.compiled),
        refused("torch.compile", "second", "certify"),
        "compiled code has no second derivative",
    ),
    Idiom("DataParallel", both(lambda: nn.DataParallel(nn.Linear(2, 2)))),
    Idiom("pruned", both(m.pruned)),
    Idiom("ParameterList and ParameterDict", both(m.Lists)),
    Idiom("dictionary of modules and tensors", both(m.dictionary)),
    Idiom("list of modules and tensors", both(m.sequence(list))),
    Idiom("tuple of modules and tensors", both(m.sequence(tuple))),
    Idiom("frozen extractor shared by both", functools.partial(shared_extractor, frozen=True)),
    Idiom(
        "trained extractor shared by both",
        functools.partial(shared_extractor, frozen=False),
        refused(r"v\.features\.weight.*u\.features\.weight"),
        "one move would move both players",
    ),
    Idiom("f captures a frozen module", captured_frozen),
    Idiom("f captures a frozen part of a player", captured_part),
    Idiom("f captures a player", captured_leader, refused(rf"u\b(?s:.*){INPLACE}"), REACHES, still_with="ascent"),
    Idiom("batch changed in place", of_batches(in_place, lambda *b: b), refused(r"batch.*in place"), "clone it first"),
    Idiom("batch.pop", of_batches(popped, lambda x, w: {"x": x, "weight": w})),
    Idiom("batch as a UserDict", of_batches(by_key, lambda x, w: UserDict(x=x, weight=w)), skipped=(SPLIT,)),
    Idiom("batch as a dataclass", of_batches(by_attribute, Samples), skipped=(SPLIT,)),
    Idiom("batch as a namedtuple", of_batches(by_attribute, Pair)),
]

TWINS: dict[str, Callable[[], Parts]] = {
    "tied by .data, in the leader": leader(lambda: m.Tied(m.same_parameter), counting_the_tie_twice),
    "lambda over self, in the leader": leader(m.BoundMethod),
    "checkpointed network": both(lambda: m.Checkpointed(use_reentrant=None)),
    "checkpointed network with dropout": both(lambda: m.Checkpointed(use_reentrant=None, dropout=0.3)),
    "checkpointed risk": both(m.linear),
    "scripted, in the follower": follower(m.linear),
    "DataParallel": both(m.linear),
    "batch.pop": both(m.linear),
    "batch as a dataclass": both(m.linear),
}
"""The same games without the idiom, by the idiom's name."""
