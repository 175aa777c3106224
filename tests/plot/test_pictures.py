"""Portraits and curves: what is drawn, by its data; what is refused."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from torch import Tensor, nn

from minimaxopt import Box, Evaluate, Game, History, Sensitivity, Simplex, solve
from minimaxopt.errors import ArgumentError
from minimaxopt.plot import Trajectory, convergence, phase_portrait, trajectory
from minimaxopt.plot.plane import Plane

mpl.use("Agg")
import matplotlib.pyplot as plt

SGD = partial(torch.optim.SGD, lr=0.05)
RATES = {"u_optimizer": SGD, "v_optimizer": SGD}
SMALL = {"resolution": 7}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def ridge(u: Tensor, v: Tensor) -> Tensor:
    return (4 * u * v - 3 * u**2 - v**2).sum()


def game(**projections: Any) -> Game:
    return Game(ridge, torch.tensor(0.9), torch.tensor(-1.0), **projections)


def points_of(axes: Any) -> list[PathCollection]:
    return [c for c in axes.collections if isinstance(c, PathCollection)]


# -- trajectories -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["alternating-gda", Sensitivity(0.5)])
def test_a_trajectory_is_what_a_solve_visits(solver: Any) -> None:
    look = Evaluate({"at u": lambda u, v: float(u), "at v": lambda u, v: float(v)}, every=1)
    history = solve(game(), solver, steps=12, callbacks=[look], **RATES).history
    path = trajectory(game(), solver, steps=12, **RATES)
    assert np.array_equal(path.u, [np.float32(0.9), *history["at u"]])
    assert np.array_equal(path.v, [-1, *history["at v"]])


def test_a_trajectory_of_vectors_has_a_row_a_step_and_starts_inside() -> None:
    player = {"a": torch.tensor([2.0, 0.0]), "b": torch.tensor(0.5)}
    vector_game = Game(
        lambda u, v: (u["a"].sum() + u["b"]) * v.sum(), player, torch.ones(1), project_u=Box(-1, 1), project_v=Box(0, 9)
    )
    path = trajectory(vector_game, "simultaneous-gda", steps=3, **RATES)
    assert path.u.shape == (4, 3)
    assert path.v.shape == (4,)
    assert path.u[0].tolist() == [1, 0, 0.5]
    assert vector_game.u["a"].tolist() == [2, 0]


def test_a_trajectory_ends_before_a_value_that_is_not_finite() -> None:
    fast = partial(torch.optim.SGD, lr=1e9)
    path = trajectory(game(), "simultaneous-gda", steps=50, u_optimizer=fast, v_optimizer=fast)
    assert 1 < len(path.u) < 51
    assert np.isfinite(path.u).all()
    assert np.isfinite(path.v).all()


def test_a_trajectory_leaves_the_random_state() -> None:
    noisy = Game(lambda u, v: u * v * torch.rand(()), torch.tensor(1.0), torch.tensor(1.0))
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    first = trajectory(noisy, "simultaneous-gda", steps=3, **RATES)
    assert torch.equal(torch.rand(2), expected)
    assert np.array_equal(trajectory(noisy, "simultaneous-gda", steps=3, **RATES).u, first.u)
    assert not np.array_equal(trajectory(noisy, "simultaneous-gda", steps=3, seed=1, **RATES).u, first.u)


def test_an_unknown_solver_is_named() -> None:
    with pytest.raises(ArgumentError, match=r"^solver: there is no 'sensitivty'; did you mean 'sensitivity'\?"):
        trajectory(game(), "sensitivty", steps=1)


# -- the field ----------------------------------------------------------------------------------------------------------


def test_the_field_is_descent_and_ascent() -> None:
    us, vs = np.linspace(-1, 1, 3), np.linspace(-2, 2, 5)
    field = Plane(game()).field(us, vs)
    u, v = np.meshgrid(us, vs)
    assert np.allclose(field.risk, 4 * u * v - 3 * u**2 - v**2, atol=1e-6)
    assert np.allclose(field.u, -(4 * v - 6 * u), atol=1e-6)
    assert np.allclose(field.v, 4 * u - 2 * v, atol=1e-6)


def test_the_field_of_two_losses_is_descent_of_both() -> None:
    one = torch.tensor(1.0)
    own = Game(lambda u, v: u * v, one, one.clone(), follower_loss=lambda u, v: (v - 2 * u) ** 2)
    us, vs = np.linspace(-1, 1, 3), np.linspace(-2, 2, 5)
    field = Plane(own).field(us, vs)
    u, v = np.meshgrid(us, vs)
    assert np.allclose(field.risk, u * v, atol=1e-6)
    assert np.allclose(field.u, -v, atol=1e-6)
    assert np.allclose(field.v, -2 * (v - 2 * u), atol=1e-6)


def test_the_field_does_not_leave_the_set() -> None:
    plane = Plane(game(project_u=Box(-0.5, 1), project_v=Box(-1, 0.25)))
    assert plane.allowed("u", -2, 2) == pytest.approx((-0.5, 1), abs=1e-4)
    assert plane.allowed("u", -0.25, 0.5) == (-0.25, 0.5)
    assert plane.allowed("v", -2, 2) == pytest.approx((-1, 0.25), abs=1e-4)
    us, vs = np.linspace(-0.5, 1, 4), np.linspace(-1, 0.25, 6)
    inner, free = plane.field(us, vs), Plane(game()).field(us, vs)
    assert np.allclose(inner.u[:, 1:-1], free.u[:, 1:-1])
    assert (inner.u[:, 0] >= 0).all()
    assert (inner.u[:, -1] <= 0).all()
    assert (inner.v[-1] <= 0).all()
    assert (free.v[-1] > 0).any()
    towards = free.u[:, 0] > 0
    assert np.allclose(inner.u[towards, 0], free.u[towards, 0])


def test_a_slice_is_read_along_its_directions() -> None:
    u, v = torch.tensor([1.0, 2.0], dtype=torch.float64), {"w": torch.tensor([0.5, 0.0], dtype=torch.float64)}
    quadratic = Game(lambda u, v: (u**2).sum() + u @ v["w"], u, v)
    directions = (torch.tensor([2.0, 0.0]), {"w": torch.tensor([1.0, 1.0])})
    plane = Plane(quadratic, directions)
    us, vs = np.array([-1.0, 0.0, 0.5]), np.array([0.0, 2.0])
    field = plane.field(us, vs)
    for i, b in enumerate(vs):
        for j, a in enumerate(us):
            leader, follower = np.array([1 + 2 * a, 2.0]), np.array([0.5 + b, b])
            assert field.risk[i, j] == pytest.approx((leader**2).sum() + leader @ follower)
            assert field.u[i, j] == pytest.approx(-(2 * leader + follower)[0] * 2 / 4)
            assert field.v[i, j] == pytest.approx(leader.sum() / 2)
    assert plane.coordinate("u", torch.tensor([3.0, 9.0])) == 1
    assert plane.coordinate("v", {"w": torch.tensor([1.5, 2.0])}) == 1.5
    assert plane.along("u", np.array([[1.0, 2.0], [5.0, 0.0]])).tolist() == [0, 2]


def test_modules_have_slices_and_a_batch_reaches_f() -> None:
    net = nn.Linear(2, 1)
    network_game = Game(lambda u, v, batch: (u(batch) * v).sum(), net, torch.tensor([1.0]))
    directions = ({"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, torch.ones(1))
    batch = torch.tensor([[1.0, 2.0]])
    field = Plane(network_game, directions, batch).field(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    assert field.risk[0, 1] - field.risk[0, 0] == pytest.approx(3, abs=1e-6)
    axes = phase_portrait(network_game, directions=directions, batch=batch, **SMALL)
    assert axes.get_title() == "Phase portrait of a slice"
    assert "along its direction" in axes.get_xlabel()


# -- portraits ----------------------------------------------------------------------------------------------------------


def test_a_portrait_draws_what_it_is_given() -> None:
    paths = {name: trajectory(game(), name, steps=9, **RATES) for name in ("sensitivity", "alternating-gda")}
    marks = {"minimax point": (0, torch.tensor(0.0)), "others": [(0.5, 0.25), (-0.5, 0.0)]}
    axes = phase_portrait(game(), (-2, 2), (-2, 3), paths=paths, points=marks, title="ridge", **SMALL)
    assert [line.get_label() for line in axes.lines] == list(paths)
    for line, path in zip(axes.lines, paths.values(), strict=True):
        assert np.array_equal(line.get_xydata(), np.column_stack(path))
    assert len({line.get_color() for line in axes.lines}) == 2
    starts_ends = [c.get_offsets().tolist() for c in points_of(axes) if c.get_label() not in marks]
    assert starts_ends == [[list(at[i])] for at in (np.column_stack(p) for p in paths.values()) for i in (0, -1)]
    (best, others) = (c for c in points_of(axes) if c.get_label() in marks)
    assert best.get_offsets().tolist() == [[0, 0]]
    assert others.get_offsets().tolist() == [[0.5, 0.25], [-0.5, 0]]
    (legend,) = axes.figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["sensitivity", "alternating-gda", "minimax point", "others", "start", "end"]
    assert (axes.get_xlim(), axes.get_ylim()) == ((-2, 2), (-2, 3))
    assert axes.get_title() == "ridge"
    assert axes.get_xlabel() == "leader u (minimises)"
    assert axes.get_ylabel() == "follower v (maximises)"
    assert [child.get_ylabel() for child in axes.child_axes] == ["risk f"]


def test_a_portrait_fits_into_given_axes() -> None:
    figure, (left, right) = plt.subplots(1, 2)
    path = {"way": Trajectory(np.array([0.0, 1.0]), np.array([0.0, 1.0]))}
    assert phase_portrait(game(), paths=path, ax=left, **SMALL) is left
    assert left.get_legend() is not None
    assert not figure.legends
    assert not right.collections
    phase_portrait(game(), paths=path, ax=right, legend=False, shading=False, **SMALL)
    assert right.get_legend() is None
    assert not right.child_axes
    assert len(right.collections) < len(left.collections)
    assert phase_portrait(game(), **SMALL).figure is not figure


def test_many_paths_stay_distinct() -> None:
    path = Trajectory(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    axes = phase_portrait(game(), paths={f"way {i}": path for i in range(16)}, **SMALL)
    looks = {
        (line.get_color(), str(line.get_dashes() if hasattr(line, "get_dashes") else line._dash_pattern))
        for line in axes.lines
    }
    assert len(looks) == 16


def test_the_boundary_is_drawn_where_it_is_seen() -> None:
    def edges(axes: Any) -> list[list[list[float]]]:
        drawn = [c for c in axes.collections if c.get_zorder() == 3]
        return sorted(np.round(s, 3).tolist() for c in drawn for s in c.get_segments())

    bounded_game = game(project_u=Box(-0.5, 0.5))
    wide = phase_portrait(bounded_game, (-1, 1), (-1, 1), **SMALL)
    assert edges(wide) == [[[-0.5, -1], [-0.5, 1]], [[0.5, -1], [0.5, 1]]]
    assert wide.get_xlim() == (-1, 1)
    assert edges(phase_portrait(bounded_game, (-0.25, 0.25), (-1, 1), **SMALL)) == []


@pytest.mark.parametrize(
    "f",
    [
        lambda u, v: 0 * u * v,
        lambda u, v: 1 / u + v,
        lambda u, v: torch.exp(400 * u) - v,
        lambda u, v: (u + v).abs(),
    ],
    ids=["flat", "pole", "overflow", "kink"],
)
def test_awkward_games_are_drawn_without_a_warning(f: Any, tmp_path: Any) -> None:
    axes = phase_portrait(Game(f, torch.tensor(1.0), torch.tensor(1.0)), **SMALL)
    axes.figure.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_a_path_that_runs_away_is_drawn(tmp_path: Any) -> None:
    far = Trajectory(np.array([0.1, 0.5, 1e30, -1e300]), np.array([0.1, 0.5, 1e30, 1e300]))
    axes = phase_portrait(game(), paths={"far": far}, **SMALL)
    axes.figure.savefig(tmp_path / "picture.png")
    assert axes.get_xlim() == (-1, 1)


VECTORS = Game(lambda u, v: u @ v, torch.ones(2), torch.ones(2))
ONE = torch.ones(2)


@pytest.mark.parametrize(
    ("refused_game", "options", "message"),
    [
        (VECTORS, {}, r"game: u holds 2 numbers, and a portrait has one axis for each player; give directions"),
        (
            Game(lambda u, v: u * v.sum(), torch.tensor(1.0), torch.ones(3)),
            {},
            r"game: v holds 3 numbers, and .*; give directions",
        ),
        (Game(lambda u, v: u**2, torch.tensor(1.0), None), {}, r"game: v is missing; give a game"),
        (Game(lambda u, v: u * v, torch.tensor(1.0), lambda risk, u: u), {}, r"game: v is computed afresh .*; give"),
        (VECTORS, {"directions": (ONE, torch.zeros(2))}, r"directions: that of v is zero; give another"),
        (VECTORS, {"directions": (torch.ones(3), ONE)}, r"directions: has shape \(3,\) .* instead of \(2,\); give"),
        (VECTORS, {"directions": ({"a": ONE}, ONE)}, r"directions: does not fit u .*; give the structure of u"),
        (game(), {"u_range": (1, 1)}, r"u_range: \(1, 1\) is not an interval; give \(low, high\)"),
        (game(), {"v_range": (0, float("inf"))}, r"v_range: \(0, inf\) is not an interval; give"),
        (game(), {"resolution": 1}, r"resolution: 1 points do not make a grid; give two or more"),
        (game(), {"points": {"a": 3}}, r"points: 'a' is not a point; give \(u, v\)"),
        (game(), {"points": {"a": (torch.ones(2), 0)}}, r"points: has shape \(2,\) .*; give the structure of u"),
        (
            game(),
            {"paths": {"a": Trajectory(np.zeros((3, 2)), np.zeros(3))}},
            r"paths: a path holds 2 numbers of u a step instead of 1; give",
        ),
        (game(project_u=Box(5, 6)), {}, r"u_range: \(-1, 1\) holds fewer than two values that project_u allows; give"),
        (
            Game(lambda u, v: (u * v).sum(), torch.ones(1), torch.ones(1), project_v=Simplex()),
            {},
            r"v_range: .* holds fewer than two values that project_v allows; give",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(refused_game: Game, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{message}"):
        phase_portrait(refused_game, **{**SMALL, **options})
    assert not plt.get_fignums()


# -- curves -------------------------------------------------------------------------------------------------------------


def test_curves_show_a_column_of_histories_and_solutions() -> None:
    solution = solve(game(), "sensitivity", steps=5, **RATES)
    history = History({"risk": ([0, 2], [3.0, 4.0])})
    axes = convergence({"run": solution, "other": history}, title="Risks")
    assert [line.get_label() for line in axes.lines] == ["run", "other"]
    assert np.array_equal(axes.lines[0].get_ydata(), solution.history["risk"])
    assert axes.lines[1].get_xydata().tolist() == [[0, 3], [2, 4]]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("step", "risk", "Risks")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["run", "other"]


@pytest.mark.parametrize(
    ("values", "log", "scale"),
    [
        ([1.0, 1e-3], None, "log"),
        ([1.0, 0.5], None, "linear"),
        ([1.0, -1e-3], None, "linear"),
        ([1.0, 0.5], True, "log"),
        ([1.0, 1e-3], False, "linear"),
        ([1.0, float("nan")], None, "linear"),
    ],
)
def test_the_scale_follows_the_values(values: list[float], log: bool | None, scale: str) -> None:
    axes = convergence({"run": History({"gap": ([0, 1], values)})}, column="gap", log=log, ax=plt.gca(), legend=False)
    assert axes.get_yscale() == scale
    assert axes.get_legend() is None


def test_curves_that_are_not_there_are_named() -> None:
    with pytest.raises(ArgumentError, match=r"^histories: is empty; give"):
        convergence({})
    with pytest.raises(ArgumentError, match=r"^column: 'run' has no 'gap', but risk; give one that all"):
        convergence({"run": History({"risk": ([0], [1.0])})}, column="gap")


@pytest.mark.parametrize(
    "draw", [lambda: phase_portrait(game()), lambda: convergence({"a": History({"risk": ([0], [1.0])})})]
)
def test_a_missing_matplotlib_is_said(draw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **named)

    draw()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        ImportError, match=r"^matplotlib: is not installed; install it with pip install 'minimaxopt\[plot"
    ):
        draw()
