"""Unusual arguments: points and followers off the set or of another form, odd modes, odd risks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from minimaxopt import Box, Game, certify
from minimaxopt.certificates.dataset_risk import DatasetRisk
from minimaxopt.errors import ArgumentError, DataError
from minimaxopt.results.certificate import Certificate


def scalar(x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


def saddle(u: Tensor, v: Tensor) -> Tensor:
    return (u**2 - v**2).sum()


def judged(f: Any = saddle, u: Any = 0.0, v: Any = 0.0, projections: Any = None, **options: Any) -> Certificate:
    at = tuple(torch.as_tensor(x, dtype=torch.float64) for x in (u, v))
    return certify(Game(f, *at, **(projections or {})), at, **({"restarts": 0} | options))


# -- off the set ---------------------------------------------------------------------------------------------------------


def test_points_off_the_set_are_refused_since_their_risk_bounds_nothing() -> None:
    """max_v v on [-1, 1] is 1, whatever a follower at 1.5 reaches."""

    def f(u: Tensor, v: Tensor) -> Tensor:
        return u**2 + v

    box = {"project_v": Box(-1, 1)}
    with pytest.raises(ArgumentError, match=r"solution: its v lies 0.5 away from what project_v allows"):
        judged(f, 0.0, 1.5, box)
    with pytest.raises(ArgumentError, match=r"followers: 'x' lies 4 away from what project_v allows"):
        judged(f, 0.0, 1.0, box, followers={"x": scalar(5.0)})
    with pytest.raises(ArgumentError, match=r"exact: the response of v lies 6 away from what project_v allows"):
        judged(f, 0.0, 1.0, box, exact={"v": lambda u: scalar(7.0)})
    certificate = judged(f, 0.0, 1.0 + 1e-9, box, followers={"x": scalar(-1.0)}, exact={"v": lambda u: scalar(1.0)})
    assert (certificate.risk.value, certificate.worst.value, certificate.kind) == (1.0, 1.0, "local Nash")


def test_a_module_off_the_set_is_refused_too() -> None:
    class Clamped(nn.Module):
        def __init__(self, at: float) -> None:
            super().__init__()
            self.weight = nn.Parameter(scalar(at))

    def project(tree: Any) -> Any:
        return {name: tensor.clamp(-1, 1) for name, tensor in tree.items()}

    game = Game(lambda u, v: u**2 + v.weight, scalar(0.0), Clamped(1.0), project_v=project)
    assert certify(game, (game.u, game.v), restarts=0).kind == "local Nash"
    with pytest.raises(ArgumentError, match="its v lies 1 away"):
        certify(game, (game.u, Clamped(2.0)), restarts=0)


# -- another form --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"solution": (torch.zeros(2), torch.zeros(3))},
            r"solution: its v has a tensor of shape \(3,\), where the game's",
        ),
        ({"solution": (torch.zeros(2), None)}, "solution: its v has nothing"),
        ({"solution": (0.0, torch.zeros(2))}, "solution: its u has float"),
        ({"solution": (torch.zeros(2), lambda risk, u: u)}, "solution: its v has a function"),
        ({"exact": {"v": lambda u: torch.zeros(1)}}, r"exact: the response of v has a tensor of shape \(1,\)"),
        ({"exact": {"v": lambda u: None}}, "exact: the response of v has nothing"),
        ({"exact": {"v": torch.zeros(2)}}, "exact: has"),
        ({"followers": {"x": torch.zeros(3)}}, r"followers: 'x' has a tensor of shape \(3,\)"),
        ({"followers": {"x": 3.0}}, "followers: 'x' has float"),
        (
            {"followers": {"the solution's follower": torch.zeros(2)}},
            "is not a name, or is one of the certificate's own",
        ),
        ({"followers": {3: torch.zeros(2)}}, "followers: 3 is not a name"),
        ({"fresh_follower": lambda: torch.zeros(3), "restarts": 1}, r"fresh_follower: what it returned has a tensor"),
        ({"fresh_follower": torch.zeros(2), "restarts": 1}, "fresh_follower: Tensor is not callable"),
        ({"seed": "a"}, "seed: 'a' is not an integer"),
        ({"tolerance": True}, "tolerance: True is not a positive number"),
        ({"device": "nowhere"}, "device: 'nowhere' cannot be used"),
        ({"device": "meta"}, "device: 'meta' holds shapes without values"),
        ({"device": 1.5}, "device: 1.5 cannot be used"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    game = Game(saddle, torch.zeros(2), torch.zeros(2))
    arguments: dict[str, Any] = {"solution": (game.u, game.v), "restarts": 0} | change
    with pytest.raises(ArgumentError, match=message):
        certify(game, arguments.pop("solution"), **arguments)


def test_a_frozen_player_is_refused_with_the_remedy() -> None:
    frozen = nn.Linear(2, 1).requires_grad_(False)
    game = Game(lambda u, v: u(v).sum() - (v**2).sum(), frozen, torch.zeros(2))
    with pytest.raises(ArgumentError, match="solution: its u has no tensor that requires gradients"):
        certify(game, (frozen, game.v), restarts=0)


def test_training_data_that_can_be_read_once_only_are_refused() -> None:
    game = Game(lambda u, v, b: saddle(u, v) * b[0].mean(), scalar(0.0), scalar(0.0))
    data = [(torch.ones(4),)]
    with pytest.raises(DataError, match="fit_data: an iterator can be read only once"):
        certify(game, (game.u, game.v), data, fit_data=iter(data), restarts=2, steps=2)


# -- risks of another kind -----------------------------------------------------------------------------------------------


def test_a_follower_with_a_risk_of_its_own_counts_for_the_worst_case_and_not_for_the_gap() -> None:
    other = Game(lambda u, v: saddle(u, v) + 10, scalar(0.0), scalar(0.0))
    exact = {"v": lambda u: 0 * u, "u": lambda v: 0 * v}
    certificate = judged(followers={"other": other}, exact=exact)
    assert (certificate.worst.value, certificate.worst.accuracy, certificate.worst.note) == (
        10.0,
        "lower bound",
        "other",
    )
    assert (certificate.gap.value, certificate.gap.accuracy, certificate.gap.note) == (0.0, "exact", "without other")
    assert certificate.sandwich == (0.0, 0.0)
    same = judged(followers={"same": scalar(1.0), "function": lambda risk, u: u - 2})
    assert (same.worst.value, same.gap.note) == (0.0, "")


def test_a_function_that_answers_each_batch_by_itself_does_not_bound_one_follower() -> None:
    """f = v b - v^2 over b = 1, -1: no single v exceeds 0, while the answer b/2 to each batch reaches 1/4."""
    game = Game(lambda u, v, b: u**2 + v * b[0].mean() - v**2, scalar(0.0), scalar(0.0))
    data = [(torch.ones(1, dtype=torch.float64),), (-torch.ones(1, dtype=torch.float64),)]
    certificate = certify(
        game, (game.u, game.v), data, restarts=0, followers={"each": lambda risk, u, b: b[0].mean() / 2}
    )
    assert certificate.worst.value == pytest.approx(0.25)
    assert certificate.gap.value == pytest.approx(0.0)


def test_a_risk_without_a_value_makes_no_number_of_itself() -> None:
    for f, v in ((lambda u, v: u**2 + torch.log(v), -1.0), (lambda u, v: u**2 - torch.log(v), 0.0)):
        certificate = judged(f, 0.0, v, restarts=1, steps=5)
        assert certificate.kind == "undecided"
        assert not any(
            math.isnan(q.value)
            for q in (certificate.worst, certificate.best, certificate.gap, *certificate.followers.values())
        )
        assert "nan" not in str(certificate)
        assert Certificate.from_dict(certificate.to_dict()).gap == certificate.gap


def test_growth_is_found_though_the_start_was_far_off_in_another_direction() -> None:
    certificate = judged(lambda u, v: u**2 + v[0] ** 2 - 1000 * v[1] ** 2, 0.0, [0.1, 1.0], restarts=2, steps=300)
    assert certificate.worst.value == math.inf
    bounded = judged(lambda u, v: u**2 - v[0] ** 2 - 1000 * v[1] ** 2, 0.0, [0.1, 1.0], restarts=2, steps=300)
    assert bounded.worst.value < 1e-3


# -- surroundings --------------------------------------------------------------------------------------------------------


def test_certify_works_where_gradients_are_turned_off() -> None:
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            certificate = judged(restarts=1, steps=3)
            assert not torch.is_grad_enabled()
        assert certificate.kind == "local Nash"


def test_an_exact_response_may_work_in_place() -> None:
    point = scalar(0.5), scalar(1.0)
    exact = {"v": lambda u: u.zero_(), "u": lambda v: v.zero_()}
    certificate = certify(Game(saddle, *point), point, restarts=0, exact=exact)
    assert (float(point[0]), float(point[1]), certificate.sandwich) == (0.5, 1.0, (-1.0, 0.25))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_an_interrupt_ends_it(share: float) -> None:
    calls, limit = [0], [0]

    def f(u: Tensor, v: Tensor) -> Tensor:
        calls[0] += 1
        if calls[0] == limit[0]:
            raise KeyboardInterrupt
        return saddle(u, v)

    judged(f, 0.1, 0.1, restarts=2, steps=30)
    calls[0], limit[0] = 0, int(share * calls[0])
    with pytest.raises(KeyboardInterrupt):
        judged(f, 0.1, 0.1, restarts=2, steps=30)


def test_the_standard_error_is_right_for_batches_of_any_sizes() -> None:
    """Over many draws the mean squared error of the mean is the mean squared standard error."""
    game = Game(lambda u, v, b: saddle(u, v) + b[0].mean(), scalar(0.0), scalar(0.0))
    generator = torch.Generator().manual_seed(0)
    squares, claimed = 0.0, 0.0
    for _ in range(1500):
        data = [(torch.randn(n, generator=generator, dtype=torch.float64),) for n in (12, 2, 1)]
        mean = DatasetRisk(game, data, 0).risk()
        assert mean.error is not None
        squares, claimed = squares + mean.value**2, claimed + mean.error**2
    assert squares / 1500 == pytest.approx(1 / 15, rel=0.15)
    assert claimed / 1500 == pytest.approx(1 / 15, rel=0.15)
