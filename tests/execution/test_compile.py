"""Compiled steps: the same values to rounding, and a reason wherever there is no compiled form."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from minimaxopt import (
    AlternatingGDA,
    Ascent,
    Batches,
    Box,
    Checkpoint,
    Context,
    Descent,
    Extragradient,
    Game,
    Lookahead,
    Sensitivity,
    SimultaneousGDA,
    Solution,
    Status,
    solve,
)
from minimaxopt.errors import ArgumentError, DoubleBackwardError, RiskError
from minimaxopt.execution import compile as preparing
from minimaxopt.execution.cuda_graph import (
    CapturedStep,
    Draws,
    form_of,
    refuse_draws,
    refuse_elsewhere,
    refuse_settings,
)
from minimaxopt.execution.inductor_backend import DrawError, take_out
from minimaxopt.game.random_streams import replay
from minimaxopt.game.trees import leaves_with_names, rebuilt, shell_of
from minimaxopt.solvers import SOLVERS as BUILT_IN
from minimaxopt.solvers.step_derivatives import SupportsCompile
from tests.trainings import Attacker, Classifier, risk

ROUNDING = 1e-10
SGD = partial(torch.optim.SGD, lr=0.05)
SOLVERS = {
    "descent": Descent(),
    "ascent": Ascent(),
    "simultaneous": SimultaneousGDA(),
    "alternating": AlternatingGDA(ascent_steps=2),
    "sensitivity": Sensitivity(gamma=0.5),
}


def compiler_is_missing() -> bool:
    try:
        preparing._need_compiler()
    except ArgumentError:
        return True
    return False


needs_compiler = pytest.mark.skipif(compiler_is_missing(), reason="torch.compile needs a C++ compiler")


def close(compiled: Solution, eager: Solution) -> None:
    """Assert that two solutions are the same to rounding, records and counts included."""
    assert (compiled.status, compiled.message, compiled.steps) == (eager.status, eager.message, eager.steps)
    assert compiled.gradient_evaluations == eager.gradient_evaluations
    assert compiled.history.names == eager.history.names
    for name in eager.history.names:
        assert compiled.history.steps(name).tolist() == eager.history.steps(name).tolist()
        assert abs(compiled.history[name] - eager.history[name]).max() < ROUNDING
    for one, other in ((compiled.u, eager.u), (compiled.v, eager.v)):
        for name, tensor in tensors(other).items():
            torch.testing.assert_close(tensors(one)[name], tensor, rtol=0, atol=ROUNDING)


def tensors(player: Any) -> dict[str, Tensor]:
    if isinstance(player, nn.Module):
        return player.state_dict()
    return {name: leaf for name, leaf in leaves_with_names(player) if isinstance(leaf, Tensor)}


def networks() -> Game:
    """Convolution, batch statistics and two dropouts, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Game(risk, Classifier().double(), Attacker().double())


def samples() -> Batches:
    """Two batches of four samples."""
    g = torch.Generator().manual_seed(2)
    x = torch.randn(8, 1, 6, 6, generator=g, dtype=torch.float64)
    return Batches((x, torch.randint(0, 3, (8,), generator=g)), batch_size=4, seed=3)


def bilinear(u: Any, v: Any) -> Tensor:
    return (u * v).sum() - 0.1 * v.square().sum()


def tiny(f: Callable[..., Tensor] = bilinear) -> Game:
    return Game(f, torch.tensor([1.0, 2.0], dtype=torch.float64), torch.tensor([0.5, -1.0], dtype=torch.float64))


def both(game: Game, solver: Any, **settings: Any) -> Solution:
    """Play a game compiled and as written; assert that they agree, and return the compiled one."""
    settings = {"steps": 7, "u_optimizer": SGD, "v_optimizer": SGD, "progress": False, "seed": 4, **settings}
    compiled = solve(game, solver, compile=True, **settings)
    close(compiled, solve(game, solver, **settings))
    return compiled


# -- compiled derivatives ----------------------------------------------------------------------------------------------


@needs_compiler
def test_networks_with_batch_statistics_and_dropout() -> None:
    solution = both(networks(), SOLVERS["sensitivity"], data=samples(), steps=6)
    assert solution.manifest["compile"] == "derivatives"
    assert int(solution.u.features[1].num_batches_tracked) == 6
    assert int(solution.v.net[1].num_batches_tracked) == 6


