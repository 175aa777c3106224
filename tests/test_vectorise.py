"""Members whose derivatives are formed in one pass, against their single solves."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR

from minimaxopt import (
    AlternatingGDA,
    Ascent,
    Batches,
    Box,
    Checkpoint,
    Descent,
    EarlyStop,
    Evaluate,
    Game,
    JSONLLog,
    Run,
    Sensitivity,
    SimultaneousGDA,
    Solution,
    Status,
    Unrolled,
    solve,
    solve_many,
    vectorise,
)
from minimaxopt.errors import ArgumentError, DivergenceWarning

ROUNDING = 1e-12
SINGLE = 1e-5
STEPS = 9
ETAS = (0.1, 0.3, 0.7)
sgd = partial(torch.optim.SGD, lr=0.1, momentum=0.5)
adam = partial(torch.optim.Adam, lr=0.01)


def closed(eta: Any) -> Callable[..., torch.Tensor]:
    """A risk whose constant is in its closure."""

    def f(u: nn.Module, v: nn.Module, batch: Any) -> torch.Tensor:
        x, y = batch
        return F.cross_entropy(u(x + eta * v(x).tanh()), y)

    return f


def open_risk(u: nn.Module, v: nn.Module, batch: Any, *, eta: Any) -> torch.Tensor:
    return closed(eta)(u, v, batch)


FUNCTIONS: dict[str, Callable[[float], Any]] = {
    "closure": closed,
    "partial": lambda eta: partial(open_risk, eta=eta),
    "tensor": lambda eta: closed(torch.full((5,), eta, dtype=torch.float64)),
    "nested": lambda eta: (lambda f: lambda u, v, batch: 2 * f(u, v, batch))(closed(eta)),
    "one": lambda eta: ONE,
}
ONE = closed(0.2)


def samples(n: int = 22) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, 3, (n,), generator=generator)


def networks(seed: int) -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        leader = nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3))
        return leader.double(), nn.Linear(5, 5).double()


def runs(solver: Any = None, *, kind: str = "closure", data: Any = None, **changes: Any) -> list[Run]:
    solvers = solver if isinstance(solver, list) else [solver or Sensitivity(0.5)] * len(ETAS)
    settings: dict[str, Any] = {"steps": STEPS, "u_optimizer": sgd, "v_optimizer": sgd, **changes}
    return [
        Run(
            Game(FUNCTIONS[kind](eta), *networks(i)),
            solvers[i],
            seed=i,
            data=data or Batches(samples(), 8, i),
            **settings,
        )
        for i, eta in enumerate(ETAS)
    ]


def same(found: list[Solution], expected: list[Solution], tolerance: float = ROUNDING) -> None:
    for one, other in zip(found, expected, strict=True):
        for a, b in ((one.u, other.u), (one.v, other.v)):
            states = [m.state_dict() if isinstance(m, nn.Module) else {"": m} for m in (a, b)]
            for name, tensor in states[0].items():
                torch.testing.assert_close(tensor, states[1][name], rtol=tolerance, atol=tolerance)
        assert one.history.names == other.history.names
        for name in one.history.names:
            assert one.history.steps(name).tolist() == other.history.steps(name).tolist()
            assert one.history[name] == pytest.approx(other.history[name], rel=tolerance, abs=tolerance)
        assert (one.status, one.message, one.steps, one.gradient_evaluations) == (
            other.status, other.message, other.steps, other.gradient_evaluations,
        )  # fmt: skip
        assert one.manifest == other.manifest


def alone(asked: list[Run]) -> list[Solution]:
    return [solve(**vars(run)) for run in asked]


@pytest.fixture
def joint(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the members of each joint evaluation."""
    seen: list[int] = []
    plain = vectorise.Vectorised._evaluate

    def counted(self: Any, contexts: Any, *rest: Any) -> Any:
        seen.append(len(contexts))
        return plain(self, contexts, *rest)

    monkeypatch.setattr(vectorise.Vectorised, "_evaluate", counted)
    return seen


# -- equal to single solves --------------------------------------------------------------------------------------------

