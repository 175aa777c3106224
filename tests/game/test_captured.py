"""What a risk reads past its arguments is found by name; what it merely could read is not held against it."""

from __future__ import annotations

import sys
from functools import partial, wraps
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from minimaxopt import Game
from minimaxopt.errors import ArgumentError
from minimaxopt.game.captured import captured

if TYPE_CHECKING:
    from collections.abc import Callable

NET = nn.Linear(2, 1)
ADVERSARY = torch.ones(2)
ELSEWHERE = ModuleType("elsewhere")
ELSEWHERE.net = NET  # type: ignore[attr-defined]


def names(f: object) -> list[str]:
    return [name for name, _ in captured(f)]


def reads_global(u: Any, v: Any) -> Tensor:
    return NET(v).sum()


def reads_global_in_a_comprehension(u: Any, v: Any) -> Tensor:
    return sum(NET(row).sum() for row in v[None])


def calls_a_function_that_reads(u: Any, v: Any) -> Tensor:
    return reads_global(u, v)


def reads_a_module_of_python(u: Any, v: Any) -> Tensor:
    return ELSEWHERE.net(v).sum()


def reads_default(u: Any, v: Any, net: nn.Module = NET) -> Tensor:
    return net(v).sum()


def reads_keyword_default(u: Any, v: Any, *, net: nn.Module = NET) -> Tensor:
    return net(v).sum()


def takes_net(net: nn.Module, u: Any, v: Any) -> Tensor:
    return net(v).sum()


def takes_net_by_name(u: Any, v: Any, net: nn.Module) -> Tensor:
    return net(v).sum()