@needs_compiler
def test_inner_steps_on_fresh_batches_of_several_shapes() -> None:
    def f(u: Any, v: Any, batch: Any) -> Tensor:
        noise = torch.randn_like(batch) + F.dropout(batch, 0.5)
        return (u * v + (u - noise).tanh().mean(0)).sum() - 0.1 * v.square().sum()

    x = torch.linspace(-1, 1, 10, dtype=torch.float64).view(5, 2)
    both(tiny(f), SOLVERS["alternating"], data=Batches(x, batch_size=3, seed=1), ascent_batches="fresh", steps=5)


@needs_compiler
@pytest.mark.parametrize("name", ["descent", "ascent", "simultaneous"])
def test_each_solver_on_bare_tensors(name: str) -> None:
    # The slope of u * v is v itself: a compiled form that returned its input would see it move under its feet.
    both(tiny(), SOLVERS[name])


@needs_compiler
def test_schedules_weights_by_step_and_the_flipped_order() -> None:
    solver = Sensitivity(gamma=lambda step: 0.1 * step, alternate=True)  # 0 at first: another compiled form
    schedule = partial(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.5)
    both(tiny(), solver, order="maximin", u_scheduler=schedule, v_scheduler=schedule)


class Pair(NamedTuple):
    scale: Tensor
    shift: Tensor


@needs_compiler
def test_players_of_any_nesting_keep_the_order_of_their_keys() -> None:
    def f(u: Any, v: Any) -> Tensor:
        first, second = u["net"].values()  # in the order given, not the sorted one
        pair = v[0]
        return (first * pair.scale - 2 * second * pair.shift).sum() - pair.scale.square() - pair.shift.square()

    one = torch.tensor(1.0, dtype=torch.float64)
    u = {"net": OrderedDict(z=one.clone(), a=2 * one)}
    solution = both(Game(f, u, [Pair(one.clone(), 3 * one)]), SimultaneousGDA(), steps=3)
    assert {name: float(t) != start for (name, t), start in zip(tensors(solution.u).items(), (1, 2), strict=True)} == {
        "net.z": True,
        "net.a": True,
    }


@needs_compiler
@pytest.mark.parametrize("solver", [Descent(), Sensitivity(gamma=0.5)], ids=lambda s: s.name)
def test_a_follower_that_responds_is_asked_as_ever(solver: Any) -> None:
    def respond(f: Any, u: Any, batch: Any) -> Any:
        return {"z": batch + 0.1 * torch.sign(u)}

    def f(u: Any, v: Any, batch: Any) -> Tensor:
        return (u * v["z"]).square().mean() + (v["z"] - batch).sum() * u.sum()

    data = [torch.tensor([1.0, -2.0], dtype=torch.float64)]
    both(Game(f, torch.ones(2, dtype=torch.float64), respond), solver, data=data, steps=3)


@needs_compiler
def test_convergence_checkpoints_and_resume(tmp_path: Any, recwarn: Any) -> None:
    def f(u: Any, v: Any) -> Tensor:
        return u.square().sum() - v.square().sum() + 0.5 * (u * v).sum()

    settings: dict[str, Any] = {"u_optimizer": SGD, "v_optimizer": SGD, "progress": False}
    done = both(tiny(f), SimultaneousGDA(), steps=400, tolerance=1e-6)
    assert done.status is Status.CONVERGED
    solve(tiny(f), SimultaneousGDA(), steps=5, compile=True, callbacks=[Checkpoint(tmp_path)], **settings)
    rest = solve(tiny(f), SimultaneousGDA(), steps=9, compile=True, resume=tmp_path, **settings)
    close(rest, solve(tiny(f), SimultaneousGDA(), steps=9, **settings))
    assert not recwarn.list
    with pytest.warns(match="compile derivatives then, no now"):
        solve(tiny(f), SimultaneousGDA(), steps=9, resume=tmp_path, **settings)


@needs_compiler
def test_a_run_that_ceases_to_be_finite_ends_at_the_same_point() -> None:
    fast = partial(torch.optim.SGD, lr=1e200)
    with pytest.warns(match="ceased to be finite"):
        solution = both(tiny(), SimultaneousGDA(), u_optimizer=fast, v_optimizer=fast)
    assert solution.status is Status.DIVERGED