SOLVERS = {
    "sensitivity": Sensitivity(0.5),
    "gammas": [Sensitivity(0.0), Sensitivity(0.5), Sensitivity(2.0)],
    "schedule": Sensitivity(lambda step: 0.1 * step),
    "sigma": Sensitivity("sigma", per_sample=True),
    "none": Sensitivity(0.0),
    "alternating": AlternatingGDA(ascent_steps=2),
    "follower first": AlternatingGDA(first="v"),
    "simultaneous": SimultaneousGDA(),
    "descent": Descent(),
    "ascent": Ascent(),
}


ORDERS = [(name, order) for name in SOLVERS for order in ("minimax", "maximin") if name not in ("descent", "ascent")]


@pytest.mark.parametrize(("name", "order"), [*ORDERS, ("descent", "minimax"), ("ascent", "minimax")])
def test_each_solver_equals_its_single_solves(name: str, order: str, joint: list[int]) -> None:
    solver = SOLVERS[name]
    for data in (None, Batches(samples(), 8, 1)):
        asked = runs(solver, data=data, order=order, v_optimizer=adam, u_scheduler=partial(ExponentialLR, gamma=0.9))
        same(solve_many(asked, form="vectorised"), alone(asked))
    assert set(joint) == {len(ETAS)}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_constants_of_f_are_stacked_wherever_they_are_held(kind: str, joint: list[int]) -> None:
    asked = runs(kind=kind)
    found = solve_many(asked, form="vectorised")
    same(found, alone(asked))
    assert len(joint) == STEPS
    assert len({solution.history.last("risk") for solution in found}) == len(ETAS)


def test_constants_keep_the_type_of_single_precision() -> None:
    for kind in FUNCTIONS:
        x, y = samples()
        asked = [
            Run(Game(FUNCTIONS[kind](eta), *(m.float() for m in networks(i))), steps=4, data=Batches((x.float(), y), 8))
            for i, eta in enumerate(ETAS)
            if kind != "tensor"
        ]
        if asked:
            found = solve_many(asked, form="vectorised")
            same(found, alone(asked), SINGLE)
            assert all(p.dtype == torch.float32 for s in found for p in s.u.parameters())


def test_batch_statistics_are_each_members_own() -> None:
    def game(i: int) -> Game:
        leader, follower = networks(i)
        leader[1] = nn.BatchNorm1d(6).double()
        return Game(closed(ETAS[i]), leader, follower)

    # Without the bias that the normalisation takes away again, whose gradient is rounding alone.
    asked = [
        Run(game(i), steps=STEPS, data=Batches(samples(), 8, i), u_optimizer=sgd, v_optimizer=sgd) for i in range(3)
    ]
    found = solve_many(asked, form="vectorised")
    same(found, alone(asked))
    means = [solution.u[1].running_mean for solution in found]
    assert not torch.allclose(means[0], means[1])
    assert int(found[0].u[1].num_batches_tracked) == STEPS


def test_bare_tensors_projections_and_no_data() -> None:
    def f(c: float) -> Any:
        return lambda u, v: (c * u["a"] ** 2 / 2 + u["a"] * v - v**2 / 2).sum() + u["b"].square()

    def game(c: float) -> Game:
        u = {"a": torch.ones(2, dtype=torch.float64) * c, "b": torch.tensor(c, dtype=torch.float64)}
        return Game(f(c), u, torch.ones(2, dtype=torch.float64), project_v=Box(-0.9, 0.9))

    asked = [Run(game(c), SimultaneousGDA(), steps=STEPS) for c in (0.5, 1.0, 2.0)]
    found = solve_many(asked, form="vectorised")
    for solution, expected in zip(found, alone(asked), strict=True):
        torch.testing.assert_close(solution.u, expected.u, rtol=ROUNDING, atol=ROUNDING)
        torch.testing.assert_close(solution.v, expected.v, rtol=ROUNDING, atol=ROUNDING)


def test_the_games_own_players_stay_as_they_were() -> None:
    asked = runs()
    before = [[p.clone() for p in run.game.u.parameters()] for run in asked]
    solve_many(asked, form="vectorised")
    for run, parameters in zip(asked, before, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(run.game.u.parameters(), parameters, strict=True))


# -- members that part ways --------------------------------------------------------------------------------------------


