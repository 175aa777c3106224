"""The table: every idiom, how a game is written in it, and what is to become of it.

An idiom that is not ``refused`` gives, with every solver, the values of a loop written by hand. What a refusal's message
must name is a regular expression, by family of solvers (``"first"``, ``"second"``, ``"vectorised"``), or by aspect.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from tests.idioms import games, modules, torch_modules
from tests.idioms.games import Parts, both, double_precision, follower, leader
from tests.idioms.modules import Factory, quietly

INPLACE = "inplace=True"
"""Named by a refusal that playing on the given players would not need."""
SPLIT = "sensitivity, split"


@dataclass(frozen=True)
class Idiom:
    """One way to write a game.

    Attributes:
        name: of the row.
        parts: builds the game anew.
        refused: what a refusal must name, by family; empty where everything is right.
        why: the reason of a refusal, or what to know.
        skipped: solvers, families and aspects that say nothing about the idiom.
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
        with double_precision(seed):
            return self.parts()


# -- the table ---------------------------------------------------------------------------------------------------------

EVERYWHERE = ("first", "second", "vectorised", "certify")


def refused(names: str, *families: str) -> dict[str, str]:
    return dict.fromkeys(families or EVERYWHERE, names)


ONE_BY_ONE = refused("vectorise=False", "vectorised")
"""What torch.vmap cannot follow, or follows to other values: ``KBeam(vectorise=True)`` refuses it, the default does not."""


def in_either_player(idiom: Idiom, make: Factory) -> list[Idiom]:
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


def reaching(name: str, make: Factory, tensor: str, why: str = REACHES) -> list[Idiom]:
    return in_either_player(Idiom(name, games.no_data, refused(rf"PLAYER\.{tensor}\b(?s:.*){INPLACE}"), why), make)


TORCH_WEIGHT_NORM = "torch's second derivative of it is wrong (torch.autograd.gradgradcheck fails, torch 2.13)"


def arrays(x: Tensor, weight: Tensor) -> tuple[Any, Any]:
    return x.numpy(), weight.numpy()


SCRIPTED = refused(rf"PLAYER\b.*TorchScript(?s:.*){INPLACE}")
NOT_COPIED = "TorchScript cannot be copied with parameters of its own"

SLOWLY_COMPILED = ("two-timescale", "best-response", "negative-momentum", "smoothed-gda", "optimistic", "averaged")
"""Each cell compiles its players anew; the solvers that remain visit every kind of point."""