@needs_compiler
def test_more_solves_than_torch_keeps_forms_of_one_function() -> None:
    limit = torch._dynamo.config.recompile_limit  # type: ignore[attr-defined]
    for _ in range(limit + 1):
        assert solve(tiny(), Descent(), steps=1, compile=True, progress=False).steps == 1


# -- refusals ----------------------------------------------------------------------------------------------------------


def refused(match: str, game: Game | None = None, solver: Any = None, **settings: Any) -> None:
    """Assert that a solve is refused before any step."""
    moved: list[int] = []

    @dataclass
    class Watch:
        every: int = 1

        def __call__(self, run: Any) -> None:
            moved.append(run.step)

    before = torch.get_rng_state()
    with pytest.raises(ArgumentError, match=match) as caught:
        solve(
            game or tiny(),
            solver or SimultaneousGDA(),
            **{"steps": 3, "compile": True, "callbacks": [Watch()], "progress": False, **settings},
        )
    assert not hasattr(caught.value, "solution")
    assert moved == []
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("solver", [Extragradient(), Lookahead(), "unrolled"])
def test_other_solvers_are_refused(solver: Any) -> None:
    refused(
        "compile: .* declares no derivatives, and so has no compiled form; use one that does, such as", solver=solver
    )


@pytest.mark.parametrize("setting", ["split", "projected"])
def test_settings_without_a_compiled_form_are_refused(setting: str) -> None:
    refused(f"compile: there is no compiled form with {setting}; ", solver=Sensitivity(**{setting: True}))


def test_a_constrained_follower_needs_the_printed_form() -> None:
    boxed = Game(lambda u, v: u * v - v**2, torch.tensor(1.0), torch.tensor(1.0), project_v=Box(-1.0, 1.0))
    refused(r"compile: .*give Sensitivity\(projected=False\)", game=boxed, solver=Sensitivity())
    assert Sensitivity(projected=False).derivatives(responding=False, constrained=True).wanted == (None,)


def test_a_counter_in_a_module_is_refused_by_name() -> None:
    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.count = torch.nn.Parameter(torch.ones(())), 0

        def forward(self) -> Tensor:
            self.count += 1
            return self.weight * self.count

    game = Game(lambda u, v: u() * v - v**2, Counting(), torch.ones(()))
    refused(r"compile: f changes u\.count, which is no buffer", game=game)


def test_compile_must_be_a_truth_value() -> None:
    refused("compile: 'inductor' is neither True nor False; give one of them", compile="inductor")


def test_a_machine_without_a_compiler_is_named() -> None:
    from torch._inductor import config

    with config.patch({"cpp.cxx": ("/nowhere/g++",)}):
        refused("compile: torch finds no C\\+\\+ compiler here; install g\\+\\+ or clang, or name one in CXX")


@needs_compiler
def test_a_risk_that_branches_on_values_is_refused() -> None:
    def f(u: Any, v: Any) -> Tensor:
        return bilinear(u, v) if float(u.sum().detach()) > 0 else -bilinear(u, v)

    refused("compile: f cannot be compiled as one graph .*; write it with torch operations alone", tiny(f))


@needs_compiler
def test_a_risk_whose_compiled_values_differ_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(graph: Any, inputs: Any) -> Any:
        return lambda *arguments: [1.001 * x for x in graph(*arguments)]

    monkeypatch.setattr("minimaxopt.execution.compiled_derivatives.inductor", wrong)
    refused("compile: risk differs when compiled .*: f depends on more than its arguments", tiny())


@needs_compiler
def test_too_many_shapes_are_refused_when_they_come() -> None:
    torch_limit: Any = torch._dynamo.config  # type: ignore[attr-defined]
    data = [torch.ones(n, dtype=torch.float64) for n in (2, 3, 4)]

    def f(u: Any, v: Any, batch: Any) -> Tensor:
        return bilinear(u, v) * batch.mean()

    with (
        torch_limit.patch(recompile_limit=2),
        pytest.raises(ArgumentError, match="give batches of one shape") as caught,
    ):
        solve(tiny(f), SimultaneousGDA(), steps=3, data=data, compile=True, progress=False)
    assert caught.value.solution.steps == 2  # type: ignore[attr-defined]