def test_members_of_different_lengths_and_ends(joint: list[int]) -> None:
    changes: list[dict[str, Any]] = [
        {"steps": 4}, {"callbacks": [EarlyStop("risk", mode="max", patience=1, min_delta=9.0, every=3)]}, {"steps": STEPS},
    ]  # fmt: skip

    def asked() -> list[Run]:
        return [Run(**{**vars(run), **change}) for run, change in zip(runs(), changes, strict=True)]

    found = solve_many(asked(), form="vectorised")
    same(found, alone(asked()))
    assert [solution.steps for solution in found] == [4, 6, STEPS]
    assert joint == [3] * 4 + [2] * 2  # the last member plays its last three steps alone


def test_batches_of_different_lengths_are_played_alone(joint: list[int]) -> None:
    asked = [
        Run(**{**vars(run), "data": Batches(samples(n), 8, 0)}) for run, n in zip(runs(), (16, 22, 16), strict=True)
    ]
    same(solve_many(asked, form="vectorised"), alone(asked))
    assert len(joint) == STEPS - STEPS // 3


def test_one_that_diverges_ends_alone() -> None:
    x, y = samples(24)
    broken = x.clone()
    broken[Batches((torch.arange(24),), 8, 0).at(5 % 3)[0][0]] = math.nan
    asked = [Run(**{**vars(r), "data": Batches((x, y), 8, i)}) for i, r in enumerate(runs())]
    asked[1] = Run(**{**vars(asked[1]), "data": [(x[:8], y[:8])] * 5 + [(x[:8] * math.nan, y[:8])] * 9})
    with pytest.warns(DivergenceWarning, match=r"runs\[1\]: 'risk' .* at step 5"):
        found = solve_many(asked, form="vectorised")
    with pytest.warns(DivergenceWarning, match="at step 5"):
        expected = alone(asked)
    same(found, expected)
    assert [solution.status for solution in found] == [Status.STEPS_USED, Status.DIVERGED, Status.STEPS_USED]


def test_an_interrupt_ends_all_at_whole_steps() -> None:
    class Interrupt:
        every = 5

        def __call__(self, run: Any) -> None:
            if run.step == 5:
                raise KeyboardInterrupt

    asked = runs()
    found = solve_many([asked[0], Run(**{**vars(asked[1]), "callbacks": [Interrupt()]}), asked[2]], form="vectorised")
    assert [solution.status for solution in found] == [Status.INTERRUPTED] * 3
    for run, solution in zip(asked, found, strict=True):
        expected = solve(**{**vars(run), "steps": solution.steps})
        assert solution.steps in (4, 5)
        for a, b in zip(solution.u.parameters(), expected.u.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=ROUNDING, atol=ROUNDING)


def test_members_are_watched_saved_and_resumed(tmp_path: Path) -> None:
    def watched(steps: int, **changes: Any) -> list[Run]:
        return [
            Run(**{**vars(run), "steps": steps, "callbacks": [Checkpoint(tmp_path / str(i)), look], **changes})
            for i, run in enumerate(runs(v_optimizer=adam))
        ]

    look = Evaluate({"norm": lambda u, v: float(v.weight.norm())}, every=2)
    whole = alone(watched(STEPS))
    solve_many(watched(4), form="vectorised")
    rest = [Run(**{**vars(run), "resume": tmp_path / str(i)}) for i, run in enumerate(watched(STEPS))]
    found = solve_many(rest, form="vectorised")
    for one, other in zip(found, whole, strict=True):
        assert one.history["risk"] == pytest.approx(other.history["risk"], rel=1e-9)
        assert one.history["norm"] == pytest.approx(other.history["norm"], rel=1e-9)


# -- what is refused ---------------------------------------------------------------------------------------------------


def with_dropout() -> list[Run]:
    return [
        Run(
            Game(closed(0.1), nn.Sequential(*networks(i)[0], nn.Dropout(0.5)), networks(i)[1]),
            steps=2,
            data=[samples()],
        )
        for i in (0, 1)
    ]


def branching(eta: float) -> Any:
    def f(u: Any, v: Any, batch: Any) -> torch.Tensor:
        return closed(eta)(u, v, batch) if eta > 0.2 else u(batch[0]).sum() + v(batch[0]).sum()

    return f