IDIOMS: list[Idiom] = [
    Idiom("plain modules", both(modules.linear)),
    Idiom("bare tensors, no data", games.no_data, skipped=(SPLIT,)),
    Idiom("frozen layer", both(modules.frozen_layer)),
    Idiom("tied weights, the same Parameter", both(lambda: modules.Tied(modules.same_parameter))),
    Idiom("tied by .data, in the leader", leader(lambda: modules.Tied(modules.same_data))),
    Idiom("tied by .data, in the follower", follower(lambda: modules.Tied(modules.same_data)), skipped=("unrolled",)),
    Idiom("tied to the transposed weight", leader(lambda: modules.Tied(modules.transposed_data))),
    Idiom("tied to a part of a weight", leader(lambda: modules.Tied(modules.half_of_the_data))),
    Idiom("two modules of one player on one memory", leader(modules.two_modules_of_one_storage)),
    Idiom("buffer that views a parameter", both(modules.BufferOfParameter), refused=ONE_BY_ONE),
    Idiom("gradient hook on a parameter (mask)", both(modules.masked_gradient), refused=ONE_BY_ONE),
    Idiom("gradient hook on a bare Parameter", both(modules.masked_gradient_of_a_bare_parameter), refused=ONE_BY_ONE),
    Idiom(
        "two gradient hooks, in order",
        both(modules.two_hooks_in_order),
        refused=ONE_BY_ONE,
        skipped=("second", "certify"),
    ),
    Idiom("forward hooks", both(modules.forward_hooks)),
    Idiom("backward hook that looks on", both(modules.observing_backward_hook), refused=ONE_BY_ONE),
    Idiom("backward hook that scales", both(modules.scaling_backward_hook), refused=ONE_BY_ONE),
    *reaching("lambda over self", modules.ClosureOverSelf, "a"),
    Idiom("bound method as an attribute", both(modules.BoundMethod)),
    *reaching("wrapped forward", modules.wrapped_forward, "(weight|bias)"),
    *reaching("hook over self", modules.HookOverSelf, "scale"),
    *reaching("tensor computed once from a parameter", modules.ComputedOnce, r"(raised|inner\.weight)"),
    Idiom("counter as an attribute", both(modules.Counter)),
    Idiom("tensor as an attribute, assigned", both(modules.TensorAttribute)),
    Idiom("tensor as an attribute, changed in place", both(modules.TensorAttributeInPlace)),
    Idiom("helper object with a memory", both(modules.HelperObject)),
    Idiom("generator of its own", both(modules.OwnGenerator)),
    Idiom("layer in a plain list", both(modules.Unregistered)),
    Idiom("list as an attribute", both(modules.ListAttribute)),
    Idiom("mask of -inf in a buffer", both(lambda: modules.Mask(persistent=True))),
    Idiom("mask of -inf, not persistent", both(lambda: modules.Mask(persistent=False))),
    Idiom("NaN and infinity in buffers", both(modules.NotANumber)),
    Idiom("buffer assigned in forward", both(modules.AssignedBuffer)),
    Idiom(
        "buffer that grows",
        both(modules.GrowingBuffer),
        refused(r"u\.queue.*\(3, 2\).*\(1, 2\)", "save and load", "resume"),
        "it is not loaded into a module whose buffer has another shape, as by load_state_dict",
    ),
    Idiom("complex and integer buffers", both(modules.ComplexBuffer)),
    Idiom(
        "complex parameter", leader(modules.ComplexParameter), refused(r"u\.z\b.*complex"), "it has no real gradient"
    ),
    Idiom("mean teacher, updated in forward", both(modules.Teacher), refused=ONE_BY_ONE),
    Idiom("several at once", both(torch_modules.several), skipped=("second",), refused=ONE_BY_ONE),
    Idiom("checkpointed network", both(lambda: torch_modules.Checkpointed(use_reentrant=False)), refused=ONE_BY_ONE),
    Idiom(
        "checkpointed network with dropout",
        both(lambda: torch_modules.Checkpointed(use_reentrant=False, dropout=0.3)),
        refused=ONE_BY_ONE,
    ),
    Idiom("checkpointed risk", both(modules.linear, games.checkpointed_risk), refused=ONE_BY_ONE),
    Idiom(
        "checkpointed, use_reentrant=True",
        both(lambda: torch_modules.Checkpointed(use_reentrant=True)),
        refused("use_reentrant"),
        "torch's older form works with backward() alone; use_reentrant=False is right",
    ),
    Idiom("risk that differentiates by u", both(modules.linear, games.with_own_gradients("u")), refused=ONE_BY_ONE),
    Idiom("risk that differentiates by v", both(modules.linear, games.with_own_gradients("v")), refused=ONE_BY_ONE),
    Idiom(
        "risk that differentiates by both", both(modules.linear, games.with_own_gradients("u", "v")), refused=ONE_BY_ONE
    ),
    Idiom("module that differentiates by its input", both(torch_modules.InputGradient), refused=ONE_BY_ONE),
    Idiom("gradient reversal", both(torch_modules.GradientReversal), refused=ONE_BY_ONE),
    Idiom("spectral_norm", both(lambda: parametrizations.spectral_norm(nn.Linear(2, 2))), refused=ONE_BY_ONE),
    Idiom("spectral_norm, older form", both(quietly(lambda: spectral_norm(nn.Linear(2, 2)))), refused=ONE_BY_ONE),
    Idiom(
        "weight_norm",
        both(lambda: parametrizations.weight_norm(nn.Linear(2, 2))),
        refused("weight_norm", "second", "certify"),
        TORCH_WEIGHT_NORM,
    ),
    Idiom(
        "weight_norm, older form",
        both(quietly(lambda: weight_norm(nn.Linear(2, 2)))),
        refused("weight_norm", "second", "certify"),
        TORCH_WEIGHT_NORM,
    ),
    Idiom("orthogonal", both(torch_modules.orthogonal)),
    Idiom("parametrize.cached", both(torch_modules.orthogonal, games.cached)),
    Idiom("LayerNorm", leader(lambda: nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2, eps=0.1)))),
    Idiom("BatchNorm in training mode", both(torch_modules.normalised("train"))),
    Idiom("BatchNorm in evaluation mode", both(torch_modules.normalised("eval"))),
    Idiom("BatchNorm, momentum=None", both(torch_modules.normalised("cumulative")), refused=ONE_BY_ONE),
    Idiom("dropout", both(lambda: nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.3)))),
    Idiom("RNN", leader(lambda: torch_modules.Recurrent(nn.RNN))),
    Idiom("LSTM", leader(lambda: torch_modules.Recurrent(nn.LSTM))),
    Idiom("GRU", leader(lambda: torch_modules.Recurrent(nn.GRU))),
    Idiom(
        "MultiheadAttention",
        both(torch_modules.Attention),
        refused("scaled_dot_product.*SDPBackend.MATH", "second", "certify"),
        "its fused form has no second derivative; `sdpa_kernel(SDPBackend.MATH)` has",
    ),
    Idiom("Embedding", both(torch_modules.Embedded)),
    Idiom(
        "Embedding, sparse",
        both(lambda: torch_modules.Embedded(sparse=True), games.tables_risk),
        momentum=False,
        refused=ONE_BY_ONE,
    ),
    Idiom("Embedding, max_norm", leader(torch_modules.Limited), skipped=(SPLIT,), refused=ONE_BY_ONE),
    Idiom("lazy module", leader(lambda: nn.LazyLinear(2)), refused(r"u\.(weight|bias).*lazy"), "it has no values yet"),
    *in_either_player(Idiom("scripted", games.no_data, SCRIPTED, NOT_COPIED), quietly(torch_modules.scripted)),
    *in_either_player(Idiom("traced", games.no_data, SCRIPTED, NOT_COPIED), quietly(torch_modules.traced)),
    Idiom(
        "torch.compile'd",
        both(torch_modules.compiled),
        refused("torch.compile", "second", "certify"),
        "compiled code has no second derivative",
        skipped=SLOWLY_COMPILED,
    ),
    Idiom("DataParallel", both(lambda: nn.DataParallel(nn.Linear(2, 2)))),
    Idiom("pruned", both(torch_modules.pruned)),
    Idiom("ParameterList and ParameterDict", both(torch_modules.Lists)),
    Idiom("dictionary of modules and tensors", both(torch_modules.dictionary)),
    Idiom("list of modules and tensors", both(torch_modules.sequence(list))),
    Idiom("tuple of modules and tensors", both(torch_modules.sequence(tuple))),
    Idiom("frozen extractor shared by both", partial(games.shared_extractor, frozen=True)),
    Idiom(
        "trained extractor shared by both",
        partial(games.shared_extractor, frozen=False),
        refused(r"v\.features\.weight.*u\.features\.weight"),
        "one move would move both players",
    ),
    Idiom("f captures a frozen module", games.captured_frozen),
    Idiom("f captures a frozen part of a player", games.captured_part),
    Idiom("f captures a player", games.captured_leader, refused(rf"u\b(?s:.*){INPLACE}"), REACHES, still_with="ascent"),
    Idiom(
        "batch changed in place",
        games.of_batches(games.in_place, lambda *b: b),
        refused(r"batch.*in place"),
        "clone it first",
    ),
    Idiom(
        "batch changed in place by .data",
        games.of_batches(games.in_place_by_data, lambda *b: b),
        refused(r"batch.*in place"),
        "clone it first",
    ),
    Idiom("batch of NumPy arrays", games.of_batches(games.of_arrays, arrays), skipped=(SPLIT,)),
    Idiom(
        "NumPy batch changed in place",
        games.of_batches(games.in_place_of_arrays, arrays),
        refused(r"batch.*in place"),
        "copy it first",
        skipped=(SPLIT,),
    ),
    Idiom("batch.pop", games.of_batches(games.popped, lambda x, w: {"x": x, "weight": w})),
    Idiom(
        "batch as a UserDict", games.of_batches(games.by_key, lambda x, w: UserDict(x=x, weight=w)), skipped=(SPLIT,)
    ),
    Idiom("batch as a dataclass", games.of_batches(games.by_attribute, games.Samples), skipped=(SPLIT,)),
    Idiom("batch as a namedtuple", games.of_batches(games.by_attribute, games.Pair)),
]

TWINS: dict[str, Callable[[], Parts]] = {
    "tied by .data, in the leader": leader(lambda: modules.Tied(modules.same_parameter), games.counting_the_tie_twice),
    "lambda over self, in the leader": leader(modules.BoundMethod),
    "checkpointed network": both(lambda: torch_modules.Checkpointed(use_reentrant=None)),
    "checkpointed network with dropout": both(lambda: torch_modules.Checkpointed(use_reentrant=None, dropout=0.3)),
    "checkpointed risk": both(modules.linear),
    "scripted, in the follower": follower(modules.linear),
    "DataParallel": both(modules.linear),
    "batch.pop": both(modules.linear),
    "batch as a dataclass": both(modules.linear),
}
"""The same games without the idiom, by the idiom's name."""