def test_what_is_wrong_with_a_risk_is_said_as_ever() -> None:
    def once(u: Any, v: Any) -> Tensor:
        return torch.cdist(u[None], v[None]).sum()

    with pytest.raises(DoubleBackwardError, match="dist"):
        solve(tiny(once), Sensitivity(gamma=0.5), steps=2, compile=True, progress=False)
    with pytest.raises(RiskError, match="does not depend on v"):
        solve(tiny(lambda u, v: u.sum()), SimultaneousGDA(), steps=2, compile=True, progress=False)


# -- draws taken out of a graph ----------------------------------------------------------------------------------------


def traced(f: Callable[[Tensor], Tensor]) -> torch.fx.GraphModule:
    from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx(torch.func.functionalize(f), tracing_mode="fake")(torch.ones(3, 2))


def test_draws_are_made_first_and_in_the_order_written() -> None:
    def f(x: Tensor) -> Tensor:
        return F.dropout(x + torch.randn_like(x), 0.5) * torch.rand(3, 1)

    graph = traced(f)
    draws, shown = take_out(graph)
    assert [tuple(t.shape) for t in shown] == [(3, 2), (3, 2), (3, 1)]
    assert not any(torch.Tag.nondeterministic_seeded in getattr(n.target, "tags", ()) for n in graph.graph.nodes)
    x = torch.arange(6.0).view(3, 2)
    torch.manual_seed(1)
    expected = f(x)
    torch.manual_seed(1)
    values = [draw() for draw in draws]
    assert torch.equal(graph(x, *values), expected)
    assert not torch.equal(graph(x, *[draw() for draw in draws]), expected)


def test_a_draw_from_computed_values_is_refused() -> None:
    with pytest.raises(DrawError, match="bernoulli draws from values that the graph computes"):
        take_out(traced(lambda x: torch.bernoulli(torch.sigmoid(x))))


def test_trees_are_rebuilt_as_they_were() -> None:
    import optree

    tree = {"b": [1, (2, Pair(3, 4))], "a": OrderedDict(z=5, y=6)}  # type: ignore[arg-type]
    leaves, spec = optree.tree_flatten(tree)  # type: ignore[arg-type]
    again = rebuilt(shell_of(spec), leaves)
    assert again == tree
    assert list(again) == ["b", "a"]
    assert list(again["a"]) == ["z", "y"]
    with pytest.raises(TypeError, match="a set holds tensors of a player"):
        rebuilt({1}, leaves)


# -- captured steps, without a device ----------------------------------------------------------------------------------


class Rehearsal:
    """Records a step by remembering it: what a graph would do with fixed memory, done by running it again."""

    def __init__(self) -> None:
        self.warmed = self.recorded = self.replayed = 0
        self.results: dict[str, Tensor] = {}

    def warm(self, function: Callable[[], Any]) -> Any:
        self.warmed += 1
        return function()

    def record(self, function: Callable[[], Any]) -> Callable[[int], Any]:
        self.recorded += 1
        memory: dict[str, Tensor] = {}

        def again(seed: int) -> Any:
            self.replayed += 1
            replay(seed, host=False)  # as a graph's replay seeds the device's generator
            for name, value in function().items():
                memory.setdefault(name, torch.empty_like(value)).copy_(value)
            return memory  # the same memory each time, as a graph's

        return again


@pytest.fixture
def rehearsal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rehearsal]:
    """Let solve capture its steps by a rehearsal."""
    recorder = Rehearsal()

    def prepare(ctx: Context, solver: Any) -> None:
        ctx.step_form = CapturedStep(recorder)

    monkeypatch.setattr("minimaxopt.loop.solve.prepare", prepare)
    monkeypatch.setattr("minimaxopt.loop.solve.rehearse", lambda ctx, solver: None)
    return recorder


def captured(game: Game, solver: Any, **settings: Any) -> Solution:
    settings = {"steps": 9, "progress": False, "seed": 4, "u_optimizer": SGD, "v_optimizer": SGD, **settings}
    eager = solve(game, solver, **settings)
    solution = solve(game, solver, compile=True, **settings)
    close(solution, eager)
    for name in eager.history.names:
        assert solution.history[name].tolist() == eager.history[name].tolist()
    return solution


@pytest.mark.parametrize("name", SOLVERS)
def test_captured_steps_equal_plain_ones(name: str, rehearsal: Rehearsal) -> None:
    game = Game(risk, networks().u, networks().v) if name in ("descent", "sensitivity") else tiny()
    data = samples() if name in ("descent", "sensitivity") else None
    solution = captured(game, SOLVERS[name], data=data)
    shapes = 1
    assert solution.manifest["compile"] == "steps"
    assert (rehearsal.warmed, rehearsal.recorded, rehearsal.replayed) == (shapes, shapes, 9 - shapes)


