"""The verdict at every known point of every known game, at random points, and near the points."""

from __future__ import annotations

import math

import pytest
import torch

from minimaxopt import Certificate, certify
from minimaxopt.testing import GAMES, KnownGame, KnownPoint

STARTS = 4


def points(game: KnownGame) -> list[KnownPoint]:
    return [*game.minimax_points, *game.impostors]


KNOWN = [
    pytest.param(game, i, id=f"{game.name}-{'minimax' if i < len(game.minimax_points) else 'impostor'}-{i}")
    for game in GAMES.values()
    for i in range(len(points(game)))
]


def local(game: KnownGame, point: KnownPoint) -> Certificate:
    at = game.game(point.u, point.v)
    return certify(at, (at.u, at.v), restarts=0)


def wrong(verdict: str, truth: KnownPoint) -> bool:
    """Return whether a verdict contradicts the truth, or leaves open what derivatives decide."""
    if truth.kind == "undecided":
        return verdict not in ("undecided", *(() if truth.local_minimax else ("not local minimax",)))
    return verdict != truth.kind


@pytest.mark.parametrize(("game", "i"), KNOWN)
def test_the_kind_is_right_at_every_known_point(game: KnownGame, i: int) -> None:
    certificate = local(game, points(game)[i])
    assert not wrong(certificate.kind, points(game)[i]), certificate.reason
    assert (certificate.move is not None) == (certificate.kind == "not local minimax")
    if certificate.move is not None:
        gained = certificate.move.after - certificate.move.before
        assert (gained > 0) == (certificate.move.player == "v")


@pytest.mark.parametrize("game", GAMES.values(), ids=lambda game: game.name)
def test_random_points_are_not_minimax(game: KnownGame) -> None:
    for seed in range(STARTS):
        start = game.start(seed)
        assert certify(start, (start.u, start.v), restarts=0).kind == "not local minimax"


def test_the_check_would_find_a_wrong_verdict() -> None:
    """Each of the four verdicts, given everywhere, is wrong somewhere; so is the rule that asks for gradients alone."""
    known = [point for game in GAMES.values() for point in points(game)]
    for always in ("strict local minimax", "local Nash", "not local minimax", "undecided"):
        assert sum(wrong(always, point) for point in known) > 20
    stationary = [
        (game, point)
        for game in GAMES.values()
        for point in points(game)
        if max(q.value for q in local(game, point).stationarity.values()) < 1e-5
    ]
    assert sum(not point.local_minimax for _, point in stationary) > 5


@pytest.mark.parametrize(
    "game", [g for g in GAMES.values() if g.answer is not None and g.minimax_points], ids=lambda game: game.name
)
def test_the_worst_case_at_a_minimax_point_is_the_value_and_never_above_the_exact_one(game: KnownGame) -> None:
    point = game.minimax_points[0]
    at = game.game(point.u, point.v)
    certificate = certify(at, (at.u, at.v), restarts=2, steps=150)
    assert game.answer is not None
    exactly = certify(at, (at.u, at.v), restarts=0, exact={"v": game.answer})
    assert exactly.worst.value == pytest.approx(game.minimax_value, abs=1e-6)
    assert certificate.worst.value <= exactly.worst.value + 1e-9 * (1 + abs(exactly.worst.value))
    assert certificate.risk.value == pytest.approx(game.minimax_value, abs=1e-6)
    if game.nash and math.isfinite(game.maximin_value):
        # Here the follower's own leader cannot gain: the gap that was found is at most what searching leaves over.
        assert certificate.best.value >= game.maximin_value - 1e-6 or certificate.best.value == -math.inf


def test_the_worst_case_is_unbounded_where_the_follower_is() -> None:
    game = GAMES["unbounded-follower"]
    at = game.start(0)
    assert certify(at, (at.u, at.v), restarts=1).worst.value == math.inf
    bounded = GAMES["convex-concave"].start(0)
    assert certify(bounded, (bounded.u, bounded.v), restarts=1).worst.value < math.inf


def test_near_a_strict_point_the_verdict_turns_at_the_tolerance() -> None:
    for name in ("minimax-not-nash", "quadratic-minimax-10", "convex-concave"):
        game = GAMES[name]
        truth = game.minimax_points[0]
        for shift, expected in ((1e-8, truth.kind), (1e-2, "not local minimax")):
            at = game.game(torch.as_tensor(truth.u) + shift, torch.as_tensor(truth.v))
            assert certify(at, (at.u, at.v), restarts=0).kind == expected
