"""What a game accepts, what it refuses and why, and its flip."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from minimaxopt import Box, Game, Sensitivity, Simplex, solve
from minimaxopt.errors import ArgumentError
from minimaxopt.game.devices import devices_of

SGD = partial(torch.optim.SGD, lr=0.1)


def product(u: Any, v: Any) -> Tensor:
    return (u * v).sum()


def anything(u: Any, v: Any) -> Tensor:
    return torch.zeros(())


def respond(risk: Any, u: Any) -> Tensor:
    return torch.ones(2)


PLAYERS: dict[str, Any] = {
    "tensor": lambda: torch.ones(2),
    "parameter": lambda: nn.Parameter(torch.ones(2)),
    "module": lambda: nn.Linear(2, 1),
    "dictionary": lambda: {"w": torch.ones(2), "net": nn.Linear(2, 1)},
    "list": lambda: [torch.ones(2), nn.Linear(2, 1)],
    "tuple": lambda: (torch.ones(2), {"deep": [nn.Linear(2, 1)]}),
    "modules": lambda: nn.ModuleList([nn.Linear(2, 1), nn.Sequential(nn.Linear(1, 1))]),
}


@pytest.mark.parametrize("u", PLAYERS)
@pytest.mark.parametrize("v", PLAYERS)
def test_players_of_every_form_are_accepted(u: str, v: str) -> None:
    leader, follower = PLAYERS[u](), PLAYERS[v]()
    game = Game(anything, leader, follower)
    assert game.u is leader
    assert game.v is follower
    assert not game.responding


def test_one_player_may_be_missing_but_not_both() -> None:
    assert Game(anything, torch.ones(2), None).v is None
    assert Game(anything, None, torch.ones(2)).u is None
    for v in (None, respond):
        with pytest.raises(ArgumentError, match=r"^u: nobody is left to move; give"):
            Game(anything, None, v)


@pytest.mark.parametrize(
    ("u", "message"),
    [
        (3.0, r"^u: float is neither a module nor a tensor; wrap numbers as torch\.tensor"),
        ({"a": torch.ones(1), "b": "text"}, r"^u\.b: str is neither"),
        ([torch.ones(1), None], r"^u\.1: NoneType is neither"),
        ({}, r"^u: dict is empty; give"),
        ([[], ()], r"^u: list is empty; give"),
        (torch.arange(3), r"^u: a int64 tensor cannot be moved by real gradients; give a floating"),
        ({"z": torch.ones(1, dtype=torch.complex64)}, r"^u\.z: a complex64 tensor cannot be moved"),
        (nn.LazyLinear(2), r"^u\.weight: a lazy parameter has no shape yet; run the module once"),
        (respond, r"^u: a function is a responding follower, and a leader cannot respond; give"),
        ({"a": {"b": torch.ones(1)}, "a.b": torch.ones(1)}, r"^u\.a\.b: is the name of two tensors; rename"),
        ({"m": nn.Linear(1, 1), "m.bias": torch.ones(1)}, r"^u\.m\.bias: is the name of two tensors; rename"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
def test_what_cannot_play_is_refused_by_its_place(u: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Game(anything, u, torch.ones(1))


def test_a_module_may_hold_frozen_integers_but_no_complex_weights() -> None:
    net = nn.Linear(2, 1)
    net.register_buffer("count", torch.tensor(3))
    net.register_parameter("codes", nn.Parameter(torch.arange(2), requires_grad=False))
    assert Game(anything, net, torch.ones(1)).u is net
    net.register_parameter("phase", nn.Parameter(torch.ones(2, dtype=torch.complex64)))
    with pytest.raises(ArgumentError, match=r"^u\.phase: a complex64 tensor cannot be moved by real gradients; give"):
        Game(anything, net, torch.ones(1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"f": 3}, r"^f: int is not callable; give"),
        ({"project_u": 3}, r"^project_u: int is not callable; give"),
        ({"project_v": "box"}, r"^project_v: str is not callable; give"),
        (
            {"v": respond, "project_v": Box(0, 1)},
            r"^project_v: a responding follower has no tensors to project; constrain",
        ),
        ({"follower_loss": 3}, r"^follower_loss: int is not callable; give a function of the arguments of f"),
        ({"follower_loss": anything, "v": respond}, r"^follower_loss: a responding follower answers by its own rule"),
        ({"follower_loss": anything, "u": None}, r"^follower_loss: needs a leader and a follower; give both"),
        ({"follower_loss": anything, "v": None}, r"^follower_loss: needs a leader and a follower; give both"),
    ],
)
def test_other_arguments_are_checked(arguments: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"f": anything, "u": torch.ones(1), "v": torch.ones(1)}
    assert Game(**good).f is anything
    with pytest.raises(ArgumentError, match=message):
        Game(**{**good, **arguments})


# -- sharing ----------------------------------------------------------------------------------------------------------


def shares_a_weight() -> tuple[Any, Any]:
    u, v = nn.Linear(2, 2), nn.Linear(2, 2)
    v.weight = u.weight
    return u, {"deep": [v]}


def shares_a_submodule() -> tuple[Any, Any]:
    part = nn.Linear(2, 2)
    return nn.Sequential(part), nn.ModuleDict({"part": part})


W, FLAT, NET = torch.ones(4), torch.ones(4), nn.Linear(2, 2)
SHARING: dict[str, tuple[tuple[Any, Any], str]] = {
    "tensor": ((W, W), r"^v: shares its values with u,"),
    "nested tensor": (({"a": W}, [torch.ones(1), W]), r"^v\.1: shares its values with u\.a,"),
    "view": ((FLAT[:3], FLAT[2:]), r"^v: shares"),
    "transpose": ((FLAT.view(2, 2), FLAT.view(2, 2).T), r"^v: shares"),
    "detached": ((W, W.detach()), r"^v: shares"),
    "module": ((NET, NET), r"^v\.weight: shares its values with u\.weight"),
    "parameter of a module": ((NET, NET.weight), r"^v: shares its values with u\.weight"),
    "data of a parameter": ((NET, NET.weight.data[0]), r"^v: shares its values with u\.weight"),
    "tied weight": (shares_a_weight(), r"^v\.deep\.0\.weight: shares its values with u\.weight"),
    "submodule": (shares_a_submodule(), r"^v\.part\.weight: shares its values with u\.0\.weight"),
}


@pytest.mark.parametrize("case", SHARING)
def test_players_that_share_are_refused_and_their_copies_are_not(case: str) -> None:
    (u, v), message = SHARING[case]
    with pytest.raises(ArgumentError, match=message + r".*copy one of them"):
        Game(anything, u, v)
    assert Game(anything, u, copy.deepcopy(v)).u is u


def test_disjoint_parts_of_one_storage_are_different_tensors() -> None:
    u, v = torch.tensor([1.0, 2.0])
    solution = solve(Game(product, u, v), "simultaneous-gda", steps=1, u_optimizer=SGD, v_optimizer=SGD)
    assert (solution.u.item(), solution.v.item()) == (pytest.approx(0.8), pytest.approx(2.1))


def test_empty_and_meta_tensors_share_nothing() -> None:
    assert Game(anything, [torch.zeros(0), torch.ones(1)], [torch.zeros(0), torch.ones(1)])
    assert Game(anything, torch.ones(2, device="meta"), torch.ones(2, device="meta"))


def test_one_player_may_tie_weights_of_its_modules_but_not_a_bare_tensor() -> None:
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    b.weight = a.weight
    assert Game(anything, [a, b], torch.ones(1))
    assert Game(anything, [a, a], torch.ones(1))
    with pytest.raises(ArgumentError, match=r"^u\.1: shares its values with u\.0\.weight, .*copy one of them"):
        Game(anything, [a, a.weight], torch.ones(1))


def test_stateless_modules_may_be_shared() -> None:
    act = nn.ReLU()
    assert Game(anything, nn.Sequential(nn.Linear(1, 1), act), nn.Sequential(nn.Linear(1, 1), act))


# -- flip -------------------------------------------------------------------------------------------------------------


def test_flip_swaps_roles_and_sign_and_projections() -> None:
    game = Game(product, torch.ones(2), torch.full((2,), 3.0), project_u=Box(0, 1), project_v=Simplex())
    flipped = game.flip()
    assert flipped.u is game.v
    assert flipped.v is game.u
    assert flipped.f(flipped.u, flipped.v).item() == -6.0
    assert flipped.project_u is game.project_v
    assert flipped.project_v is game.project_u


def test_flip_passes_the_batch_on() -> None:
    game = Game(lambda u, v, batch: u - 2 * v + batch, torch.tensor(1.0), torch.tensor(5.0))
    assert game.flip().f(game.v, game.u, torch.tensor(0.5)).item() == 8.5


def test_flipping_twice_is_the_identity() -> None:
    game = Game(product, torch.ones(2), torch.ones(2), project_u=Box(0, 1))
    again = game.flip().flip()
    assert all(getattr(again, name) is getattr(game, name) for name in ("f", "u", "v", "project_u", "project_v"))


def test_flip_keeps_a_missing_player_missing() -> None:
    flipped = Game(lambda u, v: (v**2).sum(), None, torch.ones(2)).flip()
    assert flipped.v is None
    assert solve(flipped, "descent", steps=1, u_optimizer=SGD).u.tolist() == pytest.approx([1.2, 1.2])


def test_a_responding_follower_cannot_be_flipped() -> None:
    game = Game(product, torch.ones(2), respond)
    assert game.responding
    with pytest.raises(ArgumentError, match=r"^flip: the follower is a function .*; give a follower with parameters"):
        game.flip()


def test_a_game_of_two_losses_is_not_zero_sum_and_cannot_be_flipped() -> None:
    game = Game(anything, torch.ones(1), torch.ones(1), follower_loss=anything)
    assert not game.zero_sum
    assert Game(anything, torch.ones(1), torch.ones(1)).zero_sum
    with pytest.raises(
        ArgumentError, match=r"^flip: the follower has a loss of its own.*give Game\(g, v, u, follower_loss"
    ):
        game.flip()


def test_a_flipped_game_refuses_captures_as_the_game_does() -> None:
    net = nn.Linear(2, 1)
    game = Game(lambda u, v: u(v).sum(), net, torch.ones(2))
    assert solve(game, "alternating-gda", steps=1, order="maximin").ok
    with pytest.raises(ArgumentError, match=r"reads the original of v\.weight"):
        solve(Game(lambda u, v: net(v).sum(), net, torch.ones(2)), "alternating-gda", steps=1, order="maximin")


def test_maximin_is_the_flipped_game_with_the_names_kept() -> None:
    def risk(u: Tensor, v: Tensor) -> Tensor:
        return (u**2 + 3 * u * v - v**2).sum()

    u, v = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 0.25])
    slow, fast = partial(torch.optim.SGD, lr=0.01), partial(torch.optim.SGD, lr=0.05)
    game = Game(risk, u, v, project_v=Box(-0.4, 0.4))
    named = solve(game, Sensitivity(0.3), steps=5, order="maximin", u_optimizer=slow, v_optimizer=fast)
    by_hand = solve(game.flip(), Sensitivity(0.3), steps=5, u_optimizer=fast, v_optimizer=slow)
    assert torch.equal(named.u, by_hand.v)
    assert torch.equal(named.v, by_hand.u)
    assert named.v.abs().max() <= 0.4


def test_devices_are_found_once() -> None:
    assert devices_of((nn.Linear(1, 1), {"a": torch.ones(1)})) == [torch.device("cpu")]
    assert devices_of((None, respond)) == []


# -- the inputs stay as they are --------------------------------------------------------------------------------------


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@pytest.mark.parametrize(
    "solver", ["sensitivity", "unrolled", "alternating-gda", "simultaneous-gda", "descent", "ascent"]
)
def test_solving_changes_nothing_that_was_given_and_repeats_to_the_bit(solver: str) -> None:
    torch.manual_seed(0)
    net, shift = Noisy().double(), {"s": torch.zeros(3, dtype=torch.float64), "p": nn.Parameter(torch.ones(1).double())}
    net.body[0].bias.requires_grad_(False)
    net.body[2].eval()
    data = torch.randn(8, 3, dtype=torch.float64)
    before = copy.deepcopy(net.state_dict()), copy.deepcopy(shift), data.clone()
    flags = [(m.training, type(m)) for m in net.modules()]
    random = torch.get_rng_state()

    def risk(u: Any, v: Any, x: Tensor) -> Tensor:
        return (u(x + v["s"]) * v["p"]).square().mean()

    game = Game(risk, net, shift)
    solutions = [solve(game, solver, data=[data], steps=3, seed=5) for _ in range(2)]

    assert all(torch.equal(value, before[0][name]) for name, value in net.state_dict().items())
    assert torch.equal(shift["s"], before[1]["s"])
    assert torch.equal(shift["p"], before[1]["p"])
    assert torch.equal(data, before[2])
    assert [p.requires_grad for p in net.parameters()] == [True, False, True, True, True, True]
    assert (shift["s"].requires_grad, shift["p"].requires_grad) == (False, True)
    assert all(p.grad is None for p in [*net.parameters(), *shift.values()])
    assert [(m.training, type(m)) for m in net.modules()] == flags
    assert torch.equal(torch.get_rng_state(), random)

    first, second = solutions
    for name, value in first.u.state_dict().items():
        assert torch.equal(value, second.u.state_dict()[name])
    assert all(torch.equal(first.v[name], second.v[name]) for name in first.v)
    # What comes back has the form of what was given.
    assert [(m.training, type(m)) for m in first.u.modules()] == flags
    assert [p.requires_grad for p in first.u.parameters()] == [True, False, True, True, True, True]
    assert (type(first.v["s"]), first.v["s"].requires_grad) == (Tensor, False)
    assert (type(first.v["p"]), first.v["p"].requires_grad) == (nn.Parameter, True)
    assert torch.equal(first.u.body[0].bias, net.body[0].bias)
    moved = not torch.equal(first.u.body[0].weight, net.body[0].weight), not torch.equal(first.v["s"], shift["s"])
    assert moved == (solver != "ascent", solver != "descent")