def test_each_batch_shape_has_a_recording_of_its_own(rehearsal: Rehearsal) -> None:
    x, y = samples().tensors
    data = Batches((x, y), batch_size=3, seed=3)
    adam = partial(torch.optim.Adam, lr=0.01)
    captured(networks(), Sensitivity(gamma=0.5), data=data, u_optimizer=adam, v_optimizer=adam)
    assert (rehearsal.warmed, rehearsal.recorded) == (2, 2)


def test_a_run_that_went_back_records_anew(rehearsal: Rehearsal) -> None:
    fast = partial(torch.optim.SGD, lr=0.05, momentum=0.9)

    def f(u: Any, v: Any) -> Tensor:
        return (u.square() ** 2).sum() * 40 - v.square().sum()

    with pytest.warns(match="ceased to be finite"):
        solution = captured(tiny(f), SimultaneousGDA(), u_optimizer=fast, v_optimizer=fast, steps=40)
    assert solution.status is Status.DIVERGED
    assert rehearsal.recorded == 2  # the run, and the block that was played again


def test_a_captured_run_is_resumed(rehearsal: Rehearsal, tmp_path: Any) -> None:
    adam = partial(torch.optim.Adam, lr=0.01)
    settings: dict[str, Any] = {"data": samples(), "u_optimizer": adam, "v_optimizer": adam, "progress": False}
    solve(networks(), SOLVERS["sensitivity"], steps=4, compile=True, callbacks=[Checkpoint(tmp_path)], **settings)
    rest = solve(networks(), SOLVERS["sensitivity"], steps=8, compile=True, resume=tmp_path, **settings)
    close(rest, solve(networks(), SOLVERS["sensitivity"], steps=8, **settings))


def context(**settings: Any) -> Context:
    return Context(tiny(), **{"u_optimizer": SGD, "v_optimizer": SGD, **settings})


def test_optimizers_schedules_weights_and_fresh_batches_that_a_graph_cannot_repeat() -> None:
    def check(ctx: Context, solver: Any) -> None:
        refuse_settings(ctx, solver.derivatives(responding=False))

    check(context(), SimultaneousGDA())
    check(context(u_optimizer=partial(torch.optim.Adam, capturable=True)), Sensitivity(gamma="sigma"))
    check(context(ascent_batches="fresh"), AlternatingGDA())
    schedule = partial(torch.optim.lr_scheduler.StepLR, step_size=2)
    for match, ctx, solver in (
        ("u_optimizer: Adam counts its steps .*capturable=True", context(u_optimizer=torch.optim.Adam), None),
        ("v_optimizer: Adagrad counts its steps", context(v_optimizer=torch.optim.Adagrad), None),
        ("v_scheduler: a CUDA graph keeps the learning rate", context(v_scheduler=schedule), None),
        ("gamma: a CUDA graph keeps its value", context(), Sensitivity(gamma=lambda step: 1.0)),
        ("ascent_batches: .* give 'same'", context(ascent_batches="fresh"), AlternatingGDA(ascent_steps=2)),
    ):
        with pytest.raises(ArgumentError, match=match):
            check(ctx, solver or SimultaneousGDA())


def test_who_declares_derivatives() -> None:
    compiled = {name for name, solver in BUILT_IN.items() if isinstance(solver(), SupportsCompile)}
    assert compiled == {"sensitivity", "alternating-gda", "simultaneous-gda", "descent", "ascent"}
    assert Sensitivity(alternate=True).derivatives(responding=False).wanted == (("v",), None)
    assert Sensitivity(gamma=0, alternate=True).derivatives(responding=True).wanted == (("u", "v"),)


def test_batches_elsewhere_are_refused() -> None:
    batch = ({"x": torch.ones(2), "n": 3},)
    refuse_elsewhere(batch, torch.device("cpu"))
    refuse_elsewhere((), torch.device("cuda"))
    with pytest.raises(ArgumentError, match=r"data: a batch lies on cpu, .* give Batches\(...\).to\('cuda:1'\)"):
        refuse_elsewhere(batch, torch.device("cuda:1"))


