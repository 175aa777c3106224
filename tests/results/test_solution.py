"""What a solve returns, and that it comes back from disk as it was."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from minimaxopt import Batches, Checkpoint, Descent, Evaluate, Game, History, SimultaneousGDA, Solution, Status, solve
from minimaxopt.errors import ResumeError
from minimaxopt.results import storage

sgd = partial(torch.optim.SGD, lr=0.05)


# -- History -----------------------------------------------------------------------------------------------------------


def history() -> History:
    found = History()
    found.extend("risk", [0, 1, 2, 3], [4.0, 3.0, 2.0, 1.0])
    found.record("score", 1, 0.5)
    found.record("score", 3, 0.75)
    return found


def test_columns_are_arrays_with_their_steps() -> None:
    h = history()
    assert h.names == ["risk", "score"]
    assert h["risk"].tolist() == [4.0, 3.0, 2.0, 1.0]
    assert (h["risk"].dtype, h.steps("score").dtype) == (np.float64, np.int64)
    assert h.steps("score").tolist() == [1, 3]
    assert (h.last("score"), h.last_step("score")) == (0.75, 3)
    assert "score" in h
    assert "other" not in h


def test_a_step_has_one_value() -> None:
    h = history()
    h.record("score", 3, 0.9)
    assert (h.steps("score").tolist(), h["score"].tolist()) == ([1, 3], [0.5, 0.9])


def test_an_unknown_column_names_those_there_are() -> None:
    with pytest.raises(KeyError, match="history: there is no column 'loss'; it has risk, score"):
        history()["loss"]
    with pytest.raises(KeyError, match="it has none"):
        History().steps("risk")


def test_rows_join_the_columns() -> None:
    assert history().rows(since=2) == [(2, {"risk": 2.0}), (3, {"risk": 1.0, "score": 0.75})]
    assert len(history().rows()) == 4
    assert history().rows(since=4) == []


@pytest.mark.parametrize(("step", "risk", "score"), [(4, 4, 2), (3, 3, 1), (1, 1, 0), (0, 0, 0)])
def test_until_cuts_all_columns_and_drops_those_left_empty(step: int, risk: int, score: int) -> None:
    cut = history().until(step)
    assert {name: len(cut[name]) for name in cut.names} == {
        name: n for name, n in {"risk": risk, "score": score}.items() if n
    }
    assert len(history()["risk"]) == 4


def test_plain_and_tensor_forms_give_the_history_back() -> None:
    h = history()
    h.record("score", 5, math.nan)
    for form in (h.to_dict(), h.to_tensors()):
        back = History(form)
        assert repr(back.to_dict()) == repr(h.to_dict())
        back.record("score", 9, 1.0)
    assert h.steps("score").tolist() == [1, 3, 5]


def test_a_data_frame_has_a_row_a_step() -> None:
    frame = history().to_pandas()
    assert frame.index.name == "step"
    assert list(frame.columns) == ["risk", "score"]
    assert frame["risk"].tolist() == [4.0, 3.0, 2.0, 1.0]
    assert frame["score"].isna().tolist() == [True, False, True, False]
    assert frame.loc[3, "score"] == 0.75


# -- saving and loading ------------------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Tanh(), nn.Linear(width, 1))
        self.layers[3].bias.requires_grad_(False)
        self.register_buffer("scale", torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x) * self.scale


def respond(risk: Any, u: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    return 0.1 * batch.sign()


def games() -> dict[str, tuple[Game, dict[str, Any]]]:
    def networks(u: Any, v: Any, x: torch.Tensor) -> torch.Tensor:
        return (u["net"](x) + u["shifts"][0] - v[0](x)).square().mean() - v[1].square().sum()

    nested = {"net": Net(), "shifts": (torch.tensor(0.5), torch.tensor([1.0]).double())}
    data = {"data": Batches(torch.randn(12, 3), 6)}
    return {
        "nested": (Game(networks, nested, [Net(), torch.ones(2)]), data),
        "responding": (Game(lambda u, z, x: u(x + z).square().mean(), Net(), respond), {**data, "solver": Descent()}),
        "one player": (Game(lambda u, v: (u - 1).square().sum(), torch.zeros(3), None), {"solver": Descent()}),
        "parameter": (
            Game(lambda u, v: (u * v).sum(), nn.Parameter(torch.ones(2)), torch.ones(2, requires_grad=True)),
            {},
        ),
        "half": (Game(lambda u, v: (u * v).sum(), torch.ones(2).bfloat16(), torch.ones(2).bfloat16()), {}),
    }


def tensors(tree: Any) -> dict[str, torch.Tensor]:
    if isinstance(tree, nn.Module):
        return dict(tree.state_dict())
    if isinstance(tree, torch.Tensor):
        return {"": tree}
    if isinstance(tree, (list, tuple, dict)):
        pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {f"{k}.{name}": t for k, part in pairs for name, t in tensors(part).items()}
    return {}


@pytest.mark.parametrize("kind", games())
def test_a_solution_comes_back_as_it_was(kind: str, tmp_path: Path) -> None:
    game, settings = games()[kind]
    look = Evaluate({"m": lambda u, v: math.nan}, every=3)
    solution = solve(
        game,
        **{"solver": SimultaneousGDA(), **settings},
        steps=7,
        u_optimizer=sgd,
        v_optimizer=None if kind == "one player" else sgd,
        callbacks=[look],
    )
    assert solution.save(tmp_path / "deep" / "s") == tmp_path / "deep" / "s"
    back = Solution.load(tmp_path / "deep" / "s", game)
    for player in ("u", "v"):
        there, here = tensors(getattr(back, player)), tensors(getattr(solution, player))
        assert there.keys() == here.keys()
        for name, tensor in here.items():
            assert torch.equal(there[name], tensor)
            assert (there[name].dtype, there[name].requires_grad) == (tensor.dtype, tensor.requires_grad)
        assert type(getattr(back, player)) is type(getattr(solution, player))
    assert back.status is solution.status
    assert repr(back.history.to_dict()) == repr(solution.history.to_dict())
    for name in ("message", "steps", "seconds", "gradient_evaluations", "manifest"):
        assert getattr(back, name) == getattr(solution, name)
    assert str(back) == str(solution)
    # Loading copies: neither the game nor another load changes.
    assert not any(
        t.data_ptr() == o.data_ptr() for t in tensors(back.u).values() for o in tensors(game.u).values() if t.numel()
    )
    if kind == "nested":
        x = torch.randn(5, 3)
        assert torch.equal(back.u["net"].eval()(x), solution.u["net"].eval()(x))
        assert back.u["net"].layers[1].num_batches_tracked.item() == 7


def test_numbers_of_numpy_and_torch_that_callbacks_log_come_back(tmp_path: Path) -> None:
    class Log:
        every = 2

        def __call__(self, run: Any) -> None:
            for name, value in {"a": np.float32(0.5), "b": torch.tensor(1.5), "c": np.int64(2), "d": True}.items():
                run.log(name, value)

    game = games()["parameter"][0]
    solution = solve(game, steps=4, callbacks=[Log(), Checkpoint(tmp_path / "c")])
    back = Solution.load(solution.save(tmp_path / "s"), game)
    assert back.history.to_dict() == solution.history.to_dict()
    assert [back.history.last(name) for name in "abcd"] == [0.5, 1.5, 2.0, 1.0]
    assert solve(game, steps=4, resume=tmp_path / "c").history.to_dict() == solution.history.to_dict()


def test_nothing_on_disk_is_a_pickle(tmp_path: Path) -> None:
    solve(games()["parameter"][0], steps=2).save(tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]
    assert not any(path.read_bytes().startswith((b"\x80", b"PK")) for path in tmp_path.iterdir())


def test_saving_again_replaces_and_leaves_the_rest(tmp_path: Path) -> None:
    game = games()["parameter"][0]
    (tmp_path / "mine.txt").write_text("mine")
    first, second = solve(game, steps=2), solve(game, steps=5)
    first.save(tmp_path)
    second.save(tmp_path)
    assert Solution.load(tmp_path, game).steps == 5
    assert len(list(tmp_path.iterdir())) == 3


def test_a_crash_while_saving_leaves_the_earlier_solution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    game = games()["parameter"][0]
    solve(game, steps=2).save(tmp_path)
    write = storage.write_atomically

    def crash(path: Path, content: bytes) -> None:
        if path.suffix == ".json":
            raise OSError("full")
        write(path, content)

    monkeypatch.setattr(storage, "write_atomically", crash)
    with pytest.raises(OSError, match="full"):
        solve(game, steps=5).save(tmp_path)
    assert Solution.load(tmp_path, game).steps == 2


def test_another_game_is_refused(tmp_path: Path) -> None:
    def f(u: Any, v: Any) -> torch.Tensor:
        return u(torch.ones(2, 3)).sum() * v.sum()

    game = Game(f, Net(), torch.ones(2))
    solve(game, steps=1).save(tmp_path)
    assert Solution.load(tmp_path, game).steps == 1
    for wrong, message in [
        (
            Game(f, Net(5), torch.ones(2)),
            r"u\.layers\.0\.weight: was saved as float32 \(4, 3\), but is float32 \(5, 3\)",
        ),
        (Game(f, Net(), torch.ones(3)), r"v\.value: was saved as float32 \(2,\), but is float32 \(3,\) here; give"),
        (Game(f, Net(), torch.ones(2).double()), r"v\.value: .* but is float64"),
        (Game(f, nn.Linear(3, 1), torch.ones(2)), r"u: the saved tensors are \[.*\], those of this game \['bias'"),
        (Game(f, Net(), None), r"v: the saved tensors are \['value'\], those of this game \[\]"),
    ]:
        with pytest.raises(ResumeError, match=message):
            Solution.load(tmp_path, wrong)
    with pytest.raises(ResumeError, match=r"there is no solution\.json in"):
        Solution.load(tmp_path / "none", game)


def test_loading_does_not_touch_the_game(tmp_path: Path) -> None:
    game, settings = games()["nested"]
    before = {name: t.clone() for name, t in tensors(game.u).items()}
    solve(game, SimultaneousGDA(), steps=3, **settings).save(tmp_path)
    Solution.load(tmp_path, game)
    assert all(torch.equal(before[name], t) for name, t in tensors(game.u).items())


# -- in words ----------------------------------------------------------------------------------------------------------


def test_a_solution_says_how_it_ended() -> None:
    game = games()["one player"][0]
    assert str(solve(game, Descent(), steps=2, u_optimizer=sgd)).startswith(
        "Solution(step budget used: made all 2 steps. 2 steps, risk 2.43, "
    )
    assert str(solve(game, Descent(), steps=0)).startswith("Solution(step budget used: made all 0 steps. 0 steps, 0.")


@pytest.mark.parametrize("status", Status)
def test_ok_is_what_ended_as_planned(status: Status) -> None:
    solution = Solution(None, None, status, "", History(), 0, 0.0, 0)
    assert solution.ok == (status in (Status.CONVERGED, Status.STEPS_USED, Status.STOPPED))
    assert Status(status.value) is status