def decorated(f: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @wraps(f)
    def wrapper(*arguments: Any) -> Tensor:
        return f(*arguments)

    return wrapper


class Experiment:
    """Holds both players, as experiments do."""

    def __init__(self, net: nn.Module = NET, adversary: Tensor = ADVERSARY) -> None:
        self.net, self.adversary, self.scale = net, adversary, 2.0

    def dishonest(self, u: Any, v: Any) -> Tensor:
        return self.net(v).sum()

    def dishonest_through_a_helper(self, u: Any, v: Any) -> Tensor:
        return self.helper(v)

    def dishonest_through_a_property(self, u: Any, v: Any) -> Tensor:
        return self.score(v)

    def dishonest_inside_a_lambda(self, u: Any, v: Any) -> Tensor:
        return sum(map(lambda row: self.net(row).sum(), v[None]))  # noqa: C417 - the lambda is the point

    def dishonest_inside_a_comprehension(self, u: Any, v: Any) -> Tensor:
        return torch.stack([self.net(row).sum() for row in v[None]]).sum()

    def honest(self, u: Any, v: Any) -> Tensor:
        net, adversary = u, v
        return self.scale * self.mean(net(adversary))

    def helper(self, v: Any) -> Tensor:
        return self.net(v).sum()

    def mean(self, x: Tensor) -> Tensor:
        return x.mean()

    @property
    def score(self) -> nn.Module:
        return self.net

    def __call__(self, u: Any, v: Any) -> Tensor:
        return self.net(v).sum()


class Honest(Experiment):
    def __call__(self, u: Any, v: Any) -> Tensor:
        return u(v).sum()


def risk_of(v: Any, owner: Any) -> Tensor:
    return owner.net(v).sum()


class RiskModule(nn.Module):
    """A risk that is itself a module and owns both players."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.adversary, self.scale = NET, nn.Parameter(torch.ones(2)), 2.0

    def forward(self, u: Any, v: Any) -> Tensor:
        return u(v).sum()

    def dishonest(self, u: Any, v: Any) -> Tensor:
        return self.net(v).sum()

    def dishonest_as_an_argument(self, u: Any, v: Any) -> Tensor:
        return risk_of(v, self)

    def scaled_inside_a_lambda(self, u: Any, v: Any) -> Tensor:
        return sum(map(lambda row: self.scale * u(row).sum(), v[None]))  # noqa: C417 - the lambda is the point

    def decayed(self, u: Any, v: Any) -> Tensor:
        return u(v).sum() + sum(p.square().sum() for p in self.parameters())


EXPERIMENT, MODULE = Experiment(), RiskModule()


def closure(**held: Any) -> dict[str, Callable[..., Tensor]]:
    net, nets, box, forward = NET, [NET], SimpleNamespace(net=NET), NET.forward
    experiment = EXPERIMENT
    return {
        "net": lambda u, v: net(v).sum(),
        "net.weight": lambda u, v: (net.weight @ v).sum(),
        "nets.0": lambda u, v: nets[0](v).sum(),
        "box.net": lambda u, v: box.net(v).sum(),
        "forward.self": lambda u, v: forward(v).sum(),
        "experiment.net": lambda u, v: experiment.net(v).sum(),
    }


DISHONEST: list[tuple[Any, str]] = [
    *((f, name) for name, f in closure().items()),
    (reads_global, "NET"),
    (reads_global_in_a_comprehension, "NET"),
    (calls_a_function_that_reads, "reads_global.NET"),
    (reads_a_module_of_python, "ELSEWHERE.net"),
    (reads_default, "default 0"),
    (reads_keyword_default, "net"),
    (decorated(reads_global), "f.NET"),
    (partial(takes_net, NET), "argument 0"),
    (partial(takes_net_by_name, net=NET), "net"),
    (partial(reads_global), "NET"),
    (EXPERIMENT, "self.net"),
    (EXPERIMENT.dishonest, "self.net"),
    (EXPERIMENT.dishonest_through_a_helper, "self.helper.self.net"),
    (EXPERIMENT.dishonest_through_a_property, "self.score.self.net"),
    (EXPERIMENT.dishonest_inside_a_lambda, "self.net"),
    (EXPERIMENT.dishonest_inside_a_comprehension, "self.net"),
    (MODULE.dishonest, "self.net"),
    (MODULE.dishonest_as_an_argument, "self"),
    (MODULE.decayed, "self"),
    (NET.forward, "self"),
    (NET, "self"),
]


@pytest.mark.parametrize(("f", "name"), DISHONEST, ids=[name for _, name in DISHONEST])
def test_what_is_captured_is_refused_by_name(f: Any, name: str) -> None:
    assert name in names(f)
    with pytest.raises(
        ArgumentError, match=rf"^f: captures '{name}', which belongs to u.*Use the argument of f instead"
    ):
        Game(f, NET, ADVERSARY)


def local_names(u: Any, v: Any) -> Tensor:
    NET, net = u, u  # the same names as the globals, but variables of the function
    return NET(v).sum() + net.weight.sum()


def attribute_of_an_argument(u: Any, v: Any) -> Tensor:
    return u["NET"](v).sum() if isinstance(u, dict) else u.NET(v).sum()


HONEST: list[Any] = [
    local_names,
    attribute_of_an_argument,
    decorated(local_names),
    partial(takes_net_by_name, net=nn.Linear(2, 1)),
    EXPERIMENT.honest,
    Honest(),
    MODULE,
    MODULE.forward,
    MODULE.scaled_inside_a_lambda,
    lambda u, v: EXPERIMENT.scale * torch.nn.functional.mse_loss(u(v), torch.zeros(1)),
]


@pytest.mark.parametrize("f", HONEST, ids=lambda f: getattr(f, "__qualname__", type(f).__name__))
def test_the_honest_counterpart_is_accepted(f: Any) -> None:
    assert Game(f, NET, ADVERSARY).u is NET


def test_a_frozen_third_network_may_be_captured() -> None:
    judge = nn.Linear(1, 1)
    f = lambda u, v: judge(u(v)).sum()  # noqa: E731 - the closure is the point
    assert names(f) == ["judge"]
    assert Game(f, NET, ADVERSARY).f is f


def test_a_third_network_that_is_tied_to_a_player_is_refused() -> None:
    judge = nn.Linear(2, 1)
    judge.weight = NET.weight
    with pytest.raises(ArgumentError, match=r"^f: captures 'judge', which belongs to u\.weight"):
        Game(lambda u, v: judge(v).sum(), NET, ADVERSARY)


def test_a_view_of_a_players_tensor_is_refused_and_another_part_of_its_storage_is_not() -> None:
    held = torch.arange(4.0)
    w, part, other = held[:2], held[1:2], held[2:]
    with pytest.raises(ArgumentError, match=r"^f: captures 'part', which belongs to u;"):
        Game(lambda u, v: (u * v * part).sum(), w, ADVERSARY)
    assert Game(lambda u, v: (u * v * other).sum(), w, ADVERSARY).u is w


def test_what_a_responding_follower_captures_is_found_too() -> None:
    net = nn.Linear(2, 1)

    def bad(risk: Any, u: Any) -> Tensor:
        return net.weight.sum(0)

    def good(risk: Any, u: Any) -> Tensor:
        net = u
        return net.weight.sum(0)

    with pytest.raises(ArgumentError, match=r"^v: captures 'net\.weight', which belongs to u"):
        Game(lambda u, v: u(v).sum(), net, bad)
    assert Game(lambda u, v: u(v).sum(), net, good).responding


def test_recursive_and_unfilled_closures_end() -> None:
    def even(n: int) -> bool:
        return n == 0 or odd(n - 1)

    def odd(n: int) -> bool:
        return n != 0 and even(n - 1)

    assert names(even) == []
    later: Any
    f = lambda: later  # noqa: E731 - a cell that is not filled yet
    assert names(f) == []
    later = NET
    assert names(f) == ["later"]


def test_looking_runs_no_code_of_the_users() -> None:
    class Trap:
        @property
        def net(self) -> nn.Module:
            raise AssertionError("a property was run")

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name} was asked for")

    trap = Trap()
    assert names(lambda u, v: trap.net(u) + trap.other) == []


@pytest.mark.parametrize("f", [max, print, int, sys.stdout.write])
def test_builtins_hold_nothing(f: Any) -> None:
    assert names(f) == []
