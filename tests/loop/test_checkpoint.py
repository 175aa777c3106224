"""What a checkpoint refuses to continue, and that its files survive crashes and tell of damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, MultiStepLR

from minimaxopt import (
    AlternatingGDA,
    Ascent,
    Batches,
    Checkpoint,
    Descent,
    Game,
    Sensitivity,
    SimultaneousGDA,
    Solution,
    Status,
    solve,
)
from minimaxopt.errors import DivergenceWarning, ResumeError
from minimaxopt.results import storage
from tests.trainings import (
    CASES,
    STEPS,
    Attacker,
    Classifier,
    SupportsState,
    batches,
    fingerprint,
    network_game,
    play,
    risk,
    samples,
)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    play("sgd", steps=6, callbacks=[Checkpoint(tmp_path)])
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "both"),
    [
        ({"solver": AlternatingGDA()}, ["solver SimultaneousGDA()", "AlternatingGDA(first='u', ascent_steps=1)"]),
        ({"seed": 6}, ["seed 5", "not 6"]),
        ({"order": "maximin"}, ["order minimax", "not maximin"]),
        ({"ascent_batches": "fresh"}, ["ascent_batches same", "not fresh"]),
        ({"data": Batches(samples(), 16)}, ["batch_size=8", "batch_size=16"]),
        ({"u_optimizer": partial(torch.optim.SGD, lr=0.01)}, ["u_optimizer SGD(lr=0.05", "not SGD(lr=0.01"]),
        ({"v_optimizer": None}, ["v_optimizer SGD(", "not Adam("]),
        ({"v_scheduler": None}, ["v_scheduler MultiStepLR", "not none"]),
    ],
)
def test_other_settings_are_refused_by_name(changes: dict[str, Any], both: list[str], checkpoint: Path) -> None:
    with pytest.raises(ResumeError, match="resume: the checkpoint was made with") as caught:
        play("sgd", steps=9, **{**changes, "resume": checkpoint})
    assert all(part in str(caught.value) for part in both)
    assert play("sgd", steps=9, resume=checkpoint).steps == 9


def grouped(
    *names_and_rates: tuple[list[int], float], **settings: Any
) -> Callable[[list[torch.Tensor]], torch.optim.Optimizer]:
    """Return a factory of SGD with these parameter groups, each of the tensors at these places."""
    return lambda tensors: torch.optim.SGD(
        [{"params": [tensors[i] for i in places], "lr": rate} for places, rate in names_and_rates], lr=0.1, **settings
    )


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (grouped(([0, 1], 0.1)), r"u_optimizer had 2 parameter groups in the checkpoint, not 1; give the factory"),
        (grouped(([1], 0.1), ([0], 0.2)), "group 0 of u_optimizer had the tensors weight in the checkpoint, not bias"),
        (grouped(([0], 0.1), ([1], 0.3)), r"group 1 of u_optimizer was built with lr 0\.2 in the checkpoint, not 0\.3"),
        (
            lambda tensors: torch.optim.SGD([{"params": tensors[:1], "dampening": 0.5}, {"params": tensors[1:]}], 0.1),
            r"group 0 of u_optimizer was built with dampening 0 in the checkpoint, not 0\.5",
        ),
    ],
)
def test_other_parameter_groups_are_refused(factory: Any, message: str, tmp_path: Path) -> None:
    game = Game(lambda u, v: u(torch.ones(1, 2)).square().sum(), nn.Linear(2, 1), None)

    def go(steps: int, factory: Any, **more: Any) -> Solution:
        schedule = partial(MultiStepLR, milestones=[2, 6])  # moves the rates, which is no other factory
        return solve(game, Descent(), steps=steps, u_optimizer=factory, u_scheduler=schedule, **more)

    same = grouped(([0], 0.1), ([1], 0.2))
    go(5, same, callbacks=[Checkpoint(tmp_path)])
    with pytest.raises(ResumeError, match=message):
        go(9, factory, resume=tmp_path)
    resumed, whole = go(9, same, resume=tmp_path), go(9, same)
    assert torch.equal(resumed.u.weight, whole.u.weight)
    assert torch.equal(resumed.u.bias, whole.u.bias)


@pytest.mark.parametrize(
    "factory", [partial(MultiStepLR, milestones=[3, 6]), partial(MultiStepLR, milestones=[2, 6], gamma=0.5)]
)
def test_another_schedule_is_refused(factory: Any, tmp_path: Path) -> None:
    game = Game(lambda u, v: u**2, torch.tensor(1.0), None)
    solve(
        game, Descent(), steps=3, u_scheduler=partial(MultiStepLR, milestones=[2, 6]), callbacks=[Checkpoint(tmp_path)]
    )
    with pytest.raises(ResumeError, match="u_scheduler was built with (milestones|gamma) .* in the checkpoint, not"):
        solve(game, Descent(), steps=5, u_scheduler=factory, resume=tmp_path)


def test_other_players_are_refused(checkpoint: Path) -> None:
    settings = {**CASES["sgd"], "data": batches(), "seed": 5}
    settings["u_scheduler"] = partial(CosineAnnealingLR, T_max=STEPS)
    settings["v_scheduler"] = partial(MultiStepLR, milestones=[10, 35, 50], gamma=0.5)

    def wider() -> nn.Module:
        net = Classifier()
        net.head[1] = nn.Linear(16, 5)
        return net

    for game, reason in [
        (
            Game(risk, wider(), Attacker()),
            r"u\.head\.1\.weight: was saved as float32 \(3, 16\), but is float32 \(5, 16\)",
        ),
        (Game(risk, Classifier().double(), Attacker()), r"u\..*float32 .*, but is float64"),
        (Game(risk, Classifier(), nn.Linear(36, 36)), r"v: the saved tensors are .*, those of this game"),
    ]:
        with pytest.raises(ResumeError, match=reason):
            solve(game, steps=9, resume=checkpoint, **settings)


def test_in_the_maximin_order_players_keep_their_names(tmp_path: Path) -> None:
    play("maximin", steps=3, callbacks=[Checkpoint(tmp_path)])
    with pytest.raises(ResumeError, match="u_optimizer Adam"):
        play("maximin", steps=4, resume=tmp_path, u_optimizer=partial(torch.optim.SGD, lr=0.1))
    game = Game(risk, network_game().u, nn.Linear(3, 3))
    settings = {"u_scheduler": partial(CosineAnnealingLR, T_max=STEPS), "seed": 5, "data": batches()}
    settings["v_scheduler"] = partial(MultiStepLR, milestones=[10, 35, 50], gamma=0.5)
    with pytest.raises(ResumeError, match=r"^v: the saved tensors"):
        solve(game, steps=4, resume=tmp_path, **settings, **CASES["maximin"])


def test_another_frozen_player_is_refused(tmp_path: Path) -> None:
    def game(height: float) -> Game:
        return Game(lambda u, v: (u * v - v**2).sum(), torch.full((2,), height), torch.zeros(2))

    solve(game(1.0), Ascent(), steps=3, callbacks=[Checkpoint(tmp_path)])
    with pytest.raises(ResumeError, match="the player that stands still has other values"):
        solve(game(2.0), Ascent(), steps=6, resume=tmp_path)
    assert solve(game(1.0), Ascent(), steps=6, resume=tmp_path).steps == 6


def test_fewer_steps_than_made_are_refused(checkpoint: Path) -> None:
    with pytest.raises(ResumeError, match="steps: the checkpoint stands at step 6 already"):
        play("sgd", steps=5, resume=checkpoint)
    again = play("sgd", steps=6, resume=checkpoint)
    assert again.status is Status.STEPS_USED
    assert fingerprint(again) == fingerprint(play("sgd", steps=6))


def test_another_number_of_threads_warns(checkpoint: Path) -> None:
    torch.set_num_threads(2)
    with pytest.warns(UserWarning, match="to the bit: threads 1 then, 2 now") as caught:
        play("sgd", steps=8, resume=checkpoint)
    assert Path(caught[0].filename).name == "trainings.py"


def test_functions_among_the_settings_may_live_elsewhere(tmp_path: Path) -> None:
    """Another process has them at another address."""

    def go(steps: int, **more: Any) -> Solution:
        solver = Sensitivity(gamma=lambda step: 1.0 / (1 + step))
        return play(
            "sgd", solver=solver, steps=steps, u_scheduler=partial(LambdaLR, lr_lambda=lambda k: 0.9**k), **more
        )

    go(5, callbacks=[Checkpoint(tmp_path)])
    kept = lambda step: 0.0  # noqa: E731 - takes the address that the next function might have had
    assert fingerprint(go(9, resume=tmp_path)) == fingerprint(go(9))
    assert kept(0) == 0.0


# -- the files ---------------------------------------------------------------------------------------------------------


def test_a_crash_between_the_two_files_leaves_the_last_checkpoint(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = storage.write_atomically

    def crash(path: Path, content: bytes) -> None:
        if path.suffix == ".json":
            raise OSError("the power went")
        write(path, content)

    monkeypatch.setattr(storage, "write_atomically", crash)
    with pytest.raises(OSError, match="the power went") as caught:
        play("sgd", steps=12, resume=checkpoint, callbacks=[Checkpoint(checkpoint)])
    assert caught.value.solution.steps == 12  # type: ignore[attr-defined]
    assert len(list(checkpoint.glob("*.safetensors"))) == 2
    monkeypatch.undo()
    resumed = play("sgd", steps=12, resume=checkpoint, callbacks=[Checkpoint(checkpoint)])
    assert fingerprint(resumed) == fingerprint(play("sgd", steps=12))
    assert len(list(checkpoint.glob("*.safetensors"))) == 2  # its own and that of the checkpoint before


@pytest.mark.parametrize("damage", ["truncate tensors", "drop tensors", "truncate json", "empty json", "foreign json"])
def test_damage_is_told_clearly(damage: str, checkpoint: Path) -> None:
    tensors, head = next(checkpoint.glob("*.safetensors")), checkpoint / "checkpoint.json"
    if damage == "truncate tensors":
        tensors.write_bytes(tensors.read_bytes()[:-7])
    elif damage == "drop tensors":
        tensors.unlink()
    else:
        content = head.read_bytes()
        head.write_bytes({"truncate json": content[:-9], "empty json": b"", "foreign json": b'{"format": 1}'}[damage])
    with pytest.raises(ResumeError, match=r"path: .*(damaged|missing beside|not JSON|not written by minimaxopt)"):
        play("sgd", steps=8, resume=checkpoint)


@pytest.mark.parametrize("damage", ["truncate json", "drop json", "flip a bit of the json", "drop tensors"])
def test_the_checkpoint_before_is_used_where_the_last_is_damaged(damage: str, tmp_path: Path) -> None:
    play("sgd", steps=6, callbacks=[Checkpoint(tmp_path, every=2)])
    last, before = tmp_path / "checkpoint.json", tmp_path / "checkpoint-previous.json"
    assert [storage.read(path)["run"]["step"] for path in (last, before)] == [6, 4]
    assert len(list(tmp_path.iterdir())) == 4
    content = last.read_bytes()
    if damage == "truncate json":
        last.write_bytes(content[:-5])
    elif damage == "drop json":
        last.unlink()
    elif damage == "drop tensors":
        (tmp_path / json.loads(content)["tensors"]).unlink()
    else:
        last.write_bytes(content.replace(b'"gradient_evaluations": 6', b'"gradient_evaluations": 7'))
    assert Checkpoint.latest(tmp_path) == tmp_path
    message = r"resume: .*checkpoint\.json cannot be used .*; going on from .*checkpoint-previous\.json, made at step 4"
    with pytest.warns(UserWarning, match=message) as caught:
        resumed = play("sgd", steps=9, resume=tmp_path, callbacks=[Checkpoint(tmp_path)])
    assert Path(caught[0].filename).name == "trainings.py"
    assert fingerprint(resumed) == fingerprint(play("sgd", steps=9))
    assert fingerprint(play("sgd", steps=9, resume=tmp_path)) == fingerprint(resumed)


def test_a_checkpoint_is_made_though_the_one_before_cannot_be_read(checkpoint: Path) -> None:
    callback = Checkpoint(checkpoint)
    play("sgd", steps=9, resume=checkpoint, callbacks=[callback])
    (checkpoint / "checkpoint.json").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="going on from .*made at step 6"):
        resumed = play("sgd", steps=12, resume=checkpoint, callbacks=[callback])
    assert fingerprint(resumed) == fingerprint(play("sgd", steps=12))
    assert storage.read(checkpoint / "checkpoint.json")["run"]["step"] == 12


def test_two_damaged_checkpoints_are_both_named(tmp_path: Path) -> None:
    play("sgd", steps=6, callbacks=[Checkpoint(tmp_path, every=2)])
    for path in tmp_path.glob("*.json"):
        path.write_bytes(path.read_bytes()[:-5])
    message = (
        r"checkpoint\.json is not JSON .* before it cannot be used either: .*checkpoint-previous\.json is not JSON"
    )
    with pytest.raises(ResumeError, match=message):
        play("sgd", steps=8, resume=tmp_path)


def test_another_runs_checkpoint_is_not_kept_as_the_one_before(checkpoint: Path) -> None:
    before = checkpoint / "checkpoint-previous.json"
    callback = Checkpoint(checkpoint)
    play("sgd", steps=3, callbacks=[callback])
    assert not before.exists()
    play("sgd", steps=5, callbacks=[callback])
    assert not before.exists()
    play("sgd", steps=7, resume=checkpoint, callbacks=[callback])
    assert storage.read(before)["run"]["step"] == 5


def test_a_kill_between_the_checkpoints_leaves_one(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = storage.write_atomically

    def crash(path: Path, content: bytes) -> None:
        if path.name == "checkpoint-previous.json":
            raise OSError("the power went")
        write(path, content)

    monkeypatch.setattr(storage, "write_atomically", crash)
    with pytest.raises(OSError, match="the power went"):
        play("sgd", steps=12, resume=checkpoint, callbacks=[Checkpoint(checkpoint)])
    monkeypatch.undo()
    assert fingerprint(play("sgd", steps=15, resume=checkpoint)) == fingerprint(play("sgd", steps=15))


def test_a_folder_without_a_checkpoint(tmp_path: Path) -> None:
    assert Checkpoint.latest(tmp_path) is None
    assert Checkpoint.latest(tmp_path / "none") is None
    with pytest.raises(ResumeError, match="there is no checkpoint.json in"):
        play("sgd", steps=8, resume=tmp_path)
    assert play("sgd", steps=2, resume=Checkpoint.latest(tmp_path)).steps == 2
    play("sgd", steps=2, callbacks=[Checkpoint(tmp_path)])
    assert Checkpoint.latest(str(tmp_path)) == tmp_path
    with pytest.raises(ResumeError, match="give the folder"):
        play("sgd", steps=8, resume=tmp_path / "checkpoint.json")


def test_a_diverging_run_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    game = Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))
    sgd = partial(torch.optim.SGD, lr=30.0)
    with pytest.warns(DivergenceWarning):
        solution = solve(
            game,
            SimultaneousGDA(),
            steps=100,
            u_optimizer=sgd,
            v_optimizer=sgd,
            callbacks=[Checkpoint(tmp_path, every=4)],
        )
    saved = storage.read(tmp_path / "checkpoint.json")
    assert solution.status is Status.DIVERGED
    assert saved["run"]["step"] == solution.steps // 4 * 4
    assert all(bool(torch.isfinite(t)) for held in saved["run"]["parameters"].values() for t in held.values())


def test_state_that_cannot_be_saved_is_named(tmp_path: Path) -> None:
    class Odd(SupportsState):
        def state_dict(self) -> dict[str, Any]:
            return {"order": object()}

    with pytest.raises(ResumeError, match=r"checkpoint\.run\.source\.loader\.order: object cannot be saved; keep"):
        play("sgd", steps=4, data=Odd(samples()), callbacks=[Checkpoint(tmp_path)])
