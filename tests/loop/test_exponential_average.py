"""The exponential average of a player: against a loop by hand, stopped and continued, rolled back, on all kinds of players."""

from __future__ import annotations

import math
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from minimaxopt import Checkpoint, Evaluate, ExponentialAverage, Game, Solution, Status, solve
from minimaxopt.errors import ArgumentError, DivergenceWarning
from minimaxopt.loop import loop as _loop

STEPS, DECAY = 24, 0.9
SGD = partial(torch.optim.SGD, lr=0.05)
SETTINGS: dict[str, Any] = {"steps": STEPS, "u_optimizer": SGD, "v_optimizer": SGD}


@pytest.fixture(params=[1, 4, 1000])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let blocks grow to a number of steps, whatever the machine's speed."""
    monkeypatch.setattr(_loop, "_BLOCK_SECONDS", 1e9)
    monkeypatch.setattr(_loop, "_BLOCK_STEPS", request.param)
    return request.param


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1)).double()


def data(bad: tuple[int, ...] = ()) -> list[Tensor]:
    rows = torch.randn(STEPS, 8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows[list(bad), 0] = math.nan
    return list(rows)


def risk(u: nn.Module, v: Tensor, x: Tensor) -> Tensor:
    return (u(x + v).square() - u(x)).mean() - v.square().sum()


def game() -> Game:
    return Game(risk, network(), torch.zeros(3, dtype=torch.float64))


def played(callbacks: list[Any], **settings: Any) -> Solution:
    return solve(game(), "simultaneous-gda", callbacks=callbacks, **{**SETTINGS, "data": data(), **settings})


@cache
def path_of_points() -> list[tuple[nn.Module, Tensor]]:
    """The players after each step, from solves that stop there."""
    solutions = [played([], steps=k) for k in range(1, STEPS + 1)]
    return [(solution.u, solution.v) for solution in solutions]


def values(module: nn.Module) -> list[Tensor]:
    return [p.detach() for p in module.parameters()]


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "every"), [(0, 1), (0, 3), (7, 1), (7, 5), (STEPS, 1)])
def test_the_average_is_that_of_a_loop_by_hand(start: int, every: int, blocks: int) -> None:
    averages = [ExponentialAverage(p, decay=DECAY, start=start, every=every) for p in ("u", "v")]
    solution = played(averages)
    points = path_of_points()
    torch_average = AveragedModel(network(), multi_avg_fn=get_ema_multi_avg_fn(DECAY))
    by_hand: Tensor | None = None
    for k, (u, v) in enumerate(points, 1):
        if k % every == 0 and k >= start:
            torch_average.update_parameters(u)
            by_hand = v.clone() if by_hand is None else DECAY * by_hand + (1 - DECAY) * v
    assert by_hand is not None
    torch.testing.assert_close(values(averages[0].average), values(torch_average.module), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(averages[1].average, by_hand, rtol=1e-12, atol=1e-12)
    # Nothing else changes, and the buffers are the player's own.
    assert equal(solution.u, points[-1][0])
    assert torch.equal(averages[0].average[1].running_mean, solution.u[1].running_mean)


def test_the_average_is_a_copy_of_its_own() -> None:
    ema = ExponentialAverage("u", decay=DECAY)
    played([ema])
    first = ema.average
    with torch.no_grad():
        first[0].weight.zero_()
    assert not equal(first, ema.average)
    assert all(p.requires_grad for p in first.parameters())


def test_metrics_can_look_at_it() -> None:
    ema = ExponentialAverage("u", decay=DECAY)
    look = Evaluate({"bias": lambda u, v: ema.average[3].bias.item()}, every=6)
    solution = played([ema, look])
    assert solution.history["bias"][-1] == ema.average[3].bias.item()
    assert len(solution.history["bias"]) == 4


def test_nested_players_keep_ties_and_frozen_tensors() -> None:
    tied = nn.Linear(3, 3).double()
    frozen = nn.Linear(3, 3).double().requires_grad_(requires_grad=False)
    start = {"nets": [tied, nn.Sequential(tied, frozen)], "scale": torch.ones(3, dtype=torch.float64)}
    ema = ExponentialAverage("v", decay=0.5)
    nested = Game(lambda u, v: u - (v["nets"][1](v["scale"]) - 1).square().sum(), torch.tensor(0.0), start)
    solution = solve(nested, "ascent", steps=2, v_optimizer=SGD, callbacks=[ema])
    average = ema.average
    assert average["nets"][1][0] is average["nets"][0]
    assert torch.equal(average["nets"][1][1].weight, frozen.weight)
    assert not average["scale"].requires_grad
    first = solve(nested, "ascent", steps=1, v_optimizer=SGD)
    torch.testing.assert_close(average["scale"], (first.v["scale"] + solution.v["scale"]) / 2, rtol=1e-12, atol=0)
    weights = [s.v["nets"][0].weight for s in (first, solution)]
    torch.testing.assert_close(average["nets"][0].weight, sum(weights) / 2, rtol=1e-12, atol=1e-15)


def test_in_place_and_in_the_maximin_game() -> None:
    copied, inplace, flipped = (ExponentialAverage("u", decay=DECAY) for _ in range(3))
    played([copied])
    own = game()
    solve(own, "simultaneous-gda", data=data(), callbacks=[inplace], inplace=True, **SETTINGS)
    played([flipped], order="maximin")
    assert equal(inplace.average, copied.average)
    assert inplace.average is not own.u
    assert not equal(inplace.average, own.u)
    torch.testing.assert_close(values(flipped.average), values(copied.average))


# -- stopped, continued, rolled back -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [1, 9, 20])
@pytest.mark.parametrize("every", [1, 4])
def test_a_resumed_run_has_the_average_of_a_whole_one(stop: int, every: int, tmp_path: Path) -> None:
    whole, rest = ExponentialAverage("u", every=every, start=3), ExponentialAverage("u", every=every, start=3)
    played([whole])
    played([ExponentialAverage("u", every=every, start=3), Checkpoint(tmp_path)], steps=stop)
    played([rest], resume=tmp_path)
    assert equal(whole.average, rest.average)


def test_a_run_that_is_over_has_its_average_when_resumed(tmp_path: Path) -> None:
    whole, again = ExponentialAverage("u"), ExponentialAverage("u")
    played([whole, Checkpoint(tmp_path)])
    played([again], resume=tmp_path)
    assert equal(whole.average, again.average)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("bad", [4, 9, 12])
def test_going_back_takes_the_last_update_back(bad: int, every: int, blocks: int) -> None:
    ema, shorter = ExponentialAverage("u", every=every), ExponentialAverage("u", every=every)
    with pytest.warns(DivergenceWarning):
        solution = played([ema], data=data((bad,)))
    assert solution.steps == bad - 1  # the risk was bad at the point that the step before had led to
    played([shorter], steps=bad - 1)
    assert equal(ema.average, shorter.average)


def test_an_interrupted_run_and_its_continuation(tmp_path: Path, blocks: int) -> None:
    batches, whole = data(), ExponentialAverage("u")
    played([whole])
    interrupts: list[int] = []

    def interrupting(u: nn.Module, v: Tensor, x: Tensor) -> Tensor:
        if x is batches[13] and len(interrupts) < 1:
            interrupts.append(1)
            raise KeyboardInterrupt
        return risk(u, v, x)

    ema, shorter, rest = (ExponentialAverage("u") for _ in range(3))
    start = game()
    broken = solve(
        Game(interrupting, start.u, start.v),
        "simultaneous-gda",
        data=batches,
        callbacks=[ema, Checkpoint(tmp_path)],
        **SETTINGS,
    )
    assert broken.status is Status.INTERRUPTED
    played([shorter], steps=broken.steps)
    assert equal(ema.average, shorter.average)
    played([rest], resume=tmp_path)
    assert equal(rest.average, whole.average)


def test_skipped_steps_do_not_count(blocks: int) -> None:
    bad = (0, 5, 6, 7, 20, STEPS - 1)
    skipping, whole = ExponentialAverage("u"), ExponentialAverage("u")
    played([skipping], data=data(bad), skip_nonfinite=9)
    good = [x for i, x in enumerate(data()) if i not in bad]
    played([whole], data=good, steps=len(good))
    torch.testing.assert_close(values(skipping.average), values(whole.average), rtol=1e-12, atol=1e-12)


def test_one_callback_serves_several_solves() -> None:
    ema, fresh = ExponentialAverage("u"), ExponentialAverage("u")
    played([ema], steps=5)
    played([ema])
    played([fresh])
    assert equal(ema.average, fresh.average)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"player": "w"}, "player: 'w' is no player"),
        ({"decay": 1.0}, r"decay: 1.0 is not in \[0, 1\)"),
        ({"decay": -0.1}, "decay: -0.1"),
        ({"start": -1}, "start: -1 is no number"),
        ({"start": 1.5}, "start: 1.5 is no number"),
        ({"every": 0}, "every: 0 is not a positive"),
    ],
)
def test_arguments_that_cannot_be_used(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        ExponentialAverage(**{"player": "u", **arguments})


def test_there_is_no_average_before_the_first() -> None:
    ema = ExponentialAverage("u", start=100)
    with pytest.raises(ArgumentError, match="there is none before the first update"):
        _ = ema.average
    played([ema])
    with pytest.raises(ArgumentError, match="lower start"):
        _ = ema.average


def test_a_player_without_parameters_is_refused() -> None:
    with pytest.raises(ArgumentError, match="v has no parameters"):
        solve(Game(lambda u, v: u**2, torch.tensor(1.0), None), "descent", steps=2, callbacks=[ExponentialAverage("v")])