def two(first: Any, second: Any, **changes: Any) -> list[Run]:
    settings: dict[str, Any] = {"steps": 2, "data": [samples()], **changes}
    return [Run(game, Sensitivity(0.5), **settings) for game in (first, second)]


def frozen(value: float) -> Game:
    leader, follower = networks(0)
    leader[0].bias.requires_grad_(False).fill_(value)
    return Game(closed(0.1), leader, follower)


def named(kind: Any) -> Game:
    return Game(closed(0.1), nn.Sequential(*list(networks(0)[0]), kind), networks(0)[1])


TENSORS = torch.ones(2), torch.ones(2)
REFUSED: dict[str, tuple[Callable[[], list[Run]], str]] = {
    "solver": (lambda: runs(Unrolled(steps=1, inner_lr=0.1)), r"'unrolled' of runs\[0\] has no vectorised form; give one of"),
    "solvers": (lambda: runs([Descent(), Ascent(), Descent()]), r"runs\[0\] and runs\[1\] have different solvers"),
    "steps": (lambda: runs([AlternatingGDA(), AlternatingGDA(ascent_steps=2), AlternatingGDA()]), "different solvers"),
    "split": (lambda: runs(Sensitivity(split=True)), "no vectorised form with split; leave it out"),
    "alternate": (lambda: runs(Sensitivity(alternate=True)), "no vectorised form with alternate"),
    "fresh": (lambda: runs(AlternatingGDA(ascent_steps=2), ascent_batches="fresh"), "one batch; give ascent_batches='same'"),
    "responding": (
        lambda: [Run(Game(lambda u, z: (u * z).sum(), torch.ones(2), lambda f, u: u), steps=2)] * 2,
        r"follower of runs\[0\] responds by a function of its own",
    ),
    "order": (
        lambda: [Run(Game(lambda u, v: (u * v).sum(), *TENSORS), steps=2, order=o) for o in ("minimax", "maximin")],
        "different orders",
    ),
    "players": (
        lambda: two(Game(closed(0.1), *networks(0)), Game(closed(0.1), nn.Linear(5, 3).double(), networks(0)[1])),
        "different tensors",
    ),
    "activation": (lambda: two(named(nn.Tanh()), named(nn.Sigmoid())), "differ in settings, mode or frozen tensors"),
    "setting": (lambda: two(named(nn.ELU(1.0)), named(nn.ELU(2.0))), "differ in settings"),
    "frozen": (lambda: two(frozen(1.0), frozen(2.0)), "differ in settings, mode or frozen tensors"),
    "function": (
        lambda: two(Game(closed(0.1), *networks(0)), Game(lambda u, v, b: u(v(b[0])).sum(), *networks(0))),
        r"f of runs\[1\] is another function than that of runs\[0\]",
    ),
    "constant": (lambda: two(Game(closed("a"), *networks(0)), Game(closed("b"), *networks(0))), r"'eta' of f differs .*\(str\)"),
    "draws": (with_dropout, "f draws random numbers, such as dropout's"),
    "branch": (
        lambda: two(Game(branching(0.1), *networks(0)), Game(branching(0.3), *networks(0))), "f cannot be vectorised"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_vectorised_is_refused_before_any_step(name: str) -> None:
    make, message = REFUSED[name]
    seen: list[int] = []

    class Watch:
        every = 1

        def __call__(self, run: Any) -> None:
            seen.append(run.step)

    solve_many([Run(**{**vars(run), "steps": 0}) for run in make()])
    asked = [Run(**{**vars(run), "callbacks": [Watch()]}) for run in make()]
    with pytest.raises(ArgumentError, match=f"form: .*{message}.*use form='loop'"):
        solve_many(asked, form="vectorised")
    assert not seen


def test_a_risk_that_fails_later_fails_for_its_member_alone() -> None:
    """Under vmap nobody can tell which member it was, so that each is asked by itself."""
    calls = {"n": 0}

    def f(u: torch.Tensor, v: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        calls["n"] += 1
        if x.shape[0] == 3:
            raise ValueError("three rows")
        return (u * v * x).sum() - v.square().sum()

    four, three = torch.ones(4, 2, dtype=torch.float64), torch.ones(3, 2, dtype=torch.float64)
    data = [[four] * 9, [four] * 5 + [three]]
    asked = [Run(Game(f, *(t.double() for t in TENSORS)), SimultaneousGDA(), steps=8, data=d) for d in data]
    with pytest.raises(ValueError, match="three rows") as caught:
        solve_many(asked, form="vectorised")
    first, second = caught.value.solutions  # type: ignore[attr-defined]
    assert (first.status, first.steps) == (Status.STEPS_USED, 8)
    assert (second.status, second.steps) == (Status.FAILED, 5)


def saddle() -> Game:
    return Game(lambda u, v: (u**2 / 2 + u * v - v**2 / 2).sum(), torch.ones(2), torch.ones(2))


class Own:
    """A callback that remembers."""

    every = 1

    def __call__(self, run: Any) -> None: ...

    def begin(self) -> None: ...


SHARED: dict[str, Callable[[Path], Any]] = {
    "Checkpoint": Checkpoint,
    "JSONLLog": JSONLLog,
    "EarlyStop": lambda _: EarlyStop("risk"),
    "Own": lambda _: Own(),
}


@pytest.mark.parametrize("kind", SHARED)
def test_what_remembers_is_not_shared(kind: str, tmp_path: Path) -> None:
    shared = SHARED[kind](tmp_path / "here")
    with pytest.raises(ArgumentError, match=rf"callbacks: runs\[0\] and runs\[1\] share a {kind}; give each its own"):
        solve_many([Run(saddle(), steps=2, callbacks=[shared])] * 2, form="vectorised")
    apart = [SHARED[kind](tmp_path / name) for name in ("one", "two")]
    solve_many([Run(saddle(), steps=2, callbacks=[callback]) for callback in apart], form="vectorised")


def test_two_ways_to_write_one_folder_are_one(tmp_path: Path) -> None:
    written = [Checkpoint(tmp_path / "here"), Checkpoint(str(tmp_path / "here"))]
    with pytest.raises(ArgumentError, match="share a Checkpoint"):
        solve_many([Run(saddle(), steps=2, callbacks=[c]) for c in written], form="vectorised")


def test_data_that_remember_are_not_shared() -> None:
    def asked(data: Any) -> list[Run]:
        return [Run(Game(lambda u, v, x: (u * v * x).sum(), torch.ones(2), torch.ones(2)), steps=3, data=data)] * 2

    for data in (iter([torch.ones(2)] * 9), (torch.ones(2) for _ in range(9))):
        with pytest.raises(ArgumentError, match=r"data: runs\[0\] and runs\[1\] read from one .* that remembers where"):
            solve_many(asked(data), form="vectorised")
    assert [s.steps for s in solve_many(asked([torch.ones(2)]), form="vectorised")] == [3, 3]


def test_forms_and_arguments_are_checked_before_any_work() -> None:
    with pytest.raises(ArgumentError, match="form: 'fast' is no form; give 'auto', 'loop', 'vectorised' or 'graph'"):
        solve_many([Run(saddle(), steps=2)], form="fast")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="u_optimizer: 3 is not callable") as caught:
        solve_many([Run(saddle(), steps=2), Run(saddle(), steps=2, u_optimizer=3)], form="vectorised")  # type: ignore[arg-type]
    assert caught.value.__notes__ == ["It is an argument of runs[1]."]
    for form in ("auto", "loop", "vectorised"):
        assert [s.steps for s in solve_many([Run(saddle(), steps=2)] * 2, form=form)] == [2, 2]


def test_the_progress_bar_counts_all_steps(capsys: pytest.CaptureFixture[str]) -> None:
    solve_many([Run(saddle(), steps=3), Run(saddle(), steps=4)], form="vectorised", progress=True)
    shown = capsys.readouterr().err
    assert "2 runs" in shown
    assert "7/7" in shown
    solve_many([Run(saddle(), steps=3)], form="vectorised")
    assert capsys.readouterr().err == ""


def test_the_global_random_state_is_left_as_it_was() -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    look = Evaluate({"drawn": lambda u, v: float(torch.rand(()))}, every=1)
    solve_many([Run(saddle(), steps=3, callbacks=[look])] * 2, form="vectorised")
    assert torch.equal(torch.get_rng_state(), before)
