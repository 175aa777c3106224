"""The published K-beam table, repeated: joint trials equal separate ones, and finished parts are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from minimaxopt.errors import ArgumentError
from minimaxopt.solvers import SOLVERS, Context
from minimaxopt.testing import known_game
from minimaxopt_bench import kbeam
from minimaxopt_bench.kbeam_table import Protocol, distances, mean_and_deviation, missing_parts
from minimaxopt_bench.published import KBEAM, KBEAM_COLUMNS

SHORT = Protocol(trials=4, steps=30)


def test_the_published_table_is_whole() -> None:
    assert len(KBEAM) == 6
    assert all(len(row) == len(KBEAM_COLUMNS) for row in KBEAM.values())
    # The figures that the paper's argument rests on.
    assert KBEAM["anti-saddle"][0] == (0.5, 0)
    assert KBEAM["seesaw"][KBEAM_COLUMNS.index("K=2")] == (0.016, 0.060)


def test_starts_are_drawn_once_and_inside() -> None:
    u, v = SHORT.starts("seesaw")
    assert (u.shape, v.shape) == ((4,), (4, 10))
    assert max(np.abs(u).max(), np.abs(v).max()) <= 0.45
    assert np.array_equal(Protocol(trials=4, steps=5).starts("seesaw")[1], v)
    assert not np.array_equal(SHORT.starts("saddle")[0], u)
    assert not np.array_equal(Protocol(trials=4, seed=1).starts("seesaw")[0], u)


@pytest.mark.parametrize(("column", "solver"), [("GD", "simultaneous-gda"), ("alternating GD", "alternating-gda")])
def test_trials_played_together_are_trials_played_alone(column: str, solver: str, tmp_path: Path) -> None:
    distances(tmp_path, SHORT, "weapons", column, 0)
    assert column not in {part[3] for part in missing_parts(tmp_path, SHORT, ("weapons",))}
    known, separate = known_game("weapons"), []
    for u, v in zip(*SHORT.starts("weapons"), strict=True):
        value = torch.tensor([u, v[0]], dtype=torch.float64)
        sgd = {"u_optimizer": _sgd, "v_optimizer": _sgd, "u_scheduler": _root, "v_scheduler": _root}
        ctx, player = Context(known.game(value[0].clone(), value[1].clone()), **sgd), SOLVERS[solver]()
        state = player.init(ctx)
        for _ in range(SHORT.steps):
            state, _ = ctx.advance(player, state)
        separate.append(known.distance(ctx.point.u["value"]))
    assert _mean(tmp_path, "weapons", column) == pytest.approx(np.mean(separate), rel=1e-12)


def _sgd(tensors: list[torch.Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(tensors, lr=0.1)


def _root(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (t + 1) ** 0.5)


def _mean(folder: Path, surface: str, column: str) -> float:
    return mean_and_deviation(folder, SHORT, surface, column)[0]


def test_one_follower_is_alternating_descent(tmp_path: Path) -> None:
    assert _mean(tmp_path, "seesaw", "K=1") == pytest.approx(_mean(tmp_path, "seesaw", "alternating GD"), rel=1e-12)
    assert _mean(tmp_path, "seesaw", "K=10") != pytest.approx(_mean(tmp_path, "seesaw", "alternating GD"), rel=1e-3)


@pytest.mark.parametrize("surface", list(KBEAM))
def test_columns_without_followers_agree_with_the_published(surface: str, tmp_path: Path) -> None:
    """The whole protocol: means of 100 trials each, within three standard errors of their difference."""
    whole = Protocol()
    for place, column in enumerate(KBEAM_COLUMNS[:2]):
        mean, deviation = mean_and_deviation(tmp_path, whole, surface, column)
        published, spread = KBEAM[surface][place]
        error = ((deviation**2 + spread**2) / whole.trials) ** 0.5
        assert abs(mean - published) <= 3 * error + 0.0005, (column, mean, deviation)


def test_it_goes_on_where_it_stopped_and_other_protocols_begin_anew(tmp_path: Path) -> None:
    parts = missing_parts(tmp_path, SHORT, ("saddle", "weapons"))
    assert len(parts) == 2 * len(KBEAM_COLUMNS)
    distances(*parts[0])
    assert missing_parts(tmp_path, SHORT, ("saddle", "weapons")) == parts[1:]
    assert len(missing_parts(tmp_path, Protocol(trials=4, steps=31), ("saddle", "weapons"))) == len(parts)
    assert len(missing_parts(tmp_path, Protocol(trials=41, steps=30), ("saddle",))) == 4 * 3 + 2


def test_the_page_puts_ours_beside_the_published(tmp_path: Path) -> None:
    table = kbeam(tmp_path, protocol=Protocol(trials=2, steps=3), progress=False)
    assert set(table) == set(KBEAM)
    page = (tmp_path / "kbeam.md").read_text()
    assert ".016 ± .060" in page
    assert page.count("| published |") == page.count("| here |") == 6
    assert (tmp_path / "kbeam.json").exists()
    with pytest.raises(ArgumentError, match="trials: it is 0; give an integer >= 1"):
        Protocol(trials=0)