def test_the_form_of_a_batch() -> None:
    x = torch.ones(2, 3)
    assert form_of((x, 1)) == form_of((x + 1, 1))
    for other in ((x, 2), (x.double(), 1), (x[:1], 1), (x.T.contiguous().T, 1), ([x], 1)):
        assert form_of(other) != form_of((x, 1))
    with pytest.raises(ArgumentError, match="compile: a batch holds a set, whose value the graph would freeze"):
        form_of(({1},))


def test_evaluations_that_draw_are_found_and_more_than_one_refused() -> None:
    draws = Draws(lambda: torch.get_rng_state().numpy().tobytes(), torch.manual_seed)
    with torch.random.fork_rng():
        for seed, drawn in ((1, False), (2, True), (3, False), (4, True)):
            draws(seed)
            if drawn:
                torch.rand(1)
        draws.close()
    assert draws.spent == [2, 4]
    refuse_draws([], 2)
    refuse_draws([2], 2)
    for spent in ([2, 4], [2, 2], [4]):
        with pytest.raises(ArgumentError, match="cannot reset a generator between them; use a solver"):
            refuse_draws(spent, 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["simultaneous", "sensitivity"])
def test_captured_steps_on_cuda(name: str) -> None:
    data = samples().to("cuda")
    settings: dict[str, Any] = {"data": data, "steps": 9, "device": "cuda", "progress": False, "seed": 4}
    adam = partial(torch.optim.Adam, lr=1e-3, capturable=True)
    solution = solve(networks(), SOLVERS[name], compile=True, u_optimizer=adam, v_optimizer=adam, **settings)
    close(solution, solve(networks(), SOLVERS[name], u_optimizer=adam, v_optimizer=adam, **settings))
    assert solution.manifest["compile"] == "steps"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_what_waits_for_cuda_is_refused() -> None:
    def waits(x: Any) -> Any:
        return x if float(x.sum()) > 0 else -x

    game = Game(bilinear, torch.ones(2), torch.ones(2), project_u=waits)
    refused("compile: f cannot be compiled as one graph", game, device="cuda")
    slow = partial(torch.optim.Adam, lr=1e-3)
    refused("u_optimizer: Adam counts its steps", u_optimizer=slow, device="cuda")


# -- nothing waits for the device --------------------------------------------------------------------------------------


class Waits(TorchDispatchMode):
    """Counts the operations that wait for a device: a value taken to the host, or a shape that depends on values."""

    NAMES = frozenset({"_local_scalar_dense", "item", "nonzero", "equal", "is_nonzero", "masked_select", "unique_dim"})

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket.__name__ in self.NAMES
        return func(*args, **(kwargs or {}))


def waits(solver: Any, steps: int) -> int:
    """Return how often ``steps`` steps within one block wait."""
    game = networks()
    settings: dict[str, Any] = {"data": samples(), "players": solver.players}
    ctx = Context(game, **settings)
    state = solver.init(ctx)
    state, _ = ctx.advance(solver, state)  # the optimizer's first step makes its moments
    with Waits() as counter:
        for _ in range(steps):
            state, _ = ctx.advance(solver, state)
    return counter.count


@pytest.mark.parametrize("name", SOLVERS)
def test_no_step_waits_for_the_device(name: str) -> None:
    assert waits(SOLVERS[name], 6) == 0


def test_blocks_wait_as_often_however_many_steps_they_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minimaxopt.loop.loop._BLOCK_SECONDS", 1e9)

    def counted(steps: int) -> int:
        with Waits() as counter:
            solve(networks(), SOLVERS["sensitivity"], steps=steps, data=samples(), progress=False)
        return counter.count

    # Blocks of 1, 2, 4, ... steps: three for 7, four for 15.
    seven, fifteen, thirty_one = counted(7), counted(15), counted(31)
    assert seven > 0
    assert fifteen - seven == thirty_one - fifteen < 8


@dataclass(frozen=True)
class Peeking:
    """A solver that takes the risk to the host at each step."""

    name = "peeking"
    players = ("u", "v")

    def init(self, ctx: Context) -> None: ...

    def step(self, ctx: Context, state: None) -> tuple[None, Any]:
        gradients = ctx.gradients()
        ctx.apply("u", gradients.u)
        assert gradients.risk.item() > -1e9
        return None, {"risk": gradients.risk}


def test_a_solver_that_waits_is_counted() -> None:
    assert waits(Peeking(), 6) == 6
