"""The cost of a restart beside its training: each player is copied once, and the game is not checked anew."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn

from minimaxopt import Batches, Game, certify


def game() -> Game:
    u = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    v = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    return Game(lambda u, v, x: u(x + 0.1 * v(x).tanh()).square().mean(), u, v)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count copies of modules and checks of games."""
    counter: Counter[str] = Counter()
    deepcopy, check = copy.deepcopy, Game.__post_init__

    def counted_copy(value: Any, *memo: Any) -> Any:
        counter["copies"] += isinstance(value, nn.Module)
        return deepcopy(value, *memo)

    def counted_check(self: Game) -> None:
        counter["checks"] += 1
        check(self)

    monkeypatch.setattr(copy, "deepcopy", counted_copy)
    monkeypatch.setattr(Game, "__post_init__", counted_check)
    return counter


def test_a_restart_copies_each_player_once_and_checks_nothing(counts: Counter[str]) -> None:
    torch.manual_seed(0)
    played, data = game(), Batches(torch.randn(32, 3), 16)
    used: dict[int, Counter[str]] = {}
    for restarts in (1, 3):
        counts.clear()
        certify(played, (played.u, played.v), data, restarts=restarts, steps=2)
        used[restarts] = counts.copy()
    # A fresh follower and a fresh leader: one module initialised anew, and one copy of either player that is trained.
    assert (used[3]["copies"] - used[1]["copies"]) / 2 == 2 * 3
    assert used[3]["checks"] == used[1]["checks"] == 1


def test_modes_of_modules_are_left_as_they_were() -> None:
    torch.manual_seed(0)
    played, x = game(), torch.randn(32, 3)
    played.v[1].eval()
    follower = game().v.train()
    follower[1].eval()
    named = {"own game": Game(played.f, played.u, follower)}
    certify(played, (played.u, played.v), Batches(x, 16), restarts=1, steps=2, followers=named)
    assert [part.training for part in follower.modules()] == [True, True, False]
    assert [part.training for part in played.v.modules()] == [True, True, False]
    assert all(part.training for part in played.u.modules())
