"""A risk that reaches an original instead of the copy that is played is refused by name, and plays in place."""

from __future__ import annotations

from functools import partial, wraps
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from minimaxopt import Game, certify, solve
from minimaxopt.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

NET = nn.Linear(2, 1)
ADVERSARY = torch.ones(2)
ELSEWHERE = ModuleType("elsewhere")
ELSEWHERE.net = NET  # type: ignore[attr-defined]


SGD = partial(torch.optim.SGD, lr=0.1)


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


DISHONEST: list[Any] = [
    *closure().values(),
    reads_global,
    reads_global_in_a_comprehension,
    calls_a_function_that_reads,
    reads_a_module_of_python,
    reads_default,
    reads_keyword_default,
    decorated(reads_global),
    partial(takes_net, NET),
    partial(takes_net_by_name, net=NET),
    partial(reads_global),
    EXPERIMENT,
    EXPERIMENT.dishonest,
    EXPERIMENT.dishonest_through_a_helper,
    EXPERIMENT.dishonest_through_a_property,
    EXPERIMENT.dishonest_inside_a_lambda,
    EXPERIMENT.dishonest_inside_a_comprehension,
    MODULE.dishonest,
    MODULE.dishonest_as_an_argument,
    MODULE.decayed,
]


@pytest.mark.parametrize("f", DISHONEST, ids=lambda f: getattr(f, "__qualname__", type(f).__name__))
def test_a_risk_that_reads_an_original_is_refused_before_the_first_step(f: Any) -> None:
    with pytest.raises(ArgumentError, match=r"f: reads the original of u\.weight.*inplace=True"):
        solve(Game(f, NET, ADVERSARY), "alternating-gda", steps=1)
    with pytest.raises(ArgumentError, match=r"f: reads the original of u\.weight"):
        certify(Game(f, NET, ADVERSARY), (NET, ADVERSARY), restarts=0, steps=1)


def local_names(u: Any, v: Any) -> Tensor:
    NET, net = u, u  # the same names as the globals, but variables of the function
    return NET(v).sum() + net.weight.sum()


def attribute_of_an_argument(u: Any, v: Any) -> Tensor:
    return u["NET"](v).sum() if isinstance(u, dict) else u.NET(v).sum()


HONEST: list[Any] = [
    local_names,
    decorated(local_names),
    EXPERIMENT.honest,
    Honest(),
    MODULE,
    MODULE.forward,
    MODULE.scaled_inside_a_lambda,
    lambda u, v: EXPERIMENT.scale * torch.nn.functional.mse_loss(u(v), torch.zeros(1)),
]


@pytest.mark.parametrize("f", HONEST, ids=lambda f: getattr(f, "__qualname__", type(f).__name__))
def test_the_honest_counterpart_is_accepted(f: Any) -> None:
    before = NET.weight.detach().clone()
    assert not torch.equal(solve(Game(f, NET, ADVERSARY), "alternating-gda", steps=1).u.weight, before)
    assert torch.equal(NET.weight, before)


def test_in_place_a_closure_moves_with_the_module() -> None:
    net, twin = nn.Linear(2, 1), nn.Linear(2, 1)
    twin.load_state_dict(net.state_dict())
    solution = solve(
        Game(lambda u, v: net(v).square().sum() - v.square().sum(), net, torch.ones(2)),
        "alternating-gda",
        steps=5,
        u_optimizer=SGD,
        v_optimizer=SGD,
        inplace=True,
    )
    honest = solve(
        Game(lambda u, v: u(v).square().sum() - v.square().sum(), twin, torch.ones(2)),
        "alternating-gda",
        steps=5,
        u_optimizer=SGD,
        v_optimizer=SGD,
    )
    assert solution.u is net
    assert torch.equal(net.weight, honest.u.weight)
    assert not torch.equal(net.weight, twin.weight)


def test_in_place_bare_tensors_are_moved_and_keep_their_requires_grad() -> None:
    u, v = torch.tensor(1.0), torch.tensor(1.0, requires_grad=True)
    solution = solve(Game(lambda u, v: u * v, u, v), "simultaneous-gda", steps=1, u_optimizer=SGD, inplace=True)
    assert solution.u is u
    assert (u.item(), u.requires_grad, v.requires_grad) == (pytest.approx(0.9), False, True)
    with pytest.raises(ArgumentError, match=r"^v: is the result of a computation"):
        solve(Game(lambda u, v: u * v, u, v * 2), "simultaneous-gda", steps=1, inplace=True)


def test_a_third_network_may_be_captured() -> None:
    judge = nn.Linear(1, 1)
    assert solve(Game(lambda u, v: judge(u(v)).sum(), NET, ADVERSARY), "alternating-gda", steps=1).ok


def test_a_third_network_that_is_tied_to_a_player_is_refused() -> None:
    judge = nn.Linear(2, 1)
    judge.weight = NET.weight
    with pytest.raises(ArgumentError, match=r"^f: reads the original of u\.weight"):
        solve(Game(lambda u, v: (judge(v) + u(v)).sum(), NET, ADVERSARY), "alternating-gda", steps=1)


def test_a_frozen_part_of_a_player_may_be_captured_and_shared() -> None:
    features = nn.Linear(2, 2).requires_grad_(False)
    u, v = nn.Sequential(features, nn.Linear(2, 1)), nn.Sequential(features, nn.Linear(2, 2))
    x = torch.ones(2)
    game = Game(lambda u, v: u(v(x) + features(x)).sum(), u, v)
    assert solve(game, "alternating-gda", steps=2).ok


def test_what_stays_may_be_captured() -> None:
    assert solve(Game(lambda u, v: NET(v).sum() - v.square().sum(), NET, ADVERSARY), "ascent", steps=1).ok


def test_a_view_of_a_players_tensor_is_refused_and_another_part_of_its_storage_is_not() -> None:
    whole = torch.arange(4.0)
    w, part, other = whole[:2], whole[1:2], whole[2:]
    with pytest.raises(ArgumentError, match=r"^f: reads the original of u "):
        solve(Game(lambda u, v: (u * v * part).sum(), w, ADVERSARY), "alternating-gda", steps=1)
    assert solve(Game(lambda u, v: (u * v * other).sum(), w, ADVERSARY), "alternating-gda", steps=1).ok


def test_what_a_responding_follower_captures_is_found_too() -> None:
    net = nn.Linear(2, 1)

    def bad(risk: Any, u: Any) -> Tensor:
        return net.weight.sum(0)

    def good(risk: Any, u: Any) -> Tensor:
        net = u
        return net.weight.sum(0)

    with pytest.raises(ArgumentError, match=r"reads the original of u\.weight"):
        solve(Game(lambda u, v: u(v).sum(), net, bad), "descent", steps=1)
    assert solve(Game(lambda u, v: u(v).sum(), net, good), "descent", steps=1).ok


def test_the_shape_of_an_original_may_be_asked_for() -> None:
    f = lambda u, v: u(v).sum() / NET.weight.shape[1] + len(NET.weight)  # noqa: E731 - the closure is the point
    assert solve(Game(f, NET, ADVERSARY), "alternating-gda", steps=1).ok


def test_a_gradient_hook_that_reads_an_original_is_found() -> None:
    net = nn.Linear(2, 1)
    net.weight.register_hook(lambda gradient: gradient * net.weight)
    with pytest.raises(ArgumentError, match=r"reads the original of u\.weight"):
        solve(Game(lambda u, v: u(v).sum(), net, ADVERSARY), "alternating-gda", steps=1)
